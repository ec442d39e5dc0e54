import json
import logging
import os
import shutil

import numpy as np
import pytest

from headframe.core.errors import DatasetError, UnknownNameError
from headframe.datasets import resplit as module
from headframe.datasets.check import check_dataset
from headframe.datasets.chips import open_dataset
from headframe.datasets.manifest import read_manifest, write_manifest
from headframe.datasets.resplit import SplitOptions, finish_moves, resplit
from headframe.datasets.show import contact_sheet
from headframe.datasets.stats import BINS, BandTally, measure

HALF = SplitOptions(fractions=(0.5, 0.25, 0.25), seed=2)


def files_of(root):
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def rules(root):
    return {f.rule for f in check_dataset(root).findings if f.level == "error"}


@pytest.mark.parametrize("nested", [False, True])
def test_split_moves_everything_and_passes_the_check(tmp_path, fakes, nested):
    root = fakes.write_dataset(tmp_path / "ds", nested=nested)
    assert check_dataset(root).findings == ()
    report = resplit(root, HALF)
    assert report.chips == {"train": 8, "val": 4, "test": 4}
    assert report.sites == {"train": 4, "val": 2, "test": 2}
    assert report.moved > 0
    assert len(files_of(root)) == 16 * 4 + 2
    assert check_dataset(root).findings == ()
    assert resplit(root, HALF).moved == 0
    assert (root / "train" / "val").is_dir() == nested


def test_a_killed_split_is_finished_by_the_next(tmp_path, fakes, monkeypatch):
    calm = fakes.write_dataset(tmp_path / "calm")
    resplit(calm, HALF)
    root = fakes.write_dataset(tmp_path / "ds")
    real, calls = os.rename, []

    def dies(source, goal):
        calls.append(goal)
        if len(calls) == 6:
            raise KeyboardInterrupt
        real(source, goal)

    monkeypatch.setattr(module.os, "rename", dies)
    with pytest.raises(KeyboardInterrupt):
        resplit(root, HALF)
    monkeypatch.undo()
    with pytest.raises(DatasetError, match="interrupted"):
        open_dataset(root)
    assert "manifest" in rules(root)
    resplit(root, HALF)
    assert files_of(root) == files_of(calm)
    for name in ("dataset.json", "filename_mapping.csv"):
        assert (root / name).read_text() == (calm / name).read_text()


def test_as_paper_shares_sites_and_is_only_a_warning(tmp_path, fakes):
    root = fakes.write_dataset(tmp_path / "ds")
    resplit(root, SplitOptions(seed=1, as_paper=True, fractions=(0.5, 0.25, 0.25)))
    report = check_dataset(root)
    assert report.passed
    assert {f.rule for f in report.findings} == {"name"}
    test = {c.site for c in open_dataset(root).chips("test")}
    assert not test & {c.site for c in open_dataset(root).chips("train")}


def test_chips_of_one_name_are_renumbered(tmp_path, fakes):
    root = fakes.write_dataset(tmp_path / "ds", described=False)
    fakes.write_chip(root / "val", "site_00", "00000", seed=99, place=5)
    (root / "filename_mapping.csv").unlink()
    assert rules(root) == {"name"}
    resplit(root, HALF)
    assert rules(root) == set()
    assert sorted(c.key for c in open_dataset(root).chips() if c.site == "site_00") == [
        "site_00/00000",
        "site_00/00001",
        "site_00/00002",
    ]


def test_stratify_needs_a_known_field(tmp_path, fakes):
    root = fakes.write_dataset(tmp_path / "ds")
    with pytest.raises(UnknownNameError, match="closest: target"):
        resplit(root, SplitOptions(stratify="targt"))
    assert resplit(root, SplitOptions(stratify="target")).chips["train"] == 12
    facts = {f"site_{i:02d}": {"country": "peru" if i < 4 else "mali"} for i in range(8)}
    write_manifest(root, read_manifest(root).model_copy(update={"sites": facts}))
    options = SplitOptions(fractions=(0.5, 0, 0.5), stratify="country")
    assert resplit(root, options).chips == {"train": 8, "val": 0, "test": 8}
    train = read_manifest(root).splits["train"]
    assert [facts[s]["country"] for s in train].count("peru") == 2


def test_raw_folders_keep_their_files(tmp_path, fakes):
    root = tmp_path / "raw"
    for i in range(4):
        fakes.write_image(root / "images" / f"s{i}" / "0.tif", fakes.pixels(i), place=i)
        mask = np.ones((1, *fakes.SHAPE), np.uint8)
        fakes.write_image(root / "masks" / f"s{i}" / "0.tif", mask, names=(), nodata=None)
    assert resplit(root, HALF).moved == 0
    assert [len(open_dataset(root).chips(s)) for s in ("train", "val", "test")] == [2, 1, 1]
    options = SplitOptions(fractions=(0.5, 0.25, 0.25), as_paper=True)
    assert resplit(root, options).chips["test"] == 1
    assert rules(root) == set()


def test_a_journal_that_leads_elsewhere_or_is_damaged(tmp_path, fakes):
    root = fakes.write_dataset(tmp_path / "ds")
    journal = root / ".split-moves.json"
    content = {
        "moves": {"../x": "train/x"},
        "manifest": read_manifest(root).model_dump(mode="json"),
    }
    journal.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="out of the data set"):
        finish_moves(root)
    content["moves"] = {"gone": "train/gone"}
    journal.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="lost its source"):
        finish_moves(root)
    journal.write_text("{}")
    with pytest.raises(DatasetError, match="damaged"):
        finish_moves(root)


def test_planted_leaks_are_caught(tmp_path, fakes):
    root = fakes.write_dataset(tmp_path / "ds", described=False)
    (root / "filename_mapping.csv").unlink()
    for kind, suffix in (("images", "tif"), ("labels", "png"), ("rgb", "png")):
        goal = root / "test" / kind / "elsewhere" / f"00000.{suffix}"
        goal.parent.mkdir(parents=True)
        shutil.copy(root / "train" / kind / "site_00" / f"00000.{suffix}", goal)
    assert rules(root) == {"identical", "footprint"}
    fakes.write_image(root / "test/images/elsewhere/00000.tif", fakes.pixels(0), crs=None)
    assert rules(root) == {"identical"}
    fakes.write_image(root / "test/images/elsewhere/00000.tif", fakes.pixels(77))
    assert rules(root) == {"footprint"}


def test_broken_files_are_found(tmp_path, fakes):
    root = fakes.write_dataset(tmp_path / "ds")
    train = root / "train"
    fakes.write_image(train / "images/site_00/00000.tif", fakes.pixels(1)[:2], names=("B02", "B03"))
    (train / "labels/site_01/00000.png").unlink()
    (train / "images/site_01/00001.tif").write_text("no raster")
    fakes.write_label_png(
        train / "labels/site_02/00000.png", np.zeros((4, 5), np.uint8), fakes.CLASSES
    )
    (train / "rgb/site_03/00000.png").unlink()
    (train / "labels/site_03/00001.png").write_text("no picture")
    with (root / "filename_mapping.csv").open("a") as file:
        file.write("raw/0-0.tif,train/images/site_99/00000.tif\n")
    fakes.write_chip(root / "val", "newcomer", "00000", seed=5, place=400)
    found = check_dataset(root).findings
    errors = {f.rule for f in found}
    assert errors == {"bands", "pairs", "pixels", "size", "labels", "mapping", "manifest"}
    assert any("newcomer" in f.where for f in found if f.rule == "manifest")


def test_statistics_equal_numpy(tmp_path, fakes):
    root = fakes.write_dataset(tmp_path / "ds")
    dataset = open_dataset(root)
    found = measure(dataset, split="train")
    read = [dataset.read(c, target="full") for c in dataset.chips("train")]
    red = np.stack([a.image[2] for a in read]).astype(float)
    assert found.bands[2].mean == pytest.approx(red.mean(), abs=1e-6)
    assert found.bands[2].std == pytest.approx(red.std(), abs=1e-6)
    want = np.percentile(red, 95, method="inverted_cdf")
    assert found.bands[2].percentiles["p95"] == pytest.approx(want, abs=1e-6)
    labels = np.stack([a.label for a in read])
    assert found.classes["tailings"] == pytest.approx((labels == 2).mean())
    assert sum(found.classes.values()) == pytest.approx(1)
    assert (found.chips, found.skipped, found.nodata_share) == (12, 0, 0)
    with pytest.raises(DatasetError, match="no chip with data"):
        measure(dataset, split="nowhere")


def test_tally_counts_nothing_of_nothing():
    tally = BandTally(BINS["db"])
    tally.add(np.array([], np.float32))
    assert tally.n == 0


def test_contact_sheet(tmp_path, fakes, caplog):
    root = fakes.write_dataset(tmp_path / "ds")
    dataset = open_dataset(root)
    fakes.write_image(dataset.chips()[0].image, np.zeros((3, *fakes.SHAPE), np.uint16))
    with caplog.at_level(logging.WARNING, "headframe"):
        assert contact_sheet(dataset, tmp_path / "sheet.png", chip_px=40) == 15
    assert contact_sheet(dataset, tmp_path / "few.png", split="val", limit=1) == 1
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    with pytest.raises(DatasetError, match="to show"):
        contact_sheet(dataset, tmp_path / "none.png", split="nowhere")
