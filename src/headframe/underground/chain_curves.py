"""Curves over training, as the paper's Figure 5: F1, mIoU and loss of all methods."""

import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from headframe.datasets.photographs import InstancePhotograph
from headframe.engine.curves import running_mean
from headframe.engine.runlog import RunLog
from headframe.engine.step_run import RESULT
from headframe.engine.validation import MEASURES, read_validation
from headframe.io.files import replacing, write_text
from headframe.metrics.instances import InstanceEvaluation
from headframe.underground.chain import Chain
from headframe.underground.chain_found import truth_of
from headframe.underground.chain_parts import DETECTORS, SAMS, Run, found_by, sam_key
from headframe.underground.chain_plan import ChainPlan, PlanRecipes

CURVES_CSV, CURVES_PNG = "curves.csv", "curves.png"
_SHOWN = {"f1": "F1 of objects at IoU 0.5", "iou": "mIoU of pixels"}
_STYLES = ("-", "--", ":", "-.")
_COLOURS = 10
"""matplotlib's colours before they come again."""
_FEW = 40
"""Points of a line that are still marked."""
Line = Sequence[tuple[float, float]]
"""Points: epoch and value."""


def spread(photographs: Sequence[InstancePhotograph], most: int) -> list[InstancePhotograph]:
    """Keep at most so many photographs, evenly spread, the first among them."""
    count = min(most, len(photographs))
    return [photographs[place * len(photographs) // count] for place in range(count)]


def measure(
    plan: ChainPlan,
    chains: Mapping[str, Chain],
    base: Chain,
    held: Sequence[InstancePhotograph],
) -> dict[str, dict[str, float]]:
    """Score every chain on some photographs held out, which take turns at the lights of the test.

    Args:
        plan: lights, and how many photographs.
        chains: of one detector, by the names of their methods.
        base: the detector alone.
        held: photographs held out.

    Returns:
        Method -> ``MEASURES`` -> value.
    """
    classes = {name: n for n, name in enumerate(plan.photographs.categories, start=1)}
    evaluations = {name: InstanceEvaluation(classes) for name in chains}
    lights = plan.light.test
    for number, photograph in enumerate(spread(held, plan.curves.photographs)):
        view = photograph.darkened(lights[number % len(lights)], seed=plan.light.seed)
        for name, found in found_by(chains, base, view):
            evaluations[name].update(truth_of(view), found, crowd=view.crowd)
    reports = {name: evaluation.report().mean for name, evaluation in evaluations.items()}
    return {name: {n: mean[n] for n in MEASURES} for name, mean in reports.items()}


def draw_curves(
    plan: ChainPlan, recipes: PlanRecipes, runs: Sequence[Run], *, out: Path
) -> list[Path]:
    """Write ``curves.csv`` and ``curves.png``, where runs were watched.

    The picture has F1 and mIoU of every method and the loss of every network, means over folds and
    seeds. A method with SAM has its detector's epochs; its SAM is trained to the end.

    Args:
        plan: its methods.
        recipes: of the plan.
        runs: of its detectors.
        out: the comparison's folder.

    Returns:
        What was written: nothing where no run was watched.
    """
    watched = [(run, seen) for run in runs if (seen := read_validation(out / DETECTORS / run.key))]
    if not watched:
        return []
    scales = {
        run: _epochs(out / DETECTORS / run.key, recipes.detectors[run.recipe].train.batch)
        for run, _ in watched
    }
    rows = [
        {"method": row.method, "fold": run.fold, "seed": run.seed, "step": row.step}
        | {"epoch": round(row.step * scales[run], 4)}
        | {name: round(row.values[name], 6) for name in MEASURES}
        for run, seen in watched
        for row in seen
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / CURVES_CSV, text.getvalue())
    axes: dict[str, dict[str, list[Line]]] = {
        shown: {
            method: [
                [(row.step * scales[run], row.values[name]) for row in seen if row.method == method]
                for run, seen in watched
                if run.recipe == section.detector
            ]
            for method, section in plan.methods.items()
        }
        for name, shown in _SHOWN.items()
    }
    losses: dict[str, list[Line]] = {}
    for run, _ in watched:
        stem = Path(run.recipe).stem
        losses.setdefault(stem, []).append(_loss(out / DETECTORS / run.key, scales[run]))
    for name, recipe in recipes.sams.items():
        keys = dict.fromkeys(sam_key(name, recipes, run) for run, _ in watched)
        folders = [out / SAMS / key for key in keys if (out / SAMS / key / RESULT).is_file()]
        lines = [_loss(folder, _epochs(folder, recipe.train.batch)) for folder in folders]
        losses[f"{Path(name).stem} (SAM)"] = lines
    _draw(axes | {"training loss": losses}, out / CURVES_PNG)
    return [out / CURVES_CSV, out / CURVES_PNG]


def _epochs(folder: Path, batch: int) -> float:
    """Give the epochs of one step of a run that is done."""
    result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    return batch / int(result["photographs"])


def _loss(folder: Path, epochs: float) -> Line:
    """Give a run's loss, its running mean, by epoch."""
    log = RunLog(folder)
    log.rewind(sys.maxsize)
    means = running_mean(np.array([entry.loss for entry in log.entries]))
    return [(e.step * epochs, float(m)) for e, m in zip(log.entries, means, strict=True)]


def _draw(panels: Mapping[str, Mapping[str, Sequence[Line]]], path: Path) -> None:
    figure = Figure(figsize=(4.6 * len(panels), 4.4), layout="constrained")
    for axis, (title, methods) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for number, (name, lines) in enumerate(methods.items()):
            line = _mean([line for line in lines if line])
            if not line:
                continue  # its detector was trained before, without being watched
            style = _STYLES[number // _COLOURS % len(_STYLES)]
            mark = "o" if len(line) < _FEW else ""
            axis.plot(*zip(*line, strict=True), style, marker=mark, markersize=3, label=name)
        axis.set(title=title, xlabel="epoch")
        axis.grid(alpha=0.3)
        axis.legend(fontsize="x-small")
        if title in _SHOWN.values():
            axis.set_ylim(0, 1)
    with replacing(path) as part:
        figure.savefig(part, dpi=120)


def _mean(lines: Sequence[Line]) -> Line:
    """Average runs point by point, as far as all of them reach."""
    if not lines:
        return []
    shortest = min(len(line) for line in lines)
    points = np.ma.masked_invalid([line[:shortest] for line in lines])  # (runs, points, 2)
    return [(float(x), float(y)) for x, y in points.mean(axis=0).filled(np.nan)]
