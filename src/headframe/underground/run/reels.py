"""Frames one after the other, whether a video holds them or a folder."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Protocol, Self

from headframe.core.errors import InputError, OutputError
from headframe.io.footage import Source
from headframe.io.images import Deep, read_levels
from headframe.io.video import VideoReader
from headframe.underground.frames import Spaced
from headframe.underground.segment.films import frame_name


@dataclass(frozen=True, eq=False)
class ReelFrame:
    """One frame.

    Attributes:
        name: as ``instances.json`` has it.
        index: how many readable frames came before it.
        seconds: since the first.
        levels: (H, W, 3) uint8 or uint16 RGB, upright.
    """

    name: str
    index: int
    seconds: float
    levels: Deep


class Reel(Protocol):
    """Frames in the order of time; a context manager, read once.

    Attributes:
        name: unlike that of any other reel of a job.
        total: how many frames to expect; 0 where that is not known.
        sign: plain values that change when the files do.
    """

    name: str
    total: int
    sign: list[object]

    def __enter__(self) -> Self:
        """Open it; errors as reading it."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""

    def frames(self) -> Iterator[ReelFrame]:
        """Read the frames."""

    @property
    def troubles(self) -> Sequence[tuple[Path, str]]:
        """What could not be read so far: the file, and why in one line."""


class FilmReel:
    """A video.

    Args:
        source: the file.
        every_s: seconds between frames that are taken; None: all.
    """

    def __init__(self, source: Source, every_s: float | None) -> None:
        self.name = source.name
        self.total = 0
        self.sign = _sign([source.path])
        self._path = source.path
        self._every_s = every_s
        self._stack = ExitStack()
        self._reader: VideoReader | None = None

    def __enter__(self) -> Self:
        """Open it; errors as ``VideoReader``."""
        self._reader = self._stack.enter_context(VideoReader(self._path))
        self.total = self._reader.info.frames or 0
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self._stack.close()

    def frames(self) -> Iterator[ReelFrame]:
        """Read the frames; one in memory at a time."""
        assert self._reader is not None
        wanted = None if self._every_s is None else Spaced(self._every_s)
        for frame in self._reader.frames(wanted):
            name = frame_name(self.name, frame.index)
            yield ReelFrame(name, frame.index, frame.seconds, frame.pixels)

    @property
    def troubles(self) -> Sequence[tuple[Path, str]]:
        """Tell of a broken tail, or of frames that were lost."""
        trouble = None if self._reader is None else self._reader.trouble
        return [] if trouble is None else [(self._path, trouble)]


class PictureReel:
    """The frames of a folder, in the order of their names.

    Args:
        name: of the reel.
        sources: photographs.
        rate: frames a second.
        every_s: seconds between frames that are taken; None: all.
    """

    def __init__(
        self, name: str, sources: Sequence[Source], *, rate: float, every_s: float | None
    ) -> None:
        self.name = name
        self.total = len(sources)
        self.sign = _sign([source.path for source in sources])
        self._sources = sources
        self._rate = rate
        self._every_s = every_s
        self._troubles: list[tuple[Path, str]] = []

    def __enter__(self) -> Self:
        """Begin; nothing is opened."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End; nothing is open."""

    def frames(self) -> Iterator[ReelFrame]:
        """Read the frames; those that cannot be read are left out and told of.

        Raises:
            InputError: not one can be read; the first's error.
        """
        wanted = None if self._every_s is None else Spaced(self._every_s)
        first: InputError | None = None
        for index, source in enumerate(self._sources):
            seconds = index / self._rate
            if wanted is not None and not wanted(index, None, seconds):
                continue
            try:
                levels = read_levels(source.path)
            except InputError as exc:
                first = first or exc
                self._troubles.append((source.path, str(exc)))
                continue
            yield ReelFrame(source.name, index, seconds, levels)
        if first is not None and len(self._troubles) == self.total:
            raise first

    @property
    def troubles(self) -> Sequence[tuple[Path, str]]:
        """Tell of frames that could not be read."""
        return self._troubles


def reels_of(sources: Sequence[Source], *, rate: float, every_s: float | None) -> list[Reel]:
    """Make a reel of every video and of every folder's photographs.

    Args:
        sources: as ``io.footage.find_sources`` gives them.
        rate: frames a second of folders.
        every_s: seconds between frames that are taken; None: all.

    Raises:
        OutputError: a folder and a video would have one name in the output.
    """
    folders: dict[str, list[Source]] = {}
    reels: list[Reel] = []
    for source in sources:
        if source.is_video:
            reels.append(FilmReel(source, every_s))
        else:
            within = PurePosixPath(source.name).parent.as_posix()
            name = source.path.resolve().parent.name if within == "." else within
            folders.setdefault(name or "frames", []).append(source)
    for name, some in folders.items():
        reels.append(PictureReel(name, some, rate=rate, every_s=every_s))
    names = [reel.name for reel in reels]
    for name in names:
        if names.count(name) > 1:
            raise OutputError(f"{name}: a video and a folder of this name. Run them apart.")
    return reels


def _sign(paths: Sequence[Path]) -> list[object]:
    stats = [path.stat() for path in paths if path.is_file()]
    return [
        len(stats),
        sum(s.st_size for s in stats),
        max((s.st_mtime_ns for s in stats), default=0),
    ]
