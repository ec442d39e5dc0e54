"""The hollow of a tunnel: convex cells that overlap, and where rays leave all of them."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from headframe.datasets.drawn.tunnel.rays import Array, Camera, Vector
from headframe.datasets.drawn.tunnel.solids import clip

FLOOR, RIGHT, ROOF, LEFT, END = range(5)
"""Sides of a cell."""

_TINY_M = 1e-3


@dataclass(frozen=True)
class Section:
    """A cross-section, convex.

    Attributes:
        corners: (n, 2), x and y in metres, floor at y = 0 first (left, then right), on around.
        marks: where along the outline the right wall, the roof and the left wall begin, metres.
    """

    corners: Vector
    marks: tuple[float, float, float]

    @cached_property
    def lengths(self) -> Vector:
        """Lengths of the sides, (n,)."""
        sides = np.roll(self.corners, -1, axis=0) - self.corners
        out: Vector = np.hypot(sides[:, 0], sides[:, 1])
        return out

    @property
    def half_width(self) -> float:
        """Half the width of the floor."""
        return float(self.corners[1, 0])

    @property
    def height(self) -> float:
        """Height above the floor."""
        return float(self.corners[:, 1].max())

    def wall_at(self, height: float, side: int) -> float:
        """Give x of the wall at a height, on the left (-1) or right (1)."""
        ends = np.roll(self.corners, -1, axis=0)
        found = [0.0]
        for (x0, y0), (x1, y1) in zip(self.corners, ends, strict=True):
            if min(y0, y1) <= height <= max(y0, y1) and abs(y1 - y0) > 1e-6:
                found.append(x0 + (x1 - x0) * (height - y0) / (y1 - y0))
        return max(found) if side > 0 else min(found)

    def roof_at(self, x: float) -> float:
        """Give the height of the roof at x."""
        ends = np.roll(self.corners, -1, axis=0)
        found = [0.0]
        for (x0, y0), (x1, y1) in zip(self.corners, ends, strict=True):
            if min(x0, x1) <= x <= max(x0, x1) and abs(x1 - x0) > 1e-6:
                found.append(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
        return max(found)


@dataclass(frozen=True)
class Cell:
    """A piece of tunnel: a section drawn along a straight line.

    Attributes:
        section: its cross-section.
        start: middle of the floor at its beginning, (3,).
        heading: of its axis, radians from z towards x.
        length: metres.
    """

    section: Section
    start: Vector
    heading: float
    length: float

    @cached_property
    def axes(self) -> Vector:
        """Rows right, up, ahead, (3, 3)."""
        sin, cos = math.sin(self.heading), math.cos(self.heading)
        return np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])

    def at(self, along: float, across: float = 0.0, height: float = 0.0) -> Vector:
        """Give a point by metres along the axis, to the right of it, and above the floor."""
        out: Vector = self.start + np.array([across, height, along]) @ self.axes
        return out

    @cached_property
    def planes(self) -> tuple[Vector, Vector]:
        """Half spaces (n + 2, 3) and offsets: the sides, then the ends."""
        corners = self.section.corners
        sides = np.roll(corners, -1, axis=0) - corners
        out = np.stack([sides[:, 1], -sides[:, 0], np.zeros(len(sides))], axis=1)
        out /= self.section.lengths[:, None]
        ends = np.array([[0, 0, -1.0], [0, 0, 1.0]])
        inner = np.concatenate([(out[:, :2] * corners).sum(axis=1), [0.0, self.length]])
        normals = np.concatenate([out, ends]) @ self.axes
        return normals, inner + normals @ self.start

    @cached_property
    def corners(self) -> Vector:
        """All its corners, (2 n, 3)."""
        flat = self.section.corners
        ends = [np.column_stack([flat, np.full(len(flat), along)]) for along in (0.0, self.length)]
        out: Vector = np.concatenate(ends) @ self.axes + self.start
        return out

    def holds(self, point: Vector, *, by: float = 0.0) -> bool:
        """Tell whether a point lies inside, at least ``by`` from each side."""
        normals, offsets = self.planes
        return bool((normals @ point <= offsets - by).all())


@dataclass(frozen=True)
class Skinned:
    """Where rays leave the tunnel.

    Attributes:
        depth: (H, W), float32.
        cell: number of the cell they leave from, (H, W), int16.
        side: ``FLOOR`` to ``END``, by the outline alone, (H, W), int8.
        u: place along the outline in metres; across at an end, (H, W), float32.
        v: place along the axis; height at an end.
        normal: into the tunnel, (H, W, 3), float32.
        across: unit vectors along which u grows, (H, W, 3), float32.
        ahead: unit vectors along which v grows, (H, W, 3), float32.
        marks: where on the cell's outline its right wall begins, metres, (H, W), float32.
        outline: length of the cell's outline, metres, (H, W), float32.
    """

    depth: Array
    cell: NDArray[np.int16]
    side: NDArray[np.int8]
    u: Array
    v: Array
    normal: Array
    across: Array
    ahead: Array
    marks: Array
    outline: Array


def leave(
    camera: Camera, cells: tuple[Cell, ...], order: list[int]
) -> tuple[Array, NDArray[np.int16], NDArray[np.int16]]:
    """Follow rays until they leave the union of cells.

    Args:
        camera: inside at least one of the cells.
        cells: all cells.
        order: which are looked at, so that each follows one that it can be seen through.

    Returns:
        Depths (H, W), numbers of cells, and by which of the cell's planes.
    """
    depth = np.zeros(camera.size, np.float32)
    where = np.full(camera.size, order[0], np.int16)
    plane = np.zeros(camera.size, np.int16)
    for number in order:
        window = camera.window(cells[number].corners, 0.01)
        if window is None:
            continue
        planes, offsets = cells[number].planes
        enter, out, last = clip(camera, window, planes=planes, offsets=offsets)
        before = depth[window]
        on = (enter <= before + _TINY_M) & (out > before + _TINY_M)
        before[on] = out[on]
        where[window][on] = number
        plane[window][on] = last[on]
    return depth, where, plane


def skin(camera: Camera, cells: tuple[Cell, ...], order: list[int]) -> Skinned:
    """Find what each ray meets of the tunnel, with places and directions on its surface."""
    depth, where, plane = leave(camera, cells, order)
    table = _Faces(cells)
    face = table.first[where] + plane
    points = camera.position.astype(np.float32) + camera.rays * depth[..., None]
    across, ahead = table.across[face], table.ahead[face]
    away = points - table.origin[face]
    u = np.einsum("ijk,ijk->ij", away, across)
    v = np.einsum("ijk,ijk->ij", away, ahead)
    bend = ((2 * u / table.length[face]) - 1).clip(-1, 1) * table.bend[face]
    normal = table.normal[face] - across * bend[..., None]
    u += table.shift[face]
    ends = np.asarray(table.end[face])
    marks = table.marks[where]
    side = (u[..., None] >= marks).sum(axis=-1).astype(np.int8)
    side[ends] = END
    outline = table.outline[where]
    return Skinned(
        depth, where, side, u, v, normal, across, ahead, marks=marks[..., 0], outline=outline
    )


class _Faces:
    """All planes of all cells in one list, so that pixels can look theirs up."""

    def __init__(self, cells: tuple[Cell, ...]) -> None:
        counts = [len(cell.section.corners) + 2 for cell in cells]
        self.first = np.cumsum([0, *counts[:-1]]).astype(np.int16)
        parts: dict[str, list[Vector]] = {
            name: []
            for name in ("normal", "across", "ahead", "origin", "length", "bend", "shift", "end")
        }
        for cell in cells:
            for name, values in _faces(cell).items():
                parts[name].append(values)
        joined = {name: np.concatenate(found) for name, found in parts.items()}
        self.normal, self.across, self.ahead, self.origin = (
            joined[name].astype(np.float32) for name in ("normal", "across", "ahead", "origin")
        )
        self.length, self.bend, self.shift = (
            joined[name].astype(np.float32) for name in ("length", "bend", "shift")
        )
        self.end = joined["end"].astype(np.bool_)
        outlines = [cell.section.lengths.sum() for cell in cells]
        self.outline = np.array(outlines, np.float32)
        self.marks = np.array([cell.section.marks for cell in cells], np.float32)


def _faces(cell: Cell) -> dict[str, Vector]:
    section, axes = cell.section, cell.axes
    count = len(section.corners)
    sides = (np.roll(section.corners, -1, axis=0) - section.corners) / section.lengths[:, None]
    right, up, ahead = axes
    across = sides @ axes[:2]
    normals, _ = cell.planes
    turn = (sides * np.roll(sides, -1, axis=0)).sum(axis=1).clip(-1, 1)
    half = np.tan(np.arccos(turn) / 2)
    bend = np.where(half < 0.35, half, 0.0)  # sharper corners stay corners
    bend = np.minimum(bend, np.roll(bend, 1))
    ends = np.stack([cell.start, cell.at(cell.length)])
    return {
        "normal": -normals,
        "across": np.concatenate([across, [right, right]]),
        "ahead": np.concatenate([np.tile(ahead, (count, 1)), [up, up]]),
        "origin": np.concatenate([section.corners @ axes[:2] + cell.start, ends]),
        "length": np.concatenate([section.lengths, [1.0, 1.0]]),
        "bend": np.concatenate([bend, [0.0, 0.0]]),
        "shift": np.concatenate([np.cumsum(section.lengths) - section.lengths, [0.0, 0.0]]),
        "end": np.concatenate([np.zeros(count), np.ones(2)]),
    }
