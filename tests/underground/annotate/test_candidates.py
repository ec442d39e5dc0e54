"""What is asked of both networks, and how it is kept."""

import numpy as np
import pytest
import torch

from headframe.core.errors import OutputError
from headframe.engine.box_sam_bundle import build_box_sam
from headframe.metrics.matching import encode
from headframe.underground.annotate.candidates import (
    Note,
    decode,
    look,
    look_at,
    note_path,
    overlaps,
    read_note,
)
from headframe.underground.annotate.prompts import Hint


@pytest.fixture
def sam():
    torch.manual_seed(0)
    return build_box_sam(1, base="tiny")[0].eval()


@pytest.fixture
def pixels(scene):
    values = scene.photograph(0).astype(np.float32) / 255
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def test_sam_is_asked_about_what_the_detector_finds(pixels, blob_chain, sam):
    finder = blob_chain().detector
    large, small = look(pixels, finder, sam, ask_score=0.3)
    assert (large.score, small.score) == (0.9, 0.6)
    assert large.box == (6.0, 8.0, 20.0, 30.0)
    assert decode(large.own).sum() == 22 * 14
    assert large.agreement == overlaps(large.mask, [large.own])[0]
    for candidate in (large, small):
        assert candidate.origin == "detector"
        assert decode(candidate.mask).shape == (48, 66)
        assert 0 <= candidate.predicted_iou <= 1
        assert 0 <= candidate.stability <= 1
        assert candidate.area == decode(candidate.mask).sum()
    assert len(look(pixels, finder, sam, ask_score=0.7)) == 1
    assert look(pixels, finder, sam, ask_score=0.95) == ()


def test_a_box_of_a_person_is_brought_to_the_networks_pixels(pixels, networks):
    (found,) = look_at(
        pixels, [Hint("person", (12, 16, 40, 60))], numbers={"person": 1}, scale=0.5,
        detector=networks.finder, sam=networks,
    )  # fmt: skip
    assert found.box == (6.0, 8.0, 20.0, 30.0)
    assert (found.origin, found.score, found.own, found.agreement) == ("box", 1.0, None, None)
    assert found.area == 22 * 14
    assert not networks.finder.seen  # boxes need no detector


def test_a_point_is_a_box_of_the_detector_or_the_best_of_several(pixels, networks):
    places = ("person", 10, 12), ("road", 10, 12), ("road", 32, 6)
    hints = [Hint(name, (x, y, x, y)) for name, x, y in places]
    first, second, third = look_at(
        pixels, hints, numbers={"person": 1, "road": 2}, scale=1,
        detector=networks.finder, sam=networks,
    )  # fmt: skip
    assert first.box == (6.0, 8.0, 20.0, 30.0)
    assert {found.origin for found in (first, second, third)} == {"point"}
    # no road is found there: four sizes are tried, of which only the largest is not doubted
    assert len(networks.asked[-1]) == 9
    assert second.box == (0.0, 0.0, 22.0, 24.0)
    assert third.box == (30.5, 4.5, 33.5, 7.5)  # nothing is there at any size: the first stays


def test_notes_come_back(tmp_path, pixels, blob_chain, sam):
    note = Note("a/b.png", (48, 66), look(pixels, blob_chain().detector, sam, ask_score=0.3))
    note.write(tmp_path)
    assert read_note(tmp_path, "a/b.png") == note
    keys = {candidate.key("a/b.png") for candidate in note.candidates}
    assert len(keys | {candidate.key("c.png") for candidate in note.candidates}) == 4
    note_path(tmp_path, "a/b.png").write_text("{")
    with pytest.raises(OutputError, match=r"damaged .* Delete it, run again"):
        read_note(tmp_path, "a/b.png")


def test_overlaps_by_hand():
    masks = np.zeros((3, 4, 5), np.bool_)
    masks[0, :2, :4] = masks[1, 1:3, :4] = masks[2, 3] = True
    codes = encode(masks)
    assert overlaps(codes[0], codes[1:]) == pytest.approx([4 / 12, 0])
    assert overlaps(codes[0], []) == []
