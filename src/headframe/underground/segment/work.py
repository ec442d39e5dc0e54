"""One frame through the chain, into a record, a picture and the journal; and the whole of a job."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headframe.core.errors import (
    InputError,
    OutputError,
    RecipeError,
    UnknownNameError,
)
from headframe.core.progress import SILENT, Progress
from headframe.io.footage import Source
from headframe.io.images import (
    Deep,
    Pixels,
    as_bytes,
    read_levels,
    write_image,
)
from headframe.underground.chain import Chain, Looked
from headframe.underground.faces import Face, Veil, head_of
from headframe.underground.segment.journal import Journal, write_instances, write_summary
from headframe.underground.segment.overlay import STYLES, backdrop, draw
from headframe.underground.segment.record import (
    PERSON_ID,
    FrameRecord,
    Mask,
    describe,
    output_categories,
)
from headframe.underground.segment.summary import summarise
from headframe.underground.segment.thermal import check_thermal, find_thermal, look_at_both

OVERLAYS, VIDEOS, OFF = "overlays", "videos", "off"
_LOG = logging.getLogger("headframe")


@dataclass(frozen=True)
class SegmentOptions:
    """What is written.

    Attributes:
        score: objects of at least this score count, 0-1.
        overlay: what masks are drawn on, ``bright`` or ``original``; ``off``: no pictures.
        overlay_px: long side of pictures and videos at most; 0: that of the input.
        every_s: seconds between the frames of a video that are looked at; None: all.
        thermal: thermal frames of the photographs.
        blur_faces: hide faces, and the heads of people that were found, in pictures and videos.
    """

    score: float = 0.5
    overlay: str = "bright"
    overlay_px: int = 1280
    every_s: float | None = None
    thermal: Path | None = None
    blur_faces: bool = False

    def __post_init__(self) -> None:
        """Check the values; raises RecipeError or UnknownNameError."""
        if not 0 <= self.score <= 1:
            raise RecipeError(f"--score {self.score}: give a number from 0 to 1.")
        if self.overlay not in (*STYLES, OFF):
            raise UnknownNameError.of("--overlay", self.overlay, (*STYLES, OFF))
        if self.overlay_px and self.overlay_px < 32:
            raise RecipeError(f"--overlay-px {self.overlay_px}: give 32 or more, or 0.")
        if self.every_s is not None and self.every_s <= 0:
            raise RecipeError(f"--every {self.every_s}: give seconds above 0.")


class Segmenter:
    """Looks at frames and writes what it sees.

    Attributes:
        journal: what is done.
        categories: name to number in ``instances.json``.
        options: what is written.
    """

    def __init__(self, chain: Chain, journal: Journal, options: SegmentOptions) -> None:
        """Take a chain to work with."""
        self._chain = chain
        self.journal = journal
        self.options = options
        self.categories, self._ids = output_categories(chain.categories)
        self._names = {number: name for name, number in self.categories.items()}
        self._veil = Veil()

    def look(
        self, levels: Deep, name: str, *, thermal: Path | None = None
    ) -> tuple[FrameRecord, Iterable[Mask], Looked]:
        """Look at (H, W, 3) uint8 or uint16.

        Returns:
            The record; the masks of its objects, reduced, to be drawn once; what the chain said.
        """
        sources: Sequence[str] | None = None
        if thermal is None:
            looked = self._chain.look_at(levels)
        else:
            looked, sources = look_at_both(self._chain, levels, thermal)
        record, masks = self._record(looked, name, sources)
        return record, masks, looked

    def _record(
        self, looked: Looked, name: str, sources: Sequence[str] | None
    ) -> tuple[FrameRecord, Iterable[Mask]]:
        found = looked.detections
        sure = np.flatnonzero((found.scores >= self.options.score) & found.masks.any(axis=(1, 2)))
        kept = found.select(sure)
        where = None if sources is None else [sources[int(place)] for place in sure]
        record = FrameRecord(
            file_name=name,
            width=looked.size[1],
            height=looked.size[0],
            objects=describe(kept, looked.size, ids=self._ids, sources=where),
            summary=summarise(kept, self._chain.categories),
            seconds={part: round(value, 5) for part, value in looked.seconds.items()},
        )
        return record, kept.masks if len(record.objects) == len(kept) else masks_of(record)

    def picture(
        self, pixels: Pixels, record: FrameRecord, masks: Iterable[Mask], *, at_s: float = 0.0
    ) -> Pixels:
        """Draw a record over (H, W, 3) uint8, of a video at its time."""
        base = self.backdrop(pixels)
        return self.drawn(self.veiled(base, record, at_s=at_s), record, masks)

    def backdrop(self, pixels: Pixels) -> Pixels:
        """Make the picture (h, w, 3) that is drawn on."""
        options = self.options
        return backdrop(pixels, longest_px=options.overlay_px, style=options.overlay)

    def veiled(self, base: Pixels, record: FrameRecord | None, *, at_s: float = 0.0) -> Pixels:
        """Hide faces in a backdrop, and the heads of a record's people, where that is asked for."""
        if not self.options.blur_faces:
            return base
        heads = () if record is None else heads_of(record, base.shape[:2])
        return self._veil.hide(base, heads, at_s=at_s)

    def drawn(self, base: Pixels, record: FrameRecord, masks: Iterable[Mask]) -> Pixels:
        """Draw a record over a backdrop, in place."""
        size = (record.height, record.width)
        return draw(base, record.objects, masks, size=size, names=self._names)

    def new_film(self) -> None:
        """Forget the faces of the film before."""
        self._veil = Veil()


def masks_of(record: FrameRecord) -> Iterator[Mask]:
    """Give the masks of a record on the photograph's pixels, one in memory at a time."""
    return (found.mask() for found in record.objects)


def heads_of(record: FrameRecord, size: tuple[int, ...]) -> tuple[Face, ...]:
    """Give where the heads of a record's people may be, in a picture of ``size`` (h, w)."""
    down, across = size[0] / record.height, size[1] / record.width
    boxes = [found.bbox for found in record.objects if found.category_id == PERSON_ID]
    return tuple(
        head_of(Face(round(x * across), round(y * down), round(w * across), round(h * down)))
        for x, y, w, h in boxes
    )


def segment_stills(
    work: Segmenter, sources: Sequence[Source], *, progress: Progress = SILENT
) -> tuple[list[str], list[tuple[Path, str]], InputError | None]:
    """Segment photographs that are not done yet; files that cannot be read are told of.

    Returns:
        Names of all that is done, what failed and why, and the first error.
    """
    check_thermal(work.options.thermal, len(sources))
    done: list[str] = []
    failed: list[tuple[Path, str]] = []
    first: InputError | None = None
    progress.start("Segmenting photographs", len(sources))
    for source in sources:
        try:
            if source.name not in work.journal:
                _segment_still(work, source)
            done.append(source.name)
        except OutputError:
            raise
        except InputError as exc:
            first = first or exc
            failed.append((source.path, str(exc)))
            _LOG.warning("%s", exc)
        progress.advance()
    progress.finish()
    return done, failed, first


def _segment_still(work: Segmenter, source: Source) -> None:
    levels = read_levels(source.path)
    root = work.options.thermal
    thermal = None if root is None else find_thermal(source.name, root)
    record, masks, _ = work.look(levels, source.name, thermal=thermal)
    if work.options.overlay != OFF:
        work.new_film()
        drawn = work.picture(as_bytes(levels), record, masks)
        write_image(work.journal.folder / OVERLAYS / f"{source.name}.jpg", drawn)
    work.journal.add(record)  # last: a frame in the journal has its picture


def finish(work: Segmenter, names: Sequence[str] | None, more: dict[str, Any]) -> dict[str, Any]:
    """Write ``instances.json`` and the summaries of these frames, or of all; give the totals."""
    write_instances(work.journal, names, work.categories)
    return write_summary(work.journal, names, more)
