"""Cross-sections of tunnels."""

import math

import numpy as np
from scipy.spatial import ConvexHull

from headframe.datasets.drawn.tunnel.bore import Section
from headframe.datasets.drawn.tunnel.rays import Vector

_ARCH_STEPS = 9


def make_section(
    rng: np.random.Generator, shape: str, *, half: float, height: float, uneven: float
) -> Section:
    """Draw a section.

    Args:
        rng: of the section.
        shape: rectangular, trapezoid, arched, horseshoe or rough.
        half: half the width of the floor, metres.
        height: metres.
        uneven: how far corners are moved, as a share of their distance from the middle.
    """
    corners = _outline(rng, shape, half, height)
    middle = np.array([0.0, height * 0.4])
    moved = middle + (corners - middle) * (1 + rng.normal(0, uneven, len(corners)))[:, None]
    moved[:2] = corners[:2]
    moved[2:, 1] = np.maximum(moved[2:, 1], 0.25 * height)
    hull = moved[ConvexHull(moved).vertices]  # counter-clockwise
    first = int(np.argmin(np.abs(hull - corners[0]).sum(axis=1)))
    outline = np.roll(hull, -first, axis=0)
    return Section(outline, _marks(outline, rng.uniform(0.70, 0.84)))


def _outline(rng: np.random.Generator, shape: str, half: float, height: float) -> Vector:
    if shape in {"rectangular", "trapezoid"}:
        top = half * (rng.uniform(0.95, 1.0) if shape == "rectangular" else rng.uniform(0.7, 0.85))
        cut = rng.uniform(0.04, 0.16) * height
        return np.array(
            [
                (-half, 0), (half, 0), (top, height - cut), (top - 1.3 * cut, height),
                (-top + 1.3 * cut, height), (-top, height - cut),
            ]
        )  # fmt: skip
    spring = height * rng.uniform(0.35, 0.6)
    wide = half * (rng.uniform(1.08, 1.2) if shape == "horseshoe" else 1.0)
    angles = np.linspace(0, math.pi, _ARCH_STEPS)
    arch = np.column_stack([wide * np.cos(angles), spring + (height - spring) * np.sin(angles)])
    return np.concatenate([[(-half, 0), (half, 0)], arch])


def _marks(outline: Vector, shoulder: float) -> tuple[float, float, float]:
    """Find where the right wall, the roof and the left wall begin, along the outline."""
    ends = np.roll(outline, -1, axis=0)
    lengths = np.hypot(*(ends - outline).T)
    begins = np.cumsum(lengths) - lengths
    level = shoulder * outline[:, 1].max()
    crossed = []
    for (_, y0), (_, y1), begin, length in zip(outline, ends, begins, lengths, strict=True):
        if (y0 - level) * (y1 - level) < 0:
            crossed.append(float(begin + length * (level - y0) / (y1 - y0)))
    return float(lengths[0]), crossed[0], crossed[-1]
