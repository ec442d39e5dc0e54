"""Lengths and areas on the ellipsoid."""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Geod, Transformer
from shapely import Polygon

from headframe.core.errors import CrsError

GEOD = Geod(ellps="WGS84")
_LONGEST_EDGE_PX = 64.0


def geodesic_measures(
    polygons: Sequence[Polygon],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Measure polygons in longitude and latitude on the WGS 84 ellipsoid.

    Edges are geodesics (Karney 2013, through PROJ). Holes lessen the area and add to the
    perimeter.

    Args:
        polygons: (x = longitude, y = latitude) in degrees; rings in any direction.

    Returns:
        Areas in square metres and perimeters in metres, both float64 and >= 0.
    """
    areas = np.zeros(len(polygons))
    perimeters = np.zeros(len(polygons))
    for i, polygon in enumerate(polygons):
        for k, ring in enumerate((polygon.exterior, *polygon.interiors)):
            coords = shapely.get_coordinates(ring)
            area, perimeter = GEOD.polygon_area_perimeter(coords[:, 0], coords[:, 1])
            areas[i] += -abs(area) if k else abs(area)
            perimeters[i] += perimeter
    return areas, perimeters


def divide_edges(polygons: Sequence[Polygon], longest: float) -> NDArray[np.object_]:
    """Divide edges into equal parts no longer than ``longest``, in the unit of coordinates.

    Ring by ring: ``shapely.segmentize`` also repairs whole polygons, which takes far longer.

    Args:
        polygons: none empty.
        longest: > 0.

    Returns:
        As many polygons of the same form, in an array.
    """
    rings, owners = shapely.get_rings(np.asarray(polygons, dtype=object), return_index=True)
    fine = shapely.polygons(shapely.segmentize(rings, longest), indices=owners)
    return np.asarray(fine, dtype=object)


class GridMeasure:
    """Measures shapes drawn in the pixels of a georeferenced grid.

    Pixel coordinates are (x = column, y = row), the corner of the first pixel being (0, 0).
    """

    def __init__(self, geobox: GeoBox) -> None:
        """Measure on ``geobox``, whose CRS must be known."""
        if geobox.crs is None:
            raise CrsError("a grid without a CRS has no areas.")
        self._affine = geobox.affine
        self.crs = CRS.from_wkt(geobox.crs.to_wkt())
        self._to_lonlat = Transformer.from_crs(self.crs, CRS.from_epsg(4326), always_xy=True)

    def to_crs(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn pixel coordinates (N, 2) into coordinates of the CRS."""
        a, b, c, d, e, f = tuple(self._affine)[:6]
        x, y = pixels[:, 0], pixels[:, 1]
        return np.column_stack([a * x + b * y + c, d * x + e * y + f])

    def to_lonlat(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn pixel coordinates (N, 2) into longitude and latitude, degrees."""
        there = self.to_crs(pixels)
        return np.column_stack(self._to_lonlat.transform(there[:, 0], there[:, 1]))

    def pixel_size_m(self, x: float, y: float) -> tuple[float, float]:
        """Measure a pixel's (width, height) in metres on the ellipsoid at (x, y) in pixels."""
        corners = np.array([[x, y], [x + 1.0, y], [x, y + 1.0]])
        lon, lat = self.to_lonlat(corners).T
        _, _, metres = GEOD.inv([lon[0]] * 2, [lat[0]] * 2, lon[1:], lat[1:])
        return float(metres[0]), float(metres[1])

    def measures(
        self, polygons: Sequence[Polygon]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Measure polygons in pixel coordinates: areas in square metres, perimeters in metres.

        Long edges are first divided every 64 pixels, so that they follow the grid's own lines
        and not the geodesic between far ends.
        """
        if not polygons:
            return np.zeros(0), np.zeros(0)
        fine = divide_edges(polygons, _LONGEST_EDGE_PX)
        return geodesic_measures(list(shapely.transform(fine, self.to_lonlat)))
