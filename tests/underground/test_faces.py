"""Heads of people, and faces through a film."""

import numpy as np
import pytest

from headframe.underground import faces as module
from headframe.underground.faces import Face, Veil, head_of


def test_heads_are_above():
    assert head_of(Face(10, 20, 30, 90)) == Face(10, 20, 30, 30)
    assert head_of(Face(10, 20, 30, 300)) == Face(10, 20, 30, 30)  # no longer than the shoulders
    assert head_of(Face(10, 20, 90, 60)) == Face(10, 20, 90, 20)


@pytest.fixture
def found(monkeypatch):
    faces = []
    monkeypatch.setattr(module, "find_faces", lambda pixels: tuple(faces))
    return faces


def test_a_face_that_is_lost_stays_hidden_for_a_moment(found):
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    veil = Veil(hold_s=0.5)

    def hidden(at_s, *heads):
        out = veil.hide(picture, heads, at_s=at_s)
        assert out is not picture
        return [bool((out[y, x] != picture[y, x]).any()) for x, y in ((20, 20), (60, 40))]

    assert hidden(0.0) == [False, False]
    found.append(Face(10, 10, 20, 20))
    assert hidden(1.0) == [True, False]
    found.clear()
    assert hidden(1.4) == [True, False]
    assert hidden(1.5, Face(50, 30, 20, 20)) == [True, True]
    assert hidden(1.6) == [False, True]
    assert hidden(3.0) == [False, False]


def test_faces_are_not_looked_for_on_every_picture(found, monkeypatch):
    looks = []
    monkeypatch.setattr(module, "find_faces", lambda pixels: looks.append(1) or ())
    veil, picture = Veil(look_s=0.2), np.zeros((40, 40, 3), np.uint8)
    for number in range(25):
        veil.hide(picture, (), at_s=number / 25)
    assert len(looks) == 5
