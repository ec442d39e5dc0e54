"""What a comparison's methods found, kept as COCO results, and scored against the truth."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as rle_tools

from headframe.core.detections import Detections
from headframe.datasets.photographs import InstancePhotograph
from headframe.io.files import write_json
from headframe.metrics.instances import InstanceEvaluation
from headframe.metrics.matching import encode

Entries = list[dict[str, Any]]


def entries_of(name: str, found: Detections) -> Entries:
    """Give COCO results of one photograph, its name in the place of a number."""
    return [
        {
            "image_id": name,
            "category_id": int(label),
            "score": float(score),
            "bbox": [float(b[0]), float(b[1]), float(b[2] - b[0]), float(b[3] - b[1])],
            "segmentation": {**code, "counts": code["counts"].decode("ascii")},
        }
        for label, score, b, code in zip(
            found.labels, found.scores, found.boxes, encode(found.masks), strict=True
        )
    ]


def write_found(path: Path, entries: Entries) -> None:
    """Write the results of many photographs."""
    write_json(path, entries)


def read_found(path: Path) -> dict[str, Entries]:
    """Read results by photograph; one without an object is absent."""
    by_name: dict[str, Entries] = {}
    for entry in json.loads(path.read_text(encoding="utf-8")):
        by_name.setdefault(entry["image_id"], []).append(entry)
    return by_name


def detections_of(entries: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> Detections:
    """Give the objects of one photograph of ``size`` (H, W), without logits."""
    if not entries:
        return Detections.none(*size)
    boxes = np.array([entry["bbox"] for entry in entries], np.float32)
    boxes[:, 2:] += boxes[:, :2]
    masks = [np.asarray(rle_tools.decode(entry["segmentation"]), np.bool_) for entry in entries]
    return Detections(
        boxes,
        np.array([entry["category_id"] for entry in entries], np.int64),
        np.array([entry["score"] for entry in entries], np.float32),
        np.stack(masks),
    )


def truth_of(photograph: InstancePhotograph) -> Detections:
    """Give the true objects of a photograph; scores say nothing."""
    ones = np.ones(len(photograph.labels), np.float32)
    return Detections(photograph.boxes, photograph.labels, ones, photograph.masks)


def size_of(photograph: InstancePhotograph) -> tuple[int, int]:
    """Give (H, W) of a photograph."""
    return photograph.image.shape[0], photograph.image.shape[1]


def add_found(
    evaluation: InstanceEvaluation,
    photographs: Sequence[InstancePhotograph],
    found: Mapping[str, Entries],
) -> None:
    """Score photographs against what was found on them."""
    for photograph in photographs:
        seen = detections_of(found.get(photograph.name, []), size_of(photograph))
        evaluation.update(truth_of(photograph), seen, crowd=photograph.crowd)
