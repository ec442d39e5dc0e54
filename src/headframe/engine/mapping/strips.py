"""Rows of tiles on their way to disk: blended, decided, outlined and kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headframe.core.classmap import IGNORE_INDEX
from headframe.core.progress import Progress
from headframe.engine.mapping.options import Refine
from headframe.engine.mapping.resume import Checkpoint
from headframe.engine.mapping.tiles import TileBatch, scene_block
from headframe.geo.blending import Blender
from headframe.geo.tiling import Tiling
from headframe.geo.window import Window
from headframe.io.cog import StripWriter
from headframe.io.files import replacing
from headframe.io.polygons import strip_parts, write_parts
from headframe.io.quicklook import Look, look_step, sampled, shrink_classes

FloatArray = NDArray[np.float32]

# Regions are numbered in strips of about this many pixels, whatever the scene's width.
_REGION_STRIP_PX = 2**20


@dataclass(frozen=True)
class ScoredBatch:
    """A batch with its scores.

    Attributes:
        batch: what was read.
        scores: (n, K, size, size) for the tiles that hold data.
    """

    batch: TileBatch
    scores: FloatArray


@dataclass(frozen=True)
class StripPart:
    """What one model gives to a scene's strips.

    Attributes:
        tag: end of the kinds of its files, ``-name``; empty for an only model.
        layers: its scores among those of all models.
        decide: its scores (K, h, w) to classes (h, w).
    """

    tag: str
    layers: slice
    decide: Callable[[FloatArray], NDArray[np.uint8]]


@dataclass(frozen=True)
class StripJob:
    """What stays the same over a scene's strips.

    Attributes:
        tiling: the tiles.
        shape: the scene's (H, W), pixels.
        parts: one a model.
        refine: a further rule, or None.
        keep_scores: also keep scores.
        keep_regions: also keep what polygons need.
        keep_best: also keep each pixel's score of its own class, for polygons drawn later.
    """

    tiling: Tiling
    shape: tuple[int, int]
    parts: Sequence[StripPart]
    refine: Refine | None
    keep_scores: bool
    keep_regions: bool
    keep_best: bool = False


class StripSink:
    """Takes batches in order, finishes a strip with each row of tiles, and commits it."""

    def __init__(self, job: StripJob, checkpoint: Checkpoint, progress: Progress) -> None:
        """Go on after the strips that ``checkpoint`` holds."""
        self._job = job
        self._checkpoint = checkpoint
        self._progress = progress
        self._blender = Blender(job.tiling, job.parts[-1].layers.stop)
        self._step = look_step(job.shape)
        done = checkpoint.done()
        if 0 < done < len(job.tiling.rows):
            self._blender.restore(checkpoint.carry(done - 1))
        self._scores: list[StripWriter] = []
        self._guarded = 0
        # One room for all strips: allocating anew for each leaves holes in memory.
        cuts = (*job.tiling.rows.cuts[:-1], job.shape[0])
        room = (max(np.diff(cuts)), job.shape[1])
        best = job.keep_regions or job.keep_best
        self._class_room = np.empty((len(job.parts), *room), dtype=np.uint8)
        self._best_room = np.empty(
            (len(job.parts), room[0] if best else 0, room[1]), dtype=np.float32
        )

    def write(self, scored: ScoredBatch) -> None:
        """Take one batch."""
        plan = scored.batch.plan
        following = iter(scored.scores)
        self._guarded += scored.batch.guarded
        for i, col in enumerate(plan.cols):
            if col == 0:
                self._begin(plan.row)
            scores = next(following) if scored.batch.filled[i] else None
            block = self._blender.add(plan.row, col, scores)
            self._block(plan.row, col, block, scored.batch, i)
            if col == len(self._job.tiling.cols) - 1:
                self._end(plan.row)
            self._progress.advance()

    def close(self) -> None:
        """Let go of files that a stopped run left open."""
        for file in self._scores:
            file.abandon()
        self._scores = []

    def _begin(self, row: int) -> None:
        first = scene_block(self._job.tiling, row, 0, self._job.shape)
        height, width = first.height, self._job.shape[1]
        self._classes = self._class_room[:, :height]
        self._best = self._best_room[:, :height]
        rows = len(range(first.row, first.row + height)[self._rows(first)])
        self._look = np.full((3, rows, -(-width // self._step)), np.nan, dtype=np.float32)
        for part in self._job.parts if self._job.keep_scores else ():
            path = self._checkpoint.file(f"scores{part.tag}", row, "tif")
            shape = (part.layers.stop - part.layers.start, height, width)
            self._scores.append(StripWriter(path, shape, "float32").__enter__())

    def _rows(self, block: Window) -> slice:
        return sampled(block.row, block.row + block.height, self._step)

    def _block(self, row: int, col: int, block: FloatArray, batch: TileBatch, i: int) -> None:
        """Decide one block and put it into the strip."""
        window = scene_block(self._job.tiling, row, col, self._job.shape)
        for number, part in enumerate(self._job.parts):
            scores = block[part.layers, : window.height, : window.width]
            self._decide(number, part, scores, window=window, valid=batch.valid[i])
        if batch.looks[i].size:
            first = -(-window.col // self._step)
            self._look[:, :, first : first + batch.looks[i].shape[2]] = batch.looks[i]

    def _decide(
        self,
        number: int,
        part: StripPart,
        scores: FloatArray,
        *,
        window: Window,
        valid: NDArray[np.bool_],
    ) -> None:
        """Decide one block of one model and put it into the strip."""
        classes = part.decide(scores)
        scores = np.where(valid, scores, np.float32(np.nan))
        classes[~valid] = IGNORE_INDEX
        if self._job.refine is not None:
            classes = self._job.refine(scores, classes)
            classes[~valid] = IGNORE_INDEX
        cols = slice(window.col, window.col + window.width)
        self._classes[number, :, cols] = classes
        if len(self._best[number]):
            self._best[number, :, cols] = _score_of(scores, classes)
        if self._scores:
            where = Window(0, window.col, window.height, window.width)
            self._scores[number].write(np.ascontiguousarray(scores), where)

    def _end(self, row: int) -> None:
        """Keep a finished strip."""
        first = scene_block(self._job.tiling, row, 0, self._job.shape)
        height = self._classes.shape[1]
        while self._scores:
            self._scores.pop(0).__exit__(None, None, None)
        for part, classes, best in zip(self._job.parts, self._classes, self._best, strict=True):
            self._keep(f"classes{part.tag}", row, classes, "uint8")
            if self._job.keep_best:
                self._keep(f"best{part.tag}", row, best, "float32")
            if self._job.keep_regions:
                path = self._checkpoint.file(f"regions{part.tag}", row, "arrow")
                keep_regions(path, classes, best, first_row=first.row)
        start, small = shrink_classes(self._classes[0], first_row=first.row, step=self._step)
        look_first = -(-first.row // self._step)
        write_look(
            self._checkpoint.file("look", row, "npz"),
            small=small,
            start=start,
            bands=self._look,
            bands_start=look_first,
        )
        counts = np.zeros(256, dtype=np.int64)
        for line in self._classes[0]:  # line by line: bincount widens its input eightfold
            counts += np.bincount(line, minlength=256)
        facts = {
            "first_row": first.row,
            "height": height,
            "counts": {str(i): int(n) for i, n in enumerate(counts) if n},
            **({"guarded": self._guarded} if self._guarded else {}),
        }
        self._guarded = 0
        self._checkpoint.commit(row, facts, carry=self._blender.carry)

    def _keep(self, kind: str, row: int, values: NDArray[Any], dtype: str) -> None:
        path = self._checkpoint.file(kind, row, "tif")
        with StripWriter(path, (1, *values.shape), dtype) as file:
            file.write(values[None], Window(0, 0, *values.shape))


def keep_regions(
    path: Path, classes: NDArray[np.uint8], best: FloatArray, *, first_row: int
) -> None:
    """Keep the regions of a strip: classes (h, W) with each pixel's score of its own class."""
    height, width = classes.shape
    step = max(16, _REGION_STRIP_PX // width)
    parts = [
        strip_parts(classes[top : top + step], best[top : top + step], first_row=first_row + top)
        for top in range(0, height, step)
    ]
    write_parts(path, parts)


def _score_of(scores: FloatArray, classes: NDArray[np.uint8]) -> FloatArray:
    """Pick each pixel's score of its own class (K, h, w), (h, w) -> (h, w); 0 for nodata."""
    if scores.shape[0] == 1:
        return np.asarray(np.nan_to_num(scores[0]))
    index = np.where(classes == IGNORE_INDEX, 0, classes)[None].astype(np.intp)
    return np.asarray(np.nan_to_num(np.take_along_axis(scores, index, axis=0)[0]))


def write_look(
    path: Path,
    *,
    small: NDArray[np.uint8],
    start: int,
    bands: FloatArray,
    bands_start: int,
) -> None:
    """Keep a strip's part of the quick look."""
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, small=small, start=start, bands=bands, bands_start=bands_start)


def read_look(path: Path) -> Look:
    """Read what ``write_look`` wrote, on the rows of its classes."""
    with np.load(path, allow_pickle=False) as kept:
        small, bands = kept["small"], kept["bands"]
        first = int(kept["start"])
        offset = int(kept["bands_start"]) - first
    rows = np.full((3, *small.shape), np.nan, dtype=np.float32)
    rows[:, offset : offset + bands.shape[1]] = bands
    return Look(first, rows, small)
