"""`headframe dataset coarsen`: coarse labels from fine ones."""

from pathlib import Path
from typing import Annotated

import typer


def coarsen(
    dataset: Annotated[Path, typer.Argument(help="Folder of the data set.", metavar="DATASET")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the data set to make.")],
    *,
    buffer_m: Annotated[
        float, typer.Option("--buffer-m", help="Rim added all round, metres; below 0 taken away.")
    ] = 60.0,
    simplify_m: Annotated[
        float, typer.Option("--simplify-m", min=0, help="Tolerance of simplifying, metres.")
    ] = 60.0,
    shift_m: Annotated[
        float, typer.Option("--shift-m", min=0, help="Shift, metres; each outline its own way.")
    ] = 30.0,
    merge_m: Annotated[
        float | None,
        typer.Option("--merge-m", min=0, help="Unite outlines with at most this gap, metres."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the directions.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Copy a data set, the outlines of its target made coarse as in a global layer.

    Images, splits and ignored pixels stay. Chips of a site agree where they overlap. coarse.png
    shows some chips with their fine outlines in yellow and the coarse ones in blue.

    Examples:
        headframe dataset coarsen tailings --out tailings-coarse
        headframe dataset coarsen tailings --out coarse --buffer-m 100 --shift-m 50 --merge-m 200
    """
    from headframe.cli import console
    from headframe.datasets.coarse import PICTURE, coarsen_dataset
    from headframe.geo.coarsen import Coarseness

    coarseness = Coarseness(simplify_m, buffer_m, shift_m, merge_m)
    with console.progress() as bar:
        report = coarsen_dataset(dataset, out, coarseness, seed=seed, progress=bar)
    if as_json:
        console.emit_json(report)
        return
    console.say(
        f"{report.out}: {report.chips} chips, {report.polygons} outlines made {report.coarse}; "
        f"target {100 * report.fine_share:.1f} % of pixels, now {100 * report.coarse_share:.1f} %. "
        f"IoU with the fine labels {report.iou:.3f}; look at {report.out / PICTURE}."
    )
