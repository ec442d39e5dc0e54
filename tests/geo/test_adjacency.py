from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from headframe.geo.adjacency import ObjectScan, grow


def scanned(inside, marks, cuts):
    scan = ObjectScan()
    edges = [0, *cuts, len(inside)]
    parts = [slice(a, b) for a, b in pairwise(edges)]
    for part in parts:
        scan.add(inside[part], marks[part])
    scan.close()
    unmet = np.concatenate([scan.of_unmet(i, inside[part]) for i, part in enumerate(parts)])
    return scan, unmet


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), cuts=st.sets(st.integers(1, 16)))
def test_objects_are_those_of_the_whole_however_it_is_cut(seed, cuts):
    rng = np.random.default_rng(seed)
    inside = rng.random((17, 11)) < 0.55
    marks = rng.random((17, 11)) < 0.05
    scan, unmet = scanned(inside, marks, sorted(cuts))
    numbers, count = ndimage.label(inside)
    met = set(numbers[inside & marks].tolist())
    assert scan.objects == count
    assert scan.unmet == count - len(met)
    np.testing.assert_array_equal(unmet, inside & ~np.isin(numbers, sorted(met)))


def test_a_mark_beside_an_object_is_not_in_it():
    inside = np.array([[1, 1, 0, 1]], dtype=bool)
    marks = np.array([[0, 0, 1, 0]], dtype=bool)
    scan, unmet = scanned(inside, marks, [])
    assert (scan.objects, scan.unmet) == (2, 2)
    np.testing.assert_array_equal(unmet, inside)


def test_nothing_at_all():
    scan, unmet = scanned(np.zeros((4, 3), bool), np.ones((4, 3), bool), [2])
    assert (scan.objects, scan.unmet) == (0, 0)
    assert not unmet.any()


@pytest.mark.parametrize(
    ("reach", "corners", "count"), [(0, True, 1), (1, False, 5), (1, True, 9), (2, False, 13)]
)
def test_growing_by_steps(reach, corners, count):
    mask = np.zeros((7, 9), dtype=bool)
    mask[3, 4] = True
    assert grow(mask, reach_px=reach, corners=corners).sum() == count
    assert mask.sum() == 1
