"""One reel through all parts, a frame in memory at a time."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

from headframe.io.files import replacing, writing_into
from headframe.io.images import Pixels, as_bytes
from headframe.io.video import VideoWriter
from headframe.underground.chain import DETECT, ENHANCE, FUSE, GLUE, SAM
from headframe.underground.filter_report import DecisionTable
from headframe.underground.frame_filter import Decision, FilterOptions, FrameJudge
from headframe.underground.frame_scores import measure_frame, small_grey
from headframe.underground.meter import Meter
from headframe.underground.run.reels import Reel, ReelFrame
from headframe.underground.segment.films import numbered
from headframe.underground.segment.overlay import fitted, note
from headframe.underground.segment.record import FrameRecord, Mask
from headframe.underground.segment.tracks import Tracker
from headframe.underground.segment.work import OFF, VIDEOS, Segmenter, masks_of

DECODE, FILTER, FACES, DRAW, ENCODE = "decode", "filter", "faces", "draw", "encode"
REST = GLUE
PARTS = (DECODE, FILTER, ENHANCE, DETECT, SAM, FUSE, GLUE, FACES, DRAW, ENCODE)
"""In the order of the work; glue is all that is no other part's."""
TABLES = "filter"
REPEATED = "repeated"
_RATE = 25
_RECENT = 8


@dataclass
class Counts:
    """What became of a reel's frames.

    Attributes:
        frames: how many were read.
        looked_at: how many the networks saw, now or in a run before.
        left_out: the others by reason; of several reasons the first.
    """

    frames: int = 0
    looked_at: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "frames": self.frames,
            "looked_at": self.looked_at,
            "left_out": dict(sorted(self.left_out.items())),
        }


@dataclass(frozen=True, eq=False)
class _Seen:
    """A frame that was looked at; its masks, or None where they are in the record alone."""

    name: str
    record: FrameRecord
    masks: Iterable[Mask] | None

    def drawn(self) -> Iterable[Mask]:
        return masks_of(self.record) if self.masks is None else self.masks


class Pass:
    """Takes a reel through filter, chain and video; a context manager.

    Attributes:
        counts: what became of the frames so far.
    """

    def __init__(
        self, work: Segmenter, reel: Reel, meter: Meter, *, limits: FilterOptions | None
    ) -> None:
        """Prepare; nothing is opened.

        Args:
            work: looks, draws and notes.
            reel: the frames; it is open before this is.
            meter: counts what every part takes.
            limits: of the filter; None: every frame is looked at.
        """
        self._work, self._reel, self._meter = work, reel, meter
        self._limits = limits
        self._judge = None if limits is None else FrameJudge(limits)
        self._tracker = Tracker()
        self._recent: deque[_Seen] = deque(maxlen=max(_RECENT, limits.lookback if limits else 1))
        self._stack = ExitStack()
        self._video: VideoWriter | None = None
        self._table: DecisionTable | None = None
        self._size: tuple[int, int] | None = None
        self.counts = Counts()
        work.new_film()

    def __enter__(self) -> Self:
        """Open what is written."""
        out = self._work.journal.folder
        if self._work.options.overlay != OFF:
            path = out / VIDEOS / f"{self._reel.name}.mp4"
            self._video = self._stack.enter_context(VideoWriter(path, rate=_RATE))
        if self._judge is not None:
            self._stack.enter_context(writing_into(out))
            part = self._stack.enter_context(replacing(out / TABLES / f"{self._reel.name}.csv"))
            file = part.open("w", encoding="utf-8", newline="")
            self._table = DecisionTable(self._stack.enter_context(file))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the video and the table; on an error, remove what is half done."""
        self._stack.__exit__(kind, error, trace)

    def frames(self) -> Iterator[int]:
        """Take the frames through; yield the number of each when it is done."""
        waiting = self._reel.frames()
        while True:
            with self._meter.of(DECODE, frames=0):
                frame = next(waiting, None)
            if frame is None:
                return
            self._meter.parts[DECODE].frames += 1
            with self._meter.frame():
                self._take(frame)
            yield frame.index

    def _take(self, frame: ReelFrame) -> None:
        self.counts.frames += 1
        pixels = as_bytes(frame.levels)
        decision = self._decide(frame, pixels)
        told = ""
        shown: _Seen | None
        if decision is None or decision.kept:
            shown = self._look(frame)
            self.counts.looked_at += 1
            self._recent.append(shown)
        else:
            self.counts.left_out[decision.reasons[0]] += 1
            shown, told = self._like(decision), ", ".join(decision.reasons)
        if self._table is not None and decision is not None:
            self._table.add(decision)
        if self._video is not None:
            self._write(frame, pixels, shown, told)

    def _decide(self, frame: ReelFrame, pixels: Pixels) -> Decision | None:
        if self._judge is None or self._limits is None:
            return None
        with self._meter.of(FILTER):
            scores = measure_frame(pixels, dark_mean=self._limits.dark_mean, faces=False)
            grey = small_grey(pixels)
            decision = self._judge.judge(Path(frame.name), scores, lambda: grey)
            if decision.kept:
                self._judge.keep(decision, lambda: grey)
        return decision

    def _look(self, frame: ReelFrame) -> _Seen:
        before = self._work.journal.get(frame.name)
        at = (self._reel.name, frame.index, round(frame.seconds, 4))
        if before is not None:
            return _Seen(frame.name, numbered(before, self._tracker, at), None)
        record, masks, looked = self._work.look(frame.levels, frame.name)
        self._meter.add(looked.seconds, looked.cpu_seconds)
        record = numbered(record, self._tracker, at)
        self._work.journal.add(record)
        return _Seen(frame.name, record, list(masks))

    def _like(self, decision: Decision) -> _Seen | None:
        """Find the frame that this one repeats: it shows the same objects."""
        if REPEATED not in decision.reasons:
            return None
        alike = (s for s in self._recent if PurePosixPath(s.name).name == decision.like)
        return next(alike, None)

    def _write(self, frame: ReelFrame, pixels: Pixels, seen: _Seen | None, told: str) -> None:
        assert self._video is not None
        with self._meter.of(DRAW):
            picture = self._work.backdrop(pixels)
        if self._work.options.blur_faces:
            record = None if seen is None else seen.record
            with self._meter.of(FACES):
                picture = self._work.veiled(picture, record, at_s=frame.seconds)
        with self._meter.of(DRAW, frames=0):
            if seen is None:
                picture = note(picture, told)
            else:
                picture = self._work.drawn(picture, seen.record, seen.drawn())
            self._size = self._size or (picture.shape[0], picture.shape[1])
            picture = fitted(picture, self._size)
        with self._meter.of(ENCODE):
            self._video.write(picture, seconds=frame.seconds)
