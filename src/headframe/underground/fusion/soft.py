"""Fusions of our own, over soft masks; none of them is in the paper.

In all of them (``fuse`` sees to it) a pixel that neither network takes for the object does not
become it.
"""

import cv2
import numpy as np

from headframe.core.detections import Floats
from headframe.underground.fusion.pair import Mask, Pair

_LEAST_BAND_PX = 2.0


def weighted(pair: Pair, *, weight: float) -> Mask:
    """Add the two networks' logits.

    Args:
        pair: masks; without logits each counts as fully sure, and an even weight gives the
            intersection.
        weight: of SAM, 0 (Mask R-CNN alone) to 1 (SAM alone).
    """
    total = (1 - weight) * pair.soft_detector() + weight * pair.soft_sam()
    return np.asarray(total > 0, np.bool_)


def boundary_only(pair: Pair, *, band: float) -> Mask:
    """Let SAM decide in a band on both sides of Mask R-CNN's outline, and nowhere else.

    Mask R-CNN's masks come from 28 x 28 pixels: they know the object and not its outline. SAM
    knows outlines, and sometimes takes a part or the surroundings for the object.

    Args:
        pair: masks.
        band: half-width of the band, as a share of the root of the area of Mask R-CNN's mask; at
            least two pixels. 0 leaves Mask R-CNN's mask as it is.
    """
    if band <= 0:
        return pair.detector
    reach = max(band * float(np.sqrt(np.count_nonzero(pair.detector))), _LEAST_BAND_PX)
    near = np.abs(signed_distance(pair.detector)) <= reach
    return np.where(near, pair.sam, pair.detector)


def signed_distance(mask: Mask) -> Floats:
    """Give each pixel's distance to the nearest pixel on the other side of the outline.

    Returns:
        (h, w) float32 pixels, 1 and up inside, -1 and down outside; a mask without an outline
        (empty or all) lies far away, at more than its own diagonal.
    """
    plane = np.ascontiguousarray(mask).view(np.uint8)
    far = float(sum(mask.shape)) + 1
    if not mask.any() or mask.all():
        return np.full(mask.shape, far if mask.any() else -far, np.float32)
    inside = cv2.distanceTransform(plane, cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(1 - plane, cv2.DIST_L2, 5)
    return np.asarray(inside - outside, np.float32)
