"""Data sets of drawn mines: split by location, read and checked like any other, resumed."""

import json
from pathlib import Path

import numpy as np
import pytest

from headframe.core.bandsets import BAND_SETS
from headframe.core.errors import DatasetError, OutputError
from headframe.core.progress import SILENT
from headframe.datasets.check import check_dataset
from headframe.datasets.chips import UNUSED, open_dataset
from headframe.datasets.dates import chip_dates
from headframe.datasets.drawn import collection, draw_mine
from headframe.datasets.drawn.collection import CollectionOptions, draw_collection

OPTIONS = CollectionOptions(sites=4, dates=2, size_px=128, seed=3)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn") / "ds"
    return draw_collection(root, OPTIONS)


def test_every_rule_is_kept(drawn):
    assert check_dataset(drawn.out).findings == ()


def test_sites_are_split_and_held_sites_keep_one_date(drawn):
    dataset = open_dataset(drawn.out)
    splits = {chip.site: {c.split for c in dataset.chips() if c.site == chip.site} - {UNUSED}
              for chip in dataset.chips()}  # fmt: skip
    assert all(len(found) == 1 for found in splits.values())
    assert drawn.sites == {"train": 2, "val": 1, "test": 1}
    assert drawn.chips == {"train": 4, "val": 1, "test": 1}
    assert {name: len(dataset.chips(name)) for name in drawn.chips} == drawn.chips
    assert len(dataset.chips(UNUSED)) == drawn.unused == 2
    years = {day[:4] for day in chip_dates(dataset).values()}
    assert years == {"2016", "2022"}


def test_facts_of_the_sites(drawn):
    facts = open_dataset(drawn.out).manifest.sites
    assert {row["material"] for row in facts.values()} == {"CL", "MO", "RR"}
    assert all(row["type"] in ("OC", "OP", "MT") for row in facts.values())


def test_what_is_read_is_what_was_drawn(drawn):
    dataset = open_dataset(drawn.out)
    assert dataset.bands == BAND_SETS["m+s"].bands
    chip = dataset.chips("test")[0]
    day = chip_dates(dataset)[chip.image]
    scene = draw_mine(int(chip.site[5:]), size=(128, 128), date=np.datetime64(day).item())
    arrays = dataset.read(chip, target="components-1")
    assert np.array_equal(arrays.bits, scene.bits)
    assert np.abs(arrays.image - scene.bands).max() < 0.02
    assert set(np.unique(arrays.label)) <= {0, 1, 2}


def test_killed_it_goes_on_and_finds_the_same(tmp_path, monkeypatch, drawn):
    root = tmp_path / "ds"
    done = []

    def fail(scene, path):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(path)
        original(scene, path)

    original = collection.write_mine
    monkeypatch.setattr(collection, "write_mine", fail)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        draw_collection(root, OPTIONS)
    assert not (root / "dataset.json").exists()
    monkeypatch.setattr(collection, "write_mine", original)
    assert draw_collection(root, OPTIONS).drawn == 8 - 3
    assert draw_collection(root, OPTIONS).drawn == 0
    for name in ("dataset.json", done[-1].relative_to(root)):
        assert (root / name).read_bytes() == (drawn.out / name).read_bytes()


def test_other_options_or_files_are_in_the_way(tmp_path, drawn):
    other = CollectionOptions(sites=5, dates=2, size_px=128, seed=3)
    with pytest.raises(OutputError, match=r"begun with sites 4, now 5"):
        draw_collection(drawn.out, other)
    (tmp_path / "train").mkdir()
    with pytest.raises(OutputError, match=r"data set of another making"):
        draw_collection(tmp_path, OPTIONS)
    (tmp_path / "draw.json").write_text("{", encoding="utf-8")
    with pytest.raises(OutputError, match=r"draw.json: damaged"):
        draw_collection(tmp_path, OPTIONS)
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match=r"cannot be written"):
        draw_collection(file, OPTIONS)


def test_two_runs_do_not_mix(tmp_path):
    class Nosy:
        def start(self, name: str, total: int) -> None:
            with pytest.raises(OutputError, match=r"another run is drawing"):
                draw_collection(tmp_path / "ds", OPTIONS)
            raise KeyboardInterrupt

        def __getattr__(self, name: str) -> object:
            return getattr(SILENT, name)

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        draw_collection(tmp_path / "ds", OPTIONS, progress=Nosy())


@pytest.mark.parametrize(
    ("field", "value", "option"),
    [("sites", 2, "--sites 2"), ("dates", 8, "--dates 8"), ("size_px", 64, "--size-px 64"),
     ("seed", -1, "--seed -1")],
)  # fmt: skip
def test_numbers_out_of_range(field, value, option):
    with pytest.raises(DatasetError, match=rf"{option}: must be"):
        CollectionOptions(**{field: value})


def test_years_are_spread():
    assert CollectionOptions(dates=3).years == (2016, 2019, 2022)
    assert CollectionOptions(dates=7).years == tuple(range(2016, 2023))


def test_the_request_is_noted(drawn):
    noted = json.loads(Path(drawn.out / "draw.json").read_text(encoding="utf-8"))
    assert noted["options"]["sites"] == 4
