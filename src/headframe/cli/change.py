"""``headframe change``: what changed between two dates."""

from pathlib import Path
from typing import Annotated

import typer

from headframe.cli.scene_options import Offset, band_names


def change(
    before: Annotated[
        str, typer.Argument(metavar="BEFORE", help="Earlier date: class map, or scene.")
    ],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="Later date, likewise.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    model: Annotated[
        str | None, typer.Option(help="Model that maps scenes first; not for class maps.")
    ] = None,
    min_patch_px: Annotated[
        int, typer.Option(help="Smallest patch of change, pixels of the finer map.")
    ] = 25,
    min_area_ha: Annotated[
        float | None, typer.Option(help="The same in hectares, instead of pixels.")
    ] = None,
    sites: Annotated[
        Path | None, typer.Option(help="Polygons of sites: KML, GeoJSON, GeoPackage, shapefile.")
    ] = None,
    site_field: Annotated[str | None, typer.Option(help="Field that names a site.")] = None,
    cloud_before: Annotated[
        str | None, typer.Option(help="Cloud mask (1 is cloud) or SCL raster of BEFORE.")
    ] = None,
    cloud_after: Annotated[str | None, typer.Option(help="Likewise of AFTER.")] = None,
    cloud_values: Annotated[
        str | None, typer.Option(help="Numbers that mean cloud, e.g. 3,8,9,10.")
    ] = None,
    bands: Annotated[
        str | None, typer.Option(help="With --model: names of the scenes' bands in file order.")
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="With --model: unit = stored value x SCALE + OFFSET.")
    ] = None,
    offset: Offset = None,
    threshold: Annotated[
        float | None, typer.Option(help="With --model: score of the target, 0-1.")
    ] = None,
    device: Annotated[str, typer.Option(help="With --model: auto, cpu, cuda ...")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compare two dates: stable, expansion, contraction, no data.

    Takes two class maps of one place, two masks of components that may overlap (each component is
    then compared for itself), or two scenes and a model. They may differ in reference
    system, extent, pixel size and pixel corners. Areas are in hectares on the ellipsoid, with the
    half-pixel bound of what counting pixels leaves uncertain.

    Examples:

        headframe change 2019.classes.tif 2024.classes.tif --out change

        headframe change 2019.tif 2024.tif --model tailings-s2-rgb --out change --sites mines.kml

        headframe change a.classes.tif b.classes.tif --out change --cloud-after b_SCL.tif --json

        headframe change a.components.tif b.components.tif --out change
    """
    from headframe.cli.console import emit_json, progress, say, table
    from headframe.engine.mapping import MapOptions
    from headframe.io.scene import SceneOptions
    from headframe.monitor.change import compare
    from headframe.monitor.dates import Mapper, prepare_dates
    from headframe.monitor.options import ChangeOptions

    options = ChangeOptions(
        min_patch_px=min_patch_px,
        min_area_ha=min_area_ha,
        sites=sites,
        site_field=site_field,
        cloud_before=cloud_before,
        cloud_after=cloud_after,
        cloud_values=None if cloud_values is None else _numbers(cloud_values),
    )
    mapper = None
    if model is not None:
        names = band_names(bands)
        scene = SceneOptions(bands=names, scale=scale, offset=offset)
        mapper = Mapper(
            model, MapOptions(scene=scene, polygons=False, threshold=threshold, device=device)
        )
    with progress() as shown:
        dates = prepare_dates([before, after], out=out, mapper=mapper, progress=shown)
        result = compare(*dates, out=out, options=options, progress=shown)
    if as_json:
        emit_json(result.to_json())
        return
    names_shown = ("before", "after", "stable", "expansion", "contraction")
    table(
        "hectares",
        ("site", "class", *names_shown, "no data"),
        [
            (
                row["site"],
                row["class"],
                *(f"{row[f'{n}_ha']:,.2f} ± {row[f'{n}_pm_ha']:,.2f}" for n in names_shown),
                f"{row['no_data_ha']:,.2f}",
            )
            for row in result.rows
        ],
    )
    say(f"{out / 'change.csv'}, change.gpkg, change.tif, change.png, transitions.csv, change.json")


def _numbers(text: str) -> tuple[int, ...]:
    from headframe.core.errors import InputError

    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as exc:
        raise InputError(
            f"--cloud-values {text} is no list of whole numbers. Write e.g. 3,8,9,10."
        ) from exc
