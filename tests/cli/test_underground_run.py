"""The verb ``run``, and ``filter`` with a detector, with a tiny untrained chain."""

import json

import numpy as np
import pytest

from headframe.cli.main import main
from headframe.io.images import write_image
from headframe.io.video import VideoReader, VideoWriter


def run(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main(["underground", *(str(word) for word in words)])
    shown = capsys.readouterr()
    return end.value.code, shown.out, shown.err


@pytest.fixture
def chain(tmp_path, capsys, tiny_parts):
    words = ["pack", "--detector", tiny_parts / "d", "--sam", tiny_parts / "s"]
    assert (
        run(capsys, *words, "--fusion", "weighted", "--sam-score", 0, "--out", tmp_path / "chain")[
            0
        ]
        == 0
    )
    return tmp_path / "chain"


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "shift.mp4"
    rng = np.random.default_rng(0)
    with VideoWriter(path, rate=10) as writer:
        for _ in range(4):
            writer.write(rng.integers(0, 200, (40, 56, 3), np.uint8))
    return path


def test_run(capsys, tmp_path, chain, film):
    out = tmp_path / "out"
    words = ["run", film, "--model", chain, "--score", 0.0, "--out", out]
    code, said, _ = run(capsys, *words, "--blur-faces", "--json")
    assert code == 0
    told = json.loads(said)
    assert told["report"]["frames"]["frames"] == 4
    for part in ("decode", "filter", "enhance", "detect", "sam", "fuse", "glue", "encode"):
        assert told["report"]["parts"][part]["frames_per_second"] > 0
    assert told["report"]["overhead"]["seconds"] > 0
    with VideoReader(out / "videos" / "shift.mp4.mp4") as reader:
        assert len(list(reader.frames())) == 4
    film.write_bytes(film.read_bytes()[:-40])
    code, said, warned = run(capsys, *words[:-1], tmp_path / "cut")
    assert code == 0
    assert "1 files could not be read whole" in said
    assert warned.count("\n") == 1


def test_errors_are_one_line(capsys, tmp_path, chain, film):
    for words, match in (
        (["run", tmp_path / "gone.mp4"], "no such file"),
        (["run", film, "--filter", "gentel"], "gentle"),
        (["run", film, "--rate", 0], "--rate 0"),
    ):
        code, _, said = run(capsys, *words, "--model", chain, "--out", tmp_path / "o")
        assert code == 2
        assert match in said
        assert said.count("\n") == 1


def test_filter_by_detector(capsys, tmp_path, chain):
    rng = np.random.default_rng(1)
    for number in range(2):
        pixels = rng.integers(0, 200, (40, 56, 3), np.uint8)
        write_image(tmp_path / "in" / f"{number}.png", pixels)
    words = ["filter", tmp_path / "in", "--faces", "off", "--detector", chain, "--json"]
    code, said, _ = run(capsys, *words, "--detector-score", 0.0, "--out", tmp_path / "all")
    assert code == 0
    assert json.loads(said)["kept"] == 2
    code, said, _ = run(capsys, *words, "--detector-score", 1.0, "--out", tmp_path / "none")
    assert code == 0
    assert json.loads(said)["rejected"] == {"no target": 2}
    code, _, said = run(capsys, *words, "--detector-score", 2.0, "--out", tmp_path / "bad")
    assert code == 2
    assert "--detector-score 2.0" in said
