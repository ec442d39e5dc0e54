"""Data sets of component masks: read, checked, measured, shown and split."""

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from PIL import Image

from headframe.core.classmap import ClassInfo, ClassMap, binary_class_map, label_class_map
from headframe.core.components import (
    CLASS_SETS,
    COMPONENTS,
    NODATA_BITS,
    bits_of,
    component_class_map,
)
from headframe.core.errors import DatasetError, FormatError, GridMismatchError
from headframe.datasets.check import check_dataset
from headframe.datasets.chips import open_dataset
from headframe.datasets.labels import target_classes, target_of_classes
from headframe.datasets.manifest import MANIFEST_NAME, Manifest, read_manifest, write_manifest
from headframe.datasets.resplit import SplitOptions, resplit
from headframe.datasets.show import contact_sheet
from headframe.datasets.stats import measure
from headframe.io.bitmask import BitMask, write_bits

SHAPE = (20, 30)


def mask(k=0):
    """A pit with a slope and a dump in it, a work area, a pond with its dam; no two overlap."""
    bits = np.zeros(SHAPE, np.uint16)
    bits[2:12, 1 : 12 + k] |= bits_of(["excavation"])
    bits[2:4, 1:9] |= bits_of(["exploitation_slope"])
    bits[8:12, 5:9] |= bits_of(["dumping_ground"])
    bits[13:15, 2:9] |= bits_of(["preparatory_work_area"])
    bits[5:10, 20:27] |= bits_of(["tailings_storage_facility"])
    bits[10, 20:27] |= bits_of(["dam"])
    return bits


def facts(**changes):
    values = {"sensor": "sentinel-2-l1c", "bands": ("blue", "green", "red"), "gsd_m": 10.0}
    classes = {"classes": component_class_map(), "labels": "bits"}
    return Manifest(**{**values, **classes, **changes})


@pytest.fixture
def root(tmp_path, fakes):
    """Four sites of one chip: two to train, one each to validate and test."""
    splits = {"train": ["s0", "s1"], "val": ["s2"], "test": ["s3"]}
    home = tmp_path / "ds"
    for split, sites in splits.items():
        for site in sites:
            k = int(site[1])
            image = home / split / "images" / site / "00000.tif"
            fakes.write_image(image, fakes.pixels(k), place=10 * k)
            with rasterio.open(image) as source:
                grid = GeoBox.from_rio(source)
            write_bits(home / split / "labels" / site / "00000.tif", BitMask(mask(k), grid))
    write_manifest(home, facts(splits={k: tuple(v) for k, v in splits.items()}))
    return home


def rewrite(root, bits, site="s0"):
    write_bits(root / "train" / "labels" / site / "00000.tif", BitMask(bits, None))


def test_a_class_set_is_read_as_a_target(root):
    dataset = open_dataset(root)
    chip = dataset.chips("train")[0]
    first = dataset.read(chip, target="components-1")
    assert np.array_equal(first.bits, mask())
    assert first.label.dtype == np.uint8
    assert np.array_equal(first.label == 1, mask() & 1 > 0)
    assert np.array_equal(first.label == 2, mask() >> 5 & 1 > 0)
    third = dataset.read(chip, target="components-3").label
    assert sorted(np.unique(third)) == [0, 4, 6, 7]
    transformed = dataset.read(chip, target="components-4").label
    assert np.array_equal(transformed, (mask() > 0).astype(np.uint8))
    assert np.array_equal(dataset.read(chip).label, transformed)  # binary: any component
    full = dataset.read(chip, target="full").label
    assert full[2, 1] == 7  # the slope is smaller than the pit around it
    assert full[9, 6] == 2
    assert full[5, 11] == 1


def test_nodata_and_unlabelled_pixels_are_ignored(root, fakes):
    bits = mask()
    bits[17, 3:6] = NODATA_BITS
    rewrite(root, bits)
    values = fakes.pixels(0)
    values[:, 5, 7:9] = 0
    image = root / "train" / "images" / "s0" / "00000.tif"
    fakes.write_image(image, values)
    arrays = open_dataset(root).read(open_dataset(root).chips("train")[0], target="components-1")
    ignored = np.zeros(SHAPE, bool)
    ignored[17, 3:6] = ignored[5, 7:9] = True
    assert np.array_equal(arrays.label == 255, ignored)


def test_classes_of_targets_and_back(root):
    bits, index = facts(), facts(classes=label_class_map("tailings"), labels="index")
    for name, entry in CLASS_SETS.items():
        assert target_classes(bits, name) == entry.class_map
        assert target_of_classes(entry.class_map, bits) == name
        with pytest.raises(DatasetError, match=f"target '{name}' needs labels of mine components"):
            target_classes(index, name)
    assert target_classes(bits, "binary").names == ("background", "transformed_area")
    assert target_classes(bits, "full") == component_class_map()
    assert target_of_classes(component_class_map(), bits) == "full"
    assert target_classes(index, "full").names == ("background", "cloud", "tailings")
    assert target_classes(index, "binary") == binary_class_map("tailings")
    assert target_of_classes(binary_class_map("mining"), bits) == "binary"
    assert target_of_classes(CLASS_SETS["components-2"].class_map, index) == "binary"
    assert target_of_classes(index.class_map, index) == "full"
    assert target_of_classes(index.class_map, bits) is None
    assert target_of_classes(CLASS_SETS["components-1"].class_map, index) is None


def test_a_class_set_of_other_labels_is_refused(tmp_path, fakes):
    dataset = open_dataset(fakes.write_dataset(tmp_path / "ds"))
    with pytest.raises(DatasetError, match="background, cloud, tailings"):
        dataset.read(dataset.chips()[0], target="components-1")


def test_the_manifest_of_masks_has_the_ten_classes(root):
    assert read_manifest(root).labels == "bits"
    with pytest.raises(ValueError, match="labels of bits have the classes background, excavation"):
        facts(classes=label_class_map())
    text = (root / MANIFEST_NAME).read_text().replace('"dam"', '"dyke"')
    (root / MANIFEST_NAME).write_text(text)
    with pytest.raises(DatasetError, match=r"dataset\.json: the file: Value error, labels of bits"):
        read_manifest(root)


def test_wrong_masks_are_refused(root):
    path = root / "train" / "labels" / "s0" / "00000.tif"
    rewrite(root, mask()[:-1])
    dataset = open_dataset(root)
    with pytest.raises(GridMismatchError, match="is 19 x 30 pixels"):
        dataset.read(dataset.chips("train")[0])
    assert {f.rule for f in check_dataset(root).findings} == {"size"}
    path.write_bytes(b"nothing")
    with pytest.raises(FormatError, match="cannot be read as a GeoTIFF"):
        dataset.read(dataset.chips("train")[0])
    assert [f.rule for f in check_dataset(root).findings] == ["labels"]


def test_the_check_reports_stray_slopes_and_overlaps(root):
    assert check_dataset(root).findings == ()
    bits = mask()
    bits[16:18, 10:15] |= np.uint16(bits_of(["exploitation_slope"]))  # 10 pixels outside
    bits[9:10, 20:27] |= np.uint16(bits_of(["dam"]))  # 7 pixels on the pond
    rewrite(root, bits)
    other = mask(1)
    other[0, 0] = bits_of(["exploitation_slope"])
    other[1, 1] = NODATA_BITS
    rewrite(root, other, "s1")
    report = check_dataset(root)
    assert report.passed
    assert [(f.level, f.rule, f.where, f.message) for f in report.findings] == [
        (
            "warning", "slopes", "train/labels/s0/00000.tif",
            "exploitation_slope lies outside every excavation in 11 pixels of 2 chip(s), here 10",
        ),
        (
            "warning", "overlaps", "train/labels/s0/00000.tif",
            "two classes of components-3 share 7 pixels of 1 chip(s), here 7; readers keep the "
            "smaller object",
        ),
    ]  # fmt: skip


def test_statistics_count_a_pixel_for_each_of_its_components(root):
    bits = mask()
    bits[19, :10] = NODATA_BITS
    rewrite(root, bits)
    found = measure(open_dataset(root), split="train").classes
    labelled = 2 * SHAPE[0] * SHAPE[1] - 10
    both = [bits[bits != NODATA_BITS], mask(1)]
    assert list(found) == ["background", *(info.name for info in COMPONENTS)]
    assert found["background"] == sum(int((b == 0).sum()) for b in both) / labelled
    assert found["excavation"] == sum(int((b & 1).sum()) for b in both) / labelled == 230 / labelled
    assert found["dam"] == 14 / labelled
    assert found["stockpile"] == 0
    assert sum(found.values()) > 1


def test_the_sheet_outlines_components_in_their_colours(root, tmp_path):
    assert contact_sheet(open_dataset(root), tmp_path / "sheet.png", chip_px=60) == 4
    with Image.open(tmp_path / "sheet.png") as picture:
        sheet = np.asarray(picture)
    colors = {tuple(int(v) for v in c) for c in sheet.reshape(-1, 3)}
    there = {"excavation", "dam", "dumping_ground", "preparatory_work_area"}
    there |= {"exploitation_slope", "tailings_storage_facility"}
    for info in COMPONENTS:
        assert (info.color in colors) == (info.name in there), info.name
    rewrite(root, np.zeros(SHAPE, np.uint16))
    empty = open_dataset(root).of_sites(["s0"])
    contact_sheet(empty, tmp_path / "empty.png", chip_px=60)
    with Image.open(tmp_path / "empty.png") as picture:
        assert picture.height < len(sheet)  # no legend


def test_splits_balance_the_transformed_area(root):
    for k in range(4):
        path = next(root.rglob(f"labels/s{k}/00000.tif"))
        bits = np.zeros(SHAPE, np.uint16)
        bits[: 1 + 5 * k] = 512
        write_bits(path, BitMask(bits, None))
    report = resplit(root, SplitOptions((0.5, 0.25, 0.25), stratify="target"))
    assert report.chips == {"train": 2, "val": 1, "test": 1}
    assert check_dataset(root).passed


def test_other_classes_of_two_are_scored_against_all():
    odd = ClassMap((ClassInfo(0, "background", (0, 0, 0)), ClassInfo(1, "mine", (9, 9, 9))))
    assert target_of_classes(odd, facts()) == "binary"
