"""Chips that show the same ground, told from what they look like where no coordinates tell.

Chips without a CRS are often cut from a few scenes, with overlap, or from several dates of one
place. Dealt to folds chip by chip, a model is tested on ground that it has learnt by heart.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from headframe.core.progress import SILENT, Progress

FloatArray = npt.NDArray[np.float32]

LIKE = 0.6
"""Correlation of edges from which two chips show the same ground, one of them moved."""
LIKE_IN_PLACE = 0.35
"""The same where they lie on one another as they are: one place rather than the best of thousands.
Both were read off pairs of water-chips by eye (EXPERIMENTS.md, 2026-12-01)."""
MIN_SHARED = 0.4
"""Share of a chip that the other one must cover."""

_SIDE = 64
_SPREAD_PX = 1.0
_TOP = 95.0
_ROWS = 64


def same_ground(
    images: Iterable[FloatArray], *, count: int, progress: Progress = SILENT
) -> list[tuple[int, int]]:
    """Find the pairs of images that show the same ground, whatever the light and the season.

    Images are compared by the strength of their edges, averaged over bands, at no more than 64
    pixels a side, where one is moved over the other (normalised cross-correlation over what they
    share). Turned or zoomed ground is not found. Takes the square of the number of images: 245 of
    128 pixels in ten seconds, a thousand in three minutes.

    Args:
        images: each (C, H, W), any unit, NaN where there is no data. Only those of the same H and
            W are compared.
        count: how many there are.
        progress: told of every image.

    Returns:
        Pairs of indices, the smaller first, sorted.
    """
    progress.start("Looking for shared ground", count)
    sizes: dict[tuple[int, ...], list[tuple[int, FloatArray]]] = {}
    for index, image in enumerate(images):
        sizes.setdefault(image.shape[1:], []).append((index, _edges(image)))
    pairs: list[tuple[int, int]] = []
    for members in sizes.values():
        indices = np.array([index for index, _ in members])
        for row, columns in _alike(np.stack([edges for _, edges in members])):
            progress.advance()
            pairs += [(int(indices[row]), int(index)) for index in indices[columns]]
    progress.finish()
    return sorted(pairs)


def _edges(image: FloatArray) -> FloatArray:
    """Strength of the edges, (h, w): mean 0 and deviation 1, 0 where there is no data."""
    dark = np.logical_or.reduce(np.isnan(image), axis=0)
    near = ndimage.binary_dilation(dark, iterations=3)
    total = np.zeros(image.shape[1:], np.float32)
    for band in image:
        known = band[~dark]
        level = float(known.mean()) if known.size else 0.0
        smooth = ndimage.gaussian_filter(np.where(dark, level, band), _SPREAD_PX)
        strength = np.hypot(ndimage.sobel(smooth, 0), ndimage.sobel(smooth, 1))
        strength = np.minimum(strength, np.percentile(strength, _TOP))
        total += _standard(strength, ~near)
    height, width = image.shape[1:]
    step = min(math.ceil(max(height, width) / _SIDE), height, width)
    rows, columns = height // step * step, width // step * step
    blocks = total[:rows, :columns].reshape(rows // step, step, columns // step, step)
    return _standard(blocks.mean((1, 3)), np.True_)


def _standard(values: FloatArray, seen: npt.NDArray[np.bool_] | np.bool_) -> FloatArray:
    known = values[np.broadcast_to(seen, values.shape)]
    if known.size == 0 or known.std() == 0:
        return np.zeros_like(values)
    return np.where(seen, (values - known.mean()) / known.std(), 0).astype(np.float32)


def _alike(maps: FloatArray) -> Iterator[tuple[int, npt.NDArray[np.intp]]]:
    """For every map (h, w) of (N, h, w), the later ones that show the same."""
    size = (2 * maps.shape[1], 2 * maps.shape[2])
    seen = fft.rfft2(np.ones(maps.shape[1:], np.float32), s=size)
    first, square = fft.rfft2(maps, s=size), fft.rfft2(maps**2, s=size)
    shared = np.maximum(fft.irfft2(seen.conj() * seen, s=size).round(), 1)
    enough = shared >= MIN_SHARED * maps[0].size
    sums, squares = (fft.irfft2(seen.conj() * one, s=size) for one in (first, square))
    spread = squares - sums**2 / shared
    away = np.ix_(*[-np.arange(side) % side for side in size])  # moved the other way
    for row in range(len(maps)):
        own_sum, own_spread = sums[row][away], spread[row][away]
        found = [np.empty(0, np.intp)]
        for start in range(row + 1, len(maps), _ROWS):
            others = slice(start, start + _ROWS)
            product = fft.irfft2(first[row].conj() * first[others], s=size)
            product -= own_sum * sums[others] / shared
            scale = np.sqrt(np.maximum(own_spread * spread[others], 1.0))
            likeness = np.where(enough, product / scale, -1)
            best = likeness.reshape(len(likeness), -1).max(axis=1)
            alike = (best >= LIKE) | (likeness[:, 0, 0] >= LIKE_IN_PLACE)
            found.append(start + np.flatnonzero(alike))
        yield row, np.concatenate(found)
