"""Polygons with whatever fields they have: read, changed and written back, row by row the same."""

import json
from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely

from headframe.core.errors import FormatError, MissingFileError, OutputError
from headframe.io.files import replacing
from headframe.io.kml import Placemark, read_kml
from headframe.io.vector import MAGIC, kml_geometry, read_layer

_KML = (".kml", ".kmz")
_OWN = ("name", "folder", "geometry")
"""Columns of a KML table that are no fields of ``ExtendedData``."""


def read_features(path: Path, *, layer: str | None = None) -> gpd.GeoDataFrame:
    """Read a file of polygons with all its fields.

    Args:
        path: ``.kml``, ``.kmz``, ``.geojson``, ``.json``, ``.gpkg`` or ``.shp``.
        layer: GeoPackage only: which layer, where it has several of polygons.

    Returns:
        One row a feature, in file order and in the file's CRS; geometries as they stand, broken
        and missing ones included. Of KML: placemarks with polygons, EPSG:4326, columns ``name``
        and ``folder`` (the innermost) before the fields of ``ExtendedData``, all text. Lists and
        objects in GeoJSON become JSON text. Heights are left out.

    Raises:
        MissingFileError: no such file.
        FormatError: not what its suffix says, or without any feature.
        UnsafeFileError: see ``io.kml``.
        CrsError: the layer has no CRS.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file of polygons.")
    suffix = path.suffix.lower()
    if suffix in _KML:
        frame = _kml_frame(read_kml(path).placemarks)
    elif suffix in MAGIC:
        frame = _plain(read_layer(path, layer=layer))
    else:
        raise FormatError(
            f"{path}: polygons are read from .kml, .kmz, .geojson, .gpkg or .shp, "
            f"not from {suffix or 'a file without suffix'}."
        )
    if not len(frame):
        raise FormatError(f"{path}: holds no polygons.")
    return frame.set_geometry(shapely.force_2d(frame.geometry.values)).reset_index(drop=True)


def write_features(frame: gpd.GeoDataFrame, path: Path, *, layer: str) -> None:
    """Write a table to a GeoPackage, all or nothing.

    Args:
        frame: polygons; where some are multi-polygons, all become such.
        path: ``.gpkg``.
        layer: its only layer.

    Raises:
        OutputError: it cannot be written.
    """
    own_key = any(str(name).lower() == "fid" for name in frame.columns)
    options = {"FID": "gpkg_fid"} if own_key else {}
    with replacing(path) as part:
        try:
            pyogrio.write_dataframe(frame, part, driver="GPKG", layer=layer, **options)
            count = pyogrio.read_info(part, force_feature_count=True)["features"]
        except (OSError, RuntimeError, ValueError) as exc:  # pyogrio's errors are RuntimeErrors
            reason = (str(exc).splitlines() or ["unknown reason"])[0]
            raise OutputError(
                f"{path}: cannot be written ({reason}). Free some space or choose another --out."
            ) from exc
        if count != len(frame):
            raise OutputError(f"{path}: only {count} of {len(frame)} rows were written.")


def free_column(frame: gpd.GeoDataFrame, name: str) -> str:
    """Name a new column: ``name``, or ``headframe_name`` (then numbered) where it is taken."""
    taken = {str(column).lower() for column in frame.columns}
    choices = (name, f"headframe_{name}", *(f"headframe_{name}_{n}" for n in range(2, 1000)))
    return next(choice for choice in choices if choice.lower() not in taken)


def _kml_frame(placemarks: Sequence[Placemark]) -> gpd.GeoDataFrame:
    fields = dict.fromkeys(key for mark in placemarks for key in mark.fields)
    columns: dict[str, list[str | None]] = {
        "name": [mark.name for mark in placemarks],
        "folder": [mark.folders[-1] if mark.folders else None for mark in placemarks],
    }
    taken = {name.lower() for name in _OWN}
    for field in fields:
        column = field
        while column.lower() in taken:  # SQLite knows no case
            column += "_"
        taken.add(column.lower())
        columns[column] = [mark.fields.get(field) for mark in placemarks]
    if not any(columns["folder"]):
        del columns["folder"]
    shapes = [kml_geometry(mark) for mark in placemarks]
    return gpd.GeoDataFrame(pd.DataFrame(columns, dtype=object), geometry=shapes, crs="EPSG:4326")


def _plain(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Turn lists and objects into JSON text, which every format can hold."""
    changed = {
        name: [_text(value) for value in frame[name]]
        for name in frame.columns
        if name != frame.geometry.name
        and any(isinstance(value, list | dict | np.ndarray) for value in frame[name])
    }
    return frame.assign(**changed) if changed else frame


def _text(value: object) -> object:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
