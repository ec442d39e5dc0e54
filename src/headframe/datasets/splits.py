"""Dividing sites into splits and folds so that nothing seen in training is tested on."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from headframe.core.errors import DatasetError
from headframe.datasets.layout import SPLITS, base_site

MIN_OVERLAP = 1e-4
"""Share of the smaller footprint from which two footprints overlap: neighbours that only touch,
or differ in the last digits of their corners, do not."""

_FloatArray = npt.NDArray[np.float64]
_IntArray = npt.NDArray[np.intp]
_SWAP_ROWS = 600
_PASSES = 200


def overlapping(footprints: Sequence[shapely.Geometry]) -> npt.NDArray[np.int64]:
    """Find every pair of footprints that overlap.

    Args:
        footprints: polygons in one CRS; empty ones overlap nothing.

    Returns:
        Pairs (N, 2) of indices, the smaller first, sorted.
    """
    shapes = np.array(footprints, dtype=object)
    if shapes.size == 0:
        return np.empty((0, 2), np.int64)
    left, right = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    left, right = left[left < right], right[left < right]
    shared = shapely.area(shapely.intersection(shapes[left], shapes[right]))
    smaller = np.minimum(shapely.area(shapes[left]), shapely.area(shapes[right]))
    pairs = np.stack([left, right], axis=1)[shared > MIN_OVERLAP * smaller]
    return np.asarray(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))], np.int64)


def group_sites(
    footprints: Mapping[str, Sequence[shapely.Geometry]],
    *,
    same: Iterable[tuple[str, str]] = (),
) -> dict[str, str]:
    """Gather sites that share ground, whatever they are called.

    Two sites are in one group when footprints of theirs overlap, when their base names are equal
    (``x_agm_region_1`` and ``x_agm_region_2``), when ``same`` says so, or through a chain of such
    links.

    Args:
        footprints: per site its chips' outlines in EPSG:4326, none where they have no CRS.
        same: further pairs of sites that are one.

    Returns:
        Site to group; a group is called like the first of its sites in alphabetical order.
    """
    sites = sorted(footprints)
    number = {site: i for i, site in enumerate(sites)}
    owners = [number[site] for site in sites for _ in footprints[site]]
    pairs = overlapping([shape for site in sites for shape in footprints[site]])
    links = [(owners[a], owners[b]) for a, b in pairs.tolist()]
    links += [(number[a], number[b]) for a, b in same]
    by_name: dict[str, int] = {}
    for site in sites:
        links.append((number[site], by_name.setdefault(base_site(site), number[site])))
    rows, cols = np.array(links, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows), np.int8), (rows, cols)), shape=(len(sites),) * 2)
    component = connected_components(graph, directed=False)[1].tolist() if sites else []
    first: dict[int, str] = {}
    return {site: first.setdefault(component[i], site) for i, site in enumerate(sites)}


def split_sites(
    groups: Mapping[str, str],
    *,
    chips: Mapping[str, int],
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    strata: Mapping[str, Hashable] | None = None,
) -> dict[str, str]:
    """Deal whole groups of sites to train, val and test.

    The groups are dealt at random, the large ones first, each to the split that lacks most; then
    single moves and swaps bring the counts of chips as near to the fractions as they can. With
    ``strata`` every stratum is brought near to the fractions too. The result depends on names,
    counts and the seed only, not on the order of the mappings nor on earlier splits.

    Args:
        groups: site to group, from ``group_sites``.
        chips: site to number of chips.
        fractions: shares of chips of train, val and test, >= 0, together 1.
        seed: seed of the draw.
        strata: site to a value to balance, e.g. its country.

    Returns:
        Site to split. A split with a fraction above 0 has a site as long as there are as many
        groups as such splits.

    Raises:
        DatasetError: no sites, or fractions that are negative or do not sum to 1.
    """
    shares = check_fractions(fractions)
    members = _members(groups)
    if not members:
        raise DatasetError("no sites to split. Check the data set's folder.")
    names = sorted(members)
    counts = _count_table(members, names, chips, strata)  # (G, 1 + strata)
    where = _deal(counts, shares, np.random.default_rng(seed))
    return {site: SPLITS[where[i]] for i, name in enumerate(names) for site in members[name]}


def site_folds(
    groups: Mapping[str, str],
    *,
    folds: int,
    seed: int,
    chips: Mapping[str, int] | None = None,
) -> tuple[frozenset[str], ...]:
    """Deal whole groups of sites to the folds of a cross-validation.

    Args:
        groups: site to group, from ``group_sites``.
        folds: number of folds, at least 2 and at most the number of groups.
        seed: seed of the deal.
        chips: site to number of chips, balanced between folds; by default every site counts 1.

    Returns:
        The sites of each fold: disjoint, none empty, together all sites.

    Raises:
        DatasetError: fewer groups than folds, or fewer than two folds.
    """
    members = _members(groups)
    if folds < 2 or len(members) < folds:
        raise DatasetError(
            f"{len(members)} groups of sites cannot make {folds} folds. "
            f"Choose between 2 and {max(2, len(members))} folds."
        )
    names = sorted(members)
    counts = _count_table(members, names, chips or dict.fromkeys(groups, 1), None)
    where = _deal(counts, np.full(folds, 1 / folds), np.random.default_rng(seed))
    found: list[set[str]] = [set() for _ in range(folds)]
    for i, name in enumerate(names):
        found[where[i]].update(members[name])
    return tuple(frozenset(fold) for fold in found)


def split_chips(
    keys: Sequence[str], *, fractions: tuple[float, float], seed: int
) -> dict[str, str]:
    """Deal single chips to train and val, sites shared, as the Landsat paper does.

    Args:
        keys: names of the chips.
        fractions: shares of train and val, of which only the ratio counts.
        seed: seed of the draw.

    Returns:
        Chip to ``train`` or ``val``.
    """
    order = np.random.default_rng(seed).permutation(len(keys))
    total = sum(fractions)
    training = round(len(keys) * fractions[0] / total) if total else 0
    named = sorted(keys)
    return {named[i]: SPLITS[0 if n < training else 1] for n, i in enumerate(order.tolist())}


def check_fractions(fractions: Sequence[float]) -> _FloatArray:
    """Check three shares and give them as an array that sums to exactly 1.

    Raises:
        DatasetError: not three, a negative one, or a sum that is not 1.
    """
    shares = np.asarray(fractions, np.float64)
    fine = shares.shape == (3,) and bool(np.isfinite(shares).all()) and bool((shares >= 0).all())
    if not fine or abs(float(shares.sum()) - 1) > 1e-6:
        shown = " ".join(f"{f:g}" for f in fractions)
        raise DatasetError(
            f"--fractions {shown}: needs three numbers, none negative, that sum to 1, "
            "e.g. 0.7 0.15 0.15."
        )
    return np.asarray(shares / shares.sum())


def _members(groups: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for site in sorted(groups):
        found[groups[site]].append(site)
    return {min(sites): sites for sites in found.values()}


def _count_table(
    members: Mapping[str, list[str]],
    names: Sequence[str],
    chips: Mapping[str, int],
    strata: Mapping[str, Hashable] | None,
) -> _FloatArray:
    """Chips of every group (G, 1 + S): in all, then by stratum."""
    values = sorted({str(v) for v in strata.values()}) if strata else []
    column = {value: i + 1 for i, value in enumerate(values)}
    table = np.zeros((len(names), 1 + len(values)))
    for row, name in enumerate(names):
        for site in members[name]:
            table[row, 0] += chips.get(site, 0)
            if strata and site in strata:
                table[row, column[str(strata[site])]] += chips.get(site, 0)
    return table


def _deal(counts: _FloatArray, shares: _FloatArray, rng: np.random.Generator) -> _IntArray:
    """Bin of every group, (G,), with counts per bin near ``shares`` of the total."""
    target = shares[:, None] * counts.sum(axis=0)  # (bins, 1 + S)
    order = rng.permutation(len(counts))
    order = order[np.argsort(-counts[order, 0], kind="stable")]
    where = np.zeros(len(counts), np.intp)
    lacking = target.copy()
    by_share = np.argsort(-shares, kind="stable")  # the large bins first, should groups be few
    open_bins = by_share[shares[by_share] > 0][: len(counts)]
    for group in order:
        gain = 2 * lacking[open_bins] @ counts[group]
        best = np.flatnonzero(gain == gain.max())
        bin_ = open_bins[best[rng.integers(len(best))]]
        where[group] = bin_
        lacking[bin_] -= counts[group]
    _fill_empty(where, counts, open_bins)
    for _ in range(_PASSES):
        if not _improve(where, counts, target, open_bins, rng):
            break
    return where


def _fill_empty(where: _IntArray, counts: _FloatArray, bins: _IntArray) -> None:
    """Give every bin at least one group, taking the smallest of the bin with most groups."""
    for bin_ in bins:
        if not (where == bin_).any():
            rich = np.bincount(where).argmax()
            own = np.flatnonzero(where == rich)
            where[own[counts[own, 0].argmin()]] = bin_


def _improve(
    where: _IntArray,
    counts: _FloatArray,
    target: _FloatArray,
    bins: _IntArray,
    rng: np.random.Generator,
) -> bool:
    """Do the one move or swap between two bins that lowers the squared error most."""
    have = np.stack([counts[where == b].sum(axis=0) for b in range(len(target))])
    error = have - target
    best: tuple[float, _IntArray, _IntArray] = (-1e-9, bins, bins)
    for a in bins:
        for b in bins:
            if a == b:
                continue
            own, other = np.flatnonzero(where == a), np.flatnonzero(where == b)
            if len(own) > 1:
                best = _best_move(best, own, counts[own], int(b), error[b] - error[a])
            if a < b:
                own, other = (_some(rows, rng) for rows in (own, other))
                best = _best_swap(best, (own, other), counts, error[b] - error[a], (a, b))
    delta, groups, to = best
    if delta >= -1e-9:
        return False
    where[groups] = to
    return True


def _best_move(
    best: tuple[float, _IntArray, _IntArray],
    own: _IntArray,
    rows: _FloatArray,
    to: int,
    slope: _FloatArray,
) -> tuple[float, _IntArray, _IntArray]:
    delta = 2 * (rows**2).sum(axis=1) + 2 * rows @ slope
    i = int(delta.argmin())
    if delta[i] >= best[0]:
        return best
    return float(delta[i]), own[i : i + 1], np.array([to], np.intp)


def _best_swap(
    best: tuple[float, _IntArray, _IntArray],
    rows: tuple[_IntArray, _IntArray],
    counts: _FloatArray,
    slope: _FloatArray,
    bins: tuple[np.intp, np.intp],
) -> tuple[float, _IntArray, _IntArray]:
    own, other = rows
    if not (len(own) and len(other)):
        return best
    x, y = counts[own], counts[other]
    squared = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None] - 2 * x @ y.T
    delta = 2 * squared + 2 * ((x @ slope)[:, None] - (y @ slope)[None])
    i, j = np.unravel_index(int(delta.argmin()), delta.shape)
    if delta[i, j] >= best[0]:
        return best
    return float(delta[i, j]), np.array([own[i], other[j]]), np.array([bins[1], bins[0]])


def _some(rows: _IntArray, rng: np.random.Generator) -> _IntArray:
    return rows if len(rows) <= _SWAP_ROWS else rng.choice(rows, _SWAP_ROWS, replace=False)
