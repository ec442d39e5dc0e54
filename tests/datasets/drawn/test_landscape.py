"""Drawn landscapes: the same from the same seed, exact truth, believable numbers."""

from datetime import date

import numpy as np
import pytest
import rasterio
from rasterio.features import rasterize

from headframe.datasets.drawn import draw_landsat_chip, draw_landscape, write_scene, write_truth
from headframe.datasets.drawn.files import write_kml
from headframe.io.vector import read_polygons

SIZE = (160, 208)


@pytest.fixture(scope="module")
def scene():
    return draw_landscape(5, size=SIZE, date=date(2021, 7, 15))


def _burn(polygons, geobox):
    shapes = [(g, 1) for g in polygons.to_crs(str(geobox.crs)).geometry]
    return rasterize(shapes, geobox.shape, transform=geobox.transform, dtype=np.uint8)


def test_same_arguments_same_scene(scene):
    again = draw_landscape(5, size=SIZE, date=date(2021, 7, 15))
    assert np.array_equal(scene.bands, again.bands)
    assert scene.polygons.geometry.geom_equals(again.polygons.geometry).all()


def test_other_seed_is_another_place(scene):
    other = draw_landscape(6, size=SIZE)
    assert not np.array_equal(scene.bands, other.bands)
    assert not scene.geobox.extent.geom.intersects(other.geobox.extent.geom)


def test_grid_and_numbers(scene):
    assert scene.bands.shape == (12, *SIZE)
    assert scene.bands.dtype == np.uint16
    assert scene.bands.min() >= 1
    assert scene.geobox.shape == SIZE
    assert scene.geobox.crs.epsg == 32723
    assert len(scene.band_names) == 12
    assert "B10" not in scene.band_names
    assert 0.05 < np.median(scene.bands[1]) / 1e4 < 0.2


def test_asymmetric(scene):
    red = scene.bands[3].astype(int)
    for flipped in (red[::-1], red[:, ::-1], red[::-1, ::-1]):
        assert np.abs(red - flipped).mean() > 50


@pytest.mark.parametrize("seed", range(8))
def test_truth_is_the_polygon(seed):
    scene = draw_landscape(seed, size=SIZE)
    assert set(np.unique(scene.truth)) == {0, 1}
    assert np.array_equal(scene.truth, _burn(scene.tailings, scene.geobox))
    assert np.array_equal(scene.truth == 1, scene.parts == 3)
    assert scene.polygons.geometry.is_valid.all()


def test_the_mine_grows(scene):
    later = draw_landscape(5, size=SIZE, date=date(2025, 7, 15))
    before = scene.polygons.set_index("part").area
    after = later.polygons.set_index("part").area
    assert (after > 1.05 * before).all()
    assert later.geobox == scene.geobox


def test_forest_is_green_and_water_dark_in_the_infrared():
    scene = draw_landscape(2, size=SIZE, cloudy=False)
    nir, red = scene.bands[7].astype(float), scene.bands[3].astype(float)
    ndvi = (nir - red) / (nir + red)
    assert np.median(ndvi[scene.parts == 0]) > 0.4
    assert np.median(ndvi[scene.truth == 1]) < 0.25
    assert not scene.cloud.any()


def test_cloud_is_bright(scene):
    assert scene.cloud.any()
    assert np.median(scene.bands[1][scene.cloud]) > 3500


@pytest.mark.parametrize(("seed", "size"), [(-1, SIZE), (1, (40, 400))])
def test_bad_arguments(seed, size):
    with pytest.raises(ValueError, match="must be at least"):
        draw_landscape(seed, size=size)


def test_geotiff_comes_back(scene, tmp_path):
    write_scene(scene, tmp_path / "a" / "scene.tif")
    write_truth(scene, tmp_path / "truth.tif")
    with rasterio.open(tmp_path / "a" / "scene.tif") as source:
        assert source.descriptions == scene.band_names
        assert source.nodata == 0
        assert source.transform == scene.geobox.transform
        assert source.tags()["DRAWN"].startswith("yes")
        assert np.array_equal(source.read(), scene.bands)
    with rasterio.open(tmp_path / "truth.tif") as source:
        assert np.array_equal(source.read(1), scene.truth)


def test_kml_comes_back_as_the_same_pixels(scene, tmp_path):
    path = tmp_path / "tailings.kml"
    write_kml([scene.tailings], path)
    layer = read_polygons(path)
    assert layer.sites == (scene.site,)
    assert layer.report == ()
    assert (_burn(layer.frame, scene.geobox) != scene.truth).sum() <= 2


def test_kml_keeps_holes_and_parts(scene, tmp_path):
    frame = scene.tailings.copy()
    ring = frame.geometry.iloc[0].centroid
    island = ring.buffer(3000).difference(ring.buffer(1000))
    frame["geometry"] = [island.union(ring.buffer(400))]
    write_kml([frame], tmp_path / "holes.kml")
    back = read_polygons(tmp_path / "holes.kml").frame.to_crs(frame.crs)
    assert back.area.sum() == pytest.approx(frame.area.sum(), rel=1e-6)


def test_landsat_chip():
    chip = draw_landsat_chip(3, size=(72, 88))
    assert chip.bands.shape == (8, 72, 88)
    assert chip.geobox.resolution.x == 30
    assert set(np.unique(chip.bands[7])) == {0, 1}
    assert np.array_equal(chip.bands[7] == 1, chip.cloud)
    assert np.array_equal(chip.truth, _burn(chip.tailings, chip.geobox))
    assert 2500 < np.median(chip.bands[5]) < 3200
    assert draw_landsat_chip(3, size=(72, 88)).bands.tobytes() == chip.bands.tobytes()
