"""Frames as they come: a camera, a network stream, or a video played at its own speed.

The newest frame is kept and no other: who looks slowly misses frames, and never lags.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import cv2
import numpy as np

from headframe.core.errors import InputError, JobError, MissingFileError
from headframe.io.video import Pixels, VideoReader


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """One frame.

    Attributes:
        index: how many came before it, seen or not.
        seconds: since the first.
        pixels: (H, W, 3) uint8, RGB.
    """

    index: int
    seconds: float
    pixels: Pixels


class Feed(Protocol):
    """Gives frames at the speed they come."""

    name: str

    def read(self) -> Pixels | None:
        """Wait for the next frame, (H, W, 3) uint8 RGB; None when there is no more."""

    def close(self) -> None:
        """Let go of the camera or file."""


class CameraFeed:
    """A camera by its number, or a stream by its address, through OpenCV.

    Raises:
        InputError: it cannot be opened, or gives no picture.
    """

    def __init__(self, source: str) -> None:
        self.name = f"camera-{source}" if source.isdigit() else source.split("://", 1)[0]
        # what OpenCV says of a camera that is not there is said below, in one line
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self._capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
        if not self._capture.isOpened():
            self._capture.release()
            what = f"camera {source}" if source.isdigit() else _without_login(source)
            raise InputError(
                f"{what}: cannot be opened. Check that it is connected, and not in use elsewhere."
            )

    def read(self) -> Pixels | None:
        """Wait for the next frame; None when the stream ends."""
        there, frame = self._capture.read()
        if not there:
            return None
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)

    def close(self) -> None:
        """Let go of the camera."""
        self._capture.release()


class FilmFeed:
    """A video file played at its own speed, as if it were a camera; errors as ``VideoReader``."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._reader = VideoReader(path)
        self._frames = self._reader.frames()
        self._began: float | None = None

    def read(self) -> Pixels | None:
        """Wait until the next frame is due; None at the end."""
        frame = next(self._frames, None)
        if frame is None:
            return None
        if self._began is None:
            self._began = time.monotonic()
        time.sleep(max(self._began + frame.seconds - time.monotonic(), 0))
        return frame.pixels

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


def is_camera(source: str) -> bool:
    """Whether a source is a camera's number or a stream's address, and no file."""
    return source.isdigit() or "://" in source


def open_feed(source: str) -> Feed:
    """Open a camera (``0``), a stream (``rtsp://…``), or a video file at its own speed.

    Raises:
        InputError: the camera or stream cannot be opened.
        MissingFileError: no such file.
        FormatError: it is no video.
    """
    if is_camera(source):
        return CameraFeed(source)
    path = Path(source)
    if not path.is_file():
        raise MissingFileError(f"{source}: no such file. Give a camera's number, or rtsp://….")
    return FilmFeed(path)


class Newest:
    """Reads a feed in a thread of its own, and gives the newest frame.

    A context manager.

    Attributes:
        came: frames that came so far.
        given: frames of them that were given.
    """

    def __init__(self, feed: Feed) -> None:
        """Take a feed, which is closed at the end."""
        self._feed = feed
        self._fresh = threading.Condition()
        self._frame: LiveFrame | None = None
        self._ended = False
        self._error: BaseException | None = None
        self.came = 0
        self.given = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Begin to read."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop reading and close the feed."""
        with self._fresh:
            self._ended = True
        self._thread.join(timeout=5)

    @property
    def dropped(self) -> int:
        """Frames that came and were not given; the newest of all may still be."""
        return self.came - self.given

    def frames(self) -> Iterator[LiveFrame]:
        """Give the newest frame each time, none twice, until the feed ends.

        Raises:
            JobError: the feed failed.
        """
        while True:
            with self._fresh:
                self._fresh.wait_for(lambda: self._frame is not None or self._ended)
                frame, self._frame = self._frame, None
            if frame is None:
                if self._error is not None:
                    raise JobError(f"{self._feed.name}: {self._error}") from self._error
                return
            self.given += 1
            yield frame

    def _run(self) -> None:
        began: float | None = None
        try:
            while not self._ended:
                pixels = self._feed.read()
                if pixels is None:
                    break
                now = time.monotonic()
                began = now if began is None else began
                with self._fresh:
                    self._frame = LiveFrame(self.came, now - began, pixels)
                    self.came += 1
                    self._fresh.notify()
        except Exception as exc:  # noqa: BLE001 - told by frames(), in the thread that asked
            self._error = exc
        finally:
            with self._fresh:
                self._ended = True
                self._fresh.notify()
            self._feed.close()


def _without_login(address: str) -> str:
    """Leave name and password out of an address."""
    scheme, _, rest = address.partition("://")
    host = rest.rpartition("@")[2]
    return f"{scheme}://{host}"
