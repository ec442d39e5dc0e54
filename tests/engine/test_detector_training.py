"""Detectors trained on drawn photographs: samples, resuming, bundles, what is refused."""

import json

import numpy as np
import pytest
import torch

from headframe.core.errors import (
    BundleError,
    DatasetError,
    MissingFileError,
    OutputError,
    RecipeError,
    UnknownNameError,
)
from headframe.engine.detector_bundle import DESCRIPTION, WEIGHTS, read_detector, save_detector
from headframe.engine.detector_data import (
    DetectorSamples,
    build_prepare,
    stretched,
    views_in_light,
    without_crowds,
)
from headframe.engine.detector_recipe import (
    DetectorAugmentSection,
    DetectorRecipe,
    LightSection,
    load_detector_recipe,
)
from headframe.engine.detector_training import read_parts, train_detector
from headframe.engine.recipe_file import parse_as

OPTIONS = {"channels": 8, "frozen_norm": False, "min_px": 48, "max_px": 64, "anchor_px": 8,
           "proposals": 20, "sampled": 16}  # fmt: skip


@pytest.fixture
def folder(squares):
    return squares


def recipe(folder, **changes):
    value = {
        "name": "tiny",
        "detector": {"options": OPTIONS, "init": "none"},
        "photographs": {
            "sources": [str(folder)],
            "categories": ["person"],
            "short_side_px": 48,
            "fold": {"index": 1, "of": 3},
        },
        "light": {"train": [1.0, 0.1], "test": [1.0, 0.1], "variants": 2},
        "train": {"steps": 4, "batch": 2, "checkpoint_every": 2, "lr": 1e-3},
    }
    for key, section in changes.items():
        value[key] = {**value[key], **section} if isinstance(section, dict) else section
    return parse_as(DetectorRecipe, value, source="test")


def test_photographs_are_divided_whole(folder):
    parts = read_parts(recipe(folder).photographs)
    assert (len(parts.train), len(parts.test)) == (4, 2)
    names = {p.name for p in parts.train} | {p.name for p in parts.test}
    assert len(names) == 6
    everything = recipe(folder, photographs={"fold": None, "more": [str(folder)]})
    assert len(read_parts(everything.photographs).train) == 12
    with pytest.raises(DatasetError, match="names no photographs"):
        read_parts(recipe(folder, photographs={"sources": []}).photographs)
    with pytest.raises(DatasetError, match="fold 3 of 3: count from 0"):
        read_parts(recipe(folder, photographs={"fold": {"index": 3, "of": 3}}).photographs)


def test_labels_may_lie_elsewhere_than_their_photographs(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    labels = (folder / "instances.json").rename(tmp_path / "elsewhere" / "labels.json")
    where = {"sources": [str(labels)], "images": str(folder / "images"), "fold": None}
    assert len(read_parts(recipe(folder, photographs=where).photographs).train) == 6
    with pytest.raises(MissingFileError, match="elsewhere"):
        read_parts(recipe(folder, photographs={**where, "images": None}).photographs)


def test_a_sample_is_a_function_of_its_number(folder):
    photographs = read_parts(recipe(folder, photographs={"fold": None}).photographs).train
    light = LightSection(train=(1.0, 0.03), variants=3, pairs=True)

    def samples(seed=0):
        return DetectorSamples(
            [without_crowds(p) for p in photographs],
            light=light,
            augment=DetectorAugmentSection(zoom=1.5, gain=0.2),
            prepare=build_prepare("stretch"),
            seed=seed,
        )

    first, second, other = samples(), samples(), samples(seed=1)
    assert len(first) == 18
    for number in (0, 7, 18, 41):
        one, two = first[number], second[number]
        assert torch.equal(one.image, two.image)
        assert torch.equal(one.target.masks, two.target.masks)
        assert one.image.shape == one.clean.shape
        assert one.target.masks.shape[1:] == one.image.shape[1:]
        assert (one.target.boxes[:, 2:] > one.target.boxes[:, :2]).all()
        assert 0 <= float(one.image.min()) <= float(one.image.max()) <= 1
    assert any(
        a.image.shape != b.image.shape or not torch.equal(a.image, b.image)
        for a, b in ((first[n], other[n]) for n in range(4))
    )
    # the object's colour is where its mask is, whatever was cut and mirrored
    inside = [s.clean[:, s.target.masks[0]] for s in map(first.__getitem__, range(18))
              if len(s.target.masks)]  # fmt: skip
    assert len(inside) > 12
    assert all(float(values[0].mean()) > 0.7 and float(values[2].mean()) < 0.5 for values in inside)


def test_without_crowds(folder):
    parts = read_parts(recipe(folder, photographs={"fold": None}).photographs)
    first = parts.train[0]
    assert first.crowd.tolist() == [False, True]
    assert without_crowds(first).crowd.tolist() == [False]
    assert without_crowds(parts.train[1]) is parts.train[1]


def test_lights_of_the_test_do_not_change(folder):
    photographs = read_parts(recipe(folder).photographs).test
    views = views_in_light(photographs, LightSection(test=(1.0, 0.03)))
    assert list(views) == [1.0, 0.03]
    assert views[1.0][0] is photographs[0]
    again = views_in_light(photographs, LightSection(test=(0.03,), train=(0.5,)))
    np.testing.assert_array_equal(views[0.03][1].image, again[0.03][1].image)


def test_stretching_by_hand():
    ramp = np.linspace(0.1, 0.3, 300, dtype=np.float32).reshape(3, 10, 10)
    values = stretched(ramp)
    assert (values.min(), values.max()) == (0, 1)
    low, high = 0.1 + 0.2 * 0.01, 0.1 + 0.2 * 0.99
    np.testing.assert_allclose(values[1, 5, 0], (ramp[1, 5, 0] - low) / (high - low), atol=1e-5)
    assert (stretched(np.full((3, 4, 4), 0.2, np.float32)) == 0).all()


def test_a_stopped_run_goes_on_to_the_same_weights(folder, tmp_path, monkeypatch):
    whole = train_detector(recipe(folder), out=tmp_path / "whole", accelerator="cpu")
    assert whole["steps"] == 4
    assert whole["photographs"] == 4
    calls = 0
    get = DetectorSamples.__getitem__

    def breaking(self, number):
        nonlocal calls
        calls += 1
        if calls > 6:
            raise KeyboardInterrupt
        return get(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(DetectorSamples, "__getitem__", breaking)
        with pytest.raises(KeyboardInterrupt):
            train_detector(recipe(folder), out=tmp_path / "cut", accelerator="cpu")
    with pytest.raises(OutputError, match="holds a run already"):
        train_detector(recipe(folder), out=tmp_path / "cut")
    with pytest.raises(RecipeError, match="begun with another recipe"):
        train_detector(recipe(folder, train={"lr": 0.5}), out=tmp_path / "cut", resume=True)
    train_detector(recipe(folder), out=tmp_path / "cut", resume=True, accelerator="cpu")
    one, two = (read_detector(tmp_path / name).network.state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    log = [(tmp_path / n / "metrics.csv").read_text() for n in ("whole", "cut")]
    assert log[0] == log[1]
    again = train_detector(recipe(folder), out=tmp_path / "cut", resume=True)
    assert again == json.loads((tmp_path / "cut" / "result.json").read_text())


@pytest.mark.parametrize(
    "changes", [{"train": {"precision": "bf16-mixed"}}, {"light": {"pairs": 1}}]
)
def test_half_precision_and_pairs_train(folder, tmp_path, changes):
    found = train_detector(recipe(folder, **changes), out=tmp_path / "run", accelerator="cpu")
    assert found["steps"] == 4
    weights = read_detector(tmp_path / "run").network.state_dict().values()
    assert all(torch.isfinite(value).all() for value in weights)


def test_training_goes_on_from_a_run(folder, tmp_path):
    train_detector(recipe(folder), out=tmp_path / "first", accelerator="cpu")
    more = {"options": OPTIONS, "init": str(tmp_path / "first")}
    on = recipe(folder, detector=more, train={"steps": 1, "lr": 1e-9})
    train_detector(on, out=tmp_path / "more", accelerator="cpu")
    one, two = (read_detector(tmp_path / n).network for n in ("first", "more"))
    name, weight = next(iter(one.named_parameters()))
    torch.testing.assert_close(weight, dict(two.named_parameters())[name], atol=1e-4, rtol=0)
    other = recipe(folder, detector=more, photographs={"categories": ["person", "person"]})
    with pytest.raises(RecipeError, match="is a maskrcnn of person; the recipe has"):
        train_detector(other, out=tmp_path / "other")


def test_a_bundle_comes_back_and_damage_is_named(folder, tmp_path):
    train_detector(recipe(folder), out=tmp_path / "run", accelerator="cpu")
    bundle = read_detector(tmp_path / "run")
    assert bundle.categories == ("person",)
    assert bundle.prepare == "stretch"
    image = torch.rand(3, 48, 56)
    (found,) = bundle.detector.detect([image])
    save_detector(bundle, tmp_path / "copy")
    (again,) = read_detector(tmp_path / "copy").detector.detect([image])
    np.testing.assert_array_equal(found.boxes, again.boxes)
    with pytest.raises(MissingFileError, match="so it is no detector"):
        read_detector(tmp_path)
    path = tmp_path / "copy" / DESCRIPTION
    told = json.loads(path.read_text())
    for change, message in (
        ({"format": 2}, "format: Input should be 1"),
        ({"options": {**OPTIONS, "chanels": 8}}, "no option 'chanels'; the closest is 'channels'"),
        ({"architecture": "yolo"}, "unknown detector 'yolo'"),
        ({"categories": ["a", "b"]}, "does not fit its description"),
    ):
        path.write_text(json.dumps({**told, **change}))
        with pytest.raises(BundleError, match=message):
            read_detector(tmp_path / "copy")
    path.write_text(json.dumps(told))
    (tmp_path / "copy" / WEIGHTS).write_bytes(b"no")
    with pytest.raises(BundleError, match=WEIGHTS):
        read_detector(tmp_path / "copy")


def test_recipes_that_cannot_be(folder, tmp_path):
    with pytest.raises(RecipeError, match="a light is 0"):
        recipe(folder, light={"train": [0.0]})
    with pytest.raises(RecipeError, match="at least one light"):
        recipe(folder, light={"test": []})
    path = tmp_path / "a.yaml"
    path.write_text("photographs: {categories: [person], fold: {indx: 1}}\n")
    with pytest.raises(RecipeError, match=r"'photographs.fold.indx'; the closest is 'index'"):
        load_detector_recipe(path)
    with pytest.raises(RecipeError, match=r"train\.lr"):
        recipe(folder).with_train(lr=-1)
    assert recipe(folder).with_photographs(short_side_px=64).photographs.short_side_px == 64
    with pytest.raises(UnknownNameError, match="unknown enhancer 'clake'"):
        build_prepare("clake")
