"""Relief and mottling of rock and rubble: tileable noise, sampled wherever a ray meets it."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import fft

from headframe.datasets.drawn.tunnel.rays import Array

SIDE_PX = 512

_ROW = 1024  # OpenCV samples no rows of 32,767 or more


@dataclass(frozen=True)
class Grain:
    """A square of texture that repeats.

    Attributes:
        layers: relief in -1 to 1, its slopes along u and v for a side of 1, and mottling in -1 to
            1; (512, 512, 4), float32.
    """

    layers: Array

    def at(self, u: Array, v: Array, *, side_m: float) -> Array:
        """Sample at places in metres, (H, W) each.

        Args:
            u: across.
            v: along.
            side_m: how large the square is.

        Returns:
            (H, W, 4), float32; slopes are metres of relief a metre, for relief of 1 m.
        """
        scale = np.float32(SIDE_PX / side_m)
        x, y = (np.mod(place * scale, SIDE_PX).astype(np.float32) for place in (u, v))
        sampled = cv2.remap(self.layers, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        out: Array = np.asarray(sampled, np.float32)
        out[..., 1:3] /= side_m
        return out

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
