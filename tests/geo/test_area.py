import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely import Polygon, box

from headframe.core.errors import CrsError
from headframe.geo.area import GEOD, GridMeasure, geodesic_measures


def authalic_band_m2(south: float, north: float, degrees: float) -> float:
    """Area between two parallels over ``degrees`` of longitude, in closed form."""
    e2 = GEOD.es
    e = np.sqrt(e2)

    def q(lat):
        s = np.sin(np.radians(lat))
        return s / (1 - e2 * s * s) + np.arctanh(e * s) / e

    return float(np.radians(degrees) * GEOD.b**2 / 2 * (q(north) - q(south)))


def test_geographic_rectangle_against_the_closed_form():
    geobox = GeoBox((4000, 7000), Affine(0.0001, 0, 20.0, 0, -0.0001, -30.0), "EPSG:4326")
    areas, perimeters = GridMeasure(geobox).measures([box(0, 0, 7000, 4000)])
    assert areas[0] == pytest.approx(authalic_band_m2(-30.4, -30.0, 0.7), rel=1e-8)
    assert perimeters[0] > 2 * 0.7 * 111e3 * np.cos(np.radians(30.4))


def test_metric_square_has_its_scale_removed():
    # On the central meridian of a UTM zone the scale is 0.9996.
    geobox = GeoBox((100, 100), Affine(10, 0, 499_500, 0, -10, 5_000_500), "EPSG:32631")
    areas, perimeters = GridMeasure(geobox).measures([box(0, 0, 100, 100)])
    assert areas[0] == pytest.approx(1e6 / 0.9996**2, rel=1e-6)
    assert perimeters[0] == pytest.approx(4e3 / 0.9996, rel=1e-6)


def test_rotated_grid_keeps_areas():
    c, s = np.cos(np.radians(27)), np.sin(np.radians(27))
    affine = Affine(10 * c, 5 * s, 499_500, 10 * s, -5 * c, 5_000_500)
    measure = GridMeasure(GeoBox((50, 90), affine, "EPSG:32631"))
    areas, _ = measure.measures([box(3, 4, 23, 10)])
    assert areas[0] == pytest.approx(20 * 6 * 50 / 0.9996**2, rel=1e-5)
    assert measure.pixel_size_m(10, 10) == pytest.approx((10.004, 5.002), rel=1e-4)


def test_holes_lessen_the_area_and_add_to_the_perimeter():
    hole = Polygon(box(0, 0, 1, 1).exterior.coords, [box(0.25, 0.25, 0.75, 0.5).exterior.coords])
    areas, perimeters = geodesic_measures([hole, box(0, 0, 1, 1), box(0.25, 0.25, 0.75, 0.5)])
    assert areas[0] == pytest.approx(areas[1] - areas[2])
    assert perimeters[0] == pytest.approx(perimeters[1] + perimeters[2])


def test_a_grid_without_crs_has_no_areas():
    with pytest.raises(CrsError, match="has no areas"):
        GridMeasure(GeoBox((5, 9), Affine(1, 0, 0, 0, -1, 0), None))


def test_nothing_to_measure():
    measure = GridMeasure(GeoBox((5, 9), Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32631"))
    areas, perimeters = measure.measures([])
    assert len(areas) == len(perimeters) == 0
