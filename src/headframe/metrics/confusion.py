"""Confusion matrices: counting which class was called what."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from headframe.core.classmap import IGNORE_INDEX
from headframe.core.errors import DatasetError, GridMismatchError

Counts = npt.NDArray[np.int64]
"""(K, K) pixel counts, rows the truth, columns the prediction."""


def confusion(
    pred: npt.NDArray[np.integer],
    truth: npt.NDArray[np.integer],
    classes: int,
    ignore: int = IGNORE_INDEX,
) -> Counts:
    """Count pixels by true and predicted class.

    Args:
        pred: predicted class of each pixel, any shape, 0..classes-1. A pixel predicted as
            ``ignore`` (no data in the image) is left out too.
        truth: true class, same shape; ``ignore`` where it is not known.
        classes: number of classes K, background included, >= 2.
        ignore: the value that is not counted.

    Returns:
        (K, K) int64, rows the truth, columns the prediction. The sum is the number of pixels that
        neither side ignores.

    Raises:
        GridMismatchError: the shapes differ.
        DatasetError: a value is neither a class nor ``ignore``.
    """
    if pred.shape != truth.shape:
        raise GridMismatchError(
            f"prediction {pred.shape} and truth {truth.shape} differ in shape; bring both to "
            "one grid."
        )
    counted = (truth != ignore) & (pred != ignore)
    rows, cols = truth[counted].astype(np.int64), pred[counted].astype(np.int64)
    for name, values in (("truth", rows), ("prediction", cols)):
        if values.size and (values.min() < 0 or values.max() >= classes):
            wrong = [int(v) for v in np.unique(values) if not 0 <= v < classes]
            raise DatasetError(
                f"the {name} holds {wrong}, which is no class of 0..{classes - 1}; "
                f"correct the class map or set such pixels to {ignore}."
            )
    counts = np.bincount(rows * classes + cols, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


class ConfusionMatrix:
    """A confusion matrix that grows chip by chip, in constant memory.

    Attributes:
        counts: (K, K) int64, rows the truth, columns the prediction.
    """

    def __init__(self, classes: int, *, ignore: int = IGNORE_INDEX) -> None:
        """Start empty with ``classes`` classes."""
        self.classes = classes
        self.ignore = ignore
        self.counts: Counts = np.zeros((classes, classes), np.int64)

    def update(self, pred: npt.NDArray[np.integer], truth: npt.NDArray[np.integer]) -> Counts:
        """Add one chip; return its own counts. Arguments and errors as in ``confusion``."""
        added = confusion(pred, truth, self.classes, self.ignore)
        self.counts = self.counts + added
        return added


def without_truth(counts: Counts, index: int) -> Counts:
    """Leave out the pixels that truly are class ``index``, whatever they were called.

    A pixel of another class that is called ``index`` still counts as missed: mining under a
    wrongly seen cloud is not found.

    Args:
        counts: (K, K), rows the truth.
        index: the class left out, e.g. cloud.

    Returns:
        (K, K), row ``index`` zero.
    """
    kept = counts.copy()
    kept[index] = 0
    return kept


def total(confusions: Iterable[Counts], classes: int) -> Counts:
    """Sum confusion matrices (K, K); zeros (``classes``, ``classes``) where there are none."""
    result: Counts = np.zeros((classes, classes), np.int64)
    for counts in confusions:
        result = result + counts
    return result
