"""MineC2FNet's training: coarse labels first, then few fine ones beside a teacher."""

import json
import shutil

import numpy as np
import pytest
import rasterio
import torch
from lightning.fabric import Fabric
from rasterio import warp
from rasterio.features import shapes
from scipy import ndimage
from torch import nn

from headframe.core.errors import DatasetError, RecipeError
from headframe.datasets.chips import open_dataset
from headframe.datasets.coarse import coarsen_dataset
from headframe.engine.bundle import load_bundle
from headframe.engine.experiment import Plan, experiment
from headframe.engine.lessons import Lessons, what_matters
from headframe.engine.recipe import DistillSection, parse_recipe
from headframe.engine.samples import JoinedStore, choose_parts, choose_sources
from headframe.engine.training import train
from headframe.geo.coarsen import Coarseness
from headframe.models.pyramid import PyramidWatch
from headframe.models.registry import build_network
from headframe.surface.labelling import label_images


def recipe(root, name="toy", *, init="none", distill=None, train_changes=None, **data):
    return parse_recipe(
        {
            "name": name,
            "model": {"architecture": "fpn", "init": init},
            "data": {"dataset": str(root), **data},
            "train": {"steps": 3, "batch": 2, "crop_px": 32, "checkpoint_every": 1}
            | (train_changes or {}),
            "distill": distill,
        },
        source="test",
    )


@pytest.fixture(scope="module")
def coarse(raw_dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("coarse") / "squares"
    coarsen_dataset(raw_dataset, out, Coarseness(buffer_m=40, shift_m=20))
    return out


def fold(root, **data):
    return recipe(root, fold={"index": 0, "of": 2}, **data).data


def test_fewer_sites_are_among_more_and_never_held_out(raw_dataset):
    dataset = open_dataset(raw_dataset)
    every = choose_parts(dataset, fold(raw_dataset))
    half = choose_parts(dataset, fold(raw_dataset, label_share=0.5))
    assert (len(every.train), len(half.train)) == (2, 1)
    assert set(half.train) < set(every.train)
    assert half.test == every.test
    others = {
        choose_parts(dataset, fold(raw_dataset, label_share=0.01, label_seed=seed)).train
        for seed in range(8)
    }
    assert len(others) == 2  # never none, and the seed decides


def test_labels_that_are_learnt_from(raw_dataset, coarse):
    dataset = open_dataset(raw_dataset)
    for labels, wanted in (("fine", [1]), ("coarse", [2]), ("both", [2, 1])):
        data = fold(raw_dataset, labels=labels, coarse=str(coarse), label_share=0.5)
        parts = choose_parts(dataset, data)
        sources = choose_sources(dataset, data, parts)
        assert [len(source.chips) for source in sources] == wanted
        held = {chip.site for chip in parts.test}
        assert not any(chip.site in held for source in sources for chip in source.chips)
    label = sources[0].dataset.read(sources[0].chips[0]).label
    fine = dataset.read(next(c for c in dataset.chips() if c.key == sources[0].chips[0].key)).label
    assert (label == 1).sum() > (fine == 1).sum()


def test_replayed_chips_come_after_the_fine_ones(raw_dataset, coarse):
    dataset = open_dataset(raw_dataset)
    data = fold(raw_dataset, replay=1, coarse=str(coarse), label_share=0.5)
    parts = choose_parts(dataset, data)
    fine, replayed = choose_sources(dataset, data, parts)
    assert fine.chips == parts.train
    assert replayed.dataset.root == coarse
    drawn = set()
    for seed in range(8):
        other = data.model_copy(update={"label_seed": seed})
        chips = choose_sources(dataset, other, parts)[1].chips
        assert len(chips) == 1
        drawn |= {chip.site for chip in chips}
    assert len(drawn) == 2  # of all training sites, those without fine labels too
    assert not drawn & {chip.site for chip in parts.test}
    many = data.model_copy(update={"replay": 99})
    assert len(choose_sources(dataset, many, parts)[1].chips) == 2
    with pytest.raises(DatasetError, match=r"data.replay is 1, but no coarse labels"):
        choose_sources(dataset, data.model_copy(update={"coarse": ""}), parts)
    with pytest.raises(RecipeError, match=r"replay goes with labels: fine; labels is both"):
        fold(raw_dataset, replay=1, labels="both")


def test_two_layers_over_the_same_scenes(raw_dataset, tmp_path):
    """As Maus and Tang & Werner are: each layer labels the scenes, the coarse one more of them."""
    made = {}
    for name, rim_px in (("fine", 0), ("coarse", 6)):
        outlines = []
        for mask in sorted((raw_dataset / "masks").glob("*/*.tif")):
            with rasterio.open(mask) as file:
                wanted = file.read(1) == 1
                if rim_px:
                    wanted = ndimage.binary_dilation(wanted, iterations=rim_px)
                found = shapes(wanted.astype(np.uint8), mask=wanted, transform=file.transform)
                ring = warp.transform_geom(file.crs, "EPSG:4326", next(found)[0])
            said = {"type": "Feature", "geometry": ring, "properties": {"site": mask.parent.name}}
            outlines.append(said)
        layer = tmp_path / f"{name}.geojson"
        layer.write_text(json.dumps({"type": "FeatureCollection", "features": outlines}))
        made[name] = tmp_path / name
        label_images([raw_dataset / "images"], out=made[name], polygons=layer)
    dataset = open_dataset(made["fine"])
    data = fold(made["fine"], labels="both", coarse=str(made["coarse"]), label_share=0.5)
    coarse, fine = choose_sources(dataset, data, choose_parts(dataset, data))
    assert (len(coarse.chips), len(fine.chips)) == (2, 1)
    shares = {}
    for source in (coarse, fine):
        chip = next(chip for chip in source.chips if chip.site == fine.chips[0].site)
        label = source.dataset.read(chip, target=data.target).label
        shares[source is coarse] = int((label == 1).sum())
    assert shares[False] == 24 * 28
    assert shares[True] > 1.5 * shares[False]


def test_coarse_labels_that_do_not_fit_are_refused(raw_dataset, coarse, tmp_path):
    dataset = open_dataset(raw_dataset)
    data = fold(raw_dataset, labels="coarse")
    parts = choose_parts(dataset, data)
    with pytest.raises(DatasetError, match=r"Give --coarse"):
        choose_sources(dataset, data, parts)
    for name, change, match in (
        ("classes", {"mining": "tailings"}, r"classes background, tailings; .* dataset coarsen"),
        ("sites", {}, r"has no chip of the training sites"),
    ):
        root = tmp_path / name
        shutil.copytree(coarse, root)
        for old, new in change.items():
            told = (root / "dataset.json").read_text().replace(old, new)
            (root / "dataset.json").write_text(told)
        if name == "sites":
            for kind in ("images", "masks"):
                for folder in sorted((root / kind).iterdir()):
                    folder.rename(folder.with_name(f"other-{folder.name}"))
        other = data.model_copy(update={"coarse": str(root)})
        with pytest.raises(DatasetError, match=match):
            choose_sources(dataset, other, parts)


def test_joined_stores_count_on():
    joined = JoinedStore([["a", "b"], ["c"], ["d", "e"]])
    assert [joined[place] for place in range(len(joined))] == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("architecture", "options", "sizes"),
    [
        ("fpn", {}, [16, 8, 4, 2]),
        ("fpn", {"reduce": 2}, [8, 4, 2, 1]),
        ("unet", {}, [16, 8, 4, 2]),
    ],
)
def test_a_pyramid_is_seen_and_its_gradient_flows(architecture, options, sizes):
    network = build_network(architecture, ("red", "green"), 1, options).eval()
    watch = PyramidWatch(network)
    network(torch.randn(2, 2, 64, 64))
    levels = watch.take()
    assert [level.shape[-1] for level in levels] == sizes
    assert all(level.requires_grad for level in levels)
    assert watch.take() == []
    watch.close()
    network(torch.randn(2, 2, 64, 64))
    assert watch.take() == []


def test_networks_without_a_pyramid_are_named():
    with pytest.raises(RecipeError, match=r"SamSeg has no pyramid"):
        PyramidWatch(build_network("sam-tiny", ("red", "green", "blue"), 1, {"peft": "full"}))


@pytest.fixture
def lessons():
    torch.manual_seed(0)
    student = build_network("fpn", ("red", "green", "blue"), 1, {}).eval()

    def make(**section):
        return student, Lessons(student, DistillSection(**section), Fabric(accelerator="cpu"))

    return make


def _move(network):
    generator = torch.Generator().manual_seed(4)
    for value in network.parameters():
        value.data += 0.05 * torch.randn(value.shape, generator=generator)


def test_a_student_that_has_not_changed_has_lost_nothing(lessons):
    student, teacher = lessons(boundary=0.0)
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    label = torch.zeros(2, 64, 64, dtype=torch.long)
    assert float(teacher.loss(pixels, student(pixels), label).detach()) == pytest.approx(
        0, abs=1e-5
    )
    _move(student)
    moved = teacher.loss(pixels, student(pixels), label)
    assert float(moved.detach()) > 1e-3
    moved.backward()
    assert student.get_parameter("decoder.p5.weight").grad.abs().sum() > 0


@pytest.mark.parametrize("term", ["features", "predictions", "boundary", "pooled", "relations"])
def test_each_term_can_be_left_out(lessons, term):
    others = {name: 0.0 for name in ("features", "predictions", "boundary") if name != term}
    student, teacher = lessons(**others, **{term: 2.0})
    _, nothing = lessons(features=0.0, predictions=0.0, boundary=0.0)
    _move(student)
    pixels = torch.randn(1, 3, 64, 64)
    label = torch.zeros(1, 64, 64, dtype=torch.long)
    label[:, 20:40, 20:40] = 1
    logits = student(pixels).detach()
    assert float(teacher.loss(pixels, logits, label).detach()) > 0
    assert float(nothing.loss(pixels, logits, label)) == 0


def test_what_mattered_by_hand():
    """y = w x, loss (y - t)^2: gradients 2 (w x - t) x; w = 1, (x, t) = (1, 0) and (2, 1)."""
    network = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.ones_(network.weight)
    crops = [(torch.full((1, 1, 1), x), torch.full((1, 1), t)) for x, t in ((1.0, 0.0), (2.0, 1.0))]

    def square(logits, label):
        return (logits[:, 0] - label).square().mean()

    found = what_matters(network, crops, square)
    assert float(found["weight"]) == pytest.approx((2.0**2 + 4.0**2) / 2)
    assert network.weight.grad is None
    assert network.training


def test_weights_that_mattered_stay_near(raw_dataset, coarse, tmp_path):
    first = train(recipe(coarse, all_sites=True), out=tmp_path / "coarse")
    start = load_bundle(first.bundle).network.state_dict()
    moved = []
    for name, ewc in (("free", 0.0), ("held", 1e6)):
        terms = {"features": 0.0, "predictions": 0.0, "boundary": 0.0, "ewc": ewc, "ewc_crops": 4}
        chosen = recipe(
            raw_dataset,
            init=str(first.bundle),
            distill=terms,
            coarse=str(coarse),
            all_sites=True,
            train_changes={"steps": 8},
        )
        done = train(chosen, out=tmp_path / name)
        own = load_bundle(done.bundle).network.state_dict()
        key = "segmentation_head.0.weight"
        moved.append(float((own[key] - start[key]).abs().mean()))
    assert moved[1] < 0.8 * moved[0]
    with pytest.raises(RecipeError, match=r"distill.ewc needs the labels that the model learnt"):
        train(
            recipe(raw_dataset, init=str(first.bundle), distill={"ewc": 1.0}, all_sites=True),
            out=tmp_path / "none",
        )


def test_a_run_with_lessons_is_resumed_at_the_next_step(raw_dataset, coarse, tmp_path, power_cut):
    first = train(recipe(coarse, all_sites=True), out=tmp_path / "coarse")
    chosen = recipe(raw_dataset, init=str(first.bundle), distill={"features": 1.0}, all_sites=True)
    logs = power_cut.logs(chosen, tmp_path)
    assert len(logs[0]) == 3
    assert logs[0] == logs[1]
    other = recipe(raw_dataset, init=str(first.bundle), all_sites=True)
    with pytest.raises(RecipeError, match=r"begun with another distill"):
        train(other, out=tmp_path / "cut", resume=True)


def test_lessons_need_a_model_and_whole_chips(raw_dataset, tmp_path):
    with pytest.raises(RecipeError, match=r"distill needs a model to keep something of"):
        train(recipe(raw_dataset, distill={}, all_sites=True), out=tmp_path / "a")
    embedded = recipe(
        raw_dataset, labels="coarse", all_sites=True, train_changes={"embed_epochs": 2}
    )
    with pytest.raises(RecipeError, match=r"go with whole chips"):
        train(embedded, out=tmp_path / "b")


def test_from_coarse_to_fine_in_one_experiment(raw_dataset, coarse, tmp_path):
    """The student is listed before its teacher, which is trained first all the same."""
    both = {"coarse": str(coarse), "label_share": 0.5}
    recipes = [
        recipe(raw_dataset, "student", init="recipe:teacher", distill={}, **both),
        recipe(raw_dataset, "teacher", labels="coarse", **both),
    ]
    rows = experiment(recipes, plan=Plan(folds=(1,), of=2), out=tmp_path)
    assert [row.recipe for row in rows] == ["student", "teacher"]
    assert all(row.coarse_iou is not None for row in rows)
    table = (tmp_path / "table.md").read_text()
    assert "| recipe | IoU with fine labels | with coarse labels |" in table
    parts = [load_bundle(tmp_path / name / "fold1-seed0/bundle") for name in ("teacher", "student")]
    assert len(parts[0].spec.training["sites"]) == 2
    assert len(parts[1].spec.training["sites"]) == 1
    assert parts[1].spec.inputs == parts[0].spec.inputs  # the teacher's statistics
    weights = [bundle.network.get_parameter("decoder.p5.weight").detach() for bundle in parts]
    assert 0 < float((weights[0] - weights[1]).abs().max()) < 0.05  # three steps away
    again = experiment(recipes, plan=Plan(folds=(1,), of=2), out=tmp_path)
    np.testing.assert_equal([row.iou for row in again], [row.iou for row in rows])


@pytest.mark.parametrize(
    ("inits", "match"),
    [
        (("none", "recipe:gone"), r"recipe b: starts from recipe 'gone', and no recipe"),
        (("recipe:b", "recipe:a"), r"recipes a -> b -> a start from one another"),
    ],
)
def test_recipes_that_start_from_none_or_from_one_another(raw_dataset, tmp_path, inits, match):
    recipes = [recipe(raw_dataset, name, init=i) for name, i in zip("ab", inits, strict=True)]
    with pytest.raises(RecipeError, match=match):
        experiment(recipes, plan=Plan(folds=(0,), of=2), out=tmp_path)
