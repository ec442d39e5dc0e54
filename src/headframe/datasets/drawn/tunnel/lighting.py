"""Light below ground: lamps with cones and falloff, shadows, wet highlights, dust in the air."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from headframe.datasets.drawn.tunnel.kit import Triple
from headframe.datasets.drawn.tunnel.rays import NEAR_M, Array, Camera, Vector, look
from headframe.datasets.drawn.tunnel.solids import Solid, cast_depth

_SHADOW_PX = 176
_SHADOW_BIAS_M = 0.06
_COARSE = 4
_SOFT_M2 = 0.15
_SPILL = 0.02


@dataclass(frozen=True)
class Light:
    """A lamp.

    Attributes:
        place: (3,), metres.
        colour: red, green, blue.
        power: brightness at 1 m.
        aim: where its cone points, (3,); None shines everywhere.
        cone: half the cone's angle, radians.
        shadows: whether solids throw shadows in it; only of cones.
    """

    place: Vector
    colour: Triple
    power: float
    aim: Vector | None = None
    cone: float = math.pi
    shadows: bool = False


@dataclass(frozen=True)
class Surface:
    """What light falls on, pixel by pixel.

    Attributes:
        points: (H, W, 3), metres.
        normal: (H, W, 3), unit length.
        albedo: (H, W, 3), linear.
        gloss: (H, W).
        retro: (H, W), how much is thrown straight back.
        glow: (H, W), light of its own.
    """

    points: Array
    normal: Array
    albedo: Array
    gloss: Array
    retro: Array
    glow: Array


def shade(
    camera: Camera, surface: Surface, lights: Sequence[Light], *, ambient: Array,
    casters: Sequence[Solid],
) -> Array:  # fmt: skip
    """Light a surface.

    Args:
        camera: who looks.
        surface: what is seen.
        lights: lamps.
        ambient: light from everywhere, (H, W).
        casters: solids that throw shadows.

    Returns:
        Light that reaches the camera through clear air, (H, W, 3), linear.
    """
    here = camera.position.astype(np.float32)
    view = here - surface.points
    view /= _length(view)[..., None]
    up = surface.normal[..., 1]
    shine = np.zeros_like(surface.albedo)
    diffuse = shine + (ambient * (0.85 + 0.25 * up))[..., None]
    for light in lights:
        toward = light.place.astype(np.float32) - surface.points
        far = _length(toward)
        toward /= far[..., None]
        reach = np.float32(light.power) / (far * far + _SOFT_M2)
        if light.aim is not None:
            reach *= _cone(light, toward)
            if light.shadows:
                reach *= 1 - 0.9 * _shadow(light, surface.points, casters)
        facing = np.einsum("ijk,ijk->ij", surface.normal, toward)
        colour = np.asarray(light.colour, np.float32)
        lit = reach * np.maximum(facing, 0)
        if light.aim is not None and float(np.linalg.norm(light.place - camera.position)) < 1:
            lit += reach * surface.retro
        diffuse += lit[..., None] * colour
        half = toward + view
        aligned = np.einsum("ijk,ijk->ij", surface.normal, half) / (_length(half) + 1e-6)
        bright = np.clip(aligned, 0, 1) ** 48 * reach * (facing > 0) * surface.gloss
        shine += bright[..., None] * colour
    return surface.albedo * (diffuse + surface.glow[..., None]) + shine


def hazed(
    camera: Camera, seen: Array, depth: Array, *, lights: Sequence[Light], density: float,
    ambient: float,
) -> Array:  # fmt: skip
    """Put dust between the camera and what it sees.

    Light is lost by ``exp(-density x metres)``, and each lamp lights the dust on the way: the
    integral of 1 / distance² along the ray, in closed form; of cones where the ray is nearest to
    the lamp.

    Args:
        camera: who looks.
        seen: light through clear air, (H, W, 3).
        depth: along the optical axis, (H, W).
        lights: lamps.
        density: share lost a metre.
        ambient: light from everywhere.
    """
    if density <= 0:
        return seen
    metres = depth * np.sqrt(camera.squared)
    left = np.exp(-np.float32(density) * metres)[..., None]
    veil = np.float32(0.5 * ambient) * (1 - left)
    small = (-(-camera.size[0] // _COARSE), -(-camera.size[1] // _COARSE))
    rays = _shrunk(camera.rays, small)
    rays /= _length(rays)[..., None]
    ends = _shrunk(metres, small)
    glowing = np.zeros((*small, 3), np.float32)
    for light in lights:
        away = (light.place - camera.position).astype(np.float32)
        nearest = rays @ away
        off = np.sqrt(np.maximum(float(away @ away) - nearest**2, 0.04))
        sweep = (np.arctan((ends - nearest) / off) + np.arctan(nearest / off)) / off
        if light.aim is not None:
            point = rays * np.clip(nearest + 0.6 * off, 0.05, ends)[..., None]
            toward = away - point
            toward /= _length(toward)[..., None] + 1e-6
            sweep *= _cone(light, toward)
        glowing += (sweep * np.float32(light.power * density * 0.06))[..., None] * np.asarray(
            light.colour, np.float32
        )
    veil = veil + cv2.resize(glowing, camera.size[::-1], interpolation=cv2.INTER_LINEAR)
    out: Array = seen * left + veil
    return out


def _cone(light: Light, toward: Array) -> Array:
    """Give how much of a cone's light goes along ``-toward``, with a soft edge."""
    assert light.aim is not None
    aim = (light.aim / np.linalg.norm(light.aim)).astype(np.float32)
    along = -(toward @ aim)
    edge, core = math.cos(light.cone), math.cos(light.cone * 0.45)
    share = np.clip((along - edge) / (core - edge), 0, 1)
    return np.asarray(share * share * (3 - 2 * share) + _SPILL, np.float32)


def _shadow(light: Light, points: Array, casters: Sequence[Solid]) -> Array:
    """Give how much of each point lies in shadow, 0-1, by a picture from the lamp."""
    assert light.aim is not None
    aim = light.aim / np.linalg.norm(light.aim)
    heading, pitch = math.atan2(aim[0], aim[2]), math.asin(float(np.clip(aim[1], -1, 1)))
    wide = min(2 * light.cone, 2.2)
    size = (_SHADOW_PX, _SHADOW_PX)
    eye = look(light.place, heading, pitch=pitch, roll=0.0, view=wide, size=size)
    depth = cast_depth(eye, casters)
    away = points - light.place.astype(np.float32)
    right, down, ahead = (away @ row.astype(np.float32) for row in eye.basis)
    front = np.maximum(ahead, NEAR_M)
    x = right / front * np.float32(eye.focal_px) + _SHADOW_PX / 2 - 0.5
    y = down / front * np.float32(eye.focal_px) + _SHADOW_PX / 2 - 0.5
    near = cv2.remap(
        np.minimum(depth, 1e3), x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT,
        borderValue=1e3,
    )  # fmt: skip
    dark = ((near + _SHADOW_BIAS_M < ahead) & (ahead > NEAR_M)).astype(np.float32)
    return np.asarray(cv2.blur(dark, (3, 3)), np.float32)


def _shrunk(image: Array, size: tuple[int, int]) -> Array:
    return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA), np.float32)


def _length(vectors: Array) -> Array:
    return np.asarray(np.sqrt(np.einsum("ijk,ijk->ij", vectors, vectors)), np.float32)
