"""One grid for rasters of several sensors, resolutions and coordinate systems."""

import math
from collections.abc import Mapping

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer

from headframe.core.errors import GridMismatchError

_WGS84 = "EPSG:4326"
_EDGES = 400
_INSET_PX = 1e-3
"""Pixels by which a region may stick out of whole pixels and still add no row."""


def pixel_side_m(box: GeoBox) -> float:
    """Side of the square as large as the central pixel, metres on the ellipsoid."""
    height, width = box.shape.yx
    pixel = box[height // 2 : height // 2 + 1, width // 2 : width // 2 + 1]
    area, _ = Geod(ellps="WGS84").geometry_area_perimeter(_outline(pixel, CRS(_WGS84)))
    return math.sqrt(abs(area))


def common_grid(boxes: Mapping[str, GeoBox], *, gsd_m: float | None = None) -> GeoBox:
    """Choose the grid on which rasters are laid over each other.

    It is that of the raster with the smallest pixels (the first of equals), cut to the ground that
    all of them cover: pixels of that raster fall onto pixels of the grid, unmoved.

    Args:
        boxes: grids by file name, each with a CRS.
        gsd_m: side of a pixel, metres. The grid is then north-up in the CRS of the finest raster,
            or in UTM where that is in degrees, with edges on multiples of ``gsd_m``.

    Returns:
        The grid.

    Raises:
        GridMismatchError: two rasters do not overlap.
    """
    base = min(boxes.values(), key=pixel_side_m)
    if gsd_m is not None:
        base = _with_pixels(base, gsd_m)
    region = base.extent.geom
    for name, box in boxes.items():
        covered = _footprint(box, base)
        if not _meet(region, covered):
            raise GridMismatchError(_apart(name, covered, boxes, base))
        region = shapely.intersection(region, covered)
    return _around(base, region)


def check_overlap(boxes: Mapping[str, GeoBox], grid: GeoBox, *, grid_name: str) -> None:
    """Check that every raster covers some of a given grid.

    Raises:
        GridMismatchError: one does not.
    """
    for name, box in boxes.items():
        if not _meet(grid.extent.geom, _footprint(box, grid)):
            raise GridMismatchError(
                f"{name} and {grid_name} share no ground ({_place(box)} and {_place(grid)}, as "
                "longitude and latitude). Choose files of one place."
            )


def _meet(one: shapely.Geometry, other: shapely.Geometry) -> bool:
    return bool(shapely.intersection(one, other).area > 0)


def _footprint(box: GeoBox, grid: GeoBox) -> shapely.Geometry:
    assert grid.crs is not None, "grids come with a CRS"
    return _outline(box, grid.crs)


def _around(base: GeoBox, region: shapely.Geometry) -> GeoBox:
    """Take the whole pixels of a grid that a region touches."""
    places = shapely.transform(region, lambda xy: _to_pixels(base, xy))
    left, top, right, bottom = shapely.bounds(places)
    col, row = math.floor(left + _INSET_PX), math.floor(top + _INSET_PX)
    shape = (math.ceil(bottom - _INSET_PX) - row, math.ceil(right - _INSET_PX) - col)
    return GeoBox(shape, base.transform * Affine.translation(col, row), base.crs)


def _to_pixels(base: GeoBox, xy: NDArray[np.float64]) -> NDArray[np.float64]:
    cols, rows = ~base.transform * (xy[:, 0], xy[:, 1])
    return np.stack([cols, rows], axis=1)


def _outline(box: GeoBox, crs: CRS) -> shapely.Geometry:
    """Outline of a grid in ``crs``, its edges divided so that they bend as they must."""
    assert box.crs is not None, "grids come with a CRS"
    ring = box.extent.geom
    fine = shapely.segmentize(ring, ring.length / _EDGES)
    if box.crs == crs:
        return ring
    move = Transformer.from_crs(box.crs.proj, crs.proj, always_xy=True)
    return shapely.transform(fine, lambda xy: np.stack(move.transform(xy[:, 0], xy[:, 1]), axis=1))


def _with_pixels(base: GeoBox, gsd_m: float) -> GeoBox:
    crs = base.crs
    if crs is None or not crs.projected:
        crs = CRS.utm(*_middle(base))
    left, bottom, right, top = shapely.bounds(_outline(base, crs)).tolist()
    return GeoBox.from_bbox((left, bottom, right, top), crs=crs, resolution=gsd_m)


def _middle(box: GeoBox) -> tuple[float, float]:
    """Longitude and latitude of a grid's centre."""
    middle = shapely.centroid(_outline(box, CRS(_WGS84)))
    return float(shapely.get_x(middle)), float(shapely.get_y(middle))


def _apart(name: str, covered: shapely.Geometry, boxes: Mapping[str, GeoBox], base: GeoBox) -> str:
    alone = (other for other, box in boxes.items() if not _meet(covered, _footprint(box, base)))
    other = next(alone, None)
    if other is None:
        return f"{name}: covers no ground that all the other files cover. Leave it out."
    return (
        f"{name} and {other} share no ground ({_place(boxes[name])} and {_place(boxes[other])}, "
        "as longitude and latitude). Choose files of one place."
    )


def _place(box: GeoBox) -> str:
    lon, lat = _middle(box)
    return f"{lon:.3f} {lat:.3f}"
