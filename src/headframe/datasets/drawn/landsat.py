"""Drawn Landsat chips: seven TM bands and a binary cloud band, at 30 m."""

from dataclasses import replace
from datetime import date

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from headframe.datasets.drawn.landscape import DrawnScene, draw_landscape
from headframe.datasets.drawn.outline import rasterize
from headframe.datasets.drawn.spectra import BAND_NAMES

LANDSAT_BANDS = ("blue", "green", "red", "nir", "swir16", "lwir", "swir22", "cloud")
"""Bands in file order: Thematic Mapper 1-7, then 1 for cloud and 0 for clear."""

_FACTOR = 3
_SOURCE = {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08", "swir16": "B11",
           "swir22": "B12"}  # fmt: skip


def draw_landsat_chip(
    seed: int, *, size: tuple[int, int] = (128, 112), date: date = date(2009, 8, 3)
) -> DrawnScene:
    """Draw an 8-band chip as the label equations of papers/001 expect it.

    Args:
        seed: which place, >= 0.
        size: (H, W) in pixels of 30 m, each >= 32.
        date: day of the picture; the mine grows from 2014 on.

    Returns:
        A scene of 30 m pixels whose ``bands`` are (8, H, W), uint16, as ``LANDSAT_BANDS``:
        reflectance times 10,000, temperature in units of 0.1 K, cloud 0 or 1. Truth, parts and
        cloud are on the same grid; a polygon's pixels are those whose centre it holds.
    """
    fine = draw_landscape(seed, size=(size[0] * _FACTOR, size[1] * _FACTOR), date=date)
    transform = fine.geobox.transform
    geobox = GeoBox(size, transform * Affine.scale(_FACTOR), str(fine.geobox.crs))
    blocks = _blocks(fine.bands.astype(np.float32)).mean(axis=(2, 4))
    named = {name: blocks[BAND_NAMES.index(source)] for name, source in _SOURCE.items()}
    cloud = _blocks(fine.cloud[None].astype(np.float32)).mean(axis=(2, 4))[0] > 0.5
    # Bare, bright ground is warm, water and forest are cool, cloud tops are cold.
    named["lwir"] = 2920 + 0.03 * (named["swir16"] - 1500) - 250 * cloud
    named["cloud"] = cloud.astype(np.float32)
    bands = np.stack([np.rint(named[name]) for name in LANDSAT_BANDS]).astype(np.uint16)
    parts = np.ascontiguousarray(fine.parts[1::_FACTOR, 1::_FACTOR])
    inverse = ~geobox.transform
    truth = np.zeros(size, dtype=np.uint8)
    for polygon in fine.tailings.geometry.affine_transform(inverse.to_shapely()):
        truth[rasterize(polygon, size)] = 1
    return replace(
        fine, bands=bands, band_names=LANDSAT_BANDS, geobox=geobox, truth=truth, parts=parts,
        cloud=cloud,
    )  # fmt: skip


def _blocks(bands: NDArray[np.float32]) -> NDArray[np.float32]:
    count, height, width = bands.shape  # (C, H, W) -> (C, H/3, 3, W/3, 3)
    return bands.reshape(count, height // _FACTOR, _FACTOR, width // _FACTOR, _FACTOR)
