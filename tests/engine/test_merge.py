import json
from dataclasses import replace

import pytest
import torch

from headframe.cli import main as cli
from headframe.core.classmap import binary_class_map
from headframe.core.errors import BundleError, RecipeError
from headframe.core.modelspec import InputSpec, ModelSpec
from headframe.engine.bundle import Bundle, load_bundle, save_bundle
from headframe.engine.experiment import Plan, experiment
from headframe.engine.merge import merge_bundles
from headframe.engine.recipe import parse_recipe
from headframe.models.registry import build_network

FOUR = ("blue", "green", "red", "nir")


def run(*words):
    with pytest.raises(SystemExit) as stop:
        cli.main(list(words))
    return stop.value.code


def _bundle(name, bands, *, seed, mean=0.1, std=0.05, **changes):
    torch.manual_seed(seed)
    count = len(bands)
    inputs = InputSpec(
        sensor="sentinel-2-l2a",
        bands=bands,
        gsd_m=10.0,
        mean=tuple(mean + 0.01 * number for number in range(count)),
        std=tuple(std + 0.01 * number for number in range(count)),
        percentiles=((0.0, 0.1, 0.3),) * count,
    )
    spec = ModelSpec(
        name=name,
        architecture="procanet",
        options={"width": 4},
        inputs=inputs,
        classes=binary_class_map("water"),
        patch_px=64,
        license="CC-BY-4.0",
        training={"dataset": "drawn", "dataset_id": "1", "chips": 3, "limits": f"{name} is a toy."},
    )
    spec = replace(spec, **changes)
    network = build_network("procanet", bands, 1, spec.options)
    for module in network.modules():  # scores of a fresh network are all about a half
        if isinstance(module, torch.nn.Conv2d):
            module.weight.data *= 2
    return Bundle(spec, network.eval())


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("merge")
    first = _bundle("first", FOUR, seed=1, threshold=0.4, test_flips=1)
    second = _bundle("second", ("nir", "green"), seed=2, mean=0.2, std=0.1, test_flips=4)
    for bundle in (first, second):
        save_bundle(bundle, root / bundle.spec.name, half=False)
    return root


def _pixels():
    return torch.rand(2, 4, 64, 64, generator=torch.Generator().manual_seed(5)) * 0.4


def _alone(folder, view):
    bundle = load_bundle(folder)
    places = [FOUR.index(band) for band in bundle.spec.inputs.bands]
    return bundle.with_options(test_flips=view).scores(_pixels()[:, places])


def test_scores_are_the_weighted_mean_of_all(folders):
    merged = merge_bundles(
        [folders / "first", folders / "second"], name="both", weights=(1.0, 3.0)
    ).with_options(test_flips=1)
    wanted = (_alone(folders / "first", 1) + 3 * _alone(folders / "second", 1)) / 4
    assert wanted.std() > 0.01
    torch.testing.assert_close(merged.scores(_pixels()), wanted, atol=1e-5, rtol=0)


def test_it_is_kept_whole_and_says_where_it_comes_from(folders, tmp_path):
    merged = merge_bundles([folders / "first", folders / "second"], name="both")
    assert merged.spec.test_flips == 4
    assert merged.spec.threshold == pytest.approx(0.45)
    assert merged.spec.inputs.bands == FOUR
    assert merged.spec.metrics == {}  # theirs are not its own
    told = merged.spec.training
    assert told["members"] == ["first", "second"]
    assert told["dataset"] == "drawn"
    assert told["limits"] == "first is a toy. second is a toy."
    save_bundle(merged, tmp_path / "both", half=False)
    again = load_bundle(tmp_path / "both")
    torch.testing.assert_close(again.scores(_pixels()), merged.scores(_pixels()))
    thrice = merge_bundles([tmp_path / "both", folders / "first"], name="all")
    save_bundle(thrice, tmp_path / "all", half=False)
    wanted = (merged.scores(_pixels()) + _alone(folders / "first", 4)) / 2
    torch.testing.assert_close(load_bundle(tmp_path / "all").scores(_pixels()), wanted)


def test_the_command_writes_a_model(folders, tmp_path, capsys):
    out = tmp_path / "both"
    both = [str(folders / "first"), str(folders / "second")]
    assert run("models", "merge", *both, "--out", str(out), "--threshold", "0.3", "--json") == 0
    assert json.loads(capsys.readouterr().out)["name"] == "both"
    assert load_bundle(out).spec.threshold == 0.3
    assert run("models", "show", str(out)) == 0
    assert "ensemble" in capsys.readouterr().out
    assert run("models", "merge", *both, "--out", str(out)) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": binary_class_map("tailings")}, "its classes"),
        ({"test_zoom": 0.5}, "its test_zoom is 0.5, that of first 1.0"),
    ],
)
def test_models_that_do_not_go_together(folders, tmp_path, change, words):
    other = _bundle("other", FOUR, seed=3, **change)
    save_bundle(other, tmp_path / "other")
    with pytest.raises(BundleError, match=words):
        merge_bundles([folders / "first", tmp_path / "other"], name="both")


def test_what_cannot_be_merged(folders):
    first = folders / "first"
    with pytest.raises(BundleError, match="Name two or more"):
        merge_bundles([first], name="one")
    with pytest.raises(BundleError, match="2 models, weights 1"):
        merge_bundles([first, first], name="two", weights=(1.0,))
    with pytest.raises(BundleError, match="Give one above 0 for each"):
        merge_bundles([first, first], name="two", weights=(1.0, 0.0))
    with pytest.raises(BundleError, match="tailings-sam: stands on the weights of a SAM"):
        merge_bundles([first, "tailings-sam"], name="two")


def _recipe(dataset, name, **model):
    value = {
        "name": name,
        "model": {"init": "none", **model},
        "data": {"dataset": str(dataset)},
        "train": {"steps": 2, "batch": 2, "crop_px": 32},
        "output": {"name": name, "threshold": 0.4, "patch_px": 64},
    }
    return parse_recipe(value, source="test")


def _plain(dataset, name, width):
    return _recipe(dataset, name, architecture="procanet", options={"width": width})


def test_an_experiment_merges_the_models_of_a_fold(raw_dataset, tmp_path):
    both = _recipe(raw_dataset, "both", architecture="merge", options={"of": ["a", "b"]})
    recipes = [both, _plain(raw_dataset, "a", 2), _plain(raw_dataset, "b", 4)]
    rows = experiment(recipes, plan=Plan(folds=(1,), of=2), out=tmp_path)
    assert [row.recipe for row in rows] == ["both", "a", "b"]
    whole, *parts = (load_bundle(tmp_path / row.recipe / "fold1-seed0/bundle") for row in rows)
    assert whole.spec.training["members"] == ["a", "b"]
    assert whole.spec.threshold == 0.4
    assert whole.spec.inputs == parts[0].spec.inputs
    pixels = torch.rand(1, 3, 32, 32) * 0.3
    wanted = sum(part.scores(pixels) for part in parts) / 2
    torch.testing.assert_close(whole.scores(pixels), wanted, atol=2e-3, rtol=0)  # fp16
    record = json.loads((tmp_path / "both" / "fold1-seed0" / "record.json").read_text())
    assert record["parameters"] > 0
    again = experiment(recipes, plan=Plan(folds=(1,), of=2), out=tmp_path)
    assert [row.iou for row in again] == pytest.approx([row.iou for row in rows], nan_ok=True)
    other = both.output.model_copy(update={"threshold": 0.6})
    used = [both.model_copy(update={"output": other}), *recipes[1:]]
    experiment(used, plan=Plan(folds=(1,), of=2), out=tmp_path)
    assert load_bundle(tmp_path / "both" / "fold1-seed0/bundle").spec.threshold == 0.6


def test_an_experiment_that_lacks_a_member(raw_dataset, tmp_path):
    both = _recipe(raw_dataset, "both", architecture="merge", options={"of": ["a", "gone"]})
    with pytest.raises(RecipeError, match="recipe both: starts from recipe 'gone'"):
        experiment([both, _plain(raw_dataset, "a", 2)], plan=Plan(folds=(0,), of=2), out=tmp_path)
