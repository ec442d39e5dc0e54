"""Drawn scenes as files: GeoTIFF, truth and KML."""

import math
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from headframe.core.errors import OutputError
from headframe.core.sensors import get_sensor
from headframe.datasets.drawn.components import SENSOR, DrawnMine
from headframe.datasets.drawn.landscape import DrawnScene
from headframe.io.channels import SENSOR_TAG, UNIT_TAG
from headframe.io.files import replacing

_KML = "http://www.opengis.net/kml/2.2"


def write_scene(scene: DrawnScene, path: Path) -> None:
    """Write the bands as a tiled GeoTIFF: uint16 reflectance times 10,000, nodata 0.

    Bands are described by their Sentinel-2 names; the tags say that the scene is drawn.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    tags = {
        "DRAWN": "yes, this is no satellite image",
        "SITE": scene.site,
        "SEED": str(scene.seed),
        "DATE": scene.date.isoformat(),
    }
    write_bands(path, scene.bands, scene.geobox, names=scene.band_names, nodata=0, tags=tags)


def write_mine(scene: DrawnMine, path: Path) -> None:
    """Write the fifteen bands as ``dataset fuse`` does: float32 in their unit, nodata NaN.

    Bands are described by their common names and tagged with their sensor and unit, so that every
    reader needs no option.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    sensor = get_sensor(SENSOR)
    parts = [sensor.part(name) for name in scene.band_names]
    tags = {
        "DRAWN": "yes, this is no satellite image",
        "SITE": scene.site,
        "SEED": str(scene.seed),
        "DATE": scene.date.isoformat(),
        SENSOR_TAG: sensor.name,
    }
    write_bands(
        path, scene.bands, scene.geobox, names=scene.band_names, nodata=math.nan, tags=tags,
        band_tags=[{SENSOR_TAG: part.name, UNIT_TAG: part.quantity} for part in parts],
    )  # fmt: skip


def write_truth(scene: DrawnScene, path: Path) -> None:
    """Write the truth as a GeoTIFF: uint8, 1 tailings, 0 anything else.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    tags = {"DRAWN": "yes"}
    write_bands(path, scene.truth[None], scene.geobox, names=("tailings",), nodata=None, tags=tags)


def write_kml(frames: Sequence[gpd.GeoDataFrame], path: Path) -> None:
    """Write polygons as KML, one placemark each with the field ``site``.

    Args:
        frames: polygons with columns site and name, in any CRS; holes are kept.
        path: file to write; coordinates are longitude, latitude in EPSG:4326 with nine decimals,
            a tenth of a millimetre.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    ElementTree.register_namespace("", _KML)
    root = ElementTree.Element(f"{{{_KML}}}kml")
    document = _child(root, "Document")
    _child(document, "name", "Tailings of drawn sites")
    geographic = [frame.to_crs("EPSG:4326") for frame in frames if len(frame)]
    for row in pd.concat(geographic).itertuples() if geographic else ():
        placemark = _child(document, "Placemark")
        _child(placemark, "name", str(row.name))
        data = _child(_child(placemark, "ExtendedData"), "Data")
        data.set("name", "site")
        _child(data, "value", str(row.site))
        parts = shapely.get_parts(row.geometry)
        holder = placemark if len(parts) == 1 else _child(placemark, "MultiGeometry")
        for part in parts:
            polygon = _child(holder, "Polygon")
            _ring(polygon, "outerBoundaryIs", part.exterior)
            for hole in part.interiors:
                _ring(polygon, "innerBoundaryIs", hole)
    ElementTree.indent(root)
    with replacing(path) as part_path:
        ElementTree.ElementTree(root).write(part_path, encoding="utf-8", xml_declaration=True)


def _child(parent: ElementTree.Element, tag: str, text: str | None = None) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, f"{{{_KML}}}{tag}")
    element.text = text
    return element


def _ring(polygon: ElementTree.Element, tag: str, ring: shapely.LinearRing) -> None:
    line = _child(_child(polygon, tag), "LinearRing")
    text = " ".join(f"{lon:.9f},{lat:.9f},0" for lon, lat in shapely.get_coordinates(ring))
    _child(line, "coordinates", text)


def write_bands(
    path: Path,
    bands: NDArray[np.generic],
    geobox: GeoBox,
    *,
    names: Sequence[str],
    tags: dict[str, str],
    nodata: float | None = 0,
    band_tags: Sequence[dict[str, str]] = (),
) -> None:
    """Write (C, H, W) as a tiled GeoTIFF whose bands are described by ``names``.

    Args:
        path: file to write, all or nothing.
        bands: (C, H, W).
        geobox: their grid.
        names: descriptions of the bands.
        tags: of the file.
        nodata: stored number that means "no data".
        band_tags: of each band; none by default.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    count, height, width = bands.shape
    profile = {
        "driver": "GTiff",
        "count": count,
        "height": height,
        "width": width,
        "dtype": bands.dtype,
        "crs": str(geobox.crs),
        "transform": geobox.transform,
        "nodata": nodata,
        "compress": "deflate",
        "predictor": 3 if bands.dtype.kind == "f" else 2,
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
    }
    try:
        with replacing(path) as part, rasterio.open(part, "w", **profile) as target:
            target.write(bands)
            target.descriptions = tuple(names)
            target.update_tags(**tags)
            for index, own in enumerate(band_tags, start=1):
                target.update_tags(index, **own)
    except rasterio.errors.RasterioError as exc:
        raise OutputError(f"{path}: cannot be written ({exc}). Choose another --out.") from exc
