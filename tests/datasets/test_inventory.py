import re
from dataclasses import replace
from pathlib import Path

import pytest

from headframe.core.errors import UnknownNameError
from headframe.datasets import inventory as module
from headframe.datasets.check import check_dataset
from headframe.datasets.inventory import (
    GLOBAL_MINING,
    Inventory,
    InventorySite,
    compare,
    get_inventory,
    recognise,
)
from headframe.datasets.layout import Files, Part, base_site, find_files, find_layout
from headframe.datasets.manifest import SplitRecord, write_manifest

SMALL = Inventory(
    "global-mining",
    "Small Mining Dataset",
    "a test",
    3,
    (
        InventorySite("train", "Africa", "Mali", "Mali Faleme Upper", 3),
        InventorySite("train", "Asia", "Russia", "Russia Tumnin", 1),
        InventorySite("val", "Africa", "Nigeria", "Nigeria Ijesa", 2),
        InventorySite("test", "Asia", "Mongolia", "Mongolia Gatsuurt", 1),
    ),
)


def files(inventory, regions=2):
    """The files a perfect copy has, without a disk."""
    made = []
    for site in inventory.sites:
        part = Part(site.split, Path("set") / site.split)
        for number in range(site.chips):
            folder = f"{site.key}_agm_region_{number % regions + 1}"
            stem = f"{number // regions:05d}"
            image = part.images / folder / f"{stem}.tif"
            made.append(Files(part, folder, stem, image, Path("label.png")))
    return made


def differences(found, inventory=SMALL, bands=None, *, mapped=True):
    bands = dict.fromkeys(map(str, range(len(found))), inventory.bands) if bands is None else bands
    return [(d.kind, d.where, d.message) for d in compare(inventory, found, bands, mapped=mapped)]


def test_the_table_sums_as_the_paper_prints():
    splits = ("train", "val", "test")
    assert [GLOBAL_MINING.chips(split) for split in splits] == [4388, 960, 452]
    assert [len(GLOBAL_MINING.base_sites(split)) for split in splits] == [20, 6, 7]
    assert GLOBAL_MINING.chips() == 5800
    shares = [100 * GLOBAL_MINING.chips(split) / GLOBAL_MINING.chips() for split in splits]
    assert [f"{share:.2f}" for share in shares] == ["75.66", "16.55", "7.79"]
    keys = [site.key for site in GLOBAL_MINING.sites]
    assert len(set(keys)) == 33
    seen = {site.country for site in GLOBAL_MINING.sites if site.split != "test"}
    assert not seen & {site.country for site in GLOBAL_MINING.base_sites("test")}


@pytest.mark.realdata
def test_the_table_is_the_papers(shared_data):
    """Every row of the printed table, in its order."""
    text = (shared_data.parent / "papers" / "001_bcc8ae65546065c8.txt").read_text()
    table = text[text.index("Split\tContinent") : text.index("2.2.1 ")]
    rows = re.findall(r"^([^\t]*)\t([^\t]*)\t([^\t]+)\t([^\t]+)\t(\d+)$", table, re.MULTILINE)
    split = continent = ""
    printed = []
    for head, land, country, name, chips in rows:
        split = head.split(" ")[0].lower() or split
        continent = land or continent
        printed.append(InventorySite(split, continent, country, name, int(chips)))
    assert tuple(printed) == GLOBAL_MINING.sites


def test_a_perfect_copy_has_no_difference_and_is_recognised():
    found = files(GLOBAL_MINING, regions=3)
    assert len(found) == 5800
    assert recognise(found) is GLOBAL_MINING
    assert differences(found, GLOBAL_MINING) == []


def test_other_sets_are_not_recognised():
    own = [replace(one, site=f"own_{i}_agm_region_1") for i, one in enumerate(files(SMALL))]
    assert recognise(own) is None
    assert recognise([]) is None
    plain = [replace(one, site=base_site(one.site)) for one in files(SMALL)]
    assert recognise(plain) is None  # the paper's folders carry a region


def test_every_difference_is_named():
    found = [one for one in files(SMALL) if "tumnin" not in one.site]
    lost = found.pop(0)
    part = Part("val", Path("set/val"))
    found.append(replace(found[-1], part=part))
    found.append(replace(lost, part=part, site="peru_elsewhere_agm_region_1"))
    assert differences(found) == [
        ("count", "train/mali_faleme_upper", "has 2 chips, the table 3"),
        ("site", "train/russia_tumnin", "is missing; the table has 1 chips of it"),
        (
            "site",
            "test/mongolia_gatsuurt",
            "1 chips are in val; the table has the site in test",
        ),
        (
            "site",
            "val/peru_elsewhere",
            "1 chips of a site that a test does not have",
        ),
        ("count", "train", "has 2 chips, a test 4"),
        ("count", "val", "has 4 chips, a test 2"),
    ]
    assert differences(found[:-1])[-1] == (
        "count",
        "Small Mining Dataset",
        "6 chips in all, a test has 7",
    )


def test_names_suffixes_and_bands_are_those_of_the_paper():
    found = files(SMALL)
    found[0] = replace(found[0], site="mali_faleme_upper", stem="7", label=Path("label.tif"))
    bands = {"train/images/x.tif": 8, "y": 3}
    assert differences(found, bands=bands, mapped=False) == [
        ("layout", "mali_faleme_upper", "is not called <site>_agm_region_<k>"),
        ("layout", "mali_faleme_upper/7", "is not called by five digits"),
        ("layout", "mali_faleme_upper/7", "its label is .tif, not .png"),
        ("layout", "train/images/x.tif", "has 8 bands, not 3"),
        ("layout", "filename_mapping.csv", "is missing"),
    ]


@pytest.fixture
def small(tmp_path, fakes, monkeypatch):
    """Writes the small set to disk, ``val`` and ``test`` beside ``train`` or inside it."""
    monkeypatch.setitem(module.INVENTORIES, "global-mining", SMALL)

    def write(*, nested):
        rows = ["old,new"]
        for place, one in enumerate(files(SMALL)):
            inside = nested and one.part.split != "train"
            home = tmp_path / "train" / one.part.split if inside else tmp_path / one.part.split
            fakes.write_chip(home, one.site, one.stem, seed=place, place=10 * place)
            new = (home / "images" / one.site / f"{one.stem}.tif").relative_to(tmp_path)
            rows.append(f"raw/{place}.tif,{new.as_posix()}")
        home = tmp_path / "train" if nested else tmp_path
        (home / "filename_mapping.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        return tmp_path

    return write


@pytest.mark.parametrize("nested", [False, True])
def test_both_trees_are_known_and_kept_to(small, nested):
    root = small(nested=nested)
    report = check_dataset(root, expect="global-mining")
    assert (report.passed, report.findings, report.inventory) == (True, (), "global-mining")
    assert check_dataset(root).inventory == "global-mining"


def test_a_lost_chip_is_a_warning_and_with_expect_an_error(small):
    root = small(nested=False)
    for path in root.glob("*/*/mali_faleme_upper_agm_region_2/00000.*"):
        path.unlink()
    text = (root / "filename_mapping.csv").read_text()
    kept = [line for line in text.splitlines() if "upper_agm_region_2" not in line]
    (root / "filename_mapping.csv").write_text("\n".join(kept))
    lax, strict = check_dataset(root), check_dataset(root, expect="global-mining")
    assert (lax.passed, strict.passed) == (True, False)
    assert {f.rule for f in strict.findings} == {"inventory"}
    assert [f.level for f in lax.findings] == ["warning"] * 3
    assert strict.findings[0].message == "has 2 chips, the table 3"


def test_a_base_site_in_two_splits_is_an_error(small, fakes):
    """Also training and validation, which the paper's text would have share sites."""
    root = small(nested=False)
    for kind in ("images", "labels", "rgb", "valid"):
        (root / "val" / kind / "mali_faleme_upper_agm_region_2").mkdir(parents=True)
        home = root / "train" / kind / "mali_faleme_upper_agm_region_2"
        for path in home.iterdir():
            path.rename(root / "val" / kind / home.name / path.name)
    split = SplitRecord(fractions=(0.7, 0.2, 0.1), seed=0, as_paper=True)
    write_manifest(root, fakes.manifest(split=split))
    found = check_dataset(root, expect="global-mining").findings
    named = [(f.where, f.level) for f in found if f.rule == "name"]
    assert named == [("mali_faleme_upper", "error")]
    assert {f.level for f in check_dataset(root).findings if f.rule == "name"} == {"warning"}
    assert any("1 chips are in val" in f.message for f in found)


def test_expect_refuses_what_it_does_not_know_and_what_is_another_set(tmp_path, fakes):
    root = fakes.write_dataset(tmp_path / "ds")
    assert check_dataset(root).inventory is None
    report = check_dataset(root, expect="global-mining")
    assert not report.passed
    assert sum("is missing; the table has" in f.message for f in report.findings) == 33
    with pytest.raises(UnknownNameError, match="closest: global-mining"):
        get_inventory("global-minning")
    with pytest.raises(UnknownNameError, match="published data set 'amazon'"):
        check_dataset(root, expect="amazon")


def test_the_parts_of_a_tree_within_a_tree_are_told_apart(small):
    layout = find_layout(small(nested=True))
    counts = {part.split: len(list(find_files(part))) for part in layout.parts}
    assert counts == {"train": 4, "val": 2, "test": 1}
    assert sum(counts.values()) == SMALL.chips()
