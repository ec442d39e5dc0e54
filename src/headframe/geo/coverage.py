"""Regions of equal class: labelled strip by strip, stitched across seams, simplified together.

A *component* is a 4-connected region of one class; a *cluster* is an 8-connected region of any
classes but background, so components that share an edge or a corner share a cluster. Clusters are
finished, and leave memory, as soon as no later strip can touch them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely import Polygon
from shapely.geometry.base import BaseGeometry

from headframe.core.classmap import IGNORE_INDEX
from headframe.core.errors import GeometryError
from headframe.geo.area import divide_edges

IntArray = NDArray[np.int32]


@dataclass(frozen=True)
class StripLabels:
    """Numbered regions of one strip; 0 stands for background and nodata.

    Attributes:
        components: (h, W), int32, 1..n.
        clusters: (h, W), int32, 1..m.
        classes: (n,) class of component ``i + 1``, int32.
        cluster_of: (n,) cluster of component ``i + 1``, int32.
    """

    components: IntArray
    clusters: IntArray
    classes: IntArray
    cluster_of: IntArray


def label_strip(classes: NDArray[np.uint8]) -> StripLabels:
    """Number the components and clusters of a strip of classes (h, W); 0 and 255 are none."""
    inside = (classes != 0) & (classes != IGNORE_INDEX)
    clusters = np.zeros(classes.shape, dtype=np.int32)
    ndimage.label(inside, structure=np.ones((3, 3)), output=clusters)
    components = np.zeros(classes.shape, dtype=np.int32)
    kinds: list[int] = []
    for value in np.unique(classes[inside]):
        numbers = np.zeros(classes.shape, dtype=np.int32)
        count = ndimage.label(classes == value, output=numbers)
        np.add(numbers, len(kinds), out=components, where=numbers > 0)
        kinds.extend([int(value)] * int(count))
    cluster_of = np.zeros(len(kinds), dtype=np.int32)
    cluster_of[components[inside] - 1] = clusters[inside]
    return StripLabels(components, clusters, np.array(kinds, dtype=np.int32), cluster_of)


@dataclass(frozen=True)
class StripParts:
    """What stitching needs of a strip, without its pixels.

    Attributes:
        classes: (n,) class of component ``i + 1``.
        cluster_of: (n,) cluster of component ``i + 1``.
        pixels: (n,) number of pixels.
        score_sum: (n,) sum of its pixels' scores, float64.
        shapes: n polygons in pixel coordinates of the scene (x = column, y = row).
        seams: (4, W): components and clusters of the first row, then of the last row.
    """

    classes: IntArray
    cluster_of: IntArray
    pixels: NDArray[np.int64]
    score_sum: NDArray[np.float64]
    shapes: Sequence[Polygon]
    seams: IntArray


@dataclass
class Region:
    """A component, whole or still growing.

    Attributes:
        kind: its class index.
        pixels: number of pixels so far.
        score_sum: sum of their scores.
        shapes: its polygon in pixel coordinates, in parts that share seams.
    """

    kind: int
    pixels: int
    score_sum: float
    shapes: list[Polygon] = field(default_factory=list)

    @property
    def mean_score(self) -> float:
        """Mean score of its pixels, 0-1."""
        return self.score_sum / self.pixels

    def polygon(self) -> Polygon:
        """Join its parts into one valid polygon without needless vertices."""
        if len(self.shapes) == 1 and self.shapes[0].is_valid:
            return self.shapes[0]
        if len(self.shapes) == 1:
            return _one_polygon(shapely.make_valid(self.shapes[0]))
        # A hole within a part lies off its seams, so joining the outlines is enough: many
        # regions have thousands of holes, and a general union of those takes minutes.
        outlines = [Polygon(shape.exterior) for shape in self.shapes]
        joined = _one_polygon(shapely.coverage_union_all(_at_every_pixel(outlines)))
        whole = _corners_only(joined)
        holes = [ring for shape in self.shapes for ring in shape.interiors]
        if holes:
            whole = Polygon(whole.exterior, [*whole.interiors, *holes])
        return whole if whole.is_valid else _one_polygon(shapely.make_valid(whole))


def _at_every_pixel(polygons: Sequence[Polygon]) -> NDArray[np.object_]:
    """Put a vertex at every pixel corner along the edges of polygons in whole pixels."""
    return np.asarray(shapely.transform(divide_edges(polygons, 1.0), np.round), dtype=object)


def _one_polygon(shape: BaseGeometry) -> Polygon:
    if not isinstance(shape, Polygon):
        raise GeometryError(f"a region in {shape.geom_type} parts cannot be one polygon.")
    return shape


def _corners_only(polygon: Polygon) -> Polygon:
    """Drop vertices in the middle of straight, axis-parallel edges."""

    def ring(coords: NDArray[np.float64]) -> NDArray[np.float64]:
        points = coords[:-1]
        ahead = np.roll(points, -1, axis=0) - points
        behind = points - np.roll(points, 1, axis=0)
        turns = ahead[:, 0] * behind[:, 1] != ahead[:, 1] * behind[:, 0]
        kept = points[turns]
        return np.vstack([kept, kept[:1]])

    rings = [ring(shapely.get_coordinates(r)) for r in (polygon.exterior, *polygon.interiors)]
    return Polygon(rings[0], rings[1:])


class _Groups:
    """Disjoint sets of numbers, named by their smallest member."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def find(self, item: int) -> int:
        """Name the set that holds ``item``."""
        root = item
        while (up := self._parent.get(root, root)) != root:
            root = up
        while item != root:
            self._parent[item], item = root, self._parent.get(item, item)
        return root

    def join(self, one: int, other: int) -> tuple[int, int]:
        """Join two sets; gives (kept, gone) names, equal where they were one already."""
        kept, gone = sorted((self.find(one), self.find(other)))
        if kept != gone:
            self._parent[gone] = kept
        return kept, gone

    def rename(self, numbers: IntArray) -> IntArray:
        """Replace each number by the name of its set."""
        names, places = np.unique(numbers, return_inverse=True)
        found = np.array([self.find(int(n)) for n in names], dtype=np.int32)
        return found[places].reshape(numbers.shape)


class Stitcher:
    """Joins the regions of strips that follow each other from top to bottom.

    Memory holds only the clusters that touch the last seam. Whatever the strips' heights, the
    regions are those of the whole scene.
    """

    def __init__(self) -> None:
        self._regions: dict[int, Region] = {}
        self._members: dict[int, list[int]] = {}  # cluster -> regions
        self._count = 0
        self._edge: IntArray | None = None  # (2, W): regions and clusters of the last row

    def add(self, parts: StripParts) -> Iterator[list[Region]]:
        """Add the next strip; gives the clusters that it finished, lowest number first."""
        first = self._count + 1  # clusters are numbered on from the same number
        self._count += max(len(parts.classes), int(parts.cluster_of.max(initial=0)))
        for i, shape in enumerate(parts.shapes):
            self._regions[first + i] = Region(
                int(parts.classes[i]), int(parts.pixels[i]), float(parts.score_sum[i]), [shape]
            )
            cluster = first + int(parts.cluster_of[i]) - 1
            self._members.setdefault(cluster, []).append(first + i)
        seams = np.where(parts.seams > 0, parts.seams + (first - 1), 0)
        regions, clusters = _Groups(), _Groups()
        if self._edge is not None:
            self._join_regions(self._edge[0], seams[0], regions)
            self._join_clusters(self._edge[1], seams[1], clusters)
        self._edge = np.stack([regions.rename(seams[2]), clusters.rename(seams[3])])
        still = {int(c) for c in np.unique(self._edge[1])}
        yield from self._finish([c for c in self._members if c not in still])

    def close(self) -> Iterator[list[Region]]:
        """Give the clusters that reach the last strip's last row."""
        yield from self._finish(list(self._members))

    def _join_regions(self, above: IntArray, below: IntArray, groups: _Groups) -> None:
        for a, b in _pairs(above, below):
            one, other = groups.find(a), groups.find(b)
            if one == other or self._regions[one].kind != self._regions[other].kind:
                continue
            kept, gone = groups.join(one, other)
            region, part = self._regions[kept], self._regions.pop(gone)
            region.pixels += part.pixels
            region.score_sum += part.score_sum
            region.shapes.extend(part.shapes)

    def _join_clusters(self, above: IntArray, below: IntArray, groups: _Groups) -> None:
        for a, b in (
            *_pairs(above, below),
            *_pairs(above[1:], below[:-1]),
            *_pairs(above[:-1], below[1:]),
        ):
            kept, gone = groups.join(a, b)
            if kept != gone:
                self._members[kept].extend(self._members.pop(gone))

    def _finish(self, clusters: list[int]) -> Iterator[list[Region]]:
        for cluster in sorted(clusters):
            numbers = sorted(n for n in self._members.pop(cluster) if n in self._regions)
            yield [self._regions.pop(n) for n in numbers]


def _pairs(above: IntArray, below: IntArray) -> list[tuple[int, int]]:
    """List the distinct pairs of non-zero numbers that lie above each other."""
    both = (above > 0) & (below > 0)
    pairs = np.unique(np.stack([above[both], below[both]], axis=1), axis=0)
    return [(int(a), int(b)) for a, b in pairs]


def simplify_cluster(
    polygons: Sequence[Polygon], *, tolerance_m: float, pixel_size_m: tuple[float, float]
) -> list[Polygon]:
    """Simplify polygons of one cluster together, so that neighbours keep sharing their edges.

    Visvalingam and Whyatt (1993) through GEOS' coverage simplifier. It runs in metres, so a
    tolerance means the same in both directions on a geographic grid.

    Args:
        polygons: in whole pixel coordinates (x = column, y = row), interiors disjoint.
        tolerance_m: square root of the largest triangle removed, metres, > 0.
        pixel_size_m: (width, height) of a pixel here, metres.

    Returns:
        As many polygons in pixel coordinates, in the same order; some may be empty.
    """
    scale = np.array(pixel_size_m)
    whole = np.asarray(polygons, dtype=object)
    if len(whole) > 1:
        # Neighbours must have the same vertices along a shared edge: put one at every pixel.
        whole = _at_every_pixel(polygons)
    metric = shapely.transform(whole, _times(scale))
    simple = shapely.coverage_simplify(metric, tolerance_m)
    return list(shapely.transform(simple, _times(1 / scale)))


def _times(factors: NDArray[np.float64]) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    return lambda coords: coords * factors
