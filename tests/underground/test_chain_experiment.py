"""Plans of chains: trained by folds, found, kept, scored and laid out."""

import csv
import json
import shutil

import pytest
import torch
import yaml
from faster_coco_eval.core import mask as rle_tools

from headframe.cli.main import main
from headframe.core.errors import DatasetError, MissingFileError, RecipeError
from headframe.engine.box_sam_bundle import (
    BoxSamBundle,
    build_box_sam,
    read_box_sam,
    save_box_sam,
)
from headframe.models.sam.classprompt import build_class_prompted_sam
from headframe.underground import chain_experiment, chain_parts
from headframe.underground.chain_experiment import compare_chains
from headframe.underground.chain_plan import load_plan
from headframe.underground.fusion.gate import FEATURES, Gate, save_gate

DETECTOR = {
    "detector": {
        "options": {"channels": 8, "frozen_norm": False, "min_px": 48, "max_px": 64,
                    "anchor_px": 8, "proposals": 20, "sampled": 16, "min_score": 0.0, "most": 5},
        "init": "none",
    },
    "photographs": {"categories": ["person"]},
    "train": {"steps": 2, "batch": 2},
}  # fmt: skip
PLAN = {
    "photographs": {"categories": ["person"], "short_side_px": 48},
    "light": {"test": [1.0, 0.1]},
    "of": 3,
    "plain": "plain",
    "methods": {
        "plain": {"detector": "plain.yaml"},
        "sam": {"detector": "plain.yaml", "sam": "tiny", "fusion": {"method": "sam"}},
        "both": {"detector": "plain.yaml", "sam": "tiny", "fusion": {"method": "weighted"}},
        "unasked": {"detector": "plain.yaml", "sam": "tiny", "sam_score": 1.0},
        "unstretched": {"detector": "unstretched.yaml"},
    },
    "figures": {"plain": {"f1": 65.0, "miou": 56.0}},
}


@pytest.fixture
def plan_file(tmp_path, monkeypatch):
    torch.manual_seed(3)
    sam = build_class_prompted_sam(1, base="tiny").eval()
    monkeypatch.setattr(chain_parts, "published_sam", lambda source, classes: sam)
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN, sort_keys=False))
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump(DETECTOR))
    other = {**DETECTOR, "prepare": "none"}
    (tmp_path / "unstretched.yaml").write_text(yaml.safe_dump(other))
    return tmp_path / "plan.yaml"


def test_every_method_is_scored_on_the_same_photographs(plan_file, squares, tmp_path):
    plan, recipes = load_plan(plan_file)
    assert list(recipes.detectors) == ["plain.yaml", "unstretched.yaml"]
    plan = plan.with_sources([str(squares)])
    rows = compare_chains(plan, recipes, out=tmp_path / "o", folds=[0, 2], accelerator="cpu")
    assert [(row.method, row.light) for row in rows] == [
        (method, light) for method in PLAN["methods"] for light in (1.0, 0.1)
    ]
    assert {row.report.images for row in rows} == {4}
    found = sorted(path.name for path in (tmp_path / "o" / "found" / "sam").iterdir())
    assert found[0] == "fold0-seed0-light0.1.json"
    assert len(found) == 4
    entries = json.loads((tmp_path / "o/found/plain/fold0-seed0-light1.json").read_text())
    assert {"image_id", "category_id", "score", "bbox", "segmentation"} == set(entries[0])
    unasked = tmp_path / "o/found/unasked/fold0-seed0-light1.json"
    assert json.loads(unasked.read_text()) == entries
    with (tmp_path / "o" / "table.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [line["ap50_gain"] for line in table if line["method"] == "plain"] == ["0.0", "0.0"]
    text = (tmp_path / "o" / "table.md").read_text()
    assert "| light 1 | plain | " in text
    assert "65.0 / 56.0 |" in text
    assert (tmp_path / "o" / "table.png").stat().st_size > 1000


def test_what_was_found_is_not_looked_for_again(plan_file, squares, tmp_path, monkeypatch):
    plan, recipes = load_plan(plan_file)
    plan = plan.with_sources([str(squares)])
    first = compare_chains(plan, recipes, out=tmp_path / "o", folds=[1], accelerator="cpu")
    kept = {p: p.read_bytes() for p in (tmp_path / "o" / "found").rglob("*.json")}

    def never(*args, **more):
        raise AssertionError("trained again")

    with monkeypatch.context() as patch:
        patch.setattr(chain_experiment, "train_detector", never)
        again = compare_chains(plan, recipes, out=tmp_path / "o", folds=[1], accelerator="cpu")
    assert [row.report.mean for row in first] == [
        pytest.approx(row.report.mean, nan_ok=True) for row in again
    ]
    for path in kept:
        path.unlink()
    compare_chains(plan, recipes, out=tmp_path / "o", folds=[1], accelerator="cpu")
    assert {p: p.read_bytes() for p in (tmp_path / "o" / "found").rglob("*.json")} == kept


def test_a_sam_that_learnt_elsewhere(plan_file, squares, tmp_path, monkeypatch):
    network, sha256 = build_box_sam(1, base="tiny", peft="decoder")
    with torch.no_grad():
        network.table.weight.normal_(generator=torch.manual_seed(1))
    folder = tmp_path / "elsewhere"

    def save(categories):
        told = BoxSamBundle("elsewhere", "tiny", sha256, "decoder", 4, categories, network.eval())
        save_box_sam(told, folder)

    save(("person",))
    published = build_class_prompted_sam(1, base="tiny").eval()
    published.sam.load_state_dict(read_box_sam(folder).network.sam.state_dict())  # as halves
    monkeypatch.setattr(chain_parts, "published_sam", lambda source, classes: published)
    ready = {"detector": "plain.yaml", "sam": str(folder), "sam_score": 0.0}
    methods = {
        "plain": {"detector": "plain.yaml"},
        "silent": ready,
        "told": {**ready, "classes": True},
        "base": {**ready, "sam": "tiny"},
    }
    plan_file.write_text(yaml.safe_dump({**PLAN, "methods": methods}, sort_keys=False))
    plan, recipes = load_plan(plan_file)
    plan = plan.with_sources([str(squares)])
    embedded = []
    embed = chain_parts.embed_photograph

    def counted(*args):
        embedded.append(args)
        return embed(*args)

    monkeypatch.setattr(chain_parts, "embed_photograph", counted)
    rows = compare_chains(plan, recipes, out=tmp_path / "o", folds=[0], accelerator="cpu")
    found = {
        name: json.loads((tmp_path / f"o/found/{name}/fold0-seed0-light0.1.json").read_text())
        for name in methods
    }
    assert found["silent"] == found["base"] != found["plain"]
    assert found["told"] != found["silent"]
    assert 0 < len(embedded) <= rows[0].report.images * 2  # one encoder, two lights
    save(("miner",))
    with pytest.raises(RecipeError, match=r"told miner; the plan has person\."):
        compare_chains(plan, recipes, out=tmp_path / "p", folds=[0], accelerator="cpu")
    shutil.rmtree(folder)
    with pytest.raises(MissingFileError, match=r"elsewhere: no such folder of a SAM\. Train one"):
        compare_chains(plan, recipes, out=tmp_path / "p", folds=[0], accelerator="cpu")


def test_a_gate_that_learnt_elsewhere(plan_file, squares, tmp_path):
    def rows_of(bias):
        gate = tmp_path / "gate.json"
        save_gate(Gate((0.0,) * len(FEATURES), bias), gate)
        method = {"detector": "plain.yaml", "sam": "tiny", "sam_score": 0.0}
        steps = {"align": False, "min_overlap": None, "close": False, "open_": False}
        methods = {
            "plain": {"detector": "plain.yaml"},
            "gated": {**method, "fusion": {"method": "gate", **steps}, "gate": str(gate)},
        }
        plan_file.write_text(yaml.safe_dump({**PLAN, "methods": methods}, sort_keys=False))
        plan, recipes = load_plan(plan_file)
        plan = plan.with_sources([str(squares)])
        compare_chains(plan, recipes, out=tmp_path / f"{bias}", folds=[0], accelerator="cpu")
        found = tmp_path / f"{bias}" / "found/gated/fold0-seed0-light0.1.json"
        return json.loads(found.read_text())

    def area(entries):
        return sum(rle_tools.area(entry["segmentation"]) for entry in entries)

    everywhere, nowhere = rows_of(1.0), rows_of(-1.0)
    assert area(everywhere) > area(nowhere)
    (tmp_path / "gate.json").unlink()
    plan, recipes = load_plan(plan_file)
    plan = plan.with_sources([str(squares)])
    out = tmp_path / "none"
    with pytest.raises(MissingFileError, match=r"gate\.json: no such file\. Fit a gate first"):
        compare_chains(plan, recipes, out=out, folds=[0], accelerator="cpu")
    assert not (out / "detectors").exists()  # told before the training


def test_plans_that_cannot_be(plan_file, squares, tmp_path):
    def write(**changes):
        plan_file.write_text(yaml.safe_dump({**PLAN, **changes}, sort_keys=False))

    plan, recipes = load_plan(plan_file)
    with pytest.raises(DatasetError, match="no fold 3 of 3; count from 0"):
        compare_chains(plan, recipes, out=tmp_path / "o", folds=[3])
    with pytest.raises(DatasetError, match="names no photographs"):
        compare_chains(plan, recipes, out=tmp_path / "o", folds=[0])
    write(plain="none")
    with pytest.raises(RecipeError, match="method 'none' is none; give one of plain, sam"):
        load_plan(plan_file)
    write(methods={"plain": {"detector": "plain.yaml", "fusion": {}}})
    with pytest.raises(RecipeError, match="fusion and classes need a sam"):
        load_plan(plan_file)
    sam = {"detector": "plain.yaml", "sam": "tiny"}
    for wrong in ({"fusion": {"method": "gate"}}, {"fusion": {}, "gate": "gate.json"}):
        write(methods={"plain": {**sam, **wrong}})
        with pytest.raises(RecipeError, match="needs a gate, and no other does"):
            load_plan(plan_file)
    write(methods={"plain": {"detector": "absent.yaml"}})
    with pytest.raises(MissingFileError, match=r"absent\.yaml"):
        load_plan(plan_file)
    write(methods={"plain": {"detector": "plain.yaml", "sam": "tiny", "fusion": {"methd": "sam"}}})
    plan, recipes = load_plan(plan_file)
    plan = plan.with_sources([str(squares)])
    with pytest.raises(RecipeError, match="fusion has no option 'methd'; the closest is 'method'"):
        compare_chains(plan, recipes, out=tmp_path / "p", folds=[0], accelerator="cpu")


def test_the_verbs(plan_file, squares, tmp_path, capsys):
    def run(*words):
        with pytest.raises(SystemExit) as stop:
            main(["underground", *map(str, words)])
        said = capsys.readouterr()
        return stop.value.code, said.out, said.err

    out = tmp_path / "o"
    words = ["compare", plan_file, "--data", squares, "--only-fold", 0, "--steps", 1]
    code, said, _ = run(*words, "--out", out, "--accelerator", "cpu", "--json")
    assert code == 0
    assert [row["method"] for row in json.loads(said)][::2] == list(PLAN["methods"])
    code, said, _ = run(*words, "--out", out, "--accelerator", "cpu")
    assert code == 0
    assert "AP50" in said
    run_folder = tmp_path / "run"
    words = ["train-detector", tmp_path / "plain.yaml", "--data", squares, "--out", run_folder]
    code, said, _ = run(*words, "--steps", 1, "--seed", 3, "--accelerator", "cpu", "--json")
    assert code == 0
    assert json.loads(said)["steps"] == 1
    code, said, error = run(*words)
    assert code == 2
    assert "holds a run already" in error
    code, said, _ = run(*words, "--steps", 1, "--seed", 3, "--accelerator", "cpu", "--resume")
    assert code == 0
    assert "Detector: " in said
    code, _, error = run("compare", tmp_path / "none.yaml", "--out", out)
    assert code == 2
    assert error.count("\n") == 1
