"""Morphology on a fused mask: holes closed, specks removed."""

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
REFERENCE_PX = 1024
"""Long side of the photographs that a kernel's size is given for."""


def kernel_side(kernel_px: int, longest_px: int) -> int:
    """Scale a kernel to a photograph: the nearest odd number, at least 1.

    Args:
        kernel_px: side of the kernel at ``REFERENCE_PX``.
        longest_px: long side of the photograph.
    """
    wanted = kernel_px * longest_px / REFERENCE_PX
    return max(2 * round((wanted - 1) / 2) + 1, 1)


def clean(mask: Mask, side: int, *, close: bool = True, open_: bool = True) -> Mask:
    """Close, then open, with an ellipse.

    The paper says dilation, then erosion, which is the closing; the opening is ours. Beyond the
    picture nothing counts, so an object cut by the frame stays cut by it. A mask of which the
    opening would leave nothing is not opened.

    Args:
        mask: (H, W) bool.
        side: of the ellipse, odd; 1 changes nothing.
        close: fill gaps narrower than the ellipse.
        open_: remove parts narrower than the ellipse.

    Returns:
        (H, W) bool.
    """
    if side <= 1 or not mask.any():
        return mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    plane = np.ascontiguousarray(mask).view(np.uint8)
    if close:
        plane = np.asarray(cv2.morphologyEx(plane, cv2.MORPH_CLOSE, kernel), np.uint8)
    if open_:
        opened = np.asarray(cv2.morphologyEx(plane, cv2.MORPH_OPEN, kernel), np.uint8)
        plane = opened if opened.any() else plane
    return plane.view(np.bool_)
