"""Looking for the best recipe: trials of one study, trained by any number of processes."""

import logging
import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import optuna
import torch
from optuna.trial import Trial, TrialState

from headframe.core.errors import (
    DatasetError,
    HeadframeError,
    JobError,
    MissingExtraError,
    OutputError,
    RecipeError,
)
from headframe.core.progress import SILENT, Progress
from headframe.engine.recipe import Recipe
from headframe.engine.run import CHECKPOINT
from headframe.engine.samples import choose_parts, open_labelled
from headframe.engine.space import Space, check_space
from headframe.engine.training import AUTO, RECIPE, Hardware, Watch, train
from headframe.engine.trials import SharedTrials, StudyPlan
from headframe.engine.tune_report import (
    BEST,
    HISTORY,
    IMPORTANCE,
    TABLE,
    Found,
    draw_history,
    draw_importance,
    write_best,
    write_table,
)

TRIALS = "trials"
ON_TEST = (
    "CHOSEN ON TEST: --as-paper takes the recipe with the highest IoU on the test part, as the "
    "paper did. That IoU says nothing about new images; score the recipe on data no trial has seen."
)
_POLL_S = 2.0
_FIRST_FAILURES = 5

_LOG = logging.getLogger("headframe")


@dataclass(frozen=True)
class TunePlan:
    """What is searched, how long, and where it is kept.

    Attributes:
        space: recipe keys and their values.
        trials: of the study in the end, by all processes together.
        storage: URL of the database that the processes share.
        seed: of the proposals; trainings take the recipe's own.
        as_paper: maximise the IoU on the test part.
    """

    space: Space
    trials: int
    storage: str
    seed: int = 0
    as_paper: bool = False


@dataclass(frozen=True)
class TuneResult:
    """What a study found.

    Attributes:
        best: the best recipe's file.
        measure: ``validation_iou`` or ``test_iou``.
        value: of the best trial.
        trial: its number, from 0.
        params: its combination, recipe keys to values.
        states: trials by their state (complete, pruned, fail).
        importance: share of each key in the spread, empty where there are too few trials.
        as_paper: whether the test part was maximised.
    """

    best: Path
    measure: str
    value: float
    trial: int
    params: dict[str, Any]
    states: dict[str, int]
    importance: dict[str, float]
    as_paper: bool


class _LostError(Exception):
    """Another worker has taken the trial over."""


@dataclass(frozen=True)
class _Objective:
    part: Literal["validation", "test"]
    measure: str
    words: str
    dataset: str


def tune(
    recipe: Recipe,
    *,
    plan: TunePlan,
    out: Path,
    hardware: Hardware = AUTO,
    progress: Progress = SILENT,
) -> TuneResult:
    """Train recipes of a space until the study has its trials, and write the best.

    Any number of processes may call this with the same recipe, plan and ``out``, at once or one
    after another; together they make exactly ``plan.trials`` trials and no combination twice. A
    trial whose process died is taken up by the next that comes, at its last checkpoint. Trials
    behind the median of the others at the same share of their runs are stopped early. A process
    that finds no trial left waits for those of the others, since one may die.

    ``out`` gets ``best.yaml``, ``trials.csv``, ``history.png``, ``importance.png`` and
    ``trials/NNNN``, the run folder of each trial without its checkpoint; only the best keeps its
    bundle.

    Args:
        recipe: what all trials have in common; it names the data set.
        plan: space, number of trials, storage.
        out: folder, shared by all processes of the study.
        hardware: Lightning's flags; one device a process.
        progress: told of the steps of each trial.

    Raises:
        RecipeError: a key or value that no recipe can have, or another study under this name.
        DatasetError: the data set has no part to choose by.
        OutputError: the storage or ``out`` cannot be used.
        JobError: the first five trials failed, or none finished.
    """
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    objective = _objective(recipe, as_paper=plan.as_paper)
    buildable = check_space(plan.space, recipe)
    for name, reason in buildable.refused.items():
        _LOG.info("left out, since it cannot be built: %s (%s)", name, reason)
    trials = plan.trials
    if buildable.possible is not None and buildable.possible < trials:
        trials = buildable.possible
        _LOG.warning(
            "%s has %d combinations; all are tried, not %d.",
            plan.space.source,
            trials,
            plan.trials,
        )
    if plan.as_paper:
        _LOG.warning(ON_TEST)
    study = StudyPlan(
        name=f"{recipe.name}-on-test" if plan.as_paper else recipe.name,
        space=plan.space.distributions,
        trials=trials,
        seed=plan.seed,
        settings={
            "space": plan.space.plain,
            "recipe": recipe.model_dump(mode="json", exclude={"output": True, "data": {"dataset"}}),
            "dataset": objective.dataset,
            "objective": ON_TEST if plan.as_paper else objective.words,
        },
        allowed=buildable,
    )
    shared = SharedTrials(plan.storage, study, lock_folder=out)
    with shared.lock:
        if not shared.rows() and any((out / TRIALS).glob("*")):
            raise OutputError(
                f"{out / TRIALS}: holds runs of another study than {study.name} in {plan.storage}. "
                "Choose another --out."
            )
    worker = _Worker(recipe, plan, objective, shared, out)
    worker.work(hardware, progress)
    return worker.result()


def _objective(recipe: Recipe, *, as_paper: bool) -> _Objective:
    """Which part of the data the trials are compared on.

    Raises:
        DatasetError: there is none.
    """
    dataset = open_labelled(recipe.data)
    parts = choose_parts(dataset, recipe.data)
    fold = recipe.data.fold
    if as_paper and fold is not None:
        raise RecipeError("--as-paper needs a test part; the recipe has data.fold. Take it out.")
    if as_paper and not parts.test:
        raise DatasetError(f"{dataset.root}: no chip in split test, which --as-paper maximises.")
    if as_paper:
        return _Objective("test", "test_iou", "IoU on the test part", dataset.identifier)
    if fold is not None and parts.test:
        words = f"IoU on fold {fold.index} of {fold.of}, held out"
        return _Objective("test", "validation_iou", words, dataset.identifier)
    if not parts.validation:
        raise DatasetError(
            f"{dataset.root}: no validation part to choose by. Run `headframe dataset split`, or "
            "give the recipe a data.fold (and no data.all_sites)."
        )
    words = "IoU on the validation part"
    return _Objective("validation", "validation_iou", words, dataset.identifier)


@dataclass(frozen=True)
class _Worker:
    recipe: Recipe
    plan: TunePlan
    objective: _Objective
    shared: SharedTrials
    out: Path

    def work(self, hardware: Hardware, progress: Progress) -> None:
        """Make trials until all of the study have ended."""
        waiting = False
        while True:
            trial = self.shared.claim()
            if trial is not None:
                waiting = False
                self._one_trial(trial, hardware, progress)
                self._tidy()
                continue
            left = len(self.shared.unfinished())
            if left == 0:
                return
            if not waiting:
                progress.start(f"Waiting for {left} trials of other processes", left)
                waiting = True
            time.sleep(_POLL_S)

    def _one_trial(self, trial: Trial, hardware: Hardware, progress: Progress) -> None:
        """Train one combination and settle its trial."""
        folder = self._folder(trial.number)
        with self.shared.holding(trial):
            try:
                result = train(
                    self.plan.space.recipe(self.recipe, trial.params),
                    out=folder,
                    resume=(folder / RECIPE).is_file(),
                    hardware=replace(hardware, devices="1"),
                    progress=_TrialProgress(progress, self._label(trial.number)),
                    watch=Watch(
                        seen=lambda step, steps, iou: self._seen(trial, step / steps, iou),
                        part=self.objective.part,
                        measure=self.objective.measure,
                    ),
                )
            except optuna.TrialPruned:
                self.shared.settle(trial, TrialState.PRUNED)
            except _LostError:
                _LOG.warning("trial %d was taken over by another process.", trial.number)
            except (OutputError, MissingExtraError):
                raise  # nothing to do with the combination
            except (HeadframeError, torch.OutOfMemoryError, MemoryError) as exc:
                self._failed(trial, exc)
            else:
                self._finished(trial, result.metrics)

    def _seen(self, trial: Trial, done: float, iou: float) -> None:
        """Compare a running trial with the others at the same share of their runs."""
        if math.isnan(iou):
            return
        if not self.shared.mine(trial):
            raise _LostError
        share = 10 * round(10 * done)
        if self.shared.report(trial, iou, share=share) and share < 100:
            raise optuna.TrialPruned

    def _finished(self, trial: Trial, metrics: Mapping[str, Any]) -> None:
        value = metrics.get(self.objective.measure)
        if value is None or math.isnan(value):
            self._failed(trial, JobError("the part to choose by has no pixel of the target"))
            return
        notes = {"seconds": metrics["seconds"]}
        self.shared.settle(trial, TrialState.COMPLETE, value=float(value), notes=notes)

    def _failed(self, trial: Trial, exc: BaseException) -> None:
        reason = " ".join(str(exc).split())[:300] or type(exc).__name__
        _LOG.warning("trial %d failed: %s", trial.number, reason)
        self.shared.settle(trial, TrialState.FAIL, notes={"error": reason})
        rows = self.shared.rows()
        failed = sum(row.state == TrialState.FAIL for row in rows)
        if failed >= _FIRST_FAILURES and all(
            row.state == TrialState.FAIL for row in rows if row.state.is_finished()
        ):
            raise JobError(f"the first {failed} trials failed, the last with: {reason}") from exc

    def _label(self, number: int) -> str:
        found = self._found()
        done = sum(row.state.is_finished() for row in found.rows)
        best = "" if found.best is None else f", best {found.best.value:.3f}"
        return f"Trial {number} ({done} of {self.shared.plan.trials} done{best})"

    def _found(self) -> Found:
        return Found(self.objective.measure, tuple(self.shared.rows()))

    def _folder(self, number: int) -> Path:
        return self.out / TRIALS / f"{number:04d}"

    def _tidy(self) -> Found:
        """Write table and best recipe as they stand; drop checkpoints and all bundles but one."""
        with self.shared.lock:
            found = self._found()
            write_table(found, list(self.plan.space.distributions), self.out / TABLE)
            best = found.best
            if best is not None:
                path = self.out / BEST
                write_best(found, self.plan.space, self.recipe, path, notes=self._notes(found))
            for row in found.rows:
                if row.state.is_finished():
                    folder = self._folder(row.number)
                    (folder / CHECKPOINT).unlink(missing_ok=True)
                    if best is None or row.number != best.number:
                        shutil.rmtree(folder / "bundle", ignore_errors=True)
            return found

    def _notes(self, found: Found) -> list[str]:
        best = found.best
        assert best is not None
        states = ", ".join(f"{count} {name}" for name, count in _states(found).items())
        lines = [
            f"Found by `headframe tune` in {self.plan.space.source}: trial {best.number} of "
            f"{self.shared.plan.trials} ({states}).",
            f"{self.objective.words} of data set {self.objective.dataset}: {best.value:.4f}.",
        ]
        return [*lines, ON_TEST] if self.plan.as_paper else lines

    def result(self) -> TuneResult:
        """Write the report.

        Raises:
            JobError: no trial has finished.
        """
        found = self._tidy()
        if found.best is None or found.best.value is None:
            raise JobError(f"{self.out / TABLE}: no trial finished; see the errors there.")
        on_test = ", ON TEST" if self.plan.as_paper else ""
        title = f"{self.recipe.name}: {len(found.rows)} trials{on_test}"
        with self.shared.lock:
            draw_history(found, self.out / HISTORY, title=title)
            importance = draw_importance(self.shared.study, self.out / IMPORTANCE, title=title)
        return TuneResult(
            best=self.out / BEST,
            measure=self.objective.measure,
            value=found.best.value,
            trial=found.best.number,
            params=dict(found.best.params),
            states=_states(found),
            importance=importance,
            as_paper=self.plan.as_paper,
        )


class _TrialProgress:
    """Shows the training of a trial under the trial's own name, and nothing else of it."""

    def __init__(self, progress: Progress, label: str) -> None:
        self._progress = progress
        self._label = label
        self._shown = False

    def start(self, label: str, total: int) -> None:
        """Begin; only the training itself is shown."""
        self._shown = label.startswith("Training")
        if self._shown:
            self._progress.start(self._label, total)

    def advance(self, n: int = 1) -> None:
        """Pass on steps of the training."""
        if self._shown:
            self._progress.advance(n)

    def finish(self) -> None:
        """End the job."""
        if self._shown:
            self._progress.finish()


def _states(found: Found) -> dict[str, int]:
    kinds = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    return {kind.name.lower(): found.count(kind) for kind in kinds}
