"""``headframe underground draw``: dark tunnels of six classes, drawn."""

from pathlib import Path
from typing import Annotated

import typer


def draw(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the data set to make.")],
    images: Annotated[int, typer.Option(help="Photographs.")] = 60,
    tunnels: Annotated[int, typer.Option(help="Tunnels that they are taken in, in turn.")] = 12,
    size: Annotated[
        tuple[int, int], typer.Option(help="Height and width in pixels, 64 to 4096.")
    ] = (480, 640),
    light: Annotated[float, typer.Option(help="Share of the light left, above 0 to 1.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Which tunnels.")] = 0,
    video: Annotated[
        bool, typer.Option("--video", help="A film too, of a tunnel that no photograph shows.")
    ] = False,
    films: Annotated[int, typer.Option(help="So many films.")] = 0,
    seconds: Annotated[float, typer.Option(help="Length of a film.")] = 4.0,
    rate: Annotated[int, typer.Option(help="Frames a second of a film.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Draw dark mine tunnels with exact masks of road, wall, roof, people, equipment, corridor.

    Writes images/ (dark), bright/ (the same in good light), instances.json (COCO), via.json,
    films/ and README.md. These are no photographs: they show and test the whole way without data.
    After a kill, run the same command again.

    Examples:

        headframe underground draw --images 60 --tunnels 12 --light 0.03 --out drawn

        headframe underground draw --images 8 --size 240 320 --seed 1 --video --out small
    """
    from headframe.cli import console
    from headframe.datasets.drawn.tunnel import TunnelOptions, draw_tunnels

    options = TunnelOptions(
        images=images,
        tunnels=tunnels,
        size=size,
        light=light,
        seed=seed,
        films=films or int(video),
        seconds=seconds,
        rate=rate,
    )
    with console.progress() as bar:
        report = draw_tunnels(out, options, progress=bar)
    if as_json:
        console.emit_json(report)
        return
    rows = [(name, count, report.seen[name]) for name, count in report.regions.items()]
    console.table(f"Drawn tunnels {out}", ("class", "regions", "photographs"), rows)
    console.say(
        f"{out}: {report.images} photographs of {tunnels} tunnels, {report.drawn} of them new; "
        f"{report.films} films."
    )
