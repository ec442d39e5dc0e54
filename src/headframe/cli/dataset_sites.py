"""`headframe dataset fetch` and `headframe dataset sites`: images and facts of sites."""

from pathlib import Path
from typing import Annotated

import typer

from headframe.cli.scene_options import band_names

SiteField = Annotated[
    str | None, typer.Option(help="Field that names the site; site, else name, if not given.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def fetch(
    sites: Annotated[Path, typer.Argument(help="Points or polygons: GeoJSON, GPKG, KML, CSV.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the images.")],
    catalog: Annotated[
        str | None, typer.Option(help="STAC API, catalogue or file of items; Earth Search if not.")
    ] = None,
    collection: Annotated[
        str, typer.Option(help="sentinel-2-l2a, sentinel-1-grd, sentinel-1-rtc or landsat-c2-l2.")
    ] = "sentinel-2-l2a",
    preset: Annotated[
        str | None, typer.Option(help="A paper's rule: minecam or minesegsat; options replace it.")
    ] = None,
    start: Annotated[str | None, typer.Option(help="First day: 2016-01-01.")] = None,
    end: Annotated[str | None, typer.Option(help="Last day, included.")] = None,
    max_cloud: Annotated[
        float | None, typer.Option(help="Percent of cloud in the whole scene; 5 if not given.")
    ] = None,
    one_per: Annotated[str | None, typer.Option(help="year or month; year if not given.")] = None,
    size_m: Annotated[
        float | None, typer.Option(min=1, help="Side of a square around each site, metres.")
    ] = None,
    margin_m: Annotated[
        float, typer.Option(min=0, help="Around the bounds of a polygon, without --size-m.")
    ] = 500.0,
    bands: Annotated[str | None, typer.Option(help="red,green,blue; all if not given.")] = None,
    site_field: SiteField = None,
    as_json: AsJson = False,
) -> None:
    """Fetch one image a site and year (or month) from a STAC catalogue, the window only.

    The least cloudy scene is taken, of equals the one nearest to the middle of the year or month.
    After a kill, or for years that had no image yet, run it again.

    Examples:
        headframe dataset fetch mines.gpkg --out images --preset minecam
        headframe dataset fetch mines.csv --out s1 --collection sentinel-1-rtc --catalog URL
            --start 2021-01-01 --end 2021-12-31
        headframe dataset fetch mines.kml --out july --start 2021-07-01 --end 2021-07-31
            --one-per month --max-cloud 10
    """
    from headframe.cli import console
    from headframe.datasets.archives import make_rule
    from headframe.datasets.fetch import FetchOptions
    from headframe.datasets.fetch import fetch as fetch_images
    from headframe.io.places import read_places
    from headframe.io.stac_search import EARTH_SEARCH

    rule = make_rule(
        preset, start=start, end=end, max_cloud=max_cloud, one_per=one_per, size_m=size_m
    )
    options = FetchOptions(
        rule,
        catalog=catalog or EARTH_SEARCH,
        collection=collection,
        margin_m=margin_m,
        bands=band_names(bands),
    )
    places = read_places(sites, site_field=site_field)
    with console.progress() as bar:
        report = fetch_images(places, out=out, options=options, progress=bar)
    total = sum(len(files) for files in report.images.values())
    if as_json:
        console.emit_json({"images": report.images, "missing": report.missing})
    else:
        console.say(
            f"{out}: {total} images of {len(places)} sites, {report.fetched} of them new; "
            f"{len(report.missing)} sites lack some. See {out / 'sites.csv'}."
        )
    if not total:
        raise typer.Exit(1)


def join_sites(
    dataset: Annotated[Path, typer.Argument(help="Folder of the data set.", metavar="DATASET")],
    table: Annotated[Path, typer.Argument(help="CSV, GPKG, … with a column site.")],
    *,
    site_field: SiteField = None,
    as_json: AsJson = False,
) -> None:
    """Note facts about sites (material, type, …) from a table in dataset.json.

    Recipes choose by them (data.where), so do `evaluate --where` and `dataset split --stratify`.
    The papers' codes: material CL, MO or RR (coal and lignite, metal ores, rock raw materials);
    type OC, OP or MT (opencast, open-pit, mountain-top).

    Examples:
        headframe dataset sites chips mines.csv
        headframe dataset sites chips mines.gpkg --site-field Name
    """
    from headframe.cli import console
    from headframe.datasets.chips import open_dataset
    from headframe.datasets.manifest import write_manifest
    from headframe.datasets.sitefacts import fact_values, join_facts
    from headframe.io.places import read_places

    opened = open_dataset(dataset)
    report = join_facts(opened, read_places(table, site_field=site_field), source=str(table))
    write_manifest(opened.root, opened.manifest.model_copy(update={"sites": report.facts}))
    if as_json:
        found = {"fields": report.fields, "missing": report.missing, "unknown": report.unknown}
        console.emit_json(found)
        return
    rows = []
    for field in report.fields:
        values = fact_values(report.facts, field)
        shown = ", ".join(values[:6]) + (", …" if len(values) > 6 else "")
        rows.append((field, len(values), shown))
    console.table(f"{dataset}: facts of sites", ("field", "values", "which"), rows)
    for title, names in (
        ("Sites without facts", report.missing),
        ("Sites that are not in the data set", report.unknown),
    ):
        if names:
            console.say(f"{title}: {', '.join(names)}")
