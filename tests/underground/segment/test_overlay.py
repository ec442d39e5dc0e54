import numpy as np
import pytest

from headframe.core.detections import Detections, boxes_of
from headframe.underground.segment.overlay import backdrop, draw, fitted, note
from headframe.underground.segment.record import describe


def test_backdrops():
    rng = np.random.default_rng(0)
    dark = rng.integers(2, 30, (100, 160, 3), dtype=np.uint8)
    bright = backdrop(dark, longest_px=80, style="bright")
    assert bright.shape == (50, 80, 3)
    assert bright.max() == 255
    assert bright.min() == 0
    same = backdrop(dark, longest_px=0, style="original")
    np.testing.assert_array_equal(same, dark)
    same[:] = 0
    assert dark.any()
    flat = backdrop(np.full((8, 8, 3), 9, np.uint8), longest_px=0, style="bright")
    assert not flat.any()


@pytest.mark.parametrize("size", [(40, 60), (80, 120)])
def test_masks_of_any_size_lie_in_the_same_place(size):
    masks = np.zeros((1, 20, 30), np.bool_)
    masks[0, 8:16, 9:21] = True
    found = Detections(boxes_of(masks), np.array([1]), np.array([0.9], np.float32), masks)
    objects = describe(found, size, ids=(1,))
    picture = np.zeros((40, 60, 3), np.uint8)
    out = draw(picture, objects, [objects[0].mask()], size=size, names={1: "person"})
    assert out is picture
    assert (picture[20:30, 22:38] == picture[25, 30]).all()
    assert picture[25, 30, 0] > picture[25, 30, 2] > 0
    assert not picture[34:, :].any()
    assert not picture[:, 50:][20:].any()
    assert picture[:14].any()  # the label is above


def test_an_object_at_every_edge():
    masks = np.ones((1, 6, 9), np.bool_)
    found = Detections(boxes_of(masks), np.array([1]), np.array([0.9], np.float32), masks)
    objects = describe(found, (12, 18), ids=(1,))
    picture = np.zeros((12, 18, 3), np.uint8)
    draw(picture, objects, list(masks), size=(12, 18), names={})
    assert picture.any(axis=-1).all()


def test_a_note_is_read_on_any_ground():
    for level in (0, 255):
        picture = note(np.full((60, 160, 3), level, np.uint8), "dark")
        assert picture[:20, :50].min() < 60
        assert picture[:20, :50].max() > 200
        assert (picture[30:] == level).all()


def test_pictures_are_fitted_into_one_size():
    tall = np.full((40, 10, 3), 200, np.uint8)
    out = fitted(tall, (20, 30))
    assert out.shape == (20, 30, 3)
    assert (out[:, 13:17] == 200).all()
    assert not out[:, :12].any()
    assert not out[:, 18:].any()
    assert fitted(tall, (40, 10)) is tall
