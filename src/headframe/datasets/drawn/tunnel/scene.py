"""A tunnel with its people, machines and lamps in front of a camera, at one time."""

import math
from dataclasses import dataclass

import numpy as np

from headframe.datasets.drawn.tunnel.kit import Kit, Palette
from headframe.datasets.drawn.tunnel.lighting import Light
from headframe.datasets.drawn.tunnel.machines import MACHINES, Shop
from headframe.datasets.drawn.tunnel.people import make_outfit, make_person, pose
from headframe.datasets.drawn.tunnel.plan import Actor, Plan
from headframe.datasets.drawn.tunnel.rays import Camera, Vector, look
from headframe.datasets.drawn.tunnel.site import Site
from headframe.datasets.drawn.tunnel.solids import Solid

CLASSES = ("road", "wall", "roof", "people", "equipment", "corridor")
"""The paper's six classes, in the order of their numbers from 1."""
MOVABLE = 1000
"""Owners of people and machines begin here; below are the sides of cells."""

_FAR_M = (9.0, 24.0)
_STRIDE_M = 1.4
_MOST_LAMPS = 4
_CLEARANCE_M = 0.25
_LOW_M = 0.6


@dataclass(frozen=True)
class Instance:
    """One thing that can be told apart in a tunnel.

    Attributes:
        category: one of ``CLASSES``.
        name: of its own, the same over all frames of a film, e.g. ``wall-left``.
    """

    category: str
    name: str


@dataclass(frozen=True)
class Scene:
    """All that is in front of a camera at one time.

    Attributes:
        site: the tunnel.
        camera: who looks.
        order: cells, nearer ones first.
        far: main cells that are seen as the corridor ahead.
        actors: solids of people and machines.
        names: instances of people and machines, by owner.
        lights: lamps.
        palette: materials of everything.
        bodies: owners of people.
        feet: where people and machines stand, (3,), and how wide they are, metres.
    """

    site: Site
    camera: Camera
    order: list[int]
    far: frozenset[int]
    actors: tuple[Solid, ...]
    names: dict[int, Instance]
    lights: tuple[Light, ...]
    palette: Palette
    bodies: tuple[int, ...]
    feet: tuple[tuple[Vector, float], ...]


def stage(site: Site, plan: Plan, *, size: tuple[int, int], seconds: float = 0.0) -> Scene:
    """Put a scene together.

    Args:
        site: the tunnel.
        plan: what goes on.
        size: height, width in pixels.
        seconds: since the beginning, for films.
    """
    camera, along = _camera(site, plan, size, seconds)
    near = site.cell_at(along)
    holding = (n for n in range(site.main) if site.cells[n].holds(camera.position))
    cell = min(holding, key=lambda number: abs(number - near), default=near)
    order = sorted(range(site.main), key=lambda number: abs(number - cell))
    order += list(range(site.main, len(site.cells)))
    palette = site.palette.copy()
    solids: list[Solid] = []
    names: dict[int, Instance] = {}
    lights: list[Light] = []
    for number, actor in enumerate(plan.actors):
        owner = MOVABLE + number
        kind = "people" if actor.person else "equipment"
        names[owner] = Instance(kind, f"{kind}-{number + 1}")
        build = _person if actor.person else _machine
        made, lamps = build(site, plan, actor, palette=palette, owner=owner, seconds=seconds)
        solids += made
        lights += lamps
    lights = _own_lights(plan, camera) + lights + _fixed_lights(site, plan, camera)
    far = _far(site, along, back=plan.shot.back)
    bodies = tuple(owner for owner, thing in names.items() if thing.category == "people")
    feet = tuple(
        (site.locate(a.along + a.speed * seconds, a.across)[0], a.radius) for a in plan.actors
    )
    return Scene(
        site, camera, order, far, tuple(solids), names, tuple(lights), palette, bodies, feet
    )


def _camera(site: Site, plan: Plan, size: tuple[int, int], seconds: float) -> tuple[Camera, float]:
    """Hold the camera, nearer to the middle of the tunnel where it would be in the rock."""
    shot = plan.shot
    sign = -1 if shot.back else 1
    along = float(np.clip(shot.along + sign * shot.speed * seconds, 1.0, site.length - 1.0))
    walked = shot.speed * seconds / _STRIDE_M * 2 * math.pi
    bob, sway = (0.0, 0.0) if not shot.speed else (math.sin(2 * walked), math.sin(walked))
    height = shot.height + 0.025 * bob
    for share in np.linspace(1, 0, 41):
        here = (shot.across * share, _LOW_M + (height - _LOW_M) * share)
        place, heading = site.locate(along, here[0], here[1])
        if any(cell.holds(place, by=_CLEARANCE_M) for cell in site.cells[: site.main]):
            break
    camera = look(
        place,
        heading + shot.heading + 0.012 * sway + (math.pi if shot.back else 0.0),
        pitch=shot.pitch + 0.008 * bob,
        roll=shot.roll + 0.012 * sway,
        view=shot.view,
        size=size,
    )
    return camera, along


def _person(
    site: Site, plan: Plan, actor: Actor, *, palette: Palette, owner: int, seconds: float
) -> tuple[list[Solid], list[Light]]:
    rng = np.random.default_rng(actor.seed)
    along = actor.along + actor.speed * seconds
    place, heading = site.locate(along, actor.across)
    lamp_on = bool(rng.random() < plan.cap_share)
    outfit = make_outfit(rng, palette, lamp_on=lamp_on)
    phase = float(rng.random()) + abs(actor.speed) * seconds / _STRIDE_M
    joints = pose(actor.kind, rng, phase=phase % 1)
    solids, lamp, aim = make_person(
        outfit, joints, owner, origin=place, heading=heading + actor.heading
    )
    colour = (0.9, 0.97, 1.08)
    lights = [Light(lamp, colour, plan.caps, aim - (0, 0.15, 0), 0.55)] if lamp_on else []
    return solids, lights


def _machine(
    site: Site, plan: Plan, actor: Actor, *, palette: Palette, owner: int, seconds: float
) -> tuple[list[Solid], list[Light]]:
    place, heading = site.locate(actor.along + actor.speed * seconds, actor.across)
    kit = Kit(owner, place, heading=heading + actor.heading)
    shop = Shop(kit, np.random.default_rng(actor.seed), palette)
    MACHINES[actor.kind][0](shop)
    colour = (1.0, 0.97, 0.9)
    lights = [Light(at, colour, 3 * plan.caps, aim, 0.6, shadows=True) for at, aim in shop.lamps]
    return kit.solids, lights


def _own_lights(plan: Plan, camera: Camera) -> list[Light]:
    colour, power, cone = plan.lamp
    if power <= 0:
        return []
    rng = np.random.default_rng([plan.seed, 5])
    right, down, ahead = camera.basis
    place = camera.position + rng.uniform(-0.3, 0.3) * right + rng.uniform(-0.35, 0.2) * down
    aim = ahead + rng.normal(0, 0.08) * right + rng.normal(0.03, 0.06) * down
    return [Light(place, colour, power, aim, cone, shadows=True)]


def _fixed_lights(site: Site, plan: Plan, camera: Camera) -> list[Light]:
    colour, power = plan.fixed
    if power <= 0 or not len(site.lamps):
        return []
    seen = camera.seen(site.lamps)
    ahead = [number for number in np.argsort(np.abs(seen[:, 2])) if -5 < seen[number, 2] < 25]
    return [Light(site.lamps[number], colour, power) for number in ahead[:_MOST_LAMPS]]


def _far(site: Site, along: float, *, back: bool) -> frozenset[int]:
    """Choose from which cell on the tunnel is seen as the corridor ahead: at its narrowest."""
    cells = range(site.main)
    begins = {n: site.start_of(n) for n in cells}
    if back:
        begins = {n: site.length - begins[n] - site.cells[n].length for n in cells}
        along = site.length - along
    near = site.cell_at(site.length - along if back else along)
    ahead = [n for n in cells if _FAR_M[0] < begins[n] - along < _FAR_M[1] and n != near]
    if not ahead:
        return frozenset()
    first = min(
        ahead, key=lambda n: site.cells[n].section.height * site.cells[n].section.half_width
    )
    return frozenset(n for n in cells if (n <= first if back else n >= first))
