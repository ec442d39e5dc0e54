import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as tm

from headframe.core.detections import Detections
from headframe.core.errors import DatasetError, UnknownNameError
from headframe.metrics.instances import (
    NAMES,
    TABLE_II,
    TABLE_III,
    InstanceEvaluation,
    difference,
    table_three,
    table_two,
)

CLASSES = {"road": 4, "people": 1}
"""Numbers with gaps and out of order, as COCO's may be."""


def two_photographs(boxed):
    evaluation = InstanceEvaluation(CLASSES)
    # people: one found exactly, one missed, one false alarm; another below the score
    evaluation.update(
        boxed((0, 0, 10, 10), (20, 0, 30, 10), (0, 20, 40, 30), labels=[1, 1, 4]),
        boxed(
            (0, 0, 10, 10), (30, 20, 40, 30), (20, 0, 30, 10), (0, 20, 30, 30),
            labels=[1, 1, 1, 4],
            scores=[0.9, 0.8, 0.4, 0.7],
        ),
    )  # fmt: skip
    # people: one of 100 pixels, found as 60 of them
    evaluation.update(boxed((5, 5, 15, 15)), boxed((5, 5, 11, 15)))
    return evaluation


def test_by_hand(boxed):
    report = two_photographs(boxed).report()
    people, road = report.per_class["people"], report.per_class["road"]
    assert list(report.per_class) == ["people", "road"]
    assert report.images == 2
    # objects: 2 found, 1 false, 1 missed
    assert people["precision"] == people["recall"] == people["f1"] == pytest.approx(2 / 3)
    assert people["f1_imagewise"] == pytest.approx((1 / 2 + 1) / 2)
    # pixels: 100 + 60 right, 100 false, 100 + 40 missed
    assert people["iou"] == pytest.approx(160 / 400)
    assert people["pixel_f1"] == pytest.approx(320 / 560)
    assert people["iou_imagewise"] == pytest.approx((100 / 300 + 0.6) / 2)
    assert people["pixel_f1_imagewise"] == pytest.approx((0.5 + 0.75) / 2)
    assert road["f1"] == 1
    assert road["iou"] == pytest.approx(0.75)
    assert road["iou_imagewise"] == pytest.approx(0.75)  # the photograph without road is left out
    assert report.mean["iou"] == pytest.approx((0.4 + 0.75) / 2)
    assert report.mean["f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert set(people) == set(report.mean) == set(NAMES)
    assert road["mask_ap50"] == pytest.approx(1)
    assert road["mask_ap75"] == pytest.approx(1)  # an IoU of just 0.75


def test_pooled_f1_and_iou_of_pixels_are_one_measure_and_that_of_objects_is_another(photographs):
    evaluation = InstanceEvaluation({"people": 1, "road": 2})
    for truth, found, crowd in photographs(15, seed=2):
        evaluation.update(truth, found, crowd=crowd)
    for measures in evaluation.report().per_class.values():
        iou = measures["iou"]
        assert measures["pixel_f1"] == pytest.approx(2 * iou / (1 + iou))
        assert abs(measures["f1"] - measures["pixel_f1"]) > 0.02


def test_torchmetrics_agrees_on_pixels(photographs):
    evaluation = InstanceEvaluation({"people": 1, "road": 2}, score=0.3)
    ours, theirs = [], []
    for truth, found, _ in photographs(8, seed=7, crowds=False):
        evaluation.update(truth, found)
        for side, maps in ((truth, theirs), (found.above(0.3), ours)):
            maps.append(np.stack([side.masks[side.labels == k].any(axis=0) for k in (1, 2)]))
    report = evaluation.report()
    pred, target = (torch.from_numpy(np.stack(maps)).int() for maps in (ours, theirs))
    iou = tm.multilabel_jaccard_index(pred, target, num_labels=2, average=None)
    f1 = tm.multilabel_f1_score(pred, target, num_labels=2, average=None)
    for name, expected_iou, expected_f1 in zip(("people", "road"), iou, f1, strict=True):
        assert report.per_class[name]["iou"] == pytest.approx(float(expected_iou), abs=1e-6)
        assert report.per_class[name]["pixel_f1"] == pytest.approx(float(expected_f1), abs=1e-6)


def test_crowds_count_for_nothing(boxed):
    evaluation = InstanceEvaluation({"people": 1})
    evaluation.update(
        boxed((0, 0, 10, 10), (20, 0, 40, 30)),
        boxed((0, 0, 10, 10), (22, 5, 32, 20)),
        crowd=np.array([False, True]),
    )
    people = evaluation.report().per_class["people"]
    assert [people[name] for name in NAMES] == pytest.approx([1] * len(NAMES))


def test_photographs_without_objects(boxed):
    evaluation = InstanceEvaluation({"people": 1})
    with pytest.raises(DatasetError, match="no photograph to score"):
        evaluation.report()
    evaluation.update(Detections.none(30, 40), Detections.none(30, 40))
    assert all(np.isnan(value) for value in evaluation.report().mean.values())
    evaluation.update(Detections.none(30, 40), boxed((0, 0, 5, 5)))
    report = evaluation.report().mean
    assert report["f1"] == report["iou"] == 0
    assert np.isnan(report["mask_ap"])


def test_strange_classes_are_refused(boxed):
    evaluation = InstanceEvaluation(CLASSES)
    with pytest.raises(DatasetError, match="the detections hold class 3"):
        evaluation.update(boxed((0, 0, 5, 5)), boxed((0, 0, 5, 5), labels=[3]))
    with pytest.raises(DatasetError, match="the truth hold class 2"):
        evaluation.update(boxed((0, 0, 5, 5), labels=[2]), boxed((0, 0, 5, 5)))
    assert not evaluation.matches


@pytest.mark.parametrize("metric", ["mask_ap50", "box_ap75", "f1", "precision", "pixel_f1", "iou"])
def test_the_difference_of_two_methods(photographs, metric):
    sides = []
    for noise in (0.5, 6.0):
        evaluation = InstanceEvaluation({"people": 1, "road": 2}, score=0.0)
        for truth, found, crowd in photographs(16, seed=1, noise=noise):
            evaluation.update(truth, found, crowd=crowd)
        sides.append(evaluation)
    low, high = difference(*sides, metric, draws=200)
    middle = sides[0].report().mean[metric] - sides[1].report().mean[metric]
    assert 0 < low < middle < high
    assert difference(*sides, metric, draws=200) == (low, high)
    assert difference(sides[0], sides[0], metric, draws=50) == (0, 0)


def test_differences_that_mean_nothing(boxed):
    first = two_photographs(boxed)
    with pytest.raises(UnknownNameError, match="closest: iou"):
        difference(first, first, "iou_imagewise")
    with pytest.raises(DatasetError, match="on the same photographs"):
        difference(first, InstanceEvaluation(CLASSES))


def test_the_papers_tables(boxed):
    report = two_photographs(boxed).report()
    empty = InstanceEvaluation(CLASSES)
    empty.update(Detections.none(30, 40), Detections.none(30, 40))
    rows = table_two(
        {"drawn": {"SAM": report, "DIS-Mine": empty.report()}, "other": {"SAM": report}}
    )
    assert TABLE_II == ("Dataset", "Model", "F1-score", "mIoU")
    assert rows == [
        ("drawn", "SAM", "83.3", "57.5"),
        ("", "DIS-Mine", "-", "-"),
        ("other", "SAM", "83.3", "57.5"),
    ]
    assert table_two({"a": {"b": report}}, f1="pooled")[0][2] == "71.4"  # (4/7 + 6/7) / 2
    assert table_two({"a": {"b": report}}, f1="imagewise", miou="imagewise")[0][2:] == (
        "74.1",  # (0.625 + 6/7) / 2
        "60.8",  # ((1/3 + 0.6) / 2 + 0.75) / 2
    )
    assert len(TABLE_III) == 3
    assert table_three(report) == [("people", "66.7", "40.0"), ("road", "100.0", "75.0")]
