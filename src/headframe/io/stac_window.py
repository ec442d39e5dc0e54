"""The pixels of a STAC item around a site: bands of any resolution on one grid, as stored."""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from odc.geo.crs import CRS as GeoCRS  # noqa: N811 - a class, though in capitals
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from shapely.geometry.base import BaseGeometry

from headframe.core.bands import identify_band
from headframe.core.errors import CrsError, FormatError, UnitError
from headframe.core.sensors import Sensor
from headframe.io.channels import SENSOR_TAG
from headframe.io.gcps import read_by_points
from headframe.io.layers import gdal_reading, open_raster, shown
from headframe.io.product import (
    SceneOptions,
    product_of,
    scaling_of,
    untagged_nodata,
)
from headframe.io.s1_calibration import Calibration, find_calibration
from headframe.io.stac_read import AssetBand, StacItem, choose_bands
from headframe.io.stored import StoredChip, StoredHeader

_PLAIN = SceneOptions()
_EDGE_POINTS = 16
_MAX_SIDE_PX = 20_000


@dataclass(frozen=True)
class Ground:
    """What is cut out of a scene.

    Attributes:
        area: the site, EPSG:4326; a point or a polygon.
        size_m: side of a square around the middle of the site's bounds; None: the bounds.
        margin_m: added to the bounds on every side, where there is no ``size_m``.
    """

    area: BaseGeometry
    size_m: float | None
    margin_m: float = 0.0


def read_window(
    item: StacItem,
    bands: Sequence[str],
    *,
    sensor: Sensor,
    ground: Ground,
    tags: Mapping[str, str],
) -> StoredChip:
    """Read bands of an item around a site, only what lies there.

    The grid is the scene's own at the finest of the bands, cut along its pixels, so that those
    bands are copied; coarser ones are laid over it by nearest pixel. A scene that is not north-up
    in metres (radar with ground control points, longitude and latitude) is brought to the UTM zone
    of the site.

    Args:
        item: from ``stac_read``.
        bands: common names, in the order of the result.
        sensor: of the item.
        ground: what to cut.
        tags: for the result's header; what the item says of its processing is added.

    Returns:
        Stored numbers, described by the bands' common names, with the factor and offset that make
        physical values of them (Sentinel-2's baseline is accounted for) and with nodata: 0 for
        whole numbers, unless the item says otherwise, NaN for others.

    Raises:
        BandError: the item lacks a band.
        MissingFileError: a file is not there.
        FormatError: a file cannot be read, or lacks the band its item says it has.
        CrsError: a file has no CRS.
        UnitError: radar as whole numbers without a calibration table.
    """
    chosen = choose_bands(item, bands, sensor=sensor)
    with ExitStack() as closing:
        opened = {
            href: closing.enter_context(open_raster(href))
            for href in dict.fromkeys(band.href for band in chosen)
        }
        for band in chosen:
            _check(opened[band.href], band)
        tables = [_calibration(opened[band.href], band, item, sensor) for band in chosen]
        finest = min((opened[band.href] for band in chosen), key=_pixel_area)
        gsd_m = min(sensor.band(name).gsd_m for name in bands)
        geobox = _grid(finest, ground, gsd_m)
        fill = math.nan if any(tables) else _fill(chosen, opened, sensor)
        values, valid = zip(
            *(
                _read_band(opened[band.href], band, geobox, sensor=sensor, calibration=table)
                for band, table in zip(chosen, tables, strict=True)
            ),
            strict=True,
        )
        product = product_of(item.source, item.properties)
        scalings = [
            scaling_of(
                band.scale if band.scale is not None else opened[band.href].scales[band.index - 1],
                band.offset
                if band.offset is not None
                else opened[band.href].offsets[band.index - 1],
                sensor,
                product,
                _PLAIN,
            )
            for band in chosen
        ]
    stored = np.stack(values)
    known = np.stack(valid)
    stored[~known] = fill
    facts = {SENSOR_TAG: sensor.name}
    if product.baseline:
        facts["PROCESSING_BASELINE"] = product.baseline
    if product.sensor:
        facts["PROCESSING_LEVEL"] = "L" + product.sensor[-2:].upper()
    header = StoredHeader(
        descriptions=tuple(sensor.band(name).common_name for name in bands),
        bands=tuple(range(1, len(bands) + 1)),
        geobox=geobox,
        dtype=stored.dtype.name,
        nodata=fill,
        scales=tuple(scaling.scale for scaling in scalings),
        offsets=tuple(scaling.offset for scaling in scalings),
        tags={**tags, **facts},
    )
    return StoredChip(header, stored, known)


def outline(ground: Ground) -> shapely.Polygon:
    """Outline what is cut, about: the window's bounds in the site's UTM zone, in EPSG:4326."""
    lon, lat = ground.area.envelope.centroid.coords[0]
    there = Transformer.from_crs("EPSG:4326", str(GeoCRS.utm(lon, lat)), always_xy=True)
    west, south, east, north = _bounds(ground, there)
    if ground.size_m is not None:
        x, y, half = (west + east) / 2, (south + north) / 2, ground.size_m / 2
        west, south, east, north = x - half, y - half, x + half, y + half
    corners = np.array([(west, south), (west, north), (east, north), (east, south)])
    back = there.transform(corners[:, 0], corners[:, 1], direction="INVERSE")
    return shapely.Polygon(np.column_stack(back).round(7))


def _check(dataset: Any, band: AssetBand) -> None:  # noqa: ANN401 - rasterio is untyped
    if band.index not in dataset.indexes:
        raise FormatError(f"{shown(band.href)}: has no band {band.index}, as its item says.")
    if dataset.crs is None and not dataset.gcps[0]:
        raise CrsError(f"{shown(band.href)}: has no CRS, so the site cannot be found on it.")


def _calibration(
    dataset: Any,  # noqa: ANN401 - rasterio is untyped
    band: AssetBand,
    item: StacItem,
    sensor: Sensor,
) -> Calibration | None:
    """Table that makes backscatter of a radar band's numbers; None where they are that already."""
    if sensor.quantity == "reflectance" or np.dtype(dataset.dtypes[band.index - 1]).kind == "f":
        return None
    found = identify_band(band.description, sensor)
    table = find_calibration(item, found.name) if found and dataset.crs is None else None
    if table is None:
        raise UnitError(
            f"{shown(band.href)}: holds uncalibrated whole numbers, and its item has no table to "
            "calibrate them. Choose a collection of calibrated radar, e.g. sentinel-1-rtc."
        )
    return table


def _pixel_area(dataset: Any) -> float:  # noqa: ANN401 - rasterio is untyped
    return abs(float(dataset.transform.determinant))


def _grid(dataset: Any, ground: Ground, gsd_m: float) -> GeoBox:  # noqa: ANN401 - rasterio is untyped
    """Cut the scene's own pixel grid around the site, or lay out one in the site's UTM zone."""
    transform = dataset.transform
    crs = CRS(dataset.crs.to_wkt()) if dataset.crs else None
    if crs is None or not _metric(crs) or transform.b or transform.d or transform.e >= 0:
        lon, lat = ground.area.envelope.centroid.coords[0]
        crs = CRS(str(GeoCRS.utm(lon, lat)))
        transform = Affine(gsd_m, 0, 0, 0, -gsd_m, 0)
    there = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    west, south, east, north = _bounds(ground, there)
    a, e = transform.a, -transform.e
    if ground.size_m is not None:
        width, height = (max(1, round(ground.size_m / side)) for side in (a, e))
        left = round(((west + east) / 2 - transform.c) / a - width / 2)
        top = round((transform.f - (south + north) / 2) / e - height / 2)
    else:
        left, top = math.floor((west - transform.c) / a), math.floor((transform.f - north) / e)
        width = max(1, math.ceil((east - transform.c) / a) - left)
        height = max(1, math.ceil((transform.f - south) / e) - top)
    if max(width, height) > _MAX_SIDE_PX:
        raise FormatError(
            f"a window of {width} x {height} pixels is larger than {_MAX_SIDE_PX} a side. "
            "Give --size-m, or smaller sites."
        )
    return GeoBox((height, width), transform * Affine.translation(left, top), crs.to_wkt())


def _metric(crs: CRS) -> bool:
    return bool(crs.is_projected) and crs.axis_info[0].unit_conversion_factor == 1


def _bounds(ground: Ground, there: Transformer) -> tuple[float, float, float, float]:
    """Bounds of the site in the grid's CRS, margin included: west, south, east, north."""
    area = ground.area
    if not area.envelope.area:
        outline = shapely.get_coordinates(area)
    else:
        step = max(area.bounds[2] - area.bounds[0], area.bounds[3] - area.bounds[1]) / _EDGE_POINTS
        outline = shapely.get_coordinates(shapely.segmentize(area, step))
    x, y = there.transform(outline[:, 0], outline[:, 1])
    margin = 0.0 if ground.size_m is not None else ground.margin_m
    return min(x) - margin, min(y) - margin, max(x) + margin, max(y) + margin


def _fill(chosen: Sequence[AssetBand], opened: Mapping[str, Any], sensor: Sensor) -> float:
    """Number that means no data in the result: what the first band says, else 0 or NaN."""
    first = chosen[0]
    dtypes = {opened[band.href].dtypes[band.index - 1] for band in chosen}
    if np.result_type(*dtypes).kind == "f":
        return math.nan
    stated = _nodata(opened[first.href], first, sensor)
    return 0.0 if stated is None else stated


def _nodata(dataset: Any, band: AssetBand, sensor: Sensor) -> float | None:  # noqa: ANN401 - rasterio is untyped
    if band.nodata is not None:
        return band.nodata
    own = dataset.nodatavals[band.index - 1]
    if own is not None:
        return float(own)
    return untagged_nodata(dataset.dtypes[band.index - 1], sensor, _PLAIN)


def _read_band(
    dataset: Any,  # noqa: ANN401 - rasterio is untyped
    band: AssetBand,
    geobox: GeoBox,
    *,
    sensor: Sensor,
    calibration: Calibration | None,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Read one band on the grid; stored numbers and where they are data, both (H, W)."""
    nodata = _nodata(dataset, band, sensor)
    if dataset.crs is None:
        values, valid = read_by_points(
            dataset,
            band.index,
            geobox,
            nodata=nodata,
            source=band.href,
            calibration=calibration,
        )
    else:
        values, valid = _warped(dataset, band, geobox, nodata)
    if values.dtype.kind == "f":
        valid &= np.isfinite(values)
    return values, valid


def _warped(
    dataset: Any,  # noqa: ANN401 - rasterio is untyped
    band: AssetBand,
    geobox: GeoBox,
    nodata: float | None,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    height, width = geobox.shape
    with (
        gdal_reading(band.href),
        WarpedVRT(
            dataset,
            crs=str(geobox.crs),
            transform=geobox.affine,
            width=width,
            height=height,
            resampling=Resampling.nearest,
            src_nodata=nodata,
            nodata=nodata,
            add_alpha=nodata is None,
        ) as warped,
    ):
        return warped.read(band.index), warped.read_masks(band.index) > 0
