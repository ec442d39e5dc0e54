"""Training of detectors: photographs in many lights, one run folder, resumable to the same step."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn

from headframe import __version__
from headframe.core.errors import DatasetError, RecipeError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.coco import read_coco
from headframe.datasets.instances import InstanceSet, merge_classes
from headframe.datasets.photographs import InstancePhotograph, read_photographs
from headframe.datasets.splits import site_folds
from headframe.engine.detector_bundle import DetectorBundle, read_detector, save_detector
from headframe.engine.detector_data import (
    DetectorSamples,
    Sample,
    build_prepare,
    without_crowds,
)
from headframe.engine.detector_recipe import DetectorRecipe, PhotographSection
from headframe.engine.detectors import build_detector
from headframe.engine.recipe import OptimiserSection
from headframe.engine.step_run import RESULT, StepRun, claim_run, one_device
from headframe.engine.validation import Watch
from headframe.io.files import write_json
from headframe.models.detector import Detector

_LABELS = "instances.json"


@dataclass(frozen=True)
class DetectorParts:
    """Photographs of a recipe.

    Attributes:
        train: what is learnt from.
        test: what is held out; empty without a fold and without sources of its own.
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
    if section.held:
        return DetectorParts(own + more, _photographs(section.held, section, progress))
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
        labels = labels_of(source)
        found += read_photographs(
            _part(merge_classes(read_coco(labels), section.merge), section.most),
            photographs_of(labels, section.images),
            categories=section.categories,
            short_side_px=section.short_side_px,
            progress=progress,
        )
    return found


def labels_of(source: str) -> Path:
    """Give the COCO file of a source: itself, or ``instances.json`` in it."""
    path = Path(source)
    return path / _LABELS if path.is_dir() else path


def photographs_of(labels: Path, images: str | None = None) -> Path:
    """Give the folder that names start from.

    Args:
        labels: a COCO file.
        images: the folder, where it is told; else it is ``images`` beside the labels, or theirs.
    """
    root = Path(images) if images else labels.parent / "images"
    return root if root.is_dir() else labels.parent


def _part(labels: InstanceSet, most: int | None) -> InstanceSet:
    """Keep some photographs, evenly spread over the list, the first among them."""
    count = len(labels.images)
    if most is None or count <= most:
        return labels
    kept = tuple(labels.images[place * count // most] for place in range(most))
    return replace(labels, images=kept)


def train_detector(
    recipe: DetectorRecipe,
    *,
    out: Path,
    resume: bool = False,
    accelerator: str = "auto",
    watching: Callable[[Detector], Watch] | None = None,
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
        watching: given the network, says what is measured on the way, into ``validation.csv``;
            no part of the recipe, for it changes nothing of the run.
        progress: told of every photograph and step.

    Returns:
        Plain values: steps, seconds, last loss, parameters, photographs.

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
    settings = recipe.train.for_photographs(len(parts.train))
    run = _DetectorRun(network, settings, fabric=fabric, out=out)
    watch = None if watching is None else watching(run.detector)
    run.fit(samples, progress, name=recipe.name, watch=watch)
    network.eval().cpu()
    parameters = sum(value.numel() for value in network.parameters())
    result = {**run.figures(), "parameters": parameters, "photographs": len(parts.train)}
    bundle = DetectorBundle(
        name=recipe.name,
        architecture=recipe.detector.architecture,
        options=recipe.detector.options,
        categories=recipe.photographs.categories,
        prepare=recipe.prepare,
        network=network,
        metrics=result,
        training={"recipe": recipe.model_dump(mode="json"), "headframe": __version__},
    )
    save_detector(bundle, out / "bundle")
    write_json(out / RESULT, result)
    return result


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


class _DetectorRun(StepRun[Sample]):
    """A run whose loss is that of a batch of photographs at once."""

    def __init__(
        self, network: nn.Module, settings: OptimiserSection, *, fabric: Fabric, out: Path
    ) -> None:
        if not isinstance(network, Detector):
            raise RecipeError(f"{type(network).__name__} is no detector.")
        self.detector = network
        network.to(memory_format=torch.channels_last).train()
        super().__init__(network, settings, fabric=fabric, out=out)

    def learn(self, batch: Sequence[Sample]) -> tuple[float, int]:
        checksum = 0
        for sample in batch:
            checksum = zlib.crc32(sample.image.numpy().tobytes(), checksum)
        clean = [sample.clean for sample in batch if sample.clean is not None]
        with self.fabric.autocast():
            terms = self.detector.forward_train(
                [sample.image for sample in batch],
                [sample.target for sample in batch],
                clean=clean or None,
            )
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        self.fabric.backward(loss)
        return loss.detach().item(), checksum
