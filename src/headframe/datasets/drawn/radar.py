"""A drawn Sentinel-1 image: slopes, thermal noise and speckle on the backscatter of the ground."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from headframe.core.radar import ratio_db, to_db
from headframe.datasets.drawn.terrain import hillshade

FloatArray = NDArray[np.float32]

LOOKS = 4.4
"""Equivalent number of looks of Sentinel-1's IW GRDH product of 10 m pixels: Sentinel-1 Product
Definition (S1-RS-MDA-52-7440), table of IW GRD products."""

NOISE_POWER = 10 ** (-28.0 / 10)
"""Thermal noise left in the product, linear power; the instrument's limit is -22 dB at worst."""

_INCIDENCE_DEG = 38.5


def measure_radar(
    rng: np.random.Generator, power: FloatArray, relief: FloatArray, *, ascending: bool
) -> FloatArray:
    """See the ground by radar, as IW GRDH that was calibrated and laid on the map.

    Slopes that face the sensor are brighter by the cosine of the incidence; layover and shadow are
    not drawn. Speckle multiplies the power by numbers of the gamma distribution of mean 1 and
    ``LOOKS`` looks (intensity of fully developed speckle, Oliver & Quegan 1998, chapter 4), in VV
    and VH apart, alike in neighbouring pixels because a pixel is half as wide as the resolution.

    Args:
        rng: source of randomness.
        power: backscatter of flat ground, VV and VH, (2, H, W), linear power.
        relief: metres, (H, W), row 0 north.
        ascending: whether the sensor looks east, else west.

    Returns:
        VV, VH and VV/(10 VH), (3, H, W), float32, dB.
    """
    light = hillshade(
        relief,
        azimuth_deg=260.0 if ascending else 100.0,  # where the sensor stands
        sun_elevation_deg=90.0 - _INCIDENCE_DEG,
    )
    blurred = np.stack([ndimage.gaussian_filter(band, 0.6, mode="nearest") for band in power])
    seen = blurred * light + np.float32(NOISE_POWER)
    seen = seen * np.stack([speckle(rng, relief.shape) for _ in range(2)])
    vv, vh = to_db(seen[0]), to_db(seen[1])
    return np.stack([vv, vh, ratio_db(vv, vh)])


def speckle(
    rng: np.random.Generator, shape: tuple[int, ...], *, looks: float = LOOKS
) -> FloatArray:
    """Draw speckle: gamma numbers of mean 1 and variance ``1 / looks``, alike in neighbours.

    Returns:
        (H, W), float32, > 0.
    """
    white = rng.standard_normal((shape[0] + 8, shape[1] + 8))
    smooth = ndimage.gaussian_filter(white, 0.6, truncate=6)[4:-4, 4:-4]
    impulse = np.zeros((9, 9))
    impulse[4, 4] = 1
    scale = np.sqrt((ndimage.gaussian_filter(impulse, 0.6, truncate=6) ** 2).sum())
    share = special.ndtr(smooth / scale)  # a normal copula: the marginals are exactly gamma
    return np.asarray(special.gammaincinv(looks, share) / looks, dtype=np.float32)
