"""Scenes placed by ground control points, as radar in ground range is: part of one on a grid."""

from typing import Any

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from rasterio.control import GroundControlPoint
from rasterio.enums import Resampling
from rasterio.transform import GCPTransformer
from rasterio.warp import reproject
from rasterio.windows import Window

from headframe.io.layers import gdal_reading
from headframe.io.s1_calibration import Calibration

_EDGE_POINTS = 17
_MARGIN_PX = 8


def read_by_points(
    dataset: Any,  # noqa: ANN401 - rasterio is untyped
    index: int,
    geobox: GeoBox,
    *,
    nodata: float | None,
    source: str,
    calibration: Calibration | None = None,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Lay one band over a grid by nearest pixel, with a thin-plate spline through its points.

    Only the part of the scene under the grid is read. Terrain between the points is not corrected.

    Args:
        dataset: open raster with control points and no transform.
        index: 1-based band.
        geobox: the grid.
        nodata: stored number that means no data, or None.
        source: the file, for messages.
        calibration: makes linear power of the numbers, if given.

    Returns:
        Stored numbers, or power, (H, W), and where the scene covers the grid with data.

    Raises:
        FormatError: the file cannot be read there.
    """
    points, crs = dataset.gcps
    shape = tuple(geobox.shape)
    window = _window(dataset, geobox)
    if window is None:
        dtype = dataset.dtypes[index - 1] if calibration is None else "float32"
        return np.zeros(shape, dtype), np.zeros(shape, np.bool_)
    with gdal_reading(source):
        stored = dataset.read(index, window=window)
    known = np.ones(stored.shape, np.bool_) if nodata is None else stored != nodata
    if calibration is not None:
        stored = calibration.sigma0(stored, row=int(window.row_off), col=int(window.col_off))
    moved = [
        GroundControlPoint(p.row - window.row_off, p.col - window.col_off, p.x, p.y) for p in points
    ]
    placed = [
        reproject(
            array,
            np.zeros(shape, array.dtype),
            gcps=moved,
            src_crs=crs,
            dst_crs=str(geobox.crs),
            dst_transform=geobox.affine,
            resampling=Resampling.nearest,
            SRC_METHOD="GCP_TPS",
        )[0]
        for array in (stored, known.astype(np.uint8))
    ]
    return placed[0], placed[1] > 0


def _window(dataset: Any, geobox: GeoBox) -> Window | None:  # noqa: ANN401 - rasterio is untyped
    """Rows and columns of the scene under the grid, with a margin; None where there are none."""
    points, crs = dataset.gcps
    height, width = geobox.shape
    steps = np.linspace(0, 1, _EDGE_POINTS)
    cols, rows = (a.ravel() for a in np.meshgrid(steps * width, steps * height))
    matrix = geobox.affine
    x = matrix.c + matrix.a * cols + matrix.b * rows
    y = matrix.f + matrix.d * cols + matrix.e * rows
    there = Transformer.from_crs(str(geobox.crs), CRS(crs.to_wkt()), always_xy=True)
    with GCPTransformer(points, tps=True) as transformer:
        row, col = transformer.rowcol(*there.transform(x, y))
    top, left = max(0, min(row) - _MARGIN_PX), max(0, min(col) - _MARGIN_PX)
    bottom = min(dataset.height, max(row) + _MARGIN_PX)
    right = min(dataset.width, max(col) + _MARGIN_PX)
    if bottom <= top or right <= left:
        return None
    return Window(int(left), int(top), int(right - left), int(bottom - top))
