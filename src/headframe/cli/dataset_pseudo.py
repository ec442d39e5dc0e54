"""`headframe dataset pseudo-label`: scenes as tiles with water by an index."""

from pathlib import Path
from typing import Annotated

import typer

from headframe.cli.scene_options import Bands, Offset, Scale, band_names


def pseudo(
    scenes: Annotated[
        list[str], typer.Argument(metavar="SCENE...", help="Rasters, folders, URLs or STAC items.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the data set to make.")],
    *,
    index: Annotated[
        str, typer.Option(help="ndwi (green and NIR) or mndwi (green and SWIR).")
    ] = "ndwi",
    threshold: Annotated[
        str, typer.Option(help="Index from which on a pixel is water, or otsu: each scene's own.")
    ] = "0",
    tile_px: Annotated[int, typer.Option("--tile-px", help="Side of a tile, pixels.")] = 512,
    event: Annotated[
        str | None, typer.Option(help="Name that all tiles get; the scene's own if not said.")
    ] = None,
    min_valid: Annotated[
        float, typer.Option("--min-valid", help="Share of pixels with data that a tile needs.")
    ] = 0.5,
    sensor: Annotated[
        str | None, typer.Option(help="Sensor of the scenes, where the files do not tell.")
    ] = None,
    bands: Bands = None,
    scale: Scale = None,
    offset: Offset = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Cut optical scenes into tiles as Sen1Floods11 has them, their water by NDWI or MNDWI.

    S2Hand has the thirteen bands of L1C, those that a scene lacks described as absent; LabelHand
    has 1 for water, 0 for land, -1 for no data and for what a neighbouring tile labels. All tiles
    are in the test split. pseudo-label.json says what was made of what, pseudo-label.png shows
    some. Run the same command again after an interruption: it goes on where it stopped.

    Examples:
        headframe dataset pseudo-label scenes/*.tif --out water
        headframe dataset pseudo-label citarum.tif --out citarum --sensor planetscope-4b
        headframe dataset pseudo-label s2.tif --out water --index mndwi --threshold otsu
    """
    from dataclasses import asdict

    from headframe.cli import console
    from headframe.datasets.pseudo_label import PICTURE, PseudoOptions, pseudo_label
    from headframe.datasets.pseudo_scenes import parse_threshold
    from headframe.io.scene import SceneOptions

    options = PseudoOptions(
        index=index,
        threshold=parse_threshold(threshold),
        tile_px=tile_px,
        event=event,
        min_valid=min_valid,
        sensor=sensor,
        scene=SceneOptions(bands=band_names(bands), scale=scale, offset=offset),
    )
    with console.progress() as bar:
        report = pseudo_label(scenes, out=out, options=options, progress=bar)
    if as_json:
        shares = {"tiles": report.tiles, "skipped": report.skipped}
        console.emit_json({**asdict(report), **shares, "water_share": report.water_share})
        return
    rows = [
        (s.scene, s.event, s.threshold, s.tiles, s.skipped, s.water / max(s.water + s.land, 1))
        for s in report.scenes
    ]
    columns = ("scene", "event", f"{report.index} from", "tiles", "skipped", "share of water")
    console.table(f"Data set {report.out}", columns, rows)
    console.say(
        f"{report.tiles} tile(s), {100 * report.water_share:.1f} % of labelled pixels are water by "
        f"{report.index}; look at {report.out / PICTURE}."
    )
    console.say(f"Next: headframe evaluate MODEL {report.out}")
