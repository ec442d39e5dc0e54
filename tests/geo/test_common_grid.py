import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from headframe.core.errors import GridMismatchError
from headframe.geo.common_grid import check_overlap, common_grid, pixel_side_m

FINE = GeoBox((90, 130), Affine(10, 0, 300_000, 0, -10, 7_000_000), "EPSG:32723")
COARSE = GeoBox((40, 50), Affine(20, 0, 300_195, 0, -20, 6_999_895), "EPSG:32723")
ROTATED = GeoBox((90, 130), Affine(8.66, 5, 300_000, 5, -8.66, 7_000_000), "EPSG:32723")
DEGREES = GeoBox((80, 70), Affine(9e-5, 0, -47.0, 0, -9e-5, -27.0), "EPSG:4326")


def test_sides_are_metres_on_the_ellipsoid():
    assert pixel_side_m(FINE) == pytest.approx(10, rel=1e-3)
    assert pixel_side_m(ROTATED) == pytest.approx(10, rel=1e-3)
    assert pixel_side_m(DEGREES) == pytest.approx(9.45, abs=0.02)


@pytest.mark.parametrize("box", [FINE, ROTATED, DEGREES], ids=["north-up", "rotated", "degrees"])
def test_one_grid_is_its_own(box):
    got = common_grid({"a": box, "b": box})
    assert got.shape == box.shape
    assert got.transform.almost_equals(box.transform, 1e-6)
    assert got.crs == box.crs


def test_the_finest_grid_is_cut_to_common_ground_without_moving():
    got = common_grid({"coarse": COARSE, "fine": FINE})
    # COARSE covers x 300195..301195, y 6999895..6999095; FINE x 300000..301300, y ..6999100.
    assert got.transform.almost_equals(Affine(10, 0, 300_190, 0, -10, 6_999_900), 1e-6)
    assert got.shape == (80, 101)


def test_stated_pixels_lie_on_their_multiples():
    got = common_grid({"coarse": COARSE, "fine": FINE}, gsd_m=30)
    assert (got.transform.a, got.transform.e) == (30, -30)
    assert got.transform.c % 30 == 0
    assert got.transform.f % 30 == 0
    assert got.crs == "EPSG:32723"
    assert got.extent.contains(COARSE.extent & FINE.extent)


def test_degrees_become_utm():
    got = common_grid({"a": DEGREES}, gsd_m=10)
    assert got.crs == "EPSG:32723"
    assert got.transform.a == 10
    assert abs(got.shape.x - 70 * 9.95 / 11.1 * 1.1) < 15


def test_without_common_ground():
    far = FINE.translate_pix(5000, 0)
    with pytest.raises(GridMismatchError, match=r"^far\.tif and (a|b)\.tif share no ground \(-4"):
        common_grid({"a.tif": FINE, "b.tif": COARSE, "far.tif": far})
    touching = FINE.translate_pix(130, 0)
    with pytest.raises(GridMismatchError, match="share no ground"):
        common_grid({"a.tif": FINE, "b.tif": touching})


def test_pairs_overlap_but_not_all():
    wide = GeoBox((20, 400), FINE.transform, FINE.crs)
    left = GeoBox((90, 60), FINE.transform, FINE.crs)
    right = FINE.translate_pix(100, 0)
    with pytest.raises(GridMismatchError, match=r"right: covers no ground|share no ground"):
        common_grid({"wide": wide, "left": left, "right": right})
    lower = GeoBox((90, 200), FINE.transform * Affine.translation(0, 30), FINE.crs)
    tall = GeoBox((90, 20), FINE.transform, FINE.crs)
    with pytest.raises(GridMismatchError, match=r"share no ground"):
        common_grid({"wide": wide, "tall": tall, "lower": lower})


def test_a_given_grid_must_be_covered():
    check_overlap({"a.tif": COARSE}, FINE, grid_name="grid.tif")
    with pytest.raises(GridMismatchError, match=r"^d\.tif and grid\.tif share no ground"):
        check_overlap({"d.tif": DEGREES}, FINE, grid_name="grid.tif")
    assert np.isfinite(pixel_side_m(FINE))
