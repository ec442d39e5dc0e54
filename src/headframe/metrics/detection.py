"""COCO's average precision, for masks and for boxes, and how sure a difference of two is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_coco_eval import COCO, COCOeval_faster

from headframe.core.detections import Detections
from headframe.metrics.bootstrap import bootstrap_statistic
from headframe.metrics.matching import (
    IOU_THRESHOLDS,
    MOST,
    Bools,
    Kind,
    Matches,
    coco_boxes,
    encode,
)

Floats = npt.NDArray[np.float64]
_RECALLS = np.linspace(0, 1, 101)
_NAMES = ("ap", "ap50", "ap75")
_IOU_TYPES: Mapping[Kind, str] = {"mask": "segm", "box": "bbox"}


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision, 0 to 1; NaN where no true object is.

    Attributes:
        ap: mean over IoU thresholds from 0.5 to 0.95.
        ap50: at an IoU of 0.5.
        ap75: at an IoU of 0.75.
    """

    ap: float
    ap50: float
    ap75: float


class CocoPhotographs:
    """Photographs as COCO's annotations, collected one by one; masks as run lengths."""

    def __init__(self, classes: Mapping[str, int]) -> None:
        """Start without photographs; ``classes`` are names and numbers."""
        self._classes = dict(classes)
        self._images: list[dict[str, Any]] = []
        self._truth: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []

    def add(self, truth: Detections, found: Detections, *, crowd: Bools | None = None) -> None:
        """Add one photograph; see ``matching.match``."""
        image = len(self._images) + 1
        height, width = truth.size
        self._images.append({"id": image, "height": height, "width": width})
        crowds = np.zeros(len(truth), np.bool_) if crowd is None else crowd
        for entry, mark in zip(_entries(truth, image), crowds, strict=True):
            entry["id"] = len(self._truth) + 1
            entry["iscrowd"] = int(mark)
            self._truth.append(entry)
        for entry, score in zip(_entries(found, image), found.scores, strict=True):
            entry["score"] = float(score)
            self._found.append(entry)

    def average_precision(self, kind: Kind) -> dict[str, AveragePrecision]:
        """Score with faster-coco-eval.

        Returns:
            By class, all classes; the mean over those with true objects under ``""``.
        """
        categories = [{"id": number, "name": name} for name, number in self._classes.items()]
        content = {"images": self._images, "annotations": self._truth, "categories": categories}
        truth = COCO(content, use_deepcopy=True)
        found = truth.loadRes([self._of_kind(entry, kind) for entry in self._found])
        run = COCOeval_faster(truth, found, _IOU_TYPES[kind], rle_iou_max_workers=1)
        run.params.maxDets = [1, 10, MOST]
        run.evaluate()
        run.accumulate()
        precision = np.asarray(run.eval["precision"], np.float64)[..., 0, -1]  # (T, R, K)
        numbers = [int(number) for number in run.params.catIds]
        columns = {
            name: _of_levels(precision[:, :, numbers.index(number)].mean(axis=1))
            for name, number in self._classes.items()
        }
        return columns | {"": _mean(columns.values())}

    @staticmethod
    def _of_kind(entry: dict[str, Any], kind: Kind) -> dict[str, Any]:
        left_out = "bbox" if kind == "mask" else "segmentation"
        return {key: value for key, value in entry.items() if key != left_out}


def drawn_average_precision(
    matches: Sequence[Matches], times: Floats, *, label: int, level: int
) -> Floats:
    """Give the average precision of one class when photographs count several times or not at all.

    The same figures as COCO's code gives for as many copies of each photograph.

    Args:
        matches: of S photographs.
        times: (D, S), how often each is drawn.
        label: the class.
        level: which of ``IOU_THRESHOLDS``.

    Returns:
        (D,), 0 to 1; NaN for draws without a true object.
    """
    rows = [np.flatnonzero(m.labels == label) for m in matches]
    image = np.repeat(np.arange(len(matches)), [len(r) for r in rows])
    scores = np.concatenate([m.scores[r] for m, r in zip(matches, rows, strict=True)])
    true = np.concatenate([m.true[level, r] for m, r in zip(matches, rows, strict=True)])
    counted = ~np.concatenate([m.ignored[level, r] for m, r in zip(matches, rows, strict=True)])
    order = np.argsort(-scores, kind="stable")
    image, true, counted = image[order], true[order], counted[order]
    wanted = times @ np.array([(m.wanted == label).sum() for m in matches], np.float64)
    values = np.full(len(times), np.nan)
    for draw in np.flatnonzero(wanted > 0):
        weight = times[draw, image] * counted
        values[draw] = _area(np.cumsum(weight * true), np.cumsum(weight), wanted[draw])
    return values


def ap_difference(
    first: Sequence[Matches],
    second: Sequence[Matches],
    *,
    labels: Sequence[int],
    metric: str = "ap50",
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Paired bootstrap interval (95 %) of the difference of two models' average precision.

    Whole photographs are drawn, the same for both models.

    Args:
        first: matches of each photograph.
        second: of the other model, the same photographs in the same order.
        labels: classes, over which the mean is taken.
        metric: ``ap``, ``ap50`` or ``ap75``.
        draws: number of resamples.
        seed: of the resampling.

    Returns:
        Lower and upper end of ``first`` minus ``second``; NaN with fewer than two photographs.

    Raises:
        ValueError: different numbers of photographs, or no such metric.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} photographs cannot be paired")
    if metric not in _NAMES:
        raise ValueError(f"no average precision {metric!r}; there are {', '.join(_NAMES)}")
    levels = {"ap": range(len(IOU_THRESHOLDS)), "ap50": range(1), "ap75": range(5, 6)}[metric]

    def of(matches: Sequence[Matches], times: Floats) -> Floats:
        planes = [
            np.mean(
                [drawn_average_precision(matches, times, label=n, level=at) for at in levels],
                axis=0,
            )
            for n in labels
        ]
        stack = np.stack(planes)  # (K, D)
        known = ~np.isnan(stack)
        total, count = np.where(known, stack, 0.0).sum(axis=0), known.sum(axis=0)
        empty = np.full(len(times), np.nan)
        return np.asarray(np.divide(total, count, out=empty, where=count > 0), np.float64)

    def difference(times: Floats) -> Floats:
        return of(first, times) - of(second, times)

    return bootstrap_statistic(len(first), difference, draws=draws, seed=seed)


def _entries(found: Detections, image: int) -> list[dict[str, Any]]:
    codes, boxes = encode(found.masks), coco_boxes(found)
    areas = found.masks.sum(axis=(1, 2))
    return [
        {
            "image_id": image,
            "category_id": int(label),
            "segmentation": code,
            "bbox": box.tolist(),
            "area": float(area),
        }
        for label, code, box, area in zip(found.labels, codes, boxes, areas, strict=True)
    ]


def _of_levels(levels: Floats) -> AveragePrecision:
    """Average precision of (T,) values, -1 where there is no true object."""
    if (levels < 0).all():
        return AveragePrecision(np.nan, np.nan, np.nan)
    return AveragePrecision(float(levels.mean()), float(levels[0]), float(levels[5]))


def _mean(values: Any) -> AveragePrecision:  # noqa: ANN401 - any iterable of them
    table = np.array([[v.ap, v.ap50, v.ap75] for v in values]).reshape(-1, 3)
    known = table[~np.isnan(table[:, 0])]
    if not len(known):
        return AveragePrecision(np.nan, np.nan, np.nan)
    return AveragePrecision(*(float(value) for value in known.mean(axis=0)))


def _area(true: Floats, counted: Floats, wanted: float) -> float:
    """Mean over 101 recalls of the best precision at that recall or a higher one."""
    if not len(true):
        return 0.0
    precision = np.divide(true, counted, out=np.zeros(len(true)), where=counted > 0)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(true / wanted, _RECALLS, side="left")
    return float(np.append(best, 0.0)[places].mean())
