"""Patches of equal value, counted over strips of a raster too large to hold."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.csgraph import connected_components

CodeArray = NDArray[np.uint8]


class PatchSieve:
    """Finds patches that are too small, strip by strip, in two goes over the same strips.

    A patch is a 4-connected region of one value other than 0. Memory grows with the number of
    patches, not of pixels.
    """

    def __init__(self, least: float) -> None:
        """Prepare to find patches of a size below ``least``, in the unit of the weights."""
        self._least = least
        self._sizes: list[NDArray[np.float64]] = []
        self._joins: list[NDArray[np.int64]] = []
        self._starts = [0]
        self._edge: tuple[CodeArray, NDArray[np.int64]] | None = None
        self._small: NDArray[np.bool_] | None = None

    def add(self, codes: CodeArray, weights: NDArray[np.float64]) -> None:
        """Count the patches of the next strip.

        Args:
            codes: values (h, W), 0 for none.
            weights: what each pixel counts (h, W).
        """
        labels, count = _labelled(codes)
        first = self._starts[-1]
        inside = labels > 0
        numbers = labels[inside] - 1
        sizes = np.bincount(numbers, weights[inside], minlength=count)
        self._sizes.append(sizes.astype(np.float64))
        top = np.where(labels[0] > 0, labels[0] + (first - 1), -1).astype(np.int64)
        if self._edge is not None:
            above, names = self._edge
            same = (above == codes[0]) & (above > 0)
            self._joins.append(np.unique(np.stack([names[same], top[same]], axis=1), axis=0))
        last = np.where(labels[-1] > 0, labels[-1] + (first - 1), -1).astype(np.int64)
        self._edge = (codes[-1].copy(), last)
        self._starts.append(first + count)

    def finish(self) -> None:
        """Join the patches that meet at seams, and decide which are too small."""
        total = self._starts[-1]
        if not total:
            self._small = np.zeros(0, dtype=np.bool_)
            return
        joins = np.concatenate([*self._joins, np.zeros((0, 2), dtype=np.int64)])
        graph = sparse.coo_array(
            (np.ones(len(joins), dtype=bool), (joins[:, 0], joins[:, 1])), shape=(total, total)
        )
        count, groups = connected_components(graph, directed=False)
        whole = np.bincount(groups, np.concatenate(self._sizes), minlength=count)
        self._small = (whole < self._least)[groups]

    def too_small(self, strip: int, codes: CodeArray) -> NDArray[np.bool_]:
        """Mark the pixels of a strip, given again, that belong to patches that are too small."""
        assert self._small is not None  # after finish() only
        labels, count = _labelled(codes)
        first = self._starts[strip]
        names = np.concatenate([[False], self._small[first : first + count]])
        return np.asarray(names[labels])


def _labelled(codes: CodeArray) -> tuple[NDArray[np.int32], int]:
    """Number the patches of a strip 1..n; the same codes always give the same numbers."""
    labels = np.zeros(codes.shape, dtype=np.int32)
    count = 0
    for value in np.unique(codes[codes > 0]):
        own = np.zeros(codes.shape, dtype=np.int32)
        found = int(ndimage.label(codes == value, output=own))
        np.add(own, count, out=labels, where=own > 0)
        count += found
    return labels, count


def without_threads(codes: CodeArray, side_px: int) -> CodeArray:
    """Leave out what is nowhere as wide as a square of ``side_px``: lone threads and long tails.

    A pixel stays where some square of its own value lies within ``side_px`` pixels of it: corners
    that squares do not reach into, and stubs of tails, stay with their patch. Pixels further than
    ``2 * side_px`` from the array's border do not depend on what is beyond it.

    Args:
        codes: values (h, W), 0 for none.
        side_px: 1 or less leaves all as it is.
    """
    if side_px <= 1:
        return codes
    kept = np.zeros_like(codes)
    square = (side_px, side_px)
    for value in np.unique(codes[codes > 0]):
        own = codes == value
        body = ndimage.grey_opening(own.astype(np.uint8), size=square, mode="constant", cval=0)
        near = ndimage.maximum_filter(body, size=2 * side_px + 1, mode="constant", cval=0)
        kept[own & (near > 0)] = value
    return kept
