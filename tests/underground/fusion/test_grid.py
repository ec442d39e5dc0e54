import numpy as np
import pytest

from headframe.underground.fusion.grid import occupied_cells, relabel

CLASSES = {"road": 1, "wall": 2, "roof": 3, "people": 4}


def masks():
    found = np.zeros((4, 12, 20), bool)
    found[0, 0:12, 0:3] = True  # a wall from top to bottom
    found[1, 2:9, 6:9] = True  # down to row 8, the last one above the bottom row of cells
    found[2, 9, 19] = True  # one pixel of the bottom row
    found[3, 5:12, 10:12] = True  # a miner in the foreground
    return found


def test_cells():
    cells = occupied_cells(masks())
    assert cells.shape == (4, 4, 4)
    assert cells[0].tolist() == [[True, False, False, False]] * 4
    assert np.argwhere(cells[1]).tolist() == [[0, 1], [1, 1], [2, 1]]
    assert np.argwhere(cells[2]).tolist() == [[3, 3]]
    assert np.argwhere(cells[3]).tolist() == [[1, 2], [2, 2], [3, 2]]
    odd = np.ones((1, 5, 7), bool)  # every pixel in one cell, also where sides do not divide
    assert occupied_cells(odd).all()
    assert not occupied_cells(np.zeros((1, 2, 1), bool)).any()


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("off", [2, 2, 3, 4]), ("structural", [1, 2, 1, 4]), ("literal", [1, 2, 1, 1])],
)
def test_what_stands_on_the_bottom_row_is_road(rule, expected):
    labels = np.array([2, 2, 3, 4])
    assert relabel(labels, masks(), CLASSES, rule).tolist() == expected
    assert labels.tolist() == [2, 2, 3, 4]


def test_the_rule_agrees_with_the_cells():
    rng = np.random.default_rng(2)
    for height in (1, 2, 3, 5, 8, 13, 31):
        found = rng.random((40, height, 6)) < 0.05
        changed = relabel(np.full(40, 2), found, CLASSES, "literal") == 1
        assert np.array_equal(changed, occupied_cells(found)[:, 3].any(axis=1))


def test_without_road_nothing_changes():
    labels = np.array([1, 1, 1, 2])
    assert relabel(labels, masks(), {"surrounding": 1, "people": 2}, "literal") is labels
    none = np.zeros(0, np.int64)
    assert relabel(none, np.zeros((0, 4, 4), bool), CLASSES, "literal").shape == (0,)
