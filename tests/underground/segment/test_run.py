"""Photographs, videos and cameras through a chain that finds bright blobs."""

import csv
import json

import numpy as np
import pytest
from faster_coco_eval.core import mask as rle_tools
from PIL import Image

from headframe.core.errors import (
    FormatError,
    InputError,
    MissingFileError,
    OutputError,
    RecipeError,
    UnknownNameError,
)
from headframe.datasets.coco import read_coco
from headframe.io.footage import find_sources
from headframe.io.images import read_image, write_image
from headframe.io.video import VideoReader, VideoWriter
from headframe.underground.segment import films, run
from headframe.underground.segment.run import LiveOptions, segment_sources
from headframe.underground.segment.work import SegmentOptions


@pytest.fixture
def chain(blob_chain, monkeypatch):
    built = blob_chain()
    looked = []
    whole = type(built).look_at

    def look(self, levels):
        looked.append(levels.shape)
        return whole(self, levels)

    monkeypatch.setattr(type(built), "look_at", look)
    monkeypatch.setattr(run, "load_chain", lambda model, device: built)
    monkeypatch.setattr(run, "chain_fingerprint", lambda model: f"of {model}")
    return looked


def go(*sources, out, live=None, model="m", **options):
    return segment_sources(
        [str(source) for source in sources],
        model=model,
        out=out,
        options=SegmentOptions(**options),
        live=live,
    )


def instances(out):
    return json.loads((out / "instances.json").read_text())


@pytest.fixture
def folder(tmp_path, workers):
    write_image(tmp_path / "in" / "shaft" / "a.png", workers)
    write_image(tmp_path / "in" / "b.jpg", workers // 4, quality=95)
    turned = Image.fromarray(np.rot90(workers, 1))  # stored lying; EXIF 6 turns it clockwise
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "in" / "c.png", exif=exif)
    return tmp_path / "in"


def test_a_folder(folder, tmp_path, chain):
    out = tmp_path / "out"
    report = go(folder, out=out, score=0.5)
    content = instances(out)
    assert [image["file_name"] for image in content["images"]] == ["b.jpg", "c.png", "shaft/a.png"]
    assert content["categories"] == [{"id": 1, "name": "person"}]
    counts = [sum(a["image_id"] == n for a in content["annotations"]) for n in (1, 2, 3)]
    assert counts == [0, 2, 2]  # the dark one is listed, without objects
    for image in content["images"]:
        assert (image["width"], image["height"]) == (66, 48)
    first = [a for a in content["annotations"] if a["image_id"] == 3]
    assert [a["id"] for a in content["annotations"]] == [1, 2, 3, 4]
    assert first[0]["bbox"] == [6, 8, 14, 22]
    assert first[0]["area"] == 14 * 22
    assert first[0]["score"] == pytest.approx(0.9)
    mask = rle_tools.decode(first[0]["segmentation"])
    assert mask[8:30, 6:20].all()
    assert mask.sum() == 14 * 22
    # the lying one is stood up: what is found is where it is on the upright photograph
    lying = [a["bbox"] for a in content["annotations"] if a["image_id"] == 2]
    assert lying == [a["bbox"] for a in first]
    assert report.totals["objects"] == 4
    assert report.totals["most_people"] == 2
    assert len(read_coco(out / "instances.json").images) == 3
    with (out / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["people"] for row in rows] == ["0", "2", "2"]
    assert rows[0]["road_area"] == ""
    whole = json.loads((out / "summary.json").read_text())
    assert [frame["people"] for frame in whole["frames"]] == [0, 2, 2]
    assert whole["totals"]["seconds"]["detect"] > 0
    drawn = read_image(out / "overlays" / "shaft" / "a.png.jpg")
    assert drawn.shape == (48, 66, 3)
    assert not np.array_equal(drawn, read_image(folder / "shaft" / "a.png"))


def test_objects_below_the_score_are_left_out(folder, tmp_path, chain):
    report = go(folder / "shaft", out=tmp_path / "out", score=0.8, overlay="off")
    assert report.totals["objects"] == 1
    assert not (tmp_path / "out" / "overlays").exists()


def test_masks_are_in_pixels_of_the_photograph(tmp_path, workers, blob_chain, monkeypatch):
    large = workers.repeat(15, axis=0).repeat(15, axis=1)
    write_image(tmp_path / "in" / "a.png", large)
    built = blob_chain()
    monkeypatch.setattr(run, "load_chain", lambda model, device: built)
    monkeypatch.setattr(run, "chain_fingerprint", lambda model: "x")
    go(tmp_path / "in", out=tmp_path / "out", overlay_px=400)
    assert built.detector.seen == [(3, 320, 440)]
    content = instances(tmp_path / "out")
    assert (content["images"][0]["width"], content["images"][0]["height"]) == (990, 720)
    first = content["annotations"][0]
    assert first["segmentation"]["size"] == [720, 990]
    truth = np.zeros((720, 990), bool)
    truth[120:450, 90:300] = True
    mask = rle_tools.decode(first["segmentation"]).astype(bool)
    assert (mask & truth).sum() / (mask | truth).sum() > 0.98
    assert first["bbox"] == pytest.approx([90, 120, 210, 330], abs=3)
    assert max(read_image(tmp_path / "out/overlays/a.png.jpg").shape) == 400


def test_what_cannot_be_read_is_told_and_the_rest_done(folder, tmp_path, chain, caplog):
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes((folder / "shaft" / "a.png").read_bytes()[:80])
    report = go(folder, out=tmp_path / "out")
    assert len(instances(tmp_path / "out")["images"]) == 3
    assert sorted(path.name for path, _ in report.failed) == ["cut.png", "empty.png"]
    assert "is empty (0 bytes)" in caplog.text
    told = json.loads((tmp_path / "out" / "summary.json").read_text())["totals"]["failed"]
    assert len(told) == 2
    with pytest.raises(FormatError, match=r"empty\.png: is empty"):
        go(folder / "empty.png", out=tmp_path / "other")


def test_a_stopped_run_goes_on(folder, tmp_path, chain):
    out = tmp_path / "out"
    go(folder, out=out)
    before = (out / "instances.json").read_bytes()
    lines = (out / "segment.jsonl").read_bytes().splitlines(keepends=True)
    (out / "segment.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:40])
    (out / "instances.json").unlink()
    chain.clear()
    go(folder, out=out)
    assert len(chain) == 2  # b.jpg is kept, the half-written one and the last are made
    after = (out / "instances.json").read_bytes()
    assert after == before
    chain.clear()
    go(folder, out=out)
    assert not chain
    with pytest.raises(OutputError, match="made with another model or other settings"):
        go(folder, out=out, score=0.7)
    with pytest.raises(OutputError, match="made with another model"):
        go(folder, out=out, model="n")


def test_names_that_meet(folder, tmp_path, chain):
    write_image(tmp_path / "more" / "b.jpg", np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(OutputError, match=r"are both b\.jpg in the output"):
        go(folder, tmp_path / "more", out=tmp_path / "out")
    assert len(find_sources([folder, folder / "b.jpg"])) == 3
    with pytest.raises(MissingFileError, match="no such file"):
        find_sources([tmp_path / "x"])
    (tmp_path / "none").mkdir()
    with pytest.raises(FormatError, match="no photographs"):
        find_sources([tmp_path / "none"])


def test_thermal_frames_of_a_folder(folder, tmp_path, chain, workers):
    for name in ("shaft/a", "b", "c"):
        write_image(tmp_path / "heat" / f"{name}.png", workers)
    go(folder, out=tmp_path / "out", thermal=tmp_path / "heat")
    found = instances(tmp_path / "out")["annotations"]
    assert {a["source"] for a in found if a["image_id"] == 1} == {"thermal"}
    assert {a["source"] for a in found if a["image_id"] == 3} == {"both"}
    (tmp_path / "heat" / "b.png").unlink()
    report = go(folder, out=tmp_path / "o2", thermal=tmp_path / "heat")
    assert "no thermal frame of b.jpg" in report.failed[0][1]


@pytest.fixture
def film(tmp_path):
    """A block that moves right, with a cut; 10 frames a second."""
    path = tmp_path / "in" / "shift.mp4"
    with VideoWriter(path, rate=10, crf=5) as writer:
        for number in range(20):
            pixels = np.full((48, 64, 3), 15, np.uint8)
            left = 4 + 2 * number
            pixels[10:30, left : left + 12] = 230
            writer.write(pixels)
    return path


def test_a_video(film, tmp_path, chain):
    out = tmp_path / "out"
    report = go(film, out=out)
    content = instances(out)
    assert len(content["images"]) == 20
    assert content["images"][12]["file_name"] == "shift.mp4#000012"
    assert content["images"][12]["at_s"] == pytest.approx(1.2)
    assert {a["track_id"] for a in content["annotations"]} == {1}
    assert report.totals["frames"] == 20
    with VideoReader(out / "videos" / "shift.mp4.mp4") as reader:
        frames = list(reader.frames())
    assert len(frames) == 20
    assert [f.seconds for f in frames][:3] == pytest.approx([0, 0.1, 0.2])
    middle = frames[5].pixels[20, 20].astype(int)
    assert middle[0] - middle[2] > 40  # the mask's colour


def test_a_stopped_video_goes_on_with_the_same_numbers(film, tmp_path, chain):
    out = tmp_path / "out"
    go(film, out=out)
    before = (out / "instances.json").read_bytes()
    lines = (out / "segment.jsonl").read_bytes().splitlines(keepends=True)
    (out / "segment.jsonl").write_bytes(b"".join(lines[:8]))
    (out / "videos" / "shift.mp4.mp4").unlink()
    chain.clear()
    go(film, out=out)
    assert len(chain) == 13
    assert (out / "instances.json").read_bytes() == before
    with VideoReader(out / "videos" / "shift.mp4.mp4") as reader:
        assert len(list(reader.frames())) == 20


def test_every_so_often(film, tmp_path, chain):
    go(film, out=tmp_path / "out", every_s=0.5, overlay="off")
    frames = [image["frame"] for image in instances(tmp_path / "out")["images"]]
    assert frames == [0, 5, 10, 15]
    assert not (tmp_path / "out" / "videos").exists()


def test_videos_and_photographs_and_a_broken_one(film, tmp_path, chain, workers):
    write_image(film.parent / "a.png", workers)
    (film.parent / "bad.mp4").write_bytes(b"no video at all")
    report = go(film.parent, out=tmp_path / "out")
    assert [path.name for path, _ in report.failed] == ["bad.mp4"]
    assert report.totals["frames"] == 21
    with pytest.raises(RecipeError, match="--thermal goes with photographs"):
        go(film, out=tmp_path / "o2", thermal=tmp_path)


class SlowStart:
    """A feed of 30 frames that come at once."""

    name = "cam"

    def __init__(self, frames=30, error=None):
        self.left, self.error, self.closed = frames, error, False

    def read(self):
        if not self.left:
            if self.error is not None:
                raise self.error
            return None
        self.left -= 1
        pixels = np.full((48, 64, 3), 15, np.uint8)
        pixels[10:30, 20:32] = 230
        return pixels

    def close(self):
        self.closed = True


def test_live_drops_frames(tmp_path, chain, monkeypatch):
    feed = SlowStart(300)
    monkeypatch.setattr(run, "open_feed", lambda source: feed)
    report = go("0", out=tmp_path / "out")
    content = instances(tmp_path / "out")
    assert 1 <= len(content["images"]) < 300
    assert report.totals["dropped"] == 300 - len(content["images"])
    assert content["images"][-1]["frame"] == 299  # the newest is what is looked at
    assert {a["track_id"] for a in content["annotations"]} == {1}
    assert feed.closed
    assert (tmp_path / "out" / "videos" / "cam.mp4").is_file()
    with pytest.raises(OutputError, match="a camera cannot be taken up again"):
        go("0", out=tmp_path / "out")


def test_a_video_as_a_camera(film, tmp_path, chain):
    report = go(film, out=tmp_path / "out", live=LiveOptions(live=True, seconds=0.55))
    seen = [image["frame"] for image in instances(tmp_path / "out")["images"]]
    assert seen == sorted(set(seen))
    assert 0 in seen
    assert max(seen) <= 6
    assert report.totals["frames"] == len(seen)


def test_ctrl_c_keeps_what_was_seen(tmp_path, chain, monkeypatch):
    def until(newest, limit):
        yield 0, 0.0, np.full((48, 64, 3), 200, np.uint8)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "open_feed", lambda source: SlowStart(2))
    monkeypatch.setattr(films, "_until", until)
    assert go("0", out=tmp_path / "out").totals["frames"] == 1


def test_what_does_not_go_together(tmp_path, chain):
    with pytest.raises(RecipeError, match="a camera is watched alone"):
        go("0", "1", out=tmp_path)
    with pytest.raises(RecipeError, match="do not go with a camera"):
        go("0", out=tmp_path, every_s=1)
    with pytest.raises(RecipeError, match="--score 2"):
        SegmentOptions(score=2)
    with pytest.raises(RecipeError, match="--every 0"):
        SegmentOptions(every_s=0)
    with pytest.raises(RecipeError, match="--overlay-px 3"):
        SegmentOptions(overlay_px=3)
    with pytest.raises(UnknownNameError, match="brihgt"):
        SegmentOptions(overlay="brihgt")
    with pytest.raises(InputError, match="no such file"):
        go(tmp_path / "gone.mp4", out=tmp_path, live=LiveOptions(live=True))
