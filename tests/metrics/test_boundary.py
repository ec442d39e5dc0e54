import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from headframe.core.errors import GridMismatchError
from headframe.metrics.boundary import boundary_counts, boundary_iou

MASKS = hnp.arrays(np.uint8, (9, 13), elements=st.sampled_from([0, 1]))


def square(row, col, size=6, shape=(16, 21)):
    mask = np.zeros(shape, np.uint8)
    mask[row : row + size, col : col + size] = 1
    return mask


def authors_boundary(mask, distance_px):
    """Erosion of the mask padded by zeros, as Cheng et al. describe their code."""
    padded = np.pad(mask.astype(bool), 1)
    core = ndimage.binary_erosion(padded, np.ones((3, 3)), iterations=distance_px)
    return mask.astype(bool) & ~core[1:-1, 1:-1]


def test_by_hand():
    # Rings of width 1 of a 6x6 square have 20 pixels. Moved by one column they share
    # rows top and bottom 5 + 5 and nothing of the sides.
    both, either = boundary_counts(square(3, 4), square(3, 5), distance_px=1)
    assert (both, either) == (10, 30)
    assert boundary_iou(square(3, 4), square(3, 5), distance_px=1) == pytest.approx(1 / 3)


def test_a_thicker_boundary_forgives_more_until_it_is_plain_iou():
    values = [boundary_iou(square(3, 4), square(3, 5), distance_px=d) for d in (1, 2, 3, 9)]
    assert values == sorted(values)
    assert values[-1] == pytest.approx(30 / 42)


@given(MASKS, MASKS, st.integers(1, 4))
@settings(deadline=None)
def test_agrees_with_repeated_erosion(pred, truth, distance_px):
    a, b = authors_boundary(pred, distance_px), authors_boundary(truth, distance_px)
    found = boundary_counts(pred, truth, distance_px=distance_px, frame_edge=True)
    assert found == ((a & b).sum(), (a | b).sum())


@given(MASKS, MASKS, st.integers(1, 3))
@settings(deadline=None)
def test_invariants(pred, truth, distance_px):
    here = boundary_counts(pred, truth, distance_px=distance_px)
    assert here == boundary_counts(truth, pred, distance_px=distance_px)
    assert here == boundary_counts(pred[:, ::-1], truth[:, ::-1], distance_px=distance_px)
    itself = boundary_iou(truth, truth, distance_px=distance_px, zero_division=1.0)
    assert itself == 1.0


def test_the_edge_of_a_chip_is_a_boundary_only_if_asked():
    cut = square(0, 0)
    assert boundary_counts(cut, cut, distance_px=1)[0] == 11
    assert boundary_counts(cut, cut, distance_px=1, frame_edge=True)[0] == 20


def test_ignored_pixels_make_no_boundary_and_are_not_counted():
    truth = square(3, 4)
    truth[:, 10:] = 255  # right beside the square's last column
    assert boundary_counts(square(3, 4), truth, distance_px=1) == (16, 16)
    truth[3] = 255
    # Left column without its top pixel, bottom row: 5 + 5.
    assert boundary_counts(square(3, 4), truth, distance_px=1) == (10, 10)
    assert boundary_counts(np.full_like(truth, 255), truth, distance_px=1) == (0, 0)


def test_another_class_and_nothing_at_all():
    assert np.isnan(boundary_iou(square(3, 4), square(3, 4), index=2, distance_px=1))
    both = boundary_iou(2 * square(3, 4), 2 * square(3, 4), index=2, distance_px=1)
    assert both == 1.0


def test_errors():
    with pytest.raises(GridMismatchError, match="cannot be compared"):
        boundary_iou(square(0, 0), square(0, 0).T, distance_px=1)
    with pytest.raises(GridMismatchError, match="cannot be compared"):
        boundary_iou(np.zeros(3, int), np.zeros(3, int), distance_px=1)
