"""Training of detectors: photographs in many lights, one run folder, resumable to the same step."""

import json
import math
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn

from headframe import __version__
from headframe.core.errors import DatasetError, JobError, OutputError, RecipeError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.coco import read_coco
from headframe.datasets.instances import merge_classes
from headframe.datasets.photographs import InstancePhotograph, read_photographs
from headframe.datasets.splits import site_folds
from headframe.engine.detector_bundle import DetectorBundle, read_detector, save_detector
from headframe.engine.detector_data import (
    DetectorSamples,
    Sample,
    build_prepare,
    without_crowds,
)
from headframe.engine.detector_recipe import (
    DetectorRecipe,
    PhotographSection,
    load_detector_recipe,
    save_detector_recipe,
)
from headframe.engine.detectors import build_detector
from headframe.engine.optimisation import build_optimizer, build_schedule
from headframe.engine.run import CHECKPOINT
from headframe.engine.runlog import RunLog
from headframe.engine.weights import load_checkpoint, save_checkpoint
from headframe.io.files import write_json
from headframe.models.detector import Detector

RECIPE = "recipe.yaml"
RESULT = "result.json"
_LABELS = "instances.json"


@dataclass(frozen=True)
class DetectorParts:
    """Photographs of a recipe.

    Attributes:
        train: what is learnt from.
        test: what is held out; empty without a fold.
    """

    train: list[InstancePhotograph]
    test: list[InstancePhotograph]


def read_parts(section: PhotographSection, *, progress: Progress = SILENT) -> DetectorParts:
    """Read and divide the photographs of a recipe; whole groups go to one side.

    Raises:
        DatasetError: no source, an unknown class, or too few groups for the folds.
        MissingFileError, FormatError: labels or a photograph that cannot be read.
    """
    if not section.sources:
        raise DatasetError("the recipe names no photographs. Give --data FOLDER, or set sources.")
    own = _photographs(section.sources, section, progress)
    more = _photographs(section.more, section, progress)
    if section.fold is None:
        return DetectorParts(own + more, [])
    groups = {photograph.group: photograph.group for photograph in own}
    folds = site_folds(groups, folds=section.fold.of, seed=section.fold.seed)
    if section.fold.index >= len(folds):
        raise DatasetError(f"fold {section.fold.index} of {len(folds)}: count from 0.")
    held = folds[section.fold.index]
    return DetectorParts(
        [p for p in own if p.group not in held] + more, [p for p in own if p.group in held]
    )


def _photographs(
    sources: Sequence[str], section: PhotographSection, progress: Progress
) -> list[InstancePhotograph]:
    found = []
    for source in sources:
        path = Path(source)
        labels = path / _LABELS if path.is_dir() else path
        root = labels.parent / "images"
        found += read_photographs(
            merge_classes(read_coco(labels), section.merge),
            root if root.is_dir() else labels.parent,
            categories=section.categories,
            short_side_px=section.short_side_px,
            progress=progress,
        )
    return found


def train_detector(
    recipe: DetectorRecipe,
    *,
    out: Path,
    resume: bool = False,
    accelerator: str = "auto",
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Train a detector into a run folder.

    The folder gets ``recipe.yaml``, ``checkpoint.pt``, ``metrics.csv``, ``result.json`` and
    ``bundle/``. Samples are a function of seed and number, so that a killed run goes on with the
    batch it would have had.

    Args:
        recipe: what to train, on what.
        out: run folder, new unless ``resume``.
        resume: go on with what is there; a finished run returns at once.
        accelerator: Lightning's flag.
        progress: told of every photograph and step.

    Returns:
        Plain values: steps, seconds, last loss, parameters, photographs.

    Raises:
        OutputError: ``out`` holds a run and ``resume`` was not asked for.
        RecipeError: ``resume`` with another recipe, or one that cannot be built.
        DatasetError: nothing to learn from.
        JobError: the loss is no longer finite.
    """
    _claim(recipe, out, resume=resume)
    if (out / RESULT).is_file():
        finished: dict[str, Any] = json.loads((out / RESULT).read_text(encoding="utf-8"))
        return finished
    fabric = Fabric(accelerator=accelerator, devices=1, precision=_precision(recipe))
    torch.manual_seed(recipe.train.seed)
    network = _start(recipe)
    parts = read_parts(recipe.photographs, progress=progress)
    samples = DetectorSamples(
        [without_crowds(photograph) for photograph in parts.train],
        light=recipe.light,
        augment=recipe.augment,
        prepare=build_prepare(recipe.prepare),
        seed=recipe.train.seed,
        progress=progress,
    )
    run = _DetectorRun(recipe, network, fabric, out)
    if (out / CHECKPOINT).is_file():
        run.restore(load_checkpoint(out / CHECKPOINT))
    run.fit(samples, progress)
    return run.finish(photographs=len(parts.train))


def _claim(recipe: DetectorRecipe, out: Path, *, resume: bool) -> None:
    saved = out / RECIPE
    if not saved.is_file():
        save_detector_recipe(recipe, saved)
        return
    if not resume:
        raise OutputError(f"{out}: holds a run already. Add --resume or choose another --out.")
    if load_detector_recipe(saved) != recipe:
        raise RecipeError(
            f"{saved}: the run was begun with another recipe. Resume with the same one, or choose "
            "another --out."
        )


def _precision(recipe: DetectorRecipe) -> Any:  # noqa: ANN401 - a Literal of Lightning's own
    if recipe.train.precision != "auto":
        return recipe.train.precision
    return "bf16-mixed" if torch.cuda.is_available() else "32-true"


def _start(recipe: DetectorRecipe) -> nn.Module:
    """Build the network with the weights that ``init`` names."""
    section, classes = recipe.detector, recipe.photographs.categories
    folder = Path(section.init)
    if not folder.is_dir():
        return build_detector(
            section.architecture, section.options, classes=len(classes), init=section.init
        )
    first = read_detector(folder)
    if (first.architecture, first.categories) != (section.architecture, classes):
        raise RecipeError(
            f"{folder}: is a {first.architecture} of {', '.join(first.categories)}; the recipe has "
            f"a {section.architecture} of {', '.join(classes)}."
        )
    return first.network


class _DetectorRun:
    """Network, optimiser and log of a run, step by step."""

    def __init__(
        self, recipe: DetectorRecipe, network: nn.Module, fabric: Fabric, out: Path
    ) -> None:
        self.recipe = recipe
        self.out = out
        self.fabric = fabric
        self.plain = network.to(memory_format=torch.channels_last).train()
        if not isinstance(network, Detector):
            raise RecipeError(f"{recipe.detector.architecture} is no detector.")
        self.detector = network
        optimizer = build_optimizer(network, recipe.train)
        self.schedule = build_schedule(optimizer, recipe.train)
        self.network, self.optimizer = fabric.setup(network, optimizer)
        self.log = RunLog(out)
        self.step = 0
        self.seconds = 0.0

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to the step of a checkpoint."""
        self.plain.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.step = int(state["step"])
        self.seconds = float(state["seconds"])
        self.log.rewind(self.step)

    def fit(self, samples: DetectorSamples, progress: Progress) -> None:
        """Take the steps that are left."""
        settings = self.recipe.train
        began = time.perf_counter() - self.seconds
        progress.start(f"Training {self.recipe.name}", settings.steps)
        progress.advance(self.step)
        while self.step < settings.steps:
            first = self.step * settings.batch
            self._one_step([samples[first + i] for i in range(settings.batch)])
            progress.advance()
            self.seconds = time.perf_counter() - began
            if self.step % settings.checkpoint_every == 0 or self.step == settings.steps:
                self._checkpoint()
        progress.finish()

    def finish(self, *, photographs: int) -> dict[str, Any]:
        """Write bundle and result."""
        recipe = self.recipe
        result: dict[str, Any] = {
            "steps": self.step,
            "seconds": round(self.seconds, 1),
            "loss": self.log.last_loss(),
            "parameters": sum(value.numel() for value in self.plain.parameters()),
            "photographs": photographs,
        }
        bundle = DetectorBundle(
            name=recipe.name,
            architecture=recipe.detector.architecture,
            options=recipe.detector.options,
            categories=recipe.photographs.categories,
            prepare=recipe.prepare,
            network=self.plain.eval().cpu(),
            metrics=result,
            training={"recipe": recipe.model_dump(mode="json"), "headframe": __version__},
        )
        save_detector(bundle, self.out / "bundle")
        write_json(self.out / RESULT, result)
        return result

    def _one_step(self, batch: Sequence[Sample]) -> None:
        checksum = 0
        for sample in batch:
            checksum = zlib.crc32(sample.image.numpy().tobytes(), checksum)
        # which boxes are sampled, too, is a function of seed and step
        torch.manual_seed(self.recipe.train.seed * 1_000_003 + self.step)
        clean = [sample.clean for sample in batch if sample.clean is not None]
        with self.fabric.autocast():  # Fabric's own call would take the targets apart
            terms = self.detector.forward_train(
                [sample.image for sample in batch],
                [sample.target for sample in batch],
                clean=clean or None,
            )
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        value = loss.detach().item()
        if not math.isfinite(value):
            raise JobError(f"{self.out}: the loss is {value} at step {self.step}. Lower train.lr.")
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        self.fabric.clip_gradients(
            self.network, self.optimizer, max_norm=self.recipe.train.clip_norm
        )
        rate = float(self.schedule.get_last_lr()[-1])
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        self.log.add(step=self.step, loss=value, lr=rate, batch=f"{checksum:08x}")

    def _checkpoint(self) -> None:
        self.log.flush()
        save_checkpoint(
            self.out / CHECKPOINT,
            {
                "network": self.plain.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "step": self.step,
                "seconds": self.seconds,
            },
        )
