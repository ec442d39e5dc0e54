import numpy as np
import pytest

from headframe.underground.fusion.render import grey_levels, reduced_size, render


def test_greys_are_distinct_and_far_apart():
    assert grey_levels(3).tolist() == [255, 170, 85]
    assert grey_levels(1).tolist() == [255]
    assert grey_levels(0).tolist() == []
    assert len(set(grey_levels(255).tolist())) == 255
    assert grey_levels(255).min() == 1
    assert grey_levels(300)[255] == grey_levels(300)[0]


def test_the_first_lies_on_top():
    masks = np.zeros((2, 3, 5), bool)
    masks[0, 1, 1:3] = True
    masks[1, 1:, 2:] = True
    assert render(masks).tolist() == [
        [0, 0, 0, 0, 0],
        [0, 255, 255, 128, 128],
        [0, 0, 128, 128, 128],
    ]
    assert render(np.zeros((0, 3, 5), bool)).tolist() == [[0] * 5] * 3


def test_reduced_without_mixing_greys():
    masks = np.zeros((2, 40, 60), bool)
    masks[0, :20, :30] = True
    masks[1, 20:, 30:] = True
    small = render(masks, longest_px=6)
    assert small.tolist() == [[255] * 3 + [0] * 3] * 2 + [[0] * 3 + [128] * 3] * 2
    assert np.array_equal(render(masks, longest_px=60), render(masks))


@pytest.mark.parametrize(
    ("size", "small"), [((1, 4000), (1, 1024)), ((2000, 1000), (1024, 512)), ((9, 7), (9, 7))]
)
def test_sizes(size, small):
    assert reduced_size(size, 1024) == small
