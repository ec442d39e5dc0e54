"""From an answer to a polygon on the map, with its area and how stable it is."""

from dataclasses import dataclass, field

import numpy as np
import rasterio.features
import shapely
import torch
from affine import Affine
from numpy.typing import NDArray
from scipy import ndimage
from shapely import MultiPolygon, Polygon

from headframe.engine.prompting.answering import Answer
from headframe.engine.prompting.decoding import UNKNOWN, Logits, finer, stability
from headframe.engine.prompting.prompts import PixelPrompt
from headframe.geo.area import GridMeasure
from headframe.geo.window import Window
from headframe.io.scene import Scene

_STRIP_PX = 256
_SMALLEST = 0.1
"""Parts under this share of the largest, and holes under ``_HOLE`` of the object, are noise."""
_HOLE = 0.002


@dataclass(frozen=True)
class PromptedMask:
    """One object as it was found.

    Attributes:
        id: of the prompt.
        kind: of the prompt, ``point``, ``box``, ``polygon`` or several joined by ``+``.
        shape: in the scene's CRS, along pixel edges, holes kept; None where nothing was found.
        area_ha: on the ellipsoid, hectares.
        score: IoU that the network predicts for its mask, 0-1.
        stability: IoU of the masks at thresholds one logit higher and lower, 0-1.
        tiles: frames of the network it took.
        level: on which the outline was drawn: pixels of 2**n x 2**n, interpolated to the scene's.
        cut: the object goes on beyond the frames that were allowed.
        window: pixels of the scene that ``mask`` covers.
        mask: (h, w) bool on these pixels.
    """

    id: str
    kind: str
    shape: MultiPolygon | None
    area_ha: float
    score: float
    stability: float
    tiles: int
    level: int
    cut: bool
    window: Window = field(repr=False)
    mask: NDArray[np.bool_] = field(repr=False)


def outline(
    answer: Answer, prompt: PixelPrompt, scene: Scene, measure: GridMeasure
) -> PromptedMask:
    """Draw the outline of what was found.

    Of the parts of a mask those stay that hold a point of the prompt, or, without points, the
    largest and what is a tenth of it or more. Pixels without data are cut out.

    Args:
        answer: from ``answering.answer``.
        prompt: that it answers.
        scene: that it was found on.
        measure: of the scene's grid.
    """
    logits = answer.logits
    tidy = _tidy(logits.values, prompt, logits.window, 2**logits.level)
    window, mask = _own_pixels(tidy, logits)
    if answer.tiles > 1 or logits.level > 0:  # else nodata has been left out already
        mask &= _valid(scene, window)
    pixels = Affine.translation(window.col, window.row)
    found = rasterio.features.shapes(mask.astype(np.uint8), mask=mask, transform=pixels)
    parts = [Polygon(o["coordinates"][0], o["coordinates"][1:]) for o, _ in found]
    areas_m2, _ = measure.measures(parts)
    shape = MultiPolygon(list(shapely.transform(parts, measure.to_crs))) if parts else None
    return PromptedMask(
        id=prompt.id,
        kind=prompt.kind,
        shape=shape,
        area_ha=float(areas_m2.sum()) / 1e4,
        score=logits.score,
        stability=float(stability(torch.from_numpy(logits.values))),
        tiles=answer.tiles,
        level=logits.level,
        cut=answer.cut,
        window=window,
        mask=mask,
    )


def _own_pixels(mask: NDArray[np.bool_], logits: Logits) -> tuple[Window, NDArray[np.bool_]]:
    """Cut a mask of a level to what it marks, in pixels of the scene, its outline interpolated."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        rows = cols = np.zeros(1, dtype=np.int64)
    w = logits.window
    part = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
    there = Window(
        w.row + int(rows[0]), w.col + int(cols[0]),
        int(rows[-1] - rows[0]) + 1, int(cols[-1] - cols[0]) + 1,
    )  # fmt: skip
    size = np.maximum(np.abs(logits.values[part]), 1e-3)
    cut = Logits(logits.level, there, np.where(mask[part], size, -size), logits.score)
    own = finer(cut, 0)
    return own.window, own.mask


def _valid(scene: Scene, window: Window) -> NDArray[np.bool_]:
    """Read, strip by strip, where a window has data; (h, w) bool."""
    strips = []
    for first in range(0, window.height, _STRIP_PX):
        rows = min(_STRIP_PX, window.height - first)
        part = scene.read(Window(window.row + first, window.col, rows, window.width))
        strips.append(~np.isnan(part).any(axis=0))
    return np.concatenate(strips)


def _tidy(
    values: NDArray[np.float32], prompt: PixelPrompt, window: Window, scale: int
) -> NDArray[np.bool_]:
    """Keep the parts that are meant, and fill pinholes where there is data."""
    mask = values > 0
    labels, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept = np.flatnonzero(sizes >= _SMALLEST * sizes.max())
    at = (prompt.inside / scale - [window.col, window.row]).astype(int)
    within = ((at >= 0) & (at < [window.width, window.height])).all(axis=1)
    pointed = {int(labels[y, x]) for x, y in at[within]} - {0}
    if pointed and prompt.box is None:
        kept = np.array(sorted(pointed))
    tidy = np.isin(labels, kept)
    holes, number = ndimage.label(~tidy)
    hole_sizes = np.bincount(holes.ravel(), minlength=number + 1)
    small = np.flatnonzero(hole_sizes < _HOLE * tidy.sum())
    return np.asarray(tidy | (np.isin(holes, small[small > 0]) & (values > UNKNOWN)))
