import json

import av
import numpy as np
import pytest

from headframe.cli.main import main
from headframe.io.images import write_image


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


def via_file(folder, **rect):
    write_image(folder / "a.png", np.zeros((24, 40, 3), np.uint8))
    shapes = [
        {"name": "rect", "x": 2, "y": 3, "width": 9, "height": 5, **rect},
        {"name": "circle", "cx": 20, "cy": 10, "r": 4},
        {"name": "point", "cx": 4, "cy": 4},
    ]
    regions = [
        {"shape_attributes": shape, "region_attributes": {"label": name}}
        for shape, name in zip(shapes, ("road", "wall", "people"), strict=True)
    ]
    entry = {"filename": "a.png", "size": 9, "regions": regions, "file_attributes": {}}
    (folder / "via.json").write_text(json.dumps({"a.png9": entry}))
    return folder / "via.json", {"a.png9": entry}


def test_import_and_export(capsys, tmp_path):
    via, content = via_file(tmp_path)
    coco = tmp_path / "coco.json"
    code, said, _ = run(capsys, "import", via, "--out", coco, "--json")
    assert code == 0
    assert json.loads(said)["annotations"] == 2
    code, said, _ = run(capsys, "export", coco, "--as", "via", "--out", tmp_path / "again.json")
    assert code == 0
    assert "3 regions (via)" in said
    assert json.loads((tmp_path / "again.json").read_text()) == content
    yolo = tmp_path / "yolo"
    words = ["export", coco, "--as", "yolo", "--images", tmp_path, "--out", yolo, "--json"]
    code, said, _ = run(capsys, *words)
    assert json.loads(said)["regions"] == 2
    code, said, _ = run(capsys, "import", yolo, "--out", tmp_path / "y.json")
    assert "2 annotations (yolo)" in said
    merged = tmp_path / "merged.json"
    words = ["export", coco, "--as", "coco", "--merge", "road+wall=surrounding", "--out", merged]
    code, said, _ = run(capsys, *words)
    assert "surrounding" in said
    code, said, _ = run(capsys, "import", merged, "--out", tmp_path / "m.json")
    assert "(coco)" in said


def test_errors_in_a_via_file_are_listed(capsys, tmp_path):
    via, _ = via_file(tmp_path, width=-3)
    code, said, _ = run(capsys, "import", via, "--out", tmp_path / "coco.json")
    assert code == 2
    assert "a.png" in said
    assert "width is -3" in said
    assert not (tmp_path / "coco.json").exists()
    code, said, _ = run(capsys, "import", via, "--out", tmp_path / "c.json", "--json")
    assert code == 2
    assert json.loads(said)["problems"][0]["region"] == "0"
    code, said, _ = run(capsys, "import", via, "--skip-bad", "--out", tmp_path / "coco.json")
    assert code == 0
    assert "1 annotations" in said


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["import", "gone.json", "--out", "x.json"], "no such file"),
        (["import", "gone", "--as", "voc", "--out", "x.json"], "unknown format 'voc'"),
        (["import", "gone", "--as", "lis", "--out", "x.json"], "no such file"),
        (["import", "gone", "--as", "dslmf", "--out", "x.json"], "no such folder"),
        (["import", "gone", "--as", "imagemine", "--out", "x.json"], "no such folder"),
    ],
)
def test_bad_sources(capsys, words, match):
    code, _, warned = run(capsys, *words)
    assert code == 2
    assert match in warned
    assert warned.count("\n") == 1
