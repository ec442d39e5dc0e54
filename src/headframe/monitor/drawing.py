"""Change as rasters, polygons and a picture."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely import Polygon, STRtree

from headframe.core.classmap import IGNORE_INDEX
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
    Values,
    change_class_map,
    kinds_of_all,
    kinds_of_class,
)
from headframe.monitor.places import Place
from headframe.monitor.strips import PairStack

_CHUNK = 2048


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


def write_change_polygons(
    path: Path,
    stack: PairStack,
    *,
    geobox: GeoBox,
    names: Mapping[int, str],
    places: Sequence[Place],
    progress: Progress,
) -> int:
    """Write a polygon for each 4-connected region of one change.

    Columns of classes that exclude each other: change (stable, expansion, contraction,
    converted), class (the one left for a contraction, else the one that is there now),
    from_class, to_class, area_ha (geodesic), site (the one that holds most of the polygon; empty
    for none). Components that may overlap have polygons of their own each: change, component,
    area_ha, site.

    Args:
        path: the GeoPackage.
        stack: both dates.
        geobox: their grid.
        names: class to its name, background and classes that occur.
        places: sites.
        progress: told of strips.

    Returns:
        The number of polygons.

    Raises:
        InputError: more than 254 different pairs of classes.
    """
    labellings: list[_Labelling] = [_Pairs(names)]
    if stack.overlapping:
        labellings = [_Component(index, name) for index, name in names.items() if index]
    measure = GridMeasure(geobox)
    finder = _SiteFinder(places, measure)
    columns = dict.fromkeys(labellings[0].columns, "object")
    columns |= {"area_ha": "float64", "site": "object"}
    progress.start("polygons", len(stack.windows) * len(labellings))
    with LayerWriter(path, layer="change", columns=columns, crs=measure.crs) as writer:
        for labelling in labellings:
            for regions in _chunks(_clusters(stack, labelling, progress)):
                words = [labelling.words(region.kind) for region in regions]
                shapes = [region.polygon() for region in regions]
                areas, _ = measure.measures(shapes)
                values: dict[str, Sequence[Any]] = dict(
                    zip(labelling.columns, zip(*words, strict=True), strict=True)
                )
                values |= {"area_ha": list(areas / 1e4), "site": finder.names(shapes)}
                placed = list(np.atleast_1d(shapely.transform(shapes, measure.to_crs)))
                writer.write(placed, values)
    progress.finish()
    return writer.count


class _Labelling(Protocol):
    """Which pixels make a polygon together, and what it says."""

    columns: tuple[str, ...]

    def codes(self, before: Values, after: Values) -> ByteArray:
        """Number pixels (h, W) by change; 0 and 255 have no polygon."""

    def words(self, code: int) -> tuple[str, ...]:
        """Give a value for each column."""


class _Component:
    """Changes of one component, whatever others there are."""

    columns: tuple[str, ...] = ("change", "component")

    def __init__(self, index: int, name: str) -> None:
        self._index, self._name = index, name

    def codes(self, before: Values, after: Values) -> ByteArray:
        return kinds_of_class(before, after, self._index)

    def words(self, code: int) -> tuple[str, ...]:
        return Kind(code).name.lower(), self._name


class _Pairs:
    """Pairs of classes, numbered from 1 in the order met."""

    columns: tuple[str, ...] = ("change", "class", "from_class", "to_class")

    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = names
        self._numbers: dict[tuple[int, int], int] = {}

    def codes(self, before: Values, after: Values) -> ByteArray:
        both = before.astype(np.uint16) << 8 | after
        both[before == IGNORE_INDEX] = 0
        found, places = np.unique(both, return_inverse=True)
        numbers = np.zeros(len(found), dtype=np.uint8)
        for i, value in enumerate(found.tolist()):
            if value:
                number = len(self._numbers) + 1
                numbers[i] = self._numbers.setdefault(divmod(value, 256), number)
            if len(self._numbers) >= IGNORE_INDEX:
                raise InputError(
                    "the maps have more than 254 different changes from class to class. Merge "
                    "some classes first."
                )
        return np.asarray(numbers[places].reshape(before.shape))

    def words(self, code: int) -> tuple[str, ...]:
        before, after = next(pair for pair, number in self._numbers.items() if number == code)
        one = np.array([[before]], np.uint8), np.array([[after]], np.uint8)
        kind = Kind(int(kinds_of_all(*one)[0, 0]))
        own = before if kind == Kind.CONTRACTION else after
        return kind.name.lower(), self._names[own], self._names[before], self._names[after]


def _clusters(
    stack: PairStack, labelling: _Labelling, progress: Progress
) -> Iterator[list[Region]]:
    stitcher = Stitcher()
    for window, _, (before, _, after) in stack.strips():
        codes = labelling.codes(before, after)
        scores = np.zeros(codes.shape, dtype=np.float32)
        yield from stitcher.add(strip_parts(codes, scores, first_row=window.row))
        progress.advance()
    yield from stitcher.close()


def _chunks(clusters: Iterator[list[Region]]) -> Iterator[list[Region]]:
    """Join clusters to lists that are worth writing."""
    pending: list[Region] = []
    for cluster in clusters:
        pending += cluster
        if len(pending) >= _CHUNK:
            yield pending
            pending = []
    if pending:
        yield pending


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
