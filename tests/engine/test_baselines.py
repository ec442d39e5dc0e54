import numpy as np
import pytest

from headframe.core.errors import DatasetError
from headframe.datasets.chips import open_dataset
from headframe.engine.baselines import TreeOptions, boosted_trees_fold, pixel_features
from headframe.metrics.confusion import total
from headframe.metrics.scores import scores


@pytest.fixture
def dataset(fakes):
    """Target pixels are bright in red, with some noise; the last is nodata."""
    rng = np.random.default_rng(5)
    chips = []
    for site in ("a", "b", "c", "d"):
        truth = np.zeros((30, 41), int)
        truth[5:15, 10:30] = 1
        red = 0.3 + 0.4 * truth + rng.normal(0, 0.1, truth.shape)
        red[-1, -1] = np.nan
        truth[-1, -1] = 255
        chips.append((site, None, red, truth))
    return fakes.FakeDataset(chips)


def run(dataset, **options):
    chips = dataset.chips()
    return boosted_trees_fold(
        dataset,
        train_chips=chips[:3],
        test_chips=chips[3:],
        seed=1,
        max_pixels=2000,
        options=TreeOptions(max_iter=15, **options),
    )


def test_trees_find_bright_pixels(dataset):
    found = run(dataset, bands=("red",))
    assert len(found) == 1
    assert found[0].sum() == 30 * 41 - 1
    assert scores(found).of(1)["iou"] > 0.7


def test_context_helps_against_noise(dataset):
    alone = scores(run(dataset, bands=("red",))).of(1)["iou"]
    around = scores(run(dataset, bands=("red",), context_px=5)).of(1)["iou"]
    assert around > alone


def test_the_seed_decides(dataset):
    assert np.array_equal(run(dataset)[0], run(dataset)[0])


def test_threshold_trades_misses_for_false_alarms(dataset):
    low, high = (total(run(dataset, threshold=t), 2) for t in (0.1, 0.9))
    assert low[1, 0] < high[1, 0]
    assert low[0, 1] > high[0, 1]


def test_features_by_hand():
    image = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    image[0, 0, 0] = np.nan
    assert pixel_features(image).shape == (12, 1)
    features = pixel_features(image, context_px=3)
    assert features.shape == (12, 3)
    window = image[0, :3, :3][~np.isnan(image[0, :3, :3])]
    np.testing.assert_allclose(features[5], [5, window.mean(), window.std()], rtol=1e-5)
    assert np.isnan(features[0, 0])
    assert np.isfinite(features[0, 1])


def test_a_square_of_nodata_has_no_statistics():
    image = np.full((1, 6, 7), np.nan, np.float32)
    assert np.isnan(pixel_features(image, context_px=3)).all()


def test_errors(dataset, fakes):
    with pytest.raises(DatasetError, match="nir missing"):
        run(dataset, bands=("nir",))
    with pytest.raises(DatasetError, match="do not show both classes"):
        boosted_trees_fold(dataset, train_chips=[], test_chips=dataset.chips(), seed=0)
    empty = fakes.FakeDataset([("a", None, np.zeros((4, 5)), np.zeros((4, 5), int))])
    with pytest.raises(DatasetError, match="do not show both classes"):
        boosted_trees_fold(empty, train_chips=empty.chips(), test_chips=empty.chips(), seed=0)


@pytest.mark.realdata
def test_a_pixel_knows_a_little_of_real_tailings(shared_data):
    """Some signal, and far from a map: the band in which the baseline is known to lie."""
    dataset = open_dataset(shared_data / "tailings-brazil")
    sites = sorted({chip.site for chip in dataset.chips()})
    held = set(sites[::5])
    found = boosted_trees_fold(
        dataset,
        train_chips=[c for c in dataset.chips() if c.site not in held][::3],
        test_chips=[c for c in dataset.chips() if c.site in held][::3],
        seed=0,
        max_pixels=40_000,
        options=TreeOptions(max_iter=40),
    )
    assert 0.02 < scores(found).of(1)["iou"] < 0.45
