"""Contact sheets of masks: each object as it is, and beside it with its mask."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from headframe.datasets.instances import region_box, region_mask
from headframe.io.images import Pixels, read_image
from headframe.underground.annotate.automatic import Round, region_of
from headframe.underground.annotate.gates import Judged
from headframe.underground.contact_sheet import CELL_PX, Cell, thumbnail, write_sheets
from headframe.underground.segment.overlay import backdrop

ACCEPTED, REJECTED = "accepted.png", "rejected.png"
MOST = 256
"""Masks on the sheets of either kind, those nearest to the gates first."""
_AROUND, _SHARE = 0.3, 0.35
_COLOUR = np.array((240, 110, 20), np.uint8)
_LEAST_PX = 32


def write_mask_sheets(
    last: Round, images: Path, out: Path, *, classes: Sequence[str]
) -> list[Path]:
    """Draw masks that were taken and masks that were not onto sheets.

    Those that were taken come with the least sure first, the others with the surest first.

    Args:
        last: the round.
        images: folder of the photographs.
        out: folder to write into.
        classes: names of the networks' classes 1, 2, ….

    Returns:
        What was written; no sheet where there is no mask.
    """
    taken: list[tuple[float, str, Judged]] = []
    others: list[tuple[float, str, Judged]] = []
    for photograph in last.photographs():
        for judged in photograph.masks:
            sure = judged.candidate.sure
            row = (sure if judged.accepted else -sure, photograph.note.name, judged)
            (taken if judged.accepted else others).append(row)
    written = []
    for name, rows in ((ACCEPTED, taken), (REJECTED, others)):
        rows.sort(key=lambda row: row[:2])
        for old in out.glob(f"{Path(name).stem}-[0-9]*.png"):
            old.unlink()
        (out / name).unlink(missing_ok=True)
        title = f"{Path(name).stem}: {len(rows)} masks"
        if len(rows) > MOST:
            title += f", {MOST} of them here"
        cells = _cells(rows[:MOST], images, classes)
        written += write_sheets(cells, out / name, title=title)
    return written


def _cells(
    rows: Iterable[tuple[float, str, Judged]], images: Path, classes: Sequence[str]
) -> Iterator[Cell]:
    for _, name, judged in rows:
        plain, marked = _pictures(read_image(images / name), judged, classes)
        candidate = judged.candidate
        told = f"{classes[candidate.category - 1]} {candidate.score:.2f}"
        told += f" iou {candidate.predicted_iou:.2f} steady {candidate.stability:.2f}"
        why = ", ".join(judged.reasons) or judged.review
        yield Cell(thumbnail(plain), name, f"{why}; {told}" if why else told, thumbnail(marked))


def _pictures(pixels: Pixels, judged: Judged, classes: Sequence[str]) -> tuple[Pixels, Pixels]:
    """Cut the photograph around an object: bright, and bright with its mask; small ones larger."""
    size = pixels.shape[0], pixels.shape[1]
    region = region_of(judged, size, classes, 0)
    x, y, wide, tall = region_box(region)
    aside, above = (max(side * _AROUND, _LEAST_PX) for side in (wide, tall))
    rows = slice(max(int(y - above), 0), int(y + tall + above) + 1)
    cols = slice(max(int(x - aside), 0), int(x + wide + aside) + 1)
    plain = backdrop(pixels, longest_px=0, style="bright")[rows, cols]
    mask = region_mask(region, *size)[rows, cols].astype(np.uint8)
    times = max(CELL_PX[1] // max(plain.shape[:2]), 1)
    plain, mask = (part.repeat(times, axis=0).repeat(times, axis=1) for part in (plain, mask))
    marked = plain.copy()
    marked[mask > 0] = (marked[mask > 0] * (1 - _SHARE) + _COLOUR * _SHARE).astype(np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    thick = max(round(max(plain.shape[:2]) / CELL_PX[1]), 1)
    cv2.drawContours(marked, outlines, -1, _COLOUR.tolist(), thick)
    return plain, marked
