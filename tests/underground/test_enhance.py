"""Folders and videos enhanced: places, resuming, and files that cannot be read."""

import json

import numpy as np
import pytest
from PIL import Image

from headframe.cli.main import main
from headframe.core.errors import FormatError, MissingFileError, OutputError
from headframe.engine.enhancing import BASELINES
from headframe.io.images import read_image
from headframe.io.video import VideoReader
from headframe.underground.enhance import enhance_files

GAMMA = BASELINES["gamma"]


@pytest.fixture
def folder(tmp_path):
    """Two photographs of different sizes, one in a folder of its own."""
    root = tmp_path / "in"
    (root / "shift").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, shape in (("a.png", (20, 33, 3)), ("shift/b.tif", (41, 17, 3))):
        Image.fromarray(rng.integers(0, 40, shape).astype(np.uint8)).save(root / name)
    return root


def run(sources, out, **settings):
    return enhance_files(sources, enhancer=GAMMA, out=out, settings=settings)


def test_files_keep_their_places(folder, tmp_path):
    out = tmp_path / "out"
    report = run([folder], out)
    assert {p.relative_to(out).as_posix() for p in report.written} == {"a.png", "shift/b.tif"}
    for name in ("a.png", "shift/b.tif"):
        before, after = read_image(folder / name), read_image(out / name)
        assert before.shape == after.shape
        assert after.mean() > 3 * before.mean()


def test_a_second_run_does_what_is_left(folder, tmp_path):
    out = tmp_path / "out"
    run([folder], out, model="gamma")
    (out / "a.png").unlink()
    report = run([folder], out, model="gamma")
    assert [p.name for p in report.written] == ["a.png"]
    assert [p.name for p in report.kept] == ["b.tif"]
    with pytest.raises(OutputError, match="made with other settings"):
        run([folder], out, model="clahe")


def test_what_cannot_be_read_is_told_and_the_rest_done(folder, tmp_path, caplog):
    (folder / "empty.jpg").touch()
    report = run([folder], tmp_path / "out")
    assert len(report.written) == 2
    assert "empty.jpg: is empty (0 bytes)" in caplog.text
    assert [p.name for p, _ in report.failed] == ["empty.jpg"]
    with pytest.raises(FormatError, match="0 bytes"):
        run([folder / "empty.jpg"], tmp_path / "other")


def test_a_video_keeps_its_frames_and_times(make_video, tmp_path):
    film = make_video(tmp_path / "in" / "shift.mkv", frames=5)
    report = run([film], tmp_path / "out")
    assert [p.name for p in report.written] == ["shift.mp4"]
    with VideoReader(film) as before, VideoReader(report.written[0]) as after:
        pairs = list(zip(before.frames(), after.frames(), strict=True))
    assert len(pairs) == 5
    for old, new in pairs:
        assert new.seconds == pytest.approx(old.seconds, abs=1e-3)
        assert new.pixels.shape == old.pixels.shape
        assert new.pixels.mean() > old.pixels.mean()


def test_a_folder_may_hold_both(make_video, folder, tmp_path):
    make_video(folder / "film.mp4", frames=2)
    report = run([folder], tmp_path / "out")
    assert {p.name for p in report.written} == {"a.png", "b.tif", "film.mp4"}


def test_sources_that_cannot_be(folder, tmp_path):
    with pytest.raises(MissingFileError, match="no such file or folder"):
        run([tmp_path / "none"], tmp_path / "out")
    with pytest.raises(OutputError, match="would both become"):
        run([folder, folder / "a.png", folder / "shift" / ".." / "a.png"], tmp_path / "out")
    with pytest.raises(OutputError, match="would be written over"):
        run([folder], folder)


def test_the_command(folder, tmp_path, capsys):
    words = ["enhance", str(folder), "--model", "clahe", "--out", str(tmp_path / "o"), "--json"]
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["written"]) == 2
    with pytest.raises(SystemExit) as end:
        main(["enhance", str(folder), "--model", "clake", "--out", str(tmp_path / "p")])
    assert end.value.code == 2
    assert "closest: clahe" in capsys.readouterr().err
