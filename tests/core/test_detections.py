import numpy as np
import pytest

from headframe.core.detections import Detections, boxes_of
from headframe.core.errors import GridMismatchError


def three():
    masks = np.zeros((3, 5, 8), bool)
    masks[0, 1:3, 2:7] = True
    masks[2, 4, 7] = True
    return Detections(
        boxes=boxes_of(masks),
        labels=np.array([2, 1, 2]),
        scores=np.array([0.4, 0.9, 0.4], np.float32),
        masks=masks,
        logits=np.where(masks, 2, -3).astype(np.float32),
    )


def test_boxes_run_along_the_outer_edges_of_pixels():
    assert three().boxes.tolist() == [[2, 1, 7, 3], [0, 0, 0, 0], [7, 4, 8, 5]]
    assert boxes_of(np.zeros((0, 5, 8), bool)).shape == (0, 4)


def test_some_of_them():
    found = three()
    assert found.size == (5, 8)
    chosen = found.select(np.array([2, 0]))
    assert chosen.labels.tolist() == [2, 2]
    assert chosen.boxes[0].tolist() == [7, 4, 8, 5]
    assert chosen.logits[0].max() == 2
    sure = found.above(0.4)
    assert sure.labels.tolist() == [1, 2, 2]
    assert sure.masks[1].sum() == 10  # equal scores keep their order
    assert len(found.above(0.95)) == 0


def test_none_at_all():
    nothing = Detections.none(5, 8)
    assert len(nothing) == 0
    assert nothing.size == (5, 8)
    assert nothing.above(0).logits.shape == (0, 5, 8)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("boxes", np.zeros((2, 4), np.float32), r"boxes of shape \(2, 4\) do not go with 3"),
        ("scores", np.zeros((3, 1), np.float32), r"\(3,\) is needed"),
        ("masks", np.zeros((3, 0, 8), bool), "at least one pixel"),
        ("masks", np.zeros((5, 8), bool), r"give \(n, H, W\)"),
        ("logits", np.zeros((3, 8, 5), np.float32), r"logits .* on 5 x 8 pixels"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(name, value, message):
    found = three()
    parts = {key: getattr(found, key) for key in ("boxes", "labels", "scores", "masks", "logits")}
    with pytest.raises(GridMismatchError, match=message):
        Detections(**(parts | {name: value}))
