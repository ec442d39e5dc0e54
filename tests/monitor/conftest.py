"""Mines with known areas, drawn on any grid: ``ground``."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import Geod, Transformer
from rasterio.features import rasterize

from headframe.core.components import COMPONENT_NAMES, NODATA_BITS

LON, LAT = 81.41, 24.37
"""Where the mines of ``mine-timeseries`` are; the border of two UTM zones is 6 degrees off."""
_GEOD = Geod(ellps="WGS84")
_PLANE = f"+proj=laea +lat_0={LAT} +lon_0={LON} +ellps=WGS84"


def lonlat(shape):
    """Lead a shape drawn in metres around the middle to longitude and latitude."""
    there = Transformer.from_crs(_PLANE, "EPSG:4326", always_xy=True)
    fine = shapely.segmentize(shape, 5)
    return shapely.transform(fine, lambda c: np.column_stack(there.transform(c[:, 0], c[:, 1])))


def hectares(shape):
    """True area on the ellipsoid of a shape in metres around the middle."""
    parts = shapely.get_parts(lonlat(shape))
    return sum(abs(_GEOD.geometry_area_perimeter(p)[0]) for p in parts) / 1e4


@dataclass(frozen=True)
class Raster:
    """A grid around the middle: pixels moved by ``shift_px``, turned by ``turn_deg``."""

    crs: str = "EPSG:32644"
    pixel_m: float = 10.0
    shift_px: float = 0.0
    turn_deg: float = 0.0
    half_m: float = 900.0

    @property
    def shape(self):
        side = int(2 * self.half_m / self.pixel_m)
        return side + 6, side

    @property
    def affine(self):
        x, y = Transformer.from_crs("EPSG:4326", self.crs, always_xy=True).transform(LON, LAT)
        wide = high = self.pixel_m
        if self.crs == "EPSG:4326":
            wide, high = wide * 9.86e-6, high * 9.03e-6  # degrees to a metre, here
        height, width = self.shape
        middle = Affine.translation(self.shift_px - width / 2, self.shift_px - height / 2)
        turned = Affine.translation(x, y) @ Affine.rotation(self.turn_deg)
        return turned @ Affine.scale(wide, -high) @ middle

    def write(self, path, shapes, *, tags=(), nodata=255, lost=None, crs=True):
        """Write classes: ``shapes`` as (class, shape in metres); ``lost`` is no data."""
        there = Transformer.from_crs("EPSG:4326", self.crs, always_xy=True)

        def move(coords):
            return np.column_stack(there.transform(coords[:, 0], coords[:, 1]))

        values = np.zeros(self.shape, np.uint8)
        for value, shape in [*shapes, *([(255, lost)] if lost is not None else [])]:
            moved = shapely.transform(lonlat(shape), move)
            rasterize([(moved, value)], out=values, transform=self.affine)
        height, width = self.shape
        profile = {"driver": "GTiff", "count": 1, "height": height, "width": width}
        profile |= {"dtype": "uint8", "nodata": nodata, "transform": self.affine}
        with rasterio.open(path, "w", crs=self.crs if crs else None, **profile) as file:
            file.write(values, 1)
            file.update_tags(**{f"class_{i}": name for i, name in enumerate(tags)})
        return str(path)

    def write_bits(self, path, shapes, *, lost=None, names=None):
        """Write a mask of components: ``shapes`` as (component, shape in metres).

        ``names`` are the bits' tags, position to name; by default the usual ten.
        """
        there = Transformer.from_crs("EPSG:4326", self.crs, always_xy=True)
        names = dict(enumerate(COMPONENT_NAMES)) if names is None else names
        bit_of = {name: bit for bit, name in names.items()}

        def burnt(shape):
            coords = shapely.transform(
                lonlat(shape), lambda c: np.column_stack(there.transform(c[:, 0], c[:, 1]))
            )
            return rasterize([(coords, 1)], out_shape=self.shape, transform=self.affine) > 0

        values = np.zeros(self.shape, np.uint16)
        for name, shape in shapes:
            values[burnt(shape)] |= np.uint16(1 << bit_of[name])
        if lost is not None:
            values[burnt(lost)] = NODATA_BITS
        height, width = self.shape
        profile = {"driver": "GTiff", "count": 1, "height": height, "width": width}
        profile |= {"dtype": "uint16", "nodata": NODATA_BITS, "transform": self.affine}
        with rasterio.open(path, "w", crs=self.crs, **profile) as file:
            file.write(values, 1)
            file.descriptions = ("component bits",)
            file.update_tags(**{f"BIT_{bit}": name for bit, name in names.items()})
        return str(path)


def sites(path, **shapes):
    """Write sites, shapes in metres, as GeoJSON."""
    frame = gpd.GeoDataFrame(
        {"mine": list(shapes)}, geometry=[lonlat(s) for s in shapes.values()], crs="EPSG:4326"
    )
    frame.to_file(path, driver="GeoJSON")
    return Path(path)


@pytest.fixture(scope="session")
def ground():
    """Shapes with true areas, and rasters to draw them on."""
    return SimpleNamespace(Raster=Raster, hectares=hectares, lonlat=lonlat, sites=sites, disc=disc)


def disc(x, y, radius):
    """A disc in metres around the middle."""
    return shapely.Point(x, y).buffer(radius, 128)
