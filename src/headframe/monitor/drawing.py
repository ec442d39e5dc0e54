"""Change as rasters, polygons and a picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely import Polygon, STRtree

from headframe.core.classmap import IGNORE_INDEX, ClassMap
from headframe.core.errors import InputError
from headframe.core.progress import Progress
from headframe.geo.area import GridMeasure
from headframe.geo.coverage import Region, Stitcher
from headframe.io.cog import StripWriter, class_style, write_cog
from headframe.io.gpkg import LayerWriter
from headframe.io.polygons import strip_parts
from headframe.monitor.kinds import (
    ByteArray,
    Kind,
    change_class_map,
    kinds_of_all,
    kinds_of_class,
)
from headframe.monitor.places import Place
from headframe.monitor.strips import PairStack

_CHUNK = 2048
_COLUMNS = {
    "change": "object",
    "class": "object",
    "from_class": "object",
    "to_class": "object",
    "area_ha": "float64",
    "site": "object",
}


def write_change_raster(path: Path, stack: PairStack, *, geobox: GeoBox, index: int | None) -> None:
    """Write kinds of change as a cloud-optimised GeoTIFF with palette; 255 for no data.

    Args:
        path: the file.
        stack: both dates.
        geobox: their grid.
        index: the class to look at; None takes all together.
    """
    strips = path.with_name(f".strips-{path.name}")
    with StripWriter(strips, (1, *stack.shape), "uint8") as file:
        for window, _, (before, _, after) in stack.strips():
            kinds = (
                kinds_of_all(before, after)
                if index is None
                else kinds_of_class(before, after, index)
            )
            file.write(kinds[None], window)
    style = class_style(change_class_map(converted=index is None))
    write_cog(path, [(strips, 0)], shape=stack.shape, geobox=geobox, style=style)
    strips.unlink()


@dataclass(frozen=True)
class _Pair:
    """What polygons of one pair of classes say."""

    kind: Kind
    before: int
    after: int

    def words(self, classes: ClassMap) -> tuple[str, str, str, str]:
        names = classes.names
        own = self.before if self.kind == Kind.CONTRACTION else self.after
        return self.kind.name.lower(), names[own], names[self.before], names[self.after]


def write_change_polygons(
    path: Path,
    stack: PairStack,
    *,
    geobox: GeoBox,
    classes: ClassMap,
    places: Sequence[Place],
    progress: Progress,
) -> int:
    """Write a polygon for each 4-connected region of one kind and one pair of classes.

    Columns: change (stable, expansion, contraction, converted), class (the one left for a
    contraction, else the one that is there now), from_class, to_class, area_ha (geodesic), site
    (the one that holds most of the polygon; empty for none).

    Returns:
        The number of polygons.

    Raises:
        InputError: more than 254 different pairs of classes.
    """
    pairs: dict[tuple[int, int], int] = {}
    measure = GridMeasure(geobox)
    finder = _SiteFinder(places, measure)
    pending: list[Region] = []
    progress.start("polygons", len(stack.windows))
    with LayerWriter(path, layer="change", columns=_COLUMNS, crs=measure.crs) as writer:

        def flush() -> None:
            kept = [_pair_of(pairs, r.kind).words(classes) for r in pending]
            shapes = [r.polygon() for r in pending]
            areas, _ = measure.measures(shapes)
            values: dict[str, Sequence[Any]] = dict(
                zip(_COLUMNS, zip(*kept, strict=True), strict=False)
            )
            values |= {"area_ha": list(areas / 1e4), "site": finder.names(shapes)}
            placed = list(np.atleast_1d(shapely.transform(shapes, measure.to_crs)))
            writer.write(placed, values)
            pending.clear()

        for cluster in _clusters(stack, pairs, progress):
            pending += cluster
            if len(pending) >= _CHUNK:
                flush()
        if pending:
            flush()
    progress.finish()
    return writer.count


def _pair_of(pairs: dict[tuple[int, int], int], code: int) -> _Pair:
    before, after = next(pair for pair, number in pairs.items() if number == code)
    one = np.array([[before]], np.uint8), np.array([[after]], np.uint8)
    return _Pair(Kind(int(kinds_of_all(*one)[0, 0])), before, after)


def _clusters(
    stack: PairStack, pairs: dict[tuple[int, int], int], progress: Progress
) -> Iterator[list[Region]]:
    stitcher = Stitcher()
    for window, _, (before, _, after) in stack.strips():
        codes = _pair_codes(before, after, pairs)
        scores = np.zeros(codes.shape, dtype=np.float32)
        yield from stitcher.add(strip_parts(codes, scores, first_row=window.row))
        progress.advance()
    yield from stitcher.close()


def _pair_codes(
    before: ByteArray, after: ByteArray, pairs: dict[tuple[int, int], int]
) -> ByteArray:
    """Number pairs of classes from 1 in the order met; 0 for background and no data."""
    both = before.astype(np.uint16) << 8 | after
    both[before == IGNORE_INDEX] = 0
    found, places = np.unique(both, return_inverse=True)
    numbers = np.zeros(len(found), dtype=np.uint8)
    for i, value in enumerate(found.tolist()):
        if value:
            numbers[i] = pairs.setdefault(divmod(value, 256), len(pairs) + 1)
        if len(pairs) >= IGNORE_INDEX:
            raise InputError(
                "the maps have more than 254 different changes from class to class. Merge some "
                "classes first."
            )
    return np.asarray(numbers[places].reshape(before.shape))


class _SiteFinder:
    """Names the site that holds most of a polygon."""

    def __init__(self, places: Sequence[Place], measure: GridMeasure) -> None:
        known = [(place.name, place.shape) for place in places if place.shape is not None]
        self._names = [name for name, _ in known]
        self._shapes = [shape for _, shape in known]
        self._tree = STRtree(self._shapes)
        self._measure = measure

    def names(self, polygons: Sequence[Polygon]) -> list[str]:
        """Name the site of each polygon in pixel coordinates; empty for none."""
        if not self._shapes:
            return [""] * len(polygons)
        found: NDArray[np.object_] = np.full(len(polygons), "", dtype=object)
        most = np.zeros(len(polygons))
        moved = np.atleast_1d(shapely.transform(list(polygons), self._measure.to_lonlat))
        for i, k in self._tree.query(moved, predicate="intersects").T:
            share = moved[i].intersection(self._shapes[k]).area
            if share > most[i]:
                found[i], most[i] = self._names[k], share
        return list(found)
