"""Proposed polygons on their way through QGIS: written to be judged, read back as labels.

A review file is a GeoPackage with a QGIS style beside it. A person sets ``review`` to ``accept`` or
``reject``, moves outlines, and draws what was missed. Where a polygon then comes from is told by
the file itself: it has no ``model`` where a person drew it, and its ``sha`` is that of another
outline where a person moved it.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from pyproj import CRS
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from headframe.core.errors import (
    DatasetError,
    FormatError,
    InputError,
    MissingFileError,
    OutputError,
)
from headframe.datasets.provenance import PolygonRecord
from headframe.geo.area import geodesic_measures
from headframe.io.gpkg import LayerWriter
from headframe.io.qml import Category, LayerStyle, write_style
from headframe.io.vector import PolygonLayer, read_layer, tidy_layer

LAYER = "review"
UNJUDGED, ACCEPT, REJECT, EDITED = "todo", "accept", "reject", "edited"
STATES = (UNJUDGED, ACCEPT, REJECT, EDITED)

_COLUMNS = {
    "id": "object",
    "site": "object",
    "class": "object",
    "review": "object",
    "score": "float64",
    "agreement": "float64",
    "stability": "float64",
    "area_ha": "float64",
    "model": "object",
    "sam": "object",
    "scene": "object",
    "proposed": "object",
    "sha": "object",
}
_NEEDED = ("review", "model", "class", "sha")
_SUFFIXES = (".gpkg", ".geojson", ".json", ".shp")
_DECIMALS = 9  # of a degree: a tenth of a millimetre, well under what an edit moves
_LOCKED = ("score", "agreement", "stability", "model", "sam", "scene", "proposed", "sha")
_CATEGORIES = (
    Category(UNJUDGED, "to do", (255, 193, 7)),
    Category(ACCEPT, "accepted", (46, 160, 67)),
    Category(EDITED, "edited", (31, 119, 255)),
    Category(REJECT, "rejected", (214, 39, 40), fill=0.0, dashed=True),
    Category("", "drawn anew", (190, 75, 219)),
)
_LOG = logging.getLogger("headframe")


@dataclass(frozen=True)
class Proposal:
    """A polygon that a person is asked about.

    Attributes:
        id: unique in its file.
        shape: valid, EPSG:4326 (longitude, latitude).
        site: site of its scene.
        kind: class it is proposed as.
        score: 0-1.
        agreement: IoU of the outlines before and after SAM, 0-1; None where only one drew.
        stability: IoU of SAM's mask with itself at shifted thresholds, 0-1; None without SAM.
        model: network that found it.
        sam: network that drew its outline after that; empty for none.
        scene: name of its scene.
    """

    id: str
    shape: BaseGeometry
    site: str
    kind: str
    score: float
    agreement: float | None
    stability: float | None
    model: str
    sam: str
    scene: str


@dataclass(frozen=True)
class Reviewed:
    """A review file that came back.

    Attributes:
        layer: polygons that become labels, in EPSG:4326; of column ``class``, and ``row`` that
            is the place of each in ``records``.
        records: where each of the file's kept rows comes from.
        states: rows by what became of them: ``accept``, ``edited``, ``reject``, ``todo``, and
            ``drawn`` for those drawn anew.
    """

    layer: PolygonLayer
    records: tuple[PolygonRecord, ...]
    states: dict[str, int]


def outline_sha(shape: BaseGeometry) -> str:
    """Condense an outline: equal for one that was stored, and not for one that was moved.

    Where rings begin, which way they run, the order of parts, and whether a lone polygon is
    called a MultiPolygon makes no difference.

    Args:
        shape: Polygon or MultiPolygon, degrees.

    Returns:
        32 hex digits.
    """
    parts = [part for part in shapely.get_parts(shapely.force_2d(shape)) if not part.is_empty]
    rounded = shapely.transform(MultiPolygon(parts), lambda xy: np.round(xy, _DECIMALS) + 0.0)
    return hashlib.sha256(shapely.to_wkb(shapely.normalize(rounded))).hexdigest()[:32]


def write_review(path: Path, proposals: Sequence[Proposal], *, classes: Sequence[str]) -> None:
    """Write a review file, and ``<name>.qml`` beside it, with which QGIS shows it in colours.

    Args:
        path: ``.gpkg``; layer ``review``, MultiPolygon, EPSG:4326.
        proposals: a row each, all ``todo``.
        classes: that a person may choose from.

    Raises:
        OutputError: it cannot be written.
        FormatError: ``path`` is no GeoPackage.
    """
    check_name(path)
    shapes = [MultiPolygon(_polygons(p.shape)) for p in proposals]
    rows = [
        {
            "id": p.id,
            "site": p.site,
            "class": p.kind,
            "review": UNJUDGED,
            "score": round(p.score, 4),
            "agreement": _rounded(p.agreement),
            "stability": _rounded(p.stability),
            "area_ha": round(area_ha(shape), 4),
            "model": p.model,
            "sam": p.sam,
            "scene": p.scene,
            "proposed": p.kind,
            "sha": outline_sha(shape),
        }
        for p, shape in zip(proposals, shapes, strict=True)
    ]
    drawn = {"review": ACCEPT}
    if len(classes) == 1:
        drawn["class"] = classes[0]
    style = LayerStyle(
        field="review",
        categories=_CATEGORIES,
        defaults=drawn,
        choices={"class": tuple(classes)},
        locked=_LOCKED,
    )
    write_style(path.with_suffix(".qml"), style)
    layer = LayerWriter(
        path,
        layer=LAYER,
        columns=_COLUMNS,
        crs=CRS.from_epsg(4326),
        geometry_type="MultiPolygon",
    )
    with layer:
        if rows:
            layer.write(shapes, {name: [row[name] for row in rows] for name in _COLUMNS})


def check_name(path: Path) -> None:
    """Refuse to write a review file under a name that is not a GeoPackage's.

    Raises:
        FormatError: another suffix.
    """
    if path.suffix.lower() != ".gpkg":
        raise FormatError(f"{path}: polygons to review are written as GeoPackage. Name it *.gpkg.")


def check_place(path: Path) -> None:
    """Refuse to write proposals over a review file that somebody has begun to judge.

    Raises:
        FormatError: another suffix than a GeoPackage's.
        OutputError: polygons of it are judged, moved or drawn anew.
    """
    check_name(path)
    try:
        rows = _rows(_read(path, None))
    except InputError:  # nothing there, or no review file
        return
    judged = sum(
        row["review"].casefold() not in ("", UNJUDGED) or not row["model"] or _changed(row)
        for row in rows
    )
    if judged:
        raise OutputError(
            f"{path}: {judged} of its {len(rows)} polygons are judged, moved or drawn anew, which "
            "would be lost. Choose another --out, or move the file away."
        )


def read_review(path: Path, *, layer: str | None = None, skip_todo: bool = False) -> Reviewed:
    """Read a review file back.

    A row is left out where its ``review`` is ``reject``. Drawn anew (no ``model``) it is manual;
    with another outline or class than was proposed, or set to ``edited``, it is assisted, whether
    or not ``review`` was set; accepted as it is, it is automatic.

    Args:
        path: the file, saved by QGIS.
        layer: GeoPackage only: which layer, where it has several of polygons.
        skip_todo: leave out what nobody has judged, rather than refuse the file.

    Raises:
        MissingFileError: no such file.
        FormatError: it is no review file, or a ``review`` is none of the four.
        DatasetError: rows are still to do, or none is left.
        GeometryError: no polygon has an area.
        CrsError: it has no CRS.
    """
    frame = _read(path, layer)
    if not CRS.from_epsg(4326).equals(CRS.from_user_input(frame.crs), ignore_axis_order=True):
        _LOG.warning(
            "%s: was saved in another reference system than EPSG:4326, so outlines that nobody "
            "moved look moved; they count as assisted.",
            path,
        )
    judged = [_judge(path, number, row) for number, row in enumerate(_rows(frame), start=1)]
    states = Counter(state for state, _ in judged)
    if states[UNJUDGED] and not skip_todo:
        left = states[UNJUDGED]
        raise DatasetError(
            f"{path}: {left} of {len(judged)} polygons are still {UNJUDGED}. Judge them in "
            "QGIS, or leave them out with --skip-todo: what they cover is then background."
        )
    kept = [place for place, (_, provenance) in enumerate(judged) if provenance]
    if not kept:
        raise DatasetError(
            f"{path}: none of {len(judged)} polygons is accepted, edited or drawn anew."
        )
    columns = {name: _texts(frame, name) for name in ("site", "class", "model", "sam", "score")}
    columns |= {"name": _texts(frame, "id"), "provenance": [came for _, came in judged]}
    rows = pd.DataFrame(columns, dtype=str).iloc[kept].reset_index(drop=True)
    tidy = tidy_layer(rows, frame.iloc[kept].reset_index(drop=True), path=path)
    records = tuple(_record(row, path) for _, row in tidy.frame.iterrows())
    return Reviewed(tidy, records, dict(states))


def manual_records(layer: PolygonLayer, source: Path) -> tuple[PolygonRecord, ...]:
    """Describe polygons that a person drew, as ``read_polygons`` gives them."""
    plain = dict.fromkeys(("model", "sam", "score"), "")
    return tuple(
        _record({**row, **plain, "provenance": "manual", "class": row.get("class", "")}, source)
        for _, row in layer.frame.iterrows()
    )


def area_ha(shape: BaseGeometry) -> float:
    """Area of a shape in degrees on the ellipsoid, hectares."""
    areas, _ = geodesic_measures(_polygons(shape))
    return float(areas.sum()) / 1e4


def _polygons(shape: BaseGeometry) -> list[Polygon]:
    return [part for part in shapely.get_parts(shape) if isinstance(part, Polygon)]


def _rounded(value: float | None) -> float:
    return float("nan") if value is None else round(value, 4)


def _read(path: Path, layer: str | None) -> gpd.GeoDataFrame:
    if not path.is_file():
        raise MissingFileError(f"{path}: no such review file.")
    if path.suffix.lower() not in _SUFFIXES:
        raise FormatError(f"{path}: review files are read as {', '.join(_SUFFIXES)}.")
    frame = read_layer(path, layer=layer)
    frame = frame.rename(columns={c: str(c).lower() for c in frame.columns})
    missing = [name for name in _NEEDED if name not in frame.columns]
    if missing:
        raise FormatError(
            f"{path}: has no column {missing[0]}, so it is no review file. Make one with "
            "`headframe label --assist`, or give outlines of your own with --polygons."
        )
    return frame


def _texts(frame: gpd.GeoDataFrame, name: str) -> list[str]:
    if name not in frame.columns:
        return [""] * len(frame)
    return ["" if pd.isna(value) else str(value).strip() for value in frame[name]]


def _rows(frame: gpd.GeoDataFrame) -> list[dict[str, Any]]:
    columns = {name: _texts(frame, name) for name in (*_NEEDED, "proposed", "id")}
    return [
        {**{name: column[i] for name, column in columns.items()}, "shape": shape}
        for i, shape in enumerate(frame.geometry)
    ]


def _judge(path: Path, number: int, row: Mapping[str, Any]) -> tuple[str, str]:
    """Give what became of a row, and its provenance; "" for one that is left out."""
    said = row["review"].casefold()
    if said not in ("", *STATES):
        title = row["id"] or f"number {number}"
        raise FormatError(
            f"{path}: polygon {title} has review {row['review']!r}; it must be one of "
            f"{', '.join(STATES)}."
        )
    if said == REJECT:
        return REJECT, ""
    if not row["model"]:
        return "drawn", "manual"
    if said == EDITED or _changed(row):
        return EDITED, "assisted"
    return (ACCEPT, "automatic") if said == ACCEPT else (UNJUDGED, "")


def _changed(row: Mapping[str, Any]) -> bool:
    """Whether the outline or the class is not what was proposed."""
    shape, sha = row["shape"], str(row["sha"])
    if shape is None or shape.is_empty or row["class"] != (row["proposed"] or row["class"]):
        return True
    if shape.geom_type not in ("Polygon", "MultiPolygon"):
        return True
    return outline_sha(shape) != sha


def _record(row: Mapping[str, Any], source: Path) -> PolygonRecord:
    middle = row["geometry"].representative_point()
    return PolygonRecord(
        id=row["name"],
        provenance=row["provenance"],
        site=row["site"],
        kind=row["class"],
        area_ha=round(area_ha(row["geometry"]), 4),
        longitude=round(middle.x, 6),
        latitude=round(middle.y, 6),
        score=float(row["score"]) if row["score"] else None,
        model=row["model"],
        sam=row["sam"],
        source=source.name,
    )


__all__ = [
    "LAYER",
    "STATES",
    "Proposal",
    "Reviewed",
    "area_ha",
    "check_name",
    "check_place",
    "manual_records",
    "outline_sha",
    "read_review",
    "write_review",
]
