"""Frames out of videos, named by video and time stamp; a stopped run goes on where it was."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headframe.core.errors import DatasetError, FormatError, InputError, MissingFileError
from headframe.core.progress import SILENT, Progress
from headframe.io.files import make_folder, write_json, write_text
from headframe.io.images import write_image
from headframe.io.video import SUFFIXES, VideoInfo, VideoReader, Wanted, time_stamps

TABLE = "frames.csv"
"""Table of all frames: video, index, pts, seconds, file."""
RECORD = "frames.json"
"""What was asked for and which videos are done, for a run that goes on."""


@dataclass(frozen=True)
class FrameOptions:
    """Which frames are taken.

    With ``every_s`` alone: one a so many seconds. With ``count`` alone: so many, spread evenly
    over each video. With both: the first ``count`` of those ``every_s`` apart, as the paper does
    with "about 100-80 frames from the initial frames". With neither: all.

    Attributes:
        every_s: seconds between frames, > 0.
        count: frames of each video at most, >= 1.
        suffix: ``.png`` or ``.jpg``.
        quality: of JPEG, 1-100.
    """

    every_s: float | None = None
    count: int | None = None
    suffix: str = ".png"
    quality: int = 92

    def __post_init__(self) -> None:
        """Refuse what chooses nothing."""
        if self.every_s is not None and self.every_s <= 0:
            raise DatasetError(f"--every {self.every_s}: give seconds above 0.")
        if self.count is not None and self.count < 1:
            raise DatasetError(f"--count {self.count}: give 1 or more.")
        if self.suffix not in {".png", ".jpg"}:
            raise DatasetError(f"frames as {self.suffix!r} cannot be written. Choose png or jpg.")


@dataclass(frozen=True)
class FrameRow:
    """One row of ``frames.csv``.

    Attributes:
        video: as it was given.
        index: of the frame among the video's readable ones, from 0.
        pts: time stamp in ticks of the stream, empty where the file has none.
        seconds: since the first readable frame.
        file: name of the picture in the same folder.
    """

    video: str
    index: int
    pts: int | None
    seconds: float
    file: str


@dataclass(frozen=True)
class FrameReport:
    """What came out.

    Attributes:
        rows: all frames in the folder, in the order of videos and times.
        written: how many of them this run wrote.
        troubles: one line for each video of which not all could be read, or nothing.
        failed: how many videos gave nothing at all.
    """

    rows: tuple[FrameRow, ...]
    written: int
    troubles: tuple[str, ...]
    failed: int


def find_videos(sources: Iterable[Path]) -> list[Path]:
    """List videos: files as given, folders searched in depth, by name; each once.

    Raises:
        MissingFileError: a source does not exist.
        FormatError: there is not one video.
    """
    given = list(sources)
    found: dict[Path, None] = {}
    for source in given:
        if source.is_dir():
            inside = (p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES)
            found.update(dict.fromkeys(sorted(p for p in inside if p.is_file())))
        elif source.exists():
            found[source] = None
        else:
            raise MissingFileError(f"{source}: no such file or folder. Check the path.")
    if not found:
        names = ", ".join(str(source) for source in given)
        raise FormatError(f"{names}: no videos ({', '.join(SUFFIXES)}) there.")
    return list(found)


def extract_frames(
    videos: Sequence[Path],
    out: Path,
    *,
    options: FrameOptions,
    progress: Progress = SILENT,
) -> FrameReport:
    """Write frames of videos as pictures, and the table ``frames.csv``.

    A picture is called ``<video>-f<index>-<seconds>s``. Videos that are done, and pictures that
    exist, are not written again; a video that changed since is. A video that cannot be read is
    told in ``troubles`` and the others go on.

    Args:
        videos: files; two of one name are told apart by their folder's name or a number.
        out: folder for the pictures, ``frames.csv`` and ``frames.json``.
        options: which frames.
        progress: one job a video, one step a second of it.

    Raises:
        DatasetError: the folder holds frames that were chosen otherwise.
        InputError: no video could be read at all; its own kind where there is one only.
    """
    make_folder(out)
    record = _record(out, options)
    names = _names(videos)
    rows: list[FrameRow] = []
    troubles: list[str] = []
    errors: list[InputError] = []
    written = 0
    for video in videos:
        try:
            done, new = _one(
                video, names[video], out=out, options=options, record=record, progress=progress
            )
        except (FormatError, MissingFileError) as exc:
            errors.append(exc)
            troubles.append(str(exc))
        else:
            rows.extend(FrameRow(**row) for row in done["rows"])
            troubles.extend([done["trouble"]] if done["trouble"] else [])
            written += new
            write_text(out / TABLE, _table(rows))
    if len(errors) == len(videos):
        raise errors[0] if len(errors) == 1 else _none_readable(errors)
    return FrameReport(tuple(rows), written, tuple(troubles), len(errors))


def _none_readable(errors: Sequence[InputError]) -> FormatError:
    return FormatError(f"none of {len(errors)} videos can be read; the first: {errors[0]}")


def _record(out: Path, options: FrameOptions) -> dict[str, Any]:
    path = out / RECORD
    fresh: dict[str, Any] = {"options": asdict(options), "videos": {}}
    if not path.exists():
        return fresh
    try:
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        asked = kept["options"]
        kept["videos"].keys()
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise DatasetError(f"{path}: is damaged. Delete it, or choose another --out.") from exc
    if asked != fresh["options"]:
        raise DatasetError(
            f"{out}: holds frames that were taken otherwise ({asked}). Choose another --out."
        )
    return kept


def _names(videos: Sequence[Path]) -> dict[Path, str]:
    """Give each video a name of its own: its stem, with the folder's or a number on a clash."""
    stems = [video.stem for video in videos]
    taken: set[str] = set()
    names = {}
    for video in videos:
        parent = video.resolve().parent.name
        base = video.stem if stems.count(video.stem) == 1 else f"{parent}-{video.stem}"
        name, number = base, 2
        while name in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name)
        names[video] = name
    return names


def _one(
    video: Path,
    name: str,
    *,
    out: Path,
    options: FrameOptions,
    record: dict[str, Any],
    progress: Progress,
) -> tuple[dict[str, Any], int]:
    """Extract one video unless the record says that it is done; give its entry and what is new."""
    with VideoReader(video) as reader:
        stat = video.stat()
        sign = {"bytes": stat.st_size, "modified_ns": stat.st_mtime_ns, "name": name}
        before = record["videos"].get(str(video), {})
        same = all(before.get(key) == value for key, value in sign.items())
        if same and before.get("rows") is not None and _all_there(out, before["rows"]):
            return before, 0
        entry: dict[str, Any] = {**sign, "rows": None, "trouble": None}
        record["videos"][str(video)] = entry
        write_json(out / RECORD, record)
        rows, new = [], 0
        chosen = _told(_chosen(video, options), reader.info, label=video.name, progress=progress)
        kept = _existing(out, name, options.suffix) if same else set()
        for frame in reader.frames(chosen):
            file = _file(name, frame.index, frame.seconds, options.suffix)
            if file not in kept:
                write_image(out / file, frame.pixels, quality=options.quality)
                new += 1
            rows.append(FrameRow(str(video), frame.index, frame.pts, frame.seconds, file))
        progress.finish()
        entry.update(rows=[asdict(row) for row in rows], trouble=reader.trouble)
    write_json(out / RECORD, record)
    return entry, new


def _told(chosen: Wanted, info: VideoInfo, *, label: str, progress: Progress) -> Wanted:
    """Wrap a choice so that it reports every second of the video that it sees."""
    progress.start(label, int(info.duration_s or 0))
    seen = 0

    def choose(index: int, pts: int | None, seconds: float) -> bool:
        nonlocal seen
        if int(seconds) > seen:
            progress.advance(int(seconds) - seen)
            seen = int(seconds)
        return chosen(index, pts, seconds)

    return choose


def _all_there(out: Path, rows: Iterable[dict[str, Any]]) -> bool:
    return all((out / row["file"]).exists() for row in rows)


def _existing(out: Path, name: str, suffix: str) -> set[str]:
    return {path.name for path in out.glob(f"*{suffix}") if path.name.startswith(f"{name}-f")}


def _file(name: str, index: int, seconds: float, suffix: str) -> str:
    return f"{name}-f{index:06d}-{seconds:010.3f}s{suffix}"


def _chosen(video: Path, options: FrameOptions) -> Wanted:
    if options.every_s is not None:
        return Spaced(options.every_s, options.count)
    if options.count is None:
        return lambda index, pts, seconds: True
    stamps = time_stamps(video)
    if stamps is None:
        with VideoReader(video) as reader:
            total = sum(1 for _ in reader.frames())
        indices = _spread(total, options.count)
        return lambda index, pts, seconds: index in indices
    picked = {stamps[index] for index in _spread(len(stamps), options.count)}
    return lambda index, pts, seconds: pts in picked


def _spread(total: int, count: int) -> set[int]:
    return {round(float(at)) for at in np.linspace(0, total - 1, min(count, total))}


class Spaced:
    """Takes the first frame at or after every multiple of ``every_s``, ``count`` at most."""

    def __init__(self, every_s: float, count: int | None = None) -> None:
        """Start before the first frame."""
        self._every_s = every_s
        self._left = count
        self._next = 0

    def __call__(self, index: int, pts: int | None, seconds: float) -> bool:
        """Say whether a frame is taken; frames come in the order of time."""
        step = int(seconds / self._every_s + 1e-6)  # a rounded time stamp is not late
        if step < self._next or self._left == 0:
            return False
        self._next = step + 1
        if self._left is not None:
            self._left -= 1
        return True


def _table(rows: Iterable[FrameRow]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["video", "index", "pts", "seconds", "file"])
    for row in rows:
        pts = "" if row.pts is None else row.pts
        writer.writerow([row.video, row.index, pts, f"{row.seconds:.6f}", row.file])
    return text.getvalue()
