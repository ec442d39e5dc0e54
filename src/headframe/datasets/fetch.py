"""Fetching images of sites from a STAC catalogue, in a way that a kill does no harm."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pystac

from headframe.core.errors import (
    BandError,
    CrsError,
    DatasetError,
    FormatError,
    MissingFileError,
    SiteError,
    UnitError,
)
from headframe.core.progress import SILENT, Progress
from headframe.core.sensors import Sensor
from headframe.datasets.archives import (
    Collection,
    Period,
    Rule,
    get_collection,
    licence_of,
    periods,
    ranked,
)
from headframe.datasets.fetch_record import (
    IMAGES,
    RECORDS,
    SiteRecord,
    read_record,
    working,
    write_summary,
)
from headframe.io.files import write_json
from headframe.io.places import Place
from headframe.io.stac_read import parse_item
from headframe.io.stac_search import (
    EARTH_SEARCH,
    Catalogue,
    Query,
    cloud_cover,
    item_content,
    open_catalogue,
    taken,
)
from headframe.io.stac_window import Ground, outline, read_window
from headframe.io.stored import read_header, write_stored

POINT_SIZE_M = 5120.0
"""Side of the square around a point where none is asked for: 512 pixels of 10 m, as papers/002."""
TRIES = 4
"""How many items of a period are read before it is given up: they fail, or hold no data here."""

_log = logging.getLogger("headframe")


@dataclass(frozen=True)
class FetchOptions:
    """What is fetched from where.

    Attributes:
        rule: which images.
        catalog: STAC API, catalogue or file of items; see ``io.stac_search.open_catalogue``.
        collection: name in ``archives.COLLECTIONS``.
        margin_m: added around the bounds of a polygon; a site with ``rule.size_m``, or a point,
            is a square of that side (a point's is 5,120 m if not said).
        bands: common names; all of the sensor's reflectance, or vv and vh, if not said.
    """

    rule: Rule
    catalog: str = EARTH_SEARCH
    collection: str = "sentinel-2-l2a"
    margin_m: float = 500.0
    bands: tuple[str, ...] | None = None


@dataclass(frozen=True)
class FetchReport:
    """What came of it.

    Attributes:
        images: files of this and of earlier calls, by site.
        fetched: how many of them are new.
        missing: periods without an image, by site; sites with all of theirs are left out.
        notes: why, one line a site.
    """

    images: dict[str, tuple[str, ...]]
    fetched: int
    missing: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Job:
    """What all sites share."""

    out: Path
    options: FetchOptions
    collection: Collection
    catalogue: Catalogue
    periods: tuple[Period, ...]
    progress: Progress


def fetch(
    places: Sequence[Place], *, out: Path, options: FetchOptions, progress: Progress = SILENT
) -> FetchReport:
    """Fetch one image a site and period, only the window around the site.

    An image lies in ``out/images/<site>/<date>.tif``: bands described by common names, with
    factor, offset and nodata, tags for sensor, date, item, cloud cover and licence. ``fetch.json``
    holds the request and every item, ``sites.csv`` one row a site with its facts. Called again
    with the same request, it goes on where it was killed: images that are there are not fetched
    again, and periods without an image are looked for anew. A site without an image is reported
    and does not stop the others.

    Args:
        places: sites, from ``io.places.read_places``.
        out: folder: new, empty, or of an earlier call with the same request.
        options: what and from where.
        progress: told of every site and period.

    Raises:
        DatasetError: no sites, or two whose names make one folder.
        SiteError: a site without a place.
        UnknownNameError: no such collection.
        MissingFileError: the catalogue's file is not there.
        FormatError: it is no STAC.
        JobError: the catalogue cannot be reached; what was fetched stays.
        OutputError: ``out`` cannot be written or holds another request.
    """
    collection = get_collection(options.collection)
    folders = _folders(places)
    if options.bands is not None:
        for name in options.bands:
            collection.sensor_of({}).band(name)
    grounds = {folder: _ground(place, options) for folder, place in folders.items()}
    catalogue = open_catalogue(options.catalog)
    with working(out, _request(options)):
        job = _Job(out, options, collection, catalogue, periods(options.rule), progress)
        progress.start("Fetching", len(places) * len(job.periods))
        records = {}
        fetched = 0
        for folder, place in folders.items():
            before = read_record(out / RECORDS / f"{folder}.json")
            record = SiteRecord.begun(place.site, grounds[folder].area, place.facts)
            if before is not None:
                record.keep(before, out)
            fetched -= len(record.images)
            records[folder] = _fetch_site(folder, record, grounds[folder], job)
            fetched += len(record.images)
        progress.finish()
        write_summary(out, _request(options), records)
    return _report(records, fetched)


def _fetch_site(folder: str, record: SiteRecord, ground: Ground, job: _Job) -> SiteRecord:
    """Fetch what is missing of one site, and note it after every image."""
    open_periods = [period for period in job.periods if period.name not in record.images]
    job.progress.advance(len(job.periods) - len(open_periods))
    if not open_periods:
        return record
    area = outline(ground)
    items = job.catalogue.search(
        Query(
            job.collection.name,
            area,
            open_periods[0].start,
            open_periods[-1].end,
            job.options.rule.max_cloud if job.collection.cloud else None,
        )
    )
    for period in open_periods:
        order = ranked(items, period, collection=job.collection, rule=job.options.rule, area=area)
        found = _first_good(order, folder, ground, job)
        if isinstance(found, str):
            record.missing[period.name] = found
        else:
            record.images[period.name] = found
        record.images = dict(sorted(record.images.items()))
        write_json(job.out / RECORDS / f"{folder}.json", asdict(record))
        job.progress.advance()
    return record


def _first_good(
    order: Sequence[pystac.Item], folder: str, ground: Ground, job: _Job
) -> dict[str, Any] | str:
    """Write the first item that can be read and has data here; its entry, or why there is none."""
    reason = _nothing(job)
    tried = 0
    for item in order:
        if tried == TRIES:
            break
        try:
            return _fetch_item(item, folder, ground, job)
        except BandError as exc:
            reason = str(exc)
        except (FormatError, MissingFileError, CrsError, UnitError) as exc:
            reason = str(exc)
            tried += 1
    return reason


def _nothing(job: _Job) -> str:
    if job.collection.cloud:
        return f"no item with at most {job.options.rule.max_cloud:g} % cloud"
    return "no item"


def _fetch_item(item: pystac.Item, folder: str, ground: Ground, job: _Job) -> dict[str, Any]:
    day = f"{taken(item):%Y-%m-%d}"
    path = job.out / IMAGES / folder / f"{day}.tif"
    sensor = job.collection.sensor_of(item.properties)
    cloud = cloud_cover(item)
    entry: dict[str, Any] = {
        "file": path.relative_to(job.out).as_posix(),
        "item": item.id,
        "datetime": taken(item).isoformat(),
        "cloud_cover": cloud,
        "licence": licence_of(item, job.collection),
        "sensor": sensor.name,
    }
    tags = {
        "SITE": folder,
        "DATE": day,
        "TIFFTAG_DATETIME": f"{taken(item):%Y:%m:%d %H:%M:%S}",
        "STAC_COLLECTION": job.collection.name,
        "STAC_ITEM": item.id,
        "LICENSE": str(entry["licence"]),
        **({} if cloud is None else {"CLOUD_COVER": f"{cloud:g}"}),
    }
    if not _is_written(path, item.id):
        _write_image(path, item, sensor, ground=ground, tags=tags, job=job)
    header = read_header(path)
    height, width = header.geobox.shape
    return {
        **entry,
        "bands": list(header.descriptions),
        "crs": str(header.geobox.crs),
        "shape": [int(height), int(width)],
    }


def _write_image(
    path: Path,
    item: pystac.Item,
    sensor: Sensor,
    *,
    ground: Ground,
    tags: Mapping[str, str],
    job: _Job,
) -> None:
    content = item_content(item)
    source = item.get_self_href() or job.options.catalog
    bands = job.options.bands or job.collection.bands_of(sensor)
    chip = read_window(parse_item(content, source), bands, sensor=sensor, ground=ground, tags=tags)
    if not np.asarray(chip.valid.all(axis=0)).any():
        raise FormatError(f"{item.id}: has no data around the site")
    write_stored(path, chip)


def _is_written(path: Path, item: str) -> bool:
    """Whether a killed call has left this very item's image, complete since it has its name."""
    if not path.is_file():
        return False
    try:
        return read_header(path).tags.get("STAC_ITEM") == item
    except (FormatError, CrsError):
        return False


def _ground(place: Place, options: FetchOptions) -> Ground:
    if place.shape is None:
        raise SiteError(
            f"site {place.site!r} has no place. Give columns lon and lat, or points or polygons."
        )
    size = options.rule.size_m
    if size is None and not place.shape.envelope.area:
        size = POINT_SIZE_M
    return Ground(place.shape, size, options.margin_m)


def _folders(places: Sequence[Place]) -> dict[str, Place]:
    """Folder of every site: its name with what no file system likes taken out."""
    found: dict[str, Place] = {}
    for place in places:
        folder = re.sub(r"[^\w.-]+", "_", place.site).strip("._") or "site"
        if folder in found:
            raise DatasetError(
                f"sites {found[folder].site!r} and {place.site!r} would both lie in {folder}. "
                "Rename one."
            )
        found[folder] = place
    if not found:
        raise DatasetError("no sites to fetch images of.")
    return found


def _request(options: FetchOptions) -> dict[str, Any]:
    rule = options.rule
    return {
        "catalog": options.catalog,
        "collection": options.collection,
        "start": rule.start.isoformat(),
        "end": rule.end.isoformat(),
        "max_cloud": rule.max_cloud,
        "one_per": rule.one_per,
        "size_m": rule.size_m,
        "margin_m": options.margin_m,
        "bands": None if options.bands is None else list(options.bands),
    }


def _report(records: Mapping[str, SiteRecord], fetched: int) -> FetchReport:
    missing = {r.site: tuple(r.missing) for r in records.values() if r.missing}
    notes = []
    for record in records.values():
        if record.missing:
            reasons = "; ".join(dict.fromkeys(record.missing.values()))
            notes.append(
                f"site {record.site}: no image of {', '.join(record.missing)} ({reasons})."
            )
    for line in notes:
        _log.warning("%s", line)
    images = {
        record.site: tuple(sorted(str(entry["file"]) for entry in record.images.values()))
        for record in records.values()
    }
    return FetchReport(images, fetched, missing, tuple(notes))
