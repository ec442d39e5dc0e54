"""Videos frame by frame: MP4, MKV, MOV and what else FFmpeg reads, upright, with their times."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
import numpy.typing as npt
from av.error import FFmpegError
from av.video.frame import VideoFrame as RawFrame
from av.video.stream import VideoStream

from headframe.core.errors import FormatError, GridMismatchError, JobError, MissingFileError
from headframe.io.files import replacing

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".avi", ".webm", ".ts", ".mts", ".hevc", ".h264")
"""Endings by which a folder's videos are known, in any case of letters."""
TICKS = 90_000
"""Ticks a second of a written video; every usual frame rate is a whole number of them."""
SLACK_S = 2.0
"""A file without a count of frames may end so much before its claimed length (sound is longer)."""

Pixels = npt.NDArray[np.uint8]
Wanted = Callable[[int, int | None, float], bool]
"""Chooses frames by index, time stamp and seconds before their pixels are converted."""

_ENCODERS = ("libx264", "libopenh264", "mpeg4")


@dataclass(frozen=True)
class VideoInfo:
    """What a video says of itself; its claims may be wrong in a broken file.

    Attributes:
        height: of an upright frame, pixels.
        width: of an upright frame, pixels.
        rotation: by how much stored frames are turned to stand upright, degrees
            counter-clockwise, a multiple of 90.
        codec: FFmpeg's name, e.g. ``hevc``.
        rate: frames a second on average; None where it is not told. Real gaps may vary.
        frames: how many the header claims; None where it is not told.
        duration_s: how long the header claims; None where it is not told.
        time_base: seconds of one tick of ``VideoFrame.pts``.
    """

    height: int
    width: int
    rotation: int
    codec: str
    rate: Fraction | None
    frames: int | None
    duration_s: float | None
    time_base: Fraction


@dataclass(frozen=True)
class VideoFrame:
    """One frame.

    Attributes:
        index: how many readable frames came before it.
        pts: time stamp as stored, in ticks of the video's time base; None where it has none.
        seconds: since the first readable frame, from ``pts``; from the mean rate without one.
        pixels: (H, W, 3) uint8, RGB, upright.
    """

    index: int
    pts: int | None
    seconds: float
    pixels: Pixels


class VideoReader:
    """Reads one video from beginning to end, one frame in memory at a time.

    A context manager. Frames that cannot be decoded, and those that a decoder could only guess,
    are left out and counted; ``trouble`` then says so in one line. Of a display matrix the
    rotation is followed, not a mirror image.

    Attributes:
        path: the file.
        info: what it says of itself.

    Raises:
        MissingFileError: there is no such file.
        FormatError: it holds no video, or not one frame of it can be read.
    """

    path: Path
    info: VideoInfo

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = ExitStack()
        self._lost = self._hidden = self._read = 0
        self._ended: str | None = None
        self._start: int | None = None
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file. Check the path.")
        if path.stat().st_size == 0:
            raise FormatError(f"{path}: is empty (0 bytes). Copy it again from the camera.")
        try:
            self._open()
        except FFmpegError as exc:
            self.close()
            raise FormatError(
                f"{path}: cannot be read as a video ({exc.strerror or exc}). If recording was cut "
                "off, repair it with the camera's own tool, or copy it again."
            ) from exc
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Give the reader itself; it is open already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._stack.close()

    @property
    def trouble(self) -> str | None:
        """What could not be read of all that was asked for so far, in one line; None if all."""
        told = []
        if self._lost:
            told.append(f"{self._lost} frames or packets could not be decoded")
        if self._ended is not None:
            told.append(self._ended)
        return f"{self.path}: {'; '.join(told)}; {self._read} frames were read." if told else None

    def frames(self, wanted: Wanted | None = None) -> Iterator[VideoFrame]:
        """Read the frames in the order of display, once.

        Args:
            wanted: chooses those whose pixels are converted and given; None takes all.

        Yields:
            Frames; indices count also what was not wanted.
        """
        rate = self.info.rate or Fraction(25)
        seconds = 0.0
        for index, raw in enumerate(self._raw()):
            self._read = index + 1
            if raw.pts is not None and self._start is not None:
                seconds = float((raw.pts - self._start) * self.info.time_base)
            else:
                seconds = float(index / rate)
            if wanted is None or wanted(index, raw.pts, seconds):
                yield VideoFrame(index, raw.pts, seconds, _upright(raw))
        self._judge_the_end(seconds)

    def _open(self) -> None:
        container = self._stack.enter_context(av.open(f"file:{self.path}", "r"))
        if not container.streams.video:
            raise FormatError(f"{self.path}: holds no pictures. Give a video.")
        self._container, self._stream = container, container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self._frames = self._decode()
        self._first = next(self._frames, None)
        if self._first is None:
            raise FormatError(f"{self.path}: not one frame can be read. Copy it again.")
        self._start = self._first.pts
        self.info = _info(self._stream, self._first, whole_us=container.duration)

    def _raw(self) -> Iterator[RawFrame]:
        if self._first is not None:
            yield self._first
            self._first = None  # a frame of 4K is 25 MB
        yield from self._frames

    def _decode(self) -> Iterator[RawFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except FFmpegError as exc:
                self._ended = f"the file breaks off ({exc.strerror or exc})"
                return
            self._hidden += packet.is_discard
            try:
                decoded = packet.decode()
            except FFmpegError:
                self._lost += 1
                continue
            for frame in decoded:
                if not isinstance(frame, RawFrame):
                    continue
                if frame.is_corrupt:
                    self._lost += 1
                else:
                    yield frame

    def _judge_the_end(self, seconds: float) -> None:
        claimed, whole_s = self.info.frames, self.info.duration_s
        if self._ended is not None:
            return
        if claimed is not None:
            missing = claimed - self._read - self._lost - self._hidden
            if missing > 0:
                self._ended = f"the last {missing} of {claimed} frames are missing"
        elif whole_s is not None and seconds < whole_s - SLACK_S:
            self._ended = f"it ends after {seconds:.1f} of {whole_s:.1f} s"


def time_stamps(path: Path) -> list[int] | None:
    """List the time stamps of all frames in order of display, without decoding them.

    Args:
        path: a video that ``VideoReader`` opens.

    Returns:
        Ticks of the video's time base, as ``VideoFrame.pts``, sorted; as far as the file goes.
        None where frames have no stamps of their own.
    """
    stamps: list[int] = []
    with VideoReader(path) as reader, av.open(f"file:{reader.path}", "r") as container:
        packets = container.demux(container.streams.video[0])
        with suppress(FFmpegError):  # the reader tells of a broken tail when it gets there
            for packet in packets:
                if packet.size == 0 or packet.is_discard:
                    continue  # the end's empty packet, or a frame that an edit list hides
                if packet.pts is None:
                    return None
                stamps.append(packet.pts)
    return sorted(stamps)


def _info(stream: VideoStream, first: RawFrame, *, whole_us: int | None) -> VideoInfo:
    turned = _quarter_turns(first) % 2 == 1
    tall, wide = (first.width, first.height) if turned else (first.height, first.width)
    base = stream.time_base or Fraction(1, TICKS)
    whole_s = None if whole_us is None else whole_us / 1e6
    return VideoInfo(
        height=tall,
        width=wide,
        rotation=_quarter_turns(first) * 90,
        codec=stream.codec_context.name,
        rate=stream.average_rate or None,
        frames=stream.frames or None,
        duration_s=whole_s if stream.duration is None else float(stream.duration * base),
        time_base=base,
    )


def _quarter_turns(frame: RawFrame) -> int:
    return round(frame.rotation / 90) % 4


def _upright(frame: RawFrame) -> Pixels:
    pixels = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    return np.ascontiguousarray(np.rot90(pixels, _quarter_turns(frame)))


class VideoWriter:
    """Writes an MP4 (H.264, 4:2:0), all or nothing.

    A context manager. Frames of odd height or width get one more row or column, a copy of the
    last, since 4:2:0 has none of odd size. A block that raises leaves no file behind.

    Args:
        path: the file to be.
        rate: frames a second, for frames without a time of their own.
        crf: quality of x264, 0 (best) to 51.

    Raises:
        OutputError: it cannot be written.
        JobError: not one frame came.
    """

    def __init__(self, path: Path, *, rate: Fraction | float = 25, crf: int = 20) -> None:
        self.path = path
        self._rate = Fraction(rate).limit_denominator(1001)
        self._crf = crf
        self._stack = ExitStack()
        self._stream: VideoStream | None = None
        self._last = -1
        self._shape: tuple[int, ...] = ()

    def __enter__(self) -> Self:
        """Open a temporary file beside the final one."""
        part = self._stack.enter_context(replacing(self.path))
        options = {"movflags": "+faststart"}
        self._container = self._stack.enter_context(
            av.open(f"file:{part}", "w", format="mp4", container_options=options)
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the file and give it its name; on an error, remove it."""
        with self._stack:
            if error is not None:
                raise error
            if self._stream is None:
                raise JobError(f"{self.path}: no frame was given to write.")
            self._container.mux(self._stream.encode(None))

    def write(self, pixels: Pixels, *, seconds: float | None = None) -> None:
        """Add a frame.

        Args:
            pixels: (H, W, 3) uint8, RGB; all frames of one size.
            seconds: its time; later than the one before by at least a tick, and moved there if
                not. None: one step of ``rate`` after the one before.

        Raises:
            GridMismatchError: its size is not that of the first.
        """
        if self._stream is None:
            self._start(pixels)
        if pixels.shape != self._shape:
            raise GridMismatchError(
                f"{self.path}: a frame is {pixels.shape[1]} x {pixels.shape[0]}, the first was "
                f"{self._shape[1]} x {self._shape[0]}. Resize them to one size."
            )
        step = round(TICKS / self._rate) if self._last >= 0 else 1
        due = self._last + step if seconds is None else round(seconds * TICKS)
        self._last = max(due, self._last + 1)
        frame = RawFrame.from_ndarray(_even(pixels), format="rgb24")
        frame.pts, frame.time_base = self._last, Fraction(1, TICKS)
        assert self._stream is not None
        self._container.mux(self._stream.encode(frame))

    def _start(self, pixels: Pixels) -> None:
        self._shape = pixels.shape
        height, width = _even(pixels).shape[:2]
        name = next(name for name in _ENCODERS if name in av.codecs_available)
        stream = self._container.add_stream(name, rate=self._rate)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        if name == "libx264":
            stream.options = {"crf": str(self._crf), "preset": "veryfast"}
        self._stream = stream


def _even(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return np.ascontiguousarray(pixels)
    return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
