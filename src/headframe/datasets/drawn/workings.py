"""Where the digging is: excavations of three types, their slopes, and the ground made ready."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from headframe.datasets.drawn.canvas import Canvas
from headframe.datasets.drawn.mine import Ore, Place, grade, within
from headframe.datasets.drawn.outline import Outline, outline, signed_depth, soft_edge
from headframe.datasets.drawn.terrain import Terrain, fractal

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class MineType:
    """Shape of the excavations of a type of surface mine.

    Attributes:
        long: extent along the direction of advance, times the radius.
        wide: extent across it, times the radius.
        ragged: how far the outline strays, times the radius.
        levels: benches from crest to floor.
        bench_px: width of a bench and its wall.
        drop_m: height of a bench.
        turn: share of a round that the haul ramp makes.
        spoiled: whether the mined-out side is filled with spoil.
        hill_m: height of the hill that is mined away.
    """

    long: float
    wide: float
    ragged: float
    levels: int
    bench_px: float
    drop_m: float
    turn: float
    spoiled: bool = False
    hill_m: float = 0.0


MINE_TYPES: dict[str, MineType] = {
    "OC": MineType(1.25, 0.80, 0.10, 3, 3.6, 12.0, 0.22, spoiled=True),
    "OP": MineType(1.12, 0.90, 0.15, 6, 3.6, 14.0, 0.85),
    "MT": MineType(1.15, 0.80, 0.26, 3, 4.2, 16.0, 0.35, hill_m=90.0),
}
"""Opencast, open-pit and mountain-top, as papers/002 tells them apart (section 2.4)."""


@dataclass(frozen=True)
class Digging:
    """How an excavation is dug.

    Attributes:
        kind: its shape.
        ore: look of the rock.
        spoil: material of inner dumps.
        face: whether there is a working face to be told from the other walls.
        ramp: whether there is a haul ramp.
    """

    kind: MineType
    ore: Ore
    spoil: str
    face: bool = True
    ramp: bool = True


@dataclass(frozen=True)
class Workings:
    """What belongs to one excavation; masks are (H, W), bool, and lie within ``crest.mask``.

    Attributes:
        crest: the excavation.
        exploitation: slopes of the working face.
        transportation: the haul ramp's slope; shares no pixel with ``exploitation``.
        spoil: inner dumping ground; shares no pixel with either slope.
        front: direction of advance, radians clockwise from east.
    """

    crest: Outline
    exploitation: BoolArray
    transportation: BoolArray
    spoil: BoolArray
    front: float


@dataclass(frozen=True)
class _Ground:
    """The excavation's own coordinates, (H, W) each: see ``_survey``."""

    crest: Outline
    x: FloatArray
    angle: FloatArray
    descent: FloatArray
    floor_px: float
    lumps: FloatArray


def draw_excavation(
    rng: np.random.Generator,
    canvas: Canvas,
    land: Terrain,
    place: Place,
    digging: Digging,
    *,
    room_px: FloatArray,
) -> Workings:
    """Dig an excavation: benches, a working face ahead, a ramp, spoil behind in opencast mines.

    Args:
        rng: source of randomness.
        canvas: painted on.
        land: relief.
        place: centre, size, and the direction of advance.
        digging: shape and looks.
        room_px: see ``mine.draw_dump``.
    """
    kind = digging.kind
    ground = _survey(rng, canvas, land, place, kind, room_px=room_px)
    face, ramp = _slopes(ground, kind, start=float(rng.uniform(-0.6, 0.6)))
    ramp &= np.bool_(digging.ramp)
    face &= np.bool_(digging.face) & ~ramp
    inner = ground.crest.mask & (ground.crest.depth > 2.5) & ~face & ~ramp
    inner &= ground.x + 0.12 * ground.lumps < -0.25
    inner = _largest(inner) if kind.spoiled else np.zeros_like(inner)
    _dig(canvas, ground, kind)
    _paint_walls(rng, canvas, ground, digging.ore, kind)
    _paint_parts(canvas, ground, digging.ore, face=face, ramp=ramp)
    if inner.any():
        _heap_spoil(canvas, ground, inner, digging.spoil)
    return Workings(ground.crest, face, ramp, inner, place.turn)


def draw_stripped(
    rng: np.random.Generator,
    canvas: Canvas,
    workings: Workings,
    place: Place,
    *,
    width_px: float,
    room: BoolArray,
) -> BoolArray:
    """Strip the ground ahead of an excavation, up to its crest.

    Args:
        rng: source of randomness.
        canvas: painted on.
        workings: what it lies ahead of.
        place: the excavation's.
        width_px: mean width.
        room: where nothing else is, (H, W).

    Returns:
        The area, one piece that touches the excavation; empty where there is no room.
    """
    shape = room.shape
    x, y = place.axes((shape[0], shape[1]))
    lumps = fractal(rng, (shape[0], shape[1]), beta=4.0, longest_px=30)
    outside = ndimage.distance_transform_edt(~workings.crest.mask)
    reach = width_px * np.clip(1 + 0.4 * lumps, 0.45, 1.6)
    ahead = np.abs(np.arctan2(y, x)) < 1.0
    area = (outside > 0) & (outside <= reach) & ahead & room
    pieces, count = ndimage.label(area)
    touching = np.unique(pieces[ndimage.binary_dilation(workings.crest.mask) & area])
    if count == 0 or touching.size == 0:
        return np.zeros(area.shape, bool)
    sizes = np.bincount(pieces.ravel())
    area = pieces == touching[sizes[touching].argmax()]
    tracks = np.sin(1.9 * outside + lumps) > 0.72
    light = 1 + 0.06 * fractal(rng, (shape[0], shape[1]), beta=1.2) - 0.1 * tracks
    canvas.paint(
        soft_edge(signed_depth(area) + 0.5), "stripped", light=np.asarray(light, np.float32)
    )
    return np.asarray(area)


def _survey(
    rng: np.random.Generator,
    canvas: Canvas,
    land: Terrain,
    place: Place,
    kind: MineType,
    *,
    room_px: FloatArray,
) -> _Ground:
    """Lay out the crest and, within it, how far down a pixel is, in pixels of walking."""
    shape = (canvas.relief.shape[0], canvas.relief.shape[1])
    x, y = place.axes(shape)
    lumps = fractal(rng, shape, beta=4.6, longest_px=40)
    canvas.relief += np.float32(kind.hill_m) * np.exp(-(x**2) - y**2)
    grade(canvas, land, x, y)
    field = 1 - np.hypot(x / kind.long, y / kind.wide) + kind.ragged * lumps
    crest = outline(within(field.astype(np.float32), room_px, place), smooth_px=2.0)
    floor_px = min(kind.levels * kind.bench_px, 0.8 * float(crest.depth.max(initial=0)))
    descent = np.clip(crest.depth + 0.3 * lumps, 0, max(floor_px, 1.0)).astype(np.float32)
    angle = np.arctan2(y, x).astype(np.float32)
    return _Ground(crest, x, angle, descent, max(floor_px, 1.0), lumps)


def _slopes(ground: _Ground, kind: MineType, *, start: float) -> tuple[BoolArray, BoolArray]:
    """Tell the working face, ahead, and the ramp, which starts abeam and winds to the floor."""
    inside = ground.crest.mask & (ground.crest.depth > 1.5)
    wall = inside & (ground.crest.depth < ground.floor_px + 0.5)
    face = wall & (np.abs(ground.angle + 0.15 * ground.lumps) < 0.85)
    begin = 1.9 + start
    done = np.mod(ground.angle - begin, 2 * np.pi) / (2 * np.pi * kind.turn)
    centre = 2.0 + np.clip(done, 0, 1) * max(ground.floor_px - 1.0, 1.0)
    ramp = inside & (done <= 1) & (np.abs(ground.crest.depth - centre) < 2.1)
    return _largest(face), _largest(ramp)


def _dig(canvas: Canvas, ground: _Ground, kind: MineType) -> None:
    steps = ground.descent / kind.bench_px
    down = np.floor(steps) + np.clip((steps % 1 - 0.5) / 0.5, 0, 1)
    canvas.relief -= np.where(ground.crest.mask, kind.drop_m * down, 0).astype(np.float32)


def _paint_walls(
    rng: np.random.Generator, canvas: Canvas, ground: _Ground, ore: Ore, kind: MineType
) -> None:
    """Paint rock and seams in bands, roads on the benches, water in the deepest corner."""
    shape = (canvas.relief.shape[0], canvas.relief.shape[1])
    grain = fractal(rng, shape, beta=1.0)
    strata = np.sin(4 * ground.x + 2.2 * fractal(rng, shape, beta=3.2, longest_px=60))
    phase = ground.descent / kind.bench_px % 1
    floor = ground.descent >= ground.floor_px - 0.2
    wall = (phase > 0.5) & ~floor
    canvas.blend(
        soft_edge(ground.crest.depth + 0.5),
        {
            ore.rock: np.clip(0.75 - 0.5 * strata, 0.08, None).astype(np.float32),
            ore.seam: np.clip(0.25 + 0.5 * strata + 0.15 * grain, 0.03, None).astype(np.float32),
            ore.haul: np.where(floor, 0.4, np.where(phase < 0.4, 0.3, 0.0)).astype(np.float32),
        },
        light=(np.where(wall, 0.84, 1.1) + 0.06 * grain).astype(np.float32),
    )
    rim = np.clip(1 - np.abs(ground.crest.depth + 0.8) / 1.3, 0, 1)
    canvas.paint(0.5 * rim, ore.haul)
    sump = ground.crest.depth - 0.86 * float(ground.crest.depth.max(initial=0)) + 0.8 * ground.lumps
    canvas.paint(soft_edge(sump.astype(np.float32)) * floor, ore.water)


def _paint_parts(
    canvas: Canvas, ground: _Ground, ore: Ore, *, face: BoolArray, ramp: BoolArray
) -> None:
    """Freshly broken rock on the working face; a packed, bright ramp."""
    stripes = 0.5 + 0.5 * np.sin(2.6 * ground.crest.depth)
    fresh = soft_edge(signed_depth(face) + 0.3)
    canvas.blend(
        0.85 * fresh,
        {ore.seam: (0.8 + 0.2 * stripes).astype(np.float32), ore.rock: np.full_like(fresh, 0.2)},
        light=(0.9 + 0.3 * stripes).astype(np.float32),
    )
    packed = soft_edge(signed_depth(ramp) + 0.2)
    canvas.paint(packed, ore.haul, light=np.full_like(fresh, 1.18))
    edge = np.clip(1 - np.abs(signed_depth(ramp) + 0.4), 0, 1)
    canvas.paint(0.5 * edge * ground.crest.mask, ore.rock, light=np.full_like(fresh, 0.7))


def _heap_spoil(canvas: Canvas, ground: _Ground, inner: BoolArray, spoil: str) -> None:
    """Fill the mined-out side with ridges of spoil across the advance."""
    ridges = np.sin(16 * ground.x + 1.2 * ground.lumps)
    light = (1 + 0.1 * ridges).astype(np.float32)
    canvas.paint(soft_edge(signed_depth(inner) + 0.4), spoil, light=light)
    canvas.relief += np.where(inner, 14 + 5 * ridges, 0).astype(np.float32)


def _largest(mask: BoolArray, *, min_px: int = 12) -> BoolArray:
    """The largest connected piece; none where it has less than ``min_px`` pixels."""
    pieces, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count == 0:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(pieces == sizes.argmax()) & np.bool_(sizes.max() >= min_px)
