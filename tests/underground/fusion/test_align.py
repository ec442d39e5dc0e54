import cv2
import numpy as np
import pytest

from headframe.core.errors import GridMismatchError
from headframe.underground.fusion.align import (
    Alignment,
    Guard,
    align,
    check,
    cut_moved,
    enlarged,
    moved_window,
    unaligned,
)
from headframe.underground.fusion.render import render


def similarity(scale=1.0, degrees=0.0, shift=(0.0, 0.0), centre=(159.5, 119.5)):
    """A similarity about ``centre``, then a shift; x and y."""
    angle = np.radians(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([turn, np.array(centre) + shift - turn @ centre])


def test_a_shift_is_found(polygons):
    fixed = render(polygons())
    moving = render(polygons(matrix=similarity(shift=(-6, 4))))
    result = align(moving, fixed)
    assert result.accepted
    assert result.inliers >= 6
    assert result.matrix == pytest.approx(similarity(shift=(6, -4)), abs=0.35)
    again = align(moving, fixed)
    assert np.array_equal(result.matrix, again.matrix)


def test_a_turn_is_found(polygons):
    result = align(render(polygons(matrix=similarity(1.04, -3))), render(polygons()))
    assert result.accepted
    assert np.hypot(*result.matrix[:, 0]) == pytest.approx(1 / 1.04, abs=0.01)
    assert np.degrees(np.arctan2(result.matrix[1, 0], result.matrix[0, 0])) == pytest.approx(
        3, abs=0.6
    )


@pytest.mark.parametrize(
    ("matrix", "inliers", "broken"),
    [
        (similarity(), 6, None),
        (similarity(), 5, "few inliers"),
        (similarity(1.09), 6, None),
        (similarity(1.11), 6, "scale"),
        (similarity(0.89), 6, "scale"),
        (similarity(degrees=4.9), 6, None),
        (similarity(degrees=-5.1), 6, "rotation"),
        (similarity(degrees=180), 6, "rotation"),
        (similarity(shift=(15.9, -11.9)), 6, None),
        (similarity(shift=(16.1, 0)), 6, "shift"),  # 5 % of 320
        (similarity(shift=(0, 12.1)), 6, "shift"),  # 5 % of 240
        (similarity(1.05, 4), 6, None),  # far at the corners, but the centre stays
    ],
)
def test_the_guard(matrix, inliers, broken):
    assert check(matrix, (240, 320), inliers) == broken


def test_what_is_far_from_identity_is_not_believed(polygons):
    fixed = render(polygons())
    for matrix, outcome in (
        (similarity(shift=(20, 0)), "shift"),
        (similarity(degrees=12), "rotation"),
    ):
        result = align(render(polygons(matrix=matrix)), fixed)
        assert result.outcome == outcome
        assert np.array_equal(result.matrix, np.eye(2, 3))
        assert result.tried
    wide = Guard(shift=0.2)
    assert align(render(polygons(matrix=similarity(shift=(20, 0)))), fixed, guard=wide).accepted


def test_masks_without_corners_fall_back(polygons):
    fixed = render(polygons())
    empty = np.zeros_like(fixed)
    assert align(empty, fixed).outcome == "nothing to align"
    assert not align(empty, fixed).tried
    assert align(np.full_like(fixed, 255), fixed).outcome == "few features"
    assert align(fixed[:62], fixed[:62]).outcome == "few features"  # no more than two margins
    square = empty.copy()
    square[100:140, 100:160] = 255
    few = align(square, square, guard=Guard(matches=200))
    assert few.outcome == "few matches"
    assert 0 < few.matches < 200


def test_the_best_half_of_the_matches_is_kept(polygons):
    fixed = render(polygons())
    half, whole = (align(fixed, fixed, guard=Guard(share=share)).matches for share in (0.5, 1))
    assert half == round(whole / 2)


def test_other_sizes_are_refused(polygons):
    with pytest.raises(GridMismatchError, match="one photograph"):
        align(render(polygons()), render(polygons((240, 300))))


def test_a_transform_of_a_reduced_picture_holds_on_the_photograph():
    small = Alignment(similarity(1.02, 2, (1, -2), (9.5, 4.5)), "accepted", 9, 8)
    large = enlarged(small, (10, 20), (40, 60))
    for x, y in ((0.0, 0.0), (19.0, 0.0), (7.0, 9.0)):  # centres; three and four times larger
        there = large.matrix @ [3 * x + 1, 4 * y + 1.5, 1]
        x2, y2 = small.matrix @ [x, y, 1]
        assert there == pytest.approx([3 * x2 + 1, 4 * y2 + 1.5])
    assert enlarged(unaligned("off"), (10, 20), (40, 60)).outcome == "off"


def test_cutting_a_moved_plane():
    mask = np.zeros((12, 17), bool)
    mask[3:6, 4:9] = True
    moved = Alignment(np.array([[1.0, 0, 3], [0, 1, -2]]), "accepted")
    window = (slice(0, 8), slice(5, 15))
    cut = cut_moved(mask, window, moved)
    expected = np.zeros((12, 17), bool)
    expected[1:4, 7:12] = True
    assert cut.dtype == np.bool_
    assert np.array_equal(cut, expected[window])
    rows, cols = moved_window((slice(3, 6), slice(4, 9)), moved, mask.shape)
    assert set(range(1, 4)) <= set(range(rows.start, rows.stop))
    assert set(range(7, 12)) <= set(range(cols.start, cols.stop))
    logits = np.where(mask, 5, -3).astype(np.float32)
    soft = cut_moved(logits, (slice(0, 12), slice(0, 17)), moved, beyond=-8)
    assert soft[2, 8] == 5
    assert soft[5, 8] == -3
    assert soft[11, 0] == -8  # came from beyond the plane
    far = Alignment(np.array([[1.0, 0, 100], [0, 1, 0]]), "accepted")
    assert not cut_moved(mask, window, far).any()
    assert np.array_equal(cut_moved(mask, window, unaligned("off")), mask[window])


def test_cutting_after_a_turn_equals_moving_the_whole(polygons):
    mask = polygons(count=1)[0]
    moved = Alignment(similarity(1.06, 4, (5, -3)), "accepted")
    whole = cv2.warpAffine(mask.astype(np.uint8), moved.matrix, (320, 240), flags=cv2.INTER_NEAREST)
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    before = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
    window = moved_window(before, moved, mask.shape)
    cut = cut_moved(mask, window, moved)
    assert (cut != whole[window].astype(bool)).mean() < 0.002  # OpenCV rounds places to 1/32 px
    outside = whole.copy()
    outside[window] = 0
    assert not outside.any()
