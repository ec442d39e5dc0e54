"""Small pictures of large maps: the scene in colour with the outlines of what was found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headframe.core.classmap import IGNORE_INDEX, ClassInfo, ClassMap
from headframe.core.components import NODATA_BITS, BitArray
from headframe.io.files import replacing

FloatArray = NDArray[np.float32]

_LONGEST_PX = 1024
_LOW, _HIGH = 2.0, 98.0


@dataclass(frozen=True)
class Look:
    """A decimated picture of some rows of a scene.

    Attributes:
        first: picture row of the first row.
        bands: (3, n, w) float32; NaN where nothing is known.
        classes: (n, w) highest class index in each picture pixel, 255 where all is nodata.
    """

    first: int
    bands: FloatArray
    classes: NDArray[np.uint8]


def look_step(shape: tuple[int, int]) -> int:
    """Choose how many scene pixels a picture pixel stands for; no side gets above 1024 px."""
    return max(1, -(-max(shape) // _LONGEST_PX))


def rgb_channels(bands: Sequence[str]) -> tuple[int, int, int]:
    """Choose the channels shown as red, green and blue: those, or else the first ones."""
    names = list(bands)
    if {"red", "green", "blue"} <= set(names):
        return names.index("red"), names.index("green"), names.index("blue")
    last = len(names) - 1
    return 0, min(1, last), min(2, last)


def sampled(start: int, stop: int, step: int) -> slice:
    """Pick, relative to ``start``, the pixels of [start, stop) that a picture samples.

    Sampled are the pixels whose number is a multiple of ``step``, wherever the range starts.
    """
    return slice(-start % step, stop - start, step)


def shrink_classes(
    classes: NDArray[np.uint8], *, first_row: int, step: int
) -> tuple[int, NDArray[np.uint8]]:
    """Shrink rows of classes so that small finds stay visible: the highest index wins.

    Args:
        classes: (h, W); 255 for nodata.
        first_row: scene row of the first.
        step: from ``look_step``.

    Returns:
        The first picture row, and (n, w) classes; 255 only where all pixels are.
    """
    # Counted from 1 with nodata lowest, the highest index is the one to show.
    ranked = np.where(classes == IGNORE_INDEX, 0, classes + 1).astype(np.uint8)
    rows = np.arange(first_row, first_row + classes.shape[0]) // step
    row_starts = np.flatnonzero(np.diff(rows, prepend=-1))
    col_starts = np.arange(0, classes.shape[1], step)
    highest = np.maximum.reduceat(np.maximum.reduceat(ranked, row_starts), col_starts, axis=1)
    return int(rows[0]), np.where(highest == 0, IGNORE_INDEX, highest - 1).astype(np.uint8)


def assemble(looks: Sequence[Look], shape: tuple[int, int]) -> Look:
    """Put the looks of a scene's strips together; shared picture rows show the highest class.

    Args:
        looks: of strips that cover the scene.
        shape: the scene's (H, W), pixels.
    """
    step = look_step(shape)
    height, width = (-(-side // step) for side in shape)
    bands = np.full((3, height, width), np.nan, dtype=np.float32)
    ranked = np.zeros((height, width), dtype=np.uint8)
    for look in looks:
        rows = slice(look.first, look.first + look.classes.shape[0])
        new = np.where(look.classes == IGNORE_INDEX, 0, look.classes + 1)
        ranked[rows] = np.maximum(ranked[rows], new)
        bands[:, rows] = np.where(np.isnan(look.bands), bands[:, rows], look.bands)
    classes = np.where(ranked == 0, IGNORE_INDEX, ranked - 1).astype(np.uint8)
    return Look(0, bands, classes)


def write_quicklook(path: Path, look: Look, classes: ClassMap) -> None:
    """Draw the picture: bands stretched between their 2nd and 98th percentile, finds outlined.

    Args:
        path: PNG.
        look: of the whole scene.
        classes: colours of the outlines.

    Raises:
        OutputError: it cannot be written.
    """
    picture = _stretched(look.bands)
    outline = _outline(look.classes)
    for info in classes.classes[1:]:
        picture[outline & (look.classes == info.index)] = info.color
    _save(path, picture)


def shrink_bits(bits: BitArray, *, first_row: int, step: int) -> tuple[int, BitArray]:
    """Shrink rows of bit masks: a picture pixel has every bit of its pixels.

    Args:
        bits: (h, W); ``NODATA_BITS`` counts as no bit.
        first_row: scene row of the first.
        step: from ``look_step``.

    Returns:
        The first picture row, and (n, w) masks.
    """
    known = np.where(bits == NODATA_BITS, 0, bits).astype(np.uint16)
    rows = np.arange(first_row, first_row + bits.shape[0]) // step
    row_starts = np.flatnonzero(np.diff(rows, prepend=-1))
    col_starts = np.arange(0, bits.shape[1], step)
    small = np.bitwise_or.reduceat(np.bitwise_or.reduceat(known, row_starts), col_starts, axis=1)
    return int(rows[0]), small


def write_bits_quicklook(
    path: Path, bands: FloatArray, bits: BitArray, infos: Sequence[ClassInfo]
) -> None:
    """Draw the picture of a merged map: every component outlined, later ones on top.

    Args:
        path: PNG.
        bands: (3, h, w) of the whole scene, NaN where nothing is known.
        bits: (h, w) masks of the picture's pixels.
        infos: components from the lowest to the topmost; ``index`` is the position of the bit.

    Raises:
        OutputError: it cannot be written.
    """
    picture = _stretched(bands)
    for info in infos:
        there = (bits >> np.uint16(info.index) & np.uint16(1)).astype(np.uint8)
        picture[_outline(there) & (there == 1)] = info.color
    _save(path, picture)


def _stretched(bands: FloatArray) -> NDArray[np.uint8]:
    """Stretch bands (3, h, w) to a picture (h, w, 3), black where any is NaN."""
    picture = np.zeros((*bands.shape[1:], 3), dtype=np.uint8)
    for channel, band in enumerate(bands):
        known = band[np.isfinite(band)]
        if known.size:
            low, high = np.percentile(known, [_LOW, _HIGH])
            scaled = (np.nan_to_num(band, nan=low) - low) / max(high - low, 1e-6)
            picture[..., channel] = np.round(np.clip(scaled, 0, 1) * 255)
    picture[np.isnan(bands).any(axis=0)] = 0
    return picture


def _save(path: Path, picture: NDArray[np.uint8]) -> None:
    with replacing(path) as part:
        Image.fromarray(picture).save(part, format="PNG", optimize=True)


def _outline(classes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mark pixels with a neighbour of another class above, below, left or right."""
    edge = np.zeros(classes.shape, dtype=np.bool_)
    across = classes[:, 1:] != classes[:, :-1]
    down = classes[1:] != classes[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge
