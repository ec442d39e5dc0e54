"""``headframe map``: scenes to maps."""

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from headframe.cli.scene_options import Bands, Device, Offset, Scale, band_names
from headframe.core.errors import InputError, MissingFileError


def map_scene(
    scenes: Annotated[
        list[str],
        typer.Argument(metavar="SCENE...", help="GeoTIFF, COG, VRT, STAC item, folder, glob, URL."),
    ],
    model: Annotated[
        list[str],
        typer.Option(
            help="Bundle folder, shipped name or hf://owner/name. Several, one after the other, "
            "with commas or each with --model, make one map of components."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the maps.")],
    scale: Scale = None,
    offset: Offset = None,
    s1_unit: Annotated[
        str | None, typer.Option("--s1-unit", help="Unit of radar, db or power; told by values.")
    ] = None,
    bands: Bands = None,
    scores: Annotated[bool, typer.Option("--scores", help="Also write scores.")] = False,
    no_polygons: Annotated[bool, typer.Option("--no-polygons", help="Rasters only.")] = False,
    min_area_ha: Annotated[float, typer.Option(help="Leave smaller polygons out.")] = 0.0,
    simplify_m: Annotated[float, typer.Option(help="Simplify outlines; neighbours fit.")] = 0.0,
    threshold: Annotated[float | None, typer.Option(help="Score of the target, 0-1.")] = None,
    rules: Annotated[
        str,
        typer.Option(
            help="Rules for components, with commas: snow-cloud, land-cover, "
            "inside-transformed-area, slopes-in-excavation, preparation-at-excavation, "
            "dam-at-tailings; all or none."
        ),
    ] = "none",
    land_cover: Annotated[
        str | None, typer.Option(help="Raster of land-cover classes for rule land-cover.")
    ] = None,
    land_cover_exclude: Annotated[
        str | None,
        typer.Option(help="Its classes that are never part of a mine, e.g. 10,40,80."),
    ] = None,
    scl: Annotated[
        str | None,
        typer.Option(help="Sentinel-2's scene classification for rule snow-cloud."),
    ] = None,
    tile_px: Annotated[int | None, typer.Option(help="Side of a tile.")] = None,
    margin_px: Annotated[int | None, typer.Option(help="Uncounted edge of a tile.")] = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Map scenes with a model: classes, scores, polygons, quick look and STAC item.

    A run that was stopped goes on where it was; finished scenes are skipped.

    Several models see the same tiles, read once, and give one map of components: a bit mask in
    which classes of different models may overlap, and the classes of each model. So does one
    model with --rules.

    Examples:

        headframe map scene.tif --model tailings-s2-rgb --out maps

        headframe map 'scenes/*.tif' --model runs/pits --out maps --scores --min-area-ha 0.5

        headframe map preview.tif --model tailings-s2-rgb --out maps --scale 0.0039 --offset 0

        headframe map scene.tif --model runs/m1 runs/m2 runs/m3 runs/m4 --out maps --rules all

        headframe map scene.tif --model runs/m1,runs/m3 --out maps --rules snow-cloud --scl scl.tif
    """
    from headframe.cli.console import emit_json, progress, say
    from headframe.core.radar import parse_radar_unit
    from headframe.engine.bundle import load_bundle
    from headframe.engine.mapping import MapOptions, map_components, map_scenes
    from headframe.io.scene import SceneOptions
    from headframe.surface.rule_choice import RuleSources, choose_rules

    sources = RuleSources(land_cover, _class_numbers(land_cover_exclude), scl)
    scenes, models = _scenes_and_models(scenes, model)
    names = band_names(bands)
    options = MapOptions(
        scene=SceneOptions(
            bands=names, scale=scale, offset=offset, s1_unit=parse_radar_unit(s1_unit)
        ),
        scores=scores,
        polygons=not no_polygons,
        min_area_ha=min_area_ha,
        simplify_m=simplify_m,
        threshold=threshold,
        tile_px=tile_px,
        margin_px=margin_px,
        device=device,
    )
    bundles = [load_bundle(name) for name in models]
    chosen = choose_rules(rules, [bundle.spec for bundle in bundles], sources=sources)
    with progress() as shown:
        if len(bundles) == 1 and chosen is None:
            results = map_scenes(
                scenes, bundle=bundles[0], out=out, options=options, progress=shown
            )
        else:
            results = map_components(
                scenes, bundles=bundles, out=out, options=options, progress=shown, rules=chosen
            )
    if as_json:
        emit_json([result.to_json() for result in results])
        return
    for result in results:
        areas = ", ".join(f"{name} {ha:,.1f} ha" for name, ha in (result.area_ha or {}).items())
        done = "already mapped" if result.skipped else f"{result.seconds:.1f} s"
        main = result.outputs.get("components") or result.outputs["classes"]
        say(f"{main}  ({done}{'; ' + areas if areas else ''})")
        for entry in result.rules or ():
            say(f"  {_told(entry)}")


def _scenes_and_models(words: list[str], models: list[str]) -> tuple[list[str], list[str]]:
    """Tell scenes from models: an option takes one word, so ``--model A B`` leaves B a scene.

    What is a model's folder, a shipped name where no file is so called, or on the hub is a model.
    """
    from headframe.engine.bundle import DESCRIPTION, shipped_bundles

    def is_model(word: str) -> bool:
        path = Path(word)
        if word.startswith("hf://") or (word in shipped_bundles() and not path.exists()):
            return True
        return (path / DESCRIPTION).is_file() or (path / "bundle" / DESCRIPTION).is_file()

    named = [name.strip() for text in models for name in _listed(text)]
    named += [word for word in words if is_model(word)]
    scenes = [word for word in words if not is_model(word)]
    if not scenes:
        raise InputError("no scene is named, only models. Name a scene first.")
    for word in scenes:
        _refuse_typo(word, named)
    return scenes, named


def _refuse_typo(word: str, models: list[str]) -> None:
    """Name the closest models where a word is no file and may be a model's mistyped name.

    Raises:
        MissingFileError: there is nothing of this name, and it does not look like a raster.
    """
    from glob import has_magic

    from headframe.engine.bundle import shipped_bundles
    from headframe.io.layers import is_remote, is_subdataset
    from headframe.io.sources import RASTER_SUFFIXES

    path = Path(word)
    elsewhere = is_remote(word) or word.startswith("/vsi") or is_subdataset(word) or has_magic(word)
    is_raster = path.suffix.lower() in (*RASTER_SUFFIXES, ".json")
    if elsewhere or is_raster or path.exists():
        return
    folders = dict.fromkeys([path.parent, *(Path(name).parent for name in models)])
    known = [*models, *shipped_bundles(), *(name for f in folders for name in _bundles_in(f))]
    closest = get_close_matches(word, dict.fromkeys(known), n=3, cutoff=0.0)
    raise MissingFileError(
        f"{word}: no such file or folder, so no scene, and no model of this name; closest models: "
        f"{', '.join(closest)}."
    )


def _bundles_in(folder: Path) -> list[str]:
    """List the models beside one another in a folder."""
    from headframe.engine.bundle import DESCRIPTION

    found = [*folder.glob(f"*/{DESCRIPTION}"), *folder.glob(f"*/bundle/{DESCRIPTION}")]
    return sorted(str(folder / path.relative_to(folder).parts[0]) for path in found)


def _listed(text: str) -> list[str]:
    """Split names with commas between, unless there is a folder of the whole name."""
    return [text] if Path(text).exists() else [part for part in text.split(",") if part.strip()]


def _class_numbers(text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in (text or "").split(",") if part.strip())
    except ValueError as exc:
        raise InputError(
            f"--land-cover-exclude {text}: not whole numbers with commas between, like 10,40."
        ) from exc


def _told(entry: dict[str, Any]) -> str:
    """Say in one line what a rule did."""
    if "skipped" in entry:
        return f"{entry['rule']}: not applied, {entry['skipped']}"
    if "nodata_pixels" in entry:
        return f"{entry['rule']}: {entry['nodata_pixels']:,} pixels without data"
    gone = [
        f"{name} {count:,} px ({entry['objects'].get(name, 0):,} whole)"
        for name, count in entry["pixels"].items()
    ]
    return f"{entry['rule']}: removed {', '.join(gone) or 'nothing'}"
