"""The same object in frame after frame: one number, by overlap and by nearness."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from faster_coco_eval.core import mask as rle_tools
from scipy.optimize import linear_sum_assignment

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""
_NEVER = 1e6


@dataclass(frozen=True)
class TrackOptions:
    """When two boxes are one object.

    Attributes:
        overlap: IoU of boxes from which on they are taken for one.
        reach: boxes that overlap less are one if their centres are nearer than this share of the
            mean root of their areas.
        patience_s: a track that is not seen for longer is ended.
    """

    overlap: float = 0.2
    reach: float = 0.75
    patience_s: float = 1.0


@dataclass
class _Track:
    number: int
    category: int
    box: Box
    seen_s: float


class Tracker:
    """Numbers objects, frame by frame; memory holds what was seen of late.

    Frames are matched by the Hungarian method over all pairs of one class: boxes that overlap
    before those that are merely near, each pair at most once.
    """

    def __init__(self, options: TrackOptions | None = None) -> None:
        """Start without tracks; the first is 1."""
        self._options = options or TrackOptions()
        self._tracks: list[_Track] = []
        self._next = 1

    def update(
        self, boxes: Sequence[Box], categories: Sequence[int], *, at_s: float
    ) -> tuple[int, ...]:
        """Number the objects of the next frame.

        Args:
            boxes: of its objects.
            categories: of its objects; an object never changes its own.
            at_s: its time, not before the last frame's.

        Returns:
            A number for each, 1 and up, all different.
        """
        patience = self._options.patience_s
        self._tracks = [t for t in self._tracks if at_s - t.seen_s <= patience]
        numbers = [0] * len(boxes)
        for row, column in self._matches(boxes, categories):
            track = self._tracks[column]
            track.box, track.seen_s = boxes[row], at_s
            numbers[row] = track.number
        for row, number in enumerate(numbers):
            if not number:
                numbers[row] = self._next
                self._tracks.append(_Track(self._next, categories[row], boxes[row], at_s))
                self._next += 1
        return tuple(numbers)

    def _matches(self, boxes: Sequence[Box], categories: Sequence[int]) -> list[tuple[int, int]]:
        if not len(boxes) or not self._tracks:
            return []
        new = np.asarray(boxes, np.float64).reshape(-1, 4)
        old = np.asarray([track.box for track in self._tracks], np.float64)
        overlap = np.asarray(rle_tools.iou(new, old, [0] * len(old))).reshape(len(new), len(old))
        away = _away(new, old)
        cost = np.where(away < self._options.reach, 1 + away, _NEVER)
        cost = np.where(overlap >= self._options.overlap, 1 - overlap, cost)
        kinds = np.array([track.category for track in self._tracks])
        cost = np.where(np.asarray(categories)[:, None] == kinds[None], cost, _NEVER)
        rows, columns = linear_sum_assignment(cost)
        return [
            (int(row), int(column))
            for row, column in zip(rows, columns, strict=True)
            if cost[row, column] < _NEVER
        ]


def _away(new: npt.NDArray[np.float64], old: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Distances of centres (n, m) in mean roots of the areas."""
    centres = [boxes[:, :2] + boxes[:, 2:] / 2 for boxes in (new, old)]
    roots = [np.sqrt(boxes[:, 2:].prod(axis=1)) for boxes in (new, old)]
    distance = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=-1)
    size = (roots[0][:, None] + roots[1][None]) / 2
    return np.asarray(distance / np.maximum(size, 1e-6), np.float64)
