"""How good a round is, on manual labels that nothing learnt from.

Automatic labels never count as truth: SAM drew them, and would be favoured (methods.md, section
1.6).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from headframe.core.detections import Detections
from headframe.datasets.instances import numbered
from headframe.datasets.photographs import InstancePhotograph
from headframe.engine.box_sam import mean_iou
from headframe.engine.detector_data import without_crowds
from headframe.engine.detector_recipe import BRIGHT
from headframe.io.files import write_json
from headframe.metrics.instances import InstanceEvaluation, difference
from headframe.underground.annotate.candidates import Candidate, Note, decode, read_note
from headframe.underground.annotate.stages import BASE, Networks, Workshop

ALONE, WITH_SAM = "detector", "with SAM"
METHODS = (ALONE, WITH_SAM)
MEASURES = ("mask_ap", "mask_ap50", "f1", "pixel_f1", "iou")
HELD_SCORE = 0.05
"""Detections of the photographs held back from here on count, for average precision needs them."""


@dataclass(frozen=True)
class HeldFigures:
    """What a round's networks find on the photographs held back.

    Attributes:
        name: of the round, ``before`` first.
        evaluations: by method, the detector's masks and SAM's in its boxes.
        true_boxes: mean IoU of SAM's masks in true boxes, jittered; NaN without objects.
    """

    name: str
    evaluations: dict[str, InstanceEvaluation]
    true_boxes: float

    def flat(self, before: "HeldFigures") -> list[dict[str, object]]:
        """Give a row a method: measures, and the gain in AP50 over ``before`` with its interval."""
        rows: list[dict[str, object]] = []
        for method in METHODS:
            ours, theirs = self.evaluations[method], before.evaluations[method]
            mean, old = ours.report().mean, theirs.report().mean
            low, high = (0.0, 0.0) if self is before else difference(ours, theirs, "mask_ap50")
            rows.append(
                {
                    "round": self.name,
                    "method": method,
                    "photographs": len(ours.matches),
                    **{name: round(mean[name], 4) for name in MEASURES},
                    "ap50_gain": round(mean["mask_ap50"] - old["mask_ap50"], 4),
                    "ap50_gain_low": round(low, 4),
                    "ap50_gain_high": round(high, 4),
                    "sam_in_true_boxes": round(self.true_boxes, 4) if method == WITH_SAM else None,
                }
            )
        return rows


def measure(
    shop: Workshop, networks: Networks, held: Sequence[InstancePhotograph], *, name: str
) -> HeldFigures:
    """Ask a round's networks about the photographs held back, and score the answers.

    Args:
        shop: where steps are done.
        networks: of the round.
        held: manual photographs, in the light they were taken in.
        name: of the round.
    """
    names = [photograph.name for photograph in held]
    folder = shop.look(networks, names, ask_score=HELD_SCORE, hinted=False)
    notes = (read_note(folder, each) for each in names)
    evaluations = score(zip(held, notes, strict=True), shop.classes)
    told = _in_true_boxes(shop, networks, held)
    return HeldFigures(name, evaluations, told)


def _in_true_boxes(shop: Workshop, networks: Networks, held: Sequence[InstancePhotograph]) -> float:
    whole = [without_crowds(photograph) for photograph in held]
    if not any(len(photograph.labels) for photograph in whole):
        return float("nan")
    sam = BASE if networks.sam is None else networks.sam.name
    path = shop.folder / "true-boxes" / f"{sam}-{shop.mark(shop.material.held, shop.sam)}.json"
    if not path.is_file():
        light = shop.sam.light.model_copy(update={"test": (BRIGHT,)})
        recipe = shop.sam.model_copy(update={"light": light})
        found = mean_iou(shop.load(networks)[1], whole, recipe, shop.prepare())
        write_json(path, {"iou": found[f"{BRIGHT:g}"]})
    return float(json.loads(path.read_text(encoding="utf-8"))["iou"])


def score(
    pairs: Iterable[tuple[InstancePhotograph, Note]], classes: Sequence[str]
) -> dict[str, InstanceEvaluation]:
    """Score notes against true labels, with the detector's masks and with SAM's."""
    found = {method: InstanceEvaluation(numbered(classes)) for method in METHODS}
    for photograph, note in pairs:
        size = photograph.image.shape[0], photograph.image.shape[1]
        count = len(photograph.labels)
        truth = Detections(
            photograph.boxes, photograph.labels, np.ones(count, np.float32), photograph.masks
        )
        for method, evaluation in found.items():
            answer = _detections(note.candidates, size, own=method == ALONE)
            evaluation.update(truth, answer, crowd=photograph.crowd)
    return found


def _detections(candidates: Sequence[Candidate], size: tuple[int, int], *, own: bool) -> Detections:
    if not candidates:
        return Detections.none(*size)
    masks = [decode(c.own if own and c.own is not None else c.mask) for c in candidates]
    return Detections(
        np.array([c.box for c in candidates], np.float32),
        np.array([c.category for c in candidates], np.int64),
        np.array([c.score for c in candidates], np.float32),
        np.stack(masks),
    )
