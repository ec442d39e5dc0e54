import json

import av
import numpy as np
import pytest

from headframe.cli.main import main


def run(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main(["underground", *(str(word) for word in words)])
    shown = capsys.readouterr()
    return end.value.code, shown.out, shown.err


@pytest.fixture
def video(tmp_path):
    with av.open(str(tmp_path / "shift.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 62, 48, "yuv420p"
        for number in range(12):
            pixels = np.random.default_rng(number).integers(0, 200, (48, 62, 3), np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode(None))
    return tmp_path / "shift.mp4"


def test_frames(capsys, tmp_path, video):
    out = tmp_path / "out"
    code, said, _ = run(capsys, "frames", video, "--every", 0.5, "--out", out)
    assert code == 0
    assert "3 frames of 1 videos, 3 of them new" in said
    (tmp_path / "empty.mp4").write_bytes(b"")
    words = ["frames", video, tmp_path / "empty.mp4", "--every", 0.5, "--out", out, "--json"]
    code, said, warned = run(capsys, *words)
    assert code == 0
    assert [row["index"] for row in json.loads(said)["rows"]] == [0, 5, 10]
    assert warned.count("\n") == 1
    assert "empty.mp4: is empty" in warned
    code, _, warned = run(capsys, "frames", tmp_path / "empty.mp4", "--out", tmp_path / "o2")
    assert code == 2
    assert warned.startswith("error: ")
    assert warned.count("\n") == 1


def test_filter(capsys, tmp_path):
    from headframe.io.images import write_image

    noise = np.random.default_rng(1).integers(0, 255, (48, 60, 3), np.uint8)
    write_image(tmp_path / "in" / "a.png", noise)
    write_image(tmp_path / "in" / "b.png", noise // 40)
    words = ["filter", tmp_path / "in", "--out", tmp_path / "out", "--faces", "off"]
    code, said, _ = run(capsys, *words, "--review")
    assert code == 0
    assert "1 of 2 frames kept" in said
    assert "dark" in said
    code, said, _ = run(capsys, *words, "--json")
    assert json.loads(said)["rejected"] == {"collapsed": 1, "dark": 1}
    code, _, warned = run(capsys, "filter", tmp_path / "in", "--out", tmp_path, "--faces", "x")
    assert code == 2
    assert "--faces x" in warned
