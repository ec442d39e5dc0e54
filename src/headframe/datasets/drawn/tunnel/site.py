"""One tunnel: how it runs, what it is cut through, what hangs and stands in it for good."""

import math
from dataclasses import dataclass, replace

import numpy as np

from headframe.datasets.drawn.tunnel.bore import Cell
from headframe.datasets.drawn.tunnel.furniture import furnish
from headframe.datasets.drawn.tunnel.kit import Palette
from headframe.datasets.drawn.tunnel.rays import Vector
from headframe.datasets.drawn.tunnel.sections import make_section
from headframe.datasets.drawn.tunnel.solids import Solid
from headframe.datasets.drawn.tunnel.stone import Stone, make_stone

SHAPES = ("rectangular", "trapezoid", "arched", "horseshoe", "rough")
_SIDE_LIFT_M = 0.02


@dataclass(frozen=True)
class Site:
    """A tunnel that pictures are taken in.

    Attributes:
        seed: that it was drawn from.
        shape: of its sections, one of ``SHAPES``.
        cells: the main tunnel's, then the side corridors'.
        main: how many cells the main tunnel has.
        mouths: for each side corridor the number of the main cell that it leaves.
        closed: whether the main tunnel ends in rock at its beginning and at its end.
        palette: materials of the tunnel and its furniture.
        stone: look of floor, walls and roof.
        solids: furniture, by cell.
        lamps: places of fixed lamps, (n, 3).
        rails: whether rails lie on the floor.
    """

    seed: int
    shape: str
    cells: tuple[Cell, ...]
    main: int
    mouths: tuple[int, ...]
    closed: tuple[bool, bool]
    palette: Palette
    stone: Stone
    solids: tuple[tuple[Solid, ...], ...]
    lamps: Vector
    rails: bool

    def locate(
        self, along: float, across: float = 0.0, height: float = 0.0
    ) -> tuple[Vector, float]:
        """Give a point of the main tunnel and the heading there.

        Args:
            along: metres from its beginning, held within it.
            across: metres to the right.
            height: metres above the floor.
        """
        left = max(along, 0.0)
        for cell in self.cells[: self.main]:
            step = cell.length - OVERLAP_M
            if left <= step or cell is self.cells[self.main - 1]:
                return cell.at(min(left, cell.length), across, height), cell.heading
            left -= step
        raise AssertionError("a site has cells")

    def cell_at(self, along: float) -> int:
        """Give the number of the main cell at metres from the beginning."""
        left = along
        for number, cell in enumerate(self.cells[: self.main]):
            left -= cell.length - OVERLAP_M
            if left <= 0:
                return number
        return self.main - 1

    def start_of(self, cell: int) -> float:
        """Give where a main cell begins, metres from the beginning."""
        return sum(before.length - OVERLAP_M for before in self.cells[:cell])

    @property
    def length(self) -> float:
        """Metres of the main tunnel."""
        return self.start_of(self.main)


OVERLAP_M = 0.7
"""How far a cell reaches into the next."""


def make_site(seed: int, tunnel: int) -> Site:
    """Draw a tunnel.

    Args:
        seed: of the whole set.
        tunnel: its number; each has a shape, a rock and fittings of its own.
    """
    rng = np.random.default_rng([seed, 1, tunnel])
    shape = SHAPES[(tunnel + seed) % len(SHAPES)]
    main = _main(rng, shape)
    mouths, sides = _sides(rng, main)
    cells = (*main, *sides)
    palette = Palette()
    stone = make_stone(rng, palette, rough=shape == "rough")
    closed = (bool(rng.random() < 0.5), bool(rng.random() < 0.4))
    fittings = furnish(rng, cells, len(main), mouths=mouths, palette=palette)
    return Site(
        seed=seed,
        shape=shape,
        cells=cells,
        main=len(main),
        mouths=mouths,
        closed=closed,
        palette=palette,
        stone=replace(stone, sleepers=fittings.rails),
        solids=fittings.solids,
        lamps=fittings.lamps,
        rails=fittings.rails,
    )


def _main(rng: np.random.Generator, shape: str) -> tuple[Cell, ...]:
    half, height = rng.uniform(1.5, 3.1), rng.uniform(2.4, 4.2)
    height = min(height, half * 2.2)
    uneven = rng.uniform(0.05, 0.16) if shape == "rough" else rng.uniform(0.0, 0.05)
    bends = rng.choice([0.02, 0.06, 0.14])
    where, heading = np.zeros(3), 0.0
    cells = []
    for _ in range(int(rng.integers(8, 12))):
        narrow = rng.uniform(0.75, 0.9) if rng.random() < 0.2 else 1.0
        size = (half * narrow * rng.uniform(0.96, 1.04), height * narrow * rng.uniform(0.97, 1.03))
        section = make_section(rng, shape, half=size[0], height=size[1], uneven=uneven)
        length = rng.uniform(3.5, 6.5)
        cell = Cell(section, where, heading, length)
        cells.append(cell)
        where = cell.at(length - OVERLAP_M, across=rng.normal(0, uneven))
        heading += rng.normal(0, bends)
    return tuple(cells)


def _sides(rng: np.random.Generator, main: tuple[Cell, ...]) -> tuple[tuple[int, ...], list[Cell]]:
    free = [int(number) for number in rng.permutation(np.arange(1, len(main)))]
    mouths = tuple(sorted(free[: int(rng.integers(2, 6))]))
    sides = []
    for number in mouths:
        cell = main[number]
        side = float(rng.choice([-1, 1]))
        half = min(rng.uniform(0.9, 1.8), cell.length / 2 - 0.4)
        beside = main[max(number - 1, 0) : number + 2]
        height = min(near.section.height for near in beside) * rng.uniform(0.70, 0.88)
        shape = str(rng.choice(SHAPES))
        section = make_section(rng, shape, half=half, height=height, uneven=0.04)
        turn = side * rng.uniform(math.pi * 0.27, math.pi * 0.6)
        start = cell.at(rng.uniform(0.4, 0.6) * cell.length, height=_SIDE_LIFT_M)
        sides.append(Cell(section, start, cell.heading + turn, rng.uniform(5.0, 13.0)))
    return mouths, sides
