"""Runs that are watched: the same run, what was measured, resumed; epochs; sources held out."""

import pytest
import torch

from headframe.core.errors import RecipeError
from headframe.engine import detector_training
from headframe.engine.detector_bundle import read_detector
from headframe.engine.detector_recipe import DetectorRecipe, EpochSection
from headframe.engine.detector_training import read_parts, train_detector
from headframe.engine.recipe_file import parse_as
from headframe.engine.validation import MEASURES, ValidationLog, Watch, read_validation

OPTIONS = {"channels": 8, "frozen_norm": False, "min_px": 48, "max_px": 64, "anchor_px": 8,
           "proposals": 20, "sampled": 16}  # fmt: skip


def recipe(folder, **changes):
    value = {
        "name": "tiny",
        "detector": {"options": OPTIONS, "init": "none"},
        "photographs": {"sources": [str(folder)], "categories": ["person"], "short_side_px": 48},
        "light": {"train": [1.0], "test": [1.0], "variants": 1},
        "train": {"steps": 5, "batch": 2, "checkpoint_every": 2, "lr": 1e-3},
    }
    for key, section in changes.items():
        value[key] = value[key] | section
    return parse_as(DetectorRecipe, value, source="test")


def watching(detector):
    """Measure by looking, which must leave no trace in the run."""

    def measure():
        torch.rand(3)
        found = detector.detect([torch.rand(3, 48, 56, generator=torch.Generator())])
        return {"tiny": dict.fromkeys(MEASURES, float(len(found[0]) >= 0))}

    return Watch(2, measure)


def test_a_watched_run_is_the_same_run(squares, tmp_path, monkeypatch):
    train_detector(recipe(squares), out=tmp_path / "a", accelerator="cpu")
    assert read_validation(tmp_path / "a") == []
    learn = detector_training._DetectorRun.learn

    def killed(self, batch):
        if self.step == 3:
            raise KeyboardInterrupt
        return learn(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(detector_training._DetectorRun, "learn", killed)
        with pytest.raises(KeyboardInterrupt):
            train_detector(
                recipe(squares), out=tmp_path / "b", accelerator="cpu", watching=watching
            )
    assert [row.step for row in read_validation(tmp_path / "b")] == [2]
    ValidationLog(tmp_path / "b", read_validation(tmp_path / "b")).add(
        3, {"tiny": dict.fromkeys(MEASURES, 0.0)}
    )  # a measurement that the checkpoint of step 2 knows nothing of
    train_detector(
        recipe(squares), out=tmp_path / "b", resume=True, accelerator="cpu", watching=watching
    )
    rows = read_validation(tmp_path / "b")
    assert [(row.step, row.method, row.values["iou"]) for row in rows] == [
        (2, "tiny", 1.0), (4, "tiny", 1.0), (5, "tiny", 1.0)
    ]  # fmt: skip
    ours, theirs = (read_detector(tmp_path / n).network.state_dict() for n in "ab")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_epochs_decide_steps():
    section = EpochSection(epochs=80, batch=4)
    assert section.for_photographs(510).steps == 10200
    assert section.for_photographs(3).steps == 60
    assert EpochSection(steps=7).for_photographs(510).steps == 7


def test_steps_that_are_asked_for_replace_epochs(squares):
    asked = recipe(squares, train={"epochs": 3})
    assert asked.with_train(seed=1).train.epochs == 3
    assert asked.with_train(steps=2).train.for_photographs(100).steps == 2


def test_photographs_that_come_divided(squares):
    section = {"held": [str(squares)], "most": 4}
    parts = read_parts(recipe(squares, photographs=section).photographs)
    assert [len(parts.train), len(parts.test)] == [4, 4]
    assert [p.name for p in parts.test] == ["0.png", "1.png", "3.png", "4.png"]
    with pytest.raises(RecipeError, match="give held or fold, not both"):
        recipe(squares, photographs=section | {"fold": {"index": 0, "of": 2}})
