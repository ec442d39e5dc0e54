import cv2
import numpy as np
import pytest

from headframe.core.detections import Detections, boxes_of


@pytest.fixture
def found():
    """Give a function that makes detections of masks (n, H, W)."""

    def make(masks, *, labels=None, scores=None, logits=None):
        masks = np.asarray(masks, bool)
        count = len(masks)
        return Detections(
            boxes_of(masks),
            np.array(labels if labels is not None else [1] * count, np.int64),
            np.array(scores if scores is not None else [0.9] * count, np.float32),
            masks,
            None if logits is None else np.asarray(logits, np.float32),
        )

    return make


@pytest.fixture
def polygons():
    """Give a function that draws the same angular shapes, turned, enlarged or shifted."""

    def make(size=(240, 320), *, matrix=((1, 0, 0), (0, 1, 0)), count=9, seed=4):
        rng = np.random.default_rng(seed)
        masks = np.zeros((count, *size), np.uint8)
        for mask in masks:
            centre = rng.uniform((70, 60), (size[1] - 70, size[0] - 60))
            angles = np.sort(rng.uniform(0, 2 * np.pi, 7))
            reach = rng.uniform(15, 45, (7, 1))
            corners = centre + reach * np.column_stack([np.cos(angles), np.sin(angles)])
            moved = np.column_stack([corners, np.ones(7)]) @ np.array(matrix, float).T
            cv2.fillPoly(mask, [np.round(moved).astype(np.int32)], 1)
        return masks.astype(bool)

    return make
