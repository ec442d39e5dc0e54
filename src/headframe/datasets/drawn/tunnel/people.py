"""Miners: bodies of capsules in poses, in work clothes, helmets and reflecting stripes."""

import math
from dataclasses import dataclass

import numpy as np

from headframe.datasets.drawn.tunnel.kit import Ink, Kit, Palette, Triple
from headframe.datasets.drawn.tunnel.rays import Vector
from headframe.datasets.drawn.tunnel.solids import Solid

POSES = ("standing", "walking", "working", "reaching", "crouching", "kneeling", "sitting", "lying")
_SKINS: tuple[Triple, ...] = (
    (0.50, 0.32, 0.22),
    (0.33, 0.19, 0.11),
    (0.14, 0.08, 0.05),
    (0.42, 0.26, 0.17),
)
_CLOTHES: tuple[Triple, ...] = (
    (0.05, 0.06, 0.09), (0.04, 0.08, 0.16), (0.75, 0.22, 0.03), (0.12, 0.11, 0.10),
    (0.60, 0.62, 0.05), (0.20, 0.17, 0.12), (0.10, 0.14, 0.09), (0.30, 0.04, 0.03),
)  # fmt: skip
_HELMETS: tuple[Triple, ...] = (
    (0.70, 0.55, 0.05), (0.70, 0.70, 0.68), (0.60, 0.04, 0.03), (0.05, 0.05, 0.05),
    (0.04, 0.12, 0.45), (0.70, 0.25, 0.03),
)  # fmt: skip
_BOOTS: tuple[Triple, ...] = ((0.03, 0.03, 0.03), (0.45, 0.32, 0.03), (0.05, 0.07, 0.04))
_STRIPE = Ink((0.62, 0.62, 0.55), 0.2, 0.2, retro=3.0)
_CAP_LAMP = Ink((0.9, 0.95, 1.0), 0.0, 0.0, glow=60.0)


@dataclass(frozen=True)
class Outfit:
    """What one person wears, by numbers of materials.

    Attributes:
        skin: of face and hands.
        jacket: upper body.
        trousers: legs.
        boots: feet and shins.
        helmet: head.
        stripe: reflecting bands.
        lamp: on the helmet, burning or not.
        striped: whether there are bands at all.
        stout: width of the body, about 1.
        height_m: standing.
    """

    skin: int
    jacket: int
    trousers: int
    boots: int
    helmet: int
    stripe: int
    lamp: int
    striped: bool
    stout: float
    height_m: float


@dataclass(frozen=True)
class Joints:
    """A pose: places in metres of a body 1.75 m tall; x its right, y up, z ahead.

    Attributes:
        hip: middle of the hips.
        chest: middle of the shoulders.
        head: middle of the head.
        knees: left, right.
        feet: ankles, left, right.
        elbows: left, right.
        hands: left, right.
        facing: where the face looks.
    """

    hip: Vector
    chest: Vector
    head: Vector
    knees: tuple[Vector, Vector]
    feet: tuple[Vector, Vector]
    elbows: tuple[Vector, Vector]
    hands: tuple[Vector, Vector]
    facing: Vector


def make_outfit(rng: np.random.Generator, palette: Palette, *, lamp_on: bool) -> Outfit:
    """Draw what someone wears."""

    def pick(colours: tuple[Triple, ...], gloss: float) -> int:
        colour = np.array(colours[rng.integers(len(colours))]) * rng.uniform(0.75, 1.2)
        red, green, blue = (float(value) for value in colour)
        return palette.add(Ink((red, green, blue), gloss, 0.45))

    jacket = pick(_CLOTHES, 0.03)
    return Outfit(
        skin=pick(_SKINS, 0.15),
        jacket=jacket,
        trousers=jacket if rng.random() < 0.5 else pick(_CLOTHES[:4], 0.03),
        boots=pick(_BOOTS, 0.3),
        helmet=pick(_HELMETS, 0.5),
        stripe=palette.add(_STRIPE),
        lamp=palette.add(_CAP_LAMP if lamp_on else Ink((0.1, 0.1, 0.1), 0.5)),
        striped=bool(rng.random() < 0.75),
        stout=float(rng.uniform(0.9, 1.2)),
        height_m=float(rng.uniform(1.58, 1.92)),
    )


def pose(name: str, rng: np.random.Generator, *, phase: float = 0.0) -> Joints:
    """Draw a pose.

    Args:
        name: one of ``POSES``.
        rng: of what is left open.
        phase: of the step, for walking, 0-1.
    """
    if name == "lying":
        return _lying(rng)
    if name in {"crouching", "kneeling", "sitting"}:
        return _low(name, rng)
    lean = {"working": rng.uniform(0.25, 0.8)}.get(name, rng.uniform(-0.03, 0.10))
    swing = 0.38 * math.sin(2 * math.pi * phase) if name == "walking" else 0.0
    spread = rng.uniform(0.08, 0.16)
    hip = np.array([0, 0.93 - 0.03 * abs(swing), 0])
    chest = hip + 0.50 * np.array([0, math.cos(lean), math.sin(lean)])
    head = chest + 0.25 * np.array([0, math.cos(0.7 * lean), math.sin(0.7 * lean) + 0.05])
    knees, feet = [], []
    for sign in (-1, 1):
        step = swing * sign + (rng.uniform(-0.1, 0.1) if name != "walking" else 0.0)
        lift = max(0.0, math.cos(2 * math.pi * phase) * sign) if name == "walking" else 0.0
        knee = hip + np.array([sign * spread, -0.45, 0.45 * math.sin(step) + 0.05 + 0.12 * lift])
        knees.append(knee)
        feet.append(
            np.array([sign * spread * 1.15, 0.09 + 0.12 * lift, 0.86 * math.sin(step) - 0.1 * lift])
        )
    elbows, hands = _arms(name, rng, chest, swing)
    facing = np.array([rng.uniform(-0.5, 0.5), rng.uniform(-0.4, 0.1), 1.0])
    return Joints(hip, chest, head, _pair(knees), _pair(feet), elbows, hands, facing)


def _arms(
    name: str, rng: np.random.Generator, chest: Vector, swing: float
) -> tuple[tuple[Vector, Vector], tuple[Vector, Vector]]:
    elbows, hands = [], []
    for sign in (-1, 1):
        angle = -0.8 * swing * sign + rng.uniform(-0.1, 0.15)
        bent = rng.uniform(0.1, 0.5)
        if name == "working" or (name == "standing" and rng.random() < 0.3):
            angle, bent = rng.uniform(0.2, 0.7), rng.uniform(0.6, 1.3)
        if name == "reaching" and (sign > 0 or rng.random() < 0.4):
            angle, bent = rng.uniform(1.5, 2.6), rng.uniform(0.0, 0.5)
        shoulder = chest + np.array([sign * 0.21, -0.02, 0])
        out = sign * rng.uniform(0.03, 0.10)
        elbow = shoulder + np.array([out, -0.29 * math.cos(angle), 0.29 * math.sin(angle)])
        low = angle + bent
        elbows.append(elbow)
        hands.append(elbow + np.array([-0.3 * out, -0.26 * math.cos(low), 0.26 * math.sin(low)]))
    return _pair(elbows), _pair(hands)


def _low(name: str, rng: np.random.Generator) -> Joints:
    """Crouching, kneeling or sitting on the floor."""
    level = {"crouching": 0.42, "kneeling": 0.50, "sitting": 0.14}[name]
    lean = rng.uniform(0.25, 0.7) if name != "sitting" else rng.uniform(-0.25, 0.15)
    hip = np.array([0, level, -0.1])
    chest = hip + 0.50 * np.array([0, math.cos(lean), math.sin(lean)])
    head = chest + 0.25 * np.array([0, math.cos(0.5 * lean), math.sin(0.5 * lean) + 0.08])
    knees, feet = [], []
    for sign in (-1, 1):
        x = sign * rng.uniform(0.10, 0.2)
        if name == "sitting":
            rise = rng.uniform(0.0, 0.35)
            knees.append(np.array([x, 0.12 + rise, 0.32]))
            feet.append(np.array([x * 1.2, 0.09, 0.78 - 0.5 * rise]))
        elif name == "kneeling" and sign < 0:
            knees.append(np.array([x, 0.09, 0.12]))
            feet.append(np.array([x, 0.09, -0.32]))
        else:
            knees.append(np.array([x, 0.52, 0.28]))
            feet.append(np.array([x, 0.09, 0.14 if name == "crouching" else 0.3]))
    elbows, hands = _arms("working", rng, chest, 0.0)
    facing = np.array([rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.1), 1.0])
    return Joints(hip, chest, head, _pair(knees), _pair(feet), elbows, hands, facing)


def _lying(rng: np.random.Generator) -> Joints:
    """On the floor, head away from where the body's z axis points."""
    side = rng.uniform(-0.1, 0.1)
    hip, chest = np.array([0, 0.13, 0.1]), np.array([side, 0.15, -0.42])
    head = chest + np.array([side, 0.02, -0.25])
    knees, feet, elbows, hands = [], [], [], []
    for sign in (-1, 1):
        rise = max(0.0, rng.uniform(-0.3, 0.4))
        knees.append(np.array([sign * 0.13, 0.1 + rise, 0.52 - 0.3 * rise]))
        feet.append(np.array([sign * 0.17, 0.09, 0.92 - 0.9 * rise]))
        out, along = rng.uniform(0.28, 0.42), rng.uniform(-0.6, -0.2)
        elbows.append(np.array([sign * out, 0.08, along]))
        hands.append(
            np.array(
                [sign * (out + rng.uniform(-0.15, 0.12)), 0.06, along + rng.choice([-0.2, 0.25])]
            )
        )
    return Joints(
        hip,
        chest,
        head,
        _pair(knees),
        _pair(feet),
        _pair(elbows),
        _pair(hands),
        np.array([0.4 * side, 1.0, 0.1]),
    )


def make_person(
    outfit: Outfit, joints: Joints, owner: int, *, origin: Vector, heading: float
) -> tuple[list[Solid], Vector, Vector]:
    """Build a person.

    Args:
        outfit: what is worn.
        joints: pose.
        owner: number of the instance.
        origin: where on the floor, (3,).
        heading: where the body faces, radians.

    Returns:
        Solids, the place of the cap lamp, and where it shines, both (3,).
    """
    kit = Kit(owner, origin, heading=heading, scale=outfit.height_m / 1.75)
    wide = outfit.stout
    spine = joints.chest - joints.hip
    bands = ((0.30, 0.38), (0.55, 0.63)) if outfit.striped else ()
    kit.ball(joints.hip, (0.17 * wide, 0.14, 0.12 * wide), outfit.trousers)
    kit.ball(
        joints.hip + 0.52 * spine, (0.20 * wide, 0.36, 0.135 * wide), outfit.jacket, up=spine,
        bands=bands, band_ink=outfit.stripe,
    )  # fmt: skip
    shoulders = [joints.chest + np.array([sign * 0.17 * wide, -0.03, 0]) for sign in (-1, 1)]
    kit.capsule((shoulders[0], shoulders[1]), 0.085, outfit.jacket)
    rings = ((0.55, 0.72),) if outfit.striped else ()
    for number, shoulder in enumerate(shoulders):
        knee, foot = joints.knees[number], joints.feet[number]
        hip = joints.hip + np.array([(-0.09, 0.09)[number], -0.03, 0])
        kit.capsule((hip, knee), 0.082 * wide, outfit.trousers)
        kit.capsule(
            (knee, knee + 0.5 * (foot - knee)),
            0.063 * wide,
            outfit.trousers,
            bands=((0.3, 0.6),) if outfit.striped else (),
            band_ink=outfit.stripe,
        )
        kit.capsule((knee + 0.45 * (foot - knee), foot), 0.066, outfit.boots)
        kit.capsule((foot - (0, 0.03, 0.03), foot + _toe(knee, foot)), 0.055, outfit.boots)
        elbow, hand = joints.elbows[number], joints.hands[number]
        kit.capsule((shoulder, elbow), 0.057 * wide, outfit.jacket)
        kit.capsule((elbow, hand), 0.047, outfit.jacket, bands=rings, band_ink=outfit.stripe)
        kit.ball(hand, (0.05, 0.05, 0.05), outfit.skin)
    return kit.solids, *_head(kit, outfit, joints)


def _toe(knee: Vector, foot: Vector) -> Vector:
    shin = foot - knee
    ahead = np.array([0.0, 0.0, 1.0]) if abs(shin[1]) > abs(shin[2]) else np.array([0.0, 1.0, 0.0])
    toe: Vector = 0.13 * ahead - np.array([0, 0.03 if ahead[2] else 0.0, 0])
    return toe


def _head(kit: Kit, outfit: Outfit, joints: Joints) -> tuple[Vector, Vector]:
    face = joints.facing / np.linalg.norm(joints.facing)
    crown = joints.head - joints.chest
    crown = crown - 0.8 * (crown @ face) * face
    crown /= np.linalg.norm(crown)
    kit.capsule((joints.chest, joints.head), 0.055, outfit.skin)
    kit.ball(joints.head, (0.083, 0.12, 0.095), outfit.skin, up=crown)
    top = joints.head + 0.055 * crown
    kit.ball(top, (0.115, 0.105, 0.125), outfit.helmet, up=crown)
    kit.ball(top + 0.05 * face - 0.01 * crown, (0.125, 0.018, 0.135), outfit.helmet, up=crown)
    lamp = top + 0.125 * face + 0.03 * crown
    kit.ball(lamp, (0.030, 0.030, 0.030), outfit.lamp)
    return kit.world(lamp + 0.05 * face), kit.turn @ face


def _pair(parts: list[Vector]) -> tuple[Vector, Vector]:
    return parts[0], parts[1]
