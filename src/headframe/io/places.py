"""Places with names: points or polygons of sites, and the table of facts that comes with them."""

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj.exceptions import ProjError
from shapely.geometry.base import BaseGeometry

from headframe.core.errors import (
    CrsError,
    FormatError,
    GeometryError,
    MissingFileError,
    SiteError,
)
from headframe.io.kml import Placemark, read_kml
from headframe.io.vector import MAGIC, named

Fact = str | int | float | bool | None
"""One cell of a table."""

SITE_NAMES = ("site", "name")
"""Columns taken as the site's name where none is asked for, the first found."""

_Row = tuple[dict[str, Fact], BaseGeometry | None]
_LON_NAMES = ("lon", "longitude", "lng", "x")
_LAT_NAMES = ("lat", "latitude", "y")
_KINDS = f"{', '.join(MAGIC)}, .kml, .kmz or .csv"


@dataclass(frozen=True)
class Place:
    """One site.

    Attributes:
        site: its name, as written.
        shape: what is known of its ground, EPSG:4326; a point, a polygon or several; None in a
            table without places.
        facts: the other fields; numbers are numbers, empty cells None.
    """

    site: str
    shape: BaseGeometry | None
    facts: Mapping[str, Fact]


def read_places(path: Path, *, site_field: str | None = None) -> tuple[Place, ...]:
    """Read sites with their places and facts, those of one name gathered into one.

    Args:
        path: points or polygons as ``.geojson``, ``.gpkg``, ``.shp``, ``.kml``, ``.kmz``, or
            ``.csv`` (UTF-8, comma or semicolon), which has places where it has columns ``lon``
            and ``lat`` (degrees, WGS 84).
        site_field: column of the site's name, in any case; ``site``, else ``name``, if not said.

    Returns:
        Sites in file order, each once; shapes of one site are united, its facts are the first
        row's.

    Raises:
        MissingFileError: no such file.
        FormatError: not readable as what its suffix says, no such column, or no sites.
        UnsafeFileError: see ``io.kml``.
        CrsError: a layer without CRS, or one that cannot be brought to EPSG:4326.
        GeometryError: coordinates that are no longitude and latitude.
        SiteError: a row names no site.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file of sites.")
    suffix = path.suffix.lower()
    if suffix == ".csv":
        rows = _csv_rows(path)
    elif suffix in (".kml", ".kmz"):
        document = read_kml(path)
        rows = [_kml_row(placemark) for placemark in (*document.placemarks, *document.places)]
    elif suffix in MAGIC:
        rows = _layer_rows(path, suffix)
    else:
        raise FormatError(f"{path}: sites are read from {_KINDS}.")
    return _gathered(rows, site_field, path)


def _csv_rows(path: Path) -> list[_Row]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise FormatError(f"{path}: cannot be read as UTF-8 ({exc}). Save it again.") from exc
    first = text.partition("\n")[0]
    delimiter = ";" if first.count(";") > first.count(",") else ","
    reader = csv.DictReader(text.splitlines(), delimiter=delimiter, strict=True)
    try:
        cells = list(reader)
    except csv.Error as exc:
        raise FormatError(f"{path}, line {reader.line_num}: is not CSV ({exc}).") from exc
    names = [str(name).strip() for name in reader.fieldnames or ()]
    if any(None in row for row in cells):
        raise FormatError(f"{path}: a row has more cells than the first line has names.")
    lon, lat = _column(names, _LON_NAMES), _column(names, _LAT_NAMES)
    rows: list[_Row] = []
    for row in cells:
        facts = {name: _fact(value) for name, value in zip(names, row.values(), strict=True)}
        shape = None
        if lon and lat:
            shape = _point(facts.pop(lon), facts.pop(lat), path)
        rows.append((facts, shape))
    return rows


def _point(lon: Fact, lat: Fact, path: Path) -> BaseGeometry:
    if isinstance(lon, int | float) and isinstance(lat, int | float):
        return shapely.Point(lon, lat)  # its range is checked with all other shapes
    raise GeometryError(
        f"{path}: ({lon}, {lat}) is no longitude and latitude in degrees. Correct the row."
    )


def _kml_row(placemark: Placemark) -> _Row:
    folder = {"folder": placemark.folders[-1]} if placemark.folders else {}
    fields: dict[str, Fact] = {key: _fact(value) for key, value in placemark.fields.items()}
    rings = [shapely.Polygon(p.outer) for p in placemark.polygons if len(p.outer) >= 4]
    shapes = [*rings, *(shapely.Point(xy) for xy in placemark.points)]
    return {"name": placemark.name or None, **folder, **fields}, shapely.union_all(shapes)


def _layer_rows(path: Path, suffix: str) -> list[_Row]:
    with path.open("rb") as file:
        if not MAGIC[suffix](file.read(64)):
            raise FormatError(f"{path}: its content is not what {suffix} stands for.")
    try:
        layers = [str(name) for name, _ in pyogrio.list_layers(path)]
        if len(layers) > 1:
            raise FormatError(f"{path}: has {len(layers)} layers ({named(layers)}); keep one.")
        frame = gpd.read_file(path, engine="pyogrio")
    except FormatError:
        raise
    except (DataSourceError, DataLayerError, ValueError) as exc:
        raise FormatError(f"{path}: cannot be read ({_line(exc)}).") from exc
    shapes: list[BaseGeometry | None] = [None] * len(frame)
    if isinstance(frame, gpd.GeoDataFrame):
        shapes = list(_geographic(frame, path).geometry)
        frame = frame.drop(columns=frame.geometry.name)
    records = pd.DataFrame(frame).to_dict(orient="records")
    facts = [{str(key): _fact(value) for key, value in row.items()} for row in records]
    return list(zip(facts, shapes, strict=True))


def _geographic(frame: gpd.GeoDataFrame, path: Path) -> gpd.GeoDataFrame:
    if frame.crs is None:
        raise CrsError(f"{path}: has no coordinate reference system. Save it again with one.")
    try:
        return frame.to_crs("EPSG:4326")
    except ProjError as exc:
        raise CrsError(f"{path}: cannot be brought to EPSG:4326 ({_line(exc)}).") from exc


def _gathered(rows: Sequence[_Row], site_field: str | None, path: Path) -> tuple[Place, ...]:
    """One place a site, in order of first appearance."""
    wanted = (site_field,) if site_field else SITE_NAMES
    shapes: dict[str, list[BaseGeometry]] = {}
    facts: dict[str, dict[str, Fact]] = {}
    for number, (row, shape) in enumerate(rows, start=1):
        column = _column(row, wanted)
        if column is None:
            raise FormatError(
                f"{path}: has no column {' or '.join(map(repr, wanted))}; it has "
                f"{', '.join(row) or 'none'}. Name the site's column with --site-field."
            )
        site = "" if row[column] is None else str(row[column]).strip()
        if not site:
            raise SiteError(f"{path}: row {number} names no site. Fill {column} or delete the row.")
        facts.setdefault(site, {key: value for key, value in row.items() if key != column})
        shapes.setdefault(site, [])
        if shape is not None and not shape.is_empty:
            shapes[site].append(_checked(shape, site, path))
    if not facts:
        raise FormatError(f"{path}: holds no sites.")
    return tuple(
        Place(site, shapely.union_all(shapes[site]) if shapes[site] else None, row)
        for site, row in facts.items()
    )


def _checked(shape: BaseGeometry, site: str, path: Path) -> BaseGeometry:
    west, south, east, north = shape.bounds
    if not (west >= -180 and east <= 180 and south >= -90 and north <= 90):  # NaN, too
        raise GeometryError(
            f"{path}: site {site!r} lies at ({west:g}, {south:g}), which is no longitude and "
            "latitude in degrees. Correct it, or the file's CRS."
        )
    return shapely.force_2d(shapely.make_valid(shape))


def _column(names: Iterable[str], wanted: Sequence[str]) -> str | None:
    known = {name.lower(): name for name in names}
    return next((known[word.lower()] for word in wanted if word.lower() in known), None)


def _fact(value: Any) -> Fact:  # noqa: ANN401 - a cell of any table
    """Turn a cell into what JSON holds; text that is a number becomes one."""
    if isinstance(value, str):
        return _number(value.strip())
    if value is None or pd.isna(value):
        return None
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, bool | int | float) else str(value)


def _number(word: str) -> Fact:
    digits = word.lstrip("+-")
    if "_" in word or (digits[:1] == "0" and digits[1:2].isdigit()):
        return word  # 007 and 1_000 are names
    kinds: tuple[Callable[[str], int | float], ...] = (int, float)
    for kind in kinds:
        try:
            value = kind(word)
        except ValueError:
            continue
        return value if math.isfinite(value) else word
    return word or None


def _line(exc: Exception) -> str:
    return " ".join(str(exc).split())
