"""Coarse polygons from fine ones: what a hurried hand, or an old register, would have drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely.geometry.base import BaseGeometry

from headframe.core.errors import GeometryError

_LONLAT = CRS.from_epsg(4326)
_EDGE_DEGREES = 0.01
"""Longest edge that is reprojected as it is; longer ones get corners on the way (about 1 km)."""


@dataclass(frozen=True)
class Coarseness:
    """How polygons lose their detail, in the order of the fields.

    Attributes:
        simplify_m: tolerance of Douglas-Peucker, metres, >= 0.
        buffer_m: width of the rim added all round, metres; below 0 it is taken away.
        shift_m: length of the shift, metres, >= 0; every polygon has its own direction.
        merge_m: polygons with at most this gap between them, once coarse, become one, metres;
            None merges nothing, not even what overlaps.
    """

    simplify_m: float = 0.0
    buffer_m: float = 0.0
    shift_m: float = 0.0
    merge_m: float | None = None

    def __post_init__(self) -> None:
        """Check the widths."""
        values = (self.simplify_m, self.buffer_m, self.shift_m, self.merge_m or 0.0)
        if not np.isfinite(values).all() or min(values[0], *values[2:]) < 0:
            raise GeometryError(
                f"{self}: tolerance, shift and gap are lengths of 0 m and more, all finite."
            )


@dataclass(frozen=True)
class CoarsePolygon:
    """One polygon of the coarse layer.

    Attributes:
        shape: Polygon or MultiPolygon in EPSG:4326.
        members: places of the fine polygons in it, ascending; one without merging.
    """

    shape: BaseGeometry
    members: tuple[int, ...]


def local_crs(shape: BaseGeometry) -> CRS:
    """Equal-area system in metres around a geometry in EPSG:4326.

    Lambert's azimuthal projection about the centre of its bounds: lengths are true to 0.1 % within
    500 km, and no zone's edge cuts a mine in two.
    """
    west, south, east, north = shape.bounds
    lon, lat = (west + east) / 2, (south + north) / 2
    return CRS.from_proj4(f"+proj=laea +lat_0={lat:.9f} +lon_0={lon:.9f} +ellps=WGS84 +units=m")


def reprojected(shape: BaseGeometry, source: CRS, target: CRS) -> BaseGeometry:
    """Move the corners of a geometry from one system to another, x before y in both.

    Raises:
        GeometryError: a corner has no place in the target.
    """
    transformer = Transformer.from_crs(source, target, always_xy=True)

    def move(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(transformer.transform(points[:, 0], points[:, 1]), axis=1)

    moved = shapely.transform(shape, move)
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise GeometryError(f"a polygon at {shape.bounds} cannot be brought to {target.name}.")
    return moved


def coarsen_metric(
    shape: BaseGeometry, coarseness: Coarseness, *, direction: float
) -> BaseGeometry:
    """Simplify, buffer and shift one polygon whose coordinates are metres.

    Args:
        shape: Polygon or MultiPolygon in a metric system.
        coarseness: the widths; ``merge_m`` is not used.
        direction: of the shift, radians from the x axis towards the y axis.

    Returns:
        A valid Polygon or MultiPolygon; empty where a negative buffer leaves nothing.
    """
    simple = shape.simplify(coarseness.simplify_m) if coarseness.simplify_m else shape
    wide = simple.buffer(coarseness.buffer_m)  # a buffer of 0 also mends what simplifying crossed
    step = coarseness.shift_m * np.array([np.cos(direction), np.sin(direction)])
    return shapely.transform(wide, lambda points: points + step)


def coarsen(
    shapes: Sequence[BaseGeometry], coarseness: Coarseness, *, seed: int = 0
) -> list[CoarsePolygon]:
    """Make polygons coarse.

    The direction of a polygon's shift comes from the seed and its place in ``shapes`` alone.

    Args:
        shapes: valid Polygons or MultiPolygons in EPSG:4326 (longitude, latitude).
        coarseness: the widths.
        seed: of the directions.

    Returns:
        One polygon for each of ``shapes``, in their order; with ``merge_m`` fewer, each at the
        place of its first member. A polygon that a negative buffer would take away is left out.

    Raises:
        GeometryError: a polygon cannot be brought to metres and back.
    """
    found: list[CoarsePolygon] = []
    for number, shape in enumerate(shapes):
        metric = local_crs(shape)
        direction = float(np.random.default_rng([seed, number]).uniform(0, 2 * np.pi))
        fine = shapely.segmentize(shape, _EDGE_DEGREES)
        moved = coarsen_metric(reprojected(fine, _LONLAT, metric), coarseness, direction=direction)
        if not moved.is_empty:
            found.append(CoarsePolygon(reprojected(moved, metric, _LONLAT), (number,)))
    return found if coarseness.merge_m is None else _merged(found, coarseness.merge_m)


def _merged(polygons: list[CoarsePolygon], gap_m: float) -> list[CoarsePolygon]:
    """Unite polygons with at most ``gap_m`` between them, through chains of such gaps."""
    if not polygons:
        return []
    near = [_widened(polygon.shape, gap_m / 2) for polygon in polygons]
    rows, cols = shapely.STRtree(near).query(near, predicate="intersects")
    count = len(polygons)
    graph = coo_array((np.ones(len(rows), np.int8), (rows, cols)), shape=(count, count))
    groups: dict[int, list[CoarsePolygon]] = {}
    for polygon, group in zip(
        polygons, connected_components(graph, directed=False)[1], strict=True
    ):
        groups.setdefault(int(group), []).append(polygon)
    return [
        CoarsePolygon(
            shapely.union_all([part.shape for part in parts]),
            tuple(member for part in parts for member in part.members),
        )
        for parts in groups.values()
    ]


def _widened(shape: BaseGeometry, width_m: float) -> BaseGeometry:
    metric = local_crs(shape)
    return reprojected(reprojected(shape, _LONLAT, metric).buffer(width_m), metric, _LONLAT)
