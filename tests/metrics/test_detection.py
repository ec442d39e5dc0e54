import numpy as np
import pytest
import torch
from torchmetrics.detection import MeanAveragePrecision

from headframe.core.detections import Detections
from headframe.metrics.detection import CocoPhotographs, ap_difference, drawn_average_precision
from headframe.metrics.matching import IOU_THRESHOLDS, match

CLASSES = {"people": 1, "road": 2}


def collected(made):
    photographs = CocoPhotographs(CLASSES)
    for truth, found, crowd in made:
        photographs.add(truth, found, crowd=crowd)
    return photographs


def test_by_hand(boxed):
    photographs = CocoPhotographs(CLASSES)
    truth = boxed((0, 0, 10, 10), (20, 0, 30, 10))
    # right at 0.9; a false alarm; right at an IoU of 0.6
    found = boxed((0, 0, 10, 10), (0, 20, 9, 29), (20, 0, 26, 10), scores=[0.9, 0.8, 0.7])
    photographs.add(truth, found)
    result = photographs.average_precision("mask")
    # precision 1 up to a recall of a half (51 points), then 2/3 (50 points); without the third: 1
    assert result["people"].ap50 == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert result["people"].ap75 == pytest.approx(51 / 101)
    assert result["people"].ap == pytest.approx((3 * (51 + 50 * 2 / 3) + 7 * 51) / 1010)
    assert np.isnan(result["road"].ap)
    assert result[""] == result["people"]
    assert photographs.average_precision("box")["people"] == result["people"]


def test_nothing_at_all():
    photographs = CocoPhotographs(CLASSES)
    photographs.add(Detections.none(9, 7), Detections.none(9, 7))
    assert np.isnan(photographs.average_precision("mask")[""].ap)


def test_missing_everything_is_worth_nothing(boxed):
    photographs = CocoPhotographs(CLASSES)
    photographs.add(boxed((0, 0, 5, 5)), Detections.none(30, 40))
    assert photographs.average_precision("box")["people"].ap == 0


@pytest.mark.parametrize(("kind", "iou_type"), [("mask", "segm"), ("box", "bbox")])
def test_torchmetrics_agrees(photographs, kind, iou_type):
    made = photographs(12, seed=3)
    ours = collected(made).average_precision(kind)
    theirs = MeanAveragePrecision(iou_type=iou_type, class_metrics=True, backend="faster_coco_eval")
    for truth, found, crowd in made:
        sides = [
            {
                "boxes": torch.from_numpy(d.boxes),
                "labels": torch.from_numpy(d.labels),
                "scores": torch.from_numpy(d.scores),
                "masks": torch.from_numpy(d.masks),
            }
            for d in (found, truth)
        ]
        sides[1]["iscrowd"] = torch.from_numpy(crowd.astype(np.int64))
        theirs.update([sides[0]], [sides[1]])
    result = theirs.compute()
    assert ours[""].ap == pytest.approx(float(result["map"]), abs=1e-6)
    assert ours[""].ap50 == pytest.approx(float(result["map_50"]), abs=1e-6)
    assert ours[""].ap75 == pytest.approx(float(result["map_75"]), abs=1e-6)
    assert ours["road"].ap == pytest.approx(float(result["map_per_class"][1]), abs=1e-6)
    assert 0.1 < ours[""].ap < ours[""].ap50 < 1


@pytest.mark.parametrize("kind", ["mask", "box"])
def test_drawn_photographs_score_as_copies_of_them_would(photographs, kind):
    made = photographs(9, seed=5)
    matches = [match(truth, found, kind=kind, crowd=crowd) for truth, found, crowd in made]
    times = np.array([[1] * 9, [2, 0, 1, 3, 0, 0, 1, 1, 1]], float)
    for row, counts in enumerate(times):
        copies = [photo for photo, n in zip(made, counts, strict=True) for _ in range(int(n))]
        expected = collected(copies).average_precision(kind)
        for name, label in CLASSES.items():
            levels = [
                drawn_average_precision(matches, times, label=label, level=at)[row]
                for at in range(len(IOU_THRESHOLDS))
            ]
            assert np.mean(levels) == pytest.approx(expected[name].ap, abs=1e-9)
            assert levels[0] == pytest.approx(expected[name].ap50, abs=1e-9)
            assert levels[5] == pytest.approx(expected[name].ap75, abs=1e-9)


def test_the_difference_of_two_models(photographs):
    good, bad = (photographs(20, seed=1, noise=noise) for noise in (0.5, 6.0))
    first, second = ([match(t, f, crowd=c) for t, f, c in made] for made in (good, bad))
    low, high = ap_difference(first, second, labels=[1, 2], draws=200)
    assert 0.1 < low < high < 1
    assert ap_difference(first, second, labels=[1, 2], draws=200) == (low, high)
    assert ap_difference(first, first, labels=[1, 2], metric="ap", draws=50) == (0, 0)
    back = ap_difference(second, first, labels=[1, 2], draws=200)
    assert back == (pytest.approx(-high), pytest.approx(-low))
    assert np.isnan(ap_difference(first[:1], second[:1], labels=[1])).all()


def test_a_class_that_a_draw_lacks_is_left_out(boxed):
    alone = [match(boxed((0, 0, 9, 9)), boxed((0, 0, 9, 9)))] * 3
    assert ap_difference(alone, alone, labels=[1, 2], draws=20) == (0, 0)
    assert np.isnan(ap_difference(alone, alone, labels=[2], draws=20)).all()


def test_what_cannot_be_compared(boxed):
    one = [match(boxed((0, 0, 9, 9)), boxed((0, 0, 9, 9)))]
    with pytest.raises(ValueError, match="1 and 2 photographs cannot be paired"):
        ap_difference(one, one * 2, labels=[1])
    with pytest.raises(ValueError, match="no average precision 'ap95'"):
        ap_difference(one, one, labels=[1], metric="ap95")
