"""What hangs and stands in a tunnel for good: supports, pipes, cables, rails, lamps, rubble.

Each piece belongs to the side that it is fixed to; its owner is ``code(cell, side)``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from headframe.datasets.drawn.tunnel.bore import FLOOR, LEFT, RIGHT, ROOF, Cell
from headframe.datasets.drawn.tunnel.kit import Ink, Kit, Palette
from headframe.datasets.drawn.tunnel.rays import Vector
from headframe.datasets.drawn.tunnel.solids import Solid

SIDES = 5
"""Sides of a cell that something can belong to."""

_STEEL, _RUST = Ink((0.20, 0.20, 0.21), 0.5), Ink((0.105, 0.065, 0.045), 0.15, 0.6)
_TIMBER = Ink((0.115, 0.09, 0.062), 0.05, 0.6)
_RUBBER = Ink((0.035, 0.035, 0.04), 0.35)
_DUCTS = (
    Ink((0.36, 0.28, 0.06), 0.2, 0.6),
    Ink((0.10, 0.10, 0.11), 0.3),
    Ink((0.08, 0.15, 0.32), 0.2),
)
_PIPES = (
    _STEEL,
    _RUST,
    Ink((0.22, 0.045, 0.04), 0.3, 0.6),
    Ink((0.05, 0.11, 0.08), 0.3, 0.6),
    _RUBBER,
)
_LAMP = Ink((0.9, 0.9, 0.85), 0.0, 0.0, glow=30.0)
_DEAD_LAMP = Ink((0.5, 0.5, 0.48), 0.4)
_PLATES = (Ink((0.03, 0.25, 0.10), 0.2), Ink((0.6, 0.55, 0.1), 0.2), Ink((0.6, 0.6, 0.6), 0.2))


@dataclass(frozen=True)
class Fittings:
    """Furniture of all cells.

    Attributes:
        solids: by cell.
        lamps: places of lamps that burn, (n, 3).
        rails: whether rails lie on the floor.
    """

    solids: tuple[tuple[Solid, ...], ...]
    lamps: Vector
    rails: bool


def code(cell: int, side: int) -> int:
    """Give the owner of what belongs to a side of a cell."""
    return cell * SIDES + side


def furnish(
    rng: np.random.Generator, cells: tuple[Cell, ...], main: int, *, mouths: tuple[int, ...],
    palette: Palette,
) -> Fittings:  # fmt: skip
    """Furnish a tunnel; the same things run on from cell to cell."""
    rails = bool(rng.random() < 0.4)
    work: list[Callable[[int], list[Solid]]] = [
        _supports(rng, cells, palette),
        _pipes(rng, cells, palette),
        _cables(rng, cells, palette),
        _rubble(rng, cells, palette, main=main),
        _plates(rng, cells, palette, mouths=mouths),
    ]
    if rails:
        work.append(_rails(cells, palette))
    lamps: list[Vector] = []
    work.append(_lamps(rng, cells, palette, lamps=lamps))
    solids = [tuple(solid for make in work for solid in make(number)) for number in range(main)]
    solids += [tuple(work[3](number)) for number in range(main, len(cells))]
    return Fittings(tuple(solids), np.array(lamps).reshape(-1, 3), rails)


def _kit(cells: tuple[Cell, ...], number: int, side: int) -> Kit:
    cell = cells[number]
    return Kit(code(number, side), cell.start, heading=cell.heading)


def _supports(
    rng: np.random.Generator, cells: tuple[Cell, ...], palette: Palette
) -> Callable[[int], list[Solid]]:
    """Steel arches or timber sets at even distances, or none."""
    kind = rng.choice(["none", "steel", "timber", "posts"], p=[0.35, 0.27, 0.28, 0.10])
    apart = rng.uniform(1.1, 2.8)
    thick = rng.uniform(0.035, 0.06) if kind == "steel" else rng.uniform(0.07, 0.13)
    ink = palette.add(_RUST if kind == "steel" and rng.random() < 0.6 else _STEEL)
    ink = ink if kind == "steel" else palette.add(_TIMBER)

    def make(number: int) -> list[Solid]:
        section = cells[number].section
        if kind == "none" or (section.height > 4 and kind == "posts"):
            return []
        parts = {side: _kit(cells, number, side) for side in (LEFT, RIGHT, ROOF)}
        shoulder = 0.72 * section.height
        for along in np.arange(apart / 2, cells[number].length - 0.5, apart):
            tops = []
            for side, sign in ((LEFT, -1), (RIGHT, 1)):
                foot = section.wall_at(0.05, sign) - sign * thick
                top = section.wall_at(shoulder, sign) - sign * thick
                if kind == "posts":
                    foot = top = min(abs(foot), abs(top)) * 0.9 * sign
                ends = ((foot, 0.0, along), (top, shoulder, along))
                parts[side].capsule(ends, thick, ink)
                tops.append(np.array([top, shoulder, along]))
            xs = np.linspace(tops[0][0], tops[1][0], 6 if kind == "steel" else 2)
            crown = [(x, section.roof_at(x) - 1.1 * thick, along) for x in xs]
            if kind == "timber":
                crown = [(x, shoulder + thick, along) for x in xs * 1.08]
            parts[ROOF].hose(np.array([tops[0], *crown, tops[1]]), thick, ink)
        return [solid for part in parts.values() for solid in part.solids]

    return make


def _pipes(
    rng: np.random.Generator, cells: tuple[Cell, ...], palette: Palette
) -> Callable[[int], list[Solid]]:
    """Pipes along the walls, and perhaps an air duct under the roof."""
    runs = []
    for _ in range(int(rng.integers(0, 5))):
        sign = int(rng.choice([-1, 1]))
        ink = palette.add(_PIPES[rng.integers(len(_PIPES))])
        runs.append((sign, rng.uniform(0.1, 0.75), rng.uniform(0.03, 0.11), ink))
    duct = rng.random() < 0.35
    side = int(rng.choice([-1, 1]))
    wide, cloth = rng.uniform(0.22, 0.40), palette.add(_DUCTS[rng.integers(len(_DUCTS))])

    def make(number: int) -> list[Solid]:
        section, length = cells[number].section, cells[number].length
        made: list[Solid] = []
        for sign, level, radius, ink in runs:
            height = level * section.height
            x = section.wall_at(height, sign) - sign * (radius + 0.06)
            kit = _kit(cells, number, RIGHT if sign > 0 else LEFT)
            kit.capsule(((x, height, 0), (x, height, length)), radius, ink)
            for along in np.arange(1.0, length, 2.2):
                joint = ((x, height, along - 0.03), (x, height, along + 0.03))
                kit.capsule(joint, radius * 1.35, ink)
            made += kit.solids
        if duct:
            kit = _kit(cells, number, ROOF)
            x = side * 0.45 * section.half_width
            y = section.roof_at(x) - wide * 1.15
            kit.capsule(((x, y, 0), (x, y, length)), wide, cloth)
            for along in np.arange(0.6, length, 1.2):
                ring = ((x, y, along - 0.01), (x, y, along + 0.01))
                kit.capsule(ring, wide * 1.05, cloth)
            made += kit.solids
        return made

    return make


def _cables(
    rng: np.random.Generator, cells: tuple[Cell, ...], palette: Palette
) -> Callable[[int], list[Solid]]:
    """Cables that sag from hook to hook."""
    ink = palette.add(_RUBBER)
    runs = [
        (int(rng.choice([-1, 1])), rng.uniform(0.55, 0.85), rng.uniform(0.012, 0.028))
        for _ in range(int(rng.integers(0, 6)))
    ]
    apart = rng.uniform(1.8, 3.2)
    seed = int(rng.integers(2**31))

    def make(number: int) -> list[Solid]:
        own = np.random.default_rng([seed, number])
        section = cells[number].section
        made: list[Solid] = []
        for sign, level, radius in runs:
            kit = _kit(cells, number, RIGHT if sign > 0 else LEFT)
            hooks = np.linspace(
                0, cells[number].length, max(2, round(cells[number].length / apart))
            )
            for start, end in pairwise(hooks):
                sag = own.uniform(0.05, 0.35)
                share = np.linspace(0, 1, 6)
                y = level * section.height - 4 * sag * share * (1 - share)
                x = [section.wall_at(v, sign) - sign * (0.05 + radius) for v in y]
                kit.hose(np.column_stack([x, y, start + share * (end - start)]), radius, ink)
            made += kit.solids
        return made

    return make


def _rails(cells: tuple[Cell, ...], palette: Palette) -> Callable[[int], list[Solid]]:
    """Two rails along the middle; sleepers are painted on the floor."""
    ink = palette.add(Ink((0.26, 0.19, 0.14), 0.8))

    def make(number: int) -> list[Solid]:
        kit = _kit(cells, number, FLOOR)
        for x in (-0.45, 0.45):
            kit.box((x - 0.035, 0.0, 0.0), (x + 0.035, 0.13, cells[number].length), ink)
        return kit.solids

    return make


def _rubble(
    rng: np.random.Generator, cells: tuple[Cell, ...], palette: Palette, *, main: int
) -> Callable[[int], list[Solid]]:
    """Rocks along the foot of the walls."""
    grey = rng.uniform(0.06, 0.2)
    ink = palette.add(Ink((grey, grey * 0.93, grey * 0.85), 0.1, dirt=0.9))
    many = rng.uniform(0, 5)
    seed = int(rng.integers(2**31))

    def make(number: int) -> list[Solid]:
        own = np.random.default_rng([seed, number])
        cell = cells[number]
        kit = _kit(cells, number, FLOOR)
        for _ in range(own.poisson(many)):
            radius = own.gamma(2.0, 0.07) + 0.05
            x = own.choice([-1, 1]) * (cell.section.half_width - abs(own.normal(0, 0.3)))
            # a side corridor begins within the main tunnel, where its rocks would lie about
            least = 0.0 if number < main else min(4.0, 0.8 * cell.length)
            middle = np.array([x, radius * 0.35, own.uniform(least, cell.length)])
            shape = own.normal(0, 1, (14, 3))
            shape *= (
                radius * own.uniform(0.7, 1.1, (14, 1)) / np.linalg.norm(shape, axis=1)[:, None]
            )
            kit.hull(middle + shape * (1.1, 0.75, 1.0), ink)
        return kit.solids

    return make


def _plates(
    rng: np.random.Generator, cells: tuple[Cell, ...], palette: Palette, *, mouths: tuple[int, ...]
) -> Callable[[int], list[Solid]]:
    """Signs on the walls, where no corridor leaves."""
    inks = [palette.add(ink) for ink in _PLATES]
    seed = int(rng.integers(2**31))

    def make(number: int) -> list[Solid]:
        own = np.random.default_rng([seed, number])
        if number in mouths or own.random() > 0.3:
            return []
        sign = int(own.choice([-1, 1]))
        kit = _kit(cells, number, RIGHT if sign > 0 else LEFT)
        height, along = own.uniform(1.2, 1.8), own.uniform(1, 3)
        x = cells[number].section.wall_at(height, sign) - sign * 0.05
        tall, wide = own.uniform(0.1, 0.3), own.uniform(0.15, 0.4)
        low = (x - 0.02, height - tall, along - wide)
        kit.box(low, (x + 0.02, height + tall, along + wide), int(own.choice(inks)))
        return kit.solids

    return make


def _lamps(
    rng: np.random.Generator, cells: tuple[Cell, ...], palette: Palette, *, lamps: list[Vector]
) -> Callable[[int], list[Solid]]:
    """Lamps under the roof, some of them out."""
    burning = rng.choice([0.0, 0.25, 0.8], p=[0.35, 0.35, 0.30])
    lit, dead = palette.add(_LAMP), palette.add(_DEAD_LAMP)
    x = rng.uniform(-0.5, 0.5)
    hung = rng.random() < 0.8
    seed = int(rng.integers(2**31))

    def make(number: int) -> list[Solid]:
        if not hung:
            return []
        own = np.random.default_rng([seed, number])
        cell = cells[number]
        kit = _kit(cells, number, ROOF)
        across = x * cell.section.half_width
        place = np.array([across, cell.section.roof_at(across) - 0.22, cell.length / 2])
        on = own.random() < burning
        tube = np.array([0.0, 0.0, 0.12])
        kit.capsule((place - tube, place + tube), 0.05, lit if on else dead)
        if on:
            lamps.append(kit.world(place - (0.0, 0.1, 0.0)))
        return kit.solids

    return make
