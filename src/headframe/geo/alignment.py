"""One grid for two rasters: the finer one's lattice, divided where the other does not fit it."""

from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from shapely.geometry.base import BaseGeometry

from headframe.core.errors import CrsError, GridMismatchError
from headframe.geo.area import GridMeasure
from headframe.geo.window import Window

FloatArray = NDArray[np.float64]

_MOST_PARTS = 4
_FALLBACK_PARTS = 2
_MISFIT_PX = 0.1
_SAME_PX = 0.01
_ALIKE = 1.05
_PROBES = 9
_CELL_PX = 64


@dataclass(frozen=True)
class Alignment:
    """The grid on which two rasters are compared.

    Attributes:
        geobox: covers what both cover, on the lattice of the finer raster, each of whose pixels
            is divided into ``parts`` x ``parts``.
        parts: divisions of a side, 1 to 4.
        side_px: (before, after), side of a pixel of either raster in pixels of ``geobox``:
            square root of the areas' ratio.
        same_lattice: corners of both rasters' pixels fall together, so that two drawings of one
            outline are equal.
        basis: 0 where ``geobox`` follows the first raster, 1 the second.
    """

    geobox: GeoBox
    parts: int
    side_px: tuple[float, float]
    same_lattice: bool
    basis: int


def align_grids(before: GeoBox, after: GeoBox) -> Alignment:
    """Choose the grid on which two rasters are compared.

    The finer raster (the first, where pixel areas differ by less than 5 %) keeps its lattice and
    its CRS, cut to what the other one covers. Where the other's pixel corners do not fall onto
    that lattice, pixels are divided by the smallest of 2, 3, 4 that makes them fall within a
    tenth of a pixel; by 2 where none does (another CRS, a turned grid). Nearest pixels of the
    divided grid then copy either raster without moving its outlines by more than a quarter of a
    pixel, and in no direction more than in another: areas stay unbiased.

    Raises:
        CrsError: a grid has no CRS, or there is no way between the two.
        GridMismatchError: they do not overlap.
    """
    boxes = (before, after)
    areas = [_pixel_area(box) for box in boxes]
    basis = 1 if areas[0] > _ALIKE * areas[1] else 0
    fine, other = boxes[basis], boxes[1 - basis]
    window = _overlap(other, fine)
    corners = _corners_seen(other, fine, window)
    parts = _parts(corners)
    place = Affine.translation(window.col, window.row) * Affine.scale(1 / parts)
    geobox = GeoBox((window.height * parts, window.width * parts), fine.affine * place, fine.crs)
    own = _pixel_area(geobox)
    side = [float(np.sqrt(area / own)) for area in areas]
    return Alignment(
        geobox=geobox,
        parts=parts,
        side_px=(side[0], side[1]),
        same_lattice=parts == 1
        and max(areas) < _ALIKE * min(areas)
        and _misfit(corners) < _SAME_PX,
        basis=basis,
    )


class _Bridge:
    """Leads from pixel coordinates (x = column, y = row) of one grid to those of another."""

    def __init__(self, start: GeoBox, end: GeoBox) -> None:
        crs = []
        for box in (start, end):
            if box.crs is None:
                raise CrsError("a grid without a CRS cannot be compared with another one.")
            crs.append(CRS.from_wkt(box.crs.to_wkt()))
        self._start, self._end = start.affine, ~end.affine
        self._there = (
            None if crs[0] == crs[1] else Transformer.from_crs(crs[0], crs[1], always_xy=True)
        )

    def __call__(self, pixels: FloatArray) -> FloatArray:
        """Lead points (N, 2) over; infinite where there is no way."""
        x, y = _applied(self._start, pixels)
        if self._there is not None:
            x, y = self._there.transform(x, y)
        return np.column_stack(_applied(self._end, np.column_stack([x, y])))


def _applied(affine: Affine, points: FloatArray) -> tuple[FloatArray, FloatArray]:
    a, b, c, d, e, f = tuple(affine)[:6]
    x, y = points[:, 0], points[:, 1]
    return a * x + b * y + c, d * x + e * y + f


def _overlap(other: GeoBox, fine: GeoBox) -> Window:
    """Find the pixels of ``fine`` that enclose what both grids cover."""
    height, width = fine.shape
    outline = shapely.segmentize(shapely.box(0, 0, width, height), max(height, width) / 32)
    seen = shapely.transform(outline, _Bridge(fine, other))
    if not np.isfinite(shapely.get_coordinates(seen)).all():
        raise GridMismatchError("a raster's outline has no place in the other's CRS.")
    common = shapely.make_valid(seen).intersection(shapely.box(0, 0, *other.shape.xy))
    if common.area <= 0:
        raise GridMismatchError("the rasters do not overlap.")
    dense = shapely.segmentize(common, max(other.shape) / 32)
    left, top, right, bottom = shapely.transform(dense, _Bridge(other, fine)).bounds
    first_col, first_row = (
        max(0, int(np.floor(left + _SAME_PX))),
        max(0, int(np.floor(top + _SAME_PX))),
    )
    last_col, last_row = (
        min(width, int(np.ceil(right - _SAME_PX))),
        min(height, int(np.ceil(bottom - _SAME_PX))),
    )
    if last_row <= first_row or last_col <= first_col:
        raise GridMismatchError("the rasters do not overlap.")
    return Window(first_row, first_col, last_row - first_row, last_col - first_col)


def _corners_seen(other: GeoBox, fine: GeoBox, window: Window) -> FloatArray:
    """Place some pixel corners of ``other`` in pixels of ``fine``, spread over ``window``."""
    xs = np.linspace(window.col, window.col + window.width, _PROBES)
    ys = np.linspace(window.row, window.row + window.height, _PROBES)
    spread = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    return _Bridge(other, fine)(np.round(_Bridge(fine, other)(spread)))


def _misfit(corners: FloatArray, parts: int = 1) -> float:
    """Largest distance along an axis from a corner to the divided lattice, pixels."""
    return float(np.abs(corners * parts - np.round(corners * parts)).max() / parts)


def _parts(corners: FloatArray) -> int:
    fitting = (n for n in range(1, _MOST_PARTS + 1) if _misfit(corners, n) <= _MISFIT_PX)
    return next(fitting, _FALLBACK_PARTS)


def _pixel_area(geobox: GeoBox) -> float:
    """Area of a pixel in the middle of a grid, square metres."""
    height, width = geobox.shape
    middle = shapely.box(width / 2 - 8, height / 2 - 8, width / 2 + 8, height / 2 + 8)
    areas, _ = GridMeasure(geobox).measures([middle])
    return float(areas[0]) / 256


class CellAreas:
    """Areas of a grid's pixels on the ellipsoid, from cells of 64 x 64 pixels.

    Within a cell all pixels count alike, so that a cell's pixels sum to its geodesic area.
    """

    def __init__(self, geobox: GeoBox) -> None:
        """Measure on ``geobox``, whose CRS must be known."""
        self._measure = GridMeasure(geobox)
        self._height, self._width = geobox.shape

    def pixels(self, window: Window) -> FloatArray:
        """Give the area of each pixel of ``window`` (h, w), square metres, float64."""
        rows = range(window.row // _CELL_PX, -(-(window.row + window.height) // _CELL_PX))
        cols = range(window.col // _CELL_PX, -(-(window.col + window.width) // _CELL_PX))
        cells = np.array([[self._cell(row, col) for col in cols] for row in rows])
        wide = np.repeat(np.repeat(cells, _CELL_PX, axis=0), _CELL_PX, axis=1)
        top, left = window.row - rows[0] * _CELL_PX, window.col - cols[0] * _CELL_PX
        return np.asarray(wide[top : top + window.height, left : left + window.width])

    def _cell(self, row: int, col: int) -> float:
        """Area of one pixel of cell (row, col); the last cells end at the grid's border."""
        top, left = row * _CELL_PX, col * _CELL_PX
        bottom = min(top + _CELL_PX, self._height)
        right = min(left + _CELL_PX, self._width)
        box = shapely.box(left, top, right, bottom)
        areas, _ = self._measure.measures([box])
        return float(areas[0]) / ((bottom - top) * (right - left))


def pixel_window(polygon: BaseGeometry, geobox: GeoBox) -> Window | None:
    """Enclose a polygon in longitude and latitude by pixels of a grid; None where it misses it.

    Raises:
        CrsError: the grid has no CRS.
    """
    if geobox.crs is None:
        raise CrsError("a grid without a CRS holds no polygons.")
    there = Transformer.from_crs("EPSG:4326", CRS.from_wkt(geobox.crs.to_wkt()), always_xy=True)

    def move(points: FloatArray) -> FloatArray:
        x, y = there.transform(points[:, 0], points[:, 1])
        return np.column_stack(_applied(~geobox.affine, np.column_stack([x, y])))

    height, width = geobox.shape
    west, south, east, north = polygon.bounds
    fine = shapely.segmentize(polygon, max(east - west, north - south) / 64)
    moved = shapely.transform(fine, move)
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        return Window(0, 0, height, width)  # somewhere beyond the projection: look everywhere
    left, top, right, bottom = moved.bounds
    first_row, last_row = max(0, int(np.floor(top)) - 1), min(height, int(np.ceil(bottom)) + 1)
    first_col, last_col = max(0, int(np.floor(left)) - 1), min(width, int(np.ceil(right)) + 1)
    if last_row <= first_row or last_col <= first_col:
        return None
    return Window(first_row, first_col, last_row - first_row, last_col - first_col)


def part_of(geobox: GeoBox, window: Window) -> GeoBox:
    """Cut a window out of a grid."""
    affine = geobox.affine * Affine.translation(window.col, window.row)
    return GeoBox((window.height, window.width), affine, geobox.crs)
