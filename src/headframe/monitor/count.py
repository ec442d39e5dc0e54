"""Tables of change: areas by site and class, and from class to class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headframe.core.classmap import ClassMap
from headframe.core.progress import Progress
from headframe.geo.alignment import Alignment, CellAreas
from headframe.geo.window import Window
from headframe.monitor.kinds import Values, carries, kinds_of_all, kinds_of_class
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
        transitions: one row for each class before: hectares of each class after. Ground of
            several components counts for each of them.
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
    moved = _Moves()
    progress.start("measuring", len(stack.windows))
    for window, halo, (before, mapped, after) in stack.strips(halo=1):
        areas = cells.pixels(window)
        inner = slice(halo[0], before.shape[0] - halo[1])
        moved.add(before[inner], after[inner], areas)
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
    return Tables(rows_found, moved.rows(classes, [0, *shown]))


def _layer(
    layers: tuple[Values, Values, Values], index: int | None, halo: tuple[int, int]
) -> LayerStrip:
    before, _, after = layers
    kinds = kinds_of_all(before, after) if index is None else kinds_of_class(before, after, index)
    masks = [carries(layer, index) for layer in layers]
    return layer_strip((masks[0], masks[1], masks[2]), kinds, halo=halo)


def _row(place: Place, layer: int | None, classes: ClassMap, numbers: Row) -> Row:
    head = {
        "site": place.name,
        "class": ALL if layer is None else classes.names[layer],
        "area_ha": place.area_ha,
        "outside_ha": place.outside_ha,
    }
    return _rounded({**head, **numbers})


class _Moves:
    """Area of each pair of values before and after, square metres."""

    def __init__(self) -> None:
        self._areas: dict[tuple[int, int], float] = {}
        self._dtype: np.dtype[Any] = np.dtype(np.uint8)

    def add(self, before: Values, after: Values, areas: NDArray[np.float64]) -> None:
        """Count pixels (h, W)."""
        first, second = (np.flatnonzero(np.bincount(side.ravel())) for side in (before, after))
        numbers = np.zeros((2, 2**16), dtype=np.int64)
        numbers[0, first], numbers[1, second] = np.arange(len(first)), np.arange(len(second))
        pairs = numbers[0, before] * len(second) + numbers[1, after]
        sums = np.bincount(pairs.ravel(), areas.ravel(), minlength=len(first) * len(second))
        for place in np.flatnonzero(sums):
            i, j = divmod(int(place), len(second))
            key = int(first[i]), int(second[j])
            self._areas[key] = self._areas.get(key, 0.0) + float(sums[place])
        self._dtype = before.dtype

    def rows(self, classes: ClassMap, shown: Sequence[int]) -> list[Row]:
        """Give hectares from each class to each class."""
        starts: Values = np.array([start for start, _ in self._areas], dtype=self._dtype)
        ends: Values = np.array([end for _, end in self._areas], dtype=self._dtype)
        areas = np.array(list(self._areas.values())) / 1e4
        rows = []
        for start in shown:
            row: Row = {"from": classes.names[start]}
            for end in shown:
                both = carries(starts, start) & carries(ends, end)
                row[f"to {classes.names[end]} (ha)"] = float(areas[both].sum())
            rows.append(_rounded(row))
        return rows


def _slices(part: Window, strip: Window) -> tuple[slice, slice]:
    top = part.row - strip.row
    return slice(top, top + part.height), slice(part.col, part.col + part.width)


def _rounded(row: Row) -> Row:
    """Round to a square metre, which is less than any pixel."""
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
