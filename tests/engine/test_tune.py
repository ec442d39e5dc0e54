"""The search itself, with a training that only says how good it is."""

import csv
import logging
from types import SimpleNamespace

import pytest

from headframe.core.errors import DatasetError, JobError, OutputError, RecipeError
from headframe.core.progress import SILENT
from headframe.engine import tune as module
from headframe.engine.recipe import load_recipe, parse_recipe, save_recipe
from headframe.engine.samples import Parts
from headframe.engine.space import make_space
from headframe.engine.training import TrainResult
from headframe.engine.tune import ON_TEST, TunePlan, tune

LRS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


class FakeTraining:
    """Leaves the files of a run; its IoU is the learning rate."""

    def __init__(self):
        self.calls = []
        self.mishaps = {}

    def __call__(self, recipe, *, out, resume, hardware, progress, watch):
        lr = recipe.train.lr
        self.calls.append((out.name, resume, hardware.devices, watch.part))
        if not resume:
            save_recipe(recipe, out / "recipe.yaml")
        (out / "checkpoint.pt").write_text("state")
        if mishap := self.mishaps.pop(lr, None):
            raise mishap
        watch.seen(1, 20, lr / 2)
        watch.seen(10, 20, lr / 2)
        watch.seen(20, 20, lr)
        (out / "bundle").mkdir(exist_ok=True)
        (out / "bundle" / "model.json").write_text("{}")
        return TrainResult(out / "bundle", {"seconds": 1.5, watch.measure: lr})


@pytest.fixture
def training(monkeypatch):
    fake = FakeTraining()
    monkeypatch.setattr(module, "train", fake)
    return fake


@pytest.fixture
def parts(monkeypatch):
    """The parts of a data set that is not there; a test may change them."""
    held = {"parts": Parts(train=(1,), validation=(2,), test=(3,))}
    dataset = SimpleNamespace(root="DS", identifier="id-1")
    monkeypatch.setattr(module, "open_labelled", lambda data: dataset)
    monkeypatch.setattr(module, "choose_parts", lambda dataset, data: held["parts"])
    return held


@pytest.fixture
def search(tmp_path, parts, training):
    def run(trials=6, lrs=LRS, data=None, out="out", **changes):
        value = {"name": "base", "data": {"dataset": "DS", **(data or {})}, "train": {"steps": 20}}
        plan = TunePlan(
            space=make_space({"train.lr": lrs}, source="space.yaml"),
            trials=trials,
            storage=f"sqlite:///{tmp_path / 'tune.db'}",
            **changes,
        )
        recipe = parse_recipe(value, source="base.yaml")
        return tune(recipe, plan=plan, out=tmp_path / out, progress=SILENT)

    return run


def table(tmp_path):
    with (tmp_path / "out" / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_best_recipe_is_found_and_written(search, training, tmp_path):
    result = search()
    assert (result.value, result.params) == (0.6, {"train.lr": 0.6})
    assert result.states["fail"] == 0
    best = load_recipe(result.best)
    assert (best.name, best.train.lr, best.train.steps) == ("base-tuned", 0.6, 20)
    rows = table(tmp_path)
    assert sorted(float(row["train.lr"]) for row in rows) == LRS
    assert float(rows[result.trial]["validation_iou"]) == 0.6
    assert {part for *_, part in training.calls} == {"validation"}
    assert {devices for _, _, devices, _ in training.calls} == {"1"}
    folders = sorted((tmp_path / "out" / "trials").iterdir())
    assert len(folders) == 6
    assert not list(tmp_path.rglob("checkpoint.pt"))
    assert [f.name for f in folders if (f / "bundle").is_dir()] == [f"{result.trial:04d}"]
    assert (tmp_path / "out" / "history.png").stat().st_size > 5000
    again = search()
    assert len(training.calls) == 6  # nothing is left to do
    assert again == result


def test_a_stopped_search_goes_on_where_it_was(search, training):
    training.mishaps = {lr: KeyboardInterrupt() for lr in LRS[:1]}
    with pytest.raises(KeyboardInterrupt):
        search()
    stopped = training.calls[-1][0]
    result = search()
    assert sum(result.states.values()) == 6
    assert [call[:2] for call in training.calls if call[0] == stopped] == [
        (stopped, False),
        (stopped, True),
    ]


def test_a_failed_trial_counts_and_is_named(search, training, tmp_path):
    training.mishaps = {0.6: JobError("the loss is nan"), 0.5: MemoryError()}
    result = search()
    assert result.states["fail"] == 2
    assert result.value == 0.4
    errors = {row["train.lr"]: row["error"] for row in table(tmp_path) if row["state"] == "fail"}
    assert errors == {"0.6": "the loss is nan", "0.5": "MemoryError"}


def test_when_all_fail_the_search_stops(search, training):
    training.mishaps = {lr: RecipeError(f"no weights for {lr}") for lr in LRS}
    with pytest.raises(JobError, match="the first 5 trials failed, the last with: no weights"):
        search()


def test_a_trial_without_target_fails(search, training, monkeypatch):
    def blind(recipe, **options):
        result = training(recipe, **options)
        if recipe.train.lr < 0.2:
            result.metrics.update(validation_iou=float("nan"))
        return result

    monkeypatch.setattr(module, "train", blind)
    result = search(2, [0.1, 0.5])
    assert result.states == {"complete": 1, "pruned": 0, "fail": 1}


def test_trials_behind_the_median_are_stopped(search, training, tmp_path):
    lrs = [round(0.9 - 0.05 * k, 2) for k in range(12)]
    result = search(12, lrs)
    pruned = [row for row in table(tmp_path) if row["state"] == "pruned"]
    assert len(pruned) == result.states["pruned"] > 0
    for row in pruned:
        assert float(row["validation_iou"]) == pytest.approx(float(row["train.lr"]) / 2)
    assert result.value == 0.9
    assert result.importance == {"train.lr": 1.0}
    assert (tmp_path / "out" / "importance.png").stat().st_size > 3000


def test_as_the_paper_did_it(search, training, tmp_path, caplog):
    search(3)
    with caplog.at_level(logging.WARNING, logger="headframe"):
        result = search(3, as_paper=True, out="on-test")
    assert result.as_paper
    assert result.measure == "test_iou"
    assert training.calls[-1][-1] == "test"
    assert "CHOSEN ON TEST" in caplog.text
    assert f"# {ON_TEST}" in result.best.read_text()
    load_recipe(result.best)
    studies = module.optuna.get_all_study_summaries(f"sqlite:///{tmp_path / 'tune.db'}")
    told = {study.study_name: study.user_attrs["objective"] for study in studies}
    assert told == {"base": "IoU on the validation part", "base-on-test": ON_TEST}


def test_a_fold_that_is_held_out_can_be_chosen_by(search, parts, training):
    parts["parts"] = Parts(train=(1,), validation=(), test=(3,))
    result = search(2, data={"fold": {"index": 1, "of": 4}})
    assert result.measure == "validation_iou"
    assert training.calls[-1][-1] == "test"
    assert "IoU on fold 1 of 4, held out" in result.best.read_text()
    with pytest.raises(RecipeError, match=r"the recipe has data\.fold"):
        search(2, data={"fold": {"index": 1, "of": 4}}, as_paper=True)


def test_nothing_to_choose_by(search, parts):
    parts["parts"] = Parts(train=(1,), validation=(), test=())
    with pytest.raises(DatasetError, match="DS: no validation part to choose by"):
        search()
    with pytest.raises(DatasetError, match="DS: no chip in split test"):
        search(as_paper=True)


def test_a_small_space_is_tried_out(search, caplog):
    with caplog.at_level(logging.WARNING, logger="headframe"):
        result = search(50, [0.1, 0.3])
    assert "space.yaml has 2 combinations; all are tried, not 50" in caplog.text
    assert sum(result.states.values()) == 2


def test_another_data_set_is_another_study(search, parts, monkeypatch):
    search(1)
    other = SimpleNamespace(root="DS", identifier="id-2")
    monkeypatch.setattr(module, "open_labelled", lambda data: other)
    with pytest.raises(RecipeError, match="another dataset"):
        search(2)


def test_runs_of_another_study_are_not_written_over(search):
    search(1)
    with pytest.raises(OutputError, match="trials: holds runs of another study than base-on-test"):
        search(1, as_paper=True)
