"""`headframe label`: polygons and images to a labelled data set."""

from pathlib import Path
from typing import Annotated

import typer


def label(
    images: Annotated[
        list[Path], typer.Argument(help="GeoTIFFs, or folders of them; chips lie in IMAGES/<site>.")
    ],
    polygons: Annotated[
        Path, typer.Option(help="KML, KMZ, GeoJSON, GPKG or shapefile with the mines' outlines.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the data set to make.")],
    preset: Annotated[
        str,
        typer.Option(
            help="landsat-8band (cloud is band 8), s2-scl (cloud from SCL), plain (neither), "
            "components (polygons with classes, to masks of ten mine components)."
        ),
    ] = "plain",
    site_field: Annotated[
        str | None,
        typer.Option(help="Field of the polygons with the site; else 'site', 'name', folder."),
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer, for a GPKG with several.")] = None,
    class_field: Annotated[
        str | None, typer.Option(help="components: field of the polygons with their class.")
    ] = None,
    class_map: Annotated[
        Path | None,
        typer.Option(help="components: YAML or CSV, source class to component or 'ignore'."),
    ] = None,
    target: Annotated[str, typer.Option("--class", help="Name of class 2.")] = "mining",
    allow_empty: Annotated[
        list[str] | None,
        typer.Option(help="Site whose images may have no polygon; repeat, or separate by commas."),
    ] = None,
    cloud_threshold: Annotated[
        float | None, typer.Option(help="landsat-8band: band 8 means cloud from this value on.")
    ] = None,
    sensor: Annotated[
        str | None, typer.Option(help="Sensor of the images, if not the preset's usual one.")
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Reflectance per stored number, if the file is silent.")
    ] = None,
    offset: Annotated[
        float | None, typer.Option(help="Reflectance of stored 0, e.g. -0.1 for L2A since 2022.")
    ] = None,
    fractions: Annotated[
        tuple[float, float, float], typer.Option(help="Shares of train, val and test.")
    ] = (0.70, 0.15, 0.15),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split.")] = 0,
    stratify: Annotated[
        str | None, typer.Option(help="Field of the polygons to balance over the splits.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes; 0 takes one a core. The output is the same.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Cut polygons into labelled training chips, split by site.

    A pixel is 2 inside a polygon of its image's site, less where NDVI is over 0.5, 1 under cloud,
    else 0; with the preset components it carries every component whose polygon it lies in.
    Run the same command again after an interruption: it goes on where it stopped.

    Examples:

        headframe label images --polygons mines.kml --out dataset

        headframe label landsat --polygons sites.kmz --preset landsat-8band --out dataset

        headframe label s2 --polygons dams.gpkg --site-field mine --preset s2-scl --out dataset

        headframe label s2 --polygons parts.gpkg --preset components --class-field kind --class-map classes.yaml --out dataset
    """  # noqa: E501 - an example is one line, to be copied
    import os

    from headframe.cli import console
    from headframe.core.sensors import get_sensor
    from headframe.surface.label_presets import get_preset
    from headframe.surface.labelling import LabelOptions, label_images

    if cloud_threshold is not None and get_preset(preset).cloud != "last":
        raise typer.BadParameter(f"--cloud-threshold has no meaning with --preset {preset}.")
    usual = get_sensor(sensor or get_preset(preset).sensor)
    scaling = None
    if scale is not None or offset is not None:
        if scale is not None and not scale > 0:
            raise typer.BadParameter(f"--scale must be above 0, not {scale:g}.")
        scaling = (usual.scale if scale is None else scale, offset or 0.0)
    options = LabelOptions(
        preset=preset,
        site_field=site_field,
        layer=layer,
        target=target,
        allow_empty=tuple(n.strip() for name in allow_empty or () for n in name.split(",")),
        cloud_threshold=cloud_threshold,
        sensor=sensor,
        scaling=scaling,
        fractions=fractions,
        seed=seed,
        stratify=stratify,
        workers=workers or os.cpu_count() or 1,
        class_field=class_field,
        class_map=class_map,
    )
    with console.progress() as progress:
        report = label_images(
            images, polygons=polygons, out=out, options=options, progress=progress
        )
    if as_json:
        console.emit_json(report)
        return
    columns = ("split", "sites", "chips")
    rows = [(split, len(sites), report.chips[split]) for split, sites in report.sites.items()]
    console.table(f"Data set {report.out}", columns, rows)
    if get_preset(preset).components:
        found = ", ".join(f"{name} {n}" for name, n in report.pixels.items() if n)
        console.say(f"Pixels with data, several components a pixel: {found}.")
    else:
        total = sum(report.pixels.values()) or 1
        shares = ", ".join(f"{name} {100 * n / total:.1f} %" for name, n in report.pixels.items())
        console.say(f"Pixels with data: {shares}.")
    console.say(f"Next: headframe dataset check {report.out}")
