import numpy as np
import pytest

from headframe.underground.fusion.clean import clean, kernel_side


@pytest.mark.parametrize(
    ("longest", "side"), [(1024, 5), (640, 3), (320, 1), (1, 1), (2048, 9), (4000, 19)]
)
def test_the_kernel_goes_with_the_photograph(longest, side):
    assert kernel_side(5, longest) == side


def block():
    mask = np.zeros((20, 30), bool)
    mask[4:14, 6:20] = True
    return mask


def test_a_hole_is_closed_and_a_speck_removed():
    mask = block()
    mask[8, 10] = False
    mask[17, 25] = True
    closed = clean(mask, 3, open_=False)
    assert closed[8, 10]
    assert closed[17, 25]
    opened = clean(mask, 3, close=False)
    assert not opened[8, 10]
    assert not opened[17, 25]
    both = clean(mask, 3)
    assert both[8, 10]
    assert not both[17, 25]
    assert np.array_equal(both, clean(both, 3))


def test_closing_comes_first():
    # Two halves one pixel apart, each too thin to outlive the opening alone.
    mask = np.zeros((20, 30), bool)
    mask[5:10, 6:20] = True
    mask[7, 6:20] = False
    assert clean(mask, 3)[7, 10]
    assert clean(mask, 5, open_=False)[7, 10]


def test_an_object_cut_by_the_frame_keeps_its_edge():
    mask = np.zeros((20, 30), bool)
    mask[12:, 10:] = True
    kept = clean(mask, 5)
    assert kept[-1, 10:].all()
    assert kept[13:, -1].all()


def test_small_masks_are_not_lost():
    mask = np.zeros((20, 30), bool)
    assert not clean(mask, 5).any()
    mask[3, 4] = True
    assert np.array_equal(clean(mask, 5), mask)
    assert np.array_equal(clean(mask, 1), mask)
    assert clean(np.ones((20, 30), bool), 5).all()
    assert np.array_equal(clean(block(), 3, close=False, open_=False), block())
