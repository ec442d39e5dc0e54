"""``headframe propose``: every object that SAM sees on a scene."""

from pathlib import Path
from typing import Annotated

import typer

from headframe.cli.scene_options import Bands, Cache, CacheGb, Device, Offset, Scale, band_names

_GB = 2**30


def propose(
    scene: Annotated[str, typer.Argument(metavar="SCENE", help="GeoTIFF, COG, VRT, STAC item.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="GeoPackage of the proposals.")],
    model: Annotated[
        str,
        typer.Option(help="litemedsam, a SAM file (.pth, .safetensors), or a prompt bundle."),
    ] = "litemedsam",
    min_area_ha: Annotated[float, typer.Option(help="Leave smaller ones out.")] = 1.0,
    max_area_ha: Annotated[float | None, typer.Option(help="Leave larger ones out.")] = None,
    min_iou: Annotated[
        float, typer.Option(help="Least IoU that the network predicts of a mask, 0-1.")
    ] = 0.7,
    min_stability: Annotated[
        float, typer.Option(help="Least IoU of a mask at shifted thresholds, 0-1.")
    ] = 0.7,
    nms_iou: Annotated[
        float, typer.Option(help="Masks that overlap more than this are one, 0-1.")
    ] = 0.5,
    points_per_side: Annotated[int, typer.Option(help="Points along a side of a frame.")] = 8,
    levels: Annotated[
        int, typer.Option(help="Levels looked at; each has pixels twice as wide, for larger ones.")
    ] = 1,
    kind: Annotated[str, typer.Option("--class", help="Class they are proposed as.")] = "mining",
    cache: Cache = None,
    cache_gb: CacheGb = 4.0,
    bands: Bands = None,
    scale: Scale = None,
    offset: Offset = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Propose every object that a network sees on a scene, with area, score and stability.

    No model of mines is needed, and none is asked: open the GeoPackage in QGIS, where it comes in
    colours, accept what is a mine, and read it back with `headframe label --reviewed`.
    Run the same command again after an interruption: it goes on with the next tile.

    Examples:

        headframe propose scene.tif --out proposals.gpkg --min-area-ha 2

        headframe propose scene.tif --out proposals.gpkg --levels 3 --points-per-side 16

        headframe propose scene.tif --out proposals.gpkg --model sam_vit_b.pth --min-iou 0.88
    """
    from headframe.cli import console
    from headframe.core.errors import InputError
    from headframe.engine.everything import EverythingOptions
    from headframe.engine.prompting import CacheOptions, default_cache
    from headframe.io.scene import SceneOptions
    from headframe.surface.propose import ProposeOptions
    from headframe.surface.propose import propose as propose_all

    if not cache_gb > 0:
        raise InputError(f"--cache-gb {cache_gb:g} is not above 0.")
    names = band_names(bands)
    options = ProposeOptions(
        masks=EverythingOptions(
            points_per_side=points_per_side,
            levels=levels,
            min_iou=min_iou,
            min_stability=min_stability,
            nms_iou=nms_iou,
            min_area_ha=min_area_ha,
            max_area_ha=max_area_ha,
        ),
        scene=SceneOptions(bands=names, scale=scale, offset=offset),
        cache=CacheOptions(cache or default_cache(), limit_bytes=int(cache_gb * _GB)),
        kind=kind,
        device=device,
    )
    with console.progress() as shown:
        report = propose_all(scene, model=model, out=out, options=options, progress=shown)
    if as_json:
        console.emit_json(report)
        return
    console.say(f"{report.out}: {report.proposals} proposals, {report.area_ha:,.1f} ha")
    console.say(f"Picture: {report.picture}")
    console.say(f"Next: judge them in QGIS, then headframe label {scene} --reviewed {report.out}")
