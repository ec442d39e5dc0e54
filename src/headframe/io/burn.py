"""Polygons onto a pixel grid."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import shapely
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from headframe.core.errors import GeometryError

STEP_PX = 16.0
"""Longest edge, in pixels, of a polygon that is reprojected: longer ones get corners on the way."""
MAX_CORNERS = 1e5
"""About how many corners densifying may give one polygon."""
MARGIN = 4.0
"""What lies further from the grid than this many times its size is cut off before reprojecting."""


def footprint(geobox: GeoBox) -> BaseGeometry:
    """Outline of a grid as a polygon in EPSG:4326; its sides get corners on the way."""
    outline = shapely.segmentize(geobox.extent.geom, _step_of(geobox))
    if geobox.crs is None or geobox.crs.epsg == 4326:
        return outline
    return _moved(outline, Transformer.from_crs(geobox.crs.proj, "EPSG:4326", always_xy=True))


def burn_polygons(polygons: Sequence[BaseGeometry], geobox: GeoBox) -> npt.NDArray[np.bool_]:
    """Tell which pixel centres lie inside any of the polygons.

    Polygons are densified, reprojected and filled in the grid's CRS; a pixel counts when its
    centre is inside (``all_touched=False``), holes are left out, overlaps are united.

    Args:
        polygons: valid Polygons or MultiPolygons in EPSG:4326 (longitude, latitude).
        geobox: the grid, with a CRS.

    Returns:
        (H, W) bool.

    Raises:
        GeometryError: a polygon cannot be reprojected to the grid's CRS.
    """
    shapes = [part for polygon in _to_grid_crs(polygons, geobox) for part in polygon]
    if not shapes:
        return np.zeros(geobox.shape, bool)
    burnt = rasterize(
        [(shape, 1) for shape in shapes],
        out_shape=geobox.shape.yx,
        transform=geobox.transform,
        fill=0,
        all_touched=False,
        dtype="uint8",
    )
    return np.asarray(burnt, bool)


def _to_grid_crs(polygons: Sequence[BaseGeometry], geobox: GeoBox) -> list[list[BaseGeometry]]:
    """Parts of each polygon in the grid's CRS."""
    outline = footprint(geobox)
    near = [p for p in polygons if p.intersects(outline.buffer(_pixel_degrees(geobox)))]
    if geobox.crs is None or geobox.crs.epsg == 4326:
        return [_parts(polygon) for polygon in near]
    west, south, east, north = outline.bounds
    wide, high = MARGIN * (east - west), MARGIN * (north - south)
    window = shapely.box(west - wide, south - high, east + wide, north + high)
    transformer = Transformer.from_crs("EPSG:4326", geobox.crs.proj, always_xy=True)
    result = []
    for polygon in near:
        if not window.contains(polygon):
            polygon = polygon.intersection(window)  # noqa: PLW2901 - the rest is out of sight
        step = max(STEP_PX * _pixel_degrees(geobox), polygon.length / MAX_CORNERS)
        moved = _moved(shapely.segmentize(polygon, step), transformer)
        if not np.isfinite(shapely.get_coordinates(moved)).all():
            raise GeometryError(f"a polygon cannot be brought to the image's CRS ({geobox.crs}).")
        result.append(_parts(moved))
    return result


def _moved(geometry: BaseGeometry, transformer: Transformer) -> BaseGeometry:
    """Reproject the corners of a geometry."""

    def move(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.stack(transformer.transform(points[:, 0], points[:, 1]), axis=1)

    return shapely.transform(geometry, move)


def _parts(geometry: BaseGeometry) -> list[BaseGeometry]:
    return [part for part in shapely.get_parts(geometry) if part.geom_type == "Polygon"]


def _pixel_degrees(geobox: GeoBox) -> float:
    """Smaller side of a pixel in degrees, about."""
    west, south, east, north = footprint(geobox).bounds
    height, width = geobox.shape.yx
    return float(min((east - west) / width, (north - south) / height))


def _step_of(geobox: GeoBox) -> float:
    """An eighth of the grid's longer side, in the unit of its CRS."""
    box = geobox.extent.boundingbox
    return float(max(box.span_x, box.span_y) / 8)
