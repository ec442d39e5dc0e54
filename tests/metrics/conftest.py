import numpy as np
import pytest

from headframe.core.detections import Detections


@pytest.fixture
def boxed():
    """Give a function that makes objects whose masks are their boxes (x0, y0, x1, y1)."""

    def make(*boxes, labels=None, scores=None, size=(30, 40)):
        masks = np.zeros((len(boxes), *size), bool)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
            mask[y0:y1, x0:x1] = True
        return Detections(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(labels or [1] * len(boxes), np.int64),
            np.array(scores or [1.0] * len(boxes), np.float32),
            masks,
        )

    return make


@pytest.fixture
def photographs():
    """Give a function that draws truth, detections and crowd marks of many photographs."""

    def make(count, *, seed=0, classes=2, crowds=True, noise=2.0, size=(48, 64)):
        rng = np.random.default_rng(seed)

        def ellipses(places):
            rows, cols = np.mgrid[: size[0], : size[1]]
            masks = np.zeros((len(places), *size), bool)
            boxes = np.zeros((len(places), 4), np.float32)
            for mask, box, (x, y, w, h) in zip(masks, boxes, places, strict=True):
                mask[:] = ((cols - x) / w) ** 2 + ((rows - y) / h) ** 2 < 1
                box[:] = x - w, y - h, x + w, y + h
            return boxes, masks

        made = []
        for _ in range(count):
            true = rng.uniform((8, 8, 4, 4), (56, 40, 14, 12), (rng.integers(0, 5), 4))
            labels = rng.integers(1, classes + 1, len(true))
            seen = np.concatenate([true[rng.random(len(true)) < 0.8]] * 2)
            seen = np.maximum(seen + rng.normal(0, noise, seen.shape), 1)
            guessed = np.concatenate([labels, rng.integers(1, classes + 1, 40)])[: len(seen)]
            scores = np.round(rng.random(len(seen)), 2).astype(np.float32)
            truth = Detections(*_ordered(ellipses(true), labels, np.ones(len(true), np.float32)))
            found = Detections(*_ordered(ellipses(seen), guessed, scores))
            crowd = (rng.random(len(true)) < 0.2) & crowds
            made.append((truth, found, crowd))
        return made

    def _ordered(shapes, labels, scores):
        return shapes[0], np.asarray(labels, np.int64), scores, shapes[1]

    return make
