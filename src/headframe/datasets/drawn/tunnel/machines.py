"""Equipment: loaders, mine cars, conveyors, drill rigs, props, crates, drums, tools, fans."""

import math
from collections.abc import Callable

import numpy as np

from headframe.datasets.drawn.tunnel.kit import Ink, Kit, Palette, Triple
from headframe.datasets.drawn.tunnel.rays import Vector

_PAINTS: tuple[Triple, ...] = (
    (0.62, 0.40, 0.03), (0.60, 0.20, 0.03), (0.30, 0.30, 0.29), (0.05, 0.16, 0.34),
    (0.42, 0.05, 0.04), (0.55, 0.55, 0.52), (0.08, 0.20, 0.12),
)  # fmt: skip
_STEEL, _DARK = Ink((0.27, 0.27, 0.28), 0.6), Ink((0.05, 0.05, 0.05), 0.2)
_RUST, _TIMBER = Ink((0.21, 0.12, 0.07), 0.1, 0.6), Ink((0.26, 0.19, 0.11), 0.05, 0.5)
_BRIGHT, _WHITE = Ink((0.55, 0.55, 0.56), 0.9), Ink((0.6, 0.6, 0.58), 0.2)
_STRIPE = Ink((0.62, 0.62, 0.55), 0.2, 0.2, retro=2.0)
_RED, _SCREEN = Ink((0.55, 0.03, 0.02), 0.5), Ink((0.1, 0.2, 0.5), 0.6, 0.0, glow=0.8)
_HEADLIGHT = Ink((0.95, 0.95, 0.9), 0.0, 0.0, glow=60.0)

Lamps = list[tuple[Vector, Vector]]
"""Where lamps are, and where they shine."""


class Shop:
    """What a machine is built with: a kit, its materials, its chances.

    Attributes:
        kit: the body.
        rng: of what is left open.
        lamps: headlights that burn.
    """

    def __init__(self, kit: Kit, rng: np.random.Generator, palette: Palette) -> None:
        self.kit, self.rng, self.lamps = kit, rng, Lamps()
        self._palette = palette
        colour = np.array(_PAINTS[rng.integers(len(_PAINTS))]) * rng.uniform(0.5, 1.15)
        red, green, blue = (float(value) for value in colour)
        self.paint = palette.add(Ink((red, green, blue), 0.25, float(rng.uniform(0.3, 0.9))))

    def ink(self, ink: Ink) -> int:
        """Give the number of a material."""
        return self._palette.add(ink)


def loader(shop: Shop) -> None:
    """A low loader on four wheels, bucket ahead."""
    kit, rng = shop.kit, shop.rng
    wide, high = rng.uniform(0.75, 1.0), rng.uniform(0.75, 1.1)
    tyre, steel, dark = shop.ink(_DARK), shop.ink(_STEEL), shop.ink(_DARK)
    for z in (-1.25, 0.85):
        for x in (-wide + 0.1, wide - 0.1):
            kit.wheel((x, 0.5, z), 0.5, 0.36, tyre)
            kit.wheel((x * 1.19, 0.5, z), 0.2, 0.12, shop.paint)
    kit.box((-wide + 0.2, 0.45, -2.2), (wide - 0.2, 0.45 + high, -0.35), shop.paint, taper=0.93)
    kit.box((-wide + 0.3, 0.4, -0.4), (wide - 0.3, 0.95, 1.4), shop.paint, taper=0.9)
    kit.box((-wide + 0.25, 0.9, -0.5), (0.0, 1.55, 0.3), dark, taper=0.9)
    for x in (-0.35, 0.35):
        kit.capsule(((x, 0.9, 0.6), (x, 0.45, 2.1)), 0.09, steel)
    bucket = [
        (x, y, z)
        for x in (-wide, wide)
        for y, z in ((0.08, 1.75), (0.75, 1.7), (0.06, 2.7), (0.3, 2.0))
    ]
    kit.hull(np.array(bucket), steel if rng.random() < 0.5 else shop.paint)
    if rng.random() < 0.5:
        for x in (-wide + 0.25, wide - 0.25):
            kit.capsule(((x, 0.4, -1.0), (x, 1.9, -1.0)), 0.04, dark)
        kit.box((-wide + 0.2, 1.88, -1.5), (wide - 0.2, 1.95, -0.3), shop.paint)
    stripe = shop.ink(_STRIPE)
    kit.box((-wide + 0.3, 0.9, -2.23), (wide - 0.3, 1.0, -2.19), stripe)
    _headlights(shop, wide * 0.6, 1.1, 1.42)


def _headlights(shop: Shop, x: float, y: float, z: float) -> None:
    lit = shop.rng.random() < 0.6
    ink = shop.ink(_HEADLIGHT if lit else _WHITE)
    ahead = shop.kit.turn @ np.array([0.0, -0.08, 1.0])
    for side in (-x, x):
        shop.kit.ball((side, y, z), (0.08, 0.08, 0.06), ink)
    if lit:
        shop.lamps.append((shop.kit.world((0.0, y, z + 0.15)), ahead))


def mine_car(shop: Shop) -> None:
    """A tub on four small wheels, perhaps heaped."""
    kit, rng = shop.kit, shop.rng
    wide, long, top = rng.uniform(0.45, 0.7), rng.uniform(0.6, 1.1), rng.uniform(0.9, 1.35)
    body = shop.paint if rng.random() < 0.5 else shop.ink(_RUST)
    flare = rng.uniform(1.0, 1.35)
    kit.box((-wide, 0.32, -long), (wide, top, long), body, taper=flare)
    rim = shop.ink(_STEEL)
    edge, end = wide * flare, long * flare
    for ends in (
        ((-edge, top, -end), (edge, top, -end)), ((-edge, top, end), (edge, top, end)),
        ((-edge, top, -end), (-edge, top, end)), ((edge, top, -end), (edge, top, end)),
    ):  # fmt: skip
        kit.capsule(ends, 0.035, rim)
    for z in (-0.55 * long, 0.55 * long):
        for x in (-0.42, 0.42):
            kit.wheel((x, 0.2, z), 0.2, 0.09, rim)
    if rng.random() < 0.6:
        load = shop.ink(Ink((0.10, 0.095, 0.09), 0.1, 0.9))
        kit.ball((0, top - 0.05, 0), (edge * 0.9, rng.uniform(0.1, 0.3), end * 0.9), load)


def conveyor(shop: Shop) -> None:
    """A piece of belt conveyor on legs."""
    kit, rng = shop.kit, shop.rng
    long, wide, high = rng.uniform(2.5, 4.0), rng.uniform(0.35, 0.55), rng.uniform(0.55, 1.0)
    belt, steel = shop.ink(_DARK), shop.ink(_STEEL)
    kit.box((-wide, high - 0.04, -long), (wide, high + 0.03, long), belt)
    kit.box((-wide, high - 0.32, -long), (wide, high - 0.28, long), belt)
    for x in (-wide - 0.06, wide + 0.06):
        kit.box((x - 0.04, high - 0.14, -long), (x + 0.04, high + 0.03, long), shop.paint)
        for z in np.arange(-long + 0.3, long, 1.5):
            kit.capsule(((x, 0, z), (x, high - 0.1, z)), 0.04, shop.paint)
    for z in np.arange(-long + 0.2, long, 1.0):
        kit.capsule(((-wide, high - 0.12, z), (wide, high - 0.12, z)), 0.055, steel)
    heap = shop.ink(Ink((0.09, 0.085, 0.08), 0.15, 0.9))
    for z in np.arange(-long + 0.4, long - 0.3, 0.5):
        if rng.random() < 0.7:
            kit.ball(
                (rng.normal(0, 0.05), high + 0.03, z),
                (wide * 0.6, rng.uniform(0.06, 0.16), 0.35),
                heap,
            )


def drill_rig(shop: Shop) -> None:
    """A drill on a base, mast leaning, hoses around it."""
    kit, rng = shop.kit, shop.rng
    steel, bright, hose = shop.ink(_STEEL), shop.ink(_BRIGHT), shop.ink(_DARK)
    kit.box((-0.7, 0.0, -0.45), (0.7, 0.3, 0.45), steel, taper=0.95)
    kit.box((-0.45, 0.3, -0.3), (0.35, rng.uniform(0.6, 0.95), 0.3), shop.paint)
    for x in (-0.55, 0.5):
        top = rng.uniform(1.9, 2.4)
        kit.capsule(((x, 0.2, 0.1), (x, 0.55 * top, 0.1)), 0.095, steel)
        kit.capsule(((x, 0.5 * top, 0.1), (x, top, 0.1)), 0.06, bright)
    lean = rng.uniform(-0.9, 0.9)
    foot = np.array([0.1, rng.uniform(0.7, 1.1), -0.15])
    up = np.array([math.sin(lean), math.cos(lean), rng.uniform(-0.3, 0.3)])
    kit.capsule((foot - 0.6 * up, foot + 1.2 * up), 0.09, shop.paint)
    kit.capsule((foot - 0.6 * up + (0, 0, -0.13), foot + 1.3 * up + (0, 0, -0.13)), 0.035, bright)
    for place, radius in ((0.1, 0.13), (0.75, 0.11)):
        body = foot + place * up + (0, 0, -0.14)
        kit.capsule((body - 0.12 * up, body + 0.12 * up), radius, steel)
    kit.box(
        (-0.9, 0.75, -0.2),
        (-0.55, 1.15, 0.1),
        shop.paint if rng.random() < 0.5 else shop.ink(_WHITE),
    )
    kit.box((-0.86, 0.85, -0.23), (-0.62, 1.05, -0.19), shop.ink(_SCREEN))
    for _ in range(int(rng.integers(4, 11))):
        start, end = (
            foot + rng.normal(0, 0.15, 3),
            np.array([rng.normal(0, 0.9), 0.05, rng.normal(0, 0.7)]),
        )
        share = np.linspace(0, 1, 7)[:, None]
        bulge = rng.normal(0, 0.5, 3) * (1, 0.5, 0.6)
        line = start * (1 - share) + end * share + bulge * 4 * share * (1 - share)
        line[:, 1] = np.maximum(line[:, 1], 0.03)
        kit.hose(line, rng.uniform(0.02, 0.04), hose)


def crates(shop: Shop) -> None:
    """Boxes, stacked."""
    kit, rng = shop.kit, shop.rng
    wood = shop.ink(_TIMBER)
    for _ in range(int(rng.integers(1, 4))):
        x, z = rng.uniform(-0.5, 0.5, 2)
        w, d, h = rng.uniform(0.2, 0.45, 3)
        ink = wood if rng.random() < 0.6 else shop.paint
        kit.box(
            (x - w, 0, z - d),
            (x + w, 2 * h, z + d),
            ink,
            bands=((0.45, 0.5),),
            band_ink=shop.ink(_DARK),
        )
        if rng.random() < 0.4:
            kit.box((x - 0.7 * w, 2 * h, z - 0.8 * d), (x + 0.7 * w, 3 * h, z + 0.8 * d), ink)


def drums(shop: Shop) -> None:
    """Oil drums, one perhaps lying."""
    kit, rng = shop.kit, shop.rng
    band = shop.ink(_STEEL)
    for number in range(int(rng.integers(1, 4))):
        x, z = 0.62 * (number - 1), rng.uniform(-0.25, 0.25)
        if rng.random() < 0.2:
            kit.wheel((x, 0.29, z), 0.29, 0.86, shop.paint)
        else:
            kit.drum((x, 0, z), 0.29, 0.88, shop.paint, band)


def tools(shop: Shop) -> None:
    """A tool box, a fire extinguisher, a rucksack, a hand drill: what a crew puts down."""
    kit, rng = shop.kit, shop.rng
    kind = rng.integers(4)
    if kind == 0:
        kit.box((-0.32, 0, -0.18), (0.32, 0.3, 0.18), shop.paint)
        kit.capsule(((-0.15, 0.36, 0), (0.15, 0.36, 0)), 0.02, shop.ink(_DARK))
    elif kind == 1:
        red = shop.ink(_RED)
        kit.capsule(
            ((0, 0.1, 0), (0, 0.5, 0)), 0.1, red, bands=((0.45, 0.75),), band_ink=shop.ink(_WHITE)
        )
        kit.capsule(((0, 0.6, 0), (0.1, 0.66, 0)), 0.025, shop.ink(_DARK))
    elif kind == 2:
        kit.box((-0.19, 0, -0.11), (0.19, 0.36, 0.11), shop.paint, taper=0.9)
        kit.ball((0, 0.36, 0), (0.17, 0.12, 0.10), shop.paint)
        kit.ball((0, 0.17, 0.1), (0.14, 0.13, 0.1), shop.paint)
    else:
        kit.capsule(((-0.25, 0.18, 0), (0.15, 0.2, 0)), 0.08, shop.paint)
        kit.capsule(((0.15, 0.2, 0), (0.55, 0.16, 0)), 0.022, shop.ink(_BRIGHT))
        kit.capsule(((-0.2, 0.16, 0), (-0.25, 0.03, 0.05)), 0.05, shop.ink(_DARK))


def props(shop: Shop) -> None:
    """Hydraulic props standing apart, and some lying."""
    kit, rng = shop.kit, shop.rng
    steel, bright = shop.ink(_STEEL), shop.ink(_BRIGHT)
    for _ in range(int(rng.integers(2, 5))):
        x, z = rng.uniform(-0.7, 0.7, 2)
        top = rng.uniform(1.2, 2.1)
        lean = rng.normal(0, 0.05, 2)
        kit.capsule(((x, 0, z), (x + lean[0], 0.6 * top, z + lean[1])), 0.085, shop.paint)
        kit.capsule(
            ((x + lean[0], 0.6 * top, z + lean[1]), (x + 1.7 * lean[0], top, z + 1.7 * lean[1])),
            0.055,
            bright,
        )
    for _ in range(int(rng.integers(0, 3))):
        z = rng.uniform(-0.6, 0.6)
        kit.capsule(((-0.9, 0.08, z), (0.8, 0.08, z + rng.uniform(-0.3, 0.3))), 0.08, steel)


def fan(shop: Shop) -> None:
    """A fan or pump on a frame."""
    kit, rng = shop.kit, shop.rng
    radius = rng.uniform(0.28, 0.5)
    kit.wheel((0, radius + 0.2, 0), radius, rng.uniform(0.6, 1.1), shop.paint)
    kit.box((-0.4, 0, -radius), (0.4, 0.2, radius), shop.ink(_STEEL))
    kit.box(
        (0.35, 0.2, -0.2), (0.75, 0.6, 0.2), shop.ink(_DARK) if rng.random() < 0.5 else shop.paint
    )


MACHINES: dict[str, tuple[Callable[[Shop], None], float, float]] = {
    "loader": (loader, 1.5, 1.2),
    "mine car": (mine_car, 1.0, 1.6),
    "conveyor": (conveyor, 1.2, 1.0),
    "drill rig": (drill_rig, 0.9, 2.0),
    "crates": (crates, 0.8, 0.8),
    "drums": (drums, 0.8, 0.8),
    "tools": (tools, 0.35, 1.2),
    "props": (props, 0.8, 0.8),
    "fan": (fan, 0.7, 0.7),
}
"""Name to builder, radius of the room it needs in metres, and how often it stands about."""
