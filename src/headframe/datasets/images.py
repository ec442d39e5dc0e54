"""A chip's image: one raster, a folder of band files, or a raster a sensor."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from headframe.datasets.minesegsat import (
    read_tile,
    read_tile_header,
    read_tile_stored,
    tile_bytes,
)
from headframe.datasets.pixels import (
    ChipHeader,
    ChipPixels,
    PixelRules,
    read_header,
    read_pixels,
    read_stored,
)
from headframe.datasets.sen1floods11 import is_flood_image, read_flood


def image_header(path: Path) -> ChipHeader:
    """Read what an image says of itself; errors as ``pixels.read_header``."""
    return read_tile_header(path) if path.is_dir() else read_header(path)


def image_pixels(path: Path, rules: PixelRules) -> ChipPixels:
    """Read an image in the physical unit.

    Errors are those of ``pixels.read_pixels``, ``minesegsat.read_tile`` and
    ``sen1floods11.read_flood``.
    """
    if path.is_dir():
        return read_tile(path, rules)
    return read_flood(path, rules) if is_flood_image(path) else read_pixels(path, rules)


def image_stored(
    path: Path,
) -> tuple[ChipHeader, npt.NDArray[np.generic], npt.NDArray[np.bool_]]:
    """Read an image for checks: header, values (C, H, W) and where they are data (H, W)."""
    if path.is_dir():
        return read_tile_stored(path)
    return read_stored(path, blank=is_flood_image(path))


def image_bytes(path: Path) -> int:
    """Size of an image on disk."""
    return tile_bytes(path) if path.is_dir() else path.stat().st_size
