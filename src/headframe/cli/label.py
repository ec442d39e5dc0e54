"""`headframe label`: polygons and images to a labelled data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headframe.surface.labelling import LabelReport


def label(
    images: Annotated[
        list[str], typer.Argument(help="GeoTIFFs, or folders of them; chips lie in IMAGES/<site>.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder of the data set to make; with --assist a GeoPackage."
        ),
    ],
    polygons: Annotated[
        Path | None,
        typer.Option(help="KML, KMZ, GeoJSON, GPKG or shapefile with the mines' outlines."),
    ] = None,
    reviewed: Annotated[
        Path | None,
        typer.Option(help="GeoPackage of --assist or `propose`, judged in QGIS, to label by."),
    ] = None,
    skip_todo: Annotated[
        bool, typer.Option("--skip-todo", help="Leave out what nobody has judged in --reviewed.")
    ] = False,
    assisted: Annotated[
        bool, typer.Option("--assist", help="Propose polygons to be judged; no data set yet.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="--assist: bundle that finds mines, as `map` takes it.")
    ] = None,
    sam: Annotated[
        str | None,
        typer.Option(help="--assist: draws the outlines; litemedsam if not said, or none."),
    ] = None,
    min_area_ha: Annotated[
        float | None, typer.Option(help="--assist: leave smaller ones out; 0.5 if not said.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="--assist: score of the target, 0-1; else the model's.")
    ] = None,
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

    With --assist a model proposes the polygons and SAM draws their outlines; judge them in QGIS
    (column review: accept, reject; move outlines, draw what was missed) and give the file back
    with --reviewed. The data set then knows which polygon a person drew, changed or accepted.

    Examples:

        headframe label images --polygons mines.kml --out dataset

        headframe label landsat --polygons sites.kmz --preset landsat-8band --out dataset

        headframe label s2 --polygons dams.gpkg --site-field mine --preset s2-scl --out dataset

        headframe label s2 --polygons parts.gpkg --preset components --class-field kind --class-map classes.yaml --out dataset

        headframe label scenes --assist --model tailings-s2-rgb --out review.gpkg

        headframe label scenes --reviewed review.gpkg --out dataset
    """  # noqa: E501 - an example is one line, to be copied
    import os

    from headframe.cli import console
    from headframe.cli.label_assist import AssistRequest, run_assist
    from headframe.core.sensors import get_sensor
    from headframe.surface.label_presets import get_preset
    from headframe.surface.labelling import LabelOptions, label_images

    request = AssistRequest(model, sam, min_area_ha, threshold)
    if assisted:
        if polygons is not None or reviewed is not None:
            raise typer.BadParameter("--assist proposes polygons; leave --polygons and --reviewed.")
        run_assist(images, out, request, scaling=(scale, offset), as_json=as_json)
        return
    request.refuse()
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
        reviewed=reviewed,
        skip_todo=skip_todo,
    )
    with console.progress() as progress:
        report = label_images(
            [Path(image) for image in images],
            polygons=polygons,
            out=out,
            options=options,
            progress=progress,
        )
    if as_json:
        console.emit_json(report)
    else:
        _say(report, components=get_preset(preset).components)


def _say(report: "LabelReport", *, components: bool) -> None:
    from headframe.cli import console
    from headframe.datasets.provenance import told

    columns = ("split", "sites", "chips")
    rows = [(split, len(sites), report.chips[split]) for split, sites in report.sites.items()]
    console.table(f"Data set {report.out}", columns, rows)
    if components:
        found = ", ".join(f"{name} {n}" for name, n in report.pixels.items() if n)
        console.say(f"Pixels with data, several components a pixel: {found}.")
    else:
        total = sum(report.pixels.values()) or 1
        shares = ", ".join(f"{name} {100 * n / total:.1f} %" for name, n in report.pixels.items())
        console.say(f"Pixels with data: {shares}.")
    if report.provenance is not None:
        console.say(f"Polygons: {told(report.provenance)}.")
    console.say(f"Next: headframe dataset check {report.out}")
