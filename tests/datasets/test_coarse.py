"""Coarse labels from fine ones: how far outlines go, and what stays as it was."""

import json

import numpy as np
import pytest
import rasterio
from PIL import Image

from headframe.core.errors import DatasetError, OutputError
from headframe.datasets.check import check_dataset
from headframe.datasets.chips import open_dataset
from headframe.datasets.coarse import PICTURE, coarsen_dataset
from headframe.datasets.manifest import write_manifest
from headframe.geo.coarsen import Coarseness

SHAPE = (20, 30)


def _write_mask(fakes, path, values, *, place=0, crs="EPSG:32721"):
    fakes.write_image(
        path, values[None].astype(np.uint8), place=place, names=(), crs=crs, nodata=None
    )


def _masks(*squares, shape=SHAPE):
    mask = np.zeros(shape, np.uint8)
    for top, left, side in squares:
        mask[top : top + side, left : left + side] = 1
    return mask


@pytest.fixture
def fine(tmp_path, fakes):
    """A site of two chips, the second 15 columns of 10 m further, and one of an empty chip."""
    root = tmp_path / "fine"
    whole = _masks((6, 18, 6), shape=(SHAPE[0], 45))  # a square that both chips see in part
    for name, left in (("00000", 0), ("00001", 15)):
        fakes.write_image(root / f"images/a/{name}.tif", fakes.pixels(left), place=left / 30)
        _write_mask(
            fakes, root / f"masks/a/{name}.tif", whole[:, left : left + 30], place=left / 30
        )
    fakes.write_image(root / "images/b/00000.tif", fakes.pixels(7), place=100)
    _write_mask(fakes, root / "masks/b/00000.tif", _masks(), place=100)
    write_manifest(root, fakes.manifest(labels="mask", splits={"train": ("a",), "test": ("b",)}))
    return root


def _label(root, key):
    dataset = open_dataset(root)
    return next(dataset.read(chip).label for chip in dataset.chips() if chip.key == key)


def test_a_rim_by_hand_and_chips_that_agree(fine, tmp_path):
    out = tmp_path / "coarse"
    report = coarsen_dataset(fine, out, Coarseness(buffer_m=20))
    before, after = _label(fine, "a/00000"), _label(out, "a/00000")
    assert (before == 1).sum() == 36
    wide = np.zeros(SHAPE, bool)
    wide[4:14, 16:26] = True
    for row, col in ((4, 16), (4, 25), (13, 16), (13, 25)):
        wide[row, col] = False  # a buffer's corners are round
    assert np.array_equal(after == 1, wide)
    other = _label(out, "a/00001")
    assert np.array_equal(other[:, :15] == 1, wide[:, 15:])
    assert (report.polygons, report.coarse, report.chips) == (1, 1, 3)
    assert report.iou == pytest.approx((36 + 36) / (96 + 96 - 5 + 5), abs=0.05)
    assert report.coarse_share > report.fine_share


def test_a_shift_is_of_its_length_and_depends_on_the_seed_alone(fine, tmp_path):
    centres = []
    for name, seed in (("one", 3), ("same", 3), ("other", 4)):
        coarsen_dataset(fine, tmp_path / name, Coarseness(shift_m=40), seed=seed)
        there = np.argwhere(_label(tmp_path / name, "a/00000") == 1)
        centres.append(there.mean(axis=0))
    start = np.argwhere(_label(fine, "a/00000") == 1).mean(axis=0)
    assert np.hypot(*(centres[0] - start)) == pytest.approx(4.0, abs=0.7)
    assert np.array_equal(centres[0], centres[1])
    assert not np.array_equal(centres[0], centres[2])


@pytest.mark.parametrize(("gap_m", "count"), [(None, 2), (20.0, 2), (40.0, 1)])
def test_neighbours_are_united_where_asked(fine, tmp_path, gap_m, count, fakes):
    _write_mask(fakes, fine / "masks/b/00000.tif", _masks((5, 5, 4), (5, 12, 4)), place=100)
    report = coarsen_dataset(fine, tmp_path / "out", Coarseness(merge_m=gap_m))
    assert (report.polygons, report.coarse) == (3, 1 + count)


def test_images_splits_facts_and_ignored_pixels_stay(fine, tmp_path, fakes):
    mask = _masks((2, 2, 9))
    mask[:, 8:12] = 255
    _write_mask(fakes, fine / "masks/b/00000.tif", mask, place=100)
    out = tmp_path / "coarse"
    coarsen_dataset(fine, out, Coarseness(60, 60, 30, 100), seed=5)
    for path in sorted((fine / "images").rglob("*.tif")):
        assert (out / path.relative_to(fine)).read_bytes() == path.read_bytes()
    dataset = open_dataset(out)
    assert {chip.key: chip.split for chip in dataset.chips()} == {
        "a/00000": "train",
        "a/00001": "train",
        "b/00000": "test",
    }
    assert np.array_equal(_label(out, "b/00000") == 255, mask == 255)
    told = json.loads((out / "dataset.json").read_text())
    assert told["sources"]["coarsened"] == {
        "of": "fine", "seed": 5,
        "simplify_m": 60, "buffer_m": 60, "shift_m": 30, "merge_m": 100,
    }  # fmt: skip
    assert told["classes"][-1]["name"] == "tailings"
    assert not [f for f in check_dataset(out).findings if f.level == "error"]
    with Image.open(out / PICTURE) as sheet:
        assert sheet.size[0] > 400
    places = []
    for path in (out / "masks/a/00001.tif", fine / "images/a/00001.tif"):
        with rasterio.open(path) as source:
            places.append((source.crs, source.transform))
    assert places[0] == places[1]


def test_chips_without_a_crs_are_metres_too(tmp_path, fakes):
    root = tmp_path / "fine"
    fakes.write_image(root / "images/a/0.tif", fakes.pixels(1), crs=None)
    _write_mask(fakes, root / "masks/a/0.tif", _masks((8, 10, 4)), crs=None)
    write_manifest(root, fakes.manifest(labels="mask"))
    coarsen_dataset(root, tmp_path / "out", Coarseness(buffer_m=30))
    label = _label(tmp_path / "out", "a/0")
    assert label[5:15, 12].tolist() == [1] * 10
    assert (label == 1).sum() == pytest.approx(16 + 4 * 4 * 3 + np.pi * 9, abs=6)


def test_sets_of_split_folders_and_pngs_become_masks(tmp_path, fakes):
    root = fakes.write_dataset(tmp_path / "fine", sites=4)
    coarsen_dataset(root, tmp_path / "out", Coarseness(buffer_m=10))
    dataset = open_dataset(tmp_path / "out")
    assert len(dataset.chips("train")) == 4
    before, after = (_label(folder, "site_00/00000") for folder in (root, tmp_path / "out"))
    assert np.array_equal(before == 255, after == 255)  # cloud is ignored before and after
    assert (after == 1).sum() > (before == 1).sum()
    assert len(list((tmp_path / "out/valid").rglob("*.png"))) == 8


def test_what_cannot_be_done_is_said_and_nothing_is_left(fine, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("precious")
    with pytest.raises(OutputError, match=r"full: is there already"):
        coarsen_dataset(fine, full, Coarseness(buffer_m=10))
    for path in (fine / "masks").rglob("*.tif"):
        with rasterio.open(path, "r+") as mask:
            mask.write(np.zeros((1, *SHAPE), np.uint8))
    with pytest.raises(DatasetError, match=r"no pixel is target"):
        coarsen_dataset(fine, tmp_path / "out", Coarseness(buffer_m=10))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fine", "full"]
