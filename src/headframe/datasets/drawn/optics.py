"""From lit ground to digital numbers: air, cloud, optics, noise and rounding."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from headframe.datasets.drawn.spectra import (
    BAND_GSD_M,
    MATERIALS,
    PATH_REFLECTANCE,
    TRANSMITTANCE,
)
from headframe.datasets.drawn.terrain import PIXEL_M, fractal

FloatArray = NDArray[np.float32]

_SKYLIGHT = np.array(
    [0.36, 0.31, 0.25, 0.20, 0.18, 0.16, 0.15, 0.14, 0.13, 0.13, 0.08, 0.06], dtype=np.float32
)
"""Share of the light that comes from the whole sky, per band."""


def light_up(surface: FloatArray, shade: FloatArray) -> FloatArray:
    """Darken and brighten slopes; skylight fills the shadows, most of all in blue.

    Args:
        surface: surface reflectance, (12, H, W), float32.
        shade: direct light relative to flat ground, (H, W), float32, >= 0.

    Returns:
        Apparent surface reflectance, (12, H, W), float32.
    """
    sky = _SKYLIGHT[:, None, None]
    return surface * (sky + (1 - sky) * shade)


def draw_cloud(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    centre: tuple[float, float],
    radius_px: float,
) -> FloatArray:
    """Draw one ragged cumulus.

    Returns:
        Its opacity, (H, W), float32 in [0, 1].
    """
    rows, cols = np.indices(shape, dtype=np.float32)
    near = np.hypot(rows - centre[0], 0.8 * (cols - centre[1])) / radius_px
    puffs = fractal(rng, shape, beta=2.9, longest_px=2.5 * radius_px)
    wisps = fractal(rng, shape, beta=2.0, longest_px=20)
    body = np.clip(1.1 * (0.95 - near + 0.5 * puffs + 0.14 * wisps), 0, 1)
    return np.where(near < 2.2, body, 0).astype(np.float32)


def through_air(
    ground: FloatArray, *, haze: FloatArray, cloud: FloatArray, shadow: FloatArray
) -> FloatArray:
    """Look at the ground from the top of the atmosphere.

    Args:
        ground: lit ground, (12, H, W), float32.
        haze: turbidity relative to clear air, (H, W), >= 0, 1 is clear.
        cloud: opacity of the cloud, (H, W), in [0, 1].
        shadow: opacity of its shadow, (H, W), in [0, 1].

    Returns:
        Top-of-atmosphere reflectance, (12, H, W), float32.
    """
    dim = 1 - shadow * (1 - 0.9 * _SKYLIGHT[:, None, None])
    path = PATH_REFLECTANCE[:, None, None] * haze
    seen = ground * dim * (TRANSMITTANCE[:, None, None] ** haze) + path
    white = MATERIALS["cloud"][:, None, None] * (0.6 + 0.4 * cloud)
    return np.asarray(seen + cloud * (white - seen), dtype=np.float32)


def measure(rng: np.random.Generator, scene: FloatArray) -> NDArray[np.uint16]:
    """Blur, sample, disturb and round a scene as an instrument does.

    Every band is blurred by its own optics (neighbours leak in), averaged on its own pixel
    size (10, 20 or 60 m) and repeated on the 10 m grid, and given noise that grows with the signal.

    Args:
        rng: source of randomness.
        scene: top-of-atmosphere reflectance, (12, H, W), float32.

    Returns:
        Reflectance times 10,000, (12, H, W), uint16, at least 1: 0 is nodata.
    """
    digital = np.empty(scene.shape, dtype=np.uint16)
    for index, gsd_m in enumerate(BAND_GSD_M):
        block = round(gsd_m / PIXEL_M)
        band = ndimage.gaussian_filter(scene[index], 0.55, mode="nearest", truncate=3)
        if block > 1:
            band = _average(band, block)
        sigma = np.float32(0.0009) + np.float32(0.006) * band
        band = band + sigma * rng.standard_normal(band.shape, dtype=np.float32)
        band = np.repeat(np.repeat(band, block, 0), block, 1)
        band = band[: scene.shape[1], : scene.shape[2]]
        digital[index] = np.clip(np.rint(band * 10000), 1, 65535)
    return digital


def _average(band: FloatArray, block: int) -> FloatArray:
    height, width = band.shape
    padded = np.pad(band, ((0, -height % block), (0, -width % block)), mode="edge")
    rows, cols = padded.shape[0] // block, padded.shape[1] // block
    return np.asarray(padded.reshape(rows, block, cols, block).mean(axis=(1, 3)))
