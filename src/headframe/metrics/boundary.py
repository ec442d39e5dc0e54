"""Boundary IoU: how well outlines agree, where plain IoU only sees interiors."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from headframe.core.classmap import IGNORE_INDEX
from headframe.core.errors import GridMismatchError

Mask = npt.NDArray[np.bool_]


def boundary_counts(
    pred: npt.NDArray[np.integer],
    truth: npt.NDArray[np.integer],
    *,
    index: int = 1,
    distance_px: int,
    frame_edge: bool = False,
    ignore: int = IGNORE_INDEX,
) -> tuple[int, int]:
    """Count the pixels that boundary IoU compares, so that several images can be pooled.

    A class's boundary is its pixels within ``distance_px`` (larger of rows and columns, as repeated
    3x3 erosion gives) of a pixel outside it (Cheng et al. 2021, eq. 3). Ours differs from the
    authors' code in two ways: a pixel ignored in either map lies on no side, so it neither makes a
    boundary nor is counted; and the frame's edge makes a boundary only if asked, because the edge
    of a chip cuts through mines that go on beyond it.

    Args:
        pred: predicted class (H, W).
        truth: true class (H, W).
        index: the class compared.
        distance_px: width of the boundary, >= 1.
        frame_edge: whether what lies beyond the image is outside the class (the authors' code).
        ignore: the value that is not counted, in either map.

    Returns:
        Pixels in both boundaries, pixels in either.

    Raises:
        GridMismatchError: the shapes differ or are not (H, W).
    """
    if pred.shape != truth.shape or pred.ndim != 2:
        raise GridMismatchError(
            f"prediction {pred.shape} and truth {truth.shape} cannot be compared; give two (H, W) "
            "maps on one grid."
        )
    known = (pred != ignore) & (truth != ignore)
    ours, theirs = (
        _boundary(labels == index, known, distance_px, frame_edge) for labels in (pred, truth)
    )
    return int((ours & theirs).sum()), int((ours | theirs).sum())


def boundary_iou(
    pred: npt.NDArray[np.integer],
    truth: npt.NDArray[np.integer],
    *,
    index: int = 1,
    distance_px: int,
    frame_edge: bool = False,
    zero_division: float = float("nan"),
) -> float:
    """Boundary IoU of one image, 0..1; ``zero_division`` where neither map has a boundary.

    Arguments and errors as in ``boundary_counts``. With a distance beyond the size of every region
    and ``frame_edge`` it is plain IoU.
    """
    both, either = boundary_counts(
        pred, truth, index=index, distance_px=distance_px, frame_edge=frame_edge
    )
    return both / either if either else zero_division


def _boundary(mask: Mask, known: Mask, distance_px: int, frame_edge: bool) -> Mask:
    """Pixels of ``mask`` within ``distance_px`` of a known pixel outside it."""
    inside = np.pad(mask | ~known, 1, constant_values=not frame_edge)
    core = ndimage.minimum_filter(
        inside, size=2 * distance_px + 1, mode="constant", cval=not frame_edge
    )[1:-1, 1:-1]
    result: Mask = mask & known & ~core
    return result
