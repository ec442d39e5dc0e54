"""A raster of classes laid over a scene's grid by nearest pixel, read window by window."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import rasterio.transform
import rasterio.warp
import rasterio.windows
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from headframe.core.errors import CrsError, FormatError, GridMismatchError
from headframe.geo.window import Window
from headframe.io.layers import gdal_reading, open_raster, shown


class AlignedClasses:
    """Whole numbers of one raster on the grid of another.

    Attributes:
        source: the file.
    """

    def __init__(self, source: str, dataset: Any) -> None:  # noqa: ANN401 - rasterio has no types
        self.source = source
        self._dataset = dataset

    def read(self, window: Window) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Read a window of the scene.

        Args:
            window: pixels of the scene, within it.

        Returns:
            Numbers (h, w), and where there are any: not outside the raster, nor where it has
            no data.
        """
        part = rasterio.windows.Window(window.col, window.row, window.width, window.height)
        with gdal_reading(self.source):
            values = self._dataset.read(1, window=part)
            known = self._dataset.read_masks(1, window=part) > 0
        return values.astype(np.int64), known


@contextmanager
def aligned_classes(source: str, geobox: GeoBox) -> Iterator[AlignedClasses]:
    """Open band 1 of ``source`` on the grid ``geobox``; nearest pixel, as classes must be.

    Raises:
        MissingFileError: it is not there.
        FormatError: not a raster, or one of numbers that are no classes.
        CrsError: it, or the scene, has no CRS.
        GridMismatchError: it covers nothing of the grid.
    """
    with open_raster(source) as dataset:
        if dataset.crs is None or geobox.crs is None:
            raise CrsError(f"{shown(source)}: it and the scene need a CRS to be laid over another.")
        if np.dtype(dataset.dtypes[0]).kind not in "iu":
            raise FormatError(
                f"{shown(source)}: holds {dataset.dtypes[0]}, not whole numbers. "
                "Give a raster of classes."
            )
        height, width = geobox.shape
        with (
            gdal_reading(source),
            WarpedVRT(
                dataset,
                crs=geobox.crs.to_wkt(),
                transform=geobox.affine,
                width=width,
                height=height,
                resampling=Resampling.nearest,
                add_alpha=dataset.nodatavals[0] is None,
            ) as warped,
        ):
            classes = AlignedClasses(source, warped)
            if not _overlaps(warped):
                raise GridMismatchError(f"{shown(source)}: covers nothing of the scene.")
            yield classes


def _overlaps(warped: Any) -> bool:  # noqa: ANN401 - rasterio has no types
    """Tell whether the source's extent reaches into the grid, by their boxes."""
    inner = warped.src_dataset
    left, bottom, right, top = rasterio.warp.transform_bounds(inner.crs, warped.crs, *inner.bounds)
    grid = rasterio.transform.array_bounds(warped.height, warped.width, warped.transform)
    return bool(left < grid[2] and right > grid[0] and bottom < grid[3] and top > grid[1])
