import numpy as np
import pytest
import shapely
from pyproj import CRS, Geod

from headframe.core.errors import GeometryError
from headframe.geo.coarsen import Coarseness, coarsen, coarsen_metric, local_crs, reprojected

GEOD = Geod(ellps="WGS84")
LONLAT = CRS.from_epsg(4326)


def rectangle(lon, lat, width_m, height_m, *, detail=1):
    """A rectangle of given metres whose lower left corner is at (lon, lat)."""
    metric = local_crs(shapely.Point(lon, lat))
    box = shapely.segmentize(shapely.box(0, 0, width_m, height_m), max(width_m, height_m) / detail)
    return reprojected(box, metric, LONLAT)


def centre_m(shape, other):
    a, b = shape.centroid, other.centroid
    azimuth, _, metres = GEOD.inv(a.x, a.y, b.x, b.y)
    return azimuth, metres


@pytest.mark.parametrize(("lon", "lat"), [(-44.1, -20.1), (15.2, 67.9), (117.9, -33.3)])
def test_a_buffer_is_as_wide_as_it_says_anywhere(lon, lat):
    fine = rectangle(lon, lat, 900, 400)
    (coarse,) = coarsen([fine], Coarseness(buffer_m=60))
    area = abs(GEOD.geometry_area_perimeter(coarse.shape)[0])
    expected = 900 * 400 + 2 * (900 + 400) * 60 + np.pi * 60**2
    assert area == pytest.approx(expected, rel=3e-3)
    assert coarse.shape.contains(fine)
    assert coarse.members == (0,)


def test_a_shift_has_its_length_and_each_polygon_its_own_direction():
    fine = [rectangle(-44 + 0.1 * i, -20, 300, 200) for i in range(4)]
    coarse = coarsen(fine, Coarseness(shift_m=30), seed=3)
    moves = [centre_m(a, b.shape) for a, b in zip(fine, coarse, strict=True)]
    assert [metres for _, metres in moves] == pytest.approx([30] * 4, abs=0.05)
    assert len({round(azimuth) for azimuth, _ in moves}) == 4
    again = coarsen(fine, Coarseness(shift_m=30), seed=3)
    assert [c.shape.wkt for c in again] == [c.shape.wkt for c in coarse]
    other = coarsen(fine, Coarseness(shift_m=30), seed=4)
    assert other[0].shape.wkt != coarse[0].shape.wkt


def test_the_direction_runs_from_x_to_y():
    box = shapely.box(0, 0, 40, 10)
    east = coarsen_metric(box, Coarseness(shift_m=7), direction=0.0)
    north = coarsen_metric(box, Coarseness(shift_m=7), direction=np.pi / 2)
    assert east.bounds == pytest.approx((7, 0, 47, 10))
    assert north.bounds == pytest.approx((0, 7, 40, 17))


def test_simplifying_drops_what_is_smaller_than_its_tolerance():
    teeth = [(x, 0 if i % 2 else 6) for i, x in enumerate(range(0, 401, 10))]
    saw = shapely.Polygon([*teeth, (400, 150), (0, 150)])
    plain = coarsen_metric(saw, Coarseness(simplify_m=20), direction=0)
    assert len(plain.exterior.coords) < 8
    assert plain.symmetric_difference(saw).area < 0.05 * saw.area


def test_near_ones_become_one_through_chains():
    places = [0, 430, 860, 5_000]  # gaps of 130 m, then far
    metric = local_crs(shapely.Point(-56, -16))
    fine = [reprojected(shapely.box(x, 0, x + 300, 200 + x / 10), metric, LONLAT) for x in places]
    apart = coarsen(fine, Coarseness(merge_m=120))
    assert [c.members for c in apart] == [(0,), (1,), (2,), (3,)]
    joined = coarsen(fine, Coarseness(merge_m=140))
    assert [c.members for c in joined] == [(0, 1, 2), (3,)]
    touching = coarsen(fine, Coarseness(buffer_m=70, merge_m=0))
    assert [c.members for c in touching] == [(0, 1, 2), (3,)]
    assert touching[0].shape.geom_type == "Polygon"
    kept = coarsen(fine, Coarseness(buffer_m=70))
    assert len(kept) == 4


def test_what_a_negative_buffer_takes_away_is_left_out():
    fine = [rectangle(0, 0, 500, 80), rectangle(1, 0, 500, 400)]
    coarse = coarsen(fine, Coarseness(buffer_m=-50))
    assert [c.members for c in coarse] == [(1,)]
    assert coarsen(fine[:1], Coarseness(buffer_m=-50, merge_m=10)) == []


def test_widths_are_checked():
    with pytest.raises(GeometryError, match="0 m and more"):
        Coarseness(shift_m=-1)
    with pytest.raises(GeometryError, match="finite"):
        Coarseness(buffer_m=float("nan"))


def test_what_has_no_place_in_a_system_is_refused():
    far = shapely.box(179, 89.2, 181, 95)
    with pytest.raises(GeometryError, match="cannot be brought"):
        reprojected(far, LONLAT, CRS.from_epsg(3857))
