"""Merging overlapping tiles with weights that sum to exactly 1."""

import numpy as np
from numpy.typing import NDArray

from headframe.core.errors import GridMismatchError
from headframe.geo.tiling import TileAxis, Tiling

FloatArray = NDArray[np.float32]

_LEVELS = 4096


def fade_in(length: int) -> FloatArray:
    """Rise smoothly from 0 to 1.

    Values are multiples of 1/4096. Products of two of them and of their complements are then
    exact in float32, so the weights of up to four tiles sum to exactly 1.

    Args:
        length: number of pixels, >= 0.

    Returns:
        (length,), float32 in [0, 1], a raised cosine sampled at pixel centres.
    """
    centres = (np.arange(length) + 0.5) / max(length, 1)
    rise = np.round((0.5 - 0.5 * np.cos(np.pi * centres)) * _LEVELS) / _LEVELS
    return rise.astype(np.float32)


def axis_weights(axis: TileAxis, index: int) -> FloatArray:
    """Weigh the pixels ``[axis.cuts[index], axis.end(index))`` of a tile along one axis.

    Over all tiles the weights sum to exactly 1 at every pixel of the axis.

    Returns:
        float32 in [0, 1], one for each pixel of that range.
    """
    weights = np.ones(axis.end(index) - axis.cuts[index], dtype=np.float32)
    rise = fade_in(axis.fade)
    if index > 0:
        weights[: axis.fade] = rise
    if index < len(axis) - 1 and axis.fade:
        weights[-axis.fade :] *= 1 - rise
    return weights


class Blender:
    """Adds tiles in row order and gives each block of the scene when it is finished.

    It keeps only what tiles still to come will add to: a ramp's width of rows across the scene and
    of columns down one tile. Memory therefore does not grow with the scene's height, and with its
    width by ``fade`` rows only.
    """

    def __init__(self, tiling: Tiling, channels: int) -> None:
        """Prepare for scores of ``channels`` layers."""
        self._tiling = tiling
        self._channels = channels
        self.carry: FloatArray = np.zeros(
            (channels, tiling.rows.fade, tiling.cols.length), dtype=np.float32
        )
        self._next = np.zeros_like(self.carry)
        self._left: FloatArray | None = None

    def restore(self, carry: FloatArray) -> None:
        """Continue before a row of tiles from the ``carry`` that the row above left behind."""
        if carry.shape != self.carry.shape:
            raise GridMismatchError(f"carried rows {carry.shape} do not fit {self.carry.shape}.")
        self.carry = carry.astype(np.float32)

    def add(self, row: int, col: int, scores: FloatArray | None) -> FloatArray:
        """Add one tile and take the block it finishes.

        Args:
            row: tile row; tiles come row by row, each from left to right.
            col: tile column.
            scores: (K, size, size), float32, of the whole tile; None stands for zeros.

        Returns:
            (K, h, w), float32: the blended scores of ``tiling.block(row, col)``.
        """
        rows, cols = self._tiling.rows, self._tiling.cols
        top, bottom = rows.cuts[row : row + 2]
        left, right = cols.cuts[col : col + 2]
        low, far = rows.end(row), cols.end(col)
        if scores is None:
            patch = np.zeros((self._channels, low - top, far - left), dtype=np.float32)
        else:
            y, x = rows.starts[row], cols.starts[col]
            weights = axis_weights(rows, row)[:, None] * axis_weights(cols, col)[None, :]
            patch = scores[:, top - y : low - y, left - x : far - x] * weights
        if self._left is not None:
            patch[:, :, : cols.fade] += self._left
        height, width = bottom - top, right - left
        block = patch[:, :height, :width]
        if row > 0:
            block[:, : rows.fade] += self.carry[:, :, left:right]
        if row < len(rows) - 1:
            self._next[:, :, left:right] = patch[:, height:, :width]
        if col < len(cols) - 1:
            self._left = patch[:, :, width:].copy()
        else:
            self._left = None
            self.carry, self._next = self._next, self.carry
        return block
