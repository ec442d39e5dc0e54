import numpy as np
import pytest
import torch

from headframe.core.detections import Detections
from headframe.core.errors import GridMismatchError
from headframe.engine.prompting.boxes import answer_boxes, frame_photograph, jitter_boxes
from headframe.models.sam.classprompt import build_class_prompted_sam
from headframe.models.sam.network import build_sam


def test_sides_move_by_a_tenth():
    boxes = np.tile(np.array([[200, 300, 260, 400]], np.float32), (4000, 1))
    moved = jitter_boxes(boxes, (1000, 1500), rng=np.random.default_rng(1)) - boxes
    assert moved.std(axis=0) == pytest.approx([6, 10, 6, 10], rel=0.06)
    assert np.abs(moved.mean(axis=0)).max() < 0.6
    again = jitter_boxes(boxes, (1000, 1500), rng=np.random.default_rng(1)) - boxes
    assert np.array_equal(moved, again)
    assert moved.dtype == np.float32


def test_never_by_more_than_twenty_pixels():
    boxes = np.tile(np.array([[300, 300, 900, 1200]], np.float32), (500, 1))
    moved = jitter_boxes(boxes, (2000, 1500), rng=np.random.default_rng(1)) - boxes
    assert np.abs(moved).max() == 20


def test_boxes_stay_within_the_image_and_have_an_area():
    rng = np.random.default_rng(3)
    corners = np.sort(rng.uniform(-30, 130, (2000, 2, 2)), axis=1)
    boxes = corners.reshape(-1, 4).astype(np.float32)
    boxes[:50, 2:] = boxes[:50, :2]  # without an area
    moved = jitter_boxes(boxes, (60, 100), rng=rng)
    assert (moved >= 0).all()
    assert (moved <= [100, 60, 100, 60]).all()
    assert (moved[:, 2:] - moved[:, :2] >= 1 - 1e-5).all()
    assert jitter_boxes(boxes[:0], (60, 100), rng=rng).shape == (0, 4)


def test_a_photograph_in_its_frame():
    sam = build_sam("tiny")
    pixels = np.zeros((3, 100, 200), np.float32)
    pixels[0, :, 100:] = 1
    frame = frame_photograph(pixels, sam)
    assert frame.pixels.shape == (1, 3, 64, 64)
    assert frame.shown == (32, 64)
    assert not frame.pixels[..., 32:, :].any()
    red = (1 - sam.pixel_mean[0]) / sam.pixel_std[0]
    assert frame.pixels[0, 0, 10, 60].item() == pytest.approx(red.item(), abs=1e-5)
    boxes = frame.to_frame(np.array([[0, 0, 200, 100], [50, 25, 500, 75]], np.float32))
    assert boxes.tolist() == [[-0.5, -0.5, 63.5, 31.5], [15.5, 7.5, 63.5, 23.5]]
    logits = torch.full((1, 16, 16), -5.0)
    logits[0, :8, 8:] = 5
    back = frame.to_photograph(logits)
    assert back.shape == (1, 100, 200)
    assert (back[0, :, 106:] > 0).all()
    assert (back[0, :, :94] < 0).all()


def test_litemedsam_sees_the_whole_range():
    sam = build_sam("tiny")
    sam.base = "litemedsam"  # its way with values, on a small network
    sam.pixel_mean.zero_()
    sam.pixel_std.fill_(1)
    dark = np.linspace(0.01, 0.03, 3 * 64 * 64, dtype=np.float32).reshape(3, 64, 64)
    frame = frame_photograph(dark, sam)
    assert (frame.pixels.min().item(), frame.pixels.max().item()) == (0, 1)
    flat = frame_photograph(np.full((3, 9, 64), 0.2, np.float32), sam)
    assert not flat.pixels.any()


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_class_prompted_sam(2, base="tiny").eval()


def detected(count, size=(40, 50)):
    rng = np.random.default_rng(2)
    corners = np.sort(rng.uniform(-5, 55, (count, 2, 2)), axis=1).reshape(-1, 4)
    return Detections(
        corners.astype(np.float32),
        rng.integers(1, 3, count),
        rng.random(count).astype(np.float32),
        np.zeros((count, *size), bool),
    )


def test_one_answer_for_each_detection(network):
    pixels = np.random.default_rng(0).random((3, 40, 50), dtype=np.float32)
    asked = detected(19)  # more than are decoded at once
    answer = answer_boxes(network, pixels, asked)
    assert answer.masks.shape == (19, 40, 50)
    assert np.array_equal(answer.masks, answer.logits > 0)
    assert np.array_equal(answer.labels, asked.labels)
    assert (answer.scores >= 0).all()
    assert (answer.scores <= 1).all()
    alone = answer_boxes(network, pixels, asked.select(np.array([17])))
    assert alone.logits[0] == pytest.approx(answer.logits[17], abs=1e-4)
    with torch.no_grad():
        network.table.weight[:] = 1.0
    told = answer_boxes(network, pixels, asked)
    untold = answer_boxes(network, pixels, asked, classes=False)
    assert untold.logits == pytest.approx(answer.logits, abs=1e-4)
    assert not np.allclose(told.logits, untold.logits, atol=1e-3)


def test_without_detections_nothing_is_run(network, monkeypatch):
    monkeypatch.delattr(type(network), "encode")
    answer = answer_boxes(network, np.zeros((3, 40, 50), np.float32), Detections.none(40, 50))
    assert len(answer) == 0
    assert answer.size == (40, 50)


def test_what_is_no_photograph(network):
    for shape in ((1, 40, 50), (40, 50), (3, 0, 50)):
        with pytest.raises(GridMismatchError, match="cannot be framed"):
            frame_photograph(np.zeros(shape, np.float32), network.sam)
    with pytest.raises(GridMismatchError, match="not of a photograph"):
        answer_boxes(network, np.zeros((3, 40, 51), np.float32), detected(1))
