import csv

import numpy as np
import pytest
import timm
import torch

from headframe.core.errors import DatasetError, JobError, OutputError, RecipeError
from headframe.engine.bundle import load_bundle
from headframe.engine.experiment import Plan, experiment
from headframe.engine.recipe import parse_recipe
from headframe.engine.samples import without_boundary
from headframe.engine.training import train

SITES = ("alfa", "bravo", "charlie", "delta")


def recipe(root, **train_changes):
    value = {
        "name": "toy",
        "model": {"architecture": "fpn", "init": "none"},
        "data": {"dataset": str(root), "all_sites": True},
        "train": {"steps": 6, "batch": 2, "crop_px": 32, "checkpoint_every": 2, "ema": 0.9}
        | train_changes,
        "augment": {"scale": 1.3, "gain": 0.1, "noise": 0.02},
    }
    return parse_recipe(value, source="test")


def rows(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_interrupted_run_ends_like_an_undisturbed_one(raw_dataset, tmp_path, power_cut):
    plain = train(recipe(raw_dataset), out=tmp_path / "plain")
    with pytest.raises(power_cut.Error):
        train(recipe(raw_dataset), out=tmp_path / "cut", progress=power_cut.After(5))
    resumed = train(recipe(raw_dataset), out=tmp_path / "cut", resume=True)
    assert rows(tmp_path / "cut") == rows(tmp_path / "plain")
    assert len(rows(tmp_path / "plain")) == 6
    one, two = load_bundle(plain.bundle), load_bundle(resumed.bundle)
    for key, value in one.network.state_dict().items():
        torch.testing.assert_close(two.network.state_dict()[key], value, msg=key)
    for name in ("curves.png", "samples.png", "recipe.yaml", "result.json"):
        assert (tmp_path / "cut" / name).is_file()
    (tmp_path / "cut" / "result.json").unlink()  # killed after the last step
    again = train(recipe(raw_dataset), out=tmp_path / "cut", resume=True)
    assert again.metrics["loss"] == pytest.approx(resumed.metrics["loss"])
    assert train(recipe(raw_dataset), out=tmp_path / "cut", resume=True) == again
    roundabout = raw_dataset.parent / ".." / raw_dataset.parent.name / raw_dataset.name
    assert train(recipe(roundabout), out=tmp_path / "cut", resume=True) == again
    assert list((tmp_path / "plain" / "tensorboard").rglob("events.*"))


def test_every_option_is_resumed_at_the_next_step(raw_dataset, tmp_path, caplog, power_cut):
    value = recipe(
        raw_dataset, epochs=3, steps=1, optimizer="sgd", schedule="cosine", lr=0.01, lr_min=1e-3
    )
    changes = {"dihedral": False, "hflip": 0.5, "vflip": 0.5, "rotate90": 0.5, "rotate": 0.5}
    augment = value.augment.model_copy(update=changes | {"channel_shuffle": 0.3})
    value = value.model_copy(update={"augment": augment})
    train(value, out=tmp_path / "plain")
    assert sum("permutes the bands" in line.message for line in caplog.records) == 1
    with pytest.raises(power_cut.Error):
        train(value, out=tmp_path / "cut", progress=power_cut.After(3))
    train(value, out=tmp_path / "cut", resume=True)
    assert rows(tmp_path / "cut") == rows(tmp_path / "plain")
    assert len(rows(tmp_path / "plain")) == 6  # 3 epochs of 4 chips in batches of 2
    rates = [float(row["lr"]) for row in rows(tmp_path / "plain")]
    assert rates[0] == pytest.approx(0.01)
    assert rates == sorted(rates, reverse=True)


def test_run_folder_is_never_overwritten(raw_dataset, tmp_path, power_cut):
    with pytest.raises(power_cut.Error):
        train(recipe(raw_dataset), out=tmp_path / "run", progress=power_cut.After(1))
    with pytest.raises(OutputError, match="--resume"):
        train(recipe(raw_dataset), out=tmp_path / "run")
    with pytest.raises(RecipeError, match=r"train\.lr"):
        train(recipe(raw_dataset, lr=0.5), out=tmp_path / "run", resume=True)


def test_crops_too_small_for_the_architecture_are_refused(raw_dataset, tmp_path):
    small = recipe(raw_dataset)
    value = small.model_copy(
        update={"model": small.model.model_copy(update={"architecture": "pan"})}
    )
    with pytest.raises(RecipeError, match=r"'pan' takes sides of 128 px.*crop_px is 32"):
        train(value, out=tmp_path / "run")


def test_encoder_weights_of_a_file_are_the_start(raw_dataset, tmp_path):
    torch.manual_seed(9)
    encoder = timm.create_model("resnet18", num_classes=2)
    torch.save({"state_dict": encoder.state_dict()}, tmp_path / "mine.pth")
    value = recipe(raw_dataset, steps=1, lr=1e-9, batch=2)
    model = {"architecture": "linknet", "init": str(tmp_path / "mine.pth")}
    options = {"options": {"encoder": "resnet18"}}
    value = value.model_copy(update={"model": value.model.model_copy(update=model | options)})
    network = load_bundle(train(value, out=tmp_path / "run").bundle).network
    found = network.get_submodule("encoder.model.layer1.0.conv1").weight
    torch.testing.assert_close(found, encoder.layer1[0].conv1.weight, atol=1e-3, rtol=0)


def test_diverging_run_is_named(raw_dataset, tmp_path):
    with pytest.raises(JobError, match=r"loss is .*Lower train\.lr"):
        train(recipe(raw_dataset, lr=1e30, warmup=0), out=tmp_path / "run")


@pytest.mark.slow
def test_network_learns_bright_squares(raw_dataset, tmp_path):
    value = recipe(raw_dataset, steps=60, batch=4, crop_px=64, lr=3e-3, checkpoint_every=60)
    rows_ = experiment([value], plan=Plan(folds=(0,), of=4), out=tmp_path)
    assert rows_[0].iou > 0.8
    assert "| toy | 1 |" in (tmp_path / "table.md").read_text()
    assert not (tmp_path / "toy" / "fold0-seed0" / "checkpoint.pt").exists()
    assert experiment([value], plan=Plan(folds=(0,), of=4), out=tmp_path)[0].iou == rows_[0].iou


def test_experiment_scores_only_held_out_sites(raw_dataset, tmp_path):
    names = ("fast", "trees")
    recipes = [recipe(raw_dataset, steps=1).model_copy(update={"name": name}) for name in names]
    trees = recipes[1].model_copy(
        update={"model": recipes[1].model.model_copy(update={"architecture": "boosted-trees"})}
    )
    found = experiment([recipes[0], trees], plan=Plan(folds=(0, 1), of=2), out=tmp_path)
    assert [row.runs for row in found] == [2, 2]
    bundle = tmp_path / "fast" / "fold0-seed0" / "bundle" / "model.safetensors"
    written = bundle.stat().st_mtime_ns
    other_use = recipes[0].model_copy(
        update={"output": recipes[0].output.model_copy(update={"threshold": 0.0})}
    )
    again = experiment([other_use, trees], plan=Plan(folds=(0, 1), of=2), out=tmp_path)
    assert again[0].recall == 1.0  # every pixel reaches 0: scored again ...
    assert bundle.stat().st_mtime_ns == written  # ... and not trained again
    trained = load_bundle(tmp_path / "fast" / "fold0-seed0").spec.training["sites"]
    other = load_bundle(tmp_path / "fast" / "fold1-seed0").spec.training["sites"]
    assert sorted(trained + other) == list(SITES)
    assert found[1].iou > 0.9  # brightness alone tells these squares
    with pytest.raises(DatasetError, match="different names"):
        experiment([recipes[0], recipes[0]], plan=Plan(folds=(0,)), out=tmp_path)


def test_going_on_from_a_bundle(raw_dataset, tmp_path):
    first = train(recipe(raw_dataset, steps=2), out=tmp_path / "first")
    value = recipe(raw_dataset, steps=1, lr=1e-9)
    value = value.model_copy(
        update={"model": value.model.model_copy(update={"init": str(first.bundle)})}
    )
    second = train(value, out=tmp_path / "second")
    one, two = load_bundle(first.bundle), load_bundle(second.bundle)
    assert two.spec.inputs == one.spec.inputs
    weight = "encoder.model.conv_stem.weight"
    torch.testing.assert_close(
        two.network.state_dict()[weight], one.network.state_dict()[weight], atol=1e-3, rtol=0
    )
    wrong = value.with_data(bands=("red", "green"))
    with pytest.raises(RecipeError, match="Make them equal"):
        train(wrong, out=tmp_path / "third")


def test_missing_band_is_named(raw_dataset, tmp_path):
    with pytest.raises(DatasetError, match="nir missing"):
        train(recipe(raw_dataset).with_data(bands=("red", "nir")), out=tmp_path / "run")


def test_uncertain_boundary_is_ignored():
    label = np.zeros((7, 9), np.uint8)
    label[:, 4:] = 1
    assert without_boundary(label, 0) is label
    assert without_boundary(label, 1)[3].tolist() == [0, 0, 0, 255, 255, 1, 1, 1, 1]
