"""Building bodies of solids in a frame of their own, and the materials they are made of."""

import math
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scipy.spatial import ConvexHull

from headframe.datasets.drawn.tunnel.rays import Vector
from headframe.datasets.drawn.tunnel.solids import Capsule, Convex, Ellipsoid, Skin, Solid

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Ink:
    """A material.

    Attributes:
        colour: share of red, green and blue light that it throws back, linear, 0-1.
        gloss: strength of its highlights, 0-1.
        dirt: how much dirt changes its colour, 0-1.
        retro: how much it throws straight back to a lamp beside the camera.
        glow: light of its own.
    """

    colour: Triple
    gloss: float = 0.1
    dirt: float = 0.35
    retro: float = 0.0
    glow: float = 0.0


@dataclass
class Palette:
    """Materials by number."""

    inks: list[Ink] = field(default_factory=list)

    def add(self, ink: Ink) -> int:
        """Give the number of a material, a new one if it has none."""
        if ink not in self.inks:
            self.inks.append(ink)
        return self.inks.index(ink)

    def copy(self) -> "Palette":
        """Give a palette that grows by itself."""
        return Palette(list(self.inks))


class Kit:
    """Builds one body in metres: x to its right, y up, z ahead of it.

    Attributes:
        solids: what has been built.
    """

    def __init__(
        self,
        owner: int,
        origin: Vector,
        *,
        heading: float = 0.0,
        tilt: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        """Stand at ``origin``, turned by ``heading`` and then tipped backwards by ``tilt``."""
        self.owner = owner
        self.origin = np.asarray(origin, np.float64)
        self.scale = scale
        self.solids: list[Solid] = []
        sin, cos = math.sin(heading), math.cos(heading)
        turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])  # columns: right, up, ahead
        sin, cos = math.sin(tilt), math.cos(tilt)
        self.turn = turn @ np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])

    def world(self, point: Triple | Vector) -> Vector:
        """Turn a point of the body into one of the tunnel."""
        out: Vector = self.origin + self.turn @ (np.asarray(point, np.float64) * self.scale)
        return out

    def capsule(
        self, ends: tuple[Triple | Vector, Triple | Vector], radius: float, ink: int, *,
        bands: tuple[tuple[float, float], ...] = (), band_ink: int = 0,
    ) -> None:  # fmt: skip
        """Add a capsule between two points."""
        skin = Skin(self.owner, ink, bands, band_ink)
        start, end = self.world(ends[0]), self.world(ends[1])
        self.solids.append(Capsule(skin, start, end, radius * self.scale))

    def hose(self, points: Vector, radius: float, ink: int) -> None:
        """Add capsules along a line of points (n, 3)."""
        for start, end in pairwise(points):
            self.capsule((start, end), radius, ink)

    def ball(
        self, centre: Triple | Vector, radii: Triple, ink: int, *, up: Vector | None = None,
        bands: tuple[tuple[float, float], ...] = (), band_ink: int = 0,
    ) -> None:  # fmt: skip
        """Add an ellipsoid; its second half axis points along ``up`` of the body."""
        axes = np.eye(3) if up is None else _upright(up)
        inverse = (self.turn @ axes.T / (np.asarray(radii) * self.scale)).T
        skin = Skin(self.owner, ink, bands, band_ink)
        self.solids.append(Ellipsoid(skin, self.world(centre), inverse))

    def hull(
        self, corners: Vector, ink: int, *, bands: tuple[tuple[float, float], ...] = (),
        band_ink: int = 0,
    ) -> None:  # fmt: skip
        """Add the convex hull of points (n, 3)."""
        world = self.origin + np.asarray(corners, np.float64) * self.scale @ self.turn.T
        hull = ConvexHull(world)
        faces = np.unique(hull.equations.round(7), axis=0)
        skin = Skin(self.owner, ink, bands, band_ink)
        self.solids.append(Convex(skin, faces[:, :3], -faces[:, 3], world))

    def box(
        self, low: Triple, high: Triple, ink: int, *, taper: float = 1.0,
        bands: tuple[tuple[float, float], ...] = (), band_ink: int = 0,
    ) -> None:  # fmt: skip
        """Add a box; its top is ``taper`` times as wide and long as its foot."""
        middle = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
        corners = [
            (
                middle[0] + (x - middle[0]) * (taper if y == high[1] else 1),
                y,
                middle[2] + (z - middle[2]) * (taper if y == high[1] else 1),
            )
            for x in (low[0], high[0])
            for y in (low[1], high[1])
            for z in (low[2], high[2])
        ]
        self.hull(np.array(corners), ink, bands=bands, band_ink=band_ink)

    def wheel(self, hub: Triple, radius: float, width: float, ink: int) -> None:
        """Add a wheel whose axle runs along x."""
        around = np.linspace(0, 2 * math.pi, 14, endpoint=False)
        rim = [
            (
                hub[0] + side * width / 2,
                hub[1] + radius * math.sin(a),
                hub[2] + radius * math.cos(a),
            )
            for side in (-1, 1)
            for a in around
        ]
        self.hull(np.array(rim), ink)

    def drum(self, foot: Triple, radius: float, height: float, ink: int, band_ink: int) -> None:
        """Add an upright cylinder with two bands."""
        around = np.linspace(0, 2 * math.pi, 14, endpoint=False)
        rim = [
            (foot[0] + radius * math.cos(a), foot[1] + y, foot[2] + radius * math.sin(a))
            for y in (0.0, height)
            for a in around
        ]
        self.hull(np.array(rim), ink, bands=((0.30, 0.34), (0.64, 0.68)), band_ink=band_ink)


def _upright(up: Vector) -> Vector:
    """Give orthonormal rows whose second is along ``up``."""
    second = np.asarray(up, np.float64) / np.linalg.norm(up)
    helper = np.array([0.0, 0.0, 1.0]) if abs(second[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    first = np.cross(second, helper)
    first /= np.linalg.norm(first)
    return np.stack([first, second, np.cross(first, second)])
