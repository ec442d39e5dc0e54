from dataclasses import replace

import cv2
import numpy as np
import pytest

from headframe.core.detections import Detections, boxes_of
from headframe.core.errors import GridMismatchError
from headframe.underground.fusion import METHODS, FusionOptions, FusionTally, Gate, fuse
from headframe.underground.fusion.gate import FEATURES

CLASSES = {"road": 1, "wall": 2, "people": 3}
GATE = Gate((0.5, 1.0, 0.3, 1.0, 0.2, 0.4, 0.6), -0.2)


def two(found):
    """A wall down to the bottom, and a miner whose SAM mask is somewhere else."""
    detector = np.zeros((2, 24, 32), bool)
    detector[0, 4:24, 2:12] = True
    detector[1, 3:9, 20:26] = True
    sam = np.zeros((2, 24, 32), bool)
    sam[0, 2:24, 5:15] = True
    sam[1, 8:14, 25:31] = True  # shares one pixel of 36
    return found(detector, labels=[2, 3], scores=[0.64, 0.9]), found(sam, scores=[1.0, 0.5])


def test_the_chain_by_hand(found):
    detector, sam = two(found)
    fused = fuse(detector, sam, classes=CLASSES, options=FusionOptions(grid="structural"))
    expected = np.zeros((24, 32), bool)
    expected[4:24, 5:12] = True
    assert np.array_equal(fused.detections.masks[0], expected)
    assert np.array_equal(fused.detections.masks[1], detector.masks[1])
    assert fused.disagreed.tolist() == [False, True]
    assert fused.detections.labels.tolist() == [1, 3]
    assert fused.detections.scores.tolist() == detector.scores.tolist()
    assert np.array_equal(fused.detections.boxes, detector.boxes)
    assert fused.detections.logits is None
    assert fused.alignment.outcome == "few features"  # 24 x 32 px are too few for ORB


def test_each_step_can_be_switched(found):
    detector, sam = two(found)
    plain = FusionOptions(align=False, min_overlap=None, grid="off")
    fused = fuse(detector, sam, classes=CLASSES, options=plain)
    assert fused.alignment.outcome == "off"
    assert fused.disagreed.tolist() == [False, False]
    assert fused.detections.masks[1].sum() == 1
    assert fused.detections.labels.tolist() == [2, 3]
    literal = fuse(detector, sam, classes=CLASSES, options=replace(plain, grid="literal"))
    assert literal.detections.labels.tolist() == [1, 3]
    for method, masks in (("detector", detector.masks), ("sam", sam.masks)):
        alone = fuse(detector, sam, options=replace(plain, method=method))
        assert np.array_equal(alone.detections.masks, masks)
    rescored = fuse(detector, sam, options=replace(plain, rescore=0.5)).detections.scores
    assert rescored == pytest.approx([0.8, np.sqrt(0.45)])


def test_morphology_goes_with_the_photograph(found):
    mask = np.zeros((1, 600, 1024), bool)
    mask[0, 100:300, 200:500] = True
    mask[0, 200, 300:303] = False  # a hole of three pixels
    mask[0, 50:53, 50:53] = True  # a speck of nine
    holes = found(mask)
    cleaned = fuse(holes, holes, options=FusionOptions(align=False)).detections.masks[0]
    assert cleaned[200, 300:303].all()
    assert not cleaned[50:53, 50:53].any()
    left = fuse(holes, holes, options=FusionOptions(align=False, close=False, open_=False))
    assert np.array_equal(left.detections.masks, mask)


def test_a_shifted_sam_is_brought_back(found, polygons):
    truth = polygons()
    shifted = polygons(matrix=((1, 0, 5), (0, 1, -4)))
    options = FusionOptions(method="sam", close=False, open_=False, min_overlap=None)
    logits = np.where(shifted, 3, -3)
    fused = fuse(found(truth), found(shifted, logits=logits), options=options)
    assert fused.alignment.accepted
    both = (fused.detections.masks & truth).sum(axis=(1, 2))
    either = (fused.detections.masks | truth).sum(axis=(1, 2))
    before = (shifted & truth).sum(axis=(1, 2)) / (shifted | truth).sum(axis=(1, 2))
    assert (both / either > 0.9).all()
    assert (before < 0.85).all()
    soft = fuse(
        found(truth),
        found(shifted, logits=logits),
        options=replace(options, method="weighted", weight=0.9),
    )
    agree = (soft.detections.masks & truth).sum() / (soft.detections.masks | truth).sum()
    assert agree > 0.95


def test_a_reduced_picture_moves_the_photograph(found, polygons):
    truth, shifted = polygons(), polygons(matrix=((1, 0, 8), (0, 1, -6)))
    options = FusionOptions(method="sam", close=False, open_=False, align_px=200)
    fused = fuse(found(truth), found(shifted), options=options)
    assert fused.alignment.accepted
    assert fused.alignment.matrix[:, 2] == pytest.approx([-8, 6], abs=3)


def test_answers_must_belong_to_the_questions(found):
    detector, sam = two(found)
    with pytest.raises(GridMismatchError, match="one mask for each detection"):
        fuse(detector, sam.select(np.array([0])))
    with pytest.raises(GridMismatchError, match="one mask for each detection"):
        fuse(detector, found(sam.masks[:, :, :-1]))


def test_nothing_found(found):
    nothing = Detections.none(24, 32)
    fused = fuse(nothing, nothing, classes=CLASSES)
    assert len(fused.detections) == 0
    assert not fused.alignment.tried
    assert fused.detections.size == (24, 32)


def test_the_tally(found, polygons):
    tally = FusionTally()
    assert np.isnan(tally.identity_rate)
    assert tally.to_json()["identity_rate"] is None
    detector, sam = two(found)
    tally.add(fuse(detector, sam))
    tally.add(fuse(found(polygons()), found(polygons())))
    tally.add(fuse(Detections.none(9, 9), Detections.none(9, 9)))
    assert tally.identity_rate == 0.5
    assert tally.to_json() == {
        "photographs": 3,
        "objects": 11,
        "disagreed": 1,
        "identity_rate": 0.5,
        "alignment": {"accepted": 1, "few features": 1, "nothing to align": 1},
    }


def strange_masks(rng, count, size):
    """Empty, one pixel, everything, a box beyond the frame cut by it, or noise."""
    masks = np.zeros((count, *size), bool)
    for mask in masks:
        kind = rng.integers(6)
        if kind == 1:
            mask[rng.integers(size[0]), rng.integers(size[1])] = True
        elif kind == 2:
            mask[:] = True
        elif kind == 3:
            x, y = rng.integers(-size[1], 2 * size[1], 2), rng.integers(-size[0], 2 * size[0], 2)
            mask[max(y.min(), 0) : max(y.max(), 0), max(x.min(), 0) : max(x.max(), 0)] = True
        elif kind == 4:
            mask[:] = rng.random(size) < 0.4
        elif kind == 5:
            plane = mask.astype(np.uint8)
            corners = rng.uniform(-0.3, 1.3, (6, 2)) * (size[1], size[0])
            cv2.fillPoly(plane, [corners.astype(np.int32)], 1)
            mask[:] = plane > 0
    return masks


def strange_set(rng, count, size):
    masks = strange_masks(rng, count, size)
    logits = None
    if rng.random() < 0.6:
        logits = np.where(masks, 1, -1) * rng.exponential(6, masks.shape)
        logits[rng.random(masks.shape) < 0.01] = rng.choice([np.nan, np.inf, -np.inf])
        logits = logits.astype(np.float32)
    boxes = boxes_of(masks) + rng.normal(0, 30, (count, 4)).astype(np.float32)
    return Detections(
        boxes.astype(np.float32),
        rng.integers(1, 5, count),
        rng.random(count).astype(np.float32),
        masks,
        logits,
    )


def test_a_thousand_strange_sets():
    rng = np.random.default_rng(8)
    outcomes = set()
    for round_ in range(1000):
        size = tuple(int(s) for s in rng.integers(1, 40 if round_ % 4 else 120, 2))
        count = int(rng.integers(0, 7))
        detector, sam = strange_set(rng, count, size), strange_set(rng, count, size)
        if round_ % 16 == 4:
            sam = replace(sam, masks=np.roll(detector.masks, 1, axis=2))
        options = FusionOptions(
            method=METHODS[round_ % len(METHODS)],
            align=round_ % 5 != 0,
            min_overlap=(None, 0.0, 0.1)[round_ % 3],
            close=round_ % 2 == 0,
            kernel_px=(5, 40)[round_ % 7 == 0],
            grid=("off", "structural", "literal")[round_ % 3],
            gate=GATE,
            rescore=(0.0, 0.5)[round_ % 2],
        )
        before = detector.masks.copy()
        first = fuse(detector, sam, classes=CLASSES, options=options)
        again = fuse(detector, sam, classes=CLASSES, options=options)
        result = first.detections
        assert result.masks.shape == detector.masks.shape
        assert np.array_equal(result.masks, again.detections.masks)
        assert np.array_equal(result.labels, again.detections.labels)
        assert np.array_equal(first.alignment.matrix, again.alignment.matrix)
        assert np.isfinite(result.scores).all()
        assert np.array_equal(detector.masks, before)
        kept = first.disagreed & (detector.masks.any(axis=(1, 2)))
        assert result.masks[kept].any(axis=(1, 2)).all()
        if options.method == "intersection" and not options.align and not options.close:
            both = detector.masks & sam.masks
            assert not (result.masks & ~both)[~first.disagreed].any()
        outcomes.add(first.alignment.outcome)
    assert {"off", "nothing to align", "few features", "accepted"} <= outcomes


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_photographs_without_pixels_are_refused(size):
    with pytest.raises(GridMismatchError, match="at least one pixel"):
        Detections.none(*size)
    assert len(FEATURES) == len(GATE.weights)
