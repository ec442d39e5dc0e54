"""The look of floor, walls and roof: rock, rubble, mud, boards, mesh, bolts and water."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headframe.datasets.drawn.tunnel.bore import END, FLOOR, ROOF, Skinned
from headframe.datasets.drawn.tunnel.grain import Grain, make_grain
from headframe.datasets.drawn.tunnel.kit import Ink, Palette, Triple
from headframe.datasets.drawn.tunnel.rays import Array, Camera

ROCKS: tuple[Triple, ...] = (
    (0.13, 0.12, 0.11), (0.22, 0.20, 0.18), (0.30, 0.26, 0.21), (0.26, 0.17, 0.12),
    (0.36, 0.35, 0.33), (0.07, 0.07, 0.075), (0.19, 0.21, 0.20), (0.42, 0.38, 0.31),
    (0.24, 0.21, 0.14),
)  # fmt: skip
STAINS: tuple[Triple, ...] = (
    (0.36, 0.19, 0.06), (0.55, 0.55, 0.52), (0.16, 0.26, 0.10), (0.05, 0.05, 0.05),
    (0.45, 0.33, 0.12),
)  # fmt: skip
STEEL: Triple = (0.34, 0.34, 0.33)
_MESH_M, _WIRE_M = 0.10, 0.008


@dataclass(frozen=True)
class Stone:
    """What the tunnel is cut through and how it is dressed.

    Attributes:
        coarse: texture of blocks and hollows, metres.
        fine: texture of stones and grit.
        relief_m: depth of blocks on the walls.
        block_m: side of the coarse texture.
        inks: of floor, walls, roof.
        stain: colour that water left, and how much of the wall it takes, 0-1.
        lined: whether walls are sprayed or plastered smooth.
        mesh: how much of roof and walls is behind wire mesh, 0-1.
        bolts_m: distance between rock bolts; 0 for none.
        boards_m: width of planks or blocks; 0 for none.
        wet: share of the floor under water, 0-1.
        ruts_m: distance of wheel ruts from the middle; 0 for none.
        sleepers: whether sleepers lie on the floor.
    """

    coarse: Grain
    fine: Grain
    relief_m: float
    block_m: float
    inks: tuple[int, int, int]
    stain: tuple[Triple, float]
    lined: bool
    mesh: float
    bolts_m: float
    boards_m: float
    wet: float
    ruts_m: float
    sleepers: bool


@dataclass(frozen=True)
class Dressed:
    """Surface of the tunnel as each pixel shows it.

    Attributes:
        albedo: (H, W, 3), float32, linear.
        normal: (H, W, 3), unit length.
        gloss: (H, W).
        lift: how far the surface stands into the tunnel, metres, (H, W).
        side: ``FLOOR`` to ``END``, its borders as uneven as the rock, (H, W), int8.
        open: how much light from everywhere reaches it, less in corners, 0-1, (H, W).
    """

    albedo: Array
    normal: Array
    gloss: Array
    lift: Array
    side: NDArray[np.int8]
    open: Array


def make_stone(rng: np.random.Generator, palette: Palette, *, rough: bool) -> Stone:
    """Draw a rock and what was done to it."""
    rock = np.array(ROCKS[rng.integers(len(ROCKS))]) * rng.uniform(0.8, 1.25)
    lined = not rough and rng.random() < 0.35
    wall = np.array((0.42, 0.41, 0.38)) * rng.uniform(0.7, 1.1) if lined else rock
    roof = wall * rng.uniform(0.7, 1.1) if rng.random() < 0.7 else rock * rng.uniform(0.8, 1.2)
    earth = np.array(ROCKS[rng.integers(len(ROCKS))])
    floor = (0.35 * rock + 0.65 * earth) * rng.uniform(0.55, 1.05)
    gloss = rng.uniform(0.03, 0.35)
    inks = tuple(palette.add(Ink(_triple(c), gloss)) for c in (floor, wall, roof))
    return Stone(
        coarse=make_grain(
            rng, fall=rng.uniform(1.25, 1.8), stretch=rng.choice([1.0, 1.0, 0.35, 3.0]),
            ridged=rng.uniform(0.0, 0.7), lumpy=rng.uniform(0.0, 0.6),
        ),
        fine=make_grain(rng, fall=rng.uniform(0.85, 1.25), lumpy=rng.uniform(0.5, 1.0)),
        relief_m=rng.uniform(0.16, 0.34) if rough else rng.uniform(0.05, 0.2) * (1 - 0.6 * lined),
        block_m=rng.uniform(3.0, 7.0),
        inks=(inks[0], inks[1], inks[2]),
        stain=(STAINS[rng.integers(len(STAINS))], rng.uniform(0.0, 0.5)),
        lined=lined,
        mesh=rng.uniform(0.3, 1.0) if rng.random() < 0.45 else 0.0,
        bolts_m=rng.uniform(0.9, 1.6) if rng.random() < 0.55 else 0.0,
        boards_m=rng.uniform(0.18, 0.4) if rng.random() < 0.18 and not rough else 0.0,
        wet=max(0.0, rng.uniform(-0.25, 0.5)),
        ruts_m=rng.uniform(0.6, 0.95) if rng.random() < 0.5 else 0.0,
        sleepers=False,
    )  # fmt: skip


def dress(skinned: Skinned, camera: Camera, stone: Stone, palette: Palette) -> Dressed:
    """Cover the bare planes of a tunnel with its rock."""
    u, v = skinned.u, skinned.v
    shift = skinned.side == END
    coarse = stone.coarse.at(u + 3.7 * shift, v, side_m=stone.block_m)
    slant = np.sqrt(np.maximum(_facing(skinned, camera), 0.1))
    pixel_m = np.asarray(skinned.depth / (camera.focal_px * slant), np.float32)
    fine = stone.fine.at(u + 0.3 * v, v - 0.3 * u, side_m=1.3, pixel_m=pixel_m)
    side = _uneven(skinned, coarse, fine)
    clear = np.clip(0.05 / (pixel_m + 1e-4), 0, 1)  # fades what is finer than a pixel
    floor = side == FLOOR
    smooth = np.where(floor, 0.16, 0.25 if stone.lined else 1.0).astype(np.float32)
    relief = stone.relief_m * smooth
    albedo = np.asarray([palette.inks[ink].colour for ink in stone.inks], np.float32)[_which(side)]
    grit = fine[..., 3] * clear
    tone = 1 + (0.55 * coarse[..., 3] + 0.40 * coarse[..., 0]) * (0.5 + 0.5 * smooth)
    tone += (0.6 * grit + 0.5 * clear * fine[..., 0]) * np.where(floor, 0.7, 0.2 + 0.35 * smooth)
    albedo = albedo * np.maximum(tone, 0.15)[..., None]
    gloss = np.full(u.shape, palette.inks[stone.inks[1]].gloss, np.float32)
    grain_m = np.where(floor, 0.028, 0.006 + 0.014 * smooth) * clear
    bump_u = relief * coarse[..., 1] + grain_m * fine[..., 1]
    bump_v = relief * coarse[..., 2] + grain_m * fine[..., 2]
    _stained(albedo, coarse, skinned, stone)
    _fitted(albedo, skinned, side, stone, pixel_m)
    pool = _floored(albedo, gloss, skinned, stone, coarse=coarse, floor=floor)
    still = (1 - pool).clip(0, 1)
    normal = skinned.normal - skinned.across * (bump_u * still)[..., None]
    normal -= skinned.ahead * (bump_v * still)[..., None]
    normal /= np.sqrt(np.einsum("ijk,ijk->ij", normal, normal))[..., None]
    floor_gap = np.minimum(u, skinned.marks - u)
    corner = np.where(side == FLOOR, np.maximum(floor_gap, 0), _foot(skinned))
    dim = (0.45 + 0.55 * np.clip(corner / 0.6, 0, 1)) * (0.75 + 0.25 * coarse[..., 0])
    return Dressed(albedo, normal, gloss, relief * coarse[..., 0] * still, side, dim)


def _facing(skinned: Skinned, camera: Camera) -> Array:
    """Give the cosine between each ray and the surface's normal."""
    turned = np.abs(np.einsum("ijk,ijk->ij", skinned.normal, camera.rays))
    out: Array = turned / np.sqrt(camera.squared)
    return out


def _which(side: NDArray[np.int8]) -> NDArray[np.int8]:
    """Give 0 for floor, 1 for walls and ends, 2 for the roof."""
    return np.array([0, 1, 2, 1, 1], np.int8)[side]


def _uneven(skinned: Skinned, coarse: Array, fine: Array) -> NDArray[np.int8]:
    """Move borders between floor and walls: rubble lies at their foot, unevenly."""
    side = skinned.side.copy()
    heap = np.float32(0.10) + 0.22 * coarse[..., 3] + 0.05 * fine[..., 0]
    height = np.where(side == END, skinned.v, _foot(skinned))
    side[(side != ROOF) & (height < heap)] = FLOOR
    return side


def _foot(skinned: Skinned) -> Array:
    """Give how far up the wall a place is, large on roofs, in metres along the outline."""
    marks, total = skinned.marks, skinned.outline
    up: Array = np.minimum(
        np.where(skinned.u >= marks, skinned.u - marks, 0), np.maximum(total - skinned.u, 0)
    )
    return up


def _stained(albedo: Array, coarse: Array, skinned: Skinned, stone: Stone) -> None:
    colour, share = stone.stain
    if share <= 0:
        return
    streaks = stone.coarse.at(skinned.v * 2.5, skinned.u * 0.35, side_m=stone.block_m * 1.7)[..., 3]
    amount = np.clip((streaks + 0.4 * coarse[..., 3] - 0.9 + 1.3 * share) * 2.2, 0, 0.75)
    amount[skinned.side == FLOOR] *= 0.25
    albedo += (np.asarray(colour, np.float32) - albedo) * amount[..., None]


def _fitted(
    albedo: Array, skinned: Skinned, side: NDArray[np.int8], stone: Stone, pixel_m: Array
) -> None:
    """Paint mesh, bolts and boards where there is no floor."""
    rock = (side != FLOOR).astype(np.float32)
    u, v = skinned.u, skinned.v
    if stone.boards_m:
        gap = np.abs(np.mod(u / stone.boards_m, 1) - 0.5) > 0.46
        albedo *= (1 - 0.6 * gap * rock * np.clip(0.03 / pixel_m, 0, 1))[..., None]
    if stone.mesh:
        wire = np.maximum(pixel_m, _WIRE_M)
        near = np.zeros(u.shape, np.float32)
        for place in (u, v):
            far = np.abs(np.mod(place / _MESH_M, 1) - 0.5) * _MESH_M
            near = np.maximum(near, np.clip(1.2 - far / (0.5 * wire), 0, 1) * _WIRE_M / wire)
        hung = rock * (v * 0.13 % 1 < stone.mesh)
        albedo += (np.float32(0.38) - albedo) * (0.8 * near * hung)[..., None]
    if stone.bolts_m:
        across = (np.mod(u / stone.bolts_m, 1) - 0.5) * stone.bolts_m
        along = (np.mod(v / stone.bolts_m, 1) - 0.5) * stone.bolts_m
        plate = (np.maximum(np.abs(across), np.abs(along)) < 0.085) * rock
        head = (across**2 + along**2 < 0.028**2) * rock
        albedo += (np.asarray(STEEL, np.float32) - albedo) * (0.75 * plate)[..., None]
        albedo *= (1 - 0.7 * head)[..., None]


def _floored(
    albedo: Array, gloss: Array, skinned: Skinned, stone: Stone, *, coarse: Array,
    floor: NDArray[np.bool_],
) -> Array:  # fmt: skip
    """Paint ruts, sleepers and puddles; give how much of each pixel is water, 0-1."""
    across = skinned.u - skinned.marks / 2
    rut = np.zeros(across.shape, np.float32)
    if stone.ruts_m:
        rut = np.exp(-(((np.abs(across) - stone.ruts_m - 0.1 * coarse[..., 3]) / 0.2) ** 2))
        albedo *= (1 - 0.4 * rut * floor)[..., None]
    if stone.sleepers:
        lies = (np.mod(skinned.v, 0.8) < 0.22) & (np.abs(across) < 0.85) & floor
        bare = lies * np.clip(0.75 - 1.2 * coarse[..., 0], 0, 0.85)
        wood = np.asarray((0.09, 0.07, 0.05), np.float32) * (1 + 0.5 * coarse[..., 3:])
        albedo += (wood - albedo) * bare[..., None]
    if stone.wet <= 0:
        return np.zeros(across.shape, np.float32)
    low = coarse[..., 0] + 0.4 * coarse[..., 3] - 0.35 * rut
    pool = np.clip((2 * stone.wet - 1.15 - low) * 9, 0, 1) * floor
    albedo *= (1 - 0.75 * pool)[..., None]
    damp = np.clip((2 * stone.wet - 0.8 - low) * 2, 0, 1) * floor
    albedo *= (1 - 0.3 * damp)[..., None]
    gloss += 0.25 * damp + 1.2 * pool
    return np.asarray(pool, np.float32)


def _triple(colour: NDArray[np.float64]) -> Triple:
    red, green, blue = (float(value) for value in np.clip(colour, 0.02, 0.75))
    return red, green, blue
