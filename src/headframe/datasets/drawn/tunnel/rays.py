"""A pinhole camera, and what its rays meet: the buffer that everything is drawn into."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Vector = NDArray[np.float64]
Window = tuple[slice, slice]
"""Rows and columns of a picture."""

NEAR_M = 0.15
"""Nothing nearer than this is drawn."""


@dataclass(frozen=True)
class Camera:
    """Where a picture is taken from. Metres; x to the right, y up, z ahead.

    A pixel's ray is ``x right + y down + forward``, x and y from its centre, so that distances
    along rays are depths along the optical axis.

    Attributes:
        position: (3,).
        basis: rows right, down, forward, (3, 3), orthonormal.
        focal_px: focal length in pixels.
        size: height, width in pixels.
    """

    position: Vector
    basis: Vector
    focal_px: float
    size: tuple[int, int]

    @cached_property
    def x(self) -> Array:
        """Ray slopes to the right, (W,)."""
        wide = self.size[1]
        return ((np.arange(wide) + 0.5 - wide / 2) / self.focal_px).astype(np.float32)

    @cached_property
    def y(self) -> Array:
        """Ray slopes downwards, (H,)."""
        tall = self.size[0]
        return ((np.arange(tall) + 0.5 - tall / 2) / self.focal_px).astype(np.float32)

    @cached_property
    def squared(self) -> Array:
        """Squared lengths of the rays, (H, W)."""
        return 1 + self.x[None, :] ** 2 + self.y[:, None] ** 2

    @cached_property
    def rays(self) -> Array:
        """Rays (H, W, 3), not of unit length."""
        axes = [self.along(axis, self.whole) for axis in np.eye(3)]
        return np.stack(axes, axis=-1)

    @property
    def whole(self) -> Window:
        """The window of the whole picture."""
        return slice(0, self.size[0]), slice(0, self.size[1])

    def along(self, vector: Vector, window: Window) -> Array:
        """Give the dot product of each ray in a window with a vector, (h, w)."""
        a, b, c = (float(value) for value in self.basis @ vector)
        rows, cols = window
        return (self.y[rows] * np.float32(b))[:, None] + (
            self.x[cols] * np.float32(a) + np.float32(c)
        )

    def seen(self, points: Vector) -> Vector:
        """Turn points (n, 3) into right, down, ahead of the camera, (n, 3)."""
        turned: Vector = (points - self.position) @ self.basis.T
        return turned

    def window(self, points: Vector, radius: float) -> Window | None:
        """Give the window that balls around points (n, 3) can be seen in; None for nowhere."""
        seen = self.seen(points)
        if seen[:, 2].max() + radius <= NEAR_M:
            return None
        if seen[:, 2].min() - radius <= NEAR_M:
            return self.whole
        height, width = self.size
        reach = []
        for axis, middle in ((0, width / 2), (1, height / 2)):
            near, far = seen[:, 2] - radius, seen[:, 2] + radius
            low, high = seen[:, axis] - radius, seen[:, axis] + radius
            low = low / np.where(low < 0, near, far)
            high = high / np.where(high > 0, near, far)
            reach.append((low.min() * self.focal_px + middle, high.max() * self.focal_px + middle))
        (left, right), (top, bottom) = reach
        x0, x1 = max(0, math.floor(left)), min(width, math.ceil(right) + 1)
        y0, y1 = max(0, math.floor(top)), min(height, math.ceil(bottom) + 1)
        return (slice(y0, y1), slice(x0, x1)) if x0 < x1 and y0 < y1 else None


def look(
    position: Vector,
    heading: float,
    *,
    pitch: float,
    roll: float,
    view: float,
    size: tuple[int, int],
) -> Camera:
    """Set up a camera.

    Args:
        position: (3,), metres.
        heading: radians from the z axis towards the x axis.
        pitch: radians, upwards positive.
        roll: radians.
        view: horizontal angle of view in radians.
        size: height, width in pixels.
    """
    ahead = np.array(
        [
            math.sin(heading) * math.cos(pitch),
            math.sin(pitch),
            math.cos(heading) * math.cos(pitch),
        ]
    )
    level = np.array([math.cos(heading), 0.0, -math.sin(heading)])
    up = np.cross(ahead, level)
    right = math.cos(roll) * level + math.sin(roll) * up
    down = math.sin(roll) * level - math.cos(roll) * up
    focal = size[1] / 2 / math.tan(view / 2)
    return Camera(np.asarray(position, np.float64), np.stack([right, down, ahead]), focal, size)


class Buffer:
    """What each pixel shows.

    Attributes:
        depth: along the optical axis, metres, (H, W), float32; inf where there is nothing.
        normal: towards the viewer's side, (H, W, 3), float32, unit length.
        owner: number of the instance, (H, W), int16; -1 for nothing.
        ink: number of the material, (H, W), int16.
        solid: whether a solid stands there and not the tunnel, (H, W), bool.
    """

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self.depth = np.full(camera.size, np.inf, np.float32)
        self.normal = np.zeros((*camera.size, 3), np.float32)
        self.owner = np.full(camera.size, -1, np.int16)
        self.ink = np.zeros(camera.size, np.int16)
        self.solid = np.zeros(camera.size, np.bool_)

    def points(self) -> Array:
        """Give what each pixel sees in metres, (H, W, 3)."""
        here: Array = self.camera.position.astype(np.float32) + (
            self.camera.rays * self.depth[..., None]
        )
        return here
