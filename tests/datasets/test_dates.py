import shutil

import pytest
import rasterio

from headframe.core.errors import DatasetError, UnknownNameError
from headframe.datasets.check import check_dataset
from headframe.datasets.chips import open_dataset
from headframe.datasets.dates import chip_dates, date_in, spare_dates
from headframe.datasets.layout import SPLITS
from headframe.datasets.manifest import read_manifest
from headframe.datasets.resplit import SplitOptions, resplit

YEARS = (2016, 2018, 2021)
OPTIONS = SplitOptions(seed=3, dates="all-train-one-held")


@pytest.fixture
def series(tmp_path, fakes):
    """Ten sites with three dates each, all in train; the chip's own names hold the dates."""
    root = tmp_path / "ds"
    for i in range(10):
        for k, year in enumerate(YEARS):
            place = {"seed": 10 * i + k, "place": 10 * i}
            fakes.write_chip(root / "train", f"site_{i:02d}", f"{year}-07-0{k + 1}", **place)
    fakes.write_manifest(root, fakes.manifest())
    return root


def test_dates_in_names():
    assert date_in("S2B_20210715T135719_N0301") == "2021-07-15"
    assert date_in("mine_2021-07-15_b") == "2021-07-15"
    assert date_in("mine-2019") == "2019"
    assert date_in("00017") is None
    assert date_in("2021-13-40") == "2021"
    assert date_in("x20990101123") is None


def test_training_sites_keep_all_dates_and_held_sites_one(series):
    report = resplit(series, OPTIONS)
    assert report.sites["train"] == 7
    assert min(report.sites.values()) == 1
    assert report.chips["train"] == 21
    assert report.chips["val"] == report.sites["val"]
    assert report.chips["test"] == report.sites["test"]
    assert report.unused == 6
    dataset = open_dataset(series)
    assert len(dataset.chips()) == 30
    assert len(dataset.chips("unused")) == 6
    for split in ("val", "test"):
        sites = [chip.site for chip in dataset.chips(split)]
        assert len(sites) == len(set(sites))
    manifest = read_manifest(series)
    assert manifest.split.dates == "all-train-one-held"
    assert set(manifest.unused) == {chip.key for chip in dataset.chips("unused")}
    assert check_dataset(series).passed
    assert all(
        chip.image.is_relative_to(series / "val") or chip.image.is_relative_to(series / "test")
        for chip in dataset.chips("unused")
    )


def test_the_same_seed_holds_the_same_dates_wherever_the_chips_lie(series):
    resplit(series, OPTIONS)
    first = {c.key: c.split for c in open_dataset(series).chips()}
    resplit(series, SplitOptions(seed=8))
    assert not open_dataset(series).chips("unused")
    assert read_manifest(series).unused == ()
    resplit(series, OPTIONS)
    assert {c.key: c.split for c in open_dataset(series).chips()} == first
    resplit(series, SplitOptions(seed=3, dates="all-train-one-held", fractions=(0, 0.5, 0.5)))
    held = [c.image.stem for split in SPLITS for c in open_dataset(series).chips(split)]
    assert len(held) == 10
    assert len(set(held)) == 3


def test_a_raw_folder_only_notes_them(tmp_path, series):
    raw = tmp_path / "raw"
    shutil.move(series / "train" / "images", raw / "images")
    shutil.move(series / "train" / "labels", raw / "labels")
    shutil.move(series / "dataset.json", raw / "dataset.json")
    report = resplit(raw, OPTIONS)
    assert (report.moved, report.unused) == (0, 6)
    dataset = open_dataset(raw)
    assert len(dataset.chips("unused")) == 6
    assert len(dataset.chips("test")) == report.sites["test"]


def test_a_date_from_the_old_name_or_a_tag(tmp_path, fakes):
    root = fakes.write_dataset(tmp_path / "ds", sites=3)
    mapping = (root / "filename_mapping.csv").read_text().replace("raw/0-0", "raw/a_20190203")
    (root / "filename_mapping.csv").write_text(mapping)
    with rasterio.open(root / "train/images/site_00/00001.tif", "r+") as image:
        image.update_tags(TIFFTAG_DATETIME="2020:05:06 10:11:12")
    (root / "test/images/site_02/00000.tif").write_bytes(b"broken")
    dates = chip_dates(open_dataset(root))
    named = {path.relative_to(root).as_posix(): date for path, date in dates.items() if date}
    assert named == {
        "train/images/site_00/00000.tif": "2019-02-03",
        "train/images/site_00/00001.tif": "2020-05-06",
    }


def test_several_chips_of_the_kept_date_stay(series):
    dataset = open_dataset(series)
    chips = [chip for chip in dataset.chips() if chip.site == "site_04"]
    dates = {chip.image: "2016" if "2016" in chip.image.stem else "2018" for chip in chips}
    kept = set()
    for seed in range(12):
        spare = spare_dates(chips, dates, seed=seed, source="ds")
        kept.add(frozenset(dates[chip.image] for chip in chips if chip.image not in spare))
        assert len(spare) in (1, 2)
    assert kept == {frozenset({"2016"}), frozenset({"2018"})}


def test_what_cannot_be_dealt_is_told(tmp_path, fakes):
    root = fakes.write_dataset(tmp_path / "ds")
    with pytest.raises(DatasetError, match=r"sites have chips without a date \(site_0"):
        resplit(root, OPTIONS)
    with pytest.raises(UnknownNameError, match="--dates 'one'; closest:"):
        resplit(root, SplitOptions(dates="one"))
    with pytest.raises(DatasetError, match="--as-paper shares sites"):
        resplit(root, SplitOptions(dates="all-train-one-held", as_paper=True))
