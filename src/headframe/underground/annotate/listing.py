"""Tables of masks: every score and decision, and what a person should look at."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.features import shapes
from shapely.geometry import Polygon

from headframe.datasets.instances import (
    InstanceSet,
    LabelledImage,
    Region,
    Ring,
    numbered,
    region_box,
    region_mask,
)
from headframe.datasets.via import write_via
from headframe.io.files import replacing, write_text
from headframe.underground.annotate.automatic import Round, labelled, region_of
from headframe.underground.annotate.gates import DROPPED, Judged, JudgedPhotograph
from headframe.underground.annotate.verdicts import (
    COLUMNS,
    DROP,
    KEEP,
    REVIEW,
    read_rows,
)

MASKS, REVIEW_VIA = "masks.csv", "review-via.json"
_MASK_COLUMNS = (
    "file_name", "mask", "decision", "reasons", "review", "category", "prompt", "detector_score",
    "predicted_iou", "stability", "agreement", "area_px",
)  # fmt: skip
_SIMPLER_PX = 0.7
_ACCEPTED, _REJECTED = "accepted", "rejected"


def write_masks(last: Round, out: Path, *, classes: Sequence[str]) -> None:
    """Write ``masks.csv``: every mask of the last round, its scores, and what became of it."""
    with (
        replacing(out / MASKS) as part,
        part.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_MASK_COLUMNS)
        for photograph in last.photographs():
            for judged in photograph.masks:
                writer.writerow(_mask_row(photograph.note.name, judged, classes))


def write_review(last: Round, out: Path, *, classes: Sequence[str]) -> int:
    """Write ``review.csv`` and ``review-via.json``: what a person should look at.

    Verdicts that stand in the list are kept, those too that were written while the run went on.

    Returns:
        How many lines wait for a verdict.
    """
    rows: dict[tuple[str, str], Mapping[str, Any]] = {}
    images = []
    for photograph in last.photographs():
        own = list(_review_rows(photograph, last, classes))
        if any(not row["verdict"] for row in own) and not photograph.note.trouble:
            images.append(_outlined(labelled(photograph, classes, number=last.number)))
        rows |= {(row["file_name"], row["mask"]): row for row in own}
    for row in read_rows(out / REVIEW):
        if row["verdict"]:
            at = row["file_name"], row["mask"]
            rows[at] = {**rows.get(at, row), "verdict": row["verdict"]}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    write_text(out / REVIEW, text.getvalue())
    write_via(InstanceSet(tuple(images), numbered(classes)), out / REVIEW_VIA)
    return sum(not row["verdict"] for row in rows.values())


def _mask_row(name: str, judged: Judged, classes: Sequence[str]) -> list[object]:
    candidate = judged.candidate
    agreement = candidate.agreement
    return [
        name,
        candidate.key(name),
        _ACCEPTED if judged.accepted else _REJECTED,
        "; ".join(judged.reasons),
        judged.review,
        classes[candidate.category - 1],
        candidate.origin,
        candidate.score,
        candidate.predicted_iou,
        candidate.stability,
        "" if agreement is None else round(agreement, 4),
        candidate.area,
    ]


def _review_rows(
    photograph: JudgedPhotograph, last: Round, classes: Sequence[str]
) -> Iterator[dict[str, Any]]:
    name, size = photograph.note.name, photograph.note.size
    nothing: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {"file_name": name}
    if photograph.note.trouble:
        yield nothing | {"decision": _REJECTED, "why": photograph.note.trouble}
    elif photograph.review:
        yield nothing | {"why": photograph.review}
    decided = last.decided.get(name, ())
    for kept in decided:
        told = {"mask": kept.key, "category": classes[kept.category - 1]}
        yield nothing | told | {"why": "reviewed", "verdict": KEEP if kept.keep else DROP}
    keys = {kept.key for kept in decided}
    for judged in photograph.masks:
        candidate, key = judged.candidate, judged.candidate.key(name)
        if not judged.review or judged.reviewed or DROPPED in judged.reasons or key in keys:
            continue
        x, y, wide, tall = region_box(region_of(judged, size, classes, last.number))
        yield {
            "file_name": name,
            "mask": key,
            "decision": _ACCEPTED if judged.accepted else _REJECTED,
            "why": judged.review,
            "category": classes[candidate.category - 1],
            "score": candidate.score,
            "predicted_iou": candidate.predicted_iou,
            "stability": candidate.stability,
            **{"x": x, "y": y, "width": wide, "height": tall, "verdict": ""},
        }


def _outlined(image: LabelledImage) -> LabelledImage:
    """Give a photograph with outlines in the place of run lengths, for VIA has no others."""
    regions = [_outline(region, image.height, image.width) for region in image.regions]
    return replace(image, regions=tuple(r for r in regions if r.rings))


def _outline(region: Region, height: int, width: int) -> Region:
    """Draw around the parts of a mask, simplified by less than a pixel, holes filled."""
    mask = region_mask(region, height, width).astype(np.uint8)
    traced = (told for told, _ in shapes(mask, mask=mask > 0, connectivity=4))
    parts = sorted((Polygon(*told["coordinates"][:1]) for told in traced), key=lambda p: -p.area)
    rings = tuple(_ring(part) for part in parts)
    told = {str(key): str(value) for key, value in (region.provenance or {}).items()}
    via = {"region_attributes": {"class": region.category, **told}}
    return replace(region, rings=rings, rle=None, via=via)


def _ring(part: Polygon) -> Ring:
    simple = part.exterior.simplify(_SIMPLER_PX)
    return tuple((float(x), float(y)) for x, y in simple.coords[:-1])
