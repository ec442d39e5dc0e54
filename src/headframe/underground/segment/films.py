"""Videos and cameras segmented frame by frame, one frame in memory at a time."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from headframe.core.errors import InputError, OutputError
from headframe.core.progress import SILENT, Progress
from headframe.io.camera import Feed, Newest
from headframe.io.footage import Source
from headframe.io.images import Pixels
from headframe.io.video import VideoReader, VideoWriter
from headframe.underground.frames import Spaced
from headframe.underground.segment.record import FrameRecord, Mask
from headframe.underground.segment.tracks import Tracker
from headframe.underground.segment.work import OFF, VIDEOS, Segmenter, masks_of

_LOG = logging.getLogger("headframe")
_RATE = 25


def frame_name(video: str, index: int) -> str:
    """Name a frame of a video: ``shift.mp4#000012``."""
    return f"{video}#{index:06d}"


def segment_film(
    work: Segmenter, source: Source, *, progress: Progress = SILENT
) -> tuple[list[str], str | None]:
    """Segment a video, objects numbered through it, and write it with masks.

    Frames that a stopped run has done are not looked at again, only drawn: their masks come from
    the journal.

    Args:
        work: looks, draws and notes.
        source: the video.
        progress: told of every frame.

    Returns:
        Names of the frames that are done, and what could not be read, in one line.

    Raises:
        FormatError: not one frame can be read.
        OutputError: something cannot be written.
    """
    names: list[str] = []
    tracker = Tracker()
    with ExitStack() as stack:
        reader = stack.enter_context(VideoReader(source.path))
        writer = _writer(work, source.name, stack)
        progress.start(f"Segmenting {source.name}", reader.info.frames or 0)
        work.new_film()
        every = work.options.every_s
        seen = 0
        for frame in reader.frames(None if every is None else Spaced(every)):
            progress.advance(frame.index + 1 - seen)
            seen = frame.index + 1
            name = frame_name(source.name, frame.index)
            record, masks = _look(work, frame.pixels, name)
            at = (source.name, frame.index, round(frame.seconds, 4))
            record = numbered(record, tracker, at)
            if writer is not None:
                picture = work.picture(frame.pixels, record, masks, at_s=frame.seconds)
                writer.write(picture, seconds=frame.seconds)
            if name not in work.journal:
                work.journal.add(record)
            names.append(name)
        progress.finish()
        return names, reader.trouble


def segment_films(
    work: Segmenter, sources: Sequence[Source], *, progress: Progress = SILENT
) -> tuple[list[str], list[tuple[Path, str]], InputError | None]:
    """Segment videos one after the other; what cannot be read is told of.

    Returns:
        Names of all frames that are done, what failed wholly or in part and why, and the first
        error of a video that gave nothing.
    """
    done: list[str] = []
    failed: list[tuple[Path, str]] = []
    first: InputError | None = None
    for source in sources:
        try:
            names, trouble = segment_film(work, source, progress=progress)
            done += names
        except OutputError:
            raise
        except InputError as exc:
            first, trouble = first or exc, str(exc)
        if trouble is not None:
            failed.append((source.path, trouble))
            _LOG.warning("%s", trouble)
    return done, failed, first


def segment_feed(
    work: Segmenter, feed: Feed, *, limit_s: float | None = None
) -> tuple[list[str], int]:
    """Segment what a camera sees, the newest frame each time, until it ends or Ctrl-C.

    Args:
        work: looks, draws and notes.
        feed: the camera; closed at the end.
        limit_s: stop after so many seconds; None: never.

    Returns:
        Names of the frames that were looked at, and how many frames were dropped.

    Raises:
        OutputError: the folder holds frames already, for a camera cannot be taken up again.
        JobError: the camera failed.
    """
    if len(work.journal):
        feed.close()
        raise OutputError(
            f"{work.journal.folder}: holds frames already, and a camera cannot be taken up again. "
            "Choose another --out."
        )
    names: list[str] = []
    tracker = Tracker()
    work.new_film()
    with ExitStack() as stack:
        newest = stack.enter_context(Newest(feed))
        writer = _writer(work, feed.name, stack)
        try:
            for frame in _until(newest, limit_s):
                name = frame_name(feed.name, frame[0])
                record, masks, _ = work.look(frame[2], name)
                record = numbered(record, tracker, (feed.name, frame[0], round(frame[1], 4)))
                work.journal.add(record)
                names.append(name)
                if writer is not None:
                    picture = work.picture(frame[2], record, masks, at_s=frame[1])
                    writer.write(picture, seconds=frame[1])
        except KeyboardInterrupt:
            if not names:
                raise
            _LOG.warning("%s: stopped; what was seen so far is written.", feed.name)
        return names, newest.dropped


def _until(newest: Newest, limit_s: float | None) -> Iterator[tuple[int, float, Pixels]]:
    for frame in newest.frames():
        if limit_s is not None and frame.seconds > limit_s:
            return
        yield frame.index, frame.seconds, frame.pixels


def _look(work: Segmenter, pixels: Pixels, name: str) -> tuple[FrameRecord, Iterable[Mask]]:
    before = work.journal.get(name)
    if before is not None:
        return before, masks_of(before)
    record, masks, _ = work.look(pixels, name)
    return record, masks


def numbered(record: FrameRecord, tracker: Tracker, at: tuple[str, int, float]) -> FrameRecord:
    """Number the objects of a frame (video, index, seconds); the journal's numbers come again."""
    tracks = tracker.update(
        [found.bbox for found in record.objects],
        [found.category_id for found in record.objects],
        at_s=at[2],
    )
    return record.of_video(*at).tracked(tracks)


def _writer(work: Segmenter, name: str, stack: ExitStack) -> VideoWriter | None:
    if work.options.overlay == OFF:
        return None
    path = work.journal.folder / VIDEOS / f"{name}.mp4"
    return stack.enter_context(VideoWriter(path, rate=_RATE))
