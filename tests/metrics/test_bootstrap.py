import numpy as np
import pytest

from headframe.core.errors import UnknownNameError
from headframe.metrics.bootstrap import (
    bootstrap_difference,
    bootstrap_interval,
    bootstrap_statistic,
)
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


def test_the_paired_difference_of_two_sites_by_enumeration():
    # IoU 3/4 and 1/4 against 2/4 and 2/4: AA gives 1/4, BB -1/4, and AB 4/8 - 4/8 = 0.
    first = [np.array([[0, 0], [1, 3]]), np.array([[0, 0], [3, 1]])]
    second = [np.array([[0, 0], [2, 2]])] * 2
    assert bootstrap_difference(first, second) == (pytest.approx(-0.25), pytest.approx(0.25))
    assert bootstrap_difference(first, second, level=0.4) == (0, 0)


def test_what_is_hard_for_both_models_leaves_no_doubt_about_their_difference():
    rng = np.random.default_rng(3)
    easy = rng.integers(20, 90, size=14)
    first = [np.array([[900, 0], [100 - k, k]]) for k in easy]
    second = [np.array([[900, 0], [105 - k, k - 5]]) for k in easy]
    low, high = bootstrap_difference(first, second)
    assert (low, high) == (pytest.approx(0.05), pytest.approx(0.05))
    apart = [bootstrap_interval(side) for side in (first, second)]
    assert apart[0][0] < apart[1][1]  # two intervals alone do not tell the models apart
    assert bootstrap_difference(second, first)[0] == pytest.approx(-0.05)


def test_a_difference_needs_two_sites_and_pairs():
    one = [np.eye(2, dtype=int)]
    assert np.isnan(bootstrap_difference(one, one)).all()
    with pytest.raises(ValueError, match="2 and 1 sites cannot be paired"):
        bootstrap_difference(one * 2, one)


def test_any_statistic_of_drawn_units_by_enumeration():
    # Of two units the second is drawn 0, 1 or 2 times with chances 1/4, 1/2, 1/4.
    ends = bootstrap_statistic(2, lambda times: times[:, 1] * 10)
    assert ends == (0, 20)
    assert bootstrap_statistic(2, lambda times: times[:, 1] * 10, level=0.4) == (10, 10)
    assert np.isnan(bootstrap_statistic(1, lambda times: times[:, 0])).all()
