"""Training of SAMs told boxes and classes: one run folder, resumable to the same step."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.fabric import Fabric
from torch import Tensor

from headframe import __version__
from headframe.core.detections import Detections
from headframe.core.progress import SILENT, Progress
from headframe.datasets.photographs import InstancePhotograph
from headframe.engine.box_sam_bundle import BoxSamBundle, build_box_sam, save_box_sam
from headframe.engine.box_sam_data import BoxSample, BoxSamples, BoxSampling, Store
from headframe.engine.box_sam_recipe import BoxSamRecipe, SamLossSection
from headframe.engine.detector_data import Prepare, build_prepare, shown, without_crowds
from headframe.engine.detector_training import read_parts
from headframe.engine.prompting.boxes import answer_boxes, jitter_boxes
from headframe.engine.recipe import OptimiserSection
from headframe.engine.step_run import RESULT, StepRun, claim_run, one_device
from headframe.io.files import write_json
from headframe.losses.instances import binary_cross_entropy, weighted_dice
from headframe.models.sam.classprompt import ClassPromptedSam

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
    finished = claim_run(recipe, out, resume=resume)
    if finished is not None:
        return finished
    fabric = one_device(recipe.train, accelerator)
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
    settings = recipe.train.for_photographs(len(parts.train))
    run = _BoxSamRun(network, recipe.loss, settings, fabric=fabric, out=out)
    run.fit(samples, progress, name=recipe.name)
    network.eval()
    result = run.figures() | {"photographs": len(parts.train)}
    if held:
        result |= {"iou": mean_iou(network, held, recipe, prepare), "iou_of_base": before}
    bundle = BoxSamBundle(
        name=recipe.name,
        base=recipe.sam.base,
        sha256=sha256,
        peft=recipe.sam.peft,
        rank=4,
        categories=recipe.photographs.categories,
        network=network.cpu(),
        metrics=result,
        training={"recipe": recipe.model_dump(mode="json"), "headframe": __version__},
    )
    save_box_sam(bundle, out / "bundle")
    write_json(out / RESULT, result)
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


class _BoxSamRun(StepRun[BoxSample]):
    """A run whose loss is that of one photograph after the other: each has its number of boxes."""

    def __init__(
        self,
        network: ClassPromptedSam,
        weights: SamLossSection,
        settings: OptimiserSection,
        *,
        fabric: Fabric,
        out: Path,
    ) -> None:
        self._sam = network
        self._weights = weights
        super().__init__(network, settings, fabric=fabric, out=out)

    def learn(self, batch: Sequence[BoxSample]) -> tuple[float, int]:
        checksum, total = 0, 0.0
        for sample in batch:
            checksum = zlib.crc32(sample.boxes.numpy().tobytes(), checksum)
            with self.fabric.autocast():
                loss = box_sam_loss(self._sam, sample, self._weights) / len(batch)
            self.fabric.backward(loss)
            total += float(loss.detach())
        return total, checksum
