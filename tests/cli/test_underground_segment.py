"""The verbs ``segment`` and ``pack`` with a tiny untrained chain."""

import json

import numpy as np
import pytest

from headframe.cli.main import main
from headframe.datasets.coco import write_coco
from headframe.datasets.instances import InstanceSet, LabelledImage, Region
from headframe.io.images import write_image


def run(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main(["underground", *(str(word) for word in words)])
    shown = capsys.readouterr()
    return end.value.code, shown.out, shown.err


@pytest.fixture
def photographs(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        write_image(tmp_path / "in" / f"{name}.png", rng.integers(0, 200, (40, 56, 3), np.uint8))
    return tmp_path / "in"


def test_pack_and_segment(capsys, tmp_path, photographs, tiny_parts):
    chain = tmp_path / "chain"
    words = [
        "pack",
        "--detector",
        tiny_parts / "d",
        "--sam",
        tiny_parts / "s",
        "--fusion",
        "weighted",
    ]
    code, said, _ = run(capsys, *words, "--sam-score", 0, "--out", chain, "--json")
    assert code == 0
    assert json.loads(said)["bytes"] > 10_000
    words = ["segment", photographs, "--model", chain, "--score", 0.0, "--out", tmp_path / "o"]
    code, said, _ = run(capsys, *words, "--json")
    assert code == 0
    report = json.loads(said)
    assert report["totals"]["frames"] == 2
    assert report["failed"] == []
    content = json.loads((tmp_path / "o" / "instances.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["a.png", "b.png"]
    code, said, _ = run(capsys, *words)
    assert code == 0
    assert f"{report['totals']['objects']} objects on 2 frames" in said


def test_a_detector_alone_and_other_light(capsys, tmp_path, photographs, tiny_parts):
    words = ["segment", photographs / "a.png", "--model", tiny_parts / "d", "--overlay", "off"]
    code, said, _ = run(capsys, *words, "--out", tmp_path / "o")
    assert code == 0
    assert "on 1 frames" in said
    code, said, _ = run(
        capsys,
        "pack",
        "--detector",
        tiny_parts / "d",
        "--prepare",
        "clahe",
        "--out",
        tmp_path / "c",
    )
    assert code == 0
    assert json.loads((tmp_path / "c" / "dismine.json").read_text())["prepare"] == "clahe"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["segment", "{in}", "--model", "nothing"], "unknown chain 'nothing'"),
        (["segment", "{in}/x.png", "--model", "{d}"], "no such file"),
        (["segment", "{in}", "--model", "{d}", "--score", "7"], "--score 7"),
        (["segment", "{in}", "--model", "{d}", "--overlay", "dark"], "dark"),
        (["segment", "{in}", "--model", "{in}"], "so it is no detector"),
        (["segment", "0", "{in}", "--model", "{d}"], "a camera is watched alone"),
        (["pack", "--detector", "{in}"], "so it is no detector"),
        (["pack", "--detector", "{d}", "--fusion", "weighted"], "--fusion needs --sam"),
        (["pack", "--detector", "{d}", "--sam", "{s}", "--fusion", "magic"], "unknown fusion"),
        (["pack", "--detector", "{d}", "--sam", "{s}", "--fusion", "gate"], "needs the gate"),
        (["pack", "--detector", "{d}", "--prepare", "moonlight"], "moonlight"),
    ],
)
def test_one_line_errors(capsys, tmp_path, photographs, tiny_parts, words, told):
    names = {"in": photographs, "d": tiny_parts / "d", "s": tiny_parts / "s"}
    code, _, warned = run(capsys, *(w.format(**names) for w in words), "--out", tmp_path / "o")
    assert code == 2
    assert warned.startswith("error: ")
    assert warned.count("\n") == 1
    assert told in warned


def test_train_sam(capsys, tmp_path):
    rings = (((4.0, 4.0), (30.0, 4.0), (30.0, 34.0), (4.0, 34.0)),)
    (tmp_path / "data" / "images").mkdir(parents=True)
    write_image(tmp_path / "data" / "images" / "a.png", np.zeros((40, 56, 3), np.uint8))
    labels = InstanceSet(
        (LabelledImage("a.png", 40, 56, (Region("person", rings),)),), {"person": 1}
    )
    write_coco(labels, tmp_path / "data" / "instances.json")
    (tmp_path / "r.yaml").write_text(
        "name: s\nsam: {base: tiny}\nphotographs: {categories: [person], short_side_px: 40}\n"
        "light: {variants: 1}\ntrain: {steps: 1, batch: 1}\n"
    )
    words = ["train-sam", tmp_path / "r.yaml", "--out", tmp_path / "run"]
    code, _, warned = run(capsys, *words[:2], "--out", tmp_path / "none")
    assert code == 2
    assert "names no photographs" in warned
    code, said, _ = run(capsys, *words, "--data", tmp_path / "data", "--device", "cpu", "--json")
    assert code == 0
    assert json.loads(said)["steps"] == 1
    assert (tmp_path / "run" / "bundle" / "boxsam.json").is_file()
