"""How much a score would move had other sites been drawn."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from headframe.core.errors import UnknownNameError
from headframe.metrics.confusion import Counts
from headframe.metrics.scores import LEFT_OUT, METRICS, ZeroDivision, nanmean, per_image_scores


def bootstrap_interval(
    per_site: Sequence[Counts],
    *,
    index: int | None = 1,
    metric: str = "iou",
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
    zero_division: ZeroDivision = LEFT_OUT,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a pooled score, resampling sites (Efron 1979).

    Sites, not pixels or chips: neighbouring pixels and the chips of one site are alike, and would
    make the interval far too narrow.

    Args:
        per_site: one (K, K) confusion matrix a site, rows the truth.
        index: the class scored; None for the mean over all classes but the background.
        metric: one of ``METRICS``.
        level: share of the draws that the interval holds, in (0, 1).
        draws: number of resamples, each of as many sites as there are.
        seed: of the resampling; the same seed gives the same interval.
        zero_division: as in ``scores``; draws whose score is NaN are left out.

    Returns:
        Lower and upper end; both NaN with fewer than two sites, which say nothing of the spread.

    Raises:
        UnknownNameError: no such metric.
    """
    if metric not in METRICS:
        raise UnknownNameError.of("metric", metric, METRICS)
    times = _draws(len(per_site), draws, seed)
    return _middle(drawn_scores(per_site, times, metric, index, zero_division), level)


def bootstrap_difference(
    first: Sequence[Counts],
    second: Sequence[Counts],
    *,
    index: int | None = 1,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
    zero_division: ZeroDivision = LEFT_OUT,
) -> tuple[float, float]:
    """Paired percentile bootstrap interval of the difference of two models' pooled IoU.

    Both are scored on the same draw of sites, so that what makes a site hard for both does not
    widen the interval (Efron and Tibshirani 1993, chapter 8).

    Args:
        first: one (K, K) confusion matrix a site, rows the truth.
        second: of the other model, the same sites in the same order.
        index: the class scored; None for the mean over all classes but the background.
        level: share of the draws that the interval holds, in (0, 1).
        draws: number of resamples, each of as many sites as there are.
        seed: of the resampling.
        zero_division: as in ``scores``; draws with a NaN are left out.

    Returns:
        Lower and upper end of ``first`` minus ``second``; both NaN with fewer than two sites.

    Raises:
        ValueError: they are of different numbers of sites.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} sites cannot be paired")

    def difference(times: NDArray[np.float64]) -> NDArray[np.float64]:
        ours, theirs = (
            drawn_scores(s, times, "iou", index, zero_division) for s in (first, second)
        )
        return ours - theirs

    return bootstrap_statistic(len(first), difference, level=level, draws=draws, seed=seed)


def bootstrap_statistic(
    units: int,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of anything that can be computed from drawn units.

    Args:
        units: how many there are to draw (sites, photographs).
        statistic: takes how often each unit was drawn (D, units), gives the value of each draw
            (D,), NaN where there is none.
        level: share of the draws that the interval holds, in (0, 1).
        draws: number of resamples, each of as many units as there are.
        seed: of the resampling; the same seed draws the same.

    Returns:
        Lower and upper end; both NaN with fewer than two units.
    """
    return _middle(statistic(_draws(units, draws, seed)), level)


def _draws(sites: int, draws: int, seed: int) -> NDArray[np.float64]:
    """How often each site is in each draw (D, S); no draw of fewer than two sites."""
    if sites < 2:
        return np.zeros((0, sites))
    rng = np.random.default_rng(seed)
    times = rng.multinomial(sites, np.full(sites, 1 / sites), size=draws)
    return times.astype(np.float64)


def drawn_scores(
    per_site: Sequence[Counts],
    times: NDArray[np.float64],
    metric: str,
    index: int | None,
    zero_division: ZeroDivision = LEFT_OUT,
) -> NDArray[np.float64]:
    """Score each draw, pooled.

    Args:
        per_site: S confusion matrices (K, K), rows the truth.
        times: (D, S), how often each is drawn.
        metric: one of ``METRICS``.
        index: the class scored; None for the mean over all classes but the background.
        zero_division: as in ``scores``.

    Returns:
        (D,); NaN where a draw cannot be scored.
    """
    if not len(times):
        return np.zeros(0)
    stack = np.stack(list(per_site)).astype(np.float64)  # (S, K, K)
    drawn = np.einsum("ds,sij->dij", times, stack)
    per_class = per_image_scores(drawn, zero_division)[metric]  # (D, K)
    return np.asarray(nanmean(per_class[:, 1:].T) if index is None else per_class[:, index])


def _middle(values: NDArray[np.float64], level: float) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    if values.size == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
