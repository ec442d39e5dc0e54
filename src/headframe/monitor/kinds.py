"""Kinds of change, decided pixel by pixel.

Values of a date are of one of two types: classes that exclude each other, uint8, 255 for no data;
or masks of components that may overlap, uint16, class ``k + 1`` being bit ``k``, 65535 for no data.
In both, 0 is background and no data is the type's highest number.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from headframe.core.classmap import IGNORE_INDEX, ClassInfo, ClassMap
from headframe.core.components import BitArray

ByteArray = NDArray[np.uint8]
Values = ByteArray | BitArray


class Kind(IntEnum):
    """What happened to a pixel; its number in change rasters."""

    BACKGROUND = 0
    STABLE = 1
    EXPANSION = 2
    CONTRACTION = 3
    CONVERTED = 4


COLORS = {
    Kind.BACKGROUND: (242, 242, 236),
    Kind.STABLE: (150, 140, 130),
    Kind.EXPANSION: (213, 94, 0),
    Kind.CONTRACTION: (0, 114, 178),
    Kind.CONVERTED: (204, 121, 167),
}
"""Colours of Okabe and Ito but for the first two, told apart by colour-blind readers."""


def change_class_map(*, converted: bool) -> ClassMap:
    """Describe a change raster; ``converted`` where one class can become another."""
    kinds = [kind for kind in Kind if converted or kind != Kind.CONVERTED]
    return ClassMap(tuple(ClassInfo(k.value, k.name.lower(), COLORS[k]) for k in kinds))


def nodata_of(values: Values) -> int:
    """Give the number that means no data."""
    return int(np.iinfo(values.dtype).max)


def carries(values: Values, index: int | None) -> NDArray[np.bool_]:
    """Mark pixels of a class; 0 is background, None any class but that."""
    known = values != nodata_of(values)
    if index is None:
        return np.asarray((values > 0) & known)
    if index == 0 or values.dtype == np.uint8:
        return np.asarray((values == index) & known)
    return np.asarray((values >> np.uint16(index - 1) & np.uint16(1)).astype(bool) & known)


def plane(values: Values, index: int) -> ByteArray:
    """Look at one class alone: 1 there, 0 not, 255 no data; of the shape of ``values``."""
    lost = values == nodata_of(values)
    return np.where(lost, IGNORE_INDEX, carries(values, index)).astype(np.uint8)


def kinds_of_class(before: Values, after: Values, index: int) -> ByteArray:
    """Tell what happened to one class.

    Args:
        before: classes or masks (h, w).
        after: likewise; no data at the same pixels.
        index: the class.

    Returns:
        (h, W): 1 it was and is there, 2 it came, 3 it went, 0 neither, 255 no data.
    """
    return _kinds(before, carries(before, index), carries(after, index))


def kinds_of_all(before: Values, after: Values) -> ByteArray:
    """Tell what happened to all classes but background taken together.

    Returns:
        (h, W) as ``kinds_of_class``, and 4 where one class became another, or components others.
    """
    kinds = _kinds(before, carries(before, None), carries(after, None))
    kinds[(kinds == Kind.STABLE) & (before != after)] = Kind.CONVERTED
    return kinds


def _kinds(before: Values, was: NDArray[np.bool_], now: NDArray[np.bool_]) -> ByteArray:
    # 1 was and is, 2 is only, 3 was only
    kinds = np.where(was, np.where(now, Kind.STABLE, Kind.CONTRACTION), now * Kind.EXPANSION)
    return np.where(before == nodata_of(before), IGNORE_INDEX, kinds).astype(np.uint8)


def changed_to(before: ByteArray, after: ByteArray) -> ByteArray:
    """Number changed pixels by what they became, counted from 1; 0 where nothing changed."""
    changed = (before != after) & (before != IGNORE_INDEX)
    return np.where(changed, after + 1, 0).astype(np.uint8)


def on_edge(values: ByteArray) -> NDArray[np.bool_]:
    """Mark pixels with a neighbour (above, below, left, right) of another value.

    Args:
        values: (h, W); 255 is not known and makes no edge.
    """
    edge = np.zeros(values.shape, dtype=np.bool_)
    known = values != IGNORE_INDEX
    across = (values[:, 1:] != values[:, :-1]) & known[:, 1:] & known[:, :-1]
    down = (values[1:] != values[:-1]) & known[1:] & known[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge
