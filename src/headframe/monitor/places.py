"""Sites that change is counted in."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from headframe.core.errors import SiteError
from headframe.geo.alignment import part_of, pixel_window
from headframe.geo.area import geodesic_measures
from headframe.geo.window import Window
from headframe.io.burn import burn_polygons, footprint
from headframe.io.vector import read_polygons

WHOLE = "whole overlap"


@dataclass(frozen=True)
class Place:
    """A site on the common grid.

    Attributes:
        name: of the site.
        shape: its polygons together, EPSG:4326; None for the whole grid.
        window: pixels that enclose it; None where it misses the grid.
        area_ha: geodesic area, hectares.
        outside_ha: the part of it beyond the grid.
    """

    name: str
    shape: BaseGeometry | None
    window: Window | None
    area_ha: float
    outside_ha: float

    def inside(self, geobox: GeoBox, rows: Window) -> tuple[Window, NDArray[np.bool_]] | None:
        """Find its pixels, by their centres, among some rows of the grid.

        Returns:
            A window and which of its pixels (h, w) are inside; None where there are none.
        """
        if self.window is None or self.shape is None:
            return None
        top = max(self.window.row, rows.row)
        bottom = min(self.window.row + self.window.height, rows.row + rows.height)
        if bottom <= top:
            return None
        part = Window(top, self.window.col, bottom - top, self.window.width)
        mask = burn_polygons([self.shape], part_of(geobox, part))
        return (part, mask) if mask.any() else None


def read_places(path: Path, geobox: GeoBox, *, site_field: str | None) -> tuple[Place, ...]:
    """Read sites; polygons of one name are one site.

    Raises:
        InputError: the file cannot be used.
        SiteError: no site touches the grid.
    """
    layer = read_polygons(path, site_field=site_field)
    ground = footprint(geobox)
    places = []
    for name in layer.sites:
        shapes = layer.frame.geometry[layer.frame["site"] == name]
        shape = shapely.union_all(list(shapes))
        area = _area_ha(shape)
        within = shape.intersection(ground)
        window = None if within.is_empty else pixel_window(shape, geobox)
        covered = shapely.contains(ground, shape)
        outside = 0.0 if covered else max(0.0, area - _area_ha(within))
        places.append(Place(name or "unnamed", shape, window, area, outside))
    if all(place.window is None for place in places):
        raise SiteError(
            f"{path}: none of its {len(places)} site(s) lies where both dates do. Check that the "
            "sites and the scenes are of one region."
        )
    return tuple(places)


def whole_place(geobox: GeoBox) -> Place:
    """Take the whole grid as one site."""
    return Place(WHOLE, None, None, _area_ha(footprint(geobox)), 0.0)


def _area_ha(shape: BaseGeometry) -> float:
    parts = [p for p in shapely.get_parts(shape) if p.geom_type == "Polygon"]
    areas, _ = geodesic_measures(parts)
    return float(areas.sum()) / 1e4
