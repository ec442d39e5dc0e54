"""Which detection is which true object: COCO's greedy matching, photograph by photograph."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from faster_coco_eval.core import mask as rle_tools

from headframe.core.detections import Detections, Masks
from headframe.core.errors import GridMismatchError

Kind = Literal["mask", "box"]
Bools = npt.NDArray[np.bool_]
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""COCO's."""
MOST = 100
"""COCO counts so many detections of a class on one photograph, the surest."""


@dataclass(frozen=True, eq=False)
class Matches:
    """Detections of one photograph against its true objects.

    Attributes:
        labels: (n,) int64, class of each detection that counts, by class and falling score.
        scores: (n,) float32.
        true: (T, n) bool, whether it is a true object at each of ``IOU_THRESHOLDS``.
        ignored: (T, n) bool, whether it lies on a crowd and counts neither way.
        wanted: (m,) int64, class of each true object, crowds left out.
    """

    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    true: Bools
    ignored: Bools
    wanted: npt.NDArray[np.int64]


def match(
    truth: Detections, found: Detections, *, kind: Kind = "mask", crowd: Bools | None = None
) -> Matches:
    """Match as COCO does: the surest detection first, each to the best object that is left.

    A detection and an object must be of one class. Of equal scores the earlier is the surer. A
    detection on a crowd is ignored, and a crowd takes any number of them.

    Args:
        truth: true objects; their scores say nothing.
        found: detections of any score.
        kind: whether masks or boxes are compared.
        crowd: (m,) bool, which of ``truth`` are crowds; None: none of them.

    Raises:
        GridMismatchError: the photographs differ in size, or ``crowd`` has another length.
    """
    crowds = np.zeros(len(truth), np.bool_) if crowd is None else np.asarray(crowd, np.bool_)
    if truth.size != found.size or crowds.shape != truth.labels.shape:
        raise GridMismatchError(
            f"detections on {found.size} pixels with truth on {truth.size} and {crowds.size} crowd "
            f"marks for {len(truth)} objects cannot be matched; all must be of one photograph."
        )
    ious = _ious(truth, found, kind, crowds)
    kept: list[int] = []
    columns: list[tuple[Bools, Bools]] = []
    for label in np.unique(found.labels):
        ours = np.flatnonzero(found.labels == label)
        order = ours[np.argsort(-found.scores[ours], kind="stable")][:MOST]
        theirs = np.flatnonzero(truth.labels == label)
        theirs = theirs[np.argsort(crowds[theirs], kind="stable")]
        kept.extend(int(number) for number in order)
        columns.append(_greedy(ious[np.ix_(order, theirs)], crowds[theirs]))
    nothing = np.zeros((len(IOU_THRESHOLDS), 0), np.bool_)
    places = np.array(kept, np.int64)
    return Matches(
        labels=found.labels[places],
        scores=found.scores[places],
        true=np.concatenate([nothing, *(true for true, _ in columns)], axis=1),
        ignored=np.concatenate([nothing, *(ignored for _, ignored in columns)], axis=1),
        wanted=truth.labels[~crowds],
    )


def encode(masks: Masks) -> list[dict[str, Any]]:
    """Give masks (n, H, W) in COCO's compressed run lengths."""
    planes = np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8))
    return list(rle_tools.encode(planes)) if len(masks) else []


def coco_boxes(found: Detections) -> npt.NDArray[np.float64]:
    """Give boxes as COCO has them, (n, 4): x, y, width, height."""
    boxes = found.boxes.astype(np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _ious(
    truth: Detections, found: Detections, kind: Kind, crowds: Bools
) -> npt.NDArray[np.float64]:
    """IoU (n, m); with a crowd the share of the detection that lies on it."""
    if not (len(found) and len(truth)):
        return np.zeros((len(found), len(truth)))
    pair: tuple[Any, Any]
    if kind == "mask":
        pair = encode(found.masks), encode(truth.masks)
    else:
        pair = coco_boxes(found), coco_boxes(truth)
    ious = rle_tools.iou(*pair, [int(mark) for mark in crowds])
    return np.asarray(ious, np.float64).reshape(len(found), len(truth))


def _greedy(ious: npt.NDArray[np.float64], crowds: Bools) -> tuple[Bools, Bools]:
    """Match rows, the surest first, to columns, crowds last; true and ignored, (T, rows) each."""
    true = np.zeros((len(IOU_THRESHOLDS), len(ious)), np.bool_)
    ignored = true.copy()
    for level, threshold in enumerate(IOU_THRESHOLDS):
        free = np.ones(len(crowds), np.bool_)
        for row, values in enumerate(ious):
            for group in (~crowds, crowds):
                allowed = np.flatnonzero(group & (free | crowds) & (values >= threshold))
                if allowed.size:
                    # of equals the last, as in COCO's code
                    best = allowed[::-1][np.argmax(values[allowed][::-1])]
                    free[best] = False
                    true[level, row] = not crowds[best]
                    ignored[level, row] = crowds[best]
                    break
    return true, ignored
