import json

import numpy as np
import pytest
from faster_coco_eval.core import mask as rle_tools

from headframe.core.detections import Detections, boxes_of
from headframe.underground.segment.record import (
    FrameRecord,
    describe,
    enlarged,
    output_categories,
    record_of,
    run_lengths,
)


def whole(mask, size):
    plane = np.zeros(size, np.bool_)
    window, part = enlarged(mask, size)
    plane[window] = part
    return plane


def test_people_are_category_one():
    numbers, ids = output_categories(("road", "wall", "people", "equipment"))
    assert numbers == {"person": 1, "road": 2, "wall": 3, "equipment": 4}
    assert ids == (2, 3, 1, 4)
    assert output_categories(("person",)) == ({"person": 1}, (1,))
    assert output_categories(("road", "wall")) == ({"road": 2, "wall": 3}, (2, 3))


def test_a_block_is_enlarged_in_place():
    mask = np.zeros((12, 20), np.bool_)
    mask[3:7, 5:15] = True
    large = whole(mask, (48, 60))
    exact = mask.repeat(4, axis=0).repeat(3, axis=1)
    assert (large != exact).sum() <= 4 * 6  # the corners are rounded
    assert (large == large[:, ::-1]).all()
    np.testing.assert_array_equal(whole(mask, (12, 20)), mask)
    np.testing.assert_array_equal(whole(mask, (6, 10))[2:3, 3:7], True)


@pytest.mark.parametrize("place", [(0, 0), (11, 19), (0, 19), (5, 0)])
def test_pixels_at_the_border_reach_the_border(place):
    mask = np.zeros((12, 20), np.bool_)
    mask[place] = True
    large = whole(mask, (120, 200))
    rows, cols = np.nonzero(large)
    for values, at, side in ((rows, place[0], 120), (cols, place[1], 200)):
        share = side // 10
        assert (values.min() == 0) == (at == 0)
        assert (values.max() == side - 1) == (at == side // 10 - 1)
        assert values.min() >= at * 10 - 5
        assert values.max() <= at * 10 + 15
        assert share
    assert 40 <= large.sum() <= 120


def test_nothing_stays_nothing():
    assert not whole(np.zeros((5, 7), np.bool_), (50, 70)).any()
    assert run_lengths(np.zeros((5, 7), np.bool_), (9, 4))["size"] == [9, 4]


def test_objects_in_pixels_of_the_photograph():
    masks = np.zeros((3, 20, 30), np.bool_)
    masks[0, 4:12, 6:18] = True
    masks[2, 19, 29] = True
    boxes = boxes_of(masks)
    boxes[2] = [28.5, 18, 33, 25]
    found = Detections(boxes, np.array([2, 1, 1]), np.array([0.9, 0.8, 0.7], np.float32), masks)
    told = describe(found, (60, 120), ids=(1, 5), sources=["rgb", "rgb", "both"])
    assert [o.category_id for o in told] == [5, 1]
    assert told[0].bbox == (24, 12, 48, 24)
    assert told[1].bbox == (114, 54, 6, 6)
    assert told[1].source == "both"
    assert told[0].segmentation["size"] == [60, 120]
    assert told[0].area == told[0].mask().sum() == pytest.approx(24 * 48, abs=24)
    np.testing.assert_array_equal(rle_tools.toBbox(dict(told[0].segmentation)), [24, 12, 48, 24])


def test_a_record_through_json():
    masks = np.zeros((1, 20, 30), np.bool_)
    masks[0, 4:12, 6:18] = True
    found = Detections(boxes_of(masks), np.array([1]), np.array([0.9], np.float32), masks)
    objects = describe(found, (20, 30), ids=(1,))
    record = FrameRecord("a.mp4", 30, 20, objects, {"people": 1}, {"sam": 0.5})
    record = record.of_video("a.mp4", 3, 0.12).tracked([7])
    again = record_of(json.loads(json.dumps(record.to_json())))
    assert again == record
    assert again.objects[0].track_id == 7
    np.testing.assert_array_equal(again.objects[0].mask(), masks[0])


def test_run_lengths_are_those_of_the_whole_mask():
    rng = np.random.default_rng(0)
    for _ in range(200):
        height, width = (int(side) for side in rng.integers(1, 12, 2))
        mask = rng.random((height, width)) < rng.choice([0, 0.1, 0.5, 0.9, 1])
        coded = rle_tools.encode(np.asfortranarray(mask.astype(np.uint8)))
        told = run_lengths(mask, (height, width))
        counts = coded["counts"]
        assert told["counts"] == (counts.decode() if isinstance(counts, bytes) else counts)
        assert told["size"] == [height, width]


def test_run_lengths_of_an_enlarged_mask():
    mask = np.zeros((24, 32), np.bool_)
    mask[3:9, 5:14] = mask[20:24, 30:32] = True  # one reaches the foot and the last column
    np.testing.assert_array_equal(
        rle_tools.decode(run_lengths(mask, (97, 131))), whole(mask, (97, 131))
    )
