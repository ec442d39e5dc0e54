from collections import Counter

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from headframe.core.errors import DatasetError
from headframe.datasets.splits import group_sites, overlapping, site_folds, split_chips, split_sites


def test_touching_is_not_overlapping():
    boxes = [shapely.box(0, 0, 2, 1), shapely.box(2, 0, 3, 1), shapely.box(2.9, 0.5, 5, 3)]
    assert overlapping(boxes).tolist() == [[1, 2]]
    assert overlapping([]).shape == (0, 2)


def test_groups_by_ground_by_name_and_by_hand():
    box = shapely.box
    groups = group_sites(
        {
            "b": [box(0, 0, 2, 1)],
            "a": [box(1, 0, 4, 1), box(9, 9, 10, 10)],
            "c": [box(9.5, 9, 12, 10)],
            "x_agm_region_1": [],
            "X_agm_region_2": [box(50, 0, 51, 1)],
            "alone": [],
            "twin": [],
        },
        same=[("alone", "twin")],
    )
    assert groups["a"] == groups["b"] == groups["c"] == "a"
    assert groups["x_agm_region_1"] == groups["X_agm_region_2"]
    assert groups["alone"] == groups["twin"]
    assert len(set(groups.values())) == 3
    assert group_sites({}) == {}


counts = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3), st.integers(1, 30), min_size=1, max_size=25
)


@settings(max_examples=60, deadline=None)
@given(counts, st.integers(0, 5), st.integers(1, 4))
def test_splits_keep_groups_whole_and_do_not_depend_on_order(chips, seed, every):
    names = sorted(chips)
    groups = {name: names[i // every * every] for i, name in enumerate(names)}
    found = split_sites(groups, chips=chips, seed=seed)
    assert found.keys() == chips.keys()
    for name in names:
        assert found[name] == found[groups[name]]
    assert set(found.values()) >= {"train"}
    if len(set(groups.values())) >= 3:
        assert len(set(found.values())) == 3
    assert found == split_sites(dict(reversed(groups.items())), chips=chips, seed=seed)


def test_fractions_are_met_as_nearly_as_groups_allow():
    chips = {f"s{i:02d}": 1 + i % 5 for i in range(40)}
    found = split_sites({s: s for s in chips}, chips=chips, seed=3)
    held = Counter()
    for site, split in found.items():
        held[split] += chips[site]
    assert held == {"train": 84, "val": 18, "test": 18}


def test_strata_are_balanced():
    chips = {f"s{i:02d}": 2 for i in range(40)}
    country = {site: "peru" if i < 20 else "mali" for i, site in enumerate(chips)}
    found = split_sites(
        {s: s for s in chips}, chips=chips, fractions=(0.5, 0.25, 0.25), strata=country
    )
    held = Counter((country[site], split) for site, split in found.items())
    assert held[("peru", "train")] == held[("mali", "train")] == 10
    assert held[("peru", "test")] == held[("mali", "test")] == 5


def test_an_empty_fraction_gets_nothing():
    chips = dict.fromkeys("abcd", 1)
    found = split_sites({s: s for s in chips}, chips=chips, fractions=(0.5, 0, 0.5))
    assert Counter(found.values()) == {"train": 2, "test": 2}


@pytest.mark.parametrize(
    "fractions", [(0.7, 0.2, 0.2), (1.2, -0.1, -0.1), (0.5, 0.5), (float("nan"), 0, 1)]
)
def test_fractions_that_are_none(fractions):
    with pytest.raises(DatasetError, match="sum to 1"):
        split_sites({"a": "a"}, chips={"a": 1}, fractions=fractions)


def test_nothing_to_split():
    with pytest.raises(DatasetError, match="no sites"):
        split_sites({}, chips={})


@settings(max_examples=40, deadline=None)
@given(counts, st.integers(2, 6), st.integers(0, 3))
def test_folds_are_a_partition(chips, folds, seed):
    groups = {name: name[0] for name in chips}
    if len(set(groups.values())) < folds:
        with pytest.raises(DatasetError, match="cannot make"):
            site_folds(groups, folds=folds, seed=seed)
        return
    found = site_folds(groups, folds=folds, seed=seed, chips=chips)
    assert len(found) == folds
    assert all(found)
    assert sorted(site for fold in found for site in fold) == sorted(chips)
    for fold in found:
        assert {n for n in chips if n[0] in {m[0] for m in fold}} == fold
    assert found == site_folds(groups, folds=folds, seed=seed, chips=chips)


def test_one_fold_is_refused():
    with pytest.raises(DatasetError, match="cannot make 1"):
        site_folds({"a": "a", "b": "b"}, folds=1, seed=0)


def test_chips_are_dealt_by_ratio():
    keys = [f"a/{i:05d}" for i in range(20)]
    found = split_chips(keys, fractions=(0.6, 0.2), seed=1)
    assert Counter(found.values()) == {"train": 15, "val": 5}
    assert found == split_chips(keys[::-1], fractions=(0.6, 0.2), seed=1)
    assert np.unique(list(found)).size == 20
