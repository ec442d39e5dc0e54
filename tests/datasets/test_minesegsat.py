"""Sets in MineSegSAT's layout: read as any other data set."""

import csv
import json

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine

from headframe.core.errors import (
    DatasetError,
    FormatError,
    GridMismatchError,
    MissingFileError,
    UnsafeFileError,
)
from headframe.datasets.check import check_dataset
from headframe.datasets.chips import open_dataset
from headframe.datasets.images import image_header
from headframe.datasets.layout import find_layout
from headframe.datasets.minesegsat import TILE_BANDS, band_maxima, cubic, metadata_file
from headframe.datasets.show import contact_sheet
from headframe.datasets.stats import measure

NAMES = [
    "red",
    "green",
    "blue",
    "nir",
    "rededge071",
    "rededge075",
    "rededge078",
    "nir08",
    "swir16",
    "swir22",
    "coastal",
    "nir09",
]
SHAPE = (24, 36)  # rows, columns at 10 m


def write_tif(path, values, *, factor=1, place=0, nodata=None, description=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    transform = Affine(10 * factor, 0, 500_005 + 5_000 * place, 0, -10 * factor, 6_000_003)
    height, width = values.shape
    profile = {
        "driver": "GTiff",
        "count": 1,
        "height": height,
        "width": width,
        "dtype": values.dtype,
        "crs": "EPSG:32610",
        "transform": transform,
        "nodata": nodata,
    }
    with rasterio.open(path, "w", **profile) as sink:
        sink.write(values, 1)
        if description:
            sink.set_band_description(1, description)


def write_tile(folder, *, place=0, nodata=None):
    """Band k holds 1000 + 100 k everywhere but for a bright upper left quarter."""
    for k, (name, factor) in enumerate(TILE_BANDS.items()):
        values = np.full((SHAPE[0] // factor, SHAPE[1] // factor), 1000 + 100 * k, np.int16)
        values[: values.shape[0] // 2, : values.shape[1] // 2] += 500 + place
        write_tif(folder / f"{name}.tif", values, factor=factor, place=place, nodata=nodata)


def write_mask(folder, rows=5, cols=9):
    mask = np.zeros(SHAPE, np.uint8)
    mask[:rows, :cols] = 1
    write_tif(folder / "mask.tif", mask)


def write_table(root, rows, columns=("split", "data_path", "mask_path")):
    root.mkdir(parents=True, exist_ok=True)
    with (root / "dataset_splits.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


@pytest.fixture
def root(tmp_path):
    """The published arrangement: apart folders of masks, no description, no dataset.json."""
    rows = []
    for k, split in enumerate(["train", "train", "val", "test"]):
        write_tile(tmp_path / f"ab_mines/tile_{k}", place=k)
        write_mask(tmp_path / f"masks/tile_{k}")
        rows.append((split, f"ab_mines/tile_{k}", f"masks/tile_{k}"))
    write_table(tmp_path, rows)
    return tmp_path


def test_tiles_are_chips(root):
    dataset = open_dataset(root)
    assert dataset.layout.kind == "tiles"
    assert dataset.bands == tuple(NAMES)
    assert dataset.manifest.sensor == "sentinel-2-l2a"
    assert [len(dataset.chips(s)) for s in ("train", "val", "test", None)] == [2, 1, 1, 4]
    chip = dataset.chips("val")[0]
    assert chip.key == "ab_mines_tile_2/tile_2"
    arrays = dataset.read(chip)
    assert arrays.image.shape == (12, *SHAPE)
    assert arrays.image.dtype == np.float32
    assert np.allclose(arrays.image[:, -1, -1], [0.1 + 0.01 * k for k in range(12)], atol=1e-6)
    assert np.allclose(arrays.image[:, 0, 0] - arrays.image[:, -1, -1], 0.0502, atol=1e-5)
    assert np.flatnonzero(arrays.label.any(axis=1)).tolist() == [0, 1, 2, 3, 4]
    assert arrays.label.sum() == 45
    assert tuple(arrays.geobox.shape) == SHAPE
    assert arrays.geobox.transform.c == 510_005


def test_every_command_on_chips_works(root, tmp_path_factory):
    dataset = open_dataset(root)
    found = measure(dataset, split="train")
    assert [band.name for band in found.bands] == NAMES
    assert found.classes["mining"] == pytest.approx(45 / (SHAPE[0] * SHAPE[1]))
    sheet = tmp_path_factory.mktemp("out") / "sheet.png"
    assert contact_sheet(dataset, sheet) == 4
    report = check_dataset(root)
    assert report.passed
    assert report.findings == ()
    assert (report.chips, report.sites) == (4, 4)


def test_identifier_follows_the_bands(root):
    before = open_dataset(root).identifier
    write_tif(root / "ab_mines/tile_0/B11.tif", np.full((12, 18), 7, np.float32), factor=2)
    assert open_dataset(root).identifier != before


def test_cubic_is_that_of_torch():
    values = np.random.default_rng(1).normal(size=(7, 11)).astype(np.float32)
    for factor in (1, 2, 6):
        wanted = torch.nn.functional.interpolate(
            torch.from_numpy(values)[None, None], scale_factor=factor, mode="bicubic"
        )
        assert np.allclose(cubic(values, factor), wanted[0, 0].numpy(), atol=1e-5)


def test_nodata_of_a_coarse_band_is_nodata_of_the_tile_and_does_not_ring(root):
    folder = root / "ab_mines/tile_1"
    values = np.full((4, 6), 1500, np.int16)
    values[3, 1] = -999
    write_tif(folder / "B09.tif", values, factor=6, place=1, nodata=-999)
    dataset = open_dataset(root)
    arrays = dataset.read(dataset.chips("train")[1])
    gone = np.isnan(arrays.image).any(axis=0)
    assert np.array_equal(np.argwhere(gone).min(axis=0), [18, 6])
    assert gone.sum() == 36
    assert np.isnan(arrays.image[0, 18, 6])
    assert (arrays.label[gone] == 255).all()
    assert np.allclose(arrays.image[11][~gone], 0.15, atol=1e-6)


def test_zero_in_every_band_is_nodata_but_zero_in_one_is_not(root):
    folder = root / "ab_mines/tile_1"
    for name, factor in TILE_BANDS.items():
        values = np.full((SHAPE[0] // factor, SHAPE[1] // factor), 800, np.int16)
        values[0, 0] = 0
        write_tif(folder / f"{name}.tif", values, factor=factor, place=1)
    values = np.full(SHAPE, 800, np.int16)
    values[:6, :3] = 0
    values[-1, -1] = 0  # only here
    for name in ("B04", "B03"):
        write_tif(folder / f"{name}.tif", values, place=1)
    for name in ("B02", "B08"):
        values[-1, -1] = 800
        write_tif(folder / f"{name}.tif", values, place=1)
    for name in ("B05", "B06", "B07", "B8A", "B11", "B12"):
        coarse = np.full((12, 18), 800, np.int16)
        coarse[:3, :1] = 0
        write_tif(folder / f"{name}.tif", coarse, factor=2, place=1)
    dataset = open_dataset(root)
    arrays = dataset.read(dataset.chips("train")[1])
    gone = np.isnan(arrays.image[0])
    assert np.argwhere(gone).max(axis=0).tolist() == [5, 1]
    assert gone.sum() == 12
    assert arrays.image[0, -1, -1] == 0


def test_metadata_gives_maxima_in_reflectance(root):
    manifest = open_dataset(root).manifest
    assert band_maxima(root, manifest) == {}
    path = metadata_file(root, "B11")
    path.parent.mkdir()
    path.write_text(json.dumps({"min": 1, "max": 12_345, "mean": 900.5, "std": 3}))
    assert band_maxima(root, manifest) == {"swir16": pytest.approx(1.2345)}
    path.write_text(json.dumps({"min": 1}))
    with pytest.raises(FormatError, match="has no 'max'"):
        band_maxima(root, manifest)
    path.write_text("[]")
    with pytest.raises(FormatError, match=r"B11_metadata.json: has no 'max'"):
        band_maxima(root, manifest)
    path.write_text('{"max": "high"}')
    with pytest.raises(FormatError, match="is no band metadata"):
        band_maxima(root, manifest)


def test_broken_tiles_are_found_and_skipped(root, caplog):
    (root / "ab_mines/tile_0/B12.tif").unlink()
    write_tif(root / "ab_mines/tile_1/B05.tif", np.ones((11, 18), np.int16), factor=2, place=1)
    write_tif(root / "ab_mines/tile_2/B05.tif", np.ones((12, 18), np.int16), factor=2, place=7)
    write_tif(root / "ab_mines/tile_3/B04.tif", np.ones((23, 36), np.int16), place=3)
    report = check_dataset(root)
    said = [f.message for f in report.findings if f.rule == "pixels"]
    assert len(said) == 4
    for text in ("B12.tif: no such file", "is 11 x 18 pixels, not 12 x 18", "ground of B04"):
        assert any(text in message for message in said), text
    assert any("23 x 36 pixels; both must be multiples of 6" in message for message in said)
    dataset = open_dataset(root)
    assert dataset.read(dataset.chips("train")[0]).empty
    assert "B12.tif: no such file" in caplog.text
    with pytest.raises(GridMismatchError, match="does not cover the ground of B04"):
        dataset.read(dataset.chips("val")[0])


def test_a_band_that_says_it_is_another_is_refused(root):
    values = np.full(SHAPE, 900, np.int16)
    write_tif(root / "ab_mines/tile_0/B04.tif", values, description="B03")
    assert any("known to be red" in f.message for f in check_dataset(root).findings)


@pytest.mark.parametrize(
    ("row", "error", "match"),
    [
        (("trian", "a", "a"), DatasetError, "row 2 has split 'trian'"),
        (("train", "../a", "a"), UnsafeFileError, "must lie within the data set"),
        (("train", "a", "/etc"), UnsafeFileError, "row 2 names '/etc'"),
        (("train", "", "a"), UnsafeFileError, "row 2 names ''"),
        (("train", "a", "a"), DatasetError, "no image has a label"),
    ],
)
def test_bad_rows_are_named(tmp_path, row, error, match):
    write_table(tmp_path, [row])
    with pytest.raises(error, match=match):
        open_dataset(tmp_path)


def test_bad_tables_are_named(tmp_path):
    write_table(tmp_path, [])
    with pytest.raises(DatasetError, match="lists no tile"):
        find_layout(tmp_path)
    write_table(tmp_path, [], columns=("split", "data_path"))
    with pytest.raises(DatasetError, match="has no column mask_path"):
        find_layout(tmp_path)


def test_a_column_of_sites_groups_tiles(root):
    rows = [
        (s, f"ab_mines/tile_{k}", f"masks/tile_{k}", f"mine {k // 2}")
        for k, s in enumerate(["train", "train", "test", "val"])
    ]
    write_table(root, rows, columns=("split", "data_path", "mask_path", "site"))
    assert {c.site for c in open_dataset(root).chips()} == {"mine 0", "mine 1"}
    report = check_dataset(root)
    assert [f.message for f in report.findings if f.rule == "name"] == ["site is in val and test"]


def test_header_of_an_empty_folder(tmp_path):
    with pytest.raises(MissingFileError, match=r"B04.tif: no such file"):
        image_header(tmp_path)
