"""Named polygons from KML, KMZ, GeoJSON, GeoPackage and shapefile."""

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj.exceptions import ProjError
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from headframe.core.errors import CrsError, FormatError, GeometryError, MissingFileError
from headframe.io.kml import KmlPolygon, Placemark, Ring, read_kml

FOLDER_FIELD = "folder"
"""KML only: this ``site_field`` takes the innermost folder's name (a field of that name wins)."""

MAX_NAMED = 5
"""How many features a report line names before it counts the rest."""

FLAT = 1e-12
"""Area over squared perimeter up to which a polygon counts as having no area: corners in line have
one of about 1e-17 by rounding, a strip 1 m wide and 100 km long one of 2.5e-6."""

MAGIC: dict[str, Callable[[bytes], bool]] = {
    ".geojson": lambda head: head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"),
    ".json": lambda head: head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"),
    ".gpkg": lambda head: head.startswith(b"SQLite format 3\0"),
    ".shp": lambda head: head.startswith(b"\x00\x00\x27\x0a"),
}
"""What a file of that suffix starts with. GDAL picks its driver by content, so that a virtual
format under a plain suffix could open other files: only the expected content gets that far."""


@dataclass(frozen=True)
class PolygonLayer:
    """Polygons with their sites.

    Attributes:
        frame: GeoDataFrame in EPSG:4326 (longitude, latitude) with columns ``site``, ``name`` and
            ``geometry`` (valid Polygon or MultiPolygon of positive area), in file order;
            ``stratum`` and ``class`` where they were asked for.
        report: what was repaired, dropped or left out, one line each.
        empty_sites: sites of which no polygon with an area is left.
    """

    frame: gpd.GeoDataFrame
    report: tuple[str, ...] = ()
    empty_sites: tuple[str, ...] = ()

    @property
    def sites(self) -> tuple[str, ...]:
        """Site names that have polygons, in order of first appearance."""
        return tuple(dict.fromkeys(self.frame["site"]))


def read_polygons(
    path: Path,
    *,
    site_field: str | None = None,
    layer: str | None = None,
    stratum_field: str | None = None,
    class_field: str | None = None,
    need_site: bool = True,
) -> PolygonLayer:
    """Read polygons and the site each belongs to.

    The site is the field ``site_field`` (any case). Without it: the field ``site``, else ``name``
    (in KML the placemark's name), else the innermost KML folder. Self-crossing rings are repaired
    (every lobe is kept), exact duplicates of one site and polygons without an
    area dropped; all of it is in the report.

    Args:
        path: ``.kml``, ``.kmz``, ``.geojson``, ``.json``, ``.gpkg`` or ``.shp``.
        site_field: name of the field that holds the site.
        layer: GeoPackage only: which layer, where it has several of polygons.
        stratum_field: field kept as column ``stratum``, if one is wanted.
        class_field: field kept as column ``class``, if one is wanted; without ``site_field``
            polygons then belong to no site (``""``), whatever fields there are.
        need_site: whether a file without ``site`` and ``name`` is refused; else its polygons
            belong to no site. A ``site_field`` that is asked for must be there in any case.

    Returns:
        The layer in EPSG:4326; edges of other systems are densified before they are reprojected.

    Raises:
        MissingFileError: no such file.
        FormatError: not what its suffix says, no polygons, or no such field.
        UnsafeFileError: see ``io.kml``.
        CrsError: the layer has no CRS.
        GeometryError: no polygon has an area.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file of polygons.")
    suffix = path.suffix.lower()
    if suffix in (".kml", ".kmz"):
        document = read_kml(path)
        marks = document.placemarks
        placeless = class_field is not None and site_field is None
        sites = ["" if placeless else _kml_site(p, site_field, path) for p in marks]
        extra = {
            column: [_kml_site(p, field, path, option=option) for p in marks]
            for column, field, option in _extra_fields(stratum_field, class_field)
        }
        names = [p.name for p in marks]
        geometries: list[BaseGeometry | None] = [kml_geometry(p) for p in marks]
        report = list(document.report)
    elif suffix in MAGIC:
        frame = _to_geographic(read_layer(path, layer=layer), path)
        placeless = class_field is not None and site_field is None
        names = _ogr_field(frame, ("name",), path, default="")
        sites = (
            [""] * len(frame) if placeless else _ogr_sites(frame, site_field, path, need=need_site)
        )
        extra = {
            column: _ogr_field(frame, (field,), path, option=option)
            for column, field, option in _extra_fields(stratum_field, class_field)
        }
        geometries, report = list(frame.geometry), []
    else:
        raise FormatError(
            f"{path}: polygons are read from .kml, .kmz, .geojson, .gpkg or .shp, "
            f"not from {suffix or 'a file without suffix'}."
        )
    rows = pd.DataFrame({"site": sites, "name": names, **extra}, dtype=str)
    return _tidy(rows, geometries, path=path, report=report)


def tidy_layer(rows: pd.DataFrame, frame: gpd.GeoDataFrame, *, path: Path) -> PolygonLayer:
    """Make a layer of rows of a table: repaired and in EPSG:4326, as from ``read_polygons``.

    Args:
        rows: text columns ``site``, ``name`` and any others, which are kept.
        frame: as from ``read_layer``, a row each.
        path: for messages.

    Raises:
        CrsError: it cannot be brought to EPSG:4326.
        FormatError: no polygons.
        GeometryError: no polygon has an area.
    """
    return _tidy(rows, list(_to_geographic(frame, path).geometry), path=path, report=[])


def _tidy(
    rows: pd.DataFrame,
    geometries: Sequence[BaseGeometry | None],
    *,
    path: Path,
    report: list[str],
) -> PolygonLayer:
    """Repair, drop what has no area and what comes twice, and say so."""
    kept: dict[int, BaseGeometry] = {}
    seen: set[tuple[str, str, bytes]] = set()
    classes = rows["class"] if "class" in rows else rows["site"]
    titles: dict[str, list[str]] = {"self-crossing": [], "duplicate": [], "zero-area": []}
    flat: list[str] = []
    others = 0
    for row, geometry in enumerate(geometries):
        site, name = str(rows["site"].iat[row]), str(rows["name"].iat[row])
        if geometry is None or geometry.geom_type not in ("Polygon", "MultiPolygon"):
            others += 1
            continue
        title = f"{name or 'unnamed'} of site {site or 'unnamed'}"
        shape, crossed = repaired(geometry)
        if shape is None:
            titles["zero-area"].append(title)
            flat.append(site)
            continue
        if crossed:
            titles["self-crossing"].append(title)
        key = (site, str(classes.iat[row]), shapely.to_wkb(shapely.normalize(shape)))
        if key in seen:
            titles["duplicate"].append(title)
            continue
        seen.add(key)
        kept[row] = shape
    if others:
        report.append(f"{path}: {others} feature(s) that are no polygon left out.")
    for what, done in (
        ("self-crossing", "repaired"),
        ("duplicate", "dropped"),
        ("zero-area", "dropped"),
    ):
        if titles[what]:
            count = len(titles[what])
            report.append(f"{path}: {count} {what} polygon(s) {done}: {named(titles[what])}.")
    _need_some(kept, titles["zero-area"], path)
    frame = gpd.GeoDataFrame(
        rows.iloc[list(kept)].reset_index(drop=True),
        geometry=list(kept.values()),
        crs="EPSG:4326",
    )
    empty = set(flat) - set(frame["site"])
    return PolygonLayer(frame, tuple(report), tuple(sorted(empty)))


def _need_some(kept: Sized, flat: Sequence[str], path: Path) -> None:
    if not kept and flat:
        raise GeometryError(
            f"{path}: no polygon has an area; zero-area: {named(flat)}. Draw them again."
        )
    if not kept:
        raise FormatError(f"{path}: holds no polygons.")


def named(titles: Sequence[str]) -> str:
    """List names, the first few of them, for a message of one line."""
    shown = ", ".join(titles[:MAX_NAMED])
    return shown if len(titles) <= MAX_NAMED else f"{shown} and {len(titles) - MAX_NAMED} more"


def repaired(geometry: BaseGeometry) -> tuple[BaseGeometry | None, bool]:
    """Give a valid polygon with an area and whether it was changed, or None if it has none."""
    geometry = shapely.force_2d(geometry)
    if not np.isfinite(shapely.get_coordinates(geometry)).all():
        return None, False
    crossed = not geometry.is_valid
    if crossed:
        # "structure" keeps every lobe of a crossed ring, unites overlapping parts (the default
        # method would cut their overlap out) and drops holes that lie outside.
        geometry = shapely.make_valid(geometry, method="structure", keep_collapsed=False)
    parts = [part for part in shapely.get_parts(geometry) if _has_area(part)]
    if not parts:
        return None, crossed
    return (parts[0] if len(parts) == 1 else MultiPolygon(parts)), crossed


def _has_area(geometry: BaseGeometry) -> bool:
    return geometry.geom_type == "Polygon" and geometry.area > FLAT * geometry.length**2


def kml_geometry(placemark: Placemark) -> BaseGeometry:
    """Make the polygons of a placemark one geometry, valid or not."""
    shapes = [_shapely_polygon(p) for p in placemark.polygons]
    return shapes[0] if len(shapes) == 1 else MultiPolygon(shapes)


def _shapely_polygon(polygon: KmlPolygon) -> Polygon:
    """Build a polygon, valid or not; a ring of under three corners is stretched to a flat one."""
    if not polygon.outer:
        return Polygon()
    holes = [ring for ring in polygon.inner if len(ring) >= 4]
    return Polygon(_at_least_four(polygon.outer), holes)


def _at_least_four(ring: Ring) -> Ring:
    return ring if len(ring) >= 4 else (ring + (ring[-1],) * 3)[:4]


def _extra_fields(stratum: str | None, klass: str | None) -> list[tuple[str, str, str]]:
    """Column, field and option of the fields kept beside site and name."""
    wanted = (("stratum", stratum, "--stratify"), ("class", klass, "--class-field"))
    return [(column, field, option) for column, field, option in wanted if field is not None]


def _kml_site(
    placemark: Placemark, site_field: str | None, path: Path, *, option: str = "--site-field"
) -> str:
    fields = {key.lower(): value for key, value in placemark.fields.items()}
    if site_field is None:
        folder = placemark.folders[-1] if placemark.folders else ""
        return fields.get("site") or placemark.name or folder
    key = site_field.lower()
    if key in fields:
        return fields[key]
    if key == "name":
        return placemark.name
    if key == FOLDER_FIELD and placemark.folders:
        return placemark.folders[-1]
    raise FormatError(
        f"{path}: placemark {placemark.name!r} has no field {site_field!r}; it has "
        f"{', '.join(placemark.fields) or 'no fields'}. Choose another {option}."
    )


def read_layer(path: Path, *, layer: str | None = None) -> gpd.GeoDataFrame:
    """Read a layer as it is: every feature with all fields, in file order, in its own CRS.

    Args:
        path: ``.geojson``, ``.json``, ``.gpkg`` or ``.shp``.
        layer: GeoPackage only: which layer, where it has several of polygons.

    Raises:
        MissingFileError: it cannot be read.
        FormatError: not what its suffix says, or without geometry.
        CrsError: the layer has no CRS.
    """
    suffix = path.suffix.lower()
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as exc:
        raise MissingFileError(f"{path}: cannot be read ({exc.strerror or exc}).") from exc
    if not MAGIC[suffix](head):
        raise FormatError(f"{path}: its content is not what {suffix} stands for.")
    try:
        frame = gpd.read_file(path, layer=layer or _polygon_layer(path), engine="pyogrio")
    except FormatError:
        raise
    except (DataSourceError, DataLayerError, ValueError) as exc:
        raise FormatError(f"{path}: cannot be read ({_line(exc)}).") from exc
    if not isinstance(frame, gpd.GeoDataFrame):
        raise FormatError(f"{path}: its table has no geometry.")
    if frame.crs is None:
        raise CrsError(
            f"{path}: has no coordinate reference system (a shapefile needs its .prj). "
            "Save it again with one."
        )
    return frame


def _to_geographic(frame: gpd.GeoDataFrame, path: Path) -> gpd.GeoDataFrame:
    if frame.crs.equals("EPSG:4326", ignore_axis_order=True):
        return frame.set_crs("EPSG:4326", allow_override=True)
    if frame.crs.is_projected:
        step = _step_of_layer(frame)
        frame = frame.set_geometry(frame.geometry.segmentize(step) if step else frame.geometry)
    try:
        return frame.to_crs("EPSG:4326")
    except ProjError as exc:
        raise CrsError(f"{path}: cannot be brought to EPSG:4326 ({_line(exc)}).") from exc


def _step_of_layer(frame: gpd.GeoDataFrame) -> float:
    """Longest edge kept when a projected layer is reprojected, in its own unit.

    100 m, longer where the layer's outlines together would exceed five million corners. Over
    100 m an edge in a projected CRS and one in degrees differ by under a millimetre.
    """
    metres = 100.0 / frame.crs.axis_info[0].unit_conversion_factor
    outline = float(np.nansum(frame.geometry.length))
    return max(metres, outline / 5e6) if outline > 0 else 0.0


def _polygon_layer(path: Path) -> str | None:
    """Name the layer to read: the only one that can hold polygons, else the first."""
    layers = pyogrio.list_layers(path)
    names = [str(n) for n, kind in layers if kind and ("Polygon" in kind or kind == "Unknown")]
    if len(names) > 1:
        raise FormatError(
            f"{path}: has {len(names)} layers of polygons ({named(names)}). "
            "Choose one with --layer."
        )
    return names[0] if names else None


def _ogr_sites(
    frame: gpd.GeoDataFrame, site_field: str | None, path: Path, *, need: bool
) -> list[str]:
    if site_field:
        return _ogr_field(frame, (site_field,), path)
    return _ogr_field(frame, ("site", "name"), path, default=None if need else "")


def _ogr_field(
    frame: gpd.GeoDataFrame,
    wanted: Sequence[str],
    path: Path,
    *,
    default: str | None = None,
    option: str = "--site-field",
) -> list[str]:
    """Values of the first of some fields that the table has, any case."""
    columns = {str(c).lower(): c for c in frame.columns if c != frame.geometry.name}
    found = next((field.lower() for field in wanted if field.lower() in columns), None)
    if found is not None:
        return _strings(frame[columns[found]])
    if default is not None:
        return [default] * len(frame)
    raise FormatError(
        f"{path}: has no field {' or '.join(repr(w.lower()) for w in wanted)}; it has "
        f"{', '.join(map(str, columns)) or 'none'}. Name the field with {option}."
    )


def _strings(values: pd.Series) -> list[str]:
    return ["" if pd.isna(value) else _string(value) for value in values]


def _string(value: object) -> str:
    """Text of a value; a column of whole numbers with gaps comes as floats."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _line(exc: Exception) -> str:
    return " ".join(str(exc).split())
