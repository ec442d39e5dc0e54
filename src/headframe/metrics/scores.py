"""Scores from confusion matrices, with what is summed and what is averaged said aloud."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from headframe.core.errors import GridMismatchError
from headframe.metrics.confusion import Counts

Mode = Literal["pooled", "imagewise"]
Floats = npt.NDArray[np.float64]

METRICS = ("iou", "f1", "precision", "recall", "accuracy", "jaccard_accuracy")
"""Per class. ``accuracy`` is (TP + TN) / all; ``jaccard_accuracy`` is TP / (TP + FP + FN)."""


@dataclass(frozen=True)
class ZeroDivision:
    """What a score is where its denominator is 0 (NaN: left out of every mean).

    Attributes:
        iou: class neither present nor predicted.
        f1: class neither present nor predicted.
        precision: class never predicted.
        recall: class not present.
        accuracy: no pixel counted at all.
    """

    iou: float = float("nan")
    f1: float = float("nan")
    precision: float = float("nan")
    recall: float = float("nan")
    accuracy: float = float("nan")


LEFT_OUT = ZeroDivision()
"""An absent class is left out of means."""

PAPER = ZeroDivision(iou=1.0, f1=1.0, precision=0.0, recall=0.0, accuracy=1.0)
"""Absent counts 1 for IoU and F1 and 0 for precision and recall: the only reading that explains
the tables of the component paper (methods.md 3.5) and of MineSegSAT (6.6)."""


@dataclass(frozen=True)
class Scores:
    """Scores of K classes.

    Attributes:
        per_class: metric -> (K,) float64, each in 0..1 or NaN.
        overall_accuracy: correct pixels / counted pixels (imagewise: mean over images), or NaN.
    """

    per_class: Mapping[str, Floats]
    overall_accuracy: float

    def of(self, index: int) -> dict[str, float]:
        """Return the scores of one class."""
        return {name: float(values[index]) for name, values in self.per_class.items()}

    def mean(self, *, skip_background: bool = False) -> dict[str, float]:
        """Mean over classes, NaN left out; NaN where no class has a score."""
        first = 1 if skip_background else 0
        return {name: float(nanmean(values[first:])) for name, values in self.per_class.items()}


def scores(
    confusions: Sequence[Counts],
    *,
    mode: Mode = "pooled",
    zero_division: ZeroDivision = LEFT_OUT,
) -> Scores:
    """Score predictions.

    Args:
        confusions: one (K, K) matrix an image, rows the truth; at least one.
        mode: ``pooled`` adds the matrices up and scores the sum; ``imagewise`` scores each image
            and takes the mean over images. They differ: in the first a pixel counts the same
            everywhere, in the second an image does.
        zero_division: the score where a denominator is 0, metric by metric.

    Returns:
        Scores of every class. In ``pooled`` mode F1 = 2 IoU / (1 + IoU).

    Raises:
        GridMismatchError: no matrix, or matrices of different sizes.
    """
    if len(confusions) == 0 or len({c.shape for c in confusions}) != 1:
        raise GridMismatchError(
            f"{len(confusions)} confusion matrices of {len({c.shape for c in confusions})} sizes "
            "cannot be scored; give at least one, all of one size."
        )
    stack = np.stack(list(confusions)).astype(np.float64)  # (N, K, K)
    if mode == "pooled":
        stack = stack.sum(axis=0, keepdims=True)
    per_image = per_image_scores(stack, zero_division)
    total = stack.sum(axis=(1, 2))
    correct = np.trace(stack, axis1=1, axis2=2)
    overall = _ratio(correct, total, zero_division.accuracy)
    return Scores(
        {name: nanmean(values) for name, values in per_image.items()}, float(nanmean(overall))
    )


def outcome_counts(counts: Counts) -> dict[str, npt.NDArray[np.int64]]:
    """Outcomes per class of one (K, K) matrix: ``tp``, ``fp``, ``fn``, ``tn``, each (K,)."""
    tp = np.diagonal(counts).copy()
    fp = counts.sum(axis=0) - tp
    fn = counts.sum(axis=1) - tp
    return {"tp": tp, "fp": fp, "fn": fn, "tn": counts.sum() - tp - fp - fn}


def per_image_scores(stack: Floats, zero: ZeroDivision) -> dict[str, Floats]:
    """Score each of a stack of matrices (N, K, K): metric -> (N, K); see ``scores``."""
    tp = np.diagonal(stack, axis1=1, axis2=2)
    predicted, present = stack.sum(axis=1), stack.sum(axis=2)
    union = predicted + present - tp
    pixels = np.broadcast_to(stack.sum(axis=(1, 2))[:, None], tp.shape)
    return {
        "iou": _ratio(tp, union, zero.iou),
        "f1": _ratio(2 * tp, predicted + present, zero.f1),
        "precision": _ratio(tp, predicted, zero.precision),
        "recall": _ratio(tp, present, zero.recall),
        "accuracy": _ratio(pixels - union + tp, pixels, zero.accuracy),
        "jaccard_accuracy": _ratio(tp, union, zero.iou),
    }


def _ratio(part: Floats, whole: Floats, empty: float) -> Floats:
    return np.divide(part, whole, out=np.full(whole.shape, empty, np.float64), where=whole > 0)


def nanmean(values: Floats) -> Floats:
    """Mean over the first axis without NaN; NaN where nothing is left."""
    known = ~np.isnan(values)
    return _ratio(
        np.where(known, values, 0.0).sum(axis=0),
        known.sum(axis=0).astype(np.float64),
        float("nan"),
    )
