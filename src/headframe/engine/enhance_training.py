"""Training KinD: its three stages, or DIS-Mine's one, resumable at the next batch."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headframe import __version__
from headframe.core.errors import JobError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.darken import Photograph
from headframe.datasets.light_pairs import PairPlan, light_pair, read_bright
from headframe.engine.allocator import TRAINING_BYTES, keep_freed_memory
from headframe.engine.enhance_recipe import STAGES, EnhanceRecipe, StageName
from headframe.engine.enhancer_bundle import EnhancerBundle, save_enhancer
from headframe.engine.enhancing import EnhanceOptions
from headframe.engine.run import CHECKPOINT
from headframe.engine.step_run import RESULT, claim_run
from headframe.engine.weights import load_checkpoint, save_checkpoint
from headframe.io.files import write_json, write_text
from headframe.losses.kind import (
    Decomposed,
    adjustment_loss,
    decomposition_loss,
    joint_loss,
    restoration_loss,
)
from headframe.models.kind import KinDEnhancer, KinDOptions, Layers
from headframe.models.kind.enhancer import training_ratio

LOG = "metrics.csv"
_STAGE_NUMBERS = 10**9
_SHOWN_PAIRS = 32


@dataclass
class _State:
    """Where a run is: stage, step within it, and every loss so far."""

    stage: int = 0
    step: int = 0
    seconds: float = 0.0
    losses: list[tuple[int, int, float]] = field(default_factory=list)


def train_enhancer(
    recipe: EnhanceRecipe,
    sources: Sequence[Path],
    *,
    out: Path,
    resume: bool = False,
    device: str = "cpu",
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Train an enhancer into a run folder.

    The folder gets the recipe, ``checkpoint.pt``, ``metrics.csv``, ``result.json`` and
    ``bundle/``. Pairs are a function of seed and number, so that a killed run goes on with the
    batch it would have had.

    Args:
        recipe: what to train.
        sources: bright photographs, files and folders.
        out: run folder, new unless ``resume``.
        resume: go on with what is there; a finished run returns at once.
        device: as torch names it.
        progress: told of every photograph and step.

    Returns:
        Plain values: steps, seconds, last loss of each stage, ``target_light``.

    Raises:
        OutputError: ``out`` holds a run and ``resume`` was not asked for.
        RecipeError: ``resume`` with another recipe.
        DatasetError: a photograph is smaller than a crop.
        JobError: a loss is no longer finite.
    """
    finished = claim_run(recipe, out, resume=resume)
    if finished is not None:
        return finished
    photographs = read_bright(
        sources,
        short_side_px=recipe.pairs.short_side_px,
        brightest=recipe.pairs.brightest,
        progress=progress,
    )
    run = EnhanceRun(recipe, photographs, out=out, device=device)
    if (out / CHECKPOINT).is_file():
        run.restore(load_checkpoint(out / CHECKPOINT))
    run.fit(progress)
    return run.finish()


class EnhanceRun:
    """Networks, the optimiser of the present stage, and the log."""

    def __init__(
        self, recipe: EnhanceRecipe, photographs: Sequence[Photograph], *, out: Path, device: str
    ) -> None:
        self.recipe = recipe
        self.out = out
        self.state = _State()
        self._photographs = photographs
        self._device = torch.device(device)
        self._stages = STAGES[recipe.network.mode]
        self._weights = recipe.loss.at(1.0)
        self._losses: dict[StageName, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
            "decomposition": self._decompose,
            "adjustment": self._adjust,
            "restoration": self._restore,
            "joint": self._jointly,
        }
        torch.manual_seed(recipe.seed)
        keep_freed_memory(TRAINING_BYTES)
        options = KinDOptions(**recipe.network.model_dump())
        self.network = KinDEnhancer(options).to(self._device)
        self.optimizer = self._begin()

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to the step of a checkpoint."""
        self.state = _State(
            int(state["stage"]), int(state["step"]), float(state["seconds"]), state["losses"]
        )
        self.network.load_state_dict(state["network"])
        if self.state.stage < len(self._stages):
            self.optimizer = self._begin()
            self.optimizer.load_state_dict(state["optimizer"])

    def fit(self, progress: Progress) -> None:
        """Take the steps of all stages that are left."""
        began = time.perf_counter() - self.state.seconds
        while self.state.stage < len(self._stages):
            name = self._stages[self.state.stage]
            stage = self.recipe.stages[name]
            progress.start(f"Training {self.recipe.name}: {name}", stage.steps)
            progress.advance(self.state.step)
            while self.state.step < stage.steps:
                self._one_step(name)
                progress.advance()
                self.state.seconds = time.perf_counter() - began
                if self.state.step % self.recipe.checkpoint_every == 0:
                    self._checkpoint()
            progress.finish()
            self.state.stage, self.state.step = self.state.stage + 1, 0
            if self.state.stage < len(self._stages):
                self.optimizer = self._begin()
            self._checkpoint()

    def finish(self) -> dict[str, Any]:
        """Write bundle and result."""
        self.network.eval().cpu()
        self._device = torch.device("cpu")
        last = {self._stages[stage]: loss for stage, _, loss in self.state.losses}
        light = round(self._target_light(), 4)
        result: dict[str, Any] = {
            "steps": len(self.state.losses),
            "seconds": round(self.state.seconds, 1),
            "losses": last,
            "target_light": light,
        }
        options = EnhanceOptions(
            ratio=None,
            target_light=light,
            stretch=self.recipe.pairs.stretch,
            guard=self.recipe.guard,
        )
        training = {
            "recipe": self.recipe.model_dump(mode="json"),
            "photographs": len(self._photographs),
            "headframe": __version__,
        }
        bundle = EnhancerBundle(self.recipe.name, self.network, options, result, training)
        save_enhancer(bundle, self.out / "bundle")
        write_json(self.out / RESULT, result)
        return result

    def _begin(self) -> torch.optim.Adam:
        """The optimiser of the present stage, over the nets that it trains."""
        name = self._stages[self.state.stage]
        trained = self.network if name == "joint" else self.network.get_submodule(name)
        self.network.requires_grad_(False)
        trained.requires_grad_(True)
        stage = self.recipe.stages[name]
        return torch.optim.Adam(trained.parameters(), lr=stage.lr, weight_decay=stage.weight_decay)

    def _one_step(self, name: StageName) -> None:
        stage = self.recipe.stages[name]
        for group in self.optimizer.param_groups:
            passed = sum(self.state.step >= at * stage.steps for at in stage.halve_at)
            group["lr"] = stage.lr * 0.5**passed
        first = self.state.step * stage.batch
        dark, bright = self._pairs(range(first, first + stage.batch), crop_px=stage.crop_px)
        # which way the light goes, too, is a function of seed and step
        seed = (self.recipe.seed * 101 + self.state.stage) * _STAGE_NUMBERS + self.state.step
        coin = torch.rand(stage.batch, generator=torch.Generator().manual_seed(seed))
        loss = self._losses[name](dark, bright, coin.to(self._device) < 0.5)
        value = loss.detach().item()
        if not math.isfinite(value):
            raise JobError(
                f"{self.out}: the loss of stage {name} is {value} at step {self.state.step}. "
                f"Lower stages.{name}.lr."
            )
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward([loss])
        self.optimizer.step()
        self.state.step += 1
        self.state.losses.append((self.state.stage, self.state.step, value))

    def _pairs(self, numbers: range, *, crop_px: int) -> tuple[Tensor, Tensor]:
        """Dark and bright crops, (N, 3, crop, crop)."""
        pairs = self.recipe.pairs
        plan = PairPlan(
            seed=self.recipe.seed,
            crop_px=crop_px,
            weights=(pairs.camera, pairs.paper, pairs.sensor),
            light=pairs.light,
            gamma=pairs.gamma,
            stretch=pairs.stretch,
        )
        offset = min(self.state.stage, len(self._stages)) * _STAGE_NUMBERS
        made = [light_pair(self._photographs, offset + number, plan) for number in numbers]
        dark, bright = (
            torch.stack([torch.from_numpy(x) for x in side]) for side in zip(*made, strict=True)
        )
        return dark.to(self._device), bright.to(self._device)

    def _pair(self, dark: Tensor, bright: Tensor) -> Decomposed:
        low: Layers = self.network.decomposition(dark)
        high: Layers = self.network.decomposition(bright)
        return _decomposed(dark, bright, low=low, high=high)

    def _decompose(self, dark: Tensor, bright: Tensor, coin: Tensor) -> Tensor:
        weights = self.recipe.loss.at(self.state.step / self.recipe.stages["decomposition"].steps)
        return decomposition_loss(self._pair(dark, bright), weights)

    def _adjust(self, dark: Tensor, bright: Tensor, coin: Tensor) -> Tensor:
        """Half the pairs are brightened, half darkened, with the ratio that fits."""
        with torch.no_grad():
            pair = self._pair(dark, bright)
            low, high = pair.dark_illumination, pair.bright_illumination
            ratio = training_ratio(low, high, to_bright=coin)
            up = coin.view(-1, 1, 1, 1)
            given, wanted = torch.where(up, low, high), torch.where(up, high, low)
        return adjustment_loss(self.network.adjustment(given, ratio), wanted)

    def _restore(self, dark: Tensor, bright: Tensor, coin: Tensor) -> Tensor:
        with torch.no_grad():
            pair = self._pair(dark, bright)
        restored = self.network.restoration(pair.dark_reflectance, pair.dark_illumination)
        return restoration_loss(restored, pair.bright_reflectance)

    def _jointly(self, dark: Tensor, bright: Tensor, coin: Tensor) -> Tensor:
        """DIS-Mine's Algorithm 1: one update of all nets."""
        enhanced = self.network(dark, detach=True)
        high: Layers = self.network.decomposition(bright)
        pair = _decomposed(dark, bright, low=enhanced.dark, high=high)
        return joint_loss(
            pair, restored=enhanced.restored, adjusted=enhanced.adjusted, weights=self._weights
        )

    def _target_light(self) -> float:
        """Mean illumination of bright crops: what enhancement without a ratio aims at."""
        crop = max(stage.crop_px for stage in self.recipe.stages.values())
        with torch.no_grad():
            _, bright = self._pairs(range(_SHOWN_PAIRS), crop_px=crop)
            return float(self.network.decomposition(bright).illumination.mean())

    def _checkpoint(self) -> None:
        rows = [f"{self._stages[s]},{step},{loss:.8g}" for s, step, loss in self.state.losses]
        write_text(self.out / LOG, "\n".join(["stage,step,loss", *rows]) + "\n")
        save_checkpoint(
            self.out / CHECKPOINT,
            {
                "stage": self.state.stage,
                "step": self.state.step,
                "seconds": self.state.seconds,
                "losses": self.state.losses,
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            },
        )


def _decomposed(dark: Tensor, bright: Tensor, *, low: Layers, high: Layers) -> Decomposed:
    return Decomposed(
        dark=dark,
        bright=bright,
        dark_reflectance=low.reflectance,
        dark_illumination=low.illumination,
        bright_reflectance=high.reflectance,
        bright_illumination=high.illumination,
    )
