"""Scenes of radar, and of radar beside light in one file."""

import numpy as np
import pytest
import rasterio
from affine import Affine

from headframe.core.errors import BandError, FormatError, UnitError, UnknownNameError
from headframe.core.modelspec import InputSpec
from headframe.core.units import Scaling
from headframe.geo.window import Window
from headframe.io.scene import SceneOptions, open_scene

ROTATED = Affine(8.66, 6.0, 300_000, 5.0, -10.39, 7_000_000)
FREE = SceneOptions()
LIGHT = (0.033, 0.066, 0.287)
RADAR = (-25.0, -12.0, -4.0)


def spec(sensor, *bands):
    light = [not band.startswith("v") for band in bands]
    return InputSpec(
        sensor=sensor,
        bands=bands,
        gsd_m=10,
        mean=(0.0,) * len(bands),
        std=(1.0,) * len(bands),
        percentiles=tuple(LIGHT if each else RADAR for each in light),
    )


S1 = spec("sentinel-1-grd", "vh", "vv_vh", "vv")
BOTH = spec("sentinel-2-l2a+sentinel-1-grd", "vv", "red", "vv_vh", "blue")


def decibels(height=31, width=47):
    row, col = np.mgrid[:height, :width]
    vv = -14 + 0.05 * row + 0.1 * col - 4.0 * (row > 20) * (col > 40)
    return np.stack([vv, vv - 6 - 0.04 * row]).astype(np.float32)


def reflectance(height=31, width=47):
    row, col = np.mgrid[:height, :width]
    blue = 600 + 3 * row + 7 * col
    return np.stack([blue, blue - 90]).astype(np.float32)


def write(path, values, names, **profile):
    shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2]}
    profile = {"crs": "EPSG:32723", "transform": ROTATED, "dtype": values.dtype, **profile}
    with rasterio.open(path, "w", driver="GTiff", **shape, **profile) as file:
        file.write(values)
        file.descriptions = names
    return path


def read(path, inputs, options=FREE):
    with open_scene(path, inputs=inputs, options=options) as scene:
        return scene.read(Window(0, 0, *scene.shape))


def expected(db):
    return np.stack([db[1], db[0] - db[1] - 10, db[0]])


def test_the_ratio_is_formed_where_the_file_has_none(tmp_path):
    db = decibels()
    got = read(write(tmp_path / "a.tif", db, ("VV", "VH")), S1)
    np.testing.assert_allclose(got, expected(db), atol=1e-5)


def test_the_ratio_is_formed_anew_where_the_file_has_one(tmp_path):
    db = decibels()
    stored = np.concatenate([db, (db[0] / db[1])[None]])
    got = read(write(tmp_path / "a.tif", stored, ("VV", "VH", "VV/VH")), S1)
    np.testing.assert_allclose(got, expected(db), atol=1e-5)


def test_a_stored_ratio_alone_is_used(tmp_path):
    ratio = decibels()[:1]
    got = read(write(tmp_path / "a.tif", ratio, ("vv_vh",)), spec("sentinel-1-grd", "vv_vh"))
    np.testing.assert_array_equal(got, ratio)


def test_linear_power_becomes_decibels(tmp_path):
    db = decibels()
    path = write(tmp_path / "a.tif", 10 ** (db / 10), ("VV", "VH"))
    np.testing.assert_allclose(read(path, S1), expected(db), atol=1e-4)
    with open_scene(path, inputs=S1, options=FREE) as scene:
        assert scene.radar_unit == "power"


def test_power_at_the_edge_is_no_data_and_noise_has_a_floor(tmp_path):
    power = 10 ** (decibels() / 10)
    power[:, :4, :5] = 0
    power[1, 10, 11] = -1e-4
    got = read(write(tmp_path / "a.tif", power, ("VV", "VH")), S1)
    assert np.isnan(got[:, :4, :5]).all()
    assert np.isfinite(got[:, 4:, 5:]).all()
    assert got[0, 10, 11] == pytest.approx(-60)


def test_the_unit_may_be_stated(tmp_path):
    strong = decibels() + 30
    path = write(tmp_path / "a.tif", strong, ("VV", "VH"))
    got = read(path, S1, SceneOptions(s1_unit="db"))
    np.testing.assert_allclose(got, expected(strong), atol=1e-5)
    got = read(path, S1, SceneOptions(s1_unit="power"))
    np.testing.assert_allclose(got[2], 10 * np.log10(strong[0]), atol=1e-4)
    got = read(path, S1, SceneOptions(scale=1.0, offset=0.0))
    np.testing.assert_allclose(got, expected(strong), atol=1e-5)
    with pytest.raises(UnknownNameError, match=r"unknown --s1-unit 'dB'; closest: db"):
        SceneOptions(s1_unit="dB")


def test_amplitude_is_refused(tmp_path):
    path = write(tmp_path / "a.tif", (decibels() + 300).astype(np.uint16), ("VV", "VH"))
    with pytest.raises(UnitError, match=r"a\.tif: looks like uncalibrated amplitude"):
        read(path, S1)


def test_radar_without_data(tmp_path):
    path = write(tmp_path / "a.tif", decibels() * np.nan, ("VV", "VH"), nodata=np.nan)
    with pytest.raises(FormatError, match=r"every pixel is nodata or NaN.*vh, vv_vh, vv"):
        read(path, S1)


def test_one_polarisation_makes_no_ratio(tmp_path):
    path = write(tmp_path / "a.tif", decibels()[:1], ("VV",))
    with pytest.raises(BandError, match=r"none is known to be vh \(VH\) and vv_vh \(VV_VH\)"):
        read(path, S1)


@pytest.mark.parametrize("power", [False, True])
def test_light_and_radar_in_one_file_are_scaled_apart(tmp_path, power):
    light, db = reflectance(), decibels()
    radar = 10 ** (db / 10) if power else db
    values = np.concatenate([radar, light]).astype(np.float32)
    path = write(tmp_path / "both.tif", values, ("VV", "VH", "B02", "B04"))
    with open_scene(path, inputs=BOTH, options=FREE) as scene:
        assert scene.scaling == (*[Scaling(1.0, 0.0)], *[Scaling(1e-4, 0.0)] * 2, Scaling(1.0, 0.0))
        got = scene.read(Window(-3, 2, 20, 60))
    whole = np.stack([db[0], light[1] / 1e4, db[0] - db[1] - 10, light[0] / 1e4])
    np.testing.assert_allclose(got[:, 3:, :45], whole[:, :17, 2:], atol=1e-4)
    assert np.isnan(got[:, :3]).all()
    assert np.isnan(got[:, :, 45:]).all()


def test_a_scale_means_the_light_of_a_joint_scene(tmp_path):
    values = np.concatenate([decibels(), reflectance() / 1e4])
    path = write(tmp_path / "both.tif", values, ("VV", "VH", "B02", "B04"))
    with pytest.raises(UnitError, match=r"looks already scaled.*\(Sentinel-2 L2A\)"):
        read(path, BOTH)
    got = read(path, BOTH, SceneOptions(scale=1.0))
    np.testing.assert_allclose(got[:2], values[[0, 3]], atol=1e-6)


def test_no_data_of_one_sensor_is_no_data_in_all(tmp_path):
    values = np.concatenate([decibels(), reflectance()])
    values[0, 5, 7] = np.nan
    got = read(write(tmp_path / "both.tif", values, ("VV", "VH", "B02", "B04")), BOTH)
    assert np.isnan(got[:, 5, 7]).all()
    assert np.isnan(got).sum() == 4


def test_a_model_of_light_reads_a_joint_file(tmp_path):
    values = np.concatenate([decibels(), reflectance()])
    path = write(tmp_path / "both.tif", values, ("VV", "VH", "B02", "B04"))
    got = read(path, spec("sentinel-2-l2a", "red", "blue"))
    np.testing.assert_allclose(got, values[[3, 2]] / 1e4, rtol=1e-6)
