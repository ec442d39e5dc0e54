"""The mine: open pit, waste dump, tailings storage, plant and haul roads."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from headframe.datasets.drawn.canvas import Canvas
from headframe.datasets.drawn.outline import Outline, outline, soft_edge, stroke, winding
from headframe.datasets.drawn.terrain import Terrain, fractal

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Ore:
    """The look of what is mined.

    Attributes:
        rock: wall rock of the pit.
        seam: second rock, in bands across the pit.
        dry: tailings on the beach.
        wet: tailings near the water.
        water: process water.
        haul: surface of haul roads.
    """

    rock: str
    seam: str
    dry: str
    wet: str
    water: str
    haul: str


ORES: dict[str, Ore] = {
    "iron": Ore(
        "rock_iron", "rock_ochre", "tail_iron_dry", "tail_iron_wet", "water_green", "soil_red"
    ),
    "gold": Ore(
        "rock_grey", "rock_dark", "tail_grey_dry", "tail_grey_wet", "water_green", "soil_pale"
    ),
    "bauxite": Ore(
        "rock_ochre", "soil_pale", "tail_red_dry", "tail_red_wet", "water_red", "rock_ochre"
    ),
}


@dataclass(frozen=True)
class Place:
    """Centre, size and direction of one part of the mine.

    Attributes:
        row: centre, pixels.
        col: centre, pixels.
        radius_px: about how far it reaches, > 0.
        turn: direction of its long axis, radians clockwise from east.
    """

    row: float
    col: float
    radius_px: float
    turn: float

    def axes(self, shape: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
        """Coordinates along and across the long axis in units of the radius, (H, W) each."""
        rows, cols = np.indices(shape, dtype=np.float32)
        rows, cols = (rows - self.row) / self.radius_px, (cols - self.col) / self.radius_px
        sine, cosine = np.float32(np.sin(self.turn)), np.float32(np.cos(self.turn))
        return cols * cosine + rows * sine, rows * cosine - cols * sine


@dataclass(frozen=True)
class Impoundment:
    """A tailings storage and what holds it.

    Attributes:
        storage: outline of beach and water, without the dam's outer face.
        dam: crest and outer face of the dam, (H, W), bool; never within ``storage``.
    """

    storage: Outline
    dam: NDArray[np.bool_]


def draw_pit(
    rng: np.random.Generator, canvas: Canvas, land: Terrain, place: Place, ore: Ore
) -> Outline:
    """Dig an open pit: benches that wind down as one ramp to a floor with a sump.

    Returns:
        Its outline at the crest.
    """
    shape = (canvas.relief.shape[0], canvas.relief.shape[1])
    x, y = place.axes(shape)
    lumps = fractal(rng, shape, beta=5.0, longest_px=45)
    grade(canvas, land, x, y)
    crest = outline(1 - np.hypot(0.78 * x, 1.18 * y) + 0.2 * lumps, smooth_px=3.0)
    bench = 4.6
    spiral = crest.depth + bench * np.arctan2(y, x) / (2 * np.pi) + 0.35 * lumps
    steps = spiral / bench
    levels = float(np.clip(place.radius_px / bench - 2.5, 3, 9))
    phase = np.clip(steps % 1, 0, 1)
    down = np.clip(np.floor(steps) + np.clip((phase - 0.55) / 0.45, 0, 1), 0, levels)
    inside = crest.mask
    canvas.relief -= np.where(inside, 11.0 * down, 0).astype(np.float32)
    bands = fractal(rng, shape, beta=3.2, longest_px=60)
    strata = np.sin(3.2 * x + 1.9 * y + 1.5 * bands)
    grain = fractal(rng, shape, beta=1.0)
    wall = (phase > 0.55) & (steps < levels)
    light = np.where(wall, 0.8, 1.12) + 0.06 * grain
    canvas.blend(
        soft_edge(crest.depth + 0.5),
        {
            ore.rock: np.clip(0.75 - 0.55 * strata, 0.05, None),
            ore.seam: np.clip(0.3 + 0.6 * strata + 0.15 * grain, 0.03, None),
            ore.haul: np.where((phase < 0.3) | (steps >= levels), 0.35, 0.0).astype(np.float32),
        },
        light=light.astype(np.float32),
    )
    rim = np.clip(1 - np.abs(crest.depth + 1.2) / 1.6, 0, 1)
    canvas.paint(0.75 * rim, ore.haul)
    sump = (crest.depth - 0.86 * float(crest.depth.max())) + 0.8 * lumps
    canvas.paint(soft_edge(sump) * inside, ore.water, light=np.full(shape, 0.8, np.float32))
    return crest


def draw_dump(
    rng: np.random.Generator,
    canvas: Canvas,
    land: Terrain,
    place: Place,
    ore: Ore,
    *,
    room_px: FloatArray | None = None,
) -> Outline:
    """Heap a lobed, terraced waste dump, its older flank greening over.

    ``room_px``, (H, W), says how far each pixel is from what the dump must not reach; it keeps
    to where that is positive.
    """
    shape = (canvas.relief.shape[0], canvas.relief.shape[1])
    x, y = place.axes(shape)
    lumps = fractal(rng, shape, beta=4.2, longest_px=35)
    grade(canvas, land, x, y)
    angle = np.arctan2(y, x)
    lobes = 0.16 * np.cos(3 * angle + rng.uniform(0, 6)) + 0.09 * np.cos(5 * angle)
    heap = 1 + lobes - np.hypot(0.85 * x, 1.1 * y) + 0.14 * lumps
    foot = outline(within(heap, room_px, place), smooth_px=1.5)
    terrace = np.clip(foot.depth, 0, 17) / 5.2
    height = np.floor(terrace) + np.clip((terrace % 1) / 0.45, 0, 1)
    canvas.relief += np.where(foot.mask, 9.0 * height, 0).astype(np.float32)
    grain = fractal(rng, shape, beta=0.8)
    gullied = np.sin(17 * angle + 2 * lumps)
    canvas.blend(
        soft_edge(foot.depth),
        {
            ore.rock: 0.5 + 0.25 * lumps,
            ore.seam: np.clip(0.35 - 0.3 * lumps + 0.1 * grain, 0.05, None),
            "rock_grey": np.full(shape, 0.2, np.float32),
        },
        light=(1 + 0.09 * grain + 0.05 * gullied).astype(np.float32),
    )
    old = np.clip(-0.4 - x + 0.5 * lumps, 0, 1) * (terrace % 1 < 0.5)
    canvas.paint(0.65 * old * foot.mask, "grass_green")
    return foot


def draw_tailings(
    rng: np.random.Generator,
    canvas: Canvas,
    land: Terrain,
    place: Place,
    ore: Ore,
    *,
    room_px: FloatArray | None = None,
) -> Impoundment:
    """Fill a valley behind a dam: terraced face, beach with channels, wet fringe, water.

    The water collects at the far end from the dam, where the slurry is let out. ``room_px`` as for
    ``draw_dump``.
    """
    shape = (canvas.relief.shape[0], canvas.relief.shape[1])
    x, y = place.axes(shape)
    lumps = fractal(rng, shape, beta=3.9, longest_px=45)
    crumbs = fractal(rng, shape, beta=1.7, longest_px=25)
    arms = np.clip(land.gully, -1.5, 2.0) * np.clip(0.9 - x, 0.1, 1.3)
    dam_x = np.float32(0.72) - 0.10 * (y + 0.1) ** 2
    body = 1 - np.hypot(0.62 * x, 1.25 * y) + 0.17 * arms + 0.14 * lumps
    bowl = np.minimum(body, 2.2 * (dam_x - x)).astype(np.float32)
    storage = outline(within(bowl, room_px, place), smooth_px=1.1)
    behind = dam_x - x
    dam = _draw_dam(canvas, storage, behind * place.radius_px)
    inside = soft_edge(storage.depth + 0.4)
    reach = np.clip(behind / 1.9, 0, 1.4) + 0.12 * lumps + 0.03 * crumbs
    fans = _fans(rng, behind, y)
    pond_from = float(rng.uniform(0.5, 0.68))
    wetness = np.clip(1.5 * (reach - 0.55 * pond_from) + 0.3 * fans + 0.1 * crumbs, 0, 1)
    canvas.blend(
        inside,
        {ore.dry: np.clip(1 - wetness, 0.02, None), ore.wet: wetness.astype(np.float32)},
        light=(1 + 0.05 * fans + 0.05 * crumbs).astype(np.float32),
    )
    pond = soft_edge((reach - pond_from) * 1.9 * place.radius_px, width_px=2.5)
    pond = pond * soft_edge(storage.depth - 1.2 - 0.4 * crumbs)
    shoal = np.clip(1 - (reach - pond_from) * 9, 0, 1) * np.float32(0.55)
    canvas.blend(
        pond * inside,
        {ore.water: 1 - shoal, ore.wet: shoal.astype(np.float32)},
        light=(1 + 0.03 * lumps).astype(np.float32),
    )
    level = float(np.median(land.elevation[storage.mask])) if storage.mask.any() else 0.0
    flat = soft_edge(storage.depth, width_px=3.0)
    canvas.relief += flat * (level - land.elevation - canvas.relief)
    return Impoundment(storage, dam)


def draw_plant(
    rng: np.random.Generator, canvas: Canvas, centre: tuple[float, float], ore: Ore
) -> None:
    """Put up the plant: a levelled yard, halls, thickeners, an ore stockpile."""
    shape = (canvas.relief.shape[0], canvas.relief.shape[1])
    place = Place(*centre, radius_px=1.0, turn=rng.uniform(0, np.pi))
    x, y = place.axes(shape)
    lumps = fractal(rng, shape, beta=2.5, longest_px=30)
    yard = 13 + 3 * lumps - np.hypot(x, 1.4 * y)
    canvas.paint(0.9 * soft_edge(yard.astype(np.float32), width_px=2), ore.haul)
    for cx, cy, half_x, half_y in ((-4, -4, 3.2, 1.0), (1, -4.5, 1.4, 1.4), (5, 0, 1.0, 3.0)):
        hall = (np.abs(x - cx) < half_x) & (np.abs(y - cy) < half_y)
        canvas.paint(hall * np.float32(0.9), str(rng.choice(["roof_metal", "concrete"])))
    for tank in (-6.0, -2.0):
        radius = np.hypot(x - tank, y - 2.5)
        canvas.paint(soft_edge((1.9 - radius).astype(np.float32)), "concrete")
        canvas.paint(soft_edge((1.4 - radius).astype(np.float32)), "water_clear")
    heap = np.clip(3.5 - np.hypot(x - 2, y - 3.5), 0, None)
    canvas.paint(np.clip(heap, 0, 1), ore.rock)
    canvas.relief += (5 * heap).astype(np.float32)


def draw_haul_roads(
    rng: np.random.Generator, canvas: Canvas, stops: list[tuple[float, float]], ore: Ore
) -> None:
    """Join plant, pit, dump, tailings and town, in this order, by wide unpaved roads."""
    shape = (canvas.relief.shape[0], canvas.relief.shape[1])
    pairs = [(0, 1), (0, 3), (1, 2), (0, 4)]
    lines = [winding(rng, stops[a], stops[b], sway=0.09) for a, b in pairs]
    scraped = ndimage.gaussian_filter(stroke(lines, shape, width_px=3.5), 1.2)
    canvas.paint(0.35 * scraped, "soil_red")
    canvas.paint(0.95 * stroke(lines, shape, width_px=2.0), ore.haul)


def within(field: FloatArray, room_px: FloatArray | None, place: Place) -> FloatArray:
    """Keep a field, positive inside an area, negative where there is no room for the area."""
    return field if room_px is None else np.minimum(field, room_px / np.float32(place.radius_px))


def grade(canvas: Canvas, land: Terrain, x: FloatArray, y: FloatArray) -> None:
    """Take the small bumps off the ground on which something is built; (x, y) from ``axes``."""
    share = np.clip(2.6 - 2 * np.hypot(x, y), 0, 1)
    smooth = ndimage.gaussian_filter(land.elevation, 9, mode="nearest")
    canvas.relief += (share * (smooth - land.elevation)).astype(np.float32)


def _draw_dam(canvas: Canvas, storage: Outline, behind_px: FloatArray) -> NDArray[np.bool_]:
    """Draw the terraced outer face and the crest road of the dam, and say where it stands."""
    along = ndimage.binary_dilation(storage.mask, iterations=8)
    face = along & (behind_px <= 0.5) & (behind_px > -8) & ~storage.mask
    berm = np.abs(np.mod(behind_px, 2.7) - 1.35) < 0.6
    canvas.relief += np.where(face, 2.2 * (8 + behind_px), 0).astype(np.float32)
    canvas.paint(face * np.float32(0.85), "grass_dry")
    canvas.paint((face & berm) * np.float32(0.7), "soil_pale")
    crest = np.clip(1 - np.abs(behind_px + 0.2) / 1.1, 0, 1) * along * (storage.depth > -2.5)
    canvas.paint(0.9 * crest, "soil_pale")
    return np.asarray(face)


def _fans(rng: np.random.Generator, behind: FloatArray, across: FloatArray) -> FloatArray:
    """Braided channels spreading from a few spigots on the dam, about -1..1, (H, W)."""
    streaks = np.zeros_like(behind)
    for _ in range(4):
        spigot = rng.uniform(-0.55, 0.55)
        bearing = np.arctan2(across - spigot, behind + 0.15)
        waves = rng.uniform(9, 23)
        fade = np.exp(-2.2 * np.hypot(across - spigot, behind))
        streaks += fade * np.sin(waves * bearing + 3 * np.sin(6 * behind + rng.uniform(0, 6)))
    return np.clip(streaks, -1, 1).astype(np.float32)
