"""Two masks of one object, cut out of the photograph, and when they are about different things."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headframe.core.detections import Floats

Mask = npt.NDArray[np.bool_]
LIMIT = 8.0
"""Logits beyond this are as sure as they can be; masks without logits are given + or - this."""


@dataclass(frozen=True, eq=False)
class Pair:
    """What Mask R-CNN and SAM say of one object, on the pixels around it.

    Attributes:
        detector: (h, w) bool, Mask R-CNN's mask.
        sam: (h, w) bool, SAM's, aligned.
        detector_logits: (h, w) float32 as the network gave them; None: only the mask is known.
        sam_logits: likewise.
        score: Mask R-CNN's, 0-1.
        quality: IoU that SAM expects of its mask, 0-1.
    """

    detector: Mask
    sam: Mask
    detector_logits: Floats | None = None
    sam_logits: Floats | None = None
    score: float = 1.0
    quality: float = 1.0

    def soft_detector(self) -> Floats:
        """Give Mask R-CNN's logits within +-``LIMIT``."""
        return bounded(self.detector, self.detector_logits)

    def soft_sam(self) -> Floats:
        """Give SAM's logits within +-``LIMIT``."""
        return bounded(self.sam, self.sam_logits)

    def overlap(self) -> float:
        """Give the IoU of the two masks; 0 where both are empty."""
        either = int(np.count_nonzero(self.detector | self.sam))
        return int(np.count_nonzero(self.detector & self.sam)) / either if either else 0.0


def bounded(mask: Mask, logits: Floats | None) -> Floats:
    """Clip logits to +-``LIMIT``, NaN to the lower end; of a mask alone, give its two ends."""
    if logits is None:
        return np.where(mask, np.float32(LIMIT), np.float32(-LIMIT))
    return np.asarray(np.nan_to_num(logits, nan=-LIMIT).clip(-LIMIT, LIMIT), np.float32)


def intersect(pair: Pair) -> Mask:
    """Give what both networks take for the object (Algorithm 4, line 5)."""
    return np.asarray(pair.detector & pair.sam, np.bool_)


def disagree(pair: Pair, least: float) -> bool:
    """Say whether the masks share nothing, or less than ``least`` (0-1) of the smaller one."""
    both = int(np.count_nonzero(pair.detector & pair.sam))
    smaller = min(int(np.count_nonzero(pair.detector)), int(np.count_nonzero(pair.sam)))
    return both == 0 or both < least * smaller
