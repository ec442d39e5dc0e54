"""What is going on in a tunnel while a picture or a film is taken."""

import math
from dataclasses import dataclass

import numpy as np

from headframe.datasets.drawn.tunnel.kit import Triple
from headframe.datasets.drawn.tunnel.machines import MACHINES
from headframe.datasets.drawn.tunnel.optics import Lens
from headframe.datasets.drawn.tunnel.people import POSES
from headframe.datasets.drawn.tunnel.site import Site

_COLD: Triple = (0.85, 0.95, 1.1)
_WARM: Triple = (1.15, 0.95, 0.65)
_POSE_ODDS = (0.24, 0.24, 0.14, 0.08, 0.09, 0.06, 0.07, 0.08)
_PEOPLE_ODDS = (0.18, 0.34, 0.26, 0.14, 0.08)
_MACHINE_ODDS = (0.14, 0.36, 0.32, 0.18)
_NEAREST_M = {"tools": 1.6, "crates": 2.2, "drums": 2.2, "drill rig": 2.4, "props": 2.4}


@dataclass(frozen=True)
class Actor:
    """Someone or something that is not part of the tunnel.

    Attributes:
        kind: a pose, or a machine's name.
        person: whether it is a person.
        along: metres along the tunnel.
        across: metres to the right of its middle.
        heading: radians, against the tunnel's.
        speed: metres a second along the tunnel; of persons who walk.
        seed: of its looks.
        radius: of the room it takes, metres.
    """

    kind: str
    person: bool
    along: float
    across: float
    heading: float
    speed: float
    seed: int
    radius: float


@dataclass(frozen=True)
class Shot:
    """How the camera is held.

    Attributes:
        along: metres along the tunnel.
        back: whether it looks towards the tunnel's beginning.
        across: metres to the right of the middle.
        height: metres above the floor.
        heading: radians, against the tunnel's.
        pitch: radians.
        roll: radians.
        view: horizontal angle of view, radians.
        speed: metres a second, ahead.
    """

    along: float
    back: bool
    across: float
    height: float
    heading: float
    pitch: float
    roll: float
    view: float
    speed: float


@dataclass(frozen=True)
class Plan:
    """Everything of a picture or a film that chance decides, but for noise.

    Attributes:
        shot: camera.
        lens: optics.
        actors: people and machines.
        ambient: light from everywhere.
        lamp: colour, power and half angle of the lamp at the camera; power 0 for none.
        fixed: colour and power of the tunnel's lamps.
        dust: share of light lost a metre.
        caps: power of cap lamps.
        cap_share: how many of the people have theirs on.
        seed: of what remains.
    """

    shot: Shot
    lens: Lens
    actors: tuple[Actor, ...]
    ambient: float
    lamp: tuple[Triple, float, float]
    fixed: tuple[Triple, float]
    dust: float
    caps: float
    cap_share: float
    seed: int


def make_plan(site: Site, seed: int, *, moving: bool = False) -> Plan:
    """Draw what goes on.

    Args:
        site: the tunnel.
        seed: with the tunnel's seed it decides everything.
        moving: for a film: the camera goes ahead, and there is someone who walks.
    """
    rng = np.random.default_rng([site.seed, 2, seed])
    shot = _shot(rng, site, moving=moving)
    actors = _actors(rng, site, shot, moving=moving)
    own = rng.random()  # who brings the light: the camera, the tunnel, or both a little
    camera = rng.uniform(8, 40) if own < 0.75 else rng.uniform(0, 3)
    lamps = rng.uniform(1.5, 6.0) if own > 0.35 else rng.uniform(0.0, 1.5)
    lens = Lens(
        key=rng.uniform(0.10, 0.26),
        glare=rng.uniform(0.03, 0.25),
        vignette=rng.uniform(0.1, 0.75),
        blur_px=max(0.0, rng.uniform(-6, 5)),
        blur_angle=rng.uniform(0, math.pi),
        soft_px=rng.uniform(0.3, 0.9),
        tint=(rng.uniform(0.92, 1.08), 1.0, rng.uniform(0.90, 1.12)),
        grey=max(0.0, rng.uniform(-0.3, 0.75)),
    )
    return Plan(
        shot=shot,
        lens=lens,
        actors=actors,
        ambient=float(np.exp(rng.uniform(math.log(0.015), math.log(0.16)))),
        lamp=(_mix(rng), camera, rng.uniform(0.5, 1.0)),
        fixed=(_mix(rng), lamps),
        dust=float(np.exp(rng.uniform(math.log(0.002), math.log(0.045)))),
        caps=rng.uniform(3, 14),
        cap_share=rng.uniform(0.3, 1.0),
        seed=seed,
    )


def _mix(rng: np.random.Generator) -> Triple:
    share = rng.random()
    red, green, blue = (a * share + b * (1 - share) for a, b in zip(_COLD, _WARM, strict=True))
    return red, green, blue


def _shot(rng: np.random.Generator, site: Site, *, moving: bool) -> Shot:
    back = bool(rng.random() < 0.4)
    room = site.length - 2.0
    along = rng.uniform(1.5, max(2.0, room - 12.0 - 6 * moving))
    along = site.length - along if back else along
    section = site.cells[site.cell_at(along)].section
    watched = not moving and rng.random() < 0.3  # a fixed camera under the roof looks down
    high = 0.6 * section.height  # below caps, ducts and lamps
    height = rng.uniform(0.85 * high, high) if watched else rng.uniform(0.6, min(1.8, high))
    aside = 0.35 if moving else 0.75  # one who walks keeps to the middle
    across = rng.uniform(-aside, aside) * (section.half_width - 0.6)
    # one who stands aside looks back towards the middle
    toward = -0.16 * across / max(section.half_width, 1) * (-1 if back else 1)
    return Shot(
        along=along,
        back=back,
        across=across,
        height=height,
        heading=float(rng.normal(toward, 0.05 if moving else 0.22)),
        pitch=rng.uniform(-0.32, -0.1) if watched else float(rng.normal(-0.03, 0.08)),
        roll=float(rng.normal(0, 0.03)),
        view=math.radians(rng.uniform(58, 92)),
        speed=rng.uniform(0.5, 1.3) if moving else 0.0,
    )


def _actors(rng: np.random.Generator, site: Site, shot: Shot, *, moving: bool) -> tuple[Actor, ...]:
    found: list[Actor] = []
    names = list(MACHINES)
    odds = np.array([MACHINES[name][2] for name in names])
    for _ in range(int(rng.choice(len(_MACHINE_ODDS), p=_MACHINE_ODDS))):
        name = str(rng.choice(names, p=odds / odds.sum()))
        _place(rng, site, shot, found, name, person=False, speed=0.0)
    people = int(rng.choice(len(_PEOPLE_ODDS), p=_PEOPLE_ODDS))
    for number in range(max(people, int(moving))):
        walks = moving and (number == 0 or rng.random() < 0.5)
        name = "walking" if walks else str(rng.choice(POSES, p=_POSE_ODDS))
        speed = rng.uniform(0.7, 1.4) * rng.choice([-1, 1]) if walks else 0.0
        _place(rng, site, shot, found, name, person=True, speed=speed)
    return tuple(found)


def _place(
    rng: np.random.Generator, site: Site, shot: Shot, found: list[Actor], kind: str, *,
    person: bool, speed: float,
) -> None:  # fmt: skip
    """Find room for an actor; where a dozen tries find none, there is none."""
    radius = 0.38 if person else MACHINES[kind][1]
    if kind == "lying":
        radius = 0.8
    nearest = 1.8 if person else _NEAREST_M.get(kind, 3.2)
    furthest = 11.0 if person else 13.0
    sign = -1 if shot.back else 1
    for _ in range(12):
        ahead = nearest + (furthest - nearest) * rng.random() ** 1.6
        along = shot.along + sign * ahead
        if not 0.8 < along < site.length - 0.8:
            continue
        section = site.cells[site.cell_at(along)].section
        room = section.half_width - radius * (0.7 if person else 0.55)
        across = 0.0 if kind == "mine car" and site.rails else rng.uniform(-1, 1) * max(room, 0)
        if not person and kind != "mine car" and rng.random() < 0.6:
            across = float(rng.choice([-1, 1])) * max(room, 0)
        free = all(
            math.hypot(along - other.along, across - other.across)
            > 0.85 * (radius + other.radius) for other in found
        )  # fmt: skip
        if not free:
            continue
        turned = kind in {"loader", "mine car", "conveyor"}
        heading = float(rng.choice([0, math.pi]) + rng.normal(0, 0.06 if turned else 0.0))
        if not turned:
            heading = rng.uniform(-math.pi, math.pi)
        if speed:
            heading = 0.0 if speed > 0 else math.pi
        seed = int(rng.integers(2**31))
        found.append(Actor(kind, person, along, across, heading, speed, seed, radius))
        return
