"""Prompts on a scene: what a person points at, in map coordinates or in pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError
from shapely import Point, Polygon
from shapely.geometry.base import BaseGeometry

from headframe.core.errors import CrsError, GeometryError, InputError
from headframe.io.vector import read_polygons

FloatArray = NDArray[np.float64]
_PARTS = 16
"""Into how many parts the side of a shape is divided before it is reprojected."""


@dataclass(frozen=True)
class ObjectPrompt:
    """All that is said about one object. Coordinates are those of the ``ScenePrompts`` it is in.

    Attributes:
        id: its name in the results.
        inside: points of the object.
        outside: points that are not of it.
        box: a rectangle around it, sides along the axes.
        shape: a rough outline, valid.
    """

    id: str
    inside: tuple[Point, ...] = ()
    outside: tuple[Point, ...] = ()
    box: Polygon | None = None
    shape: BaseGeometry | None = None

    @property
    def kind(self) -> str:
        """What it is made of: ``point``, ``box``, ``polygon``, joined by ``+``."""
        parts = {"point": self.inside, "box": self.box, "polygon": self.shape}
        return "+".join(name for name, part in parts.items() if part)


@dataclass(frozen=True)
class ScenePrompts:
    """Prompts of one call.

    Attributes:
        objects: one object each.
        crs: of their coordinates, x before y, longitude before latitude; None for pixels of the
            scene: x the column, y the row, (0, 0) the corner of the first pixel.
    """

    objects: tuple[ObjectPrompt, ...]
    crs: CRS | None = None


@dataclass(frozen=True)
class PixelPrompt:
    """One object's prompt in pixels of the scene, (0, 0) being the corner of the first pixel.

    Attributes:
        id: its name in the results.
        kind: as ``ObjectPrompt.kind``.
        inside: (P, 2) float64, x and y, all within the scene.
        outside: (Q, 2) float64, likewise, anywhere.
        box: (4,) float64, x0 y0 x1 y1, cut to the scene, of a box or around ``shape``; or None.
        shape: rough outline, or None.
    """

    id: str
    kind: str
    inside: FloatArray = field(default_factory=lambda: np.zeros((0, 2)))
    outside: FloatArray = field(default_factory=lambda: np.zeros((0, 2)))
    box: FloatArray | None = None
    shape: BaseGeometry | None = None

    @property
    def extent(self) -> FloatArray:
        """(4,) bounds x0 y0 x1 y1 of the box, else of the inner points."""
        if self.box is not None:
            return self.box
        return np.concatenate([self.inside.min(axis=0), self.inside.max(axis=0)])


def parse_crs(text: str) -> CRS:
    """Read a reference system as a person writes it, ``EPSG:4326``.

    Raises:
        CrsError: nothing that PROJ knows.
    """
    try:
        return CRS.from_user_input(text)
    except CRSError as exc:
        raise CrsError(
            f"--crs {text}: is no known reference system. Write e.g. EPSG:4326."
        ) from exc


def box_of(corners: Sequence[float]) -> Polygon:
    """Make a box of x0, y0, x1, y1.

    Raises:
        GeometryError: not numbers, or not x0 < x1 and y0 < y1.
    """
    x0, y0, x1, y1 = corners
    said = " ".join(f"{value:g}" for value in corners)
    if not np.isfinite(corners).all():
        raise GeometryError(f"box {said}: coordinates must be numbers.")
    if not (x0 < x1 and y0 < y1):
        raise GeometryError(
            f"box {said}: is reversed or has no area; write X0 Y0 X1 Y1 with X0 < X1 and Y0 < Y1."
        )
    return shapely.box(x0, y0, x1, y1)


def prompts_of(
    *,
    points: Sequence[Sequence[float]] = (),
    exclude: Sequence[Sequence[float]] = (),
    boxes: Sequence[Sequence[float]] = (),
    crs: CRS | None = None,
    together: bool = False,
) -> ScenePrompts:
    """Make prompts of what was typed: an object for each point and for each box, or one of all.

    Args:
        points: x and y of each point inside an object.
        exclude: likewise of points outside; they hold for every object.
        boxes: x0 y0 x1 y1 of each box.
        crs: of all coordinates; None for pixels.
        together: all of it is said of one object, which can have one box only.

    Raises:
        GeometryError: coordinates that are no numbers, or a reversed box.
        InputError: several boxes around one object.
    """
    inside = [_point(xy) for xy in points]
    outside = tuple(_point(xy) for xy in exclude)
    rectangles = [box_of(corners) for corners in boxes]
    if together and (inside or rectangles):
        if len(rectangles) > 1:
            raise InputError(
                f"--together: {len(rectangles)} boxes cannot be around one object. Give one box."
            )
        only = rectangles[0] if rectangles else None
        return ScenePrompts((ObjectPrompt("1", tuple(inside), outside, only),), crs)
    objects = [ObjectPrompt("", inside=(point,), outside=outside) for point in inside]
    objects += [ObjectPrompt("", outside=outside, box=box) for box in rectangles]
    return ScenePrompts(
        tuple(
            ObjectPrompt(str(number), o.inside, o.outside, o.box)
            for number, o in enumerate(objects, start=1)
        ),
        crs,
    )


def prompts_of_file(path: Path, *, layer: str | None = None, first: int = 1) -> ScenePrompts:
    """Read rough outlines; each polygon is one object.

    Args:
        path: KML, KMZ, GeoJSON, GeoPackage or shapefile.
        layer: GeoPackage only.
        first: number of the first polygon; the others follow.

    Raises:
        InputError: see ``io.vector.read_polygons``.
    """
    frame = read_polygons(path, layer=layer, need_site=False).frame
    objects = tuple(
        ObjectPrompt(str(number), shape=shape)
        for number, shape in enumerate(frame.geometry, start=first)
    )
    return ScenePrompts(objects, CRS.from_epsg(4326))


class PixelFrame:
    """Brings prompts into the pixels of a scene."""

    def __init__(self, geobox: GeoBox | None, shape: tuple[int, int], *, source: str) -> None:
        """Take the scene's grid (None without CRS), its (H, W) and its name for messages."""
        self._geobox = geobox
        self._height, self._width = shape
        self._source = source

    def to_pixels(self, prompt: ObjectPrompt, crs: CRS | None) -> PixelPrompt:
        """Bring one object's prompt into pixels.

        Args:
            prompt: what is said.
            crs: of its coordinates; None if they are pixels already.

        Raises:
            GeometryError: it says nothing, or lies outside the scene.
            CrsError: the scene has no CRS, or coordinates cannot be brought to it.
        """
        said = self._moved(prompt.box, crs), self._moved(prompt.shape, crs)
        box = self._bounds(prompt, *said)
        inside = self._points(prompt.inside, crs)
        if box is None and not len(inside):
            raise GeometryError(f"prompt {prompt.id}: needs a point inside, a box or a polygon.")
        for there, typed in zip(inside, prompt.inside, strict=True):
            if not (0 <= there[0] < self._width and 0 <= there[1] < self._height):
                raise GeometryError(
                    f"{self._source}: point ({typed.x:.10g}, {typed.y:.10g}) of prompt {prompt.id} "
                    f"lies outside the scene, {self._where(crs)}."
                )
        outside = self._points(prompt.outside, crs)
        return PixelPrompt(prompt.id, prompt.kind, inside, outside, box, said[1])

    def _bounds(
        self, prompt: ObjectPrompt, box: BaseGeometry | None, shape: BaseGeometry | None
    ) -> FloatArray | None:
        given = box if box is not None else shape
        if given is None:
            return None
        x0, y0, x1, y1 = given.bounds
        cut = np.array([max(x0, 0), max(y0, 0), min(x1, self._width), min(y1, self._height)])
        if not (cut[0] < cut[2] and cut[1] < cut[3]):
            name = "box" if box is not None else "polygon"
            raise GeometryError(
                f"{self._source}: the {name} of prompt {prompt.id} lies outside the scene, which "
                f"is {self._width} x {self._height} pixels; it would be at column {x0:.0f}, "
                f"row {y0:.0f}."
            )
        return cut

    def _points(self, points: Sequence[Point], crs: CRS | None) -> FloatArray:
        if not points:
            return np.zeros((0, 2))
        return np.vstack([shapely.get_coordinates(self._moved(p, crs)) for p in points])

    def _moved(self, geometry: BaseGeometry | None, crs: CRS | None) -> Any:  # noqa: ANN401 - the kind of geometry given
        if geometry is None or crs is None:
            return geometry
        if self._geobox is None or self._geobox.crs is None:
            raise CrsError(
                f"{self._source}: has no CRS, so map coordinates mean nothing on it. Give pixels "
                "(--pixels), or set a CRS with gdal_edit.py -a_srs."
            )
        steps = Transformer.from_crs(crs, self._geobox.crs.proj, always_xy=True)
        inverse = ~self._geobox.affine
        x0, y0, x1, y1 = geometry.bounds
        longest = max(x1 - x0, y1 - y0) / _PARTS
        dense = shapely.segmentize(geometry, longest) if longest > 0 else geometry

        def move(xy: FloatArray) -> FloatArray:
            x, y = steps.transform(xy[:, 0], xy[:, 1], errcheck=True)
            a, b, c, d, e, f = tuple(inverse)[:6]
            return np.column_stack([a * x + b * y + c, d * x + e * y + f])

        try:
            return shapely.transform(dense, move)
        except ProjError as exc:
            raise CrsError(
                f"{self._source}: ({x0:.10g}, {y0:.10g}) in {_name(crs)} cannot be brought to the "
                f"scene's {_name(self._geobox.crs.proj)}. Are x and y in order, and is --crs right?"
            ) from exc

    def _where(self, crs: CRS | None) -> str:
        if crs is None or self._geobox is None or self._geobox.crs is None:
            return f"which is {self._width} x {self._height} pixels"
        steps = Transformer.from_crs(self._geobox.crs.proj, crs, always_xy=True)
        x0, y0, x1, y1 = steps.transform_bounds(*self._geobox.extent.geom.bounds)
        return f"which reaches from ({x0:.8g}, {y0:.8g}) to ({x1:.8g}, {y1:.8g}) in {_name(crs)}"


def _point(xy: Sequence[float]) -> Point:
    if len(xy) != 2 or not np.isfinite(xy).all():
        raise GeometryError(f"point {' '.join(map(str, xy))}: needs two numbers, X and Y.")
    return Point(xy)


def _name(crs: CRS) -> str:
    authority = crs.to_authority()
    return ":".join(authority) if authority else str(crs.name)
