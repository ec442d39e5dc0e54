"""The label equations of papers/001, section 1, as pure array functions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headframe.core.errors import BandError
from headframe.core.indices import normalized_difference

BoolArray = npt.NDArray[np.bool_]

NDVI_LIMIT = 0.5
"""Above it, and not at it, a pixel is vegetation and cannot be the target (equation 2)."""
BACKGROUND, CLOUD, TARGET = 0, 1, 2
SCL_CLOUD_CLASSES = (3, 8, 9, 10)
"""Sentinel-2 scene classes taken as cloud: its shadow, medium and high probability, cirrus."""
SCL_NODATA = 0


def ndvi(
    red: npt.NDArray[Any], nir: npt.NDArray[Any], *, valid: BoolArray | None = None
) -> npt.NDArray[np.float64]:
    """Normalised difference vegetation index, (nir - red) / (nir + red), exactly 0.5 where it is.

    Args:
        red: (H, W), any numeric type; an unsigned one does not wrap round.
        nir: same shape.
        valid: False where either has no data.

    Returns:
        (H, W) float64; 0 where the denominator is 0 or there is no data.
    """
    index = normalized_difference(nir, red)
    usable = np.isfinite(index) if valid is None else np.isfinite(index) & valid
    return np.where(usable, index, 0.0)


def cloud_of_band(
    band: npt.NDArray[Any], *, nodata: float | None, threshold: float | None, source: str
) -> BoolArray:
    """Tell cloud from a binary band: where it is 1, or with a threshold where it reaches it.

    Args:
        band: (H, W).
        nodata: the file's nodata value; where it is neither 0 nor 1 it is no cloud.
        threshold: for bands of probabilities or codes: cloud from this value on.
        source: file name, for the message.

    Raises:
        BandError: values other than 0 and 1, and no threshold to read them by.
    """
    empty = np.isnan(band) if band.dtype.kind == "f" else np.zeros(band.shape, bool)
    if nodata is not None and nodata not in (0, 1):
        empty = empty | (band == nodata)
    if threshold is not None:
        return np.asarray((band >= threshold) & ~empty)
    alien = np.unique(band[~(empty | (band == 0) | (band == 1))])
    if alien.size:
        shown = ", ".join(f"{v:g}" for v in alien[:4])
        raise BandError(
            f"{source}: cloud band holds {shown}{' and more' if alien.size > 4 else ''}, "
            "not only 0 and 1. Say from which value on it is cloud with --cloud-threshold."
        )
    return np.asarray((band == 1) & ~empty)


def cloud_of_scl(scl: npt.NDArray[Any], classes: Sequence[int] = SCL_CLOUD_CLASSES) -> BoolArray:
    """Tell cloud from a Sentinel-2 scene classification (H, W)."""
    return np.isin(scl, classes)


def label_index(
    inside: BoolArray,
    *,
    ndvi: npt.NDArray[np.float64] | None = None,
    cloud: BoolArray | None = None,
) -> npt.NDArray[np.uint8]:
    """Equations (1) to (4): polygons, less vegetation, under cloud.

    Cloud wins over target, target over background; where nothing is given nothing is removed.

    Args:
        inside: (H, W), True inside the polygons (M_base = 2).
        ndvi: index per pixel; over 0.5 removes the target.
        cloud: True under cloud.

    Returns:
        (H, W) uint8 of 0 background, 1 cloud, 2 target.
    """
    label = np.where(inside, TARGET, BACKGROUND).astype(np.uint8)
    if ndvi is not None:
        label[ndvi > NDVI_LIMIT] = BACKGROUND
    if cloud is not None:
        label[cloud] = CLOUD
    return label
