import logging
import shutil

import numpy as np
import pytest
from PIL import Image

from headframe.core.errors import (
    BandError,
    DatasetError,
    FormatError,
    GridMismatchError,
    MissingFileError,
    UnitError,
)
from headframe.datasets.chips import open_dataset
from headframe.datasets.layout import base_site
from headframe.datasets.manifest import write_manifest
from headframe.datasets.pixels import read_header
from headframe.io.labels import write_valid_png


@pytest.fixture
def root(tmp_path, fakes):
    return fakes.write_dataset(tmp_path / "ds")


@pytest.mark.parametrize("nested", [False, True])
def test_both_nestings_are_read(tmp_path, fakes, nested):
    dataset = open_dataset(fakes.write_dataset(tmp_path / "ds", nested=nested))
    assert [len(dataset.chips(s)) for s in ("train", "val", "test", None)] == [12, 2, 2, 16]
    assert dataset.chips("val")[0].key == "site_06/00000"
    assert dataset.bands == ("blue", "green", "red")
    assert len(set(dataset.site_groups().values())) == 8


def test_values_are_reflectance_and_labels_binary(root, fakes):
    dataset = open_dataset(root)
    chip = dataset.chips("train")[0]
    arrays = dataset.read(chip)
    np.testing.assert_allclose(arrays.image, fakes.pixels(0) * 1e-4, rtol=1e-6)
    assert arrays.image.dtype == np.float32
    assert arrays.geobox.crs.epsg == 32721
    want = fakes.label(1)
    want = np.where(want == 2, 1, np.where(want == 1, 255, 0))
    np.testing.assert_array_equal(arrays.label, want)
    np.testing.assert_array_equal(dataset.read(chip, target="full").label, fakes.label(1))


def test_nodata_in_one_band_is_nodata_in_all_and_ignored(root, fakes):
    dataset = open_dataset(root)
    chip = dataset.chips()[0]
    values = fakes.pixels(0)
    values[1, 4, 7] = 0
    fakes.write_image(chip.image, values)
    valid = np.ones(fakes.SHAPE, bool)
    valid[9, 2] = False
    write_valid_png(chip.valid, valid)
    arrays = dataset.read(chip, target="full")
    assert np.isnan(arrays.image[:, [4, 9], [7, 2]]).all()
    assert np.isnan(arrays.image).sum() == 6
    assert arrays.label[4, 7] == arrays.label[9, 2] == 255


def test_band_order_follows_descriptions_not_position(root, fakes):
    dataset = open_dataset(root)
    chip = dataset.chips()[0]
    fakes.write_image(chip.image, fakes.pixels(0)[::-1], names=("B04", "B03", "B02"))
    np.testing.assert_allclose(dataset.read(chip).image, fakes.pixels(0) * 1e-4, rtol=1e-6)
    fakes.write_image(chip.image, fakes.pixels(0), names=(None,) * 3)
    np.testing.assert_allclose(dataset.read(chip).image, fakes.pixels(0) * 1e-4, rtol=1e-6)
    fakes.write_image(chip.image, fakes.pixels(0)[:2], names=("B02", "B03"))
    with pytest.raises(BandError, match=r"red \(B04\)"):
        dataset.read(chip)


def test_true_colour_labels_read_alike(root, fakes):
    dataset = open_dataset(root)
    chip = dataset.chips()[0]
    before = dataset.read(chip).label
    Image.open(chip.label).convert("RGB").save(chip.label)
    np.testing.assert_array_equal(dataset.read(chip).label, before)


def test_empty_and_unreadable_chips_are_reported_and_skipped(root, fakes, caplog):
    dataset = open_dataset(root)
    first, second = dataset.chips()[:2]
    fakes.write_image(first.image, np.zeros_like(fakes.pixels(0)))
    second.image.write_text("not a raster")
    with caplog.at_level(logging.WARNING, "headframe"):
        kept = [chip.key for chip, _ in dataset.readable()]
        assert dataset.read(first).empty
    assert len(kept) == 14
    assert not {first.key, second.key} & set(kept)
    assert len(caplog.records) == 2
    assert "every pixel is nodata" in caplog.text
    assert dataset.header(second) is None
    assert (dataset.read(second).label == 255).all()


def test_bad_labels_name_the_file(root, fakes):
    dataset = open_dataset(root)
    chip = dataset.chips()[0]
    Image.fromarray(np.full(fakes.SHAPE, 7, np.uint8)).save(chip.label)
    with pytest.raises(FormatError, match=r"00000\.png.*7"):
        dataset.read(chip)
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(chip.label)
    with pytest.raises(GridMismatchError, match="5 x 6"):
        dataset.read(chip)
    chip.label.unlink()
    with pytest.raises(MissingFileError, match="no such label"):
        dataset.read(chip)


def test_raw_folder_of_masks(tmp_path, fakes):
    root = tmp_path / "raw"
    fakes.write_image(root / "images" / "a" / "1.tif", fakes.pixels(1))
    mask = (fakes.label() == 2).astype(np.uint8)[None]
    fakes.write_image(root / "masks" / "a" / "1.tif", mask, names=(None,), nodata=None)
    dataset = open_dataset(root)
    (chip,) = dataset.chips()
    assert (chip.split, chip.site) == (None, "a")
    np.testing.assert_array_equal(dataset.read(chip).label, mask[0])
    np.testing.assert_array_equal(dataset.read(chip, target="full").label, 2 * mask[0])
    assert dataset.manifest.class_map.names[-1] == "mining"
    assert open_dataset(root, class_name="water").manifest.class_map.names[-1] == "water"
    write_manifest(root, dataset.manifest.model_copy(update={"splits": {"test": ("a",)}}))
    assert open_dataset(root).chips("test")[0].key == "a/1"
    fakes.write_image(root / "masks" / "a" / "1.tif", 3 * mask, names=(None,), nodata=None)
    with pytest.raises(FormatError, match="value 3 is no class"):
        open_dataset(root).read(chip)


def test_bands_are_never_guessed(tmp_path, fakes):
    root = tmp_path / "raw"
    fakes.write_image(root / "images" / "1.tif", fakes.pixels(1), names=(None,) * 3)
    fakes.write_image(root / "masks" / "1.tif", np.zeros((1, *fakes.SHAPE), np.uint8), names=())
    with pytest.raises(BandError, match="--bands"):
        open_dataset(root)
    assert open_dataset(root, bands=("red", "green", "blue")).bands == ("red", "green", "blue")


def test_reflectance_is_not_scaled_twice(root, fakes):
    dataset = open_dataset(root)
    chip = dataset.chips()[0]
    fakes.write_image(chip.image, (fakes.pixels(0) * 1e-4).astype(np.float32))
    with pytest.raises(UnitError, match='"scale": 1'):
        dataset.read(chip)
    write_manifest(root, fakes.manifest(scale=1.0))
    values = open_dataset(root).read(chip).image
    np.testing.assert_allclose(values, fakes.pixels(0) * 1e-4, rtol=1e-6)


def test_no_data_set(tmp_path, fakes):
    with pytest.raises(MissingFileError, match="no such folder"):
        open_dataset(tmp_path / "absent")
    with pytest.raises(DatasetError, match="no data set here"):
        open_dataset(tmp_path)
    fakes.write_image(tmp_path / "train" / "images" / "a" / "1.tif", fakes.pixels(1))
    with pytest.raises(DatasetError, match="no image has a label"):
        open_dataset(tmp_path)


def test_unknown_key_in_manifest(root, fakes):
    text = (root / "dataset.json").read_text().replace('"gsd_m"', '"gsd"')
    (root / "dataset.json").write_text(text)
    with pytest.raises(DatasetError, match=r"dataset\.json"):
        open_dataset(root)
    (root / "dataset.json").write_text("{")
    with pytest.raises(DatasetError, match="not JSON"):
        open_dataset(root)


def test_identifier_changes_with_splits(root, fakes):
    before = open_dataset(root).identifier
    assert before == open_dataset(root).identifier
    for kind in ("images", "labels"):
        shutil.move(root / "train" / kind / "site_00", root / "test" / kind / "site_00")
    assert open_dataset(root).identifier != before


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("Peru_Río-Malinowski_agm_region_2", "peru_rio_malinowski"),
        ("x_agm_region_1_00003", "x"),
        ("brazil_001", "brazil_001"),
    ],
)
def test_base_site(name, base):
    assert base_site(name) == base


def test_outline_across_the_antimeridian(tmp_path, fakes):
    path = tmp_path / "a.tif"
    fakes.write_image(path, fakes.pixels(1), crs="EPSG:3832", place=9465)
    outline = read_header(path).outline
    assert outline.bounds[0] == pytest.approx(-180)
    assert outline.bounds[2] == pytest.approx(180)
    assert outline.area == pytest.approx(0.0027 * 0.00094, rel=0.02)  # Mercator at 58 degrees


@pytest.mark.realdata
def test_tailings_of_brazil(shared_data):
    dataset = open_dataset(shared_data / "tailings-brazil")
    assert len(dataset.chips()) == 86
    assert len(set(dataset.site_groups().values())) == 40
    arrays = dataset.read(dataset.chips()[0])
    assert arrays.image.shape == (3, 448, 448)
    assert 0 < np.nanmedian(arrays.image) < 0.5
    assert set(np.unique(arrays.label)) == {0, 1}


def radar_folder(root, fakes, *, power=False, names=("B02", "B04", "VV", "VH")):
    """Write a raw folder of one chip of light and radar; give the values in their units."""
    light = fakes.pixels(0)[:2].astype(np.float32)
    vv = -12 + 0.1 * np.arange(light[0].size, dtype=np.float32).reshape(light[0].shape) / 9
    db = np.stack([vv, vv - 7])
    db[:, 3, 4] = np.nan
    values = np.concatenate([light, 10 ** (db / 10) if power else db]).astype(np.float32)
    for folder in ("images", "masks"):
        (root / folder / "north").mkdir(parents=True)
    image = root / "images" / "north" / "00000.tif"
    fakes.write_image(image, values, names=names, nodata=np.nan)
    mask = np.zeros((1, *light[0].shape), np.uint8)
    mask[0, :3, :5] = 1
    fakes.write_image(root / "masks" / "north" / "00000.tif", mask, names=(None,), nodata=None)
    return np.concatenate([light * np.float32(1e-4), db, db[:1] - db[1:] - 10])


@pytest.mark.parametrize("power", [False, True])
def test_light_and_radar_in_one_chip(tmp_path, fakes, power):
    want = radar_folder(tmp_path / "raw", fakes, power=power)
    want[:, np.isnan(want).any(axis=0)] = np.nan
    dataset = open_dataset(tmp_path / "raw", sensor="sentinel-1-grd+sentinel-2-l1c")
    assert dataset.manifest.sensor == "sentinel-2-l1c+sentinel-1-grd"
    assert dataset.bands == ("blue", "red", "vv", "vh", "vv_vh")
    got = dataset.read(dataset.chips()[0]).image
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_scale_of_one_part_of_a_joint_data_set(tmp_path, fakes):
    want = radar_folder(tmp_path / "raw", fakes)
    for scale in (2e-4, {"sentinel-2-l1c": 2e-4}):
        write_manifest(
            tmp_path / "raw",
            fakes.manifest(
                sensor="sentinel-2-l1c+sentinel-1-grd",
                bands=("vv", "red"),
                labels="mask",
                scale=scale,
            ),
        )
        dataset = open_dataset(tmp_path / "raw")
        got = dataset.read(dataset.chips()[0]).image
        np.testing.assert_allclose(got[0, :3], want[2, :3], atol=1e-5)
        np.testing.assert_allclose(got[1, :3], 2 * want[1, :3], atol=1e-5)
