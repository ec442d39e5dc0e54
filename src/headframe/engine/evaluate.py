"""Scoring a model on a data set: whole chips, pooled and imagewise, by site and by split."""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from headframe.core.errors import DatasetError, OutputError, UnitError, UnknownNameError
from headframe.core.progress import SILENT, Progress
from headframe.core.sensors import get_sensor
from headframe.datasets.chips import Chip, ChipDataset
from headframe.datasets.labels import target_of_classes
from headframe.engine.bundle import Bundle
from headframe.engine.evaluation import BOUNDARY_PX, ChipResult, Evaluation
from headframe.engine.evaluation_report import write_report
from headframe.engine.prediction import predicted
from headframe.io.files import make_folder
from headframe.metrics.boundary import boundary_counts
from headframe.metrics.confusion import confusion

SPLITS = ("auto", "train", "val", "test", "all")

_LOG = logging.getLogger("headframe")


def evaluate(
    bundle: Bundle,
    dataset: ChipDataset,
    *,
    split: str | None = "auto",
    by: Literal["site"] | None = None,
    out: Path | None = None,
    boundary_px: int = BOUNDARY_PX,
    progress: Progress = SILENT,
) -> Evaluation:
    """Score a model on a data set.

    Args:
        bundle: the model; moved to a GPU where there is one.
        dataset: chips with labels.
        split: ``train``, ``val``, ``test``, ``all`` (or None), or ``auto``: ``test`` where the
            model was trained on this very data set and it has one, else all chips.
        by: ``site`` lists the sites in reports.
        out: folder for the report (``evaluation_report.write_report``); None writes nothing.
        boundary_px: width of the boundary that boundary IoU compares, >= 1.
        progress: told of every chip.

    Returns:
        The scores. Sites that the model was trained on are named in it and in a warning.

    Raises:
        UnknownNameError: no such split.
        DatasetError: no chip in the split, or classes that are not the model's.
        BandError: the data set lacks a band of the model.
        UnitError: the data set holds another quantity (radar, reflectance) than the model needs.
        OutputError: ``out`` cannot be written.
    """
    chosen = choose_split(bundle, dataset, split or "all")
    chips = dataset.chips(None if chosen == "all" else chosen)
    if not chips:
        raise DatasetError(
            f"{dataset.root}: no chip in split {chosen}. Choose another --split, or all."
        )
    in_sample = _seen_in_training(bundle, chips)
    if out is not None:
        _make_folder(out)
    if torch.cuda.is_available():
        bundle.network.to("cuda")
    progress.start(f"Evaluating {bundle.spec.name}", len(chips))
    result = evaluate_chips(bundle, dataset, chips, boundary_px=boundary_px, progress=progress)
    progress.finish()
    result = replace(result, split=chosen, in_sample=in_sample, by_site=by == "site")
    if out is not None:
        write_report(result, bundle, dataset, out)
    return result


def evaluate_chips(
    bundle: Bundle,
    dataset: ChipDataset,
    chips: Sequence[Chip],
    *,
    boundary_px: int = BOUNDARY_PX,
    progress: Progress = SILENT,
) -> Evaluation:
    """Score a model on given chips of a data set, on the device its network is on.

    Args:
        bundle: the model.
        dataset: where the chips are.
        chips: at least one.
        boundary_px: as in ``evaluate``.
        progress: advanced by one for every chip; neither started nor finished.

    Returns:
        The scores, with ``split`` "chosen".

    Raises:
        DatasetError: no chips, or classes that are not the model's.
        BandError: as in ``evaluate``.
        UnitError: as in ``evaluate``.
    """
    if not chips:
        raise DatasetError(f"{dataset.root}: no chips to evaluate.")
    check_fit(bundle, dataset)
    classes = len(bundle.spec.classes)
    results = []
    for chip in chips:
        arrays, pred = predicted(bundle, dataset, chip)
        counts = confusion(pred, arrays.label, classes)
        boundary = boundary_counts(pred, arrays.label, index=classes - 1, distance_px=boundary_px)
        results.append(ChipResult(chip, counts, boundary))
        progress.advance()
    return Evaluation(
        model=bundle.spec.name,
        dataset=dataset.root.name,
        split="chosen",
        classes=bundle.spec.classes,
        chips=tuple(results),
        boundary_px=boundary_px,
    )


def choose_split(bundle: Bundle, dataset: ChipDataset, split: str) -> str:
    """Resolve ``auto``: the test part of the model's own data set, all chips of any other.

    Returns:
        ``train``, ``val``, ``test`` or ``all``.

    Raises:
        UnknownNameError: ``split`` is none of ``SPLITS``.
    """
    if split not in SPLITS:
        raise UnknownNameError.of("split", split, SPLITS)
    if split != "auto":
        return split
    own = bundle.spec.training.get("dataset_id") == dataset.identifier
    return "test" if own and dataset.chips("test") else "all"


def check_fit(bundle: Bundle, dataset: ChipDataset) -> None:
    """Check that a data set is of the kind a model was made for.

    Raises:
        UnitError: radar chips for a model of reflectance, or the reverse.
        DatasetError: a model of more than two classes, neither those of the labels nor a class
            set of component masks.
    """
    spec, manifest = bundle.spec, dataset.manifest
    needs, has = get_sensor(spec.inputs.sensor), get_sensor(manifest.sensor)
    quantities = {needs.part(band).quantity for band in spec.inputs.bands}
    lacking = sorted(quantities - {part.quantity for part in has.simple})
    if lacking:
        raise UnitError(
            f"{dataset.root}: holds {has.quantity} ({has.name}); model {spec.name} needs "
            f"{' and '.join(lacking)} ({needs.name}). Choose another model, "
            "or other images with --sensor."
        )
    if not {part.name for part in needs.simple} <= {part.name for part in has.simple}:
        _LOG.warning(
            "%s holds %s; model %s was trained on %s.",
            dataset.root,
            has.name,
            spec.name,
            needs.name,
        )
    names, labels = spec.classes.names, manifest.class_map.names
    target = target_of_classes(spec.classes, manifest)
    if target is None:
        raise DatasetError(
            f"{dataset.root}: has classes {', '.join(labels)}; model {spec.name} writes "
            f"{', '.join(names)}. Choose a model of these classes."
        )
    if target == "binary" and manifest.labels == "bits":
        _LOG.warning(
            "model %s writes %s, which is no component: it is scored against all ten together.",
            spec.name,
            names[-1],
        )


def _make_folder(out: Path) -> None:
    """Make the report's folder before the work, so that a bad one costs no time."""
    make_folder(out)
    if not os.access(out, os.W_OK):
        raise OutputError(f"{out}: cannot be written. Choose another --out.")


def _seen_in_training(bundle: Bundle, chips: Sequence[Chip]) -> tuple[str, ...]:
    """Sites of ``chips`` that the model was trained on; warns where there are any."""
    known = set(bundle.spec.training.get("sites", ()))
    sites = {chip.site for chip in chips}
    seen = tuple(sorted(sites & known))
    if seen:
        _LOG.warning(
            "%d of %d sites were among the training sites of %s (%s%s): their scores are in-sample "
            "and say little about new places.",
            len(seen),
            len(sites),
            bundle.spec.name,
            ", ".join(seen[:3]),
            ", …" if len(seen) > 3 else "",
        )
    return seen
