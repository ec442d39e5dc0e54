"""Sen1Floods11 in its own layout, with its split tables and its awkward chips."""

import json
import logging

import numpy as np
import pytest
import rasterio
from affine import Affine

from headframe.core.errors import DatasetError, GridMismatchError, UnknownNameError
from headframe.datasets.check import check_dataset
from headframe.datasets.chips import UNUSED, open_dataset
from headframe.datasets.resplit import SplitOptions, resplit
from headframe.datasets.sen1floods11 import BANDS, hand_folder

SHAPE = (20, 28)
CHIPS = ("Ghana_11", "Ghana_12", "Sri-Lanka_7", "Spain_3", "Bolivia_1", "USA_5")
TABLES = {
    "train": ("Ghana_11", "Ghana_12"),
    "valid": ("Sri-Lanka_7",),
    "test": ("Spain_3",),
    "bolivia": ("Bolivia_1",),
}
BOTH = "sentinel-2-l1c+sentinel-1-grd"


def _write(path, values, nodata=None, names=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    number = sum(map(ord, path.stem.rpartition("_")[0]))
    transform = Affine(9e-5, 0, number / 9, 0, -9e-5, 10)
    count, height, width = values.shape
    profile = {"count": count, "height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(
        path, "w", driver="GTiff", crs="EPSG:4326", transform=transform, nodata=nodata, **profile
    ) as sink:
        sink.write(values)
        for band, name in enumerate(names or (), start=1):
            sink.set_band_description(band, name)


def _light(rng):
    values = rng.integers(300, 4000, (13, *SHAPE)).astype(np.int16)
    values[10] = 0  # cirrus: nothing there, and yet data
    values[:, 0, :3] = 0  # nothing in any band: no data
    return values


@pytest.fixture
def floods(tmp_path):
    """A full copy's folders, its tables, and six chips, one all NaN and one all -1."""
    root = tmp_path / "sen1floods11"
    hand = root / "v1.1/data/flood_events/HandLabeled"
    rng = np.random.default_rng(0)
    for name in CHIPS:
        radar = rng.normal(-14, 4, (2, *SHAPE)).astype(np.float32)
        radar[1, 2, 5:9] = np.nan
        label = rng.integers(0, 2, (1, *SHAPE)).astype(np.int16)
        label[:, :, 24:] = -1
        if name == "Spain_3":
            radar[:] = np.nan
        if name == "USA_5":
            label[:] = -1
        _write(hand / f"S1Hand/{name}_S1Hand.tif", radar, np.nan, ("VV", "VH"))
        _write(hand / f"S2Hand/{name}_S2Hand.tif", _light(rng), 0)
        _write(hand / f"LabelHand/{name}_LabelHand.tif", label)
    tables = root / "v1.1/splits/flood_handlabeled"
    tables.mkdir(parents=True)
    for split, chips in TABLES.items():
        rows = [f"{chip}_S1Hand.tif,{chip}_LabelHand.tif\n" for chip in chips]
        (tables / f"flood_{split}_data.csv").write_text("".join(rows))
    return root


def _hand(root):
    return root / "v1.1/data/flood_events/HandLabeled"


def test_chips_splits_and_floods_are_those_of_the_tables(floods):
    dataset = open_dataset(floods)
    assert dataset.manifest.sensor == BOTH
    assert dataset.bands == (*BANDS["S2Hand"], "vv", "vh")
    assert dataset.manifest.class_map.names[-1] == "water"
    placed = {chip.key: chip.split for chip in dataset.chips()}
    assert placed == {
        "Ghana/Ghana_11_S2Hand": "train",
        "Ghana/Ghana_12_S2Hand": "train",
        "Sri-Lanka/Sri-Lanka_7_S2Hand": "val",
        "Spain/Spain_3_S2Hand": "test",
        "Bolivia/Bolivia_1_S2Hand": UNUSED,
        "USA/USA_5_S2Hand": None,
    }
    assert set(dataset.site_groups()) == {"Ghana", "Sri-Lanka", "Spain", "Bolivia", "USA"}
    assert open_dataset(_hand(floods)).manifest.bands == dataset.bands  # given the inner folder


@pytest.mark.parametrize("sensor", ["sentinel-1-grd", "sentinel-2-l1c", BOTH])
def test_pixels_of_either_sensor_and_of_both(floods, sensor):
    dataset = open_dataset(floods, sensor=sensor)
    chip = dataset.chips("train")[0]
    arrays = dataset.read(chip)
    assert arrays.image.shape == (len(dataset.bands), *SHAPE)
    hand = _hand(floods)
    missing = np.zeros(SHAPE, bool)
    if "sentinel-2" in sensor:
        with rasterio.open(hand / "S2Hand/Ghana_11_S2Hand.tif") as source:
            stored = source.read()
        missing[0, :3] = True
        green = arrays.image[dataset.bands.index("green")]
        np.testing.assert_allclose(green[1:2, 9:], stored[2, 1:2, 9:] * 1e-4, rtol=1e-6)
        cirrus = arrays.image[dataset.bands.index("cirrus")]
        assert (cirrus[5] == 0).all()  # data, not nodata
    if "sentinel-1" in sensor:
        with rasterio.open(hand / "S1Hand/Ghana_11_S1Hand.tif") as source:
            decibels = source.read()
        missing[2, 5:9] = True
        vh = arrays.image[dataset.bands.index("vh")]
        np.testing.assert_allclose(vh[3:], decibels[1, 3:], rtol=1e-6)
    assert np.array_equal(np.isnan(arrays.image).all(axis=0), missing)
    with rasterio.open(hand / "LabelHand/Ghana_11_LabelHand.tif") as source:
        truth = source.read(1)
    assert np.array_equal(arrays.label == 255, missing | (truth == -1))
    assert np.array_equal(arrays.label == 1, ~missing & (truth == 1))
    assert arrays.geobox is not None


def test_a_chip_of_nan_and_one_of_minus_one_are_told_of_and_survived(floods, caplog):
    dataset = open_dataset(floods, sensor="sentinel-1-grd")
    with caplog.at_level(logging.WARNING, logger="headframe"):
        read = {chip.site: dataset.read(chip) for chip in dataset.chips()}
    assert read["Spain"].empty
    assert (read["Spain"].label == 255).all()
    assert not read["USA"].empty
    assert (read["USA"].label == 255).all()
    told = [record.getMessage() for record in caplog.records]
    assert [text.split(": ", 1)[1] for text in told] == [
        "every pixel is nodata. Chip Spain/Spain_3_S1Hand is skipped.",
        "every pixel is ignored. Chip USA/USA_5_S1Hand is skipped.",
    ]
    report = check_dataset(floods)
    found = sorted((f.rule, f.level, f.where.rpartition("/")[2]) for f in report.findings)
    assert found == [
        ("labels", "warning", "USA_5_LabelHand.tif"),
        ("pixels", "warning", "Spain_3_S1Hand.tif"),
    ]
    assert report.chips == 12


def test_where_light_is_there_for_some_radar_is_read(floods, caplog):
    (_hand(floods) / "S2Hand/Ghana_11_S2Hand.tif").unlink()
    dataset = open_dataset(floods)
    assert dataset.manifest.sensor == "sentinel-1-grd"
    assert len(dataset.chips()) == 6
    with caplog.at_level(logging.WARNING, logger="headframe"):
        light = open_dataset(floods, sensor="sentinel-2-l1c")
    assert len(light.chips()) == 5
    assert "1 of 6 chips lack a label or an image of sentinel-2-l1c" in caplog.text


def test_files_that_are_missing_or_strange_are_named(floods):
    hand = _hand(floods)
    with pytest.raises(UnknownNameError, match="landsat-oli"):
        open_dataset(floods, sensor="landsat-oli")
    for path in (hand / "S2Hand").glob("*"):
        path.unlink()
    with pytest.raises(DatasetError, match=r"no labelled chip has images of sentinel-2-l1c"):
        open_dataset(floods, sensor="sentinel-2-l1c")
    (hand / "S1Hand/Ghana_11_S1Hand.tif").unlink()
    _write(hand / "S2Hand/Ghana_11_S2Hand.tif", _light(np.random.default_rng(1)), 0)
    with pytest.raises(DatasetError, match=r"some chips lack S1Hand, others S2Hand.*--sensor"):
        open_dataset(floods)


def test_images_of_different_sizes_are_refused(floods):
    path = _hand(floods) / "S1Hand/Ghana_11_S1Hand.tif"
    _write(path, np.full((2, 20, 20), -9, np.float32), np.nan, ("VV", "VH"))
    dataset = open_dataset(floods)
    with pytest.raises(GridMismatchError, match=r"Ghana_11_S1Hand.tif: differs in size"):
        dataset.read(dataset.chips("train")[0])


@pytest.mark.parametrize(
    ("table", "row", "match"),
    [
        ("train", "Ghana_11_S1Hand.tif", r"flood_train_data.csv: row 3 is 'Ghana_11_S1Hand.tif'"),
        ("train", "Ghana_11_S1Hand.tif,Ghana_12_LabelHand.tif", r"label of the same chip"),
        ("test", "Ghana_11_S1Hand.tif,Ghana_11_LabelHand.tif", r"Ghana_11 is in train already"),
    ],
)
def test_split_tables_are_checked(floods, table, row, match):
    path = floods / f"v1.1/splits/flood_handlabeled/flood_{table}_data.csv"
    path.write_text(path.read_text() + row + "\n")
    with pytest.raises(DatasetError, match=match):
        open_dataset(floods)


def test_new_splits_are_written_beside_and_files_stay(floods):
    before = sorted(path for path in floods.rglob("*.tif"))
    report = resplit(floods, SplitOptions(fractions=(0.5, 0.25, 0.25), seed=1))
    assert sum(report.chips.values()) == 6
    assert report.moved == 0
    assert sorted(path for path in floods.rglob("*.tif")) == before
    manifest = json.loads((floods / "dataset.json").read_text())
    assert manifest["labels"] == "signed-mask"
    dataset = open_dataset(floods)
    assert {chip.split for chip in dataset.chips()} == {"train", "val", "test"}
    together = {chip.split for chip in dataset.chips() if chip.site == "Ghana"}
    assert len(together) == 1


def test_other_folders_are_none(tmp_path):
    (tmp_path / "LabelHand").mkdir()
    assert hand_folder(tmp_path) is None
