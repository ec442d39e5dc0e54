"""Water by a threshold: fixed, Otsu's, the best there is."""

import numpy as np
import pytest

from headframe.core import indices
from headframe.core.errors import DatasetError, RecipeError, UnknownNameError
from headframe.engine.index_threshold import IndexThreshold, threshold_fold
from headframe.metrics.scores import scores


@pytest.fixture
def dataset(fakes):
    """Where red is high there is water, with some noise; the last pixel is nodata."""
    rng = np.random.default_rng(5)
    chips = []
    for site in ("a", "b", "c"):
        truth = np.zeros((30, 41), int)
        truth[5:15, 10:30] = 1
        red = 0.5 + 0.6 * truth + rng.normal(0, 0.02, truth.shape)
        red[-1, -1] = np.nan
        truth[-1, -1] = 255
        truth[0, :3] = 255
        chips.append((site, None, red, truth))
    found = fakes.FakeDataset(chips)
    for image, _ in found._arrays.values():
        image[1][~np.isnan(image[0])] = 0.5  # green
    return found


@pytest.fixture(autouse=True)
def _same_indices(monkeypatch):
    monkeypatch.setitem(indices.INDICES, "ndwi", ("red", "green"))


def fold(dataset, threshold):
    chips = dataset.chips()
    return threshold_fold(
        dataset,
        train_chips=chips[:2],
        test_chips=chips[2:],
        options=IndexThreshold("ndwi", threshold),
    )


@pytest.mark.parametrize("threshold", ["otsu", "otsu-chip", "best", 0.2])
def test_two_heaps_are_told_apart(dataset, threshold):
    (counts,), limit = fold(dataset, threshold)
    assert counts.sum() == 30 * 41 - 4
    assert scores([counts]).of(1)["iou"] > 0.98
    assert (limit is None) == (threshold == "otsu-chip")
    assert limit is None or 0.05 < limit < 0.36  # index of ground 0, of water 0.375


def test_a_threshold_that_is_too_high_finds_less(dataset):
    (counts,), limit = fold(dataset, 0.9)
    assert limit == 0.9
    assert counts.tolist() == [[30 * 41 - 4 - 200, 0], [200, 0]]


def test_nothing_is_learnt_from_the_chips_that_are_scored(dataset):
    _, before = fold(dataset, "best")
    _, truth = dataset._arrays[dataset.chips()[2].image]
    truth[truth < 2] = 1 - truth[truth < 2]
    assert fold(dataset, "best")[1] == before


def test_what_cannot_be(dataset):
    with pytest.raises(UnknownNameError, match="unknown index 'ndwy'"):
        IndexThreshold("ndwy")
    with pytest.raises(UnknownNameError, match="unknown threshold 'otzu'"):
        IndexThreshold("ndwi", "otzu")
    with pytest.raises(RecipeError, match="threshold is nan; give a finite number"):
        IndexThreshold("ndwi", float("nan"))
    with pytest.raises(DatasetError, match="no labelled pixel to take a threshold from"):
        threshold_fold(
            dataset,
            train_chips=(),
            test_chips=dataset.chips(),
            options=IndexThreshold("ndwi", "best"),
        )
