"""How good instances are: average precision, F1 of objects, F1 and IoU of pixels.

The paper's F1 and mIoU cannot be on one basis (methods.md, section 1.7): where both are of pooled
pixels, F1 = 2 IoU / (1 + IoU), and an mIoU of 60.5 % goes with 75.4 %, not 70.2 %. So three are
given: F1 of objects at a mask IoU of 0.5, which looks at no pixel beyond the matching; F1 and IoU
of pooled pixels; and both taken photograph by photograph, then averaged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from headframe.core.detections import Detections
from headframe.core.errors import DatasetError, UnknownNameError
from headframe.metrics.bootstrap import bootstrap_statistic, drawn_scores
from headframe.metrics.confusion import Counts
from headframe.metrics.detection import CocoPhotographs, ap_difference
from headframe.metrics.matching import Bools, Kind, Matches, match
from headframe.metrics.scores import Mode, scores

Basis = Literal["instance", "pooled", "imagewise"]
AP_NAMES = tuple(f"{kind}_{name}" for kind in ("mask", "box") for name in ("ap", "ap50", "ap75"))
NAMES = (
    *AP_NAMES,
    "precision",
    "recall",
    "f1",
    "f1_imagewise",
    "pixel_f1",
    "pixel_f1_imagewise",
    "iou",
    "iou_imagewise",
)
"""Measures of a class: ``precision``, ``recall`` and ``f1`` of objects at an IoU of 0.5, pooled;
``pixel_f1`` and ``iou`` of pooled pixels; ``_imagewise``: mean over photographs."""

TABLE_II = ("Dataset", "Model", "F1-score", "mIoU")
TABLE_III = ("Class", "F1-score", "IoU")


@dataclass(frozen=True)
class InstanceReport:
    """Measures of many photographs, each 0 to 1 or NaN.

    Attributes:
        images: how many photographs.
        per_class: class -> measure (``NAMES``) -> value.
        mean: measure -> mean over classes that have a value; its ``iou`` is mIoU.
    """

    images: int
    per_class: Mapping[str, Mapping[str, float]]
    mean: Mapping[str, float]


class InstanceEvaluation:
    """Collects photographs one by one and scores them.

    Memory grows by run lengths and counts, not by masks.

    Attributes:
        classes: class to number.
        matches: of masks, photograph by photograph.
        box_matches: of boxes.
        objects: (K + 1, K + 1) counts of objects of each photograph: on the diagonal what was
            found, in the first row false alarms, in the first column what was missed.
        pixels: likewise of pixels.
    """

    def __init__(self, classes: Mapping[str, int], *, score: float = 0.5) -> None:
        """Start empty.

        Args:
            classes: class to number; all that truth and detections may hold.
            score: detections below it count for average precision alone.
        """
        self.classes = dict(sorted(classes.items(), key=lambda item: item[1]))
        self.matches: list[Matches] = []
        self.box_matches: list[Matches] = []
        self.objects: list[Counts] = []
        self.pixels: list[Counts] = []
        self._score = score
        self._coco = CocoPhotographs(self.classes)

    def update(self, truth: Detections, found: Detections, *, crowd: Bools | None = None) -> None:
        """Add one photograph.

        Args:
            truth: true objects with masks and boxes; scores say nothing.
            found: detections of any score, at best also those below 0.5, which average precision
                needs.
            crowd: (m,) bool, which of ``truth`` are groups nobody told apart: they and what was
                found on them count for nothing.

        Raises:
            GridMismatchError: they are not of one photograph.
            DatasetError: a label is no class.
        """
        for name, labels in (("truth", truth.labels), ("detections", found.labels)):
            strange = sorted(set(labels.tolist()) - set(self.classes.values()))
            if strange:
                raise DatasetError(
                    f"the {name} hold class {strange[0]}; there are {self.classes}. Correct the "
                    "labels or the classes."
                )
        self.matches.append(match(truth, found, kind="mask", crowd=crowd))
        self.box_matches.append(match(truth, found, kind="box", crowd=crowd))
        self.objects.append(self._count_objects(self.matches[-1]))
        self.pixels.append(self._count_pixels(truth, found, crowd))
        self._coco.add(truth, found, crowd=crowd)

    def report(self) -> InstanceReport:
        """Score what was collected.

        Raises:
            DatasetError: nothing was.
        """
        if not self.matches:
            raise DatasetError("there is no photograph to score. Add some.")
        per_class: dict[str, dict[str, float]] = {name: {} for name in self.classes}
        kinds: tuple[Kind, Kind] = ("mask", "box")
        for kind in kinds:
            found = self._coco.average_precision(kind)
            for name, measures in per_class.items():
                measures[f"{kind}_ap"] = found[name].ap
                measures[f"{kind}_ap50"] = found[name].ap50
                measures[f"{kind}_ap75"] = found[name].ap75
        for at, measures in enumerate(per_class.values(), start=1):
            measures.update(self._counted(at))
        mean = {name: _mean([m[name] for m in per_class.values()]) for name in NAMES}
        return InstanceReport(len(self.matches), per_class, mean)

    def _counted(self, at: int) -> dict[str, float]:
        """Measures of objects and pixels of the class at place ``at``."""
        objects, pixels = (
            {mode: scores(c, mode=mode).of(at) for mode in _MODES}
            for c in (self.objects, self.pixels)
        )
        return {
            "precision": objects["pooled"]["precision"],
            "recall": objects["pooled"]["recall"],
            "f1": objects["pooled"]["f1"],
            "f1_imagewise": objects["imagewise"]["f1"],
            "pixel_f1": pixels["pooled"]["f1"],
            "pixel_f1_imagewise": pixels["imagewise"]["f1"],
            "iou": pixels["pooled"]["iou"],
            "iou_imagewise": pixels["imagewise"]["iou"],
        }

    def _count_objects(self, found: Matches) -> Counts:
        counts = np.zeros((len(self.classes) + 1,) * 2, np.int64)
        sure = found.scores >= self._score
        for at, number in enumerate(self.classes.values(), start=1):
            ours = sure & (found.labels == number) & ~found.ignored[0]
            counts[at, at] = int((ours & found.true[0]).sum())
            counts[0, at] = int(ours.sum()) - counts[at, at]
            counts[at, 0] = int((found.wanted == number).sum()) - counts[at, at]
        return counts

    def _count_pixels(self, truth: Detections, found: Detections, crowd: Bools | None) -> Counts:
        counts = np.zeros((len(self.classes) + 1,) * 2, np.int64)
        crowds = np.zeros(len(truth), np.bool_) if crowd is None else crowd
        for at, number in enumerate(self.classes.values(), start=1):
            own = truth.labels == number
            theirs = truth.masks[own & ~crowds].any(axis=0)
            ours = found.masks[(found.labels == number) & (found.scores >= self._score)].any(axis=0)
            unknown = truth.masks[own & crowds].any(axis=0) & ~theirs
            counts[at, at] = int((ours & theirs).sum())
            counts[0, at] = int((ours & ~theirs & ~unknown).sum())
            counts[at, 0] = int((theirs & ~ours).sum())
        return counts


_MODES: tuple[Mode, Mode] = ("pooled", "imagewise")


def difference(
    first: InstanceEvaluation,
    second: InstanceEvaluation,
    metric: str = "mask_ap50",
    *,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Paired bootstrap interval (95 %) of the difference of two methods, over photographs.

    Args:
        first: one method.
        second: the other, updated with the same photographs in the same order.
        metric: one of ``NAMES`` that is pooled; the mean over classes.
        draws: number of resamples.
        seed: of the resampling.

    Returns:
        Lower and upper end of ``first`` minus ``second``; NaN with fewer than two photographs.

    Raises:
        UnknownNameError: no such metric, or one of single photographs.
        DatasetError: they differ in classes, or in the number of photographs.
    """
    if metric not in _POOLED:
        raise UnknownNameError.of("metric", metric, _POOLED)
    if first.classes != second.classes or len(first.matches) != len(second.matches):
        raise DatasetError(
            f"{len(first.matches)} photographs with classes {list(first.classes)} cannot be "
            f"compared with {len(second.matches)} with {list(second.classes)}; score both methods "
            "on the same photographs."
        )
    if metric in AP_NAMES:
        kind, name = metric.split("_")
        sides = [e.matches if kind == "mask" else e.box_matches for e in (first, second)]
        numbers = list(first.classes.values())
        return ap_difference(*sides, labels=numbers, metric=name, draws=draws, seed=seed)
    of_pixels = metric in ("pixel_f1", "iou")
    counts = [e.pixels if of_pixels else e.objects for e in (first, second)]
    plain = metric.removeprefix("pixel_")

    def apart(times: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        ours, theirs = (drawn_scores(side, times, plain, None) for side in counts)
        return ours - theirs

    return bootstrap_statistic(len(counts[0]), apart, draws=draws, seed=seed)


_POOLED = tuple(name for name in NAMES if not name.endswith("_imagewise"))


def table_two(
    results: Mapping[str, Mapping[str, InstanceReport]],
    *,
    f1: Basis = "instance",
    miou: Mode = "pooled",
) -> list[tuple[str, str, str, str]]:
    """Lay results out as the paper's Table II.

    Args:
        results: data set -> method -> measures, in the order wanted.
        f1: basis of F1; the paper does not say which is its own.
        miou: basis of mIoU.

    Returns:
        Rows under ``TABLE_II``, percentages with one decimal, ``-`` where there is no value; the
        data set's name in its first row only.
    """
    rows = []
    for dataset, methods in results.items():
        shown = dataset
        for method, report in methods.items():
            pair = _percent(report.mean[_F1[f1]]), _percent(report.mean[_IOU[miou]])
            rows.append((shown, method, *pair))
            shown = ""
    return rows


def table_three(
    report: InstanceReport, *, f1: Basis = "instance", iou: Mode = "pooled"
) -> list[tuple[str, str, str]]:
    """Lay one method's classes out as the paper's Table III; as ``table_two``."""
    return [
        (name, _percent(measures[_F1[f1]]), _percent(measures[_IOU[iou]]))
        for name, measures in report.per_class.items()
    ]


_F1: Mapping[Basis, str] = {
    "instance": "f1",
    "pooled": "pixel_f1",
    "imagewise": "pixel_f1_imagewise",
}
_IOU: Mapping[Mode, str] = {"pooled": "iou", "imagewise": "iou_imagewise"}


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.1f}"


def _mean(values: Sequence[float]) -> float:
    known: npt.NDArray[np.float64] = np.array([v for v in values if not np.isnan(v)])
    return float(known.mean()) if known.size else float("nan")
