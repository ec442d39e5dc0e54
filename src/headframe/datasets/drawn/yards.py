"""Around the plant: the yard with its buildings, stockpiles, and ponds where water clears."""

import numpy as np
from numpy.typing import NDArray

from headframe.datasets.drawn.canvas import Canvas
from headframe.datasets.drawn.mine import Place, within
from headframe.datasets.drawn.outline import outline, signed_depth, soft_edge
from headframe.datasets.drawn.terrain import fractal

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


def draw_yard(
    rng: np.random.Generator, canvas: Canvas, place: Place, *, room_px: FloatArray
) -> BoolArray:
    """Level a yard and put up halls, tanks and conveyors.

    Args:
        rng: source of randomness.
        canvas: painted on.
        place: centre, size and direction.
        room_px: see ``mine.draw_dump``.

    Returns:
        The yard, (H, W).
    """
    shape = (canvas.relief.shape[0], canvas.relief.shape[1])
    x, y = place.axes(shape)
    lumps = fractal(rng, shape, beta=3.5, longest_px=25)
    square = 1 - np.maximum(np.abs(x) / 1.1, np.abs(y) / 0.8) + 0.1 * lumps
    yard = outline(within(square.astype(np.float32), room_px, place), smooth_px=1.0).mask
    inside = soft_edge(signed_depth(yard) + 0.5)
    canvas.paint(0.92 * inside, "gravel", light=(1 + 0.05 * lumps).astype(np.float32))
    px, py = x * place.radius_px, y * place.radius_px
    for _ in range(int(rng.integers(6, 10))):
        at_x, at_y = rng.uniform(-0.8, 0.8) * place.radius_px, rng.uniform(-0.6, 0.6)
        half_x, half_y = rng.uniform(1.2, 3.6), rng.uniform(0.8, 1.6)
        near_y = py - at_y * place.radius_px
        hall = (np.abs(px - at_x) < half_x) & (np.abs(near_y) < half_y)
        roof = str(rng.choice(["roof_metal", "roof_metal", "concrete"]))
        canvas.paint(hall * inside, roof, light=np.full(shape, rng.uniform(0.6, 1.0), np.float32))
        canvas.relief += (9 * hall * inside).astype(np.float32)
    for _ in range(2):
        at_x, at_y = rng.uniform(-0.7, 0.7, 2) * place.radius_px * (1.0, 0.7)
        radius = np.hypot(px - at_x, py - at_y)
        canvas.paint(soft_edge((2.0 - radius).astype(np.float32)) * inside, "concrete")
        canvas.paint(soft_edge((1.3 - radius).astype(np.float32)) * inside, "water_clear")
    line = (np.abs(py - rng.uniform(-0.4, 0.4) * place.radius_px) < 0.5) & (np.abs(x) < 0.95)
    canvas.paint(0.7 * line * inside, "concrete")
    return yard


def draw_stockpile(
    rng: np.random.Generator, canvas: Canvas, place: Place, material: str, *, room_px: FloatArray
) -> BoolArray:
    """Heap an oblong stockpile; arguments as ``draw_yard``, and what it is made of."""
    shape = (canvas.relief.shape[0], canvas.relief.shape[1])
    x, y = place.axes(shape)
    lumps = fractal(rng, shape, beta=3.0, longest_px=15)
    body = 1 - np.hypot(x / 1.15, y / 0.62) + 0.1 * lumps
    foot = outline(within(body.astype(np.float32), room_px, place), smooth_px=0.7, min_px=10)
    canvas.paint(soft_edge(foot.depth + 0.5), material, light=(1 + 0.05 * lumps).astype(np.float32))
    canvas.relief += np.where(foot.mask, 4.0 * np.clip(foot.depth, 0, 5), 0).astype(np.float32)
    return foot.mask


def draw_pond(
    rng: np.random.Generator, canvas: Canvas, place: Place, water: str, *, room_px: FloatArray
) -> BoolArray:
    """Dig a settling pond with rounded corners and a pale bank, which is none of it."""
    shape = (canvas.relief.shape[0], canvas.relief.shape[1])
    x, y = place.axes(shape)
    body = 1 - ((np.abs(x) / 1.05) ** 3 + (np.abs(y) / rng.uniform(0.6, 0.85)) ** 3) ** (1 / 3)
    pond = outline(within(body.astype(np.float32), room_px, place), smooth_px=0.7, min_px=10)
    bank = np.clip(1 - np.abs(pond.depth + 1.0) / 1.1, 0, 1)
    canvas.paint(0.8 * bank, "soil_pale")
    tint = np.float32(1) + 0.06 * fractal(rng, shape, beta=3.0, longest_px=20)
    canvas.paint(soft_edge(pond.depth + 0.3), water, light=tint.astype(np.float32))
    return pond.mask
