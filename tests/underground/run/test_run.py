"""Videos and folders of frames through the whole chain, with a detector of bright blobs."""

import csv
import json

import cv2
import numpy as np
import psutil
import pytest

from headframe.core.errors import FormatError, OutputError, RecipeError, UnknownNameError
from headframe.io.images import read_image, write_image
from headframe.io.video import VideoFrame, VideoReader, VideoWriter
from headframe.underground.run import job, pass_through
from headframe.underground.run.job import RunOptions, run_whole
from headframe.underground.run.pass_through import PARTS
from headframe.underground.segment.work import SegmentOptions


@pytest.fixture
def looked(blob_chain, monkeypatch):
    """Put a chain of bright blobs in the place of every model; list what it looks at."""
    built, seen = blob_chain(), []
    whole = type(built).look_at

    def look(self, levels):
        seen.append(levels.shape)
        return whole(self, levels)

    monkeypatch.setattr(type(built), "look_at", look)
    monkeypatch.setattr(job, "load_chain", lambda model, device: built)
    monkeypatch.setattr(job, "chain_fingerprint", lambda model: f"of {model}")
    return seen


def frame_of(number):
    """Draw (48, 64, 3): a block that moves right every second frame; 6 and 7 are black."""
    if number in (6, 7):
        return np.zeros((48, 64, 3), np.uint8)
    pixels = np.full((48, 64, 3), 15, np.uint8)
    pixels[::4] = 40
    left = 4 + 8 * (number // 2)
    pixels[10:30, left : left + 12] = 230
    return pixels


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "in" / "shift.mp4"
    with VideoWriter(path, rate=10, crf=5) as writer:
        for number in range(12):
            writer.write(frame_of(number))
    return path


def go(*sources, out, model="m", filter_="gentle", rate=10.0, **drawn):
    options = RunOptions(SegmentOptions(**drawn), filter_, rate)
    return run_whole(list(sources), model=model, out=out, options=options)


def read(path):
    return json.loads(path.read_text())


def pictures(path):
    with VideoReader(path) as reader:
        return list(reader.frames())


def test_a_film_from_end_to_end(film, tmp_path, looked):
    out = tmp_path / "out"
    report = go(film, out=out)
    told = read(out / "report.json")
    assert told["frames"] == {"frames": 12, "looked_at": 5, "left_out": {"dark": 2, "repeated": 5}}
    assert len(looked) == told["measured_frames"] == 5
    content = read(out / "instances.json")
    names = [image["file_name"] for image in content["images"]]
    assert names == [f"shift.mp4#{n:06d}" for n in (0, 2, 4, 8, 10)]
    assert [image["at_s"] for image in content["images"]] == [0, 0.2, 0.4, 0.8, 1.0]
    assert len(content["annotations"]) == report.totals["objects"] == 5
    frames = pictures(out / "videos" / "shift.mp4.mp4")
    assert [f.seconds for f in frames] == pytest.approx(np.arange(12) / 10)
    with (out / "filter" / "shift.mp4.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["decision"] for row in rows[:3]] == ["kept", "rejected", "kept"]
    assert rows[1]["like"] == "shift.mp4#000000"
    assert rows[6]["reasons"].startswith("dark")


def test_a_repeated_frame_shows_the_objects_of_the_other(film, tmp_path, looked):
    go(film, out=tmp_path / "out")
    frames = [f.pixels.astype(int) for f in pictures(tmp_path / "out/videos/shift.mp4.mp4")]
    for number in (0, 1, 10, 11):
        red = frames[number][..., 0] - frames[number][..., 2]
        column = 10 + 8 * (number // 2)
        assert red[20, column] > 40, number
    assert abs(frames[6][20:, :, 0] - frames[6][20:, :, 2]).max() < 40  # nothing was looked at
    assert frames[6][:14].max() > 150  # and it says so


def test_figures_of_every_part(film, tmp_path, looked):
    out = tmp_path / "out"
    go(film, out=out, filter_="off")
    told = read(out / "report.json")
    assert list(told["parts"]) == list(PARTS)
    for name in ("decode", "detect", "glue", "draw", "encode"):
        part = told["parts"][name]
        assert part["frames"] == 12
        assert part["seconds"] > 0
        assert part["frames_per_second"] == pytest.approx(12 / part["seconds"], rel=0.02)
    assert told["parts"]["sam"] == {
        "frames": 0, "seconds": 0, "cpu_seconds": 0, "frames_per_second": None,
        "frames_per_cpu_second": None,
    }  # fmt: skip
    assert told["parts"]["filter"]["frames"] == 0
    networks = sum(told["parts"][name]["seconds"] for name in ("enhance", "detect", "sam"))
    rest = told["parts"]["fuse"]["seconds"] + told["parts"]["glue"]["seconds"]
    assert told["overhead"]["seconds"] == pytest.approx(rest / networks, rel=1e-2)
    text = (out / "report.md").read_text()
    assert "| detect | 12 |" in text
    assert "of the networks' time" in text
    assert read_image(out / "parts.png").shape[2] == 3
    assert not (out / "filter").exists()


def test_a_broken_tail(film, tmp_path, looked, caplog):
    broken = film.with_name("broken.mp4")
    broken.write_bytes(film.read_bytes()[:-70])
    report = go(broken, out=tmp_path / "out", filter_="off")
    assert len(report.failed) == 1
    assert "frames were read" in report.failed[0][1]
    assert len(caplog.records) == 1
    frames = read(tmp_path / "out" / "report.json")["frames"]["frames"]
    assert 0 < frames < 12
    assert len(pictures(tmp_path / "out/videos/broken.mp4.mp4")) == frames
    again = go(broken, out=tmp_path / "out", filter_="off")
    assert again.failed == report.failed  # told of again


def test_what_cannot_be_read_at_all(film, tmp_path, looked):
    (film.parent / "empty.mp4").write_bytes(b"")
    report = go(film.parent, out=tmp_path / "out")
    assert [path.name for path, _ in report.failed] == ["empty.mp4"]
    assert report.totals["frames"] == 5
    with pytest.raises(FormatError, match=r"empty\.mp4: is empty"):
        go(film.parent / "empty.mp4", out=tmp_path / "other")


def test_a_killed_run_goes_on(film, tmp_path, looked, monkeypatch):
    out, whole = tmp_path / "out", tmp_path / "whole"
    go(film, out=whole)
    looked.clear()
    plain, left = pass_through.Pass._look, [3]

    def killed(self, frame):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return plain(self, frame)

    monkeypatch.setattr(pass_through.Pass, "_look", killed)
    with pytest.raises(KeyboardInterrupt):
        go(film, out=out)
    assert not list((out / "videos").iterdir())  # nothing half done is left
    assert not list((out / "filter").iterdir())
    monkeypatch.setattr(pass_through.Pass, "_look", plain)
    go(film, out=out)
    assert len(looked) == 5
    for name in ("instances.json", "filter/shift.mp4.csv"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert len(pictures(out / "videos" / "shift.mp4.mp4")) == 12
    assert read(out / "report.json")["measured_frames"] == 2
    before = read(out / "report.json")
    looked.clear()
    go(film, out=out)
    assert not looked
    assert read(out / "report.json") == before  # nothing new was measured
    with pytest.raises(OutputError, match="made with another model or other settings"):
        go(film, out=out, score=0.7)


def test_a_folder_of_frames(tmp_path, looked):
    folder = tmp_path / "shaft"
    for number in range(4):
        write_image(folder / f"{number:02d}.png", frame_of(2 * number))
    write_image(folder / "04.png", np.kron(frame_of(8), np.ones((2, 1, 1), np.uint8)))
    (folder / "05.png").write_bytes(b"no picture")
    report = go(folder, out=tmp_path / "out", rate=4, filter_="off")
    content = read(tmp_path / "out" / "instances.json")
    assert [image["file_name"] for image in content["images"]] == [f"{n:02d}.png" for n in range(5)]
    assert [image["at_s"] for image in content["images"]] == [0, 0.25, 0.5, 0.75, 1.0]
    assert {a["track_id"] for a in content["annotations"]} <= {1, 2}
    assert [path.name for path, _ in report.failed] == ["05.png"]
    frames = pictures(tmp_path / "out/videos/shaft.mp4")
    assert {f.pixels.shape for f in frames} == {(48, 64, 3)}  # the tall one is fitted
    assert [f.seconds for f in frames] == [0, 0.25, 0.5, 0.75, 1.0]


def test_every_so_often(film, tmp_path, looked):
    go(film, out=tmp_path / "out", every_s=0.4, filter_="off", overlay="off")
    images = read(tmp_path / "out" / "instances.json")["images"]
    assert [image["frame"] for image in images] == [0, 4, 8]
    assert not (tmp_path / "out" / "videos").exists()


def test_nothing_left_to_look_at(tmp_path, looked, caplog):
    for number in range(2):
        write_image(tmp_path / "in" / f"{number}.png", np.zeros((48, 64, 3), np.uint8))
    report = go(tmp_path / "in", out=tmp_path / "out")
    assert report.totals["frames"] == 0
    assert "in: no frame was looked at (2 dark). Try --filter off." in caplog.text


def test_faces_are_hidden(film, tmp_path, looked):
    go(film, out=tmp_path / "plain", filter_="off")
    go(film, out=tmp_path / "hidden", filter_="off", blur_faces=True)
    plain, hidden = (
        pictures(tmp_path / name / "videos" / "shift.mp4.mp4")[0].pixels.astype(int)
        for name in ("plain", "hidden")
    )
    # the block's head is averaged with what is beside it; its feet, and what is far, are not
    assert (hidden[16:19, 1:3] - plain[16:19, 1:3]).mean() > 10
    assert abs(plain[36:, 40:] - hidden[36:, 40:]).max() < 30


@pytest.mark.parametrize(
    ("options", "told"),
    [({"filter": "gentel"}, "gentle"), ({"rate": 0}, "--rate 0"), ({"rate": 1e9}, "--rate")],
)
def test_options_that_make_no_sense(options, told):
    with pytest.raises((RecipeError, UnknownNameError), match=told):
        RunOptions(**options)


class Endless:
    """A source of 600 frames of 96 x 128 in the place of a video's."""

    def __init__(self, path):
        self.path, self.trouble = path, None
        self.info = type("Info", (), {"frames": 600})()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def frames(self, wanted=None):
        rng = np.random.default_rng(0)
        for number in range(600):
            pixels = np.full((96, 128, 3), 20, np.uint8)
            pixels[::4] = 40
            cv2.rectangle(pixels, (number % 90, 20), (number % 90 + 20, 60), (230, 230, 230), -1)
            pixels += rng.integers(0, 5, pixels.shape, dtype=np.uint8)
            yield VideoFrame(number, None, number / 25, pixels)


def test_memory_stays_through_a_long_stream(tmp_path, looked, monkeypatch):
    (tmp_path / "long.mp4").write_bytes(b"x")
    monkeypatch.setattr("headframe.underground.run.reels.VideoReader", Endless)
    used = []
    plain = pass_through.Pass._take

    def take(self, frame):
        plain(self, frame)
        if frame.index % 30 == 29:
            # without pages of files, which the system takes and gives back as it likes
            memory = psutil.Process().memory_info()
            used.append(memory.rss - getattr(memory, "shared", 0))

    monkeypatch.setattr(pass_through.Pass, "_take", take)
    go(tmp_path / "long.mp4", out=tmp_path / "out", overlay_px=64)
    assert len(used) == 20
    # a leak of one small frame's pixels a frame would be 37 KB each, 15 MB in all
    assert max(used[6:]) - used[5] < 6e6
