"""Every recipe in the repository can be run: it parses, and its network and loss can be built."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from headframe.core.components import CLASS_SETS
from headframe.engine.detectors import build_detector
from headframe.engine.enhancer_bundle import shipped_enhancers
from headframe.engine.experiment import BASELINES, MERGE
from headframe.engine.recipe import load_recipe
from headframe.losses.build import build_loss
from headframe.models.detector import Detector, read_options
from headframe.models.registry import build_network, get_architecture
from headframe.underground.chain_plan import load_plan
from headframe.underground.fusion import FusionOptions

ROOT = Path(__file__).parents[1] / "recipes"
RECIPES = [p for p in sorted(ROOT.rglob("*.yaml")) if "dis-mine" not in p.parts]
"""All but those of enhancers, which tests/engine/test_enhance_training.py reads, and detectors."""
PLANS = sorted((ROOT / "dis-mine").rglob("plan*.yaml"))


def logits(recipe):
    if recipe.data.target == "full":
        return 3  # background, cloud, mining
    target = CLASS_SETS.get(recipe.data.target)
    classes = 2 if target is None else len(target.class_map)
    return 1 if classes == 2 else classes


def test_there_is_a_recipe_for_every_published_row():
    counts = Counter(p.parent.relative_to(ROOT).as_posix() for p in RECIPES)
    assert counts["components/table3"] == 5 * 4
    assert counts["components/table4"] == 12 * 4
    assert counts["components/table5"] == 4
    assert counts["illegal-mining"] == 2 * 6 + 1  # methods 2.4: ways of adapting, by bands; SAMed


def test_names_are_unique():
    names = Counter(load_recipe(path).name for path in RECIPES)
    assert [name for name, count in names.items() if count > 1] == []


NETWORKS = {
    json.dumps(
        [r.model.architecture, list(r.data.bands), logits(r), r.model.options], sort_keys=True
    ): path.stem
    for path in RECIPES
    for r in (load_recipe(path),)
    if r.model.architecture not in {*BASELINES, MERGE}
}
"""Each different network once, with a recipe that asks for it."""


@pytest.mark.parametrize("wanted", sorted(NETWORKS), ids=lambda wanted: NETWORKS[wanted])
def test_a_network_can_be_built_and_fits_its_bands(wanted):
    architecture, bands, outputs, options = json.loads(wanted)
    with torch.device("meta"):
        network = build_network(architecture, bands, outputs, options).eval()
        if get_architecture(architecture).planes:
            return  # prompts are read off pixels, and "meta" has none
        side = max(64, get_architecture(architecture).min_px)
        scores = network(torch.empty(1, len(bands), side, side))
    assert scores.shape == (1, outputs, side, side)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_loss_fits_its_classes(path):
    recipe = load_recipe(path)
    loss = build_loss(recipe.loss.name, **recipe.loss.options)
    label = torch.zeros(2, 8, 8, dtype=torch.int64)
    assert loss(torch.zeros(2, logits(recipe), 8, 8), label).isfinite()


@pytest.mark.parametrize("path", sorted(ROOT.glob("components/table[34]/*")), ids=lambda p: p.stem)
def test_a_published_row_names_its_figures(path):
    paper = load_recipe(path).paper
    assert paper is not None
    for figure in (paper.iou, paper.recall, paper.precision, paper.accuracy):
        assert figure is not None
        assert 0 < figure < 1


@pytest.mark.parametrize("path", PLANS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_detectors_of_a_plan_can_be_built(path):
    plan, recipes = load_plan(path)
    for method in plan.methods.values():
        read_options(FusionOptions, method.fusion or {}, name="fusion")
    for name, recipe in recipes.detectors.items():
        assert recipe.photographs.categories == plan.photographs.categories, name
        section = recipe.detector
        classes = len(recipe.photographs.categories)
        with torch.device("meta"):
            network = build_detector(section.architecture, section.options, classes=classes)
        assert isinstance(network, Detector)
    others = {"sam.yaml", "annotate.yaml", "shipped.yaml"}  # shipped: trained on all photographs
    beside = {p.name for p in path.parent.glob("*.yaml") if p not in PLANS} - others
    assert set(recipes.detectors) <= beside
    assert beside == set(recipes.detectors) or path.name != "plan.yaml"
    for sam in recipes.sams.values():
        assert sam.photographs.categories == plan.photographs.categories
    known = {"none", "stretch", "gamma", *shipped_enhancers(), *recipes.enhancers}
    assert {r.prepare for r in recipes.detectors.values()} <= known


def test_there_is_a_method_for_every_row_of_the_table():
    rows = {"SAM", "Mask R-CNN", "Mask2Former", "DIS-Mine"}
    for name, wanted in (("imagemine", rows), ("lis", rows | {"ISD"}), ("dslmf", rows)):
        plan, recipes = load_plan(ROOT / "dis-mine" / name / "plan.yaml")
        assert set(plan.methods) == set(plan.figures) == wanted
        ours = recipes.detectors["dis-mine.yaml"]
        train = ours.train
        assert (train.optimizer, train.lr, train.batch, train.epochs) == ("sgd", 1e-3, 4, 80)
        assert ours.detector.options["body"] == "resnet101"
        sam = recipes.sams["sam.yaml"].train
        assert (sam.optimizer, sam.lr, sam.batch, sam.epochs) == ("adam", 1e-4, 32, 80)
        stage = recipes.enhancers["kind-joint"].stages["joint"]
        assert (stage.lr, stage.batch, stage.crop_px) == (1e-3, 16, 256)
