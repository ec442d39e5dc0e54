"""Pictures of how a run went."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from headframe.engine.runlog import RunLog
from headframe.io.files import replacing

mpl.use("Agg")
_SMOOTHING = 0.9


def draw_curves(log: RunLog, path: Path, *, title: str) -> None:
    """Draw loss, its running mean, learning rate and validation IoU against the step."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    steps = [entry.step for entry in log.entries]
    losses = np.array([entry.loss for entry in log.entries])
    axes.plot(steps, losses, color="0.8", linewidth=0.8, label="loss")
    axes.plot(steps, running_mean(losses), color="C0", label="loss, running mean")
    axes.set(xlabel="step", ylabel="training loss", title=title)
    measured = [(e.step, e.validation_iou) for e in log.entries if e.validation_iou is not None]
    if measured:
        right = axes.twinx()
        right.plot(*zip(*measured, strict=True), "o-", color="C1", label="validation IoU")
        right.set(ylabel="validation IoU", ylim=(0, 1))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3)
    with replacing(path) as part:
        figure.savefig(part, dpi=120)


def running_mean(values: np.ndarray) -> np.ndarray:
    """Exponential running mean without the bias of its start."""
    mean, weight, result = 0.0, 0.0, []
    for value in values:
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * float(value)
        weight = _SMOOTHING * weight + (1 - _SMOOTHING)
        result.append(mean / weight)
    return np.array(result)
