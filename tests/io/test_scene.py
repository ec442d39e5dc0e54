import logging
import threading

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.shutil import copy

from headframe.core.errors import BandError, FormatError, MissingFileError, UnitError
from headframe.core.modelspec import InputSpec
from headframe.core.units import Scaling
from headframe.geo.window import Window
from headframe.io.scene import SceneOptions, open_scene

RGB = InputSpec(
    sensor="sentinel-2-l1c",
    bands=("red", "green", "blue"),
    gsd_m=10,
    mean=(0.1, 0.1, 0.1),
    std=(0.05, 0.05, 0.05),
    percentiles=((0.033, 0.066, 0.287), (0.055, 0.080, 0.193), (0.071, 0.089, 0.177)),
)
FREE = SceneOptions()
NORTH_UP = Affine(10, 0, 300_000, 0, -10, 7_000_000)
ROTATED = Affine(8.66, 6.0, 300_000, 5.0, -10.39, 7_000_000)


def pixels(height=37, width=53, bands=3):
    """Draw asymmetric L1C numbers (bands, height, width), each pixel its own."""
    row, col = np.mgrid[:height, :width]
    ramp = 700 + 3 * row + 7 * col + 11 * (row > 20) * (col > 40)
    return np.stack([ramp - 120 * band for band in range(bands)]).astype(np.uint16)


def write(path, values, *, names=("B02", "B03", "B04"), tags=None, **profile):
    profile = {"crs": "EPSG:32723", "transform": NORTH_UP, **profile}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        dtype=values.dtype,
        count=len(values),
        height=values.shape[1],
        width=values.shape[2],
        **profile,
    ) as file:
        file.write(values)
        for index, name in enumerate(names or (), 1):
            file.set_band_description(index, name)
        file.update_tags(**(tags or {}))
    return path


def whole(scene):
    return scene.read(Window(0, 0, *scene.shape))


def read(path, *, inputs=RGB, options=FREE):
    with open_scene(path, inputs=inputs, options=options) as scene:
        return whole(scene)


def test_bands_come_in_the_models_order_and_unit(tmp_path):
    values = pixels()
    with open_scene(write(tmp_path / "a.b.tif", values), inputs=RGB, options=FREE) as scene:
        assert (scene.name, scene.shape, scene.dtype) == ("a.b", (37, 53), "uint16")
        assert scene.scaling == (Scaling(1e-4, 0.0),) * 3
        got = whole(scene)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, values[::-1] * 1e-4, rtol=1e-6)


@pytest.mark.parametrize("transform", [NORTH_UP, ROTATED], ids=["north-up", "rotated"])
def test_grid_is_kept(tmp_path, transform):
    path = write(tmp_path / "a.tif", pixels(), transform=transform)
    with open_scene(path, inputs=RGB, options=FREE) as scene:
        assert scene.geobox.shape == (37, 53)
        assert scene.geobox.transform.almost_equals(transform)
        assert scene.geobox.crs == "EPSG:32723"


def test_without_crs_there_is_no_geobox(tmp_path):
    path = write(tmp_path / "a.tif", pixels(), crs=None)
    with open_scene(path, inputs=RGB, options=FREE) as scene:
        assert scene.geobox is None
        assert np.isfinite(whole(scene)).all()


def test_without_transform_there_is_no_geobox(tmp_path):
    with pytest.warns(NotGeoreferencedWarning):
        path = write(tmp_path / "a.tif", pixels(), transform=Affine.identity())
    with open_scene(path, inputs=RGB, options=FREE) as scene:
        assert scene.geobox is None


@settings(max_examples=40, deadline=None)
@given(
    row=st.integers(-60, 60),
    col=st.integers(-60, 60),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
)
def test_windows_may_reach_beyond_the_scene(tmp_path_factory, row, col, height, width):
    values = pixels()
    path = tmp_path_factory.getbasetemp() / "windows.tif"
    if not path.exists():
        write(path, values)
    with open_scene(path, inputs=RGB, options=FREE) as scene:
        got = scene.read(Window(row, col, height, width))
    padded = np.pad(values[::-1] * 1e-4, ((0, 0), (200, 200), (200, 200)), constant_values=np.nan)
    expected = padded[:, 200 + row : 200 + row + height, 200 + col : 200 + col + width]
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_nodata_in_one_band_is_nodata_in_all(tmp_path):
    values = pixels()
    values[1, 5, 7] = 0
    values[0, 30, 50] = 0
    got = read(write(tmp_path / "a.tif", values, nodata=0))
    lost = np.isnan(got)
    assert lost[:, 5, 7].all()
    assert lost[:, 30, 50].all()
    assert lost.sum() == 6


def test_nodata_in_a_band_that_is_not_needed_does_no_harm(tmp_path):
    values = pixels(bands=4)
    values[3, 5, 7] = 0
    path = write(tmp_path / "a.tif", values, names=("B02", "B03", "B04", "B08"), nodata=0)
    assert np.isfinite(read(path)).all()


def test_untagged_zero_is_nodata_only_where_all_bands_are_zero(tmp_path):
    values = pixels()
    values[:, 5, 7] = 0
    values[1, 6, 7] = 0
    path = write(tmp_path / "a.tif", values)
    assert np.argwhere(np.isnan(read(path)[0])).tolist() == [[5, 7]]
    stated = read(path, options=SceneOptions(scale=1e-4))
    assert np.isfinite(stated).all()


@pytest.mark.parametrize("nodata", [None, np.nan, -9999.0, -3.4028234663852886e38])
def test_float_nodata_and_nan(tmp_path, nodata):
    values = pixels().astype(np.float32)
    values[2, 4, 3] = np.nan
    values[1, 9, 9] = np.inf
    if nodata is not None:
        values[0, 8, 2] = nodata
    got = read(write(tmp_path / "a.tif", values, nodata=nodata))
    expected = [[4, 3], [9, 9]] if nodata is None else [[4, 3], [8, 2], [9, 9]]
    assert np.argwhere(np.isnan(got).all(axis=0)).tolist() == expected


def test_double_precision_nodata(tmp_path):
    values = pixels().astype(np.float64)
    values[0, 8, 2] = -1.7976931348623157e308
    got = read(write(tmp_path / "a.tif", values, nodata=-1.7976931348623157e308))
    assert np.argwhere(np.isnan(got[0])).tolist() == [[8, 2]]


def test_mask_band(tmp_path):
    values = pixels()
    path = write(tmp_path / "a.tif", values)
    mask = np.full(values.shape[1:], 255, np.uint8)
    mask[3, 4] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(mask)
    assert np.argwhere(np.isnan(read(path)[0])).tolist() == [[3, 4]]


def test_alpha_band_by_colour(tmp_path):
    values = np.concatenate([pixels(), np.full((1, 37, 53), 65535, np.uint16)])
    values[3, 3, 4] = 0
    path = write(tmp_path / "a.tif", values, names=None, photometric="RGB", alpha="unspecified")
    with rasterio.open(path, "r+") as file:
        file.colorinterp = (
            ColorInterp.red,
            ColorInterp.green,
            ColorInterp.blue,
            ColorInterp.alpha,
        )
    got = read(path)
    assert np.argwhere(np.isnan(got[0])).tolist() == [[3, 4]]
    np.testing.assert_allclose(got[0, 0], values[0, 0] * 1e-4, rtol=1e-6)
    bgr = read(path, options=SceneOptions(bands=("B02", "B03", "B04", "-")))
    np.testing.assert_allclose(bgr[2, 0], values[0, 0] * 1e-4, rtol=1e-6)
    bgr = read(path, options=SceneOptions(bands=("B02", "B03", "B04")))
    np.testing.assert_allclose(bgr[2, 0], values[0, 0] * 1e-4, rtol=1e-6)


def test_band_order_is_never_guessed(tmp_path):
    path = write(tmp_path / "a.tif", pixels(), names=None)
    with pytest.raises(BandError, match=r"a\.tif has 3 bands \(unnamed, unnamed, unnamed\)"):
        read(path)
    got = read(path, options=SceneOptions(bands=("green", "B4", "b02")))
    np.testing.assert_allclose(got[0], pixels()[1] * 1e-4, rtol=1e-6)


def test_file_scale_and_offset_tags_are_used(tmp_path):
    path = write(tmp_path / "a.tif", pixels())
    with rasterio.open(path, "r+") as file:
        file.scales = (2e-4, 1e-4, 1e-4)
        file.offsets = (0.0, -0.01, 0.0)
    got = read(path)
    np.testing.assert_allclose(got[2], pixels()[0] * 2e-4, rtol=1e-5)
    np.testing.assert_allclose(got[1], pixels()[1] * 1e-4 - 0.01, rtol=1e-5)


def test_unit_guard_and_its_remedy(tmp_path):
    path = write(tmp_path / "a.tif", (pixels() / 1e4).astype(np.float32))
    with pytest.raises(UnitError, match=r"a\.tif looks already scaled.*--scale 1 --offset 0"):
        read(path)
    np.testing.assert_allclose(
        read(path, options=SceneOptions(scale=1.0)), pixels()[::-1] * 1e-4, rtol=1e-5
    )


def test_eight_bit_file_needs_its_scale(tmp_path):
    values = (pixels() // 5).astype(np.uint8)
    path = write(tmp_path / "a.tif", values)
    with pytest.raises(UnitError, match=r"looks 8-bit"):
        read(path)
    got = read(path, options=SceneOptions(scale=5e-4, offset=0.01))
    np.testing.assert_allclose(got, values[::-1] * 5e-4 + 0.01, rtol=1e-5)


def test_stated_offset_alone_keeps_the_scale(tmp_path):
    path = write(tmp_path / "a.tif", pixels() + 1000)
    got = read(path, options=SceneOptions(offset=-0.1))
    np.testing.assert_allclose(got, pixels()[::-1] * 1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "tags", "offset", "cautioned"),
    [
        ("S2A_MSIL2A_20230101T130251_N0509_R095_T23KPQ.tif", {}, -0.1, True),
        ("S2A_MSIL2A_20200101T130251_N0213_R095_T23KPQ.tif", {}, 0.0, True),
        ("S2A_MSIL1C_20230101T130251_N0400_R095_T23KPQ.tif", {}, -0.1, False),
        ("a.tif", {"PROCESSING_LEVEL": "Level-2A", "PROCESSING_BASELINE": "04.00"}, -0.1, True),
        ("a.tif", {"PRODUCT_TYPE": "S2MSI2A", "PROCESSING_BASELINE": "03.01"}, 0.0, True),
        ("s2_l1c_2018.tif", {}, 0.0, False),
        ("s2_l2a_2018.tif", {}, 0.0, True),
        ("a.tif", {}, 0.0, False),
    ],
)
def test_l2a_scene_for_an_l1c_model(tmp_path, caplog, name, tags, offset, cautioned):
    values = pixels() + (1000 if offset else 0)
    path = write(tmp_path / name, values, tags=tags)
    with caplog.at_level(logging.WARNING, logger="headframe"):
        got = read(path)
    np.testing.assert_allclose(got, pixels()[::-1] * 1e-4, rtol=1e-3)
    assert [name in r.getMessage() and "caution" in r.getMessage() for r in caplog.records] == (
        [True] if cautioned else []
    )


def test_forgotten_offset_is_caught(tmp_path):
    with pytest.raises(UnitError, match=r"\+1000 offset still in"):
        read(write(tmp_path / "a.tif", pixels() + 1000))


def test_sample_is_raw_without_nodata(tmp_path):
    values = np.tile(pixels(), (1, 8, 8))
    values[:, :, :40] = 0
    path = write(tmp_path / "a.tif", values, nodata=0, tiled=True, blockxsize=64, blockysize=64)
    with open_scene(path, inputs=RGB, options=FREE) as scene:
        everything, few = scene.sample(10**7), scene.sample(5000)
    assert everything.shape == (3, 296 * (424 - 40))
    assert 1000 < few.shape[1] <= 5000
    assert few.min() > 0
    assert {tuple(p) for p in few.T[:50]} <= {tuple(p) for p in everything.T}


def test_sample_finds_the_only_data(tmp_path):
    values = np.zeros((3, 1100, 1200), np.uint16)
    values[:, 1050:1053, 1100:1104] = 900
    path = write(tmp_path / "a.tif", values, nodata=0, compress="deflate")
    with open_scene(path, inputs=RGB, options=FREE) as scene:
        assert scene.sample(4096).shape == (3, 12)


def test_dark_and_negative_scenes_open(tmp_path):
    rng = np.random.default_rng(3)
    read(write(tmp_path / "dark.tif", rng.integers(50, 250, (3, 60, 70)).astype(np.uint16)))
    read(write(tmp_path / "water.tif", rng.integers(-200, 90, (3, 60, 70)).astype(np.int16)))


@pytest.mark.parametrize("fill", [0, np.nan])
def test_scene_without_data(tmp_path, fill):
    path = write(tmp_path / "a.tif", np.full((3, 40, 50), fill, np.float32), nodata=0)
    for options in (FREE, SceneOptions(scale=1.0)):
        with pytest.raises(FormatError, match=r"a\.tif: every pixel is nodata or NaN in the"):
            read(path, options=options)


def test_missing_file(tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.tif: no such file"):
        read(tmp_path / "none.tif")


def test_missing_file_with_a_colon(tmp_path):
    with pytest.raises(MissingFileError, match=r"a:b\.tif: no such file"):
        read(tmp_path / "a:b.tif")


def test_complex_numbers(tmp_path):
    path = write(tmp_path / "a.tif", pixels().astype(np.complex64))
    with pytest.raises(FormatError, match=r"a\.tif: holds complex numbers"):
        read(path)


def test_folder(tmp_path):
    with pytest.raises(FormatError, match="is a folder"):
        read(tmp_path)


def test_text_named_tif(tmp_path):
    path = tmp_path / "a.tif"
    path.write_text("not a picture\n" * 100)
    with pytest.raises(FormatError, match=r"a\.tif: cannot be read as a raster \("):
        read(path)


def test_empty_file(tmp_path):
    path = tmp_path / "a.tif"
    path.touch()
    with pytest.raises(FormatError, match=r"a\.tif: cannot be read"):
        read(path)


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("compress", [None, "deflate"])
def test_truncated_file(tmp_path, keep, compress):
    path = tmp_path / "a.tif"
    values = np.random.default_rng(1).integers(500, 2000, (3, 300, 400)).astype(np.uint16)
    write(path, values, tiled=True, blockxsize=64, blockysize=64, compress=compress)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(FormatError, match=r"a\.tif: cannot be read.*cut short"):
        read(path)


def test_file_that_breaks_while_reading(tmp_path):
    path = tmp_path / "a.tif"
    values = np.random.default_rng(1).integers(500, 2000, (3, 1024, 1100)).astype(np.uint16)
    write(path, values, tiled=True, blockxsize=64, blockysize=64)
    with open_scene(path, inputs=RGB, options=FREE) as scene:
        path.write_bytes(path.read_bytes()[:100_000])
        with pytest.raises(FormatError, match=r"a\.tif: cannot be read.*cut short"):
            whole(scene)


def test_several_rasters_in_one_file(tmp_path):
    path = tmp_path / "two.gpkg"
    shape = {"height": 37, "width": 53, "count": 3, "dtype": "uint8", "driver": "GPKG"}
    for table, append in (("one", "NO"), ("two", "YES")):
        with rasterio.open(
            path,
            "w",
            crs="EPSG:32723",
            transform=NORTH_UP,
            raster_table=table,
            append_subdataset=append,
            **shape,
        ) as file:
            file.write((pixels() // 5).astype(np.uint8))
    with pytest.raises(
        FormatError, match=r"two\.gpkg: holds no bands itself; its rasters: GPKG:.*:one, GPKG:"
    ):
        read(path)
    stated = SceneOptions(scale=5e-4)
    assert read(f"GPKG:{path}:one", options=stated).shape == (3, 37, 53)


def test_vrt(tmp_path):
    write(tmp_path / "a.tif", pixels())
    copy(str(tmp_path / "a.tif"), str(tmp_path / "a.vrt"), driver="VRT")
    np.testing.assert_array_equal(read(tmp_path / "a.vrt"), read(tmp_path / "a.tif"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scale": 0.0}, "--scale 0.0"),
        ({"scale": np.nan}, "--scale nan"),
        ({"offset": np.inf}, "inf"),
    ],
)
def test_options_must_be_numbers(fields, said):
    with pytest.raises(UnitError, match=said):
        SceneOptions(**fields)


def test_reading_in_another_thread(tmp_path):
    results = []
    with open_scene(write(tmp_path / "a.tif", pixels()), inputs=RGB, options=FREE) as scene:
        thread = threading.Thread(target=lambda: results.append(whole(scene)))
        thread.start()
        thread.join()
    np.testing.assert_allclose(results[0], pixels()[::-1] * 1e-4, rtol=1e-6)


@pytest.mark.realdata
def test_real_chips_open_and_wrong_units_do_not(shared_data, tmp_path):
    chips = sorted((shared_data / "tailings-brazil" / "images").rglob("*.tif"))
    for chip in chips[::6]:
        got = read(chip)
        with rasterio.open(chip) as file:
            stored = file.read()
        seen = (stored != 0).all(axis=0)
        np.testing.assert_allclose(got[:, seen], stored[::-1, seen] * 1e-4, rtol=1e-6)
        with pytest.raises(UnitError, match=r"\+1000"):
            read(write(tmp_path / "offset.tif", np.where(seen, stored + 1000, 0), nodata=0))
        with pytest.raises(UnitError, match="already scaled"):
            read(write(tmp_path / "scaled.tif", (stored / 1e4).astype(np.float32), nodata=0))


@pytest.mark.realdata
def test_real_eight_bit_scene(shared_data):
    path = shared_data / "scenes" / "s2_l1c_20181013_uint8.tif"
    with pytest.raises(UnitError, match="8-bit"):
        read(path)
    with open_scene(path, inputs=RGB, options=SceneOptions(scale=0.001)) as scene:
        assert scene.shape == (2201, 2629)
        assert scene.geobox.resolution.x != -scene.geobox.resolution.y
        assert np.isfinite(scene.read(Window(1000, 1000, 64, 64))).all()
