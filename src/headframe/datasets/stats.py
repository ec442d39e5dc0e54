"""Statistics of a data set's bands and classes in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headframe.core.classmap import IGNORE_INDEX
from headframe.core.errors import DatasetError
from headframe.core.progress import SILENT, Progress
from headframe.core.sensors import get_sensor
from headframe.datasets.chips import ChipArrays, ChipDataset
from headframe.datasets.manifest import BandStatistics, Statistics

PERCENTILES = (1, 2, 5, 25, 50, 75, 95, 98, 99)


@dataclass(frozen=True)
class Bins:
    """Regular bins of a histogram; what lies beyond an end counts in the end bin.

    Attributes:
        low: centre of the first bin.
        width: of every bin; percentiles are centres, so they are off by half of it at most.
        count: bins.
    """

    low: float
    width: float
    count: int


BINS = {
    "reflectance": Bins(-0.5, 1e-4, 25_001),
    "db": Bins(-80.0, 0.01, 12_001),
    "power": Bins(0.0, 1e-3, 100_001),
}
"""Reflectance -0.5 to 2 by 0.0001 (exact for numbers stored x 10,000), decibels -80 to 40 by
0.01, linear power 0 to 100 by 0.001."""


class BandTally:
    """Running mean, variance, extremes and histogram of one band.

    Means and variances of blocks are merged pairwise (Chan, Golub, LeVeque 1983), in float64.
    """

    def __init__(self, bins: Bins) -> None:
        self.bins = bins
        self.n = 0
        self.mean = 0.0
        self.squares = 0.0
        self.minimum = np.inf
        self.maximum = -np.inf
        self.histogram = np.zeros(bins.count, np.int64)

    def add(self, values: npt.NDArray[np.floating]) -> None:
        """Count finite values (N,)."""
        if values.size == 0:
            return
        block = values.astype(np.float64)
        mean = float(block.mean())
        total = self.n + block.size
        delta = mean - self.mean
        self.squares += float(((block - mean) ** 2).sum())
        self.squares += delta**2 * self.n * block.size / total
        self.mean += delta * block.size / total
        self.n = total
        self.minimum = min(self.minimum, float(block.min()))
        self.maximum = max(self.maximum, float(block.max()))
        place = np.rint((block - self.bins.low) / self.bins.width)
        place = place.clip(0, self.bins.count - 1).astype(np.int64)
        self.histogram += np.bincount(place, minlength=self.bins.count)

    @property
    def std(self) -> float:
        """Population standard deviation."""
        return float(np.sqrt(self.squares / self.n))

    def percentiles(self, wanted: Sequence[float]) -> list[float]:
        """Centres of the bins that hold the percentiles, within the extremes."""
        reached = np.cumsum(self.histogram)
        ranks = np.maximum(np.ceil(np.asarray(wanted) / 100 * self.n), 1)
        centres = self.bins.low + self.bins.width * np.searchsorted(reached, ranks)
        return [float(v) for v in np.clip(centres, self.minimum, self.maximum)]


def measure(
    dataset: ChipDataset, *, split: str | None = None, progress: Progress = SILENT
) -> Statistics:
    """Measure bands and classes, reading every chip once.

    Args:
        dataset: the data set.
        split: measured alone; all splits by default.
        progress: told of every chip.

    Raises:
        DatasetError: no chip, or no pixel with data.
    """
    chips = dataset.chips(split)
    sensor = get_sensor(dataset.manifest.sensor)
    tallies = [BandTally(BINS[sensor.part(band).quantity]) for band in dataset.bands]
    names = dataset.manifest.class_map.names
    labels = np.zeros(len(names), np.int64)
    pixels = missing = read = labelled = 0
    for _, arrays in dataset.readable(split, target="full", progress=progress):
        valid = ~np.isnan(arrays.image[0])
        for tally, band in zip(tallies, arrays.image, strict=True):
            tally.add(band[valid])
        labels += count_classes(arrays, len(names))
        labelled += int((arrays.label[valid] < len(names)).sum())
        pixels += valid.size
        missing += valid.size - int(valid.sum())
        read += 1
    if pixels == missing:
        raise DatasetError(
            f"{dataset.root}: no chip with data in split {split or 'all'}. "
            "Check it with `headframe dataset check`."
        )
    return Statistics(
        split=split or "all",
        chips=read,
        skipped=len(chips) - read,
        pixels=pixels,
        nodata_share=missing / pixels,
        resolution=max(tally.bins.width for tally in tallies),
        bands=tuple(_band(n, t) for n, t in zip(dataset.bands, tallies, strict=True)),
        classes={name: float(labels[i] / (labelled or 1)) for i, name in enumerate(names)},
    )


def count_classes(arrays: ChipArrays, count: int) -> npt.NDArray[np.int64]:
    """Count the labelled pixels of a chip by class of its data set (``count`` of them).

    A pixel of several components counts for each of them, and one of none for the background.
    """
    known = arrays.label != IGNORE_INDEX
    if arrays.bits is None:
        return np.bincount(arrays.label[known], minlength=count)[:count]
    bits = arrays.bits[known]
    each = [int((bits >> place & 1).sum()) for place in range(count - 1)]
    return np.array([int((bits == 0).sum()), *each], np.int64)


def _band(name: str, tally: BandTally) -> BandStatistics:
    found = tally.percentiles(PERCENTILES)
    return BandStatistics(
        name=name,
        mean=round(tally.mean, 7),
        std=round(tally.std, 7),
        minimum=round(tally.minimum, 7),
        maximum=round(tally.maximum, 7),
        percentiles={f"p{p}": round(v, 7) for p, v in zip(PERCENTILES, found, strict=True)},
    )
