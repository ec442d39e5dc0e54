"""What a map must beat: boosted trees that look at one pixel at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from headframe.core.classmap import IGNORE_INDEX
from headframe.core.errors import DatasetError, MissingExtraError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.chips import Chip, ChipArrays, ChipDataset
from headframe.metrics.confusion import Counts, confusion

try:
    from sklearn.ensemble import HistGradientBoostingClassifier
except ImportError as exc:
    raise MissingExtraError(
        "boosted trees need scikit-learn. Install it with: pip install 'headframe[train]'."
    ) from exc


@dataclass(frozen=True)
class TreeOptions:
    """How the trees are grown.

    Attributes:
        bands: common names of the bands used; None takes all of the data set.
        context_px: side of the square whose mean and standard deviation, band by band, are
            features too; 0 or 1 looks at the pixel alone.
        threshold: probability from which a pixel is the target.
        max_iter: number of trees.
        learning_rate: of the boosting.
    """

    bands: tuple[str, ...] | None = None
    context_px: int = 0
    threshold: float = 0.5
    max_iter: int = 150
    learning_rate: float = 0.1


def pixel_features(image: NDArray[np.float32], *, context_px: int = 0) -> NDArray[np.float32]:
    """Describe every pixel by itself and, if asked, by the square around it.

    Args:
        image: (C, H, W), NaN for nodata.
        context_px: see ``TreeOptions``. Nodata in a square is left out of its statistics.

    Returns:
        (H * W, C) or (H * W, 3 C) float32, rows in row-major order: values, means, deviations;
        NaN where a pixel, or its whole square, is nodata.
    """
    planes = [image]
    if context_px > 1:
        known = ~np.isnan(image)
        share = _box_mean(known.astype(np.float64), context_px)
        filled = np.where(known, image, 0).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(share > 1e-9, _box_mean(filled, context_px) / share, np.nan)
            square = _box_mean(filled**2, context_px) / share
        std = np.sqrt(np.clip(square - mean**2, 0, None))
        planes += [mean.astype(np.float32), std.astype(np.float32)]
    stacked = np.concatenate(planes)
    return stacked.reshape(len(stacked), -1).T.astype(np.float32)


def boosted_trees_fold(
    dataset: ChipDataset,
    *,
    train_chips: Sequence[Chip],
    test_chips: Sequence[Chip],
    seed: int,
    max_pixels: int = 400_000,
    options: TreeOptions = TreeOptions(),
    progress: Progress = SILENT,
) -> list[Counts]:
    """Fit boosted trees on some chips and count their hits and misses on others.

    Args:
        dataset: where the chips are; labels are read as background and target.
        train_chips: chips to fit on; every one gives about the same number of pixels, drawn at
            random, target and background as they come.
        test_chips: chips to score, of other sites.
        seed: of the draw and of the trees; the same seed gives the same result.
        max_pixels: pixels to fit on, over all chips.
        options: how the trees are grown.
        progress: told of every chip, and of the fit as one step.

    Returns:
        One (2, 2) confusion matrix for each of ``test_chips``, rows the truth.

    Raises:
        DatasetError: the training chips do not show both classes, or lack a band.
    """
    channels = _channels(dataset, options)
    progress.start("Boosted trees", len(train_chips) + 1 + len(test_chips))
    features, labels = [], []
    rng = np.random.default_rng(seed)
    each = max(1, max_pixels // max(1, len(train_chips)))
    for chip in train_chips:
        rows, classes = _draw_pixels(dataset.read(chip, target="binary"), channels, options, rng)
        features.append(rows[:each].copy())
        labels.append(classes[:each])
        progress.advance()
    if len({int(value) for drawn in labels for value in np.unique(drawn)}) < 2:
        raise DatasetError(
            f"{dataset.root}: the training chips do not show both classes; trees cannot learn."
        )
    trees = HistGradientBoostingClassifier(
        max_iter=options.max_iter,
        learning_rate=options.learning_rate,
        early_stopping=False,
        random_state=seed,
    )
    trees.fit(np.concatenate(features), np.concatenate(labels))
    progress.advance()
    found = []
    for chip in test_chips:
        arrays = dataset.read(chip, target="binary")
        pred = _predict(trees, arrays.image[channels], options)
        found.append(confusion(pred, arrays.label, 2))
        progress.advance()
    progress.finish()
    return found


def _channels(dataset: ChipDataset, options: TreeOptions) -> list[int]:
    bands = options.bands or dataset.bands
    missing = [band for band in bands if band not in dataset.bands]
    if missing:
        raise DatasetError(
            f"{dataset.root}: has bands {', '.join(dataset.bands)}; {', '.join(missing)} missing."
        )
    return [list(dataset.bands).index(band) for band in bands]


def _draw_pixels(
    arrays: ChipArrays, channels: list[int], options: TreeOptions, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Features (P, F) and labels (P,) of a chip's labelled pixels, in random order."""
    image = arrays.image[channels]
    counted = (arrays.label != IGNORE_INDEX) & ~np.isnan(image).any(axis=0)
    places = rng.permutation(np.flatnonzero(counted))
    features = pixel_features(image, context_px=options.context_px)
    return features[places], arrays.label.reshape(-1)[places]


def _predict(trees: Any, image: NDArray[np.float32], options: TreeOptions) -> NDArray[np.uint8]:  # noqa: ANN401 - sklearn is untyped
    """Classes (H, W) of an image (C, H, W), 255 where nodata."""
    nodata = np.isnan(image).any(axis=0)
    score = trees.predict_proba(pixel_features(image, context_px=options.context_px))[:, 1]
    pred = (score >= options.threshold).reshape(nodata.shape).astype(np.uint8)
    return np.where(nodata, np.uint8(IGNORE_INDEX), pred)


def _box_mean(planes: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Mean over a square of ``size`` pixels around each pixel of planes (C, H, W)."""
    mean: NDArray[np.float64] = ndimage.uniform_filter(planes, (0, size, size), mode="nearest")
    return mean
