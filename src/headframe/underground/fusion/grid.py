"""The 4 x 4 grid: what stands on the bottom row of the picture is road."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from headframe.core.detections import Labels, Masks

GridRule = Literal["off", "structural", "literal"]
SIDE = 4
ROAD = "road"
STRUCTURAL = (ROAD, "wall", "roof")


def occupied_cells(masks: Masks) -> npt.NDArray[np.bool_]:
    """Say which cells of the grid each mask touches.

    Pixel (y, x) lies in row 4 y // H and column 4 x // W; below four pixels some have none.

    Args:
        masks: (n, H, W) bool.

    Returns:
        (n, 4, 4) bool, rows from the top.
    """
    edges = [
        [-(-part * side // SIDE) for part in range(SIDE + 1)] for side in masks.shape[1:]
    ]  # the first pixel of each row and column: part * side / 4, rounded up
    cells = np.zeros((len(masks), SIDE, SIDE), np.bool_)
    for row in range(SIDE):
        for col in range(SIDE):
            y, x = slice(*edges[0][row : row + 2]), slice(*edges[1][col : col + 2])
            cells[:, row, col] = masks[:, y, x].any(axis=(1, 2))
    return cells


def relabel(labels: Labels, masks: Masks, classes: Mapping[str, int], rule: GridRule) -> Labels:
    """Call ``road`` what touches the bottom row, however far up it reaches.

    The paper says it of every instance, and would make a road of a miner in the foreground;
    ``structural`` says it of road, wall and roof alone. Without a class ``road`` nothing changes.

    Args:
        labels: (n,) int64.
        masks: (n, H, W) bool.
        classes: class to number.
        rule: ``off``, ``structural`` or ``literal`` (the paper's words).

    Returns:
        (n,) int64.
    """
    road = classes.get(ROAD)
    if rule == "off" or road is None or not len(labels):
        return labels
    below = masks[:, -(-(SIDE - 1) * masks.shape[1] // SIDE) :].any(axis=(1, 2))
    if rule == "structural":
        below &= np.isin(labels, [classes[name] for name in STRUCTURAL if name in classes])
    return np.where(below, road, labels).astype(np.int64)
