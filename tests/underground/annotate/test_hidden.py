"""scripts/annotate_hidden.py: labels that are hidden are what automatic ones are scored against."""

import importlib.util
import json
import sys

import pytest


@pytest.fixture
def script(repo_root, monkeypatch):
    path = repo_root / "scripts" / "annotate_hidden.py"
    spec = importlib.util.spec_from_file_location("annotate_hidden", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_was_hidden_is_found_or_not(scene, networks, script, monkeypatch, capsys):
    for path in (scene.images / "rest").iterdir():
        path.unlink()
    scene.plan()
    scene.coco(scene.root / "instances.json", range(4))
    words = ["x", scene.root / "plan.yaml", "--data", scene.root, "--out", scene.out,
             "--share", 0.5, "--accelerator", "cpu"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    script.main()
    told = json.loads((scene.out / "hidden.json").read_text())
    assert json.loads(capsys.readouterr().out) == told
    # of each photograph the large block passes, to the pixel, and the small one does not
    assert (told["hidden"], told["annotated"]) == (2, 2)
    assert (told["precision"], told["recall"]) == (1.0, 0.5)
    large, small = 22 * 14, 9 * 7
    assert told["iou"] == pytest.approx(large / (large + small), abs=1e-3)
    manual = json.loads((scene.out / "manual.json").read_text())
    assert len(manual["images"]) == 2
