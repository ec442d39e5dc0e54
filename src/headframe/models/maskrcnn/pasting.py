"""Masks in boxes brought to the photograph's own pixels."""

import math

import numpy as np
import numpy.typing as npt
from torch import Tensor

LIMIT = 1e-4
"""Probabilities of soft masks lie between this and 1 less this: logits between -9.2 and 9.2."""


def paste_masks(
    probabilities: Tensor, boxes: Tensor, *, height: int, width: int, soft: bool
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32] | None]:
    """Draw each mask into its box by bilinear interpolation.

    Cells reach to the edges of the box, so a mask of ones fills it: all pixels whose centres lie
    inside, or the nearest one where there is none. The work is that of the boxes' own pixels.

    Args:
        probabilities: (n, M, M), float32 in [0, 1].
        boxes: (n, 4), x0 y0 x1 y1 in pixels of the photograph.
        height: of the photograph.
        width: of the photograph.
        soft: give logits too.

    Returns:
        Masks (n, height, width), bool, True above one half; and logits, float32, positive there,
        the least of them outside of the box.
    """
    count, cells = len(boxes), probabilities.shape[-1]
    masks = np.zeros((count, height, width), np.bool_)
    floor = math.log(LIMIT / (1 - LIMIT))
    logits = np.full((count, height, width), floor, np.float32) if soft else None
    cut = probabilities.float().cpu().numpy()  # no tensors: autocast would make them coarse
    for number, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        across, columns = _stretch(x0, x1, side=width, cells=cells)
        down, rows = _stretch(y0, y1, side=height, cells=cells)
        values = down @ cut[number] @ across.T  # (rows, columns)
        masks[number, rows, columns] = values > 0.5
        if logits is not None:
            values = values.clip(LIMIT, 1 - LIMIT)
            logits[number, rows, columns] = np.log(values / (1 - values))
    return masks, logits


def _stretch(
    low: float, high: float, *, side: int, cells: int
) -> tuple[npt.NDArray[np.float32], slice]:
    """Weights (pixels, cells) of bilinear interpolation along one axis, and which pixels."""
    first = min(max(math.ceil(low - 0.5), 0), side - 1)
    last = min(max(math.ceil(high - 0.5), first + 1), side)
    centres = np.arange(first, last) + 0.5
    place = (centres - low) / max(high - low, 1e-6) * cells - 0.5
    place = place.clip(0, cells - 1)
    weights = (1 - np.abs(place[:, None] - np.arange(cells))).clip(0, None)
    return weights.astype(np.float32), slice(first, last)
