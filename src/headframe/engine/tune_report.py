"""What a study leaves behind: the best recipe, the table of trials, pictures of both."""

import csv
import io
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import yaml
from matplotlib.figure import Figure
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from headframe.engine.recipe import Recipe
from headframe.engine.space import Space
from headframe.io.files import replacing, write_text

BEST = "best.yaml"
TABLE = "trials.csv"
HISTORY = "history.png"
IMPORTANCE = "importance.png"
_SAMPLES_FOR_IMPORTANCE = 4

_LOG = logging.getLogger("headframe")


@dataclass(frozen=True)
class Found:
    """How a study stands.

    Attributes:
        measure: name of the objective, ``validation_iou`` or ``test_iou``.
        rows: all trials by number.
    """

    measure: str
    rows: tuple[FrozenTrial, ...]

    @property
    def best(self) -> FrozenTrial | None:
        """The finished trial of the highest objective, the earlier of two equals."""
        finished = [row for row in self.rows if row.state == TrialState.COMPLETE]
        return max(finished, key=_value, default=None)

    def count(self, state: TrialState) -> int:
        """Trials in a state."""
        return sum(row.state == state for row in self.rows)


def write_best(
    found: Found, space: Space, base: Recipe, path: Path, *, notes: Sequence[str]
) -> None:
    """Write the best combination as a recipe that runs as it stands.

    Args:
        found: with at least one finished trial.
        space: what was searched.
        base: the recipe that was tuned.
        path: the recipe's file.
        notes: lines of the comment at its head.
    """
    best = found.best
    assert best is not None
    recipe = space.recipe(base, best.params).model_copy(update={"name": f"{base.name}-tuned"})
    content = recipe.model_dump(mode="json", exclude_unset=True)
    head = "".join(f"# {line}\n" for line in notes)
    write_text(path, head + yaml.safe_dump({"name": recipe.name, **content}, sort_keys=False))


def write_table(found: Found, keys: Sequence[str], path: Path) -> None:
    """Write one row a trial; a pruned one has the last IoU it reported."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", found.measure, *keys, "seconds", "starts", "error"])
    for row in found.rows:
        notes = row.user_attrs.get("notes", {})
        value = _value(row)
        writer.writerow(
            [
                row.number,
                row.state.name.lower(),
                "" if math.isnan(value) else f"{value:.4f}",
                *(row.params.get(key, "") for key in keys),
                notes.get("seconds", ""),
                row.user_attrs.get("owner", {}).get("starts", ""),
                notes.get("error", ""),
            ]
        )
    write_text(path, text.getvalue())


def draw_history(found: Found, path: Path, *, title: str) -> None:
    """Draw the objective of every trial by number, and the best so far."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    kinds = {
        TrialState.COMPLETE: ("o", "C0", "finished"),
        TrialState.PRUNED: ("x", "0.6", "pruned"),
    }
    for state, (marker, colour, label) in kinds.items():
        mine = [(row.number, _value(row)) for row in found.rows if row.state == state]
        if mine:
            axes.scatter(*zip(*mine, strict=True), marker=marker, color=colour, label=label)
    done = [(r.number, _value(r)) for r in found.rows if r.state == TrialState.COMPLETE]
    if done:
        numbers, values = zip(*done, strict=True)
        best = np.maximum.accumulate(values)
        axes.step(numbers, best, where="post", color="C1", label="best so far")
    failed = [row.number for row in found.rows if row.state == TrialState.FAIL]
    if failed:
        bottom = axes.get_ylim()[0]
        axes.scatter(failed, [bottom] * len(failed), marker="|", color="C3", label="failed")
    axes.set(xlabel="trial", ylabel=found.measure.replace("_iou", " IoU"), title=title)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=4)
    with replacing(path) as part:
        figure.savefig(part, dpi=120)


def draw_importance(study: optuna.Study, path: Path, *, title: str) -> dict[str, float]:
    """Draw how much of the spread of the objective each key explains (fANOVA, Hutter et al. 2014).

    Args:
        study: its finished trials are looked at, pruned ones are not.
        path: not written where fewer than four trials have finished or all are equal.
        title: of the picture.

    Returns:
        Shares by key, largest first, summing to 1; empty where there is no picture.
    """
    done = [row for row in study.get_trials(deepcopy=False) if row.state == TrialState.COMPLETE]
    if len(done) < _SAMPLES_FOR_IMPORTANCE or len({_value(row) for row in done}) == 1:
        _LOG.info("%d finished trials say nothing about importance.", len(done))
        return {}
    shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    if not all(math.isfinite(share) for share in shares.values()):
        return {}
    figure = Figure(figsize=(8, 1.2 + 0.4 * len(shares)), layout="constrained")
    axes = figure.subplots()
    names = list(reversed(shares))
    bars = axes.barh(names, [shares[name] for name in names], color="C0")
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set(xlabel=f"share of the spread over {len(done)} finished trials", title=title)
    axes.set_xlim(0, 1.1 * max(shares.values()) or 1)
    with replacing(path) as part:
        figure.savefig(part, dpi=120)
    return dict(shares)


def _value(row: FrozenTrial) -> float:
    """Give the objective, of a trial that is pruned its last; NaN where there is none."""
    value: Any = row.value
    if value is None and row.intermediate_values:
        value = row.intermediate_values[max(row.intermediate_values)]
    return math.nan if value is None else float(value)
