"""What ``underground segment`` found, scored against labels or a coloured mask."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import ImageColor

from headframe.core.detections import Detections, boxes_of
from headframe.core.errors import DatasetError, FormatError, InputError
from headframe.datasets.coco import read_coco
from headframe.datasets.instances import (
    InstanceSet,
    LabelledImage,
    Region,
    merge_classes,
    numbered,
    region_mask,
)
from headframe.engine.detector_training import labels_of
from headframe.io.files import write_json, write_text
from headframe.io.images import read_image
from headframe.metrics.instances import InstanceEvaluation, InstanceReport
from headframe.metrics.matching import encode
from headframe.underground.segment.record import PEOPLE, PERSON

SHOWN = ("mask_ap", "mask_ap50", "precision", "recall", "f1", "pixel_f1", "iou")
LEAST_PX = 16
"""Smaller pieces of a coloured mask are no objects."""


@dataclass(frozen=True)
class ScoreOptions:
    """What counts.

    Attributes:
        score: objects of at least this score count; average precision takes all.
        only: classes to score; empty: those of the truth.
        merge: classes joined on both sides before, as ``road+wall+roof=surrounding``; a class that
            a side does not have is left out of the rule there.
    """

    score: float = 0.5
    only: tuple[str, ...] = ()
    merge: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScoreReport:
    """What came of it.

    Attributes:
        report: measures.
        counts: class -> true, found, hit: objects, groups that nobody told apart left out.
        left_out: classes that were found and not scored, and how many objects of them.
        unlabelled: photographs that were segmented and have no truth.
    """

    report: InstanceReport
    counts: Mapping[str, Mapping[str, int]]
    left_out: Mapping[str, int] = field(default_factory=dict)
    unlabelled: int = 0

    def to_json(self) -> dict[str, Any]:
        """Give plain values; what has no value is None."""
        return {
            "images": self.report.images,
            "mean": _plain(self.report.mean),
            "classes": {
                name: {**self.counts[name], **_plain(measures)}
                for name, measures in self.report.per_class.items()
            },
            "left_out": dict(self.left_out),
            "unlabelled": self.unlabelled,
        }


def score_found(
    found: Path, truth: InstanceSet, options: ScoreOptions | None = None
) -> ScoreReport:
    """Score detections.

    People are ``person`` on both sides, whatever a data set calls them.

    Args:
        found: ``instances.json`` of ``underground segment``, or its folder; every object has a
            score.
        truth: labels; photographs go by the names that ``found`` has for them.
        options: what counts.

    Raises:
        MissingFileError, FormatError: no COCO file, an object without a score, or photographs of
            other sizes.
        DatasetError: a photograph with truth that was not segmented, or a class on neither side.
    """
    options = options or ScoreOptions()
    path = labels_of(str(found))
    ours = _named(read_coco(path), options.merge)
    theirs = _named(truth, options.merge)
    for rule in options.merge:
        _check_rule(rule, ours, theirs)
    chosen = options.only or tuple(theirs.categories)
    for name in chosen:
        if name not in ours.categories and name not in theirs.categories:
            known = ", ".join(dict.fromkeys((*theirs.categories, *ours.categories)))
            raise DatasetError(f"--only {name}: no such class; there are {known}.")
    if not chosen:
        raise DatasetError("the truth names no class. Give labels with classes.")
    classes = numbered(chosen)
    images = {image.file_name: image for image in ours.images}
    evaluation = InstanceEvaluation(classes, score=options.score)
    for wanted in theirs.images:
        seen = images.get(wanted.file_name)
        if seen is None:
            raise DatasetError(
                f"{wanted.file_name}: has truth and is not among the {len(images)} photographs of "
                f"{path}. Segment the folder that the labels' names start from."
            )
        _add(evaluation, seen, wanted, classes=classes, path=path)
    others = {n: c for n, c in ours.count().items() if n not in classes and c}
    labelled = {image.file_name for image in theirs.images}
    return ScoreReport(
        evaluation.report(), _counts(evaluation), others, len(set(images) - labelled)
    )


def mask_truth(
    path: Path, colours: Mapping[str, str], *, name: str, least_px: int = LEAST_PX
) -> InstanceSet:
    """Read a coloured mask: each connected piece of a colour is an object.

    Args:
        path: a picture of exact colours, no JPEG.
        colours: class -> colour, ``red``, ``#00ff00`` or as CSS names it.
        name: of the photograph that the mask is of.
        least_px: smaller pieces are left out.

    Raises:
        InputError: a colour that is none.
        DatasetError: a colour that the mask does not have.
        FormatError, MissingFileError: it cannot be read.
    """
    pixels = read_image(path)
    regions: list[Region] = []
    for category, text in colours.items():
        try:
            colour = ImageColor.getrgb(text)[:3]
        except ValueError as exc:
            raise InputError(f"--colour {category}={text}: is no colour. Try #ff0000.") from exc
        plane = (pixels == np.array(colour, np.uint8)).all(axis=2)
        if not plane.any():
            raise DatasetError(
                f"{path}: has no pixel of {text} ({category}). Name the colours that it has; a "
                "JPEG has none for certain."
            )
        count, pieces = cv2.connectedComponents(plane.astype(np.uint8), connectivity=8)
        masks = [pieces == number for number in range(1, count)]
        kept = np.array([mask for mask in masks if mask.sum() >= least_px], np.bool_)
        for code in encode(kept.reshape(-1, *plane.shape)):
            regions.append(Region(category, rle={**code, "counts": code["counts"].decode()}))
    image = LabelledImage(name, pixels.shape[0], pixels.shape[1], tuple(regions))
    return InstanceSet((image,), numbered(colours))


def write_score(report: ScoreReport, out: Path) -> None:
    """Write ``score.json`` and ``score.md`` into ``out``."""
    write_json(out / "score.json", report.to_json())
    heads = ("class", "true", "found", "hit", *SHOWN)
    text = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    text += [f"| {' | '.join(cells)} |" for cells in score_rows(report)]
    told = [f"{count} {name}" for name, count in report.left_out.items()]
    if told:
        text += ["", f"Found and not scored: {', '.join(told)}."]
    write_text(out / "score.md", "\n".join(text) + "\n")


def score_rows(report: ScoreReport) -> Iterator[tuple[str, ...]]:
    """Give a line a class and one of means: counts, then ``SHOWN``."""
    for name, measures in report.report.per_class.items():
        counts = report.counts[name]
        yield name, *(str(counts[n]) for n in ("true", "found", "hit")), *_cells(measures)
    yield "mean", "", "", "", *_cells(report.report.mean)


def _cells(measures: Mapping[str, float]) -> tuple[str, ...]:
    return tuple("-" if np.isnan(measures[n]) else f"{measures[n]:.3f}" for n in SHOWN)


def _plain(measures: Mapping[str, float]) -> dict[str, float | None]:
    return {n: None if np.isnan(v) else round(float(v), 4) for n, v in measures.items()}


def _named(labels: InstanceSet, rules: Sequence[str]) -> InstanceSet:
    """Call people ``person``, and join classes as far as they are there."""
    people = [name for name in labels.categories if name.lower() in PEOPLE and name != PERSON]
    told = [f"{'+'.join(people)}={PERSON}"] if people else []
    for rule in (*told, *rules):
        old, mark, new = rule.replace("->", "=").partition("=")
        names = [part.strip() for part in old.split("+")]
        here = [part for part in names if part in labels.categories]
        if not mark or not new.strip() or "" in names:
            raise DatasetError(f"--merge {rule!r}: write it as road+wall+roof=surrounding.")
        if here:
            labels = merge_classes(labels, [f"{'+'.join(here)}={new}"])
    return labels


def _check_rule(rule: str, *sides: InstanceSet) -> None:
    new = rule.replace("->", "=").partition("=")[2].strip()
    if not any(new in side.categories for side in sides):
        raise DatasetError(f"--merge {rule!r}: none of its classes is in the truth or was found.")


def _add(
    evaluation: InstanceEvaluation,
    seen: LabelledImage,
    wanted: LabelledImage,
    *,
    classes: Mapping[str, int],
    path: Path,
) -> None:
    size = seen.height, seen.width
    if wanted.height and (wanted.height, wanted.width) != size:
        raise FormatError(
            f"{wanted.file_name}: its truth is for {wanted.width} x {wanted.height} px, and it was "
            f"segmented at {seen.width} x {seen.height}. Segment the photograph that was labelled."
        )
    kept = [r for r in seen.regions if r.category in classes]
    if any(region.score is None for region in kept):
        raise FormatError(f"{path}: an object on {seen.file_name} has no score; give detections.")
    own = [r for r in wanted.regions if r.category in classes and r.has_area]
    truth, there = _objects(own, size, classes)
    crowd = np.array([region.crowd for region in own], np.bool_)[there]
    evaluation.update(truth, _objects(kept, size, classes)[0], crowd=crowd)


def _objects(
    regions: Sequence[Region], size: tuple[int, int], classes: Mapping[str, int]
) -> tuple[Detections, Any]:
    """Burn regions; those without a pixel are left out. Gives also which are kept, (n,) bool."""
    masks = np.array([region_mask(r, *size) for r in regions], np.bool_).reshape(-1, *size)
    there = np.asarray(masks.any(axis=(1, 2)))
    objects = Detections(
        boxes_of(masks),
        np.array([classes[r.category] for r in regions], np.int64),
        np.array([1.0 if r.score is None else r.score for r in regions], np.float32),
        masks,
    )
    return objects.select(there), there


def _counts(evaluation: InstanceEvaluation) -> dict[str, dict[str, int]]:
    """Sum the objects of all photographs."""
    total = np.sum(evaluation.objects, axis=0)
    return {
        name: {
            "true": int(total[at, at] + total[at, 0]),
            "found": int(total[at, at] + total[0, at]),
            "hit": int(total[at, at]),
        }
        for at, name in enumerate(evaluation.classes, start=1)
    }


def sole_image(found: Path) -> str:
    """Give the name of the only photograph that was segmented.

    Raises:
        InputError: there are several, or none.
    """
    images = read_coco(labels_of(str(found))).images
    if len(images) != 1:
        raise InputError(
            f"{found}: has {len(images)} photographs. Say with --image which the mask is of."
        )
    return images[0].file_name
