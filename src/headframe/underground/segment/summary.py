"""The safe path in a few figures a frame: where the road is, people and equipment counted."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from headframe.core.detections import Detections
from headframe.underground.segment.record import PEOPLE

ROAD, EQUIPMENT = "road", ("equipment", "machine", "machinery")
COLUMNS = (
    "people",
    "equipment",
    "road_area",
    "road_x",
    "road_y",
    "road_left",
    "road_right",
    "road_far",
)
_NEAR = 0.25


def summarise(detections: Detections, categories: Sequence[str]) -> dict[str, Any]:
    """Sum up one frame.

    Args:
        detections: objects that count.
        categories: names of the classes 1, 2, ….

    Returns:
        All of ``COLUMNS``. ``people`` and ``equipment``: how many; None where the model does not
        know the class. Of the road as a whole, None where the model does not know it, or sees
        none (its area is then 0): ``road_area``: share of the frame; ``road_x``, ``road_y``: its
        centre, shares of width and height from the upper left; ``road_left``, ``road_right``: its
        edges in the lowest quarter of the frame, where one stands, shares of the width;
        ``road_far``: height of its farthest point, share from the top.
    """
    names = [name.lower() for name in categories]
    told: dict[str, Any] = dict.fromkeys(COLUMNS)
    told["people"] = _count(detections, names, PEOPLE)
    told["equipment"] = _count(detections, names, EQUIPMENT)
    if ROAD not in names:
        return told
    road = detections.masks[detections.labels == names.index(ROAD) + 1].any(axis=0)
    told["road_area"] = round(float(road.mean()), 4)
    rows, cols = np.nonzero(road)
    if not rows.size:
        return told
    height, width = road.shape
    told["road_x"] = round(float((cols.mean() + 0.5) / width), 4)
    told["road_y"] = round(float((rows.mean() + 0.5) / height), 4)
    told["road_far"] = round(float(rows.min() / height), 4)
    near = cols[rows >= height * (1 - _NEAR)]
    if near.size:
        told["road_left"] = round(float(near.min() / width), 4)
        told["road_right"] = round(float((near.max() + 1) / width), 4)
    return told


def _count(detections: Detections, names: list[str], kinds: Sequence[str]) -> int | None:
    numbers = [number for number, name in enumerate(names, start=1) if name in kinds]
    return int(np.isin(detections.labels, numbers).sum()) if numbers else None
