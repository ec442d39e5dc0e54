import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as tm
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import precision_recall_fscore_support

from headframe.core.errors import GridMismatchError
from headframe.metrics.confusion import confusion
from headframe.metrics.scores import LEFT_OUT, METRICS, PAPER, ZeroDivision, outcome_counts, scores

MATRICES = st.lists(hnp.arrays(np.int64, (3, 3), elements=st.integers(0, 50)), min_size=1)


def labels(seed, classes=3, shape=(4, 9, 11)):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, shape)
    pred = np.where(rng.random(shape) < 0.5, truth, rng.integers(0, classes, shape))
    truth[rng.random(shape) < 0.2] = 255
    return pred, truth


def test_binary_by_hand():
    # truth rows: background 5 right, 1 false alarm; target 2 missed, 4 found.
    result = scores([np.array([[5, 1], [2, 4]])]).of(1)
    assert result == pytest.approx(
        {
            "iou": 4 / 7,
            "f1": 8 / 11,
            "precision": 4 / 5,
            "recall": 4 / 6,
            "accuracy": 9 / 12,
            "jaccard_accuracy": 4 / 7,
        }
    )


def test_pooled_and_imagewise_differ_as_they_should():
    large, small = np.array([[0, 0], [10, 90]]), np.array([[0, 0], [1, 0]])
    pooled = scores([large, small], mode="pooled")
    imagewise = scores([large, small], mode="imagewise")
    assert pooled.of(1)["iou"] == pytest.approx(90 / 101)
    assert imagewise.of(1)["iou"] == pytest.approx((0.9 + 0) / 2)
    assert pooled.overall_accuracy == pytest.approx(90 / 101)
    assert imagewise.overall_accuracy == pytest.approx(0.45)


def test_the_papers_zero_division():
    """Absent and not predicted: 1 for IoU, 0 for precision and recall (methods.md 3.5)."""
    empty, found = np.array([[9, 0], [0, 0]]), np.array([[4, 1], [1, 4]])
    paper = scores([empty, found], mode="imagewise", zero_division=PAPER).of(1)
    assert paper["iou"] == pytest.approx((1 + 4 / 6) / 2)
    assert paper["f1"] == pytest.approx((1 + 0.8) / 2)
    assert paper["precision"] == pytest.approx((0 + 0.8) / 2)
    assert paper["recall"] == pytest.approx((0 + 0.8) / 2)
    assert paper["iou"] > max(paper["precision"], paper["recall"])
    honest = scores([empty, found], mode="imagewise", zero_division=LEFT_OUT).of(1)
    assert honest["iou"] == pytest.approx(4 / 6)
    assert honest["precision"] == pytest.approx(0.8)


def test_each_metric_has_its_own_zero_division():
    zero = ZeroDivision(iou=0.1, f1=0.2, precision=0.3, recall=0.4, accuracy=0.5)
    result = scores([np.zeros((2, 2), int)], zero_division=zero)
    assert result.of(1) == {
        "iou": 0.1,
        "f1": 0.2,
        "precision": 0.3,
        "recall": 0.4,
        "accuracy": 0.5,
        "jaccard_accuracy": 0.1,
    }
    assert result.overall_accuracy == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_pooled_agrees_with_torchmetrics(seed):
    pred, truth = labels(seed)
    result = scores([confusion(p, t, 3) for p, t in zip(pred, truth, strict=True)])
    args = (torch.from_numpy(pred), torch.from_numpy(truth))
    options = {"num_classes": 3, "average": "none", "ignore_index": 255}
    for name, function in {
        "iou": tm.multiclass_jaccard_index,
        "f1": tm.multiclass_f1_score,
        "precision": tm.multiclass_precision,
        "recall": tm.multiclass_recall,
    }.items():
        np.testing.assert_allclose(result.per_class[name], function(*args, **options), atol=1e-6)
    overall = tm.multiclass_accuracy(*args, num_classes=3, average="micro", ignore_index=255)
    assert result.overall_accuracy == pytest.approx(overall.item(), abs=1e-6)
    assert result.mean()["iou"] == pytest.approx(
        tm.multiclass_jaccard_index(*args, num_classes=3, ignore_index=255).item(), abs=1e-6
    )


@pytest.mark.parametrize("zero", [0.0, 1.0])
def test_imagewise_agrees_with_scikit_learn(zero):
    pred, truth = labels(7, shape=(6, 1, 4))  # so small that classes are missing
    result = scores(
        [confusion(p, t, 3) for p, t in zip(pred, truth, strict=True)],
        mode="imagewise",
        zero_division=ZeroDivision(zero, zero, zero, zero, zero),
    )
    expected = np.mean(
        [
            precision_recall_fscore_support(
                t[t != 255], p[t != 255], labels=[0, 1, 2], zero_division=zero
            )[:3]
            for p, t in zip(pred, truth, strict=True)
        ],
        axis=0,
    )
    for name, values in zip(("precision", "recall", "f1"), expected, strict=True):
        np.testing.assert_allclose(result.per_class[name], values, atol=1e-6)


@given(MATRICES, st.sampled_from(["pooled", "imagewise"]), st.sampled_from([LEFT_OUT, PAPER]))
@settings(deadline=None)
def test_scores_lie_in_0_to_1(matrices, mode, zero):
    result = scores(matrices, mode=mode, zero_division=zero)
    for name in METRICS:
        known = result.per_class[name][~np.isnan(result.per_class[name])]
        assert ((known >= 0) & (known <= 1)).all()
    if zero is PAPER:
        assert not any(np.isnan(v).any() for v in result.per_class.values())


@given(MATRICES)
def test_pooled_invariants(matrices):
    result = scores(matrices)
    iou, f1 = result.per_class["iou"], result.per_class["f1"]
    np.testing.assert_allclose(f1, 2 * iou / (1 + iou))
    order = np.array([2, 0, 1])
    renamed = scores([m[np.ix_(order, order)] for m in matrices])
    np.testing.assert_allclose(renamed.per_class["iou"], iou[order])
    turned = scores([m.T for m in matrices])
    np.testing.assert_allclose(turned.per_class["precision"], result.per_class["recall"])
    np.testing.assert_allclose(turned.per_class["iou"], iou)


@given(hnp.arrays(np.int64, (3, 3), elements=st.integers(0, 50)))
def test_one_image_scores_the_same_either_way(matrix):
    pooled, imagewise = scores([matrix]), scores([matrix], mode="imagewise")
    for name in METRICS:
        np.testing.assert_array_equal(pooled.per_class[name], imagewise.per_class[name])


def test_mean_over_classes():
    matrix = np.array([[6, 2, 0], [0, 2, 0], [0, 0, 0]])
    result = scores([matrix])
    assert result.mean()["iou"] == pytest.approx((6 / 8 + 2 / 4) / 2)  # the absent is left out
    assert result.mean(skip_background=True)["iou"] == pytest.approx(0.5)
    empty = scores([np.zeros((3, 3), int)])
    assert np.isnan(empty.mean()["iou"])
    assert np.isnan(empty.overall_accuracy)


def test_outcomes_add_up():
    matrix = np.array([[5, 1, 0], [2, 4, 3], [0, 0, 7]])
    outcomes = outcome_counts(matrix)
    assert outcomes["tp"].tolist() == [5, 4, 7]
    assert outcomes["fp"].tolist() == [2, 1, 3]
    assert outcomes["fn"].tolist() == [1, 5, 0]
    assert (sum(outcomes.values()) == matrix.sum()).all()


def test_errors():
    with pytest.raises(GridMismatchError, match="0 confusion matrices"):
        scores([])
    with pytest.raises(GridMismatchError, match="of 2 sizes"):
        scores([np.zeros((2, 2), int), np.zeros((3, 3), int)])
