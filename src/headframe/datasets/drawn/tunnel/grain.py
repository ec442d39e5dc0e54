"""Relief and mottling of rock and rubble: tileable noise, sampled wherever a ray meets it."""

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from scipy import fft

from headframe.datasets.drawn.tunnel.rays import Array

SIDE_PX = 512

_STEP, _LEVELS = 4, 3
_ROW = 1024  # OpenCV samples no rows of 32,767 or more


@dataclass(frozen=True)
class Grain:
    """A square of texture that repeats.

    Attributes:
        layers: relief in -1 to 1, its slopes along u and v for a side of 1, and mottling in -1 to
            1; (512, 512, 4), float32.
    """

    layers: Array

    @cached_property
    def levels(self) -> tuple[Array, ...]:
        """The texture, and its means over 4 x 4 and 16 x 16 pixels."""
        sides = (SIDE_PX // _STEP**level for level in range(_LEVELS))
        return tuple(
            np.asarray(cv2.resize(self.layers, (n, n), interpolation=cv2.INTER_AREA), np.float32)
            for n in sides
        )

    def at(self, u: Array, v: Array, *, side_m: float, pixel_m: Array | None = None) -> Array:
        """Sample at places in metres, (H, W) each.

        Args:
            u: across.
            v: along.
            side_m: how large the square is.
            pixel_m: how much of the surface a pixel covers; what is finer is averaged. None
                takes the texture as it is.

        Returns:
            (H, W, 4), float32; slopes are metres of relief a metre, for relief of 1 m.
        """
        if pixel_m is None:
            out = self._sampled(u, v, side_m=side_m, level=0)
        else:
            blur = np.log2(np.maximum(pixel_m * (SIDE_PX / side_m), 1)) / math.log2(_STEP)
            out = np.zeros((*u.shape, 4), np.float32)
            for level in range(_LEVELS):
                share = np.clip(1 - np.abs(np.minimum(blur, _LEVELS - 1) - level), 0, 1)
                if share.any():
                    sampled = self._sampled(u, v, side_m=side_m, level=level)
                    out += sampled * share[..., None].astype(np.float32)
        out[..., 1:3] /= side_m
        return out

    def _sampled(self, u: Array, v: Array, *, side_m: float, level: int) -> Array:
        texture = self.levels[level]
        side = len(texture)
        scale, half = np.float32(side / side_m), np.float32(0.5 - 0.5 * side / SIDE_PX)
        x, y = (np.mod(place * scale - half, side).astype(np.float32) for place in (u, v))
        sampled = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        return np.asarray(sampled, np.float32)

    def scattered(self, u: Array, v: Array, *, side_m: float) -> Array:
        """Sample at places in a list, (n,) each; gives (n, 4)."""
        rows = -(-u.size // _ROW) * _ROW
        wide = [np.resize(place, rows).reshape(-1, _ROW) for place in (u, v)]
        out: Array = self.at(wide[0], wide[1], side_m=side_m).reshape(-1, 4)[: u.size]
        return out


def make_grain(
    rng: np.random.Generator,
    *,
    fall: float,
    stretch: float = 1.0,
    ridged: float = 0.0,
    lumpy: float = 0.0,
) -> Grain:
    """Make a texture.

    Args:
        rng: of the texture.
        fall: how fast fine detail fades, 0.8 (gravel) to 2 (smooth).
        stretch: how much longer features are along u (strata) than along v.
        ridged: share of sharp ridges (blasted rock) in the relief, 0-1.
        lumpy: share of round lumps with creases between them (rubble), 0-1.
    """
    relief, other = _noises(rng, fall, stretch)
    mottled, third = _noises(rng, fall * 0.95, stretch)
    if ridged:
        relief += np.float32(ridged) * (1 - 2 * np.abs(other) - relief)
    if lumpy:
        relief += np.float32(lumpy) * (2.6 * np.abs(third) - 0.9 - relief)
    slopes = [
        (np.roll(relief, -1, axis) - np.roll(relief, 1, axis)) * (SIDE_PX / 2) for axis in (1, 0)
    ]
    return Grain(np.stack([relief, *slopes, mottled], axis=-1).astype(np.float32))


def _noises(rng: np.random.Generator, fall: float, stretch: float) -> tuple[Array, Array]:
    """Draw two fields that know nothing of each other: real and imaginary part of one."""
    whole = fft.fftfreq(SIDE_PX).astype(np.float32) * SIDE_PX
    far = np.hypot(whole[:, None], whole[None, :] * np.float32(stretch))
    weight = np.where(far < 1, 0, np.maximum(far, 1) ** np.float32(-(fall + 0.5)))
    parts = rng.standard_normal((2, SIDE_PX, SIDE_PX), np.float32) * weight
    wave = fft.ifft2(parts[0] + np.complex64(1j) * parts[1])
    fields = [np.asarray(part / (part.std() * 2.5), np.float32) for part in (wave.real, wave.imag)]
    return fields[0].clip(-1, 1), fields[1].clip(-1, 1)
