"""Bringing SAM's masks onto those of Mask R-CNN: ORB, a guarded similarity, else identity."""

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from headframe.core.errors import GridMismatchError
from headframe.underground.fusion.render import Grey

Matrix = npt.NDArray[np.float64]
Window = tuple[slice, slice]
"""Rows and columns, with both ends given."""
Outcome = Literal[
    "accepted",
    "off",
    "nothing to align",
    "few features",
    "few matches",
    "no transform",
    "few inliers",
    "scale",
    "rotation",
    "shift",
]
_PATCH_PX = 31
"""ORB's patch, and the margin in which it looks for nothing."""
_NOT_TRIED = ("off", "nothing to align")


@dataclass(frozen=True)
class Guard:
    """When a transform is believed (methods.md, section 1.5; the paper has none of it).

    Attributes:
        features: most corners of a picture.
        share: of the matches, the best are kept.
        matches: at least so many matches are kept, and needed.
        ransac_px: how far a match may lie from where the transform puts it.
        inliers: fewest matches that agree.
        scale: largest change of size, as a share of 1.
        rotation_deg: the rotation must be smaller.
        shift: the centre of the picture must move by less, as a share of each side.
    """

    features: int = 1000
    share: float = 0.5
    matches: int = 8
    ransac_px: float = 3.0
    inliers: int = 6
    scale: float = 0.1
    rotation_deg: float = 5.0
    shift: float = 0.05


@dataclass(frozen=True, eq=False)
class Alignment:
    """A transform and whether it is used.

    Attributes:
        matrix: (2, 3), brings (x, y, 1) of SAM's masks to Mask R-CNN's, pixel centres at whole
            numbers; identity unless ``outcome`` is ``accepted``.
        outcome: what came of it; a name of the guard says which bound was broken.
        matches: how many were kept.
        inliers: how many of them agree.
    """

    matrix: Matrix
    outcome: Outcome
    matches: int = 0
    inliers: int = 0

    @property
    def accepted(self) -> bool:
        """Whether masks are moved."""
        return self.outcome == "accepted"

    @property
    def tried(self) -> bool:
        """Whether there was anything to align."""
        return self.outcome not in _NOT_TRIED


def unaligned(outcome: Outcome, *, matches: int = 0, inliers: int = 0) -> Alignment:
    """Give the identity, and why."""
    return Alignment(np.eye(2, 3), outcome, matches, inliers)


def align(moving: Grey, fixed: Grey, *, guard: Guard | None = None) -> Alignment:
    """Find the similarity that brings one rendered picture onto the other.

    ORB corners, cross-checked matches by Hamming distance, the best half, then RANSAC. Both
    pictures are of one photograph, so the truth is near identity, and masks have few corners:
    whatever is far from identity is taken for a mistake. The same pictures give the same answer.

    Args:
        moving: (H, W), from ``render``: SAM's masks.
        fixed: (H, W), Mask R-CNN's.
        guard: the bounds.

    Returns:
        The transform of ``moving``, or identity.

    Raises:
        GridMismatchError: the pictures differ in size.
    """
    guard = guard or Guard()
    if moving.shape != fixed.shape:
        raise GridMismatchError(
            f"pictures of {moving.shape} and {fixed.shape} cannot be aligned; they must show one "
            "photograph."
        )
    if not (moving.any() and fixed.any()):
        return unaligned("nothing to align")
    if min(fixed.shape) <= 2 * _PATCH_PX:
        return unaligned("few features")
    pairs = _matches(moving, fixed, guard)
    if pairs is None:
        return unaligned("few features")
    return _similarity(pairs, (fixed.shape[0], fixed.shape[1]), guard)


def check(
    matrix: Matrix, size: tuple[int, int], inliers: int, *, guard: Guard | None = None
) -> Outcome | None:
    """Name the first bound that a similarity (2, 3) breaks on a picture of ``size`` (H, W)."""
    guard = guard or Guard()
    cosine, sine = matrix[0, 0], matrix[1, 0]
    centre = (np.array([size[1], size[0]]) - 1) / 2
    moved = np.abs(matrix[:, :2] @ centre + matrix[:, 2] - centre)
    if inliers < guard.inliers:
        return "few inliers"
    if abs(np.hypot(cosine, sine) - 1) > guard.scale:
        return "scale"
    if abs(np.degrees(np.arctan2(sine, cosine))) >= guard.rotation_deg:
        return "rotation"
    if (moved >= guard.shift * np.array([size[1], size[0]])).any():
        return "shift"
    return None


def enlarged(found: Alignment, small: tuple[int, int], large: tuple[int, int]) -> Alignment:
    """Bring a transform found on a reduced picture ``small`` (h, w) to ``large`` (H, W)."""
    if not found.accepted or small == large:
        return found
    scale = np.diag([small[1] / large[1], small[0] / large[0], 1.0])
    half, back = np.eye(3), np.eye(3)
    half[:2, 2], back[:2, 2] = 0.5, -0.5  # (0, 0) is a centre in OpenCV, a corner when scaling
    to_small = back @ scale @ half
    whole = np.linalg.inv(to_small) @ np.vstack([found.matrix, [0, 0, 1]]) @ to_small
    return Alignment(whole[:2], found.outcome, found.matches, found.inliers)


def moved_window(window: Window, alignment: Alignment, size: tuple[int, int]) -> Window:
    """Give the rows and columns, within ``size`` (H, W), that a moved window reaches."""
    return _reached(window, alignment.matrix, size) if alignment.accepted else window


def cut_moved(
    plane: npt.NDArray[Any],
    window: Window,
    alignment: Alignment,
    *,
    beyond: float = 0.0,
) -> npt.NDArray[Any]:
    """Cut ``window`` out of a plane that was moved, without moving the rest of it.

    Args:
        plane: (H, W), a bool mask (moved by the nearest pixel) or float32 logits (bilinear).
        window: rows and columns of the result.
        alignment: what moves it.
        beyond: what comes from beyond the plane.

    Returns:
        (h, w) of the same kind.
    """
    if not alignment.accepted:
        return plane[window]
    size = (plane.shape[0], plane.shape[1])
    inverse = np.linalg.inv(np.vstack([alignment.matrix, [0, 0, 1]]))
    source = _reached(window, inverse[:2], size)
    height, width = (part.stop - part.start for part in window)
    if min(part.stop - part.start for part in source) < 1:
        return np.full((height, width), beyond).astype(plane.dtype)
    starts = [np.array([rows_cols[1].start, rows_cols[0].start]) for rows_cols in (source, window)]
    matrix = alignment.matrix.copy()
    matrix[:, 2] += matrix[:, :2] @ starts[0] - starts[1]
    is_mask = plane.dtype == np.bool_
    moved = cv2.warpAffine(
        np.ascontiguousarray(plane[source]).view(np.uint8 if is_mask else np.float32),
        matrix,
        (width, height),
        flags=cv2.INTER_NEAREST if is_mask else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(beyond,),
    )
    return np.asarray(moved).view(plane.dtype)


def _reached(window: Window, matrix: Matrix, size: tuple[int, int]) -> Window:
    """Bounds of a moved window with a pixel to spare, within ``size`` (H, W); may be empty."""
    rows, cols = ((part.start, part.stop - 1) for part in window)
    corners = np.array([(x, y, 1) for x in cols for y in rows], np.float64)
    places = corners @ matrix.T  # (4, 2) x and y
    low, high = np.floor(places.min(axis=0)) - 1, np.ceil(places.max(axis=0)) + 2
    bounds = [
        slice(int(np.clip(low[axis], 0, side)), int(np.clip(high[axis], 0, side)))
        for axis, side in ((1, size[0]), (0, size[1]))
    ]
    return bounds[0], bounds[1]


def _similarity(pairs: npt.NDArray[np.float32], size: tuple[int, int], guard: Guard) -> Alignment:
    """Fit a similarity to matches (m, 2, 2), and believe it or not."""
    if len(pairs) < guard.matches:
        return unaligned("few matches", matches=len(pairs))
    start, end = (np.ascontiguousarray(pairs[:, side]) for side in (0, 1))
    matrix, inside = cv2.estimateAffinePartial2D(
        start, end, method=cv2.RANSAC, ransacReprojThreshold=guard.ransac_px
    )
    if matrix is None or not np.isfinite(matrix).all():
        return unaligned("no transform", matches=len(pairs))
    found, inliers = np.asarray(matrix, np.float64), int(inside.sum())
    broken = check(found, size, inliers, guard=guard)
    if broken is not None:
        return unaligned(broken, matches=len(pairs), inliers=inliers)
    return Alignment(found, "accepted", len(pairs), inliers)


def _matches(moving: Grey, fixed: Grey, guard: Guard) -> npt.NDArray[np.float32] | None:
    """Best matches (m, 2, 2): place in ``moving`` and in ``fixed``, x and y; None: no corners."""
    orb = cv2.ORB.create(nfeatures=guard.features)
    places, words = [], []
    for picture in (moving, fixed):
        corners, described = orb.detectAndCompute(picture, None)
        if described is None or not len(corners):
            return None
        places.append(corners)
        words.append(described)
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)
    found = sorted(matcher.match(*words), key=lambda m: (m.distance, m.queryIdx, m.trainIdx))
    kept = found[: max(round(len(found) * guard.share), guard.matches)]
    return np.array(
        [[places[0][m.queryIdx].pt, places[1][m.trainIdx].pt] for m in kept], np.float32
    ).reshape(-1, 2, 2)
