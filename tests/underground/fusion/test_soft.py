import numpy as np
import pytest

from headframe.underground.fusion.pair import Pair
from headframe.underground.fusion.soft import boundary_only, signed_distance, weighted


def soft(detector, sam):
    first, second = (np.array([values], np.float32) for values in (detector, sam))
    return Pair(first > 0, second > 0, first, second)


@pytest.mark.parametrize(
    ("weight", "inside"),
    [
        (0.0, [True, True, False, False]),
        (0.5, [True, False, True, False]),
        (0.25, [True, True, False, False]),
        (1.0, [True, False, True, False]),
    ],
)
def test_weighted_logits(weight, inside):
    # halves: 2, -1, 1.5, -2; quarters: 2.5, 0.5, -0.25, -1.5
    both = soft([3, 2, -2, -1], [1, -4, 5, -3])
    assert weighted(both, weight=weight)[0].tolist() == inside


def test_masks_alone_weighted_evenly_intersect():
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 9, 13)) < 0.5
    pair = Pair(first, second)
    assert np.array_equal(weighted(pair, weight=0.5), first & second)
    assert np.array_equal(weighted(pair, weight=0.7), second)


def test_the_signed_distance():
    mask = np.zeros((5, 9), bool)
    mask[:, 3:7] = True
    assert signed_distance(mask)[2] == pytest.approx([-3, -2, -1, 1, 2, 2, 1, -1, -2], abs=0.1)
    assert (signed_distance(np.zeros((5, 9), bool)) < -14).all()
    assert (signed_distance(np.ones((5, 9), bool)) > 14).all()


def test_sam_decides_near_the_outline_alone():
    detector = np.zeros((40, 50), bool)
    detector[10:30, 10:30] = True  # the root of its area is 20
    sam = np.zeros((40, 50), bool)
    sam[10:30, 12:34] = True  # other edges left and right,
    sam[18:22, 18:22] = False  # a hole in the middle
    sam[0:4, 40:50] = True  # and something far away
    fused = boundary_only(Pair(detector, sam), band=0.15)  # 3 px on both sides
    row = np.flatnonzero(fused[20])
    assert (row.min(), row.max()) == (12, 32)
    assert fused[20, 18:22].all()
    assert not fused[0:4, 40:50].any()
    assert np.array_equal(boundary_only(Pair(detector, sam), band=0), detector)
    narrow = np.flatnonzero(boundary_only(Pair(detector, sam), band=0.001)[20])
    assert (narrow.min(), narrow.max()) == (12, 31)  # two pixels at least


def test_an_unbounded_mask_has_no_outline_for_sam():
    everything = np.ones((6, 8), bool)
    assert boundary_only(Pair(everything, ~everything), band=0.1).all()
