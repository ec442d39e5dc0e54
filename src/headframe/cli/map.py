"""``headframe map``: scenes to maps."""

from pathlib import Path
from typing import Annotated

import typer


def map_scene(
    scenes: Annotated[
        list[str],
        typer.Argument(metavar="SCENE...", help="GeoTIFF, COG, VRT, STAC item, folder, glob, URL."),
    ],
    model: Annotated[str, typer.Option(help="Bundle folder, shipped name or hf://owner/name.")],
    out: Annotated[Path, typer.Option(help="Folder for the maps.")],
    scale: Annotated[
        float | None, typer.Option(help="Physical unit = stored value x SCALE + OFFSET.")
    ] = None,
    offset: Annotated[float | None, typer.Option(help="See --scale.")] = None,
    bands: Annotated[
        str | None,
        typer.Option(help="Names of the file's bands in file order, e.g. blue,green,red."),
    ] = None,
    scores: Annotated[bool, typer.Option("--scores", help="Also write scores.")] = False,
    no_polygons: Annotated[bool, typer.Option("--no-polygons", help="Rasters only.")] = False,
    min_area_ha: Annotated[float, typer.Option(help="Leave smaller polygons out.")] = 0.0,
    simplify_m: Annotated[float, typer.Option(help="Simplify outlines; neighbours fit.")] = 0.0,
    threshold: Annotated[float | None, typer.Option(help="Score of the target, 0-1.")] = None,
    tile_px: Annotated[int | None, typer.Option(help="Side of a tile.")] = None,
    margin_px: Annotated[int | None, typer.Option(help="Uncounted edge of a tile.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Map scenes with a model: classes, scores, polygons, quick look and STAC item.

    A run that was stopped goes on where it was; finished scenes are skipped.

    Examples:

        headframe map scene.tif --model tailings-s2-rgb --out maps

        headframe map 'scenes/*.tif' --model runs/pits --out maps --scores --min-area-ha 0.5

        headframe map preview.tif --model tailings-s2-rgb --out maps --scale 0.0039 --offset 0
    """
    from headframe.cli.console import emit_json, progress, say
    from headframe.engine.bundle import load_bundle
    from headframe.engine.mapping import MapOptions, map_scenes
    from headframe.io.scene import SceneOptions

    names = None if bands is None else tuple(name.strip() for name in bands.split(","))
    options = MapOptions(
        scene=SceneOptions(bands=names, scale=scale, offset=offset),
        scores=scores,
        polygons=not no_polygons,
        min_area_ha=min_area_ha,
        simplify_m=simplify_m,
        threshold=threshold,
        tile_px=tile_px,
        margin_px=margin_px,
        device=device,
    )
    bundle = load_bundle(model)
    with progress() as shown:
        results = map_scenes(scenes, bundle=bundle, out=out, options=options, progress=shown)
    if as_json:
        emit_json([result.to_json() for result in results])
        return
    for result in results:
        areas = ", ".join(f"{name} {ha:,.1f} ha" for name, ha in (result.area_ha or {}).items())
        done = "already mapped" if result.skipped else f"{result.seconds:.1f} s"
        say(f"{result.outputs['classes']}  ({done}{'; ' + areas if areas else ''})")
