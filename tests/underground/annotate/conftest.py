"""Photographs of bright blocks, labels of some of them, and networks that see bright blocks."""

from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from headframe.core.detections import Detections
from headframe.datasets.coco import write_coco
from headframe.datasets.instances import InstanceSet, LabelledImage, Region
from headframe.io.images import write_image
from headframe.underground.annotate import candidates, figures, stages
from headframe.underground.annotate.material import Sources
from headframe.underground.annotate.plan import load_annotate_plan
from headframe.underground.annotate.run import AnnotateRecipes, annotate

SIZE = (48, 66)
BLOCKS = {"large": (8, 6, 22, 14), "small": (30, 44, 9, 7)}
"""Top, left, height, width: a sure object, and one that the networks doubt."""


def photograph(number, blocks=tuple(BLOCKS)):
    pixels = np.random.default_rng(number).integers(10, 40, (*SIZE, 3), dtype=np.uint8)
    for name in blocks:
        top, left, tall, wide = BLOCKS[name]
        left += number % 3
        pixels[top : top + tall, left : left + wide] = (220, 210, 190)
    return pixels


def ring(name, number):
    top, left, tall, wide = BLOCKS[name]
    left += number % 3
    corners = (left, top), (left + wide, top), (left + wide, top + tall), (left, top + tall)
    return tuple((float(x), float(y)) for x, y in corners)


def coco(path, numbers, *, folder="hand", blocks=tuple(BLOCKS), categories=("person", "road")):
    images = tuple(
        LabelledImage(
            f"{folder}{n}/{n}.png", *SIZE, tuple(Region("person", (ring(b, n),)) for b in blocks)
        )
        for n in numbers
    )
    labels = InstanceSet(images, {name: at for at, name in enumerate(categories, start=1)})
    write_coco(labels, path)
    return path


@pytest.fixture
def scene(tmp_path):
    """Four photographs labelled by hand in folders of their own, three that are not, and a plan."""
    for number in range(4):
        write_image(tmp_path / "images" / f"hand{number}" / f"{number}.png", photograph(number))
    for number, blocks in ((4, ("large", "small")), (5, ("large",)), (6, ())):
        write_image(tmp_path / "images" / "rest" / f"{number}.png", photograph(number, blocks))
    manual = coco(tmp_path / "manual.json", range(4))
    recipe = {"photographs": {"categories": ["person"], "short_side_px": 48}, "prepare": "none"}
    for name in ("detector", "sam"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(recipe))

    def plan(**changes):
        told = {"detector": "detector.yaml", "sam": "sam.yaml", "hold": {"of": 2}, **changes}
        (tmp_path / "plan.yaml").write_text(yaml.safe_dump(told))
        return AnnotateRecipes(*load_annotate_plan(tmp_path / "plan.yaml"))

    def run(*, prompts=None, reviewed=None, out="out", **changes):
        sources = Sources(tmp_path / "images", manual, prompts, reviewed)
        return annotate(sources, plan(**changes), out=tmp_path / out, accelerator="cpu")

    return SimpleNamespace(
        root=tmp_path, images=tmp_path / "images", manual=manual, plan=plan, run=run,
        out=tmp_path / "out", coco=coco, photograph=photograph, ring=ring,
    )  # fmt: skip


def answer(network, pixels, detected, *, classes=True):
    """Answer as a SAM that draws what is bright in a box, and doubts small boxes."""
    network.asked.append(detected.boxes.tolist())
    bright = pixels.mean(axis=0) > 0.5
    logits = np.full((len(detected), *bright.shape), -4, np.float32)
    for plane, (x0, y0, x1, y1) in zip(logits, np.rint(detected.boxes).astype(int), strict=True):
        plane[y0:y1, x0:x1] = np.where(bright[y0:y1, x0:x1], 4, -4)
    area = np.prod(detected.boxes[:, 2:] - detected.boxes[:, :2], axis=1)
    expected = np.where(area > 150, 0.95, 0.83).astype(np.float32)
    return Detections(detected.boxes, detected.labels, expected, logits > 0, logits)


@pytest.fixture
def networks(monkeypatch, blob_chain):
    """Fake the trainings, and put a finder of bright blocks and ``answer`` in their place."""
    told = SimpleNamespace(trained=[], loaded=0, asked=[], stop_at=None)
    finder = blob_chain(score=0.9).detector

    def train(kind):
        def run(recipe, *, out, **more):
            told.trained.append((kind, recipe))
            out.mkdir(parents=True)
            (out / "result.json").write_text("{}")

        return run

    def load(self, networks):
        told.loaded += 1
        return finder, told

    def asked(network, pixels, detected, *, classes=True):
        if told.stop_at is not None and len(told.asked) >= told.stop_at:
            raise KeyboardInterrupt
        return answer(network, pixels, detected, classes=classes)

    monkeypatch.setattr(stages, "train_detector", train("detector"))
    monkeypatch.setattr(stages, "train_box_sam", train("sam"))
    monkeypatch.setattr(stages.Workshop, "load", load)
    monkeypatch.setattr(candidates, "answer_boxes", asked)
    monkeypatch.setattr(figures, "mean_iou", lambda *args: {"1": 0.75})
    told.finder = finder
    return told
