import numpy as np
import pytest

from headframe.underground.fusion.pair import Pair, disagree, intersect


def pair(detector, sam, **more):
    return Pair(np.array(detector, bool), np.array(sam, bool), **more)


def test_the_intersection():
    both = pair([[1, 1, 0], [0, 1, 0]], [[0, 1, 1], [0, 1, 1]])
    assert intersect(both).tolist() == [[False, True, False], [False, True, False]]
    assert both.overlap() == 2 / 5


def row(*ends):
    mask = np.zeros((1, 100), bool)
    mask[0, slice(*ends)] = True
    return mask


@pytest.mark.parametrize(
    ("sam", "apart"),
    [
        ((36, 56), False),  # 4 of the smaller one's 20
        ((38, 58), False),  # 2 of 20: just 10 %
        ((39, 59), True),  # 1 of 20
        ((39, 49), False),  # 1 of 10
        ((40, 60), True),
        ((0, 0), True),
    ],
)
def test_less_than_a_tenth_of_the_smaller_one(sam, apart):
    assert disagree(Pair(row(0, 40), row(*sam)), 0.1) is apart


def test_masks_that_share_a_pixel_agree_where_no_share_is_asked():
    assert not disagree(Pair(row(0, 40), row(39, 99)), 0.0)
    assert disagree(Pair(row(0, 40), row(40, 99)), 0.0)
    assert disagree(Pair(row(0, 0), row(0, 0)), 0.0)
    assert Pair(row(0, 0), row(0, 0)).overlap() == 0


def test_logits_are_bounded_and_made_up_where_there_are_none():
    logits = np.array([[-np.inf, 90, 0.5, np.nan]], np.float32)
    said = pair([[0, 1, 1, 0]], [[1, 0, 0, 1]], detector_logits=logits)
    assert said.soft_detector().tolist() == [[-8, 8, 0.5, -8]]
    assert said.soft_sam().tolist() == [[8, -8, -8, 8]]
    assert said.soft_sam().dtype == np.float32
