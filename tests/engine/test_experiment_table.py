import csv

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from headframe.core.errors import DatasetError
from headframe.engine.experiment import Plan, experiment
from headframe.engine.experiment_table import Row, write_tables
from headframe.engine.recipe import parse_recipe


def record(*matrices, seed=0):
    chips = [
        {"site": f"site{i}", "chip": "00000.tif", "confusion": matrix}
        for i, matrix in enumerate(matrices)
    ]
    return {
        "chips": chips,
        "chips_one_view": chips,
        "seconds": 2.0,
        "parameters": 5,
        "seed": seed,
    }


def recipe(**changes):
    return parse_recipe({"name": "one", **changes}, source="test")


PAPER_ROW = {"table": "Table 3", "row": "Model 1, RGB", "iou": 0.694, "recall": 0.574}


def test_with_more_than_two_classes_a_row_is_the_mean_over_the_foreground():
    matrix = [[80, 0, 0], [2, 6, 0], [0, 0, 12]]
    row = Row.of(recipe(), [record(matrix, matrix)], dataset="DS")
    assert row.iou == pytest.approx((6 / 8 + 1) / 2)
    assert row.recall == pytest.approx((6 / 8 + 1) / 2)
    assert (row.low, row.high) == (pytest.approx(row.iou), pytest.approx(row.iou))


def test_one_site_has_no_interval(tmp_path):
    row = Row.of(recipe(), [record([[4, 1], [1, 4]])], dataset="DS")
    assert row.interval == "one site"
    write_tables([row], tmp_path)
    assert "| **0.667** | one site |" in (tmp_path / "table.md").read_text()
    two = Row.of(recipe(), [record([[4, 1], [1, 4]], [[4, 1], [1, 4]])], dataset="DS")
    assert two.interval == "0.667-0.667"


def test_a_published_figure_stands_beside_ours_as_the_paper_counts(tmp_path):
    empty, found = [[9, 0], [0, 0]], [[4, 1], [1, 4]]
    rows = [
        Row.of(recipe(paper=PAPER_ROW), [record(empty, found)], dataset="DS"),
        Row.of(recipe(name="plain"), [record(found, found)], dataset="DS"),
    ]
    # background 1 and 4/6, target 1 (absent) and 4/6: the mean over classes of means over images
    assert rows[0].as_paper["iou"] == pytest.approx((5 / 6 + 5 / 6) / 2)
    assert rows[0].as_paper["recall"] == pytest.approx((0.9 + 0.4) / 2)
    assert rows[0].iou == pytest.approx(4 / 6)
    write_tables(rows, tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "| one | Table 3, Model 1, RGB | DS | 0.694 / 0.833 | - / " in text
    assert "| plain | Table" not in text
    with (tmp_path / "table.csv").open(newline="") as file:
        lines = {line["recipe"]: line for line in csv.DictReader(file)}
    assert lines["one"]["paper_iou"] == "0.694"
    assert lines["one"]["paper_f1"] == ""
    assert lines["plain"]["paper_row"] == ""
    assert float(lines["one"]["as_paper_iou"]) == pytest.approx(5 / 6)


def test_no_second_table_without_a_paper(tmp_path):
    write_tables([Row.of(recipe(), [record([[4, 1], [1, 4]])], dataset="DS")], tmp_path)
    assert "paper" not in (tmp_path / "table.md").read_text()


def test_outlines_and_paired_differences(tmp_path):
    good, poor = (
        record([[5, 0], [0, 5]], [[8, 0], [0, 2]]),
        record([[5, 0], [3, 2]], [[8, 0], [0, 2]]),
    )
    for chip, counts in zip(good["chips"], ((3, 4), (1, 4)), strict=True):
        chip["boundary"] = counts
    rows = [
        Row.of(recipe(name="good"), [good, {**good, "seed": 1}], dataset="DS"),
        Row.of(recipe(name="poor"), [poor], dataset="DS"),
    ]
    assert rows[0].boundary_iou == pytest.approx(0.5)
    assert rows[1].boundary_iou is None
    write_tables(rows, tmp_path, against="poor")
    text = (tmp_path / "table.md").read_text()
    assert "| recipe | boundary IoU, 3 px |\n|---|---|\n| good | **0.500** |\n" in text
    assert "| recipe | IoU less that of poor | 95 % over sites, paired |" in text
    # 1 less 4/7; one site alone is the same, or 1 less 2/5
    assert "| good | **+0.429** | +0.000 to +0.600 |" in text
    with (tmp_path / "table.csv").open(newline="") as file:
        assert "sites" not in next(csv.DictReader(file))


def test_spread_over_seeds():
    good, poor = [[5, 0], [0, 5]], [[5, 0], [5, 5]]
    row = Row.of(recipe(), [record(good), record(poor, seed=1)], dataset="DS")
    assert row.iou == pytest.approx(0.75)
    assert row.seed_std == pytest.approx(0.25)
    assert (row.fold_min, row.fold_max) == (0.5, 1.0)
    assert np.isnan(row.low)  # one site says nothing of the spread


def test_without_folds_the_test_split_is_scored(split_squares, tmp_path):
    trees = recipe(
        model={"architecture": "boosted-trees"},
        data={"dataset": str(split_squares)},
        paper=PAPER_ROW,
    )
    rows = experiment([trees], plan=Plan(folds=()), out=tmp_path)
    assert rows[0].runs == 1
    assert rows[0].dataset == split_squares.name
    kept = (tmp_path / "one" / "split-seed0" / "record.json").read_text()
    assert "test-site" in kept
    assert "train-site" not in kept


def test_without_folds_and_splits_nothing_can_be_scored(raw_squares, tmp_path):
    value = recipe(data={"dataset": str(raw_squares)})
    with pytest.raises(DatasetError, match=r"no chip to score recipe one on\. Give folds"):
        experiment([value], plan=Plan(folds=()), out=tmp_path)
    assert not (tmp_path / "one").exists()


def write_chip(root, site, seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((64, 64), np.uint8)
    mask[8:30, 10:40] = 1
    image = (800 + 1500.0 * mask + rng.normal(0, 60, (3, 64, 64))).astype(np.uint16)
    profile = {"driver": "GTiff", "height": 64, "width": 64, "crs": "EPSG:32723"}
    profile["transform"] = from_origin(500_000 + 50_000 * seed, 7_800_000, 10, 10)
    for kind, array in (("images", image), ("masks", mask[None])):
        path = root / kind / site / "00000.tif"
        path.parent.mkdir(parents=True)
        with rasterio.open(path, "w", **profile, dtype=array.dtype, count=len(array)) as file:
            file.write(array)
            if kind == "images":
                file.descriptions = ("B02", "B03", "B04")


@pytest.fixture
def raw_squares(tmp_path):
    for seed, site in enumerate(("east", "west")):
        write_chip(tmp_path / "raw", site, seed)
    return tmp_path / "raw"


@pytest.fixture
def split_squares(tmp_path):
    for seed, split in enumerate(("train", "val", "test")):
        write_chip(tmp_path / "split" / split, f"{split}-site", seed)
    return tmp_path / "split"


def test_the_target_is_scored_apart_where_no_cloud_truly_is(tmp_path):
    names = ["background", "cloud", "mining"]
    # rows the truth: under cloud 3 pixels are called mining, 2 pixels of mining are called cloud
    near = [[50, 0, 1], [2, 20, 3], [1, 2, 6]]
    far = [[40, 0, 0], [0, 5, 5], [0, 0, 4]]
    rows = [Row.of(recipe(), [record(near, far) | {"classes": names}], dataset="DS")]
    assert rows[0].target_iou == pytest.approx(10 / (10 + 1 + 3 + 5 + 1 + 2))
    assert rows[0].cloud_free_iou == pytest.approx(10 / (10 + 1 + 1 + 2))
    assert rows[0].site_mean_iou == pytest.approx((6 / 13 + 4 / 9) / 2)
    write_tables(rows, tmp_path)
    assert "| one | 0.455 | **0.714** | 0.453 |" in (tmp_path / "table.md").read_text()
    two = Row.of(
        recipe(), [record([[4, 1], [1, 4]]) | {"classes": ["background", "x"]}], dataset=""
    )
    assert two.cloud_free_iou is None
    assert two.target_iou == two.iou
