import numpy as np
import pytest

from headframe.core.detections import Detections
from headframe.core.errors import GridMismatchError
from headframe.metrics.matching import MOST, coco_boxes, match


def test_the_surest_takes_the_best_object_that_is_left(boxed):
    truth = boxed((0, 0, 10, 10), (20, 0, 30, 10))
    # IoU with the first: 0.9, 1, 0.6; the second is not found
    found = boxed((0, 0, 10, 9), (0, 0, 10, 10), (0, 0, 6, 10), scores=[0.8, 0.7, 0.6])
    matches = match(truth, found)
    assert matches.true[0].tolist() == [True, False, False]
    assert matches.true[8].tolist() == [True, False, False]  # 0.9
    assert matches.true[9].tolist() == [False, True, False]  # 0.95
    assert matches.wanted.tolist() == [1, 1]
    assert not matches.ignored.any()


def test_classes_do_not_meet_and_order_is_by_score(boxed):
    truth = boxed((0, 0, 10, 10), (20, 0, 30, 10), labels=[2, 1])
    found = boxed((0, 0, 10, 10), (20, 0, 30, 10), (0, 0, 10, 10), labels=[1, 1, 2])
    matches = match(truth, found)
    assert matches.labels.tolist() == [1, 1, 2]
    assert matches.true[0].tolist() == [False, True, True]
    late = match(truth, boxed((0, 0, 9, 9), (20, 0, 30, 10), scores=[0.2, 0.9]))
    assert late.scores.tolist() == pytest.approx([0.9, 0.2])


def test_masks_and_boxes_differ(boxed):
    truth = boxed((0, 0, 10, 10))
    found = boxed((0, 0, 10, 10))
    halved = Detections(found.boxes, found.labels, found.scores, found.masks.copy())
    halved.masks[0, :, 4:] = False  # 40 of 100 pixels
    assert not match(truth, halved).true.any()
    assert match(truth, halved, kind="box").true.all()
    assert coco_boxes(boxed((3, 4, 9, 20))).tolist() == [[3, 4, 6, 16]]


def test_a_crowd_takes_any_number_and_counts_for_nothing(boxed):
    truth = boxed((0, 0, 20, 20), (0, 0, 9, 9))
    found = boxed((0, 0, 9, 9), (2, 2, 8, 8), (10, 10, 20, 20), (30, 0, 39, 9))
    matches = match(truth, found, crowd=np.array([True, False]))
    assert matches.true[0].tolist() == [True, False, False, False]
    assert matches.ignored[0].tolist() == [False, True, True, False]
    assert matches.wanted.tolist() == [1]


def test_no_more_than_a_hundred(boxed):
    many = boxed(*[(0, 0, 5, 5)] * 130, scores=list(np.linspace(0.9, 0.1, 130)))
    matches = match(boxed((0, 0, 5, 5)), many)
    assert len(matches.scores) == MOST
    assert matches.scores.min() > 0.25


def test_nothing_against_something(boxed):
    nothing = Detections.none(30, 40)
    assert match(nothing, boxed((0, 0, 5, 5))).true.tolist() == [[False]] * 10
    assert match(boxed((0, 0, 5, 5)), nothing).true.shape == (10, 0)
    assert match(nothing, nothing).wanted.size == 0
    empty = boxed((0, 0, 0, 0))
    assert not match(empty, empty).true.any()


def test_other_photographs_are_refused(boxed):
    with pytest.raises(GridMismatchError, match="one photograph"):
        match(boxed((0, 0, 5, 5)), boxed((0, 0, 5, 5), size=(30, 41)))
    with pytest.raises(GridMismatchError, match="2 crowd"):
        match(boxed((0, 0, 5, 5)), boxed((0, 0, 5, 5)), crowd=np.zeros(2, bool))
