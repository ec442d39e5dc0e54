import numpy as np

from headframe.core.detections import Detections, boxes_of
from headframe.underground.segment.summary import COLUMNS, summarise

NAMES = ("road", "wall", "people", "equipment")


def found(*objects):
    masks = np.zeros((len(objects), 20, 40), np.bool_)
    for mask, (_, rows, cols) in zip(masks, objects, strict=True):
        mask[slice(*rows), slice(*cols)] = True
    labels = np.array([label for label, *_ in objects], np.int64)
    return Detections(boxes_of(masks), labels, np.full(len(labels), 0.9, np.float32), masks)


def test_a_frame_by_hand():
    told = summarise(
        found(
            (1, (10, 20), (8, 24)),
            (1, (6, 10), (10, 18)),
            (3, (2, 9), (0, 3)),
            (3, (2, 9), (5, 8)),
            (4, (0, 4), (30, 40)),
        ),
        NAMES,
    )
    assert tuple(told) == COLUMNS
    assert (told["people"], told["equipment"]) == (2, 1)
    assert told["road_area"] == (160 + 32) / 800
    assert told["road_x"] == round((160 * 16 + 32 * 14) / 192 / 40, 4)
    assert told["road_y"] == round((160 * 15 + 32 * 8) / 192 / 20, 4)
    assert (told["road_left"], told["road_right"]) == (0.2, 0.6)
    assert told["road_far"] == 0.3


def test_overlapping_roads_count_once():
    told = summarise(found((1, (10, 20), (8, 24)), (1, (12, 20), (8, 24))), NAMES)
    assert told["road_area"] == 0.2


def test_no_road_and_no_such_class():
    told = summarise(found((3, (2, 9), (0, 3))), NAMES)
    assert told["road_area"] == 0
    assert told["road_x"] is told["road_left"] is None
    alone = summarise(found((1, (2, 9), (0, 3))), ("person",))
    assert alone["people"] == 1
    assert alone["equipment"] is alone["road_area"] is None
    far = summarise(found((1, (2, 9), (0, 3))), NAMES)
    assert far["road_left"] is None
    assert far["road_far"] == 0.1
