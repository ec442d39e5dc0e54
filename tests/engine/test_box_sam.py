"""SAMs told boxes: samples, embeddings kept, targets, training, resuming, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from headframe.core.errors import DatasetError, OutputError, RecipeError
from headframe.datasets.coco import write_coco
from headframe.datasets.instances import InstanceSet, LabelledImage, Region
from headframe.engine import box_sam as module
from headframe.engine import box_sam_data
from headframe.engine.box_sam import box_sam_loss, train_box_sam
from headframe.engine.box_sam_bundle import build_box_sam, read_box_sam
from headframe.engine.box_sam_data import BoxSamples, BoxSampling, Store, targets
from headframe.engine.box_sam_recipe import (
    BoxSamRecipe,
    SamLossSection,
    load_box_sam_recipe,
    save_box_sam_recipe,
)
from headframe.engine.detector_data import build_prepare, without_crowds
from headframe.engine.detector_recipe import LightSection
from headframe.engine.detector_training import read_parts
from headframe.engine.prompting.boxes import frame_photograph
from headframe.engine.recipe_file import parse_as


@pytest.fixture
def folder(tmp_path):
    """Four photographs, a bright ellipse and a bright box on each, and one without objects."""
    rng = np.random.default_rng(1)
    (tmp_path / "data" / "images").mkdir(parents=True)
    images = []
    for number in range(5):
        pixels = rng.integers(20, 60, (48, 60, 3), dtype=np.uint8)
        regions = []
        if number < 4:
            top, left = int(rng.integers(4, 16)), int(rng.integers(2, 10))
            pixels[top : top + 24, left : left + 14] = (220, 200, 60)
            pixels[6:20, 40:56] = (90, 210, 220)
            for name, (x, y, w, h) in (("person", (left, top, 14, 24)), ("road", (40, 6, 16, 14))):
                ring = ((x, y), (x + w, y), (x + w, y + h), (x, y + h))
                regions.append(Region(name, rings=(ring,)))
        Image.fromarray(pixels).save(tmp_path / "data" / "images" / f"{number}.png")
        images.append(LabelledImage(f"{number}.png", 48, 60, tuple(regions)))
    labels = InstanceSet(tuple(images), {"person": 1, "road": 2})
    write_coco(labels, tmp_path / "data" / "instances.json")
    return tmp_path / "data"


def recipe(folder, **changes):
    value = {
        "name": "tiny",
        "sam": {"base": "tiny"},
        "photographs": {
            "sources": [str(folder)],
            "categories": ["person", "road"],
            "short_side_px": 48,
        },
        "light": {"train": [1.0, 0.1], "test": [1.0, 0.03], "variants": 2},
        "train": {"steps": 4, "batch": 2, "checkpoint_every": 2, "lr": 1e-3},
    }
    for key, section in changes.items():
        value[key] = {**value[key], **section} if isinstance(section, dict) else section
    return parse_as(BoxSamRecipe, value, source="test")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_box_sam(2, base="tiny")[0].eval()


@pytest.fixture
def make(folder, network, tmp_path):
    """Give a function that embeds the photographs into a folder."""
    found = read_parts(recipe(folder).photographs).train

    def build(*, key="k", variants=2, seed=0, boxes=8, photographs=found):
        return BoxSamples(
            [without_crowds(p) for p in photographs],
            network,
            prepare=build_prepare("stretch"),
            sampling=BoxSampling(LightSection(train=(1.0, 0.1), variants=variants), seed, boxes),
            store=Store(tmp_path / "store", key),
        )

    return build


def test_a_sample_is_a_function_of_its_number(make):
    samples = make()
    assert len(samples) == 8  # the photograph without objects teaches nothing
    for number in (0, 5, 8, 31):
        one, two = samples[number], make()[number]
        assert torch.equal(one.embedding, two.embedding)
        assert torch.equal(one.boxes, two.boxes)
        assert one.embedding.shape == (1, 256, 4, 4)
        assert one.boxes.shape == (2, 4)
        assert one.labels.tolist() == [1, 2]
        assert one.target.shape == (2, 13, 16)
    assert not torch.equal(samples[0].boxes, samples[8].boxes)
    assert {tuple(make(boxes=1)[n].labels.tolist()) for n in range(16)} == {(1,), (2,)}


def test_boxes_lie_around_their_targets(make):
    for number in range(8):
        sample = make()[number]
        for box, target in zip(sample.boxes, sample.target, strict=True):
            rows, cols = target.nonzero(as_tuple=True)
            inner = torch.stack([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]) * 4
            assert (box + 0.5 - inner).abs().max() < 10


def test_targets_are_where_the_logits_are(network):
    pixels = np.zeros((3, 40, 80), np.float32)
    masks = np.zeros((1, 40, 80), np.bool_)
    masks[0, 10:20, 40:80] = True
    frame = frame_photograph(pixels, network.sam)
    wanted = targets(masks, frame, cells=4)
    assert wanted.shape == (1, 8, 16)
    assert wanted[0, 2:4, 8:].all()
    assert wanted.sum() == 16


def test_photographs_are_embedded_once(make, network, monkeypatch, tmp_path):
    calls = []
    plain = type(network).encode

    def encode(self, frames):
        calls.append(len(frames))
        return plain(self, frames)

    monkeypatch.setattr(type(network), "encode", encode)
    first = make()[3].embedding
    assert len(calls) == 8
    make()
    assert len(calls) == 8
    record = tmp_path / "store" / box_sam_data.RECORD
    told = json.loads(record.read_text())
    assert told["done"] == 8
    record.write_text(json.dumps(told | {"done": 5}))  # a run killed after five
    again = make()[3].embedding
    assert len(calls) == 11
    assert torch.equal(first, again)
    make(key="another base")
    assert len(calls) == 19
    record.write_text("{")
    make()
    assert len(calls) == 27
    with pytest.raises(DatasetError, match="no photograph to learn from"):
        make(photographs=[])


def test_the_loss_by_hand(make, network):
    sample = make()[0]
    with torch.no_grad():
        logits, quality = network.decode(sample.embedding, sample.boxes, sample.labels)
        parts = [
            float(box_sam_loss(network, sample, SamLossSection(dice=d, quality=q)))
            for d, q in ((0, 0), (1, 0), (0, 1))
        ]
    seen, target = logits[:, :13, :16], sample.target
    plain = torch.nn.functional.binary_cross_entropy_with_logits(seen, target)
    assert parts[0] == pytest.approx(float(plain), abs=1e-5)
    soft = seen.sigmoid()
    overlap = 2 * (soft * target).sum((1, 2)) / (soft.sum((1, 2)) + target.sum((1, 2)))
    assert parts[1] - parts[0] == pytest.approx(float((1 - overlap).mean()), abs=1e-4)
    drawn = seen > 0
    iou = (drawn & (target > 0)).sum((1, 2)) / (drawn | (target > 0)).sum((1, 2)).clamp(min=1)
    assert parts[2] - parts[0] == pytest.approx(float((quality - iou).square().mean()), abs=1e-4)


def test_training_learns_and_resumes(folder, tmp_path, monkeypatch):
    told = recipe(folder, train={"steps": 30, "checkpoint_every": 10, "lr": 3e-3})
    whole = train_box_sam(told, out=tmp_path / "whole", accelerator="cpu")
    rows = (tmp_path / "whole" / "metrics.csv").read_text().splitlines()[1:]
    losses = [float(row.split(",")[1]) for row in rows]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert whole["steps"] == 30
    assert whole["photographs"] == 5
    bundle = read_box_sam(tmp_path / "whole")
    assert bundle.categories == ("person", "road")
    assert bundle.network.table.weight.any(dim=1).all()
    # killed after the first checkpoint
    plain = module._BoxSamRun._one_step

    def step(self, batch):
        if self.step == 13:
            raise KeyboardInterrupt
        plain(self, batch)

    monkeypatch.setattr(module._BoxSamRun, "_one_step", step)
    with pytest.raises(KeyboardInterrupt):
        train_box_sam(told, out=tmp_path / "cut", accelerator="cpu")
    monkeypatch.setattr(module._BoxSamRun, "_one_step", plain)
    with pytest.raises(OutputError, match="Add --resume"):
        train_box_sam(told, out=tmp_path / "cut")
    with pytest.raises(RecipeError, match="another recipe"):
        train_box_sam(recipe(folder), out=tmp_path / "cut", resume=True)
    train_box_sam(told, out=tmp_path / "cut", resume=True, accelerator="cpu")
    assert (tmp_path / "cut" / "metrics.csv").read_text().splitlines()[1:] == rows
    for name, value in read_box_sam(tmp_path / "cut").network.state_dict().items():
        assert torch.equal(value, bundle.network.state_dict()[name]), name
    again = train_box_sam(told, out=tmp_path / "cut", resume=True)
    assert again["steps"] == 30


def test_what_was_held_out_is_scored(folder, tmp_path):
    fold = {"fold": {"index": 0, "of": 3}}
    result = train_box_sam(
        recipe(folder, photographs=fold, train={"steps": 2}), out=tmp_path / "r", accelerator="cpu"
    )
    assert set(result["iou"]) == set(result["iou_of_base"]) == {"1", "0.03"}
    assert all(0 <= value <= 1 for value in result["iou"].values())
    assert read_box_sam(tmp_path / "r").metrics["iou"] == result["iou"]


def test_recipes(folder, tmp_path):
    told = recipe(folder)
    save_box_sam_recipe(told, tmp_path / "r.yaml")
    assert load_box_sam_recipe(tmp_path / "r.yaml") == told
    changed = told.with_photographs(sources=("elsewhere",))
    assert changed.photographs.sources == ("elsewhere",)
    with pytest.raises(RecipeError, match="peft"):
        recipe(folder, sam={"peft": "lora"})
    with pytest.raises(RecipeError, match="basse"):
        recipe(folder, sam={"basse": "tiny"})


def test_the_recipe_that_comes_with_headframe():
    root = Path(__file__).parents[2] / "recipes" / "dis-mine" / "person"
    told = load_box_sam_recipe(root / "sam.yaml")
    assert told.sam.base == "litemedsam"
    assert told.light.train == (1.0, 0.1, 0.03, 0.01)
