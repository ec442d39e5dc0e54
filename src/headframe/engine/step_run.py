"""Runs on one device that count steps: claimed, checkpointed, resumed with the next batch."""

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from lightning.fabric import Fabric
from pydantic import BaseModel
from torch import nn

from headframe.core.errors import JobError, OutputError, RecipeError
from headframe.core.progress import Progress
from headframe.engine.allocator import TRAINING_BYTES, keep_freed_memory
from headframe.engine.optimisation import build_optimizer, build_schedule
from headframe.engine.recipe import OptimiserSection
from headframe.engine.recipe_file import load_as, save_as
from headframe.engine.run import CHECKPOINT
from headframe.engine.runlog import RunLog
from headframe.engine.validation import ValidationLog, Watch
from headframe.engine.weights import load_checkpoint, save_checkpoint
from headframe.models.trainable import load_trained, set_trainable, trained_state

RECIPE = "recipe.yaml"
RESULT = "result.json"
_Sample_co = TypeVar("_Sample_co", covariant=True)
Sample = TypeVar("Sample")


class Samples(Protocol[_Sample_co]):
    """What is learnt from: an endless row, each sample a function of its number."""

    def __getitem__(self, number: int) -> _Sample_co:
        """Give sample ``number``, >= 0."""


def claim_run(recipe: BaseModel, out: Path, *, resume: bool) -> dict[str, Any] | None:
    """Take ``out`` for a recipe.

    Args:
        recipe: what is trained; written into ``out``.
        out: run folder, new unless ``resume``.
        resume: go on with what is there.

    Returns:
        The result of a finished run; None where there is work to do.

    Raises:
        OutputError: ``out`` holds a run and ``resume`` was not asked for.
        RecipeError: ``resume`` with another recipe.
    """
    saved = out / RECIPE
    if not saved.is_file():
        save_as(recipe, saved)
        return None
    if not resume:
        raise OutputError(f"{out}: holds a run already. Add --resume or choose another --out.")
    if load_as(type(recipe), saved) != recipe:
        raise RecipeError(
            f"{saved}: the run was begun with another recipe. Resume with the same one, or choose "
            "another --out."
        )
    if not (out / RESULT).is_file():
        return None
    finished: dict[str, Any] = json.loads((out / RESULT).read_text(encoding="utf-8"))
    return finished


def one_device(settings: OptimiserSection, accelerator: str) -> Fabric:
    """Set one device up in the precision of a recipe; ``auto`` is half precision on a GPU."""
    precision: Any = settings.precision
    if precision == "auto":
        precision = "bf16-mixed" if torch.cuda.is_available() else "32-true"
    torch.manual_seed(settings.seed)
    keep_freed_memory(TRAINING_BYTES)
    return Fabric(accelerator=accelerator, devices=1, precision=precision)


class StepRun(ABC, Generic[Sample]):
    """Network, optimiser, schedule and log of a run, step by step.

    Attributes:
        network: what is trained, on its device.
        fabric: device and precision.
        step: steps taken.
    """

    def __init__(
        self, network: nn.Module, settings: OptimiserSection, *, fabric: Fabric, out: Path
    ) -> None:
        """Set up; ``network`` goes to the device, and what of it is not trained stays as it is."""
        set_trainable(network)
        self.network = network
        self.fabric = fabric
        self.step = 0
        self._settings = settings
        self._out = out
        optimizer = build_optimizer(network, settings)
        self._schedule = build_schedule(optimizer, settings)
        self._wrapped, self._optimizer = fabric.setup(network, optimizer)
        self._log = RunLog(out)
        self._seconds = 0.0

    @abstractmethod
    def learn(self, batch: Sequence[Sample]) -> tuple[float, int]:
        """Add the gradients of a batch to none; give its loss and a checksum of its samples."""

    def fit(
        self,
        samples: Samples[Sample],
        progress: Progress,
        *,
        name: str,
        watch: Watch | None = None,
    ) -> None:
        """Take the steps that are left, after those of the folder's checkpoint.

        Args:
            samples: what is learnt from.
            progress: told of every step.
            name: of the run.
            watch: what is measured on the way, into ``validation.csv``; its time does not count.

        Raises:
            JobError: the loss is no longer finite.
        """
        if (self._out / CHECKPOINT).is_file():
            self._restore(load_checkpoint(self._out / CHECKPOINT))
        settings = self._settings
        seen = ValidationLog(self._out)
        seen.rewind(self.step)
        began = time.perf_counter() - self._seconds
        progress.start(f"Training {name}", settings.steps)
        progress.advance(self.step)
        while self.step < settings.steps:
            first = self.step * settings.batch
            self._one_step([samples[first + i] for i in range(settings.batch)])
            progress.advance()
            self._seconds = time.perf_counter() - began
            if watch is not None and watch.due(self.step, settings.steps):
                seen.add(self.step, watch.measure())
                began = time.perf_counter() - self._seconds
            if self.step % settings.checkpoint_every == 0 or self.step == settings.steps:
                self._checkpoint()
        progress.finish()

    def figures(self) -> dict[str, Any]:
        """Give plain values: ``steps``, ``seconds``, last ``loss``."""
        loss = self._log.last_loss()
        return {"steps": self.step, "seconds": round(self._seconds, 1), "loss": loss}

    def _one_step(self, batch: Sequence[Sample]) -> None:
        # what a network draws at random is a function of seed and step, or no run could be resumed
        torch.manual_seed(self._settings.seed * 1_000_003 + self.step)
        self._optimizer.zero_grad()
        loss, checksum = self.learn(batch)
        if not math.isfinite(loss):
            raise JobError(f"{self._out}: the loss is {loss} at step {self.step}. Lower train.lr.")
        self.fabric.clip_gradients(
            self._wrapped, self._optimizer, max_norm=self._settings.clip_norm
        )
        rate = float(self._schedule.get_last_lr()[-1])
        self._optimizer.step()
        self._schedule.step()
        self.step += 1
        self._log.add(step=self.step, loss=loss, lr=rate, batch=f"{checksum:08x}")

    def _restore(self, state: dict[str, Any]) -> None:
        load_trained(self.network, state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self.step = int(state["step"])
        self._seconds = float(state["seconds"])
        self._log.rewind(self.step)

    def _checkpoint(self) -> None:
        self._log.flush()
        save_checkpoint(
            self._out / CHECKPOINT,
            {
                "network": trained_state(self.network),
                "optimizer": self._optimizer.state_dict(),
                "schedule": self._schedule.state_dict(),
                "step": self.step,
                "seconds": self._seconds,
            },
        )
