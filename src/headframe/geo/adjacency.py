"""Objects of a scene that comes in strips, and which of them meet something else.

An *object* is a 4-connected area, like the components of ``geo.coverage``. Strips are labelled one
by one and joined over their seams, so memory holds one strip and a few numbers an object, and the
objects are those of the whole scene however it is cut.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Mask = NDArray[np.bool_]


class ObjectScan:
    """Finds out which objects meet a mark, in one pass, and where they are, in another."""

    def __init__(self) -> None:
        self._counts: list[int] = []
        self._met: list[Mask] = []
        self._seams: list[NDArray[np.int64]] = []
        self._edge: NDArray[np.int64] | None = None
        self._object_of = np.zeros(0, dtype=np.int64)
        self._object_met = np.zeros(0, dtype=np.bool_)

    def add(self, inside: Mask, marks: Mask) -> None:
        """Take the next strip from the top.

        Args:
            inside: (h, W), what objects are made of.
            marks: (h, W), an object that covers one of these pixels meets a mark.
        """
        first = sum(self._counts)
        numbers, count = _numbered(inside)
        met = np.zeros(count, dtype=np.bool_)
        met[numbers[inside & marks] - 1] = True
        self._counts.append(count)
        self._met.append(met)
        top, bottom = (self._whole(numbers[row], first) for row in (0, -1))
        if self._edge is not None:
            both = (self._edge >= 0) & (top >= 0)
            pairs = np.stack([self._edge[both], top[both]], axis=1)
            self._seams.append(np.unique(pairs, axis=0))
        self._edge = bottom

    def close(self) -> None:
        """Join the strips; no more follow."""
        total = sum(self._counts)
        seams = np.concatenate([np.zeros((0, 2), dtype=np.int64), *self._seams])
        ones = np.ones(len(seams), dtype=np.int8)
        graph = coo_array((ones, (seams[:, 0], seams[:, 1])), shape=(total, total))
        count, object_of = connected_components(graph, directed=False)
        self._object_of = object_of.astype(np.int64)
        met = np.concatenate([np.zeros(0, dtype=np.bool_), *self._met])
        self._object_met = np.zeros(count, dtype=np.bool_)
        self._object_met[self._object_of[met]] = True

    @property
    def objects(self) -> int:
        """Number of objects of the whole scene, once closed."""
        return len(self._object_met)

    @property
    def unmet(self) -> int:
        """Number of objects that meet no mark, once closed."""
        return int((~self._object_met).sum())

    def of_unmet(self, strip: int, inside: Mask) -> Mask:
        """Show the objects without a mark in one strip, once closed.

        Args:
            strip: number of the strip, in the order added.
            inside: (h, W), as it was added.
        """
        numbers, count = _numbered(inside)
        first = sum(self._counts[:strip])
        unmet = np.zeros(count + 1, dtype=np.bool_)
        unmet[1:] = ~self._object_met[self._object_of[first : first + count]]
        return np.asarray(unmet[numbers])

    @staticmethod
    def _whole(numbers: NDArray[np.int32], first: int) -> NDArray[np.int64]:
        """Number a row's objects through all strips, from 0; -1 where there is none."""
        return np.where(numbers > 0, numbers.astype(np.int64) + (first - 1), -1)


def grow(mask: Mask, *, reach_px: int, corners: bool) -> Mask:
    """Add the pixels within ``reach_px`` steps of a mask (h, W).

    Args:
        mask: what grows.
        reach_px: number of steps, >= 0; 1 adds the neighbours.
        corners: a step may also go across a corner.
    """
    if reach_px == 0 or not mask.any():
        return mask.copy()
    structure = ndimage.generate_binary_structure(2, 2 if corners else 1)
    return np.asarray(ndimage.binary_dilation(mask, structure, iterations=reach_px))


def _numbered(inside: Mask) -> tuple[NDArray[np.int32], int]:
    numbers = np.zeros(inside.shape, dtype=np.int32)
    if not inside.any():
        return numbers, 0
    return numbers, int(ndimage.label(inside, output=numbers))
