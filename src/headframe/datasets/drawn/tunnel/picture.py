"""Pictures of tunnels: the scene cast, dressed, lit and photographed, and its truth."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headframe.datasets.drawn.tunnel.bore import END, FLOOR, LEFT, RIGHT, ROOF, Skinned, skin
from headframe.datasets.drawn.tunnel.covering import cover, openness
from headframe.datasets.drawn.tunnel.furniture import SIDES
from headframe.datasets.drawn.tunnel.lighting import hazed, shade
from headframe.datasets.drawn.tunnel.optics import develop, gain_of
from headframe.datasets.drawn.tunnel.plan import Plan
from headframe.datasets.drawn.tunnel.rays import Buffer, Camera
from headframe.datasets.drawn.tunnel.scene import MOVABLE, Instance, Scene
from headframe.datasets.drawn.tunnel.solids import Solid, draw_solids
from headframe.datasets.drawn.tunnel.stone import Dressed, dress

_CLEAR_OF_M = 0.2
_DUCT_M = 0.15
_SHOULDER = 0.73
_STEEPEST = 0.35
_MOST_LIFT_M = 0.3


@dataclass(frozen=True)
class Picture:
    """A drawn photograph and its truth.

    Attributes:
        bright: well exposed, without noise, (H, W, 3), uint8, RGB.
        labels: which instance each pixel shows, (H, W), int16, index into ``instances``.
        instances: those that are seen.
        gain: exposure; give it to further frames of a film.
    """

    bright: NDArray[np.uint8]
    labels: NDArray[np.int16]
    instances: tuple[Instance, ...]
    gain: float


def take(scene: Scene, plan: Plan, *, gain: float | None = None) -> Picture:
    """Photograph a scene.

    Args:
        scene: what is there.
        plan: lens, dust and light.
        gain: exposure; None finds one.
    """
    buffer, dressed = cast(scene)
    camera = scene.camera
    surface = cover(scene, plan, buffer, dressed)
    near = openness(scene, buffer, dressed) * np.float32(plan.ambient)
    light = shade(camera, surface, scene.lights, ambient=near, casters=scene.actors)
    light = hazed(
        camera, light, buffer.depth, lights=scene.lights, density=plan.dust, ambient=plan.ambient
    )
    gain = gain_of(light, plan.lens) if gain is None else gain
    labels, instances = _instances(scene, buffer)
    return Picture(develop(light, plan.lens, gain=gain), labels, instances, gain)


def cast(scene: Scene) -> tuple[Buffer, Dressed]:
    """Find what each pixel shows, and the tunnel's own surface."""
    camera, site = scene.camera, scene.site
    skinned = skin(camera, site.cells, scene.order)
    dressed = dress(skinned, camera, site.stone, site.palette)
    slope = np.abs(np.einsum("ijk,ijk->ij", skinned.normal, camera.rays))
    lift = (dressed.lift / np.maximum(slope, _STEEPEST)).clip(-_MOST_LIFT_M, _MOST_LIFT_M)
    buffer = Buffer(camera)
    buffer.depth = np.asarray(skinned.depth - lift, np.float32)
    buffer.normal = dressed.normal
    buffer.owner = (skinned.cell * SIDES + _steps(scene, skinned, dressed)).astype(np.int16)
    for number in scene.order:
        draw_solids(buffer, _clear_of(camera, site.solids[number]))
    draw_solids(buffer, scene.actors)
    return buffer, dressed


def _clear_of(camera: Camera, pieces: Iterable[Solid]) -> Iterable[Solid]:
    """Leave out furniture so near to a camera that it would fill its picture."""
    for piece in pieces:
        points, radius = piece.bounds()
        room = _CLEAR_OF_M if radius < _DUCT_M else 0.0  # a duct may run overhead
        start, axis = points[0], points[-1] - points[0]
        share = (camera.position - start) @ axis / max(float(axis @ axis), 1e-9)
        nearest = start + min(max(float(share), 0.0), 1.0) * axis
        if float(np.linalg.norm(camera.position - nearest)) > radius + room:
            yield piece


def _steps(scene: Scene, skinned: Skinned, dressed: Dressed) -> NDArray[np.int8]:
    """Count ends of cells that stand out where tunnels widen to the sides they join."""
    site = scene.site
    side = dressed.side.copy()
    ends = side == END
    if not ends.any():
        return side
    last = np.array([n in {0, site.main - 1} for n in range(len(site.cells))])[skinned.cell]
    height = np.array([cell.section.height for cell in site.cells], np.float32)[skinned.cell]
    step = ends & ~last
    side[step] = np.where(skinned.u[step] < 0, LEFT, RIGHT)
    side[step & (skinned.v > _SHOULDER * height)] = ROOF
    return side


def _instances(scene: Scene, buffer: Buffer) -> tuple[NDArray[np.int16], tuple[Instance, ...]]:
    """Turn owners into instances, numbered in order of first use."""
    found: dict[Instance, int] = {}
    table = np.zeros(int(buffer.owner.max()) + 1, np.int16)
    for owner in np.unique(buffer.owner):
        instance = _instance(scene, int(owner))
        table[owner] = found.setdefault(instance, len(found))
    return table[buffer.owner], tuple(found)


def _instance(scene: Scene, owner: int) -> Instance:
    if owner >= MOVABLE:
        return scene.names[owner]
    cell, side = divmod(owner, SIDES)
    site = scene.site
    if cell >= site.main:
        return Instance("corridor", f"corridor-{cell - site.main + 1}")
    if cell in scene.far:
        return Instance("corridor", "corridor-ahead")
    if side == END:
        closed = site.closed[0 if cell == 0 else 1]
        return Instance("wall", "wall-end") if closed else Instance("corridor", "corridor-ahead")
    return {
        FLOOR: Instance("road", "road"),
        RIGHT: Instance("wall", "wall-right"),
        ROOF: Instance("roof", "roof"),
        LEFT: Instance("wall", "wall-left"),
    }[side]
