"""``headframe demo``: the whole way through on drawn landscapes, or a map of a real scene."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder for all that is made.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Which landscapes are drawn.")] = 1,
    fast: Annotated[bool, typer.Option("--fast", help="A quick, poor run to see it work.")] = False,
    live: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LON LAT", help="Map a real Sentinel-2 scene here (needs network)."),
    ] = None,
    stac_url: Annotated[
        str | None, typer.Option(help="STAC API for --live; default: Element84 Earth Search.")
    ] = None,
    model: Annotated[str, typer.Option(help="Model for --live.")] = "tailings-s2-rgb",
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Draw landscapes, label, train, map, score and report; or map a real place with --live.

    The drawn demo needs no network and no data; it takes a few minutes on two cores. Run it again
    to go on where it stopped. It ends with report.html, one file that can be passed on.

    Examples:

        headframe demo --out demo

        headframe demo --out demo-7 --seed 7

        headframe demo --live -43.43 -20.21 --out live
    """
    from headframe.cli.console import emit_json, progress, say

    if live is not None:
        _live(live, out, stac_url=stac_url, model=model, as_json=as_json)
        return
    from headframe.io.files import write_json
    from headframe.surface.demo import DemoOptions, run_demo
    from headframe.surface.report import write_demo_report

    with progress() as shown:
        result = run_demo(out, options=DemoOptions(seed=seed, fast=fast), progress=shown)
    report = out / "report.html"
    write_demo_report(result, report)
    write_json(out / "demo.json", result.to_json())
    if as_json:
        emit_json(result.to_json())
        return
    for place in result.dates:
        say(
            f"{place.scene.date}: {place.mapped_ha:,.1f} ha of tailings mapped, "
            f"{place.true_ha:,.1f} ha drawn, IoU {place.iou:.2f}"
        )
    say(f"The scenes are drawn, not taken. {sum(result.seconds.values()):,.0f} s; see {report}")


def _live(
    place: tuple[float, float], out: Path, *, stac_url: str | None, model: str, as_json: bool
) -> None:
    """Map a real scene and say what was found."""
    from headframe.cli.console import emit_json, progress, say
    from headframe.surface.live import LiveOptions, map_live

    options = LiveOptions(model=model)
    if stac_url is not None:
        options = LiveOptions(model=model, stac_url=stac_url)
    with progress() as shown:
        result = map_live(*place, out=out, options=options, progress=shown)
    if as_json:
        emit_json(result)
        return
    areas = ", ".join(f"{name} {ha:,.1f} ha" for name, ha in result.area_ha.items())
    say(f"{result.item} ({result.date}, {result.cloud_percent:.0f} % cloud): {areas}")
    say(f"see {result.report}")
