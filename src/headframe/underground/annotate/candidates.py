"""What both networks say of one photograph, noted so that it need not be asked again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from faster_coco_eval.core import mask as rle_tools

from headframe.core.detections import Detections
from headframe.core.errors import OutputError
from headframe.engine.detector_data import FloatPixels
from headframe.engine.prompting.boxes import answer_boxes
from headframe.engine.prompting.decoding import stability
from headframe.io.files import write_json
from headframe.metrics.matching import encode
from headframe.models.detector import Detector
from headframe.models.sam.classprompt import ClassPromptedSam
from headframe.underground.annotate.prompts import Hint

Rle = Mapping[str, Any]
DETECTOR, BOX, POINT = "detector", "box", "point"
"""Where the box came from that SAM was asked about."""
_SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Sides of the boxes that are tried around a lone point, in shares of the short side."""


@dataclass(frozen=True)
class Candidate:
    """One object that SAM was asked about, in pixels of the photograph as it was reduced.

    Attributes:
        category: number of its class, as the networks count, 1 and up.
        box: x0, y0, x1, y1.
        origin: ``detector``, or ``box`` or ``point`` of a person.
        score: of the detector; 1 of what a person pointed at.
        predicted_iou: that SAM expects of its mask, 0-1.
        stability: IoU of SAM's mask at thresholds a logit higher and lower, 0-1.
        mask: SAM's, in COCO's compressed run lengths.
        own: the detector's; None of what a person pointed at.
    """

    category: int
    box: tuple[float, float, float, float]
    origin: str
    score: float
    predicted_iou: float
    stability: float
    mask: Rle
    own: Rle | None = None

    @property
    def sure(self) -> float:
        """Score times the expected IoU, as Mask Scoring R-CNN ranks masks."""
        return self.score * self.predicted_iou

    @property
    def area(self) -> int:
        """Pixels of SAM's mask."""
        return int(rle_tools.area(dict(self.mask)))

    @property
    def agreement(self) -> float | None:
        """IoU of SAM's and the detector's mask; None without the latter."""
        return None if self.own is None else overlaps(self.mask, [self.own])[0]

    def key(self, name: str) -> str:
        """Name a mask of photograph ``name`` by what it is: equal masks have equal keys."""
        told = json.dumps([name, self.category, self.mask["size"], self.mask["counts"]])
        return hashlib.sha256(told.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Note:
    """What was said of one photograph.

    Attributes:
        name: of the photograph.
        size: (H, W) as it is, upright.
        candidates: in the order asked.
        trouble: why it could not be read; empty where it could.
        hints: mark of what a person pointed at on it; empty where nobody did.
    """

    name: str
    size: tuple[int, int] = (0, 0)
    candidates: tuple[Candidate, ...] = ()
    trouble: str = ""
    hints: str = ""

    def write(self, folder: Path) -> None:
        """Keep it in ``folder``, under the photograph's name."""
        write_json(note_path(folder, self.name), asdict(self), indent=None)


def note_path(folder: Path, name: str) -> Path:
    """Give the file of a photograph's note."""
    return folder / f"{name}.json"


def read_note(folder: Path, name: str) -> Note:
    """Read what ``Note.write`` kept.

    Raises:
        OutputError: it is not there, or damaged.
    """
    path = note_path(folder, name)
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        candidates = tuple(Candidate(**{**c, "box": tuple(c["box"])}) for c in told["candidates"])
        return Note(told["name"], tuple(told["size"]), candidates, told["trouble"], told["hints"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise OutputError(f"{path}: damaged ({exc}). Delete it, run again.") from exc


def overlaps(mask: Rle, others: Sequence[Rle]) -> list[float]:
    """IoU of a mask with each of ``others``, all of one photograph and size."""
    if not others:
        return []
    ious = rle_tools.iou([dict(mask)], [dict(other) for other in others], [0] * len(others))
    return [float(value) for value in np.asarray(ious).ravel()]


def decode(rle: Rle) -> npt.NDArray[np.bool_]:
    """Give the mask of run lengths, (H, W)."""
    return np.asarray(rle_tools.decode(dict(rle)), np.bool_)


def look(
    pixels: FloatPixels, detector: Detector, sam: ClassPromptedSam, *, ask_score: float
) -> tuple[Candidate, ...]:
    """Ask SAM about what the detector finds.

    Args:
        pixels: (3, H, W) float32 in [0, 1], as both networks are to see it.
        detector: in evaluation mode.
        sam: in evaluation mode, of the same classes.
        ask_score: objects below are left out.

    Returns:
        The surest first.
    """
    (found,) = detector.detect([torch.from_numpy(pixels)], soft=False)
    found = found.above(ask_score)
    answered = answer_boxes(sam, pixels, found)
    drawn = _candidates(answered, DETECTOR)
    pairs = zip(drawn, found.scores, _codes(found.masks), strict=True)
    return tuple(replace(c, score=round(float(s), 6), own=own) for c, s, own in pairs)


def look_at(
    pixels: FloatPixels,
    hints: Sequence[Hint],
    *,
    numbers: Mapping[str, int],
    scale: float,
    detector: Detector,
    sam: ClassPromptedSam,
) -> tuple[Candidate, ...]:
    """Ask SAM about what a person pointed at.

    A point is first the detector's surest box of its class around it, whatever its score; where
    there is none, boxes of several sizes around it are tried, and the mask counts whose expected
    IoU times stability is highest. SAM itself is not told of points: a base that was trained with
    boxes alone draws worse masks with them (EXPERIMENTS.md).

    Args:
        pixels: (3, H, W) float32 in [0, 1], as both networks are to see it.
        hints: boxes and points, in pixels of the photograph as it is.
        numbers: class to number.
        scale: pixels of ``pixels`` to one of the photograph.
        detector: in evaluation mode.
        sam: in evaluation mode, of the same classes.

    Returns:
        One for each hint, in their order.
    """
    found = Detections.none(*pixels.shape[1:])
    if any(hint.is_point for hint in hints):
        (found,) = detector.detect([torch.from_numpy(pixels)], soft=False)
        found = found.above(0)
    tried: list[tuple[int, tuple[float, ...]]] = []
    for place, hint in enumerate(hints):
        here = tuple(scale * value for value in hint.box)
        boxes = _around(here, numbers[hint.category], found) if hint.is_point else [here]
        tried += [(place, box) for box in boxes]
    labels = np.array([numbers[hints[place].category] for place, _ in tried], np.int64)
    asked = Detections(
        np.array([box for _, box in tried], np.float32).reshape(-1, 4),
        labels,
        np.ones(len(tried), np.float32),
        np.zeros((len(tried), *pixels.shape[1:]), np.bool_),
    )
    drawn = _candidates(answer_boxes(sam, pixels, asked), BOX)
    best: dict[int, Candidate] = {}
    for (place, _), candidate in zip(tried, drawn, strict=True):
        known = best.get(place)
        if known is None or _rank(candidate) > _rank(known):
            best[place] = candidate
    return tuple(
        replace(best[place], origin=POINT if hint.is_point else BOX)
        for place, hint in enumerate(hints)
    )


def _around(point: tuple[float, ...], label: int, found: Detections) -> list[tuple[float, ...]]:
    """Boxes that may hold the object at a point: the detector's, else several sizes."""
    x, y = point[0], point[1]
    for box, own in zip(found.boxes, found.labels, strict=True):  # the surest first
        if own == label and box[0] <= x <= box[2] and box[1] <= y <= box[3]:
            return [tuple(float(value) for value in box)]
    height, width = found.size
    boxes = []
    for share in _SHARES:
        half = max(share * min(height, width) / 2, 1.0)
        box = max(x - half, 0.0), max(y - half, 0.0), min(x + half, width), min(y + half, height)
        boxes.append(tuple(float(value) for value in box))
    return boxes


def _rank(candidate: Candidate) -> float:
    return candidate.predicted_iou * candidate.stability


def _candidates(answered: Detections, origin: str) -> list[Candidate]:
    if not len(answered):
        return []
    assert answered.logits is not None
    steady = stability(torch.from_numpy(answered.logits)).tolist()
    rows = zip(answered.labels, answered.boxes, answered.scores, steady, _codes(answered.masks),
               strict=True)  # fmt: skip
    return [
        Candidate(
            category=int(label),
            box=_box(box),
            origin=origin,
            score=1.0,
            predicted_iou=round(float(expected), 6),
            stability=round(float(stable), 6),
            mask=code,
        )
        for label, box, expected, stable, code in rows
    ]


def _box(box: npt.NDArray[np.float32]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (round(float(value), 2) for value in box)
    return x0, y0, x1, y1


def _codes(masks: npt.NDArray[np.bool_]) -> list[Rle]:
    return [
        {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode("ascii")}
        for code in encode(masks)
    ]
