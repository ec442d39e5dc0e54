import csv

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from headframe.core.classmap import label_class_map
from headframe.core.errors import DatasetError, UnknownNameError
from headframe.datasets.chips import open_dataset
from headframe.datasets.manifest import Manifest, write_manifest
from headframe.engine import by_fact
from headframe.engine.experiment import TREES, Plan
from headframe.engine.recipe import parse_recipe

KINDS = {"a": "RR", "b": "RR", "c": "CL", "d": "CL", "e": "RR", "f": "CL", "g": None}
SPLITS = {"train": ("a", "b", "c", "d"), "test": ("e", "f", "g")}


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "ds"
    rng = np.random.default_rng(5)
    for number, site in enumerate(KINDS):
        mask = np.zeros((64, 64), np.uint8)
        mask[8 : 30 + number, 10:44] = 1
        image = (800 + 1500.0 * mask + rng.normal(0, 60, (3, 64, 64))).astype(np.uint16)
        for kind, array in (("images", image), ("masks", mask[None])):
            path = root / kind / site / "0.tif"
            path.parent.mkdir(parents=True)
            place = from_origin(500_000 + 50_000 * number, 7_800_000, 10, 10)
            profile = {"driver": "GTiff", "height": 64, "width": 64, "crs": "EPSG:32723"}
            options = {"count": len(array), "dtype": array.dtype, "transform": place}
            with rasterio.open(path, "w", **profile, **options) as file:
                file.write(array)
    facts = {site: {"material": kind, "size": 1} for site, kind in KINDS.items()}
    write_manifest(
        root,
        Manifest(
            sensor="sentinel-2-l1c",
            bands=("blue", "green", "red"),
            gsd_m=10,
            classes=label_class_map("tailings"),
            labels="mask",
            splits=SPLITS,
            sites=facts,
        ),
    )
    for path in (root / "images").glob("*/*.tif"):
        with rasterio.open(path, "r+") as file:
            file.descriptions = ("B02", "B03", "B04")
    return root


def recipe(root, architecture="fpn", **data):
    return parse_recipe(
        {
            "name": "toy",
            "model": {"architecture": architecture, "init": "none"},
            "data": {"dataset": str(root), **data},
            "train": {"steps": 2, "batch": 2, "crop_px": 32, "workers": 0},
        },
        source="test",
    )


@pytest.fixture
def runs(monkeypatch):
    """Runs that are only noted: the model of one kind is perfect, the general one is not."""
    seen = []

    def run_once(single, folder, plan, hardware, progress):
        where = single.data.where["material"]
        seen.append((single.name, where, single.data.fold, single.train.seed, folder.name))
        wrong = 0 if isinstance(where, str) else 30
        matrix = [[100, wrong], [0, 70]]
        sites = ("e", "f") if single.data.fold is None else tuple("abcdef")
        return {"chips": [{"site": site, "confusion": matrix} for site in sites]}

    monkeypatch.setattr(by_fact, "run_once", run_once)
    return seen


def test_both_models_are_scored_on_the_same_sites(root, tmp_path, runs):
    plan = Plan(folds=(), seeds=(0, 1))
    rows = by_fact.compare_by_fact(recipe(root), "material", plan=plan, out=tmp_path / "out")
    assert [row.value for row in rows] == ["CL", "RR", "average"]
    assert [row.sites for row in rows] == [1, 1, 2]
    assert rows[0].chips == 2
    assert rows[0].own["iou"] == 1
    assert rows[0].general["iou"] == pytest.approx(0.7)
    assert rows[2].general["iou"] == pytest.approx(0.7)
    assert rows[1].general["precision"] == pytest.approx(0.7)
    assert rows[1].general_as_paper["iou"] == pytest.approx((0.7 + 100 / 130) / 2)
    assert [(name, where) for name, where, *_ in runs[:3]] == [
        ("toy-general", ("CL", "RR")), ("toy-CL", "CL"), ("toy-RR", "RR"),
    ]  # fmt: skip
    assert {folder for *_, folder in runs} == {"split-seed0", "split-seed1"}
    table = (tmp_path / "out" / "by-material.md").read_text()
    assert "| CL | 1 | 1.000 / 0.700 |" in table
    with (tmp_path / "out" / "by-material.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert float(lines[1]["general_iou"]) == pytest.approx(0.7)
    assert float(lines[1]["difference_iou"]) == pytest.approx(0.3)
    assert "| +0.300 |" in table  # one site: no interval


def test_the_difference_has_a_paired_interval_over_sites(root, tmp_path, monkeypatch):
    def run_once(single, folder, plan, hardware, progress):
        seen = {"a": 80, "c": 30, "e": 55}  # hard and easy sites
        better = 10 if isinstance(single.data.where["material"], str) else 0
        return {
            "chips": [
                {"site": site, "confusion": [[50, 0], [90 - n - better, n + better]]}
                for site, n in (seen if better else dict(reversed(seen.items()))).items()
            ]
        }

    monkeypatch.setattr(by_fact, "run_once", run_once)
    monkeypatch.setattr(by_fact, "sites_where", lambda *_, **__: set("abcdef"))
    rows = by_fact.compare_by_fact(
        recipe(root), "material", plan=Plan(folds=()), out=tmp_path / "out"
    )
    assert rows[0].difference == pytest.approx(1 / 9)
    assert rows[0].difference_interval == (pytest.approx(1 / 9), pytest.approx(1 / 9))
    assert rows[0].own_interval[0] < rows[0].general_interval[1]
    assert by_fact.difference_told(rows[0]) == "+0.111 (+0.111 to +0.111)"
    assert by_fact.difference_told(rows[-1]) == "+0.111"


def test_folds_without_a_kind_are_left_out_for_it(root, tmp_path, runs):
    plan = Plan(folds=(0, 1, 2), of=3)
    rows = by_fact.compare_by_fact(recipe(root), "material", plan=plan, out=tmp_path / "out")
    folds = [(name, fold.index) for name, _, fold, *_ in runs]
    assert {index for name, index in folds if name == "toy-general"} <= {0, 1, 2}
    assert len(folds) == len(set(folds))
    assert all(row.chips > 0 for row in rows)


def test_what_cannot_be_compared_is_told(root, tmp_path, runs):
    plan, out = Plan(folds=()), tmp_path / "out"
    with pytest.raises(UnknownNameError, match="'materiel'; closest: material"):
        by_fact.compare_by_fact(recipe(root), "materiel", plan=plan, out=out)
    with pytest.raises(DatasetError, match="needs two values"):
        by_fact.compare_by_fact(recipe(root), "size", plan=plan, out=out)
    one = recipe(root, where={"material": "RR"})
    with pytest.raises(DatasetError, match="needs two values"):
        by_fact.compare_by_fact(one, "material", plan=plan, out=out)
    manifest = open_dataset(root).manifest
    splits = {"train": ("a", "b", "f"), "test": ("e", "g")}
    write_manifest(root, manifest.model_copy(update={"splits": splits}))
    with pytest.raises(DatasetError, match="no fold or split has sites of CL both"):
        by_fact.compare_by_fact(recipe(root), "material", plan=plan, out=out)
    assert runs == []


def test_real_runs_are_taken_up(root, tmp_path):
    plan, out = Plan(folds=()), tmp_path / "out"
    trees = recipe(root, TREES)
    rows = by_fact.compare_by_fact(trees, "material", plan=plan, out=out)
    assert {p.parent.parent.name for p in out.rglob("record.json")} == {"general", "CL", "RR"}
    assert rows[0].own["iou"] > 0.8
    before = (out / "by-material.csv").read_bytes()
    (out / "by-material.csv").unlink()
    by_fact.compare_by_fact(trees, "material", plan=plan, out=out)
    assert (out / "by-material.csv").read_bytes() == before
