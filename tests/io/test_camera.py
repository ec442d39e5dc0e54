import time

import numpy as np
import pytest

from headframe.core.errors import FormatError, InputError, JobError, MissingFileError
from headframe.io.camera import CameraFeed, FilmFeed, Newest, is_camera, open_feed
from headframe.io.video import VideoWriter


class Counter:
    """Frames of the numbers 0, 1, …; ``gap`` seconds between them."""

    name = "counter"

    def __init__(self, frames, gap=0.0, error=None):
        self.frames, self.gap, self.error = frames, gap, error
        self.next, self.closed = 0, False

    def read(self):
        time.sleep(self.gap)
        if self.next == self.frames:
            if self.error is not None:
                raise self.error
            return None
        self.next += 1
        return np.full((2, 3, 3), self.next - 1, np.uint8)

    def close(self):
        self.closed = True


def test_who_is_slow_misses_frames_and_never_lags():
    feed = Counter(20, gap=0.01)
    seen = []
    with Newest(feed) as newest:
        for frame in newest.frames():
            assert frame.pixels[0, 0, 0] == frame.index
            assert newest.came - frame.index <= 2
            seen.append(frame.index)
            time.sleep(0.045)
    assert seen == sorted(set(seen))
    assert 3 <= len(seen) <= 8
    assert seen[-1] == 19
    assert newest.dropped == 20 - len(seen)
    assert feed.closed


def test_who_is_fast_sees_all():
    with Newest(Counter(6, gap=0.02)) as newest:
        assert [frame.index for frame in newest.frames()] == list(range(6))
    assert newest.dropped == 0


def test_stopping_closes_the_feed():
    feed = Counter(10_000, gap=0.001)
    with Newest(feed) as newest:
        next(newest.frames())
    assert feed.closed
    assert feed.next < 10_000


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
