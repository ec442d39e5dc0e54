"""What a water map must beat: a threshold on a normalised difference of two bands."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from headframe.core.classmap import IGNORE_INDEX
from headframe.core.errors import DatasetError, RecipeError, UnknownNameError
from headframe.core.indices import INDICES, normalized_difference
from headframe.core.progress import SILENT, Progress
from headframe.datasets.chips import Chip, ChipArrays, ChipDataset
from headframe.datasets.thresholds import otsu
from headframe.engine.samples import band_order
from headframe.metrics.confusion import Counts, confusion

Rule = Literal["otsu", "otsu-chip", "best"]
_BINS = 512
_PIXELS_A_CHIP = 20_000


@dataclass(frozen=True)
class IndexThreshold:
    """Which index, and from which value on a pixel is the target.

    Attributes:
        index: one of ``core.indices.INDICES``.
        threshold: a number; ``otsu``, Otsu's threshold of all pixels to learn from; ``otsu-chip``,
            that of each chip by itself; or ``best``, the number with the highest pooled IoU on
            what there is to learn from, the most that any fixed threshold can give.
    """

    index: str = "ndwi"
    threshold: float | Rule = 0.0

    def __post_init__(self) -> None:
        """Check both; raises UnknownNameError or RecipeError."""
        if self.index not in INDICES:
            raise UnknownNameError.of("index", self.index, INDICES)
        if isinstance(self.threshold, str) and self.threshold not in get_args(Rule):
            raise UnknownNameError.of("threshold", self.threshold, get_args(Rule))
        if not isinstance(self.threshold, str) and not np.isfinite(self.threshold):
            raise RecipeError(f"threshold is {self.threshold}; give a finite number.")


def threshold_fold(
    dataset: ChipDataset,
    *,
    train_chips: Sequence[Chip],
    test_chips: Sequence[Chip],
    options: IndexThreshold,
    progress: Progress = SILENT,
) -> tuple[list[Counts], float | None]:
    """Find a threshold on some chips and count its hits and misses on others.

    Args:
        dataset: where the chips are; labels are read as background and target.
        train_chips: chips to take the threshold from, where it is no number.
        test_chips: chips to score.
        options: which.
        progress: told of every chip.

    Returns:
        One (2, 2) confusion matrix for each of ``test_chips``, rows the truth, where a pixel
        without an index is background; and the threshold, None where each chip has its own.

    Raises:
        DatasetError: a band of the index is missing, or there is nothing to learn from.
    """
    order = band_order(dataset, INDICES[options.index])
    learns = options.threshold in ("otsu", "best")
    progress.start("Thresholds", len(train_chips) * learns + len(test_chips))
    limit = None
    if learns:
        limit = _learnt(_drawn(dataset, order, train_chips, progress), options, dataset)
    elif not isinstance(options.threshold, str):
        limit = float(options.threshold)
    found = []
    for chip in test_chips:
        arrays = dataset.read(chip, target="binary")
        index = _index_of(arrays, order)
        above = index >= (otsu(index) if limit is None else limit)
        found.append(confusion(above.astype(np.uint8), arrays.label, 2))
        progress.advance()
    progress.finish()
    return found, limit


def _index_of(arrays: ChipArrays, order: Sequence[int]) -> npt.NDArray[np.float64]:
    first, second = (arrays.image[place] for place in order)
    return normalized_difference(first, second)


def _drawn(
    dataset: ChipDataset, order: Sequence[int], chips: Sequence[Chip], progress: Progress
) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]]:
    """Index and label of labelled pixels of every chip, evenly spread, as many of each."""
    for chip in chips:
        arrays = dataset.read(chip, target="binary")
        index, label = _index_of(arrays, order).ravel(), arrays.label.ravel()
        known = np.flatnonzero(np.isfinite(index) & (label != IGNORE_INDEX))
        known = known[:: max(1, len(known) // _PIXELS_A_CHIP)]
        progress.advance()
        yield index[known], label[known]


def _learnt(
    drawn: Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]],
    options: IndexThreshold,
    dataset: ChipDataset,
) -> float:
    parts = list(drawn)
    index = np.concatenate([np.empty(0), *(index for index, _ in parts)]).clip(-1, 1)
    if index.size == 0:
        raise DatasetError(f"{dataset.root}: no labelled pixel to take a threshold from.")
    if options.threshold == "otsu":
        return otsu(index)
    target = np.concatenate([label for _, label in parts]) == 1
    edges = np.linspace(-1, 1, _BINS + 1)
    hits = np.histogram(index[target], edges)[0][::-1].cumsum()[::-1]
    false = np.histogram(index[~target], edges)[0][::-1].cumsum()[::-1]
    iou = hits / np.maximum(target.sum() + false, 1)
    best = np.flatnonzero(iou == iou.max())  # the middle of what is alike
    return float(edges[int(best[len(best) // 2])])
