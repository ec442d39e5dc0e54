import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import confusion_matrix

from headframe.core.errors import DatasetError, GridMismatchError
from headframe.metrics.confusion import ConfusionMatrix, confusion, total, without_truth

LABELS = hnp.arrays(np.uint8, (2, 5, 7), elements=st.sampled_from([0, 1, 2, 255]))


def test_by_hand():
    truth = np.array([[0, 0, 1], [1, 255, 1]], np.uint8)
    pred = np.array([[0, 1, 1], [0, 1, 255]], np.uint8)
    assert confusion(pred, truth, 2).tolist() == [[1, 1], [1, 1]]


def test_rows_are_the_truth():
    assert confusion(np.array([2]), np.array([0]), 3).tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]


@given(LABELS, LABELS)
def test_agrees_with_scikit_learn(pred, truth):
    counted = (pred != 255) & (truth != 255)
    counts = confusion(pred, truth, 3)
    assert counts.dtype == np.int64
    if counted.any():
        expected = confusion_matrix(truth[counted], pred[counted], labels=[0, 1, 2])
        assert np.array_equal(counts, expected)
    assert counts.sum() == counted.sum()


@given(LABELS, LABELS)
def test_swapping_sides_transposes_and_chips_add_up(pred, truth):
    matrix = ConfusionMatrix(3)
    parts = [matrix.update(p, t) for p, t in zip(pred, truth, strict=True)]
    whole = confusion(pred, truth, 3)
    assert np.array_equal(matrix.counts, whole)
    assert np.array_equal(total(parts, 3), whole)
    assert np.array_equal(confusion(truth, pred, 3), whole.T)


def test_another_ignore_value():
    assert confusion(np.array([0, 1]), np.array([-1, 1]), 2, ignore=-1).tolist() == [[0, 0], [0, 1]]


def test_nothing_counted_is_zeros():
    empty = np.full((3, 4), 255, np.uint8)
    assert confusion(empty, empty, 2).tolist() == [[0, 0], [0, 0]]
    assert total([], 2).tolist() == [[0, 0], [0, 0]]


def test_errors():
    with pytest.raises(GridMismatchError, match="differ in shape"):
        confusion(np.zeros((2, 3), int), np.zeros((3, 2), int), 2)
    with pytest.raises(DatasetError, match=r"truth holds \[2, 7\]"):
        confusion(np.zeros(3, int), np.array([7, 1, 2]), 2)
    with pytest.raises(DatasetError, match=r"prediction holds \[-1\]"):
        confusion(np.array([-1]), np.array([1]), 2)


def test_what_truly_is_of_a_class_can_be_left_out():
    counts = np.array([[50, 0, 1], [2, 20, 3], [1, 2, 6]])
    kept = without_truth(counts, 1)
    np.testing.assert_array_equal(kept, [[50, 0, 1], [0, 0, 0], [1, 2, 6]])
    assert counts[1, 1] == 20
