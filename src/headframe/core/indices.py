"""Normalised differences of two bands: vegetation, water."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

INDICES: Mapping[str, tuple[str, str]] = {
    "ndvi": ("nir", "red"),
    "ndwi": ("green", "nir"),
    "mndwi": ("green", "swir16"),
}
"""Bands a and b of (a - b) / (a + b): vegetation (Rouse 1974), open water (McFeeters 1996), open
water among buildings (Xu 2006)."""


def normalized_difference(
    first: npt.NDArray[Any], second: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """Give (first - second) / (first + second).

    Computed in float64, in which integers and float32 are exact. Between -1 and 1 where neither
    band is below 0; reflectance a little below 0, as atmospheric correction leaves it, gives
    values beyond.

    Args:
        first: (H, W), any numeric type; an unsigned one does not wrap round.
        second: same shape.

    Returns:
        (H, W) float64; NaN where the sum is 0 or either is no finite number.
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    total = a + b
    usable = np.isfinite(total) & (total != 0.0)
    return np.divide(a - b, total, out=np.full_like(total, np.nan), where=usable)
