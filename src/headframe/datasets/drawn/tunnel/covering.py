"""What light falls on in a scene: colours of all surfaces, dirt, and how open they lie."""

import numpy as np

from headframe.datasets.drawn.tunnel.bore import FLOOR
from headframe.datasets.drawn.tunnel.furniture import SIDES
from headframe.datasets.drawn.tunnel.lighting import Surface
from headframe.datasets.drawn.tunnel.plan import Plan
from headframe.datasets.drawn.tunnel.rays import Array, Buffer
from headframe.datasets.drawn.tunnel.scene import MOVABLE, Scene
from headframe.datasets.drawn.tunnel.stone import Dressed

_ALONG, _ACROSS = (np.array(v, np.float32) for v in ((0.8, 0.3, 0.6), (-0.3, 0.9, 0.35)))
_GRAIN_M = 1.9
_CLOTH, _SHEET = np.float32(0.007), np.float32(0.003)
_LAMPS_OFF = 0.3
_FADE_M = np.float32(9.0)


def cover(scene: Scene, plan: Plan, buffer: Buffer, dressed: Dressed) -> Surface:
    """Colour what each pixel shows.

    Args:
        scene: what is there.
        plan: whether the tunnel's lamps burn.
        buffer: what was cast; its normals get the creases of cloth and sheet metal.
        dressed: the tunnel's own surface; its colours are written over where solids stand.
    """
    solid, inks, stone = buffer.solid, scene.palette.inks, scene.site.stone
    which = buffer.ink[solid]

    def table(name: str) -> Array:
        return np.asarray([getattr(ink, name) for ink in inks], np.float32)[which]

    points = buffer.points()
    place = points[solid]
    grain = stone.fine.scattered(place @ _ALONG, place @ _ACROSS, side_m=_GRAIN_M)
    crease = np.where(np.isin(buffer.owner[solid], scene.bodies), _CLOTH, _SHEET)[:, None]
    normal = buffer.normal[solid] - crease * (grain[:, 1:2] * _ALONG + grain[:, 2:3] * _ACROSS)
    buffer.normal[solid] = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    low = np.clip(1 - place[:, 1] / 0.7, 0, 1)  # mud sticks low down
    mud = np.asarray(scene.site.palette.inks[stone.inks[0]].colour, np.float32) * 0.55
    dirt = np.clip(table("dirt") * (0.25 + 0.9 * grain[:, 3] + 0.6 * low), 0, 0.85)
    albedo, gloss = dressed.albedo, dressed.gloss
    albedo[solid] = table("colour") * (1 - dirt[:, None]) + mud * dirt[:, None]
    gloss[solid] = table("gloss") * (1 - dirt)
    retro, glow = (np.zeros(solid.shape, np.float32) for _ in range(2))
    retro[solid] = table("retro") * (1 - dirt)
    glow[solid] = table("glow")
    if plan.fixed[1] < _LAMPS_OFF:
        glow[solid & (buffer.owner < MOVABLE)] = 0.0
    return Surface(points, buffer.normal, albedo, gloss, retro, glow)


def openness(scene: Scene, buffer: Buffer, dressed: Dressed) -> Array:
    """Give how much of the light from everywhere gets where it is seen, 0-1.

    Little in corners, under what stands on the floor, far off and in side corridors.
    """
    share = 0.15 + 0.85 * np.exp(-buffer.depth / _FADE_M)
    share *= np.where(buffer.solid, 1, dressed.open)
    side = np.array([n >= scene.site.main for n in range(len(scene.site.cells))])
    cell = np.minimum(buffer.owner // SIDES, len(side) - 1)
    share[side[cell] & (buffer.owner < MOVABLE)] *= 0.5
    floor = ~buffer.solid & (dressed.side == FLOOR)
    where = buffer.points()[floor][:, [0, 2]]
    dark = np.ones(len(where), np.float32)
    for place, radius in scene.feet:
        far = ((where - place[[0, 2]].astype(np.float32)) ** 2).sum(axis=1)
        dark *= 1 - 0.75 * np.exp(-far / np.float32(1.2 * radius * radius))
    share[floor] *= dark
    return np.asarray(share, np.float32)
