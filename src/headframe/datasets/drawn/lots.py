"""Where the parts of a mine go: lots that do not change as the mine grows within them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from headframe.datasets.drawn.cover import Town
from headframe.datasets.drawn.mine import Place
from headframe.datasets.drawn.terrain import Terrain

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

_BANK_PX = 5
_BEST = 0.04


@dataclass(frozen=True)
class Lot:
    """Ground kept for one part.

    Attributes:
        row: centre, pixels.
        col: centre, pixels.
        radius_px: of the part when it has grown up.
        turn: direction, radians clockwise from east.
    """

    row: float
    col: float
    radius_px: float
    turn: float

    def place(self, grown: float = 1.0) -> Place:
        """The part at its present size, a share of the final one."""
        return Place(self.row, self.col, self.radius_px * grown, self.turn)

    def far(self, shape: tuple[int, int]) -> FloatArray:
        """Distance of every pixel to the centre, (H, W)."""
        rows, cols = np.indices(shape, dtype=np.float32)
        return np.asarray(np.hypot(rows - self.row, cols - self.col), np.float32)


@dataclass(frozen=True)
class Lots:
    """All lots of a mine.

    Attributes:
        excavation: with the ground ahead of it.
        dump: outer dumping ground.
        tailings: storage; its dam stands within.
        yard: plant.
        stockpiles: by the yard.
        ponds: by the yard.
    """

    excavation: Lot
    dump: Lot
    tailings: Lot
    yard: Lot
    stockpiles: tuple[Lot, ...]
    ponds: tuple[Lot, ...]


def deal_lots(rng: np.random.Generator, land: Terrain, *, town: Town) -> Lots:
    """Deal out the land beside river and town: the excavation first, the rest near to it."""
    shape = (land.elevation.shape[0], land.elevation.shape[1])
    side = float(min(shape))
    taken = land.river < _BANK_PX
    houses = Lot(town.row, town.col, town.radius_px, 0.0)
    taken |= houses.far(shape) < 1.1 * town.radius_px

    def lot(low: float, high: float, *, near: Lot | None = None, spread: float = 1.05) -> Lot:
        wanted = rng.uniform(low, high) * side
        row, col, radius = _spot(rng, room_of(taken), wanted * spread, near)
        found = Lot(row, col, min(wanted, radius / spread), rng.uniform(0, 2 * np.pi))
        taken[found.far(shape) < found.radius_px * spread] = True
        return found

    excavation = lot(0.17, 0.21, spread=1.25)
    tailings = lot(0.125, 0.155, near=excavation, spread=1.2)
    dump = lot(0.10, 0.135, near=excavation)
    yard = lot(0.055, 0.07, near=excavation, spread=1.15)
    stockpiles = tuple(lot(0.026, 0.036, near=yard) for _ in range(int(rng.integers(2, 4))))
    ponds = tuple(lot(0.026, 0.038, near=yard) for _ in range(int(rng.integers(1, 4))))
    return Lots(excavation, dump, tailings, yard, stockpiles, ponds)


def room_of(taken: BoolArray, *, gap_px: float = 1.0) -> FloatArray:
    """How far every pixel is from what is taken and from the picture's edge, less a gap, (H, W)."""
    padded = np.pad(~taken, 1)
    room = ndimage.distance_transform_edt(padded)[1:-1, 1:-1] - gap_px
    return np.asarray(room, dtype=np.float32)


def _spot(
    rng: np.random.Generator, room: FloatArray, radius_px: float, near: Lot | None
) -> tuple[float, float, float]:
    """Choose a centre with room for a radius, as near to another lot as may be.

    Returns:
        (row, col, radius): a smaller radius where there is no such room.
    """
    radius = min(radius_px, float(room.max()))
    rows, cols = np.nonzero(room >= radius)
    away = rng.random(rows.size) if near is None else np.hypot(rows - near.row, cols - near.col)
    best = np.argsort(away, kind="stable")[: max(1, int(_BEST * rows.size))]
    chosen = int(best[int(rng.integers(best.size))])
    return float(rows[chosen]), float(cols[chosen]), radius
