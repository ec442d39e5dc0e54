"""Whole folders and videos enhanced, each file taken up where a stopped run left off."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headframe.core.errors import InputError, MissingFileError, OutputError
from headframe.core.progress import SILENT, Progress
from headframe.engine.enhancing import Enhancer
from headframe.io import video
from headframe.io.files import write_json
from headframe.io.images import FloatPixels, find_images, read_float, to_uint8, write_image
from headframe.io.video import VideoReader, VideoWriter

SETTINGS = "enhanced.json"
_LOG = logging.getLogger("headframe")


@dataclass(frozen=True)
class EnhanceReport:
    """What became of the files.

    Attributes:
        written: files written now.
        kept: files that were there from a run before.
        failed: sources that could not be read, with the reason.
    """

    written: tuple[Path, ...]
    kept: tuple[Path, ...]
    failed: tuple[tuple[Path, str], ...]


def enhance_files(
    sources: Sequence[Path],
    *,
    enhancer: Enhancer,
    out: Path,
    settings: dict[str, Any],
    progress: Progress = SILENT,
) -> EnhanceReport:
    """Enhance photographs and videos into a folder.

    Files keep their names, and their places within a folder given; a video becomes MP4, frames at
    their times, without sound. A file that cannot be read is told of, and the rest is done.

    Args:
        sources: photographs, videos, folders of them.
        enhancer: what makes them bright.
        out: folder to write; what an equal run left there is kept.
        settings: plain values that decide the result; a folder of other settings is refused.
        progress: told of every file.

    Raises:
        MissingFileError: a source is not there.
        FormatError: no photograph or video in the sources.
        InputError: not one file could be read; the first's error.
        OutputError: ``out`` holds files of other settings, or two sources have one name.
    """
    places = _places(sources, out)
    _claim(out, settings)
    written: list[Path] = []
    kept: list[Path] = []
    failed: list[tuple[Path, str]] = []
    first: InputError | None = None
    progress.start(f"Enhancing with {enhancer.name}", len(places))
    for source, target in places.items():
        if target.is_file():
            kept.append(target)
        else:
            try:
                _enhance(source, target, enhancer)
                written.append(target)
            except OutputError:
                raise
            except InputError as exc:
                first = first or exc
                failed.append((source, str(exc)))
                _LOG.warning("%s", exc)
        progress.advance()
    progress.finish()
    if first is not None and not written and not kept:
        raise first
    return EnhanceReport(tuple(written), tuple(kept), tuple(failed))


def _places(sources: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Give each source file its place in ``out``."""
    places: dict[Path, Path] = {}
    for source in sources:
        if not source.exists():
            raise MissingFileError(f"{source}: no such file or folder. Check the path.")
        base = source if source.is_dir() else source.parent
        for path in _files(source):
            place = out / path.relative_to(base)
            places[path] = place.with_suffix(".mp4") if _is_video(path) else place
    taken: dict[Path, Path] = {}
    for path, place in places.items():
        if place in taken:
            raise OutputError(
                f"{taken[place]} and {path} would both become {place}. Enhance them apart."
            )
        if place.resolve() == path.resolve():
            raise OutputError(f"{path}: would be written over. Choose another --out.")
        taken[place] = path
    return places


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    films = sorted(p for p in source.rglob("*") if _is_video(p) and not p.name.startswith("."))
    return [*films, *([] if films and not _has_images(source) else find_images([source]))]


def _has_images(folder: Path) -> bool:
    try:
        return bool(find_images([folder]))
    except InputError:
        return False


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in video.SUFFIXES


def _claim(out: Path, settings: dict[str, Any]) -> None:
    path = out / SETTINGS
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            before = None
        if before != settings:
            raise OutputError(
                f"{path}: the files here were made with other settings. Choose another --out."
            )
    else:
        write_json(path, settings)


def _enhance(source: Path, target: Path, enhancer: Enhancer) -> None:
    if not _is_video(source):
        write_image(target, to_uint8(enhancer(read_float(source))))
        return
    with VideoReader(source) as reader:
        with VideoWriter(target, rate=reader.info.rate or 25) as writer:
            for frame in reader.frames():
                writer.write(to_uint8(enhancer(_float(frame.pixels))), seconds=frame.seconds)
        if reader.trouble is not None:
            _LOG.warning("%s", reader.trouble)


def _float(pixels: video.Pixels) -> FloatPixels:
    scaled = pixels.astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))  # (H, W, 3) -> (3, H, W)
