"""How much a score would move had other sites been drawn."""

from collections.abc import Sequence

import numpy as np

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
    if len(per_site) < 2:
        return float("nan"), float("nan")
    stack = np.stack(list(per_site)).astype(np.float64)  # (S, K, K)
    sites = len(stack)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(sites, np.full(sites, 1 / sites), size=draws)  # (D, S)
    drawn = np.einsum("ds,sij->dij", times.astype(np.float64), stack)
    per_class = per_image_scores(drawn, zero_division)[metric]  # (D, K)
    values = nanmean(per_class[:, 1:].T) if index is None else per_class[:, index]
    values = values[~np.isnan(values)]
    if values.size == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
