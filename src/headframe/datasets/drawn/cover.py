"""Land before the mine: forest, grass, soil, fields, river, farm ponds, a town and its roads."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headframe.datasets.drawn.canvas import Canvas
from headframe.datasets.drawn.outline import soft_edge, stroke, winding
from headframe.datasets.drawn.terrain import Terrain, fractal

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Town:
    """Where a town lies.

    Attributes:
        row: its centre, pixels.
        col: its centre, pixels.
        radius_px: about how far it reaches.
    """

    row: float
    col: float
    radius_px: float


def draw_vegetation(
    rng: np.random.Generator, canvas: Canvas, land: Terrain, *, dryness: float
) -> None:
    """Cover the hills with forest in the gullies, scrub, grass and bare soil.

    Args:
        rng: source of randomness.
        canvas: painted on.
        land: relief.
        dryness: 0 all forest … 1 dry savanna.
    """
    shape = land.elevation.shape
    patches = fractal(rng, shape, beta=2.4, longest_px=110)
    grain = fractal(rng, shape, beta=0.9)
    crumbs = fractal(rng, shape, beta=1.6, longest_px=30)
    damp = 0.75 * land.gully + 0.75 * patches + 0.28 * crumbs + 1.6 * np.exp(-land.river / 9.0)
    damp += np.float32(1.25 - 2.6 * dryness)
    tint = fractal(rng, shape, beta=2.2, longest_px=70)
    everywhere = np.ones(shape, dtype=np.float32)
    canvas.blend(
        everywhere,
        {
            "grass_dry": np.clip(0.35 + dryness + 0.35 * tint, 0.02, None),
            "grass_green": np.clip(0.75 - dryness - 0.3 * tint + 0.2 * crumbs, 0.02, None),
            "scrub": np.clip(0.25 + 0.5 * damp + 0.2 * grain, 0, 1.2),
            "soil_red": np.clip(-0.55 - 0.4 * damp + 0.4 * crumbs + 0.3 * tint, 0, 0.8),
            "soil_pale": np.clip(-1.3 - 0.4 * damp - 0.5 * tint + 0.3 * crumbs, 0, 0.5),
        },
        light=1 + 0.06 * grain,
    )
    share = np.clip(0.5 + 1.5 * damp, 0, 1)
    canvas.blend(
        share,
        {"forest": np.clip(1 + 0.25 * grain, 0.1, None), "canopy_shade": 0.18 - 0.16 * grain},
        light=1 + 0.07 * np.clip(grain, -2, 2) + 0.05 * tint,
    )


def draw_fields(rng: np.random.Generator, canvas: Canvas, land: Terrain, *, share: float) -> None:
    """Lay out fields of several crops on the flat land along the river.

    Args:
        rng: source of randomness.
        canvas: painted on.
        land: relief.
        share: how much of the flat land is farmed, 0..1.
    """
    shape = land.elevation.shape
    turn = land.axes.angle + rng.uniform(-0.3, 0.3)
    rows, cols = np.indices(shape, dtype=np.float32)
    along = (cols * np.cos(turn) + rows * np.sin(turn) + 2000).astype(np.float32)
    across = (rows * np.cos(turn) - cols * np.sin(turn) + 2000).astype(np.float32)
    edges = np.cumsum(rng.uniform(15, 42, 300))
    strip = np.searchsorted(edges, across)
    shift = rng.uniform(0, 60, 301)[strip]
    length = rng.uniform(18, 58, 301)[strip]
    plot = ((along + shift) / length).astype(int)
    key = (strip * 977 + plot * 131) % 4096
    crop = rng.random(4096)[key]
    taken = rng.random(4096)[key] < share
    flat = (land.river < 95 + 25 * fractal(rng, shape, beta=3)) & (land.river > 6)
    wild = land.gully + 0.5 * fractal(rng, shape, beta=2) > 1.1
    farmed = taken & flat & ~wild
    border = np.minimum(np.abs(across - edges[np.clip(strip, 0, 299)]), ((along + shift) % length))
    brightness = 1 + 0.1 * (rng.random(4096)[key] - 0.5) + 0.04 * fractal(rng, shape, beta=1.5)
    light = brightness.astype(np.float32)
    kinds = ("crop_lush", "grass_green", "crop_ripe", "soil_red", "grass_dry", "crop_lush")
    for number, kind in enumerate(kinds):
        chosen = farmed & (crop * len(kinds) >= number) & (crop * len(kinds) < number + 1)
        canvas.paint(chosen * np.float32(0.88), kind, light=light)
    canvas.paint(farmed & (border < 0.8), "scrub")


def draw_water(rng: np.random.Generator, canvas: Canvas, land: Terrain) -> None:
    """Draw the river with its sand banks, and two farm ponds in gullies."""
    shape = land.elevation.shape
    width = 2.4 + 0.7 * fractal(rng, shape, beta=3, longest_px=80)
    sand = fractal(rng, shape, beta=2.5, longest_px=40)
    bank = width + 2.0 * np.clip(1.6 * sand - 0.9, 0, 1)
    canvas.paint(0.55 * soft_edge(bank - land.river), "soil_pale")
    canvas.paint(soft_edge(width - land.river, width_px=1.3), "water_turbid")
    rows, cols = np.indices(shape, dtype=np.float32)
    for _ in range(2):
        row, col = rng.uniform(0.08, 0.92, 2) * shape
        reach = rng.uniform(4, 9)
        near = np.hypot(rows - row, 0.7 * (cols - col)) / reach
        depth = np.where(near < 1.7, 1 - near + 0.35 * land.gully, -1) * reach
        canvas.paint(soft_edge(depth.astype(np.float32)), "water_clear")


def draw_roads(rng: np.random.Generator, canvas: Canvas, land: Terrain, town: Town) -> None:
    """Draw a paved road through the town and dirt tracks across the hills."""
    shape = (land.elevation.shape[0], land.elevation.shape[1])
    reach = float(max(shape))
    centre = (town.row, town.col)
    ends = [land.axes.place(sign * 0.8 * reach, land.river_v * 0.3) for sign in (-1, 1)]
    paved = [winding(rng, centre, end, sway=0.05) for end in ends]
    tracks = []
    for _ in range(5):
        points = rng.uniform(-0.05, 1.05, (2, 2)) * shape
        tracks.append(winding(rng, tuple(points[0]), tuple(points[1]), sway=0.07))
    canvas.paint(0.6 * stroke(tracks, shape, width_px=1.0), "soil_red")
    verge = stroke(paved, shape, width_px=2.4)
    canvas.paint(0.6 * verge, "soil_pale")
    canvas.paint(0.9 * stroke(paved, shape, width_px=1.3), "asphalt")


def draw_town(rng: np.random.Generator, canvas: Canvas, land: Terrain, town: Town) -> None:
    """Build a town on a street grid that thins out towards its edge."""
    shape = land.elevation.shape
    turn = rng.uniform(-0.6, 0.6)
    rows, cols = np.indices(shape, dtype=np.float32)
    rows, cols = rows - town.row, cols - town.col
    x = cols * np.cos(turn) + rows * np.sin(turn)
    y = rows * np.cos(turn) - cols * np.sin(turn)
    lumps = fractal(rng, shape, beta=2.6, longest_px=50)
    edge = 1 - np.hypot(x, 1.35 * y) / town.radius_px + 0.34 * lumps - 0.1 * np.abs(land.gully)
    bank = (land.river > 5) & (edge > -0.2)
    block_x, block_y = rng.uniform(7.0, 9.5), rng.uniform(5.0, 6.5)
    street = ((x % block_x) < 1.1) | ((y % block_y) < 1.1)
    house = (np.floor(x / 1.5).astype(int) * 92821 + np.floor(y / 1.5).astype(int) * 68917) % 4096
    dice, second = rng.random(4096)[house], rng.random(4096)[house]
    lot = np.floor(x / block_x).astype(int) * 31 + np.floor(y / block_y).astype(int) * 17
    built = bank & (rng.random(1024)[lot % 1024] < 0.5 + 3.0 * edge)
    light = (0.75 + 0.5 * second).astype(np.float32)
    canvas.paint(built * np.float32(0.8), "soil_pale", light=0.7 * light)
    canvas.paint((built & ~street & (dice < 0.62)) * np.float32(0.85), "roof_tile", light=light)
    canvas.paint((built & ~street & (dice > 0.95)) * np.float32(0.6), "roof_metal", light=light)
    green = built & ~street & (dice > 0.62) & (dice < 0.76)
    canvas.paint(green * np.float32(0.8), "forest")
    canvas.paint((built & street) * np.float32(0.62), "asphalt")
    hall = bank & (rng.random(1024)[(lot + 511) % 1024] > 0.95) & ~street & (edge < 0.45)
    canvas.paint((hall & (edge > 0)) * np.float32(0.75), "roof_metal")
