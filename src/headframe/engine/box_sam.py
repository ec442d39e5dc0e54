"""Training of SAMs told boxes and classes: one run folder, resumable to the same step."""

import json
import math
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor

from headframe import __version__
from headframe.core.detections import Detections
from headframe.core.errors import JobError, OutputError, RecipeError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.photographs import InstancePhotograph
from headframe.engine.box_sam_bundle import BoxSamBundle, build_box_sam, save_box_sam
from headframe.engine.box_sam_data import BoxSample, BoxSamples, BoxSampling, Store
from headframe.engine.box_sam_recipe import (
    BoxSamRecipe,
    SamLossSection,
    load_box_sam_recipe,
    save_box_sam_recipe,
)
from headframe.engine.detector_data import Prepare, build_prepare, shown, without_crowds
from headframe.engine.detector_training import read_parts
from headframe.engine.optimisation import build_optimizer, build_schedule
from headframe.engine.prompting.boxes import answer_boxes, jitter_boxes
from headframe.engine.run import CHECKPOINT
from headframe.engine.runlog import RunLog
from headframe.engine.step_run import RECIPE, RESULT
from headframe.engine.weights import load_checkpoint, save_checkpoint
from headframe.io.files import write_json
from headframe.losses.instances import binary_cross_entropy, weighted_dice
from headframe.models.sam.classprompt import ClassPromptedSam
from headframe.models.trainable import load_trained, set_trainable, trained_state

EMBEDDINGS = "embeddings"


def train_box_sam(
    recipe: BoxSamRecipe,
    *,
    out: Path,
    resume: bool = False,
    accelerator: str = "auto",
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Train a SAM on true masks, prompted by their boxes, jittered, and their classes.

    The folder gets ``recipe.yaml``, ``embeddings/`` (removable once trained), ``checkpoint.pt``,
    ``metrics.csv``, ``result.json`` and ``bundle/``.

    Args:
        recipe: what to train, on what.
        out: run folder, new unless ``resume``.
        resume: go on with what is there; a finished run returns at once.
        accelerator: Lightning's flag.
        progress: told of every photograph and step.

    Returns:
        Plain values: steps, seconds, last loss, photographs, and where some were held out the mean
        IoU in each light, of the base too.

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
    classes = len(recipe.photographs.categories)
    network, sha256 = build_box_sam(classes, base=recipe.sam.base, peft=recipe.sam.peft)
    parts = read_parts(recipe.photographs, progress=progress)
    prepare = build_prepare(recipe.prepare)
    held = [without_crowds(photograph) for photograph in parts.test]
    network.to(fabric.device).eval()
    samples = BoxSamples(
        [without_crowds(photograph) for photograph in parts.train],
        network,
        prepare=prepare,
        sampling=BoxSampling(recipe.light, recipe.train.seed, recipe.sam.boxes),
        store=Store(out / EMBEDDINGS, f"{recipe.sam.base} {sha256} {recipe.prepare}"),
        progress=progress,
    )
    before = {} if not held else mean_iou(network, held, recipe, prepare)
    run = _BoxSamRun(recipe, network, fabric, out)
    if (out / CHECKPOINT).is_file():
        run.restore(load_checkpoint(out / CHECKPOINT))
    run.fit(samples, progress)
    network.eval()
    result = run.figures() | {"photographs": len(parts.train)}
    if held:
        result |= {"iou": mean_iou(network, held, recipe, prepare), "iou_of_base": before}
    run.save(sha256, result)
    return result


def box_sam_loss(network: ClassPromptedSam, sample: BoxSample, weights: SamLossSection) -> Tensor:
    """Measure the loss of a photograph's objects: cross-entropy, Dice, and the expected IoU's.

    Each object counts the same. The paper's loss is the first term alone (Table I).
    """
    place = network.table.weight.device
    logits, quality = network.decode(
        sample.embedding.to(place), sample.boxes.to(place), sample.labels.to(place)
    )
    target = sample.target.to(place)
    seen = logits[:, : target.shape[1], : target.shape[2]].float()
    loss = binary_cross_entropy(seen, target).mean()
    if weights.dice:
        loss = loss + weights.dice * weighted_dice(seen, target, foreground_weight=1.0).mean()
    if weights.quality:
        drawn, wanted = seen.detach() > 0, target > 0
        both = (drawn & wanted).flatten(1).sum(1)
        either = (drawn | wanted).flatten(1).sum(1).clamp(min=1)
        loss = loss + weights.quality * (quality.float() - both / either).square().mean()
    return loss


def mean_iou(
    network: ClassPromptedSam,
    photographs: Sequence[InstancePhotograph],
    recipe: BoxSamRecipe,
    prepare: Prepare,
) -> dict[str, float]:
    """Score masks drawn in jittered true boxes, in every light of the test.

    Returns:
        By light, as text: mean IoU over objects, 0-1.
    """
    told = {}
    for light in recipe.light.test:
        ious: list[float] = []
        for number, photograph in enumerate(photographs):
            if len(photograph.labels):
                rng = np.random.default_rng([recipe.light.seed, number])
                ious += _ious(network, photograph.darkened(light, seed=recipe.light.seed),
                              prepare, rng)  # fmt: skip
        told[f"{light:g}"] = round(float(np.mean(ious)), 4)
    return told


def _ious(
    network: ClassPromptedSam,
    photograph: InstancePhotograph,
    prepare: Prepare,
    rng: np.random.Generator,
) -> list[float]:
    size = photograph.image.shape[0], photograph.image.shape[1]
    asked = Detections(
        jitter_boxes(photograph.boxes, size, rng=rng),
        photograph.labels,
        np.ones(len(photograph.labels), np.float32),
        photograph.masks,
    )
    answered = answer_boxes(network, shown(photograph, prepare), asked)
    both = (answered.masks & photograph.masks).sum(axis=(1, 2))
    either = (answered.masks | photograph.masks).sum(axis=(1, 2))
    return [float(value) for value in both / np.maximum(either, 1)]


def _claim(recipe: BoxSamRecipe, out: Path, *, resume: bool) -> None:
    saved = out / RECIPE
    if not saved.is_file():
        save_box_sam_recipe(recipe, saved)
        return
    if not resume:
        raise OutputError(f"{out}: holds a run already. Add --resume or choose another --out.")
    if load_box_sam_recipe(saved) != recipe:
        raise RecipeError(
            f"{saved}: the run was begun with another recipe. Resume with the same one, or choose "
            "another --out."
        )


def _precision(recipe: BoxSamRecipe) -> Any:  # noqa: ANN401 - a Literal of Lightning's own
    if recipe.train.precision != "auto":
        return recipe.train.precision
    return "bf16-mixed" if torch.cuda.is_available() else "32-true"


class _BoxSamRun:
    """Network, optimiser and log of a run, step by step."""

    def __init__(
        self, recipe: BoxSamRecipe, network: ClassPromptedSam, fabric: Fabric, out: Path
    ) -> None:
        self.recipe, self.out, self.fabric = recipe, out, fabric
        self.network = network
        set_trainable(network)
        optimizer = build_optimizer(network, recipe.train)
        self.schedule = build_schedule(optimizer, recipe.train)
        self.wrapped, self.optimizer = fabric.setup(network, optimizer)
        self.log = RunLog(out)
        self.step = 0
        self.seconds = 0.0

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to the step of a checkpoint."""
        load_trained(self.network, state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.step = int(state["step"])
        self.seconds = float(state["seconds"])
        self.log.rewind(self.step)

    def fit(self, samples: BoxSamples, progress: Progress) -> None:
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

    def figures(self) -> dict[str, Any]:
        """Give plain values of the run."""
        return {
            "steps": self.step,
            "seconds": round(self.seconds, 1),
            "loss": self.log.last_loss(),
        }

    def save(self, sha256: str, result: dict[str, Any]) -> None:
        """Write bundle and result."""
        recipe = self.recipe
        bundle = BoxSamBundle(
            name=recipe.name,
            base=recipe.sam.base,
            sha256=sha256,
            peft=recipe.sam.peft,
            rank=4,
            categories=recipe.photographs.categories,
            network=self.network.cpu(),
            metrics=result,
            training={"recipe": recipe.model_dump(mode="json"), "headframe": __version__},
        )
        save_box_sam(bundle, self.out / "bundle")
        write_json(self.out / RESULT, result)

    def _one_step(self, batch: Sequence[BoxSample]) -> None:
        checksum = 0
        total = 0.0
        self.optimizer.zero_grad()
        for sample in batch:  # photograph by photograph: each has another number of boxes
            checksum = zlib.crc32(sample.boxes.numpy().tobytes(), checksum)
            with self.fabric.autocast():
                loss = box_sam_loss(self.network, sample, self.recipe.loss) / len(batch)
            self.fabric.backward(loss)
            total += float(loss.detach())
        if not math.isfinite(total):
            raise JobError(f"{self.out}: the loss is {total} at step {self.step}. Lower train.lr.")
        self.fabric.clip_gradients(
            self.wrapped, self.optimizer, max_norm=self.recipe.train.clip_norm
        )
        rate = float(self.schedule.get_last_lr()[-1])
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        self.log.add(step=self.step, loss=total, lr=rate, batch=f"{checksum:08x}")

    def _checkpoint(self) -> None:
        self.log.flush()
        save_checkpoint(
            self.out / CHECKPOINT,
            {
                "network": trained_state(self.network),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "step": self.step,
                "seconds": self.seconds,
            },
        )
