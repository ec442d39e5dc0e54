"""Fractal relief with a river valley, and its light."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

FloatArray = NDArray[np.float32]

PIXEL_M = 10.0
"""Side of a drawn pixel, metres."""


@dataclass(frozen=True)
class Axes:
    """Coordinates along (``u``) and across (``v``) the valley.

    Attributes:
        u: pixels along the valley, (H, W), float32, 0 at the scene's centre.
        v: pixels across the valley, (H, W), float32, 0 at the scene's centre.
        angle: direction of ``u``, radians clockwise from east (row axis points south).
    """

    u: FloatArray
    v: FloatArray
    angle: float

    def place(self, u: float, v: float) -> tuple[float, float]:
        """Turn valley coordinates into a pixel position (row, col)."""
        height, width = self.u.shape
        row = (height - 1) / 2 + u * np.sin(self.angle) + v * np.cos(self.angle)
        col = (width - 1) / 2 + u * np.cos(self.angle) - v * np.sin(self.angle)
        return float(row), float(col)


@dataclass(frozen=True)
class Terrain:
    """The land before anyone built on it.

    Attributes:
        axes: valley coordinates.
        elevation: metres, (H, W), float32.
        river: distance to the river's centre line, pixels, (H, W), float32, >= 0.
        gully: how much a pixel lies below its surroundings, about -3..3, (H, W), float32.
        river_v: mean position of the river across the valley, pixels.
    """

    axes: Axes
    elevation: FloatArray
    river: FloatArray
    gully: FloatArray
    river_v: float


def fractal(
    rng: np.random.Generator, shape: tuple[int, int], *, beta: float, longest_px: float = 1e9
) -> FloatArray:
    """Draw Gaussian noise whose amplitude falls as frequency to the power ``beta`` / 2.

    Args:
        rng: source of randomness.
        shape: (H, W).
        beta: 0 is white, 2 is cloud-like, 3 and more is smooth.
        longest_px: waves longer than this are damped.

    Returns:
        (H, W), float32, mean 0 and standard deviation 1.
    """
    height, width = (fft.next_fast_len(side + 32, real=True) for side in shape)
    rows = fft.fftfreq(height).astype(np.float32)[:, None]
    cols = fft.rfftfreq(width).astype(np.float32)[None, :]
    frequency2 = rows**2 + cols**2 + np.float32(1.0 / max(longest_px, 1.0) ** 2)
    frequency2[0, 0] = max(float(frequency2[0, 0]), 1.0 / (height * width))
    spectrum = fft.rfft2(rng.standard_normal((height, width), dtype=np.float32))
    spectrum *= frequency2 ** np.float32(-beta / 4)
    spectrum[0, 0] = 0
    noise = fft.irfft2(spectrum, s=(height, width))[: shape[0], : shape[1]]
    return np.asarray((noise - noise.mean()) / noise.std(), dtype=np.float32)


def draw_terrain(rng: np.random.Generator, shape: tuple[int, int]) -> Terrain:
    """Draw hills cut by one meandering river.

    The river follows the valley because the valley is carved around it.

    Args:
        rng: source of randomness.
        shape: (H, W).

    Returns:
        The terrain; its elevation never rises towards the river on the large scale.
    """
    axes = _axes(rng, shape)
    half_v = 0.5 * min(shape)
    river_v = float(rng.choice([-1.0, 1.0]) * rng.uniform(0.22, 0.5) * half_v)
    centre = np.full(shape, river_v, dtype=np.float32)
    slope = np.zeros(shape, dtype=np.float32)
    for wave, height in ((210.0, 20.0), (83.0, 9.0), (41.0, 3.5)):
        length = wave * rng.uniform(0.8, 1.3)
        phase = rng.uniform(0, 2 * np.pi)
        swing = height * rng.uniform(0.6, 1.2)
        argument = 2 * np.pi * axes.u / length + phase
        centre += (swing * np.sin(argument)).astype(np.float32)
        slope += (swing * 2 * np.pi / length * np.cos(argument)).astype(np.float32)
    river = np.abs(axes.v - centre) / np.sqrt(1 + slope**2)
    away = 1 - np.exp(-((river / 75.0) ** 1.6))
    rough = fractal(rng, shape, beta=4.3, longest_px=120)
    ridges = 1 - np.abs(fractal(rng, shape, beta=4.0, longest_px=60))
    elevation = 760 + 85 * away + 0.05 * axes.u + (16 + 80 * away) * (0.6 * rough + 0.3 * ridges)
    elevation = ndimage.gaussian_filter(elevation.astype(np.float32), 1.2)
    local = ndimage.uniform_filter(elevation, 25, mode="nearest") - elevation
    gully = (local / local.std()).astype(np.float32)
    return Terrain(axes, elevation, river.astype(np.float32), gully, river_v)


def hillshade(elevation: FloatArray, *, azimuth_deg: float, sun_elevation_deg: float) -> FloatArray:
    """Light falling on a slope relative to flat ground.

    Args:
        elevation: metres, (H, W), row 0 north.
        azimuth_deg: where the sun stands, clockwise from north.
        sun_elevation_deg: height of the sun above the horizon, in (0, 90].

    Returns:
        Cosine of incidence over that of flat ground, (H, W), float32, clipped to [0.05, 1.9];
        1 on flat ground.
    """
    down, right = np.gradient(elevation, PIXEL_M)
    azimuth, height = np.radians(azimuth_deg), np.radians(sun_elevation_deg)
    east, north = np.sin(azimuth) * np.cos(height), np.cos(azimuth) * np.cos(height)
    # The normal of z(x, y) is (-dz/dx, -dz/dy, 1); rows grow southwards, so dz/dy = -down.
    cosine = (-right * east + down * north + np.sin(height)) / np.sqrt(1 + right**2 + down**2)
    return np.asarray(np.clip(cosine / np.sin(height), 0.05, 1.9), dtype=np.float32)


def _axes(rng: np.random.Generator, shape: tuple[int, int]) -> Axes:
    height, width = shape
    along_rows = height > 1.15 * width or (width <= 1.15 * height and rng.random() < 0.5)
    angle = (np.pi / 2 if along_rows else 0.0) + np.radians(rng.uniform(-28, 28))
    rows = np.arange(height, dtype=np.float32)[:, None] - np.float32((height - 1) / 2)
    cols = np.arange(width, dtype=np.float32)[None, :] - np.float32((width - 1) / 2)
    sine, cosine = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    return Axes(cols * cosine + rows * sine, rows * cosine - cols * sine, float(angle))
