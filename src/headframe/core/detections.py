"""What was found on one photograph: boxes, classes, scores and masks of its objects."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from headframe.core.errors import GridMismatchError

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Masks = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Detections:
    """Objects of one photograph, in its own pixels, in any order; n may be 0.

    The invariant is that all arrays have the same n, and masks and logits the same (H, W), at
    least one pixel each way. A mask may be empty, and a box may reach beyond the photograph.

    Attributes:
        boxes: (n, 4) float32, x0 y0 x1 y1 in pixels, (0, 0) being the corner of the first pixel.
        labels: (n,) int64, numbers of classes, 1 and up; 0 is the background and never there.
        scores: (n,) float32 in [0, 1].
        masks: (n, H, W) bool.
        logits: (n, H, W) float32, positive inside, for fusion; None where masks came without.
    """

    boxes: Floats
    labels: Labels
    scores: Floats
    masks: Masks
    logits: Floats | None = None

    def __post_init__(self) -> None:
        """Check the shapes; raises GridMismatchError where they do not belong together."""
        count = len(self.labels)
        masks = self.masks.shape
        if len(masks) != 3 or min(masks[1:]) < 1:
            raise GridMismatchError(
                f"masks of shape {masks} cannot be used; give (n, H, W) of a photograph with "
                "at least one pixel."
            )
        planes = (count, *masks[1:])
        parts = [
            ("boxes", self.boxes.shape, (count, 4)),
            ("labels", self.labels.shape, (count,)),
            ("scores", self.scores.shape, (count,)),
            ("masks", masks, planes),
            ("logits", planes if self.logits is None else self.logits.shape, planes),
        ]
        for name, shape, wanted in parts:
            if shape != wanted:
                raise GridMismatchError(
                    f"{name} of shape {shape} do not go with {count} objects on "
                    f"{masks[1]} x {masks[2]} pixels; {wanted} is needed."
                )

    @classmethod
    def none(cls, height: int, width: int) -> "Detections":
        """Give no objects on a photograph of ``height`` x ``width`` pixels, with empty logits."""
        return cls(
            boxes=np.zeros((0, 4), np.float32),
            labels=np.zeros(0, np.int64),
            scores=np.zeros(0, np.float32),
            masks=np.zeros((0, height, width), np.bool_),
            logits=np.zeros((0, height, width), np.float32),
        )

    def __len__(self) -> int:
        """Count the objects."""
        return len(self.labels)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the photograph."""
        return self.masks.shape[1], self.masks.shape[2]

    def select(self, which: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> "Detections":
        """Keep some objects.

        Args:
            which: their places, in the order wanted, or (n,) bool.
        """
        return replace(
            self,
            boxes=self.boxes[which],
            labels=self.labels[which],
            scores=self.scores[which],
            masks=self.masks[which],
            logits=None if self.logits is None else self.logits[which],
        )

    def above(self, score: float) -> "Detections":
        """Keep objects of at least ``score``, the surest first; ties keep their order."""
        order = np.argsort(-self.scores, kind="stable")
        return self.select(order[self.scores[order] >= score])


def boxes_of(masks: Masks) -> Floats:
    """Give the box around each mask.

    Args:
        masks: (n, H, W) bool.

    Returns:
        (n, 4) float32, x0 y0 x1 y1, outer edges of the outermost pixels; zeros of an empty mask.
    """
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        x, y = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        if x.size:
            box[:] = x[0], y[0], x[-1] + 1, y[-1] + 1
    return boxes
