"""One grey picture of all instance masks, in which ORB looks for corners."""

import cv2
import numpy as np
import numpy.typing as npt

from headframe.core.detections import Masks

Grey = npt.NDArray[np.uint8]
GREYS = 255
"""Levels that tell instances apart; 0 is the background."""


def grey_levels(count: int) -> Grey:
    """Give each of ``count`` instances a level, 255 and down, as far apart as may be.

    Returns:
        (count,) uint8, 1 to 255; all distinct up to 255 instances, after which they come round.
    """
    places = np.arange(count) % GREYS
    return np.asarray(GREYS - places * GREYS // min(max(count, 1), GREYS), np.uint8)


def render(masks: Masks, *, longest_px: int | None = None) -> Grey:
    """Draw masks into one picture, each in its own grey, the first on top.

    Two sets of masks of the same instances in the same order are drawn in the same greys, which
    is what makes their corners comparable.

    Args:
        masks: (n, H, W) bool.
        longest_px: reduce the picture so that no side is longer; None leaves it as it is.

    Returns:
        (h, w) uint8, 0 where there is no instance.
    """
    height, width = reduced_size((masks.shape[1], masks.shape[2]), longest_px)
    picture = np.zeros((height, width), np.uint8)
    levels = grey_levels(len(masks))
    for mask, level in zip(masks[::-1], levels[::-1], strict=True):
        drawn = mask
        if mask.shape != picture.shape:
            drawn = cv2.resize(
                np.ascontiguousarray(mask).view(np.uint8),
                (width, height),
                interpolation=cv2.INTER_NEAREST,
            ).view(np.bool_)
        picture[drawn] = level
    return picture


def reduced_size(size: tuple[int, int], longest_px: int | None) -> tuple[int, int]:
    """Give (h, w), at least 1 each, of a picture (H, W) brought to ``longest_px`` at most."""
    scale = 1.0 if longest_px is None else min(longest_px / max(size), 1.0)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
