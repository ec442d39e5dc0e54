import threading
import time

import numpy as np
import pytest

from headframe.core.errors import FormatError, InputError, JobError, MissingFileError
from headframe.io.camera import CameraFeed, FilmFeed, Newest, is_camera, open_feed
from headframe.io.video import VideoWriter


class Counter:
    """Frames of the numbers 0, 1, …; ``error`` or the end after the last one."""

    name = "counter"

    def __init__(self, frames, error=None):
        self.frames, self.error = frames, error
        self.next, self.closed = 0, False

    def read(self):
        if self.next == self.frames:
            if self.error is not None:
                raise self.error
            return None
        self.next += 1
        return np.full((2, 3, 3), self.next - 1, np.uint8)

    def close(self):
        self.closed = True


class Paced(Counter):
    """Frames that come when the test lets them come."""

    def __init__(self, frames):
        super().__init__(frames)
        self.let = threading.Semaphore(0)

    def read(self):
        assert self.let.acquire(timeout=60)
        return super().read()

    def come(self, count, newest):
        """Let ``count`` frames come, and wait until they are there, the end too after the last."""
        wanted = newest.came + count
        for _ in range(count + (wanted == self.frames)):
            self.let.release()
        until = time.monotonic() + 60
        while newest.came < wanted or (wanted == self.frames and not self.closed):
            assert time.monotonic() < until
            time.sleep(0.001)


def test_who_is_slow_misses_frames_and_never_lags():
    feed = Paced(20)
    seen = []
    with Newest(feed) as newest:
        frames = newest.frames()
        for count in (1, 5, 4, 7, 3):
            feed.come(count, newest)
            frame = next(frames)
            assert frame.pixels[0, 0, 0] == frame.index == newest.came - 1
            seen.append(frame.index)
        assert list(frames) == []
    assert seen == [0, 5, 9, 16, 19]
    assert newest.dropped == 15
    assert feed.closed


def test_who_is_fast_sees_all():
    feed = Paced(6)
    with Newest(feed) as newest:
        frames = newest.frames()
        for number in range(6):
            feed.come(1, newest)
            assert next(frames).index == number
        assert list(frames) == []
    assert newest.dropped == 0


def test_stopping_closes_the_feed():
    feed = Counter(10**9)
    with Newest(feed) as newest:
        next(newest.frames())
    assert feed.closed
    assert feed.next < 10**9


def test_a_feed_that_fails():
    feed = Counter(1, error=OSError("cable out"))
    with Newest(feed) as newest, pytest.raises(JobError, match="counter: cable out"):
        list(newest.frames())
    assert feed.closed


def test_a_film_at_its_own_speed(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", rate=20) as writer:
        for number in range(5):
            writer.write(np.full((16, 16, 3), 40 * number, np.uint8))
    began = time.monotonic()
    feed = open_feed(str(tmp_path / "a.mp4"))
    assert isinstance(feed, FilmFeed)
    with Newest(feed) as newest:
        frames = list(newest.frames())
    assert time.monotonic() - began >= 0.19
    assert frames[-1].index == 4
    assert feed.name == "a.mp4"


def test_sources(tmp_path):
    assert is_camera("0")
    assert is_camera("rtsp://host/stream")
    assert not is_camera("shift.mp4")
    with pytest.raises(MissingFileError, match=r"gone\.mp4: no such file"):
        open_feed(str(tmp_path / "gone.mp4"))
    (tmp_path / "bad.mp4").write_bytes(b"x")
    with pytest.raises(FormatError, match="cannot be read as a video"):
        open_feed(str(tmp_path / "bad.mp4"))


class Capture:
    """OpenCV's capture, as far as it is used."""

    def __init__(self, source):
        self.source, self.left = source, 1 if source == 3 else 0

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return self.source == 3

    def read(self):
        self.left -= 1
        return self.left == 0, np.zeros((2, 2, 3), np.uint8) + np.array([1, 2, 3], np.uint8)

    def release(self):
        self.left = -9


def test_cameras(monkeypatch):
    monkeypatch.setattr("headframe.io.camera.cv2.VideoCapture", Capture)
    feed = open_feed("3")
    assert isinstance(feed, CameraFeed)
    assert feed.name == "camera-3"
    assert feed.read()[0, 0].tolist() == [3, 2, 1]  # OpenCV gives blue first
    assert feed.read() is None
    feed.close()
    with pytest.raises(InputError, match="camera 7: cannot be opened"):
        open_feed("7")
    with pytest.raises(InputError, match=r"rtsp://mine\.example/1: cannot") as caught:
        open_feed("rtsp://user:secret@mine.example/1")
    assert "secret" not in str(caught.value)
