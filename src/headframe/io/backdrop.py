"""An image behind a map: a scene in colour on another grid, small."""

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from headframe.core.errors import InputError
from headframe.io.layers import band_descriptions, data_bands, gdal_reading, open_raster

RgbArray = NDArray[np.uint8]

_LOW, _HIGH = 2.0, 98.0
_NAMES = (
    ("red", ("red", "b04", "b4")),
    ("green", ("green", "b03", "b3")),
    ("blue", ("blue", "b02", "b2")),
)


def read_backdrop(source: str, geobox: GeoBox) -> RgbArray | None:
    """Read an image in colour, stretched between its 2nd and 98th percentile.

    Args:
        source: raster; its bands described as red, green and blue (or Sentinel-2's names), else
            its first band in grey.
        geobox: the grid wanted, of a picture's size.

    Returns:
        (H, W, 3) sRGB, black where there is no data; None where ``source`` is no single raster.
    """
    try:
        with open_raster(source) as dataset, gdal_reading(source):
            if dataset.crs is None:
                return None
            bands = _shown(dataset)
            alpha = dataset.nodata is None
            with WarpedVRT(
                dataset,
                crs=str(geobox.crs),
                transform=geobox.transform,
                width=geobox.shape[1],
                height=geobox.shape[0],
                resampling=Resampling.nearest,
                add_alpha=alpha and len(data_bands(dataset)) == dataset.count,
            ) as warped:
                values = warped.read(list(bands)).astype(np.float64)
                known = (warped.read_masks(list(bands)) > 0).all(axis=0)
    except InputError:
        return None
    picture = np.zeros((*geobox.shape, 3), dtype=np.uint8)
    known &= np.isfinite(values).all(axis=0)
    if known.any():
        for channel, band in enumerate(values):
            low, high = np.percentile(band[known], [_LOW, _HIGH])
            scaled = (np.where(known, band, low) - low) / max(high - low, 1e-9)
            picture[..., channel] = np.round(np.clip(scaled, 0, 1) * 255)
        picture[~known] = 0
    return picture


def _shown(dataset: object) -> tuple[int, int, int]:
    """Choose three bands, 1-based."""
    found: dict[str, int] = {}
    for index, text in enumerate(band_descriptions(dataset), start=1):
        words = (text or "").lower().replace("_", " ").split()
        for name, spellings in _NAMES:
            if name not in found and set(spellings) & set(words):
                found[name] = index
    if len(found) == 3:
        return found["red"], found["green"], found["blue"]
    first = data_bands(dataset)[0]
    return first, first, first
