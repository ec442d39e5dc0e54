import numpy as np
import pytest

from headframe.core.errors import UnknownNameError
from headframe.metrics.bootstrap import bootstrap_interval
from headframe.metrics.scores import scores


def sites(n, seed=0):
    rng = np.random.default_rng(seed)
    return [np.array([[900, rng.integers(0, 60)], [30, rng.integers(1, 90)]]) for _ in range(n)]


def test_holds_the_score_and_repeats_itself():
    per_site = sites(12)
    low, high = bootstrap_interval(per_site, seed=4)
    assert 0 <= low < scores(per_site).of(1)["iou"] < high <= 1
    assert bootstrap_interval(per_site, seed=4) == (low, high)
    assert bootstrap_interval(per_site, seed=5) != (low, high)


def test_equal_sites_leave_no_doubt():
    low, high = bootstrap_interval([np.array([[8, 1], [1, 4]])] * 5)
    assert low == pytest.approx(4 / 6)
    assert high == pytest.approx(4 / 6)


def test_more_sites_narrow_it():
    few, many = sites(6), sites(6) * 20
    width = [np.diff(bootstrap_interval(s))[0] for s in (few, many)]
    assert width[1] < width[0] / 2


def test_the_percentile_interval_of_two_sites_by_enumeration():
    # Of two sites, draws are AA, AB, BB with chances 1/4, 1/2, 1/4.
    a, b = np.array([[0, 0], [1, 3]]), np.array([[0, 0], [3, 1]])
    assert bootstrap_interval([a, b], metric="recall") == (pytest.approx(0.25), pytest.approx(0.75))
    assert bootstrap_interval([a, b], metric="recall", level=0.4) == (0.5, 0.5)


def test_other_metrics_and_levels():
    per_site = sites(12)
    low, high = bootstrap_interval(per_site, metric="recall", level=0.5)
    wide = bootstrap_interval(per_site, metric="recall", level=0.99)
    assert wide[0] < low < high < wide[1]
    with pytest.raises(UnknownNameError, match="closest: iou"):
        bootstrap_interval(per_site, metric="iuo")


def test_the_mean_over_all_classes_but_the_background():
    alike = [np.array([[50, 0, 0], [2, 6, 0], [0, 0, 12]])] * 4
    assert bootstrap_interval(alike, index=None) == (pytest.approx(0.875), pytest.approx(0.875))
    per_site = sites(9)
    assert bootstrap_interval(per_site, index=None) == bootstrap_interval(per_site, index=1)


def test_one_site_says_nothing_of_the_spread():
    assert np.isnan(bootstrap_interval(sites(1))).all()
    assert np.isnan(bootstrap_interval([np.array([[9, 0], [0, 0]])] * 3)).all()
