"""From light to a photograph: exposure, glare, vignette, motion, tone."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from headframe.datasets.drawn.tunnel.rays import Array

_GAMMA = 1 / 2.2


@dataclass(frozen=True)
class Lens:
    """How a camera draws.

    Attributes:
        key: brightness aimed at.
        glare: share of what is too bright that is spread around it.
        vignette: loss of light in the corners, 0-1.
        blur_px: length of the motion of the camera, pixels of a picture 640 wide.
        blur_angle: its direction, radians.
        soft_px: blur of the lens, pixels of a picture 640 wide.
        tint: factors of red, green and blue.
        grey: how much colour is lost, 0-1.
    """

    key: float = 0.3
    glare: float = 0.1
    vignette: float = 0.3
    blur_px: float = 0.0
    blur_angle: float = 0.0
    soft_px: float = 0.5
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    grey: float = 0.0


def gain_of(light: Array, lens: Lens) -> float:
    """Find the exposure that makes a picture as bright as ``lens.key`` says."""
    grey = cv2.resize(light.mean(axis=2), (64, 48), interpolation=cv2.INTER_AREA)
    middle = 0.5 * float(np.median(grey)) + 0.5 * float(
        grey.clip(0, np.percentile(grey, 95)).mean()
    )
    return lens.key / max(middle, 1e-5)


def develop(light: Array, lens: Lens, *, gain: float) -> NDArray[np.uint8]:
    """Turn light into a stored photograph.

    Args:
        light: (H, W, 3), linear, >= 0.
        lens: how.
        gain: exposure, from ``gain_of``.

    Returns:
        (H, W, 3), uint8, RGB.
    """
    height, width = light.shape[:2]
    scale = width / 640
    image = light * (np.float32(gain) * np.asarray(lens.tint, np.float32))
    if lens.glare > 0:
        image += lens.glare * _glare(image)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    image *= (1 - lens.vignette * ((x * x + y * y) / 2) ** 1.5)[..., None]
    if lens.grey > 0:
        image += (image.mean(axis=2, keepdims=True) - image) * np.float32(lens.grey)
    if lens.blur_px * scale > 1:
        image = cv2.filter2D(image, -1, _streak(lens.blur_px * scale, lens.blur_angle))
    if lens.soft_px > 0:
        image = cv2.GaussianBlur(image, (0, 0), max(lens.soft_px * scale, 0.2))
    toned = (1 - np.exp(-np.maximum(image, 0) * 1.3)) ** _GAMMA
    return np.asarray(np.rint(toned * 255), np.uint8)


def _glare(image: Array) -> Array:
    height, width = image.shape[:2]
    small = (max(width // 8, 4), max(height // 8, 4))
    excess = cv2.resize(np.clip(image - 0.9, 0, 25), small, interpolation=cv2.INTER_AREA)
    near = cv2.GaussianBlur(excess, (0, 0), small[0] / 45)
    far = cv2.GaussianBlur(excess, (0, 0), small[0] / 9)
    out: Array = cv2.resize(near + 1.2 * far, (width, height), interpolation=cv2.INTER_LINEAR)
    return out


def _streak(length: float, angle: float) -> Array:
    side = 2 * int(np.ceil(length / 2)) + 1
    kernel = np.zeros((side, side), np.float32)
    reach = np.array([np.cos(angle), np.sin(angle)]) * (length - 1) / 2
    middle = side // 2
    ends = [np.rint(middle + sign * reach).astype(int).tolist() for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    return np.asarray(kernel / kernel.sum(), np.float32)
