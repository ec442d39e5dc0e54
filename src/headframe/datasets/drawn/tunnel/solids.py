"""Solids that rays are cast at: capsules, ellipsoids, convex bodies."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headframe.datasets.drawn.tunnel.rays import NEAR_M, Array, Buffer, Camera, Vector, Window


@dataclass(frozen=True)
class Skin:
    """What a solid is covered with.

    Attributes:
        owner: number of the instance it belongs to.
        ink: number of its material.
        bands: (from, to) along the solid, 0-1, that have ``band_ink`` instead.
        band_ink: number of that material.
    """

    owner: int
    ink: int
    bands: tuple[tuple[float, float], ...] = ()
    band_ink: int = 0


class Solid(Protocol):
    """A body with a skin."""

    @property
    def skin(self) -> Skin:
        """Its skin."""

    def bounds(self) -> tuple[Vector, float]:
        """Give points (n, 3) and a radius whose balls, joined, hold it."""

    def cast(self, camera: Camera, window: Window) -> Array:
        """Give the depth at which each ray enters, inf where it misses."""

    def normals(self, points: Array) -> Array:
        """Give outward normals (n, 3) at points of the surface, of any length."""

    def along(self, points: Array) -> Array:
        """Give how far along the solid points are, 0-1."""


@dataclass(frozen=True)
class Capsule:
    """All points within ``radius`` of the line from ``start`` to ``end``."""

    skin: Skin
    start: Vector
    end: Vector
    radius: float

    def bounds(self) -> tuple[Vector, float]:
        """Give its two ends."""
        return np.stack([self.start, self.end]), self.radius

    def cast(self, camera: Camera, window: Window) -> Array:
        """Solve for the barrel, then for the nearer end."""
        axis, away = self.end - self.start, camera.position - self.start
        square = float(axis @ axis)
        along, toward = camera.along(axis, window), camera.along(away, window)
        rays = camera.squared[window]
        passed, apart = float(axis @ away), float(away @ away)
        a = rays * square - along**2 + np.float32(1e-9)
        b = toward * square - passed * along
        c = square * (apart - self.radius**2) - passed**2
        root = b * b - a * c
        depth = (-b - np.sqrt(np.maximum(root, 0))) / a
        place = passed + depth * along
        late = place > 0.5 * square
        other = camera.along(camera.position - self.end, window)
        gap = camera.position - self.end
        b2 = np.where(late, other, toward)
        c2 = np.where(late, float(gap @ gap), apart) - self.radius**2
        root2 = b2 * b2 - rays * c2
        capped = (-b2 - np.sqrt(np.maximum(root2, 0))) / rays
        barrel = (root > 0) & (place > 0) & (place < square)
        depth = np.where(barrel, depth, capped)
        depth[~(barrel | (root2 > 0)) | (depth < NEAR_M)] = np.inf
        return depth

    def normals(self, points: Array) -> Array:
        """Point away from the nearest point of the line."""
        axis = (self.end - self.start).astype(np.float32)
        return points - (self.start.astype(np.float32) + self.along(points)[:, None] * axis)

    def along(self, points: Array) -> Array:
        """Measure from ``start`` to ``end``."""
        axis = self.end - self.start
        share = (points - self.start) @ axis / max(float(axis @ axis), 1e-9)
        return np.clip(share, 0, 1).astype(np.float32)


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid: ``inverse`` (3, 3) turns what it holds into a unit ball around its centre."""

    skin: Skin
    centre: Vector
    inverse: Vector

    def bounds(self) -> tuple[Vector, float]:
        """Give its centre and its longest half axis."""
        shortest = float(np.linalg.norm(self.inverse, axis=1).min())
        return self.centre[None], 1 / shortest

    def cast(self, camera: Camera, window: Window) -> Array:
        """Solve in the space where it is a ball."""
        away = self.inverse @ (camera.position - self.centre)
        rays = [camera.along(row, window) for row in self.inverse]
        a = rays[0] ** 2 + rays[1] ** 2 + rays[2] ** 2
        b = sum(ray * np.float32(part) for ray, part in zip(rays, away, strict=True))
        root = b * b - a * np.float32(away @ away - 1)
        depth: Array = (-b - np.sqrt(np.maximum(root, 0))) / a
        depth[(root <= 0) | (depth < NEAR_M)] = np.inf
        return depth

    def normals(self, points: Array) -> Array:
        """Give the gradient of the ball's equation."""
        turn = (self.inverse.T @ self.inverse).astype(np.float32)
        return (points - self.centre.astype(np.float32)) @ turn

    def along(self, points: Array) -> Array:
        """Measure along the second axis, from below."""
        low = (points - self.centre.astype(np.float32)) @ self.inverse[1].astype(np.float32)
        return np.asarray((low + 1) / 2, np.float32)


@dataclass(frozen=True)
class Convex:
    """All points with ``normals @ point <= offsets``; ``corners`` bound it."""

    skin: Skin
    planes: Vector
    offsets: Vector
    corners: Vector

    def bounds(self) -> tuple[Vector, float]:
        """Give its corners."""
        return self.corners, 0.01

    def cast(self, camera: Camera, window: Window) -> Array:
        """Clip rays by each plane."""
        enter, leave, _ = clip(camera, window, planes=self.planes, offsets=self.offsets)
        enter[(enter >= leave) | (enter < NEAR_M)] = np.inf
        return enter

    def normals(self, points: Array) -> Array:
        """Give the plane that points lie on."""
        gaps = points @ self.planes.T.astype(np.float32) - self.offsets.astype(np.float32)
        flat: Array = self.planes.astype(np.float32)[gaps.argmax(axis=1)]
        return flat

    def along(self, points: Array) -> Array:
        """Measure from its lowest to its highest corner."""
        low, high = self.corners[:, 1].min(), self.corners[:, 1].max()
        return np.asarray((points[:, 1] - low) / (high - low), np.float32)


def clip(
    camera: Camera, window: Window, *, planes: Vector, offsets: Vector
) -> tuple[Array, Array, NDArray[np.int16]]:
    """Clip rays by half spaces ``planes @ point <= offsets``.

    Returns:
        Depths at which rays enter and leave, (h, w), and by which plane they leave.
    """
    shape = (window[0].stop - window[0].start, window[1].stop - window[1].start)
    enter = np.full(shape, -np.inf, np.float32)
    leave = np.full(shape, np.inf, np.float32)
    last = np.zeros(shape, np.int16)
    gaps = offsets - planes @ camera.position
    for number, (plane, gap) in enumerate(zip(planes, gaps, strict=True)):
        slope = camera.along(plane, window)
        slope[np.abs(slope) < 1e-9] = 1e-9
        depth = np.float32(gap) / slope
        out = slope > 0
        sooner = out & (depth < leave)
        leave[sooner] = depth[sooner]
        last[sooner] = number
        np.maximum(enter, depth, out=enter, where=~out)
    return enter, leave, last


def draw_solids(buffer: Buffer, solids: Iterable[Solid]) -> None:
    """Draw solids into a buffer; the nearer one wins."""
    camera = buffer.camera
    here = camera.position.astype(np.float32)
    for solid in solids:
        window = camera.window(*solid.bounds())
        if window is None:
            continue
        depth = solid.cast(camera, window)
        rows, cols = np.nonzero(depth < buffer.depth[window])
        if not rows.size:
            continue
        near = depth[rows, cols]
        rows, cols = rows + window[0].start, cols + window[1].start
        rays = camera.rays[rows, cols]
        points = here + rays * near[:, None]
        normals = solid.normals(points)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
        buffer.depth[rows, cols] = near
        buffer.normal[rows, cols] = normals
        buffer.owner[rows, cols] = solid.skin.owner
        buffer.solid[rows, cols] = True
        ink = np.full(rows.size, solid.skin.ink, np.int16)
        if solid.skin.bands:
            share = solid.along(points)
            for low, high in solid.skin.bands:
                ink[(share >= low) & (share <= high)] = solid.skin.band_ink
        buffer.ink[rows, cols] = ink


def cast_depth(camera: Camera, solids: Iterable[Solid]) -> Array:
    """Give only the depth of what is nearest, as a lamp needs it for shadows; inf for nothing."""
    depth = np.full(camera.size, np.inf, np.float32)
    for solid in solids:
        window = camera.window(*solid.bounds())
        if window is not None:
            np.minimum(depth[window], solid.cast(camera, window), out=depth[window])
    return depth
