"""Plans on drawn tunnels, thin and whole: enhancer and SAM by fold, curves, panels, classes."""

import csv
import json

import numpy as np
import pytest
import yaml
from PIL import Image

from headframe.cli.main import main
from headframe.core.errors import DatasetError, RecipeError, UnknownNameError
from headframe.datasets.coco import read_coco, write_coco
from headframe.datasets.drawn.tunnel import TunnelOptions, draw_tunnels
from headframe.engine.detector_recipe import PhotographSection
from headframe.engine.detector_training import read_parts
from headframe.metrics.instances import InstanceReport
from headframe.underground.chain_experiment import compare_chains
from headframe.underground.chain_parts import bright_files
from headframe.underground.chain_plan import load_plan
from headframe.underground.class_removal import ClassChoice, compare_classes, variants
from headframe.underground.class_table import VariantRow, write_class_tables
from headframe.underground.drawn_sources import DRAWN_NOTE, held_out_is_drawn

CLASSES = ["road", "wall", "roof", "people", "equipment", "corridor"]
DETECTOR = {
    "detector": {
        "options": {"channels": 8, "frozen_norm": False, "min_px": 64, "max_px": 96,
                    "anchor_px": 8, "proposals": 20, "sampled": 16, "min_score": 0.0, "most": 5},
        "init": "none",
    },
    "photographs": {"categories": CLASSES},
    "light": {"train": [0.3], "variants": 1},
    "prepare": "tiny-kind",
    "train": {"steps": 3, "batch": 2},
}  # fmt: skip
SAM = {
    "sam": {"base": "tiny", "boxes": 2},
    "photographs": {"categories": CLASSES},
    "light": {"train": [0.3], "variants": 1},
    "train": {"steps": 2, "batch": 2},
}
KIND = {
    "network": {"mode": "dismine", "width": 2, "restoration_width": 2},
    "stages": {"joint": {"steps": 2, "batch": 2, "crop_px": 32}},
}
PLAN = {
    "photographs": {"categories": CLASSES, "short_side_px": 64},
    "light": {"test": [1.0, 0.3]},
    "of": 2,
    "plain": "plain",
    "enhancers": {"tiny-kind": "kind.yaml"},
    "methods": {
        "plain": {"detector": "detector.yaml"},
        "off": {"detector": "detector.yaml", "sam": "sam.yaml", "classes": True,
                "fusion": {"grid": "off"}},
        "literal": {"detector": "detector.yaml", "sam": "sam.yaml", "classes": True,
                    "fusion": {"grid": "literal"}},
    },
    "curves": {"every": 2, "photographs": 2},
    "figures": {"plain": {"f1": 65.0, "miou": 56.0}},
}  # fmt: skip


def width(path):
    with Image.open(path) as picture:
        return picture.size[0]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    out = tmp_path_factory.mktemp("drawn") / "tunnels"
    draw_tunnels(out, TunnelOptions(images=4, tunnels=4, size=(64, 88), light=1.0))
    return out


@pytest.fixture
def plan_file(tmp_path):
    for name, value in (("plan", PLAN), ("detector", DETECTOR), ("sam", SAM), ("kind", KIND)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(value, sort_keys=False))
    return tmp_path / "plan.yaml"


def test_all_parts_are_trained_on_what_is_not_held_out(plan_file, drawn, tmp_path):
    plan, recipes = load_plan(plan_file)
    plan = plan.with_sources([str(drawn)])
    out = tmp_path / "o"
    rows = compare_chains(plan, recipes, out=out, folds=[0], accelerator="cpu")
    assert [(row.method, row.light) for row in rows] == [
        (method, light) for method in PLAN["methods"] for light in (1.0, 0.3)
    ]
    place = "fold0-seed0"
    told = json.loads((out / "sams" / f"sam-tiny-kind-{place}" / "result.json").read_text())
    assert (told["photographs"], list(told["iou"])) == (2, ["0.3"])
    section = plan.part(0)
    learnt = {path.relative_to(drawn / "images").as_posix() for path in bright_files(plan, section)}
    held = {photograph.name for photograph in read_parts(section).test}
    assert len(learnt) == len(held) == 2
    assert not learnt & held
    saved = yaml.safe_load((out / "detectors" / f"detector-{place}" / "recipe.yaml").read_text())
    assert saved["prepare"] == str(out / "enhancers" / f"tiny-kind-{place}")
    with (out / "curves.csv").open(newline="") as file:
        curves = list(csv.DictReader(file))
    assert [(row["step"], row["method"]) for row in curves] == [
        (step, method) for step in ("2", "3") for method in PLAN["methods"]
    ]
    assert [float(row["epoch"]) for row in curves[::3]] == [2.0, 3.0]
    for name, wide in (("curves.png", 1200), ("panels.png", 900)):
        assert width(out / name) > wide
    text = (out / "table.md").read_text()
    assert text.startswith(DRAWN_NOTE)
    assert "65.0" not in text  # a paper's figures of photographs
    literal = json.loads((out / "found" / "literal" / f"{place}-light1.json").read_text())
    assert len(literal)


def test_classes_are_removed_and_joined(plan_file, drawn, tmp_path):
    plan, recipes = load_plan(plan_file)
    plan = plan.with_sources([str(drawn)]).with_curves(0)
    recipes = recipes.with_steps(1)
    choice = ClassChoice(
        "plain", ("people+equipment",), ("road+wall+roof=surrounding",), folds=(0,)
    )
    out = tmp_path / "o"
    rows = compare_classes(plan, recipes, out=out, choice=choice, accelerator="cpu")
    known = {row.variant: list(row.report.per_class) for row in rows}
    assert known == {
        "all": CLASSES,
        "without-people-equipment": ["road", "wall", "roof", "corridor"],
        "surrounding": ["surrounding", "people", "equipment", "corridor"],
    }
    assert [row.light for row in rows] == [1.0, 0.3] * 3
    with (out / "classes.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 2 * (6 + 4 + 4)
    assert {line["iou_change"] for line in table if line["class"] == "surrounding"} == {""}
    text = (out / "classes.md").read_text()
    assert text.startswith(DRAWN_NOTE)
    assert "| Class | F1-score | IoU |" in text
    assert "**surrounding, light 0.3**" in text
    assert width(out / "classes.png") > 300
    assert not (out / "all" / "curves.csv").exists()


def test_means_are_over_classes_that_both_learnt(tmp_path):
    """Joined, road and wall count in neither mean: they are another class than they were."""

    def report(**values):
        kinds = ("f1", "pixel_f1", "iou", "mask_ap50")
        return InstanceReport(4, {n: dict.fromkeys(kinds, v) for n, v in values.items()}, {})

    rows = [
        VariantRow("all", (), 1.0, report(road=0.9, wall=0.7, people=0.4)),
        VariantRow("surrounding", (), 1.0, report(surrounding=0.95, people=0.5)),
    ]
    write_class_tables(rows, tmp_path, method="plain")
    text = (tmp_path / "classes.md").read_text()
    assert "| all | 1 | 66.7 | 66.7 | 66.7 | 66.7 |" in text
    assert "| surrounding | 1 | 50.0 | 50.0 | 40.0 | 40.0 |" in text


def test_variants():
    by_itself = variants(CLASSES)
    assert [variant.name for variant in by_itself] == [
        "all",
        *(f"without-{name}" for name in CLASSES),
        "without-people-equipment-corridor",
        "surrounding",
    ]
    assert by_itself[-1].categories == ("surrounding", "people", "equipment", "corridor")
    assert by_itself[-2].categories == ("road", "wall", "roof")
    assert [v.name for v in variants(["person"])] == ["all"]
    assert [v.name for v in variants(["a", "b"])] == ["all", "without-a", "without-b"]
    with pytest.raises(UnknownNameError, match="class 'men'"):
        variants(CLASSES, remove=["men"])
    with pytest.raises(RecipeError, match="no class would be left"):
        variants(["a", "b"], remove=["a+b"])
    with pytest.raises(RecipeError, match="'without-a' is asked for twice"):
        variants(["a", "b"], remove=["a", "a"])
    with pytest.raises(DatasetError, match="write it as"):
        variants(CLASSES, merge=["road+wall"])


def test_drawn_and_real_photographs_are_not_held_out_together(drawn, squares):
    def told(**sources):
        return held_out_is_drawn(PhotographSection(categories=("person",), **sources))

    assert told(sources=(str(drawn),))
    assert not told(sources=(str(squares),), more=(str(drawn),))
    assert not told(sources=(str(drawn),), held=(str(squares / "instances.json"),))
    with pytest.raises(DatasetError, match="is drawn, and others are photographs"):
        told(sources=(str(drawn), str(squares)))


def test_bright_photographs_are_those_of_the_fold(plan_file, squares, tmp_path):
    plan, _ = load_plan(plan_file)
    plan = plan.with_classes(["person"])
    labels = read_coco(squares / "instances.json")
    bright = tmp_path / "bright"
    (bright / "images").mkdir(parents=True)
    for image in labels.images:
        Image.fromarray(np.full((48, 56, 3), 200, np.uint8)).save(
            bright / "images" / image.file_name
        )
    write_coco(labels, bright / "instances.json")
    own = plan.with_sources([str(squares)], bright=[str(bright)])
    files = bright_files(own, own.part(1))
    assert len(files) == 3
    assert {path.parent for path in files} == {bright / "images"}
    held = own.with_sources(held=[str(squares)])
    assert len(bright_files(held, held.part(0))) == 6
    assert held.folds == (0,)
    write_coco(type(labels)(labels.images[1:], labels.categories), bright / "instances.json")
    with pytest.raises(DatasetError, match=r"0\.png: is in one of the dark and the bright"):
        bright_files(own, own.part(1))


def test_plans_with_parts_that_are_not_there(plan_file, tmp_path):
    def refused(message, **changes):
        plan_file.write_text(yaml.safe_dump({**PLAN, **changes}, sort_keys=False))
        with pytest.raises(RecipeError, match=message):
            load_plan(plan_file)

    refused("method 'none' is none", panels={"methods": ["none"]})
    refused("panels.light is 0.5", panels={"light": 0.5})
    refused("unknown key 'curves.evry'", curves={"evry": 2})
    plan_file.write_text(yaml.safe_dump(PLAN, sort_keys=False))
    with pytest.raises(RecipeError, match=r"curves\.every"):
        load_plan(plan_file)[0].with_curves(-1)


def test_the_verb(plan_file, drawn, tmp_path, capsys):
    def run(*words):
        with pytest.raises(SystemExit) as stop:
            main(["underground", *map(str, words)])
        said = capsys.readouterr()
        return stop.value.code, said.out, said.err

    words = ["classes", plan_file, "--data", drawn, "--out", tmp_path / "o", "--steps", 1]
    words += ["--only-fold", 0, "--accelerator", "cpu"]
    code, _, error = run(*words, "--method", "none")
    assert (code, error.count("\n")) == (2, 1)
    assert "no method 'none'" in error or "method 'none'" in error
    code, said, _ = run(*words, "--method", "plain", "--remove", "road", "--json")
    assert code == 0
    assert [row["variant"] for row in json.loads(said)] == ["all"] * 2 + ["without-road"] * 2
