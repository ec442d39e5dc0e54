"""Adapted SAMs through training: what is saved, resumed, embedded ahead, and found again."""

import csv
import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import from_origin
from safetensors.torch import load_file, save_file

from headframe.core.errors import BundleError, MissingFileError, RecipeError
from headframe.datasets.chips import open_dataset
from headframe.engine.bundle import load_bundle, read_spec, save_bundle
from headframe.engine.embedding_store import (
    FOLDER,
    EmbeddedStream,
    embed_crops,
    embedding_folder,
)
from headframe.engine.mapping import MapOptions, map_scenes
from headframe.engine.recipe import parse_recipe
from headframe.engine.sampling import CropPlan, CropStream, Sample
from headframe.engine.training import train
from headframe.engine.weights import load_checkpoint
from headframe.models.registry import build_network
from headframe.models.sam import build_sam
from headframe.models.trainable import trained_names


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Weights of the smallest SAM, as a file of somebody's."""
    torch.manual_seed(4)
    path = tmp_path_factory.mktemp("base") / "tiny.safetensors"
    save_file(build_sam("tiny").state_dict(), path)
    return path


@pytest.fixture
def recipe(raw_dataset, base):
    def made(model=None, **train_changes):
        value = {
            "name": "sam",
            "model": {
                "architecture": "sam-tiny",
                "init": str(base),
                "options": {"peft": "decoder"},
            }
            | (model or {}),
            "data": {"dataset": str(raw_dataset), "all_sites": True},
            "train": {"steps": 4, "batch": 2, "crop_px": 32, "checkpoint_every": 1, "ema": 0.9}
            | train_changes,
            "augment": {"scale": 1.3, "gain": 0.1},
            "output": {"patch_px": 32},
        }
        return parse_recipe(value, source="test")

    return made


class PowerCutError(Exception):
    """The power fails."""


class FailAfter:
    """A progress listener that raises in the middle of a job."""

    def __init__(self, job, steps):
        self.job, self.left, self.on = job, steps, False

    def start(self, label, total):
        self.on = label.startswith(self.job)

    def advance(self, n=1):
        if self.on and n > 0:
            self.left -= 1
            if self.left == 0:
                raise PowerCutError

    def finish(self):
        pass


def rows(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_only_trained_tensors_are_saved_and_resumed(recipe, base, tmp_path):
    wanted = recipe({"options": {"peft": "lora"}})
    plain = train(wanted, out=tmp_path / "plain")
    with pytest.raises(PowerCutError):
        train(wanted, out=tmp_path / "cut", progress=FailAfter("Training", 3))
    state = load_checkpoint(tmp_path / "cut" / "checkpoint.pt")
    resumed = train(wanted, out=tmp_path / "cut", resume=True)
    assert rows(tmp_path / "cut") == rows(tmp_path / "plain")
    one, two = load_bundle(plain.bundle), load_bundle(resumed.bundle)
    names = trained_names(one.network)
    assert state["network"].keys() == names
    assert len(state["average"]) == len(names) + 1  # and how many were averaged
    assert load_file(plain.bundle / "model.safetensors").keys() == names
    known = load_file(base)
    for key, value in one.network.state_dict().items():
        assert torch.equal(two.network.state_dict()[key], value), key
        if key not in names:
            assert torch.equal(known[key.removeprefix("sam.")], value), key
    assert any(".lora." in key for key in names)
    start = build_network("sam-tiny", ("red", "green", "blue"), 1, {}, encoder_state=known)
    assert not torch.equal(one.network.tokens, start.tokens)
    assert plain.metrics["trained_parameters"] < plain.metrics["parameters"]
    spec = read_spec(plain.bundle)
    assert spec.base.architecture == "tiny"
    assert spec.base.sha256 == hashlib.sha256(base.read_bytes()).hexdigest()
    assert spec.base.sha256 in (plain.bundle / "README.md").read_text()


def scene(path):
    rng = np.random.default_rng(3)
    values = rng.integers(500, 3000, (3, 70, 90)).astype(np.uint16)
    profile = {"driver": "GTiff", "height": 70, "width": 90, "count": 3, "dtype": "uint16"}
    place = {"crs": "EPSG:32723", "transform": from_origin(5e5, 7.8e6, 10, 10), "nodata": 0}
    with rasterio.open(path, "w", **profile, **place) as file:
        file.write(values)
        file.descriptions = ("B04", "B03", "B02")
    return path


ELSEWHERE = """
import sys
from pathlib import Path
from headframe.engine.bundle import load_bundle
from headframe.engine.mapping import MapOptions, map_scenes
bundle = load_bundle(sys.argv[2])
options = MapOptions(scores=True, tile_px=64)
map_scenes([sys.argv[1]], bundle=bundle, out=Path(sys.argv[3]), options=options)
"""


def test_a_fresh_process_makes_the_same_map(recipe, tmp_path):
    """Issue 4, must show 5: train, save, load on a fresh process, identical map."""
    trained = train(recipe({"options": {"peft": "lora"}}, steps=2), out=tmp_path / "run")
    bundle = load_bundle(trained.bundle)
    save_bundle(bundle, tmp_path / "again", half=False)
    picture = scene(tmp_path / "scene.tif")
    options = MapOptions(scores=True, tile_px=64)
    here = map_scenes([str(picture)], bundle=bundle, out=tmp_path / "here", options=options)
    assert len(here) == 1
    for number, folder in enumerate((trained.bundle, tmp_path / "again")):
        words = [sys.executable, "-c", ELSEWHERE, str(picture), str(folder)]
        out = tmp_path / f"there{number}"
        subprocess.run([*words, str(out)], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        for name in ("scene.scores.tif", "scene.classes.tif"):
            with rasterio.open(tmp_path / "here" / name) as one, rasterio.open(out / name) as two:
                assert one.read().tobytes() == two.read().tobytes()


def test_a_wrong_or_missing_base_is_named(recipe, base, tmp_path):
    own = tmp_path / "mine.safetensors"
    own.write_bytes(base.read_bytes())
    bundle = train(recipe({"init": str(own)}, steps=1), out=tmp_path / "run").bundle
    torch.manual_seed(8)
    save_file(build_sam("tiny").state_dict(), own)
    digest = hashlib.sha256(base.read_bytes()).hexdigest()[:12]
    with pytest.raises(BundleError, match=rf"base of SHA-256 {digest}.*mine\.safetensors has"):
        load_bundle(bundle)
    own.unlink()
    with pytest.raises(MissingFileError, match="mine"):
        load_bundle(bundle)
    (bundle / "mine.safetensors").write_bytes(base.read_bytes())
    assert load_bundle(bundle).spec.name == "model"
    value = json.loads((bundle / "model.json").read_text())
    value["base"]["sha256"] = "abc"
    (bundle / "model.json").write_text(json.dumps(value))
    with pytest.raises(BundleError, match=r"base\.sha256"):
        load_bundle(bundle)


def test_trained_tensors_must_be_those_of_the_options(recipe, tmp_path):
    bundle = train(recipe(steps=1), out=tmp_path / "run").bundle
    value = json.loads((bundle / "model.json").read_text())
    value["options"] = {"peft": "lora"}
    (bundle / "model.json").write_text(json.dumps(value))
    with pytest.raises(BundleError, match="does not fit sam-tiny"):
        load_bundle(bundle)


def test_going_on_from_an_adapter_and_from_none(recipe, tmp_path):
    first = train(recipe(steps=2), out=tmp_path / "first")
    second = train(recipe({"init": str(first.bundle)}, steps=1, lr=1e-9), out=tmp_path / "second")
    one, two = load_bundle(first.bundle), load_bundle(second.bundle)
    assert two.spec.base == one.spec.base
    torch.testing.assert_close(two.network.tokens, one.network.tokens, atol=1e-3, rtol=0)
    alone = train(recipe({"init": "none"}, steps=1), out=tmp_path / "alone")
    assert read_spec(alone.bundle).base is None  # no file holds its random encoder
    assert load_bundle(alone.bundle).network.state_dict().keys() == one.network.state_dict().keys()
    full = train(recipe({"options": {"peft": "full"}}, steps=1), out=tmp_path / "full")
    assert read_spec(full.bundle).base is None
    assert full.metrics["trained_parameters"] == full.metrics["parameters"]


@pytest.mark.parametrize(
    ("model", "match"),
    [
        ({"init": "imagenet"}, "no ImageNet weights. Set model.init to litemedsam"),
        ({"init": "litemedsam"}, "is a litemedsam; architecture 'sam-tiny' stands on tiny"),
        ({"init": "litemedsam", "architecture": "fpn", "options": {}}, "is a SAM; .*'fpn' is none"),
    ],
)
def test_a_start_that_does_not_fit_is_named(recipe, tmp_path, model, match):
    with pytest.raises(RecipeError, match=match):
        train(recipe(model), out=tmp_path / "run")


def test_embeddings_replace_the_encoder_and_survive_a_kill(recipe, tmp_path):
    wanted = recipe(steps=5, embed_epochs=2, ema=0.0)
    plain = train(recipe(steps=5, ema=0.0), out=tmp_path / "a" / "plain")
    ahead = train(wanted, out=tmp_path / "a" / "ahead")
    losses = [[float(r["loss"]) for r in rows(tmp_path / "a" / n)] for n in ("plain", "ahead")]
    assert losses[1][:4] == pytest.approx(losses[0][:4], rel=2e-2)  # 2 epochs: the same crops
    assert losses[1] != losses[0]  # fp16
    assert ahead.metrics["trained_parameters"] == plain.metrics["trained_parameters"]
    cut = tmp_path / "b" / "cut"
    for job, resume in (("Embedding", False), ("Training", True)):
        with pytest.raises(PowerCutError):
            train(wanted, out=cut, resume=resume, progress=FailAfter(job, 2))
    train(wanted, out=cut, resume=True)
    assert rows(cut) == rows(tmp_path / "a" / "ahead")
    stored = list((tmp_path / "a" / FOLDER).iterdir())
    assert len(stored) == 1
    train(recipe(steps=1, embed_epochs=2), out=tmp_path / "a" / "again")
    assert list((tmp_path / "a" / FOLDER).iterdir()) == stored  # shared with other runs


@pytest.mark.parametrize(
    ("model", "match"),
    [
        ({"options": {"peft": "lora"}}, r"tensors are trained, 'sam\.encoder.*or train the dec"),
        ({"architecture": "fpn", "init": "none", "options": {}}, "architecture 'fpn' has none"),
    ],
)
def test_an_encoder_that_is_trained_cannot_be_embedded_ahead(recipe, tmp_path, model, match):
    with pytest.raises(RecipeError, match=match):
        train(recipe(model, embed_epochs=1), out=tmp_path / "run")


class Shift(torch.nn.Module):
    """An encoder that adds one, and counts what it is asked for."""

    encoder_names = frozenset({"shift"})
    trained = frozenset()

    def __init__(self):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.ones(1))
        self.asked = 0

    def encode(self, pixels):
        assert not self.training
        self.asked += len(pixels)
        return pixels + self.shift

    def decode(self, embedding, size):
        raise NotImplementedError


class Counter:
    def __init__(self):
        self.done = 0

    def start(self, label, total):
        self.total = total

    def advance(self, n=1):
        self.done += n

    def finish(self):
        assert self.done == self.total


def test_later_epochs_meet_the_crops_of_the_first_in_a_new_order(recipe, tmp_path):
    rng = np.random.default_rng(0)
    samples = [
        Sample(
            rng.normal(size=(2, 40, 50)).astype(np.float32), np.full((40, 50), n, np.uint8), str(n)
        )
        for n in range(19)
    ]
    stream = CropStream(samples, CropPlan(32, 3, recipe().augment))
    network = Shift().train()
    embed_crops(stream, network, tmp_path, epochs=2, batch=5, progress=Counter())
    assert network.asked == 38
    assert network.training
    embed_crops(stream, network, tmp_path, epochs=2, batch=5, progress=Counter())
    assert network.asked == 38  # all there
    found = EmbeddedStream(stream, tmp_path, epochs=2)
    for n in range(38):
        pixels, label = stream[n]
        torch.testing.assert_close(found[n][0], pixels + 1, atol=4e-3, rtol=0)
        assert torch.equal(found[n][1], label)
    first = {int(found[n][1][0, 0]): found[n][0] for n in range(19, 38)}
    order = [int(found[n][1][0, 0]) for n in range(57, 76)]  # epoch 3 is epoch 1 again
    assert sorted(order) == list(range(19))
    assert order == [stream.chip_of(n) for n in range(57, 76)]
    assert order != [stream.chip_of(n) for n in range(19, 38)]
    assert all(torch.equal(found[57 + i][0], first[chip]) for i, chip in enumerate(order))
    broken = next(tmp_path.glob("epoch0001-00001*"))
    broken.write_bytes(broken.read_bytes()[:50])
    embed_crops(stream, network, tmp_path, epochs=2, batch=5, progress=Counter())
    assert network.asked == 41  # three crops in that file


def test_chips_that_changed_are_embedded_anew(recipe, raw_dataset, tmp_path):
    network = build_network("sam-tiny", ("red", "green", "blue"), 1, {})
    chips = open_dataset(raw_dataset).chips(None)
    one = embedding_folder(tmp_path / "run", recipe(), network, "inputs", chips)
    assert one.parent == tmp_path / FOLDER
    assert embedding_folder(tmp_path / "b", recipe(), network, "inputs", chips) == one
    assert embedding_folder(tmp_path / "b", recipe(), network, "other", chips) != one
    assert embedding_folder(tmp_path / "b", recipe(), network, "inputs", chips[:3]) != one
    assert embedding_folder(tmp_path / "b", recipe(crop_px=64), network, "inputs", chips) != one
    with torch.no_grad():
        next(network.sam.encoder.parameters()).view(-1)[0] += 1
    assert embedding_folder(tmp_path / "b", recipe(), network, "inputs", chips) != one


def test_class_weights_can_be_measured(recipe, tmp_path):
    wanted = recipe(steps=1)
    loss = wanted.loss.model_copy(update={"balance": "sqrt-inverse-frequency"})
    bundle = train(wanted.model_copy(update={"loss": loss}), out=tmp_path / "run").bundle
    found = read_spec(bundle).training["recipe"]["loss"]
    weights = found["options"]["class_weights"]
    assert weights[1] > weights[0] > 0  # the squares are the rarer class
    assert found["balance"] == "none"
    with pytest.raises(RecipeError, match="give one of the two"):
        parse_recipe(
            {"loss": {"balance": "sqrt-inverse-frequency", "options": {"class_weights": [1, 2]}}},
            source="test",
        )
