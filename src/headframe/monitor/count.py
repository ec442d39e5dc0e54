"""Tables of change: areas by site and class, and from class to class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headframe.core.classmap import IGNORE_INDEX, ClassMap
from headframe.core.progress import Progress
from headframe.geo.alignment import Alignment, CellAreas
from headframe.geo.window import Window
from headframe.monitor.kinds import ByteArray, kinds_of_all, kinds_of_class
from headframe.monitor.places import Place
from headframe.monitor.strips import PairStack
from headframe.monitor.tally import LayerStrip, Tally, layer_strip

ALL = "all"
"""Layer of all classes but background together, where there are several."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Tables:
    """What was counted.

    Attributes:
        areas: one row for each site and class, see ``monitor.tally``.
        transitions: one row for each class before: hectares of each class after.
    """

    areas: list[Row]
    transitions: list[Row]


def count_change(
    stack: PairStack,
    *,
    alignment: Alignment,
    classes: ClassMap,
    shown: Sequence[int],
    places: Sequence[Place],
    progress: Progress,
) -> Tables:
    """Sum areas by site and class, and from class to class.

    Args:
        stack: both dates.
        alignment: their grid.
        classes: of both.
        shown: classes to count; the rest do not occur.
        places: sites.
        progress: told of strips.
    """
    layers: list[int | None] = [None, *shown] if len(classes) > 2 else list(shown)
    tallies = {(p, k): Tally() for p in range(len(places)) for k in range(len(layers))}
    cells = CellAreas(alignment.geobox)
    moved = np.zeros(2**16)
    progress.start("measuring", len(stack.windows))
    for window, halo, (before, mapped, after) in stack.strips(halo=1):
        areas = cells.pixels(window)
        inner = slice(halo[0], before.shape[0] - halo[1])
        pairs = before[inner].astype(np.uint16) << 8 | after[inner]
        moved += np.bincount(pairs.ravel(), areas.ravel(), minlength=2**16)
        insides = [place.inside(alignment.geobox, window) for place in places]
        for k, index in enumerate(layers):
            strip = _layer((before, mapped, after), index, halo)
            for p, place in enumerate(places):
                if place.shape is None:
                    tallies[p, k].add(strip, areas, None)
                elif (found := insides[p]) is not None:
                    rows, cols = _slices(found[0], window)
                    tallies[p, k].add(strip.crop(rows, cols), areas[rows, cols], found[1])
        progress.advance()
    progress.finish()
    rows_found = [
        _row(places[p], layers[k], classes, tally.row(alignment.side_px))
        for (p, k), tally in tallies.items()
    ]
    return Tables(rows_found, _transitions(moved, classes, [0, *shown]))


def _layer(
    layers: tuple[ByteArray, ByteArray, ByteArray], index: int | None, halo: tuple[int, int]
) -> LayerStrip:
    before, mapped, after = layers
    if index is None:
        kinds = kinds_of_all(before, after)
        masks = [(layer > 0) & (layer != IGNORE_INDEX) for layer in layers]
    else:
        kinds = kinds_of_class(before, after, index)
        masks = [layer == index for layer in (before, mapped, after)]
    return layer_strip((masks[0], masks[1], masks[2]), kinds, halo=halo)


def _row(place: Place, layer: int | None, classes: ClassMap, numbers: Row) -> Row:
    head = {
        "site": place.name,
        "class": ALL if layer is None else classes.names[layer],
        "area_ha": place.area_ha,
        "outside_ha": place.outside_ha,
    }
    return _rounded({**head, **numbers})


def _transitions(moved: NDArray[np.float64], classes: ClassMap, shown: Sequence[int]) -> list[Row]:
    rows = []
    for start in shown:
        row: Row = {"from": classes.names[start]}
        for end in shown:
            row[f"to {classes.names[end]} (ha)"] = float(moved[start << 8 | end]) / 1e4
        rows.append(_rounded(row))
    return rows


def _slices(part: Window, strip: Window) -> tuple[slice, slice]:
    top = part.row - strip.row
    return slice(top, top + part.height), slice(part.col, part.col + part.width)


def _rounded(row: Row) -> Row:
    """Round to a square metre, which is less than any pixel."""
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
