"""`headframe dataset draw`: a data set of drawn mines, to try things on without data."""

from pathlib import Path
from typing import Annotated

import typer


def draw(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the data set to make.")],
    *,
    sites: Annotated[int, typer.Option(help="Places, 3 to 1000.")] = 24,
    dates: Annotated[
        int, typer.Option(help="Images a place, a year apart at least, 1 to 7; mines grow.")
    ] = 3,
    size_px: Annotated[
        int, typer.Option("--size-px", help="Side of an image in pixels of 10 m, 128 to 1200.")
    ] = 192,
    seed: Annotated[int, typer.Option(help="Which places.")] = 0,
    every: Annotated[
        bool, typer.Option("--every", help="All ten components at every place.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Draw mines of ten components in fifteen bands of Sentinel-2 and Sentinel-1.

    These are no measurements: they show and test the whole way without data. Sites are split
    70:15:15 by location; dataset.json holds the raw material (CL, MO, RR) and type (OC, OP, MT)
    of each. After a kill, run it again.

    Examples:

        headframe dataset draw --out drawn

        headframe dataset draw --out drawn --sites 40 --dates 3 --size-px 256 --seed 1

        headframe experiment recipes/components/drawn/*.yaml --data drawn --own-split --out bands
    """
    from headframe.cli import console
    from headframe.datasets.drawn.collection import CollectionOptions, draw_collection

    options = CollectionOptions(sites, dates, size_px, seed, every)
    with console.progress() as bar:
        report = draw_collection(out, options, progress=bar)
    if as_json:
        console.emit_json(report)
        return
    rows = [(split, report.sites[split], count) for split, count in report.chips.items()]
    console.table(f"Data set {out}", ("split", "sites", "chips"), rows)
    console.say(
        f"{report.drawn} images drawn; {report.unused} of further dates of held sites are unused. "
        f"Next: headframe dataset show {out}"
    )
