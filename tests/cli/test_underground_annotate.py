"""The verb ``annotate`` on drawn tunnels with tiny networks that really learn."""

import json

import pytest
import yaml

from headframe.cli.main import main
from headframe.datasets.coco import read_coco, write_coco
from headframe.datasets.drawn.tunnel import TunnelOptions, draw_tunnels
from headframe.datasets.instances import InstanceSet
from headframe.engine import box_sam

CLASSES = ["road", "wall", "roof", "people", "equipment", "corridor"]
PHOTOGRAPHS = {"categories": CLASSES, "short_side_px": 64}
LIGHT = {"train": [1.0], "variants": 1}
PLAN = {
    "detector": "detector.yaml", "sam": "sam.yaml", "hold": {"of": 2}, "ask_score": 0.0,
    "gates": {"score": 0.0, "predicted_iou": 0.0, "stability": 0.0, "least_px": 1},
}  # fmt: skip
DETECTOR = {
    "detector": {
        "options": {"channels": 8, "frozen_norm": False, "min_px": 64, "max_px": 96,
                    "anchor_px": 8, "proposals": 20, "sampled": 16, "min_score": 0.0, "most": 3},
        "init": "none",
    },
    "photographs": PHOTOGRAPHS, "light": LIGHT, "train": {"steps": 2, "batch": 2},
}  # fmt: skip
SAM = {"sam": {"base": "tiny"}, "photographs": PHOTOGRAPHS, "light": LIGHT,
       "train": {"steps": 3, "batch": 2, "checkpoint_every": 1}}  # fmt: skip


@pytest.fixture
def tunnels(tmp_path):
    """Drawn photographs of three tunnels, those of two labelled; a plan and its recipes."""
    draw_tunnels(tmp_path / "d", TunnelOptions(images=3, tunnels=3, size=(64, 88), light=0.5))
    labels = read_coco(tmp_path / "d" / "instances.json")
    write_coco(InstanceSet(labels.images[:2], labels.categories), tmp_path / "manual.json")
    for name, value in (("plan", PLAN), ("detector", DETECTOR), ("sam", SAM)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(value))
    return tmp_path


@pytest.fixture
def run(tunnels, capsys):
    def call(*words):
        given = ["annotate", "plan.yaml", "--images", "d/images", "--manual", "manual.json"]
        paths = [str(tunnels / w) if w[-5:] in (".yaml", ".json") or "/" in w else w for w in given]
        with pytest.raises(SystemExit) as stop:
            main(["underground", *paths, "--out", str(tunnels / "o"), *words])
        said = capsys.readouterr()
        return stop.value.code, said.out, said.err

    return call


def test_drawn_tunnels_from_end_to_end(run, tunnels, monkeypatch):
    plain = box_sam._BoxSamRun._one_step

    def killed(self, batch):
        if self.step == 2:
            raise KeyboardInterrupt
        plain(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(box_sam._BoxSamRun, "_one_step", killed)
        code, _, _ = run("--accelerator", "cpu")
        assert code != 0
    assert not (tunnels / "o" / "instances.json").exists()
    code, said, error = run("--accelerator", "cpu", "--json")
    assert (code, error) == (0, "")
    report = json.loads(said)
    assert report["manual_learnt"] == report["manual_held_back"] == report["to_annotate"] == 1
    assert [row["masks"] for row in report["rounds"]] == [3, 3]
    assert len(report["held"]) == 6
    assert 0 <= report["held"][1]["sam_in_true_boxes"] <= 1
    assert len(list((tunnels / "o" / "work" / "sams").iterdir())) == len(
        list((tunnels / "o" / "work" / "detectors").iterdir())
    )
    assert not list((tunnels / "o").rglob("embeddings"))
    labels = read_coco(tunnels / "o" / "instances.json")
    assert labels.categories == {name: n for n, name in enumerate(CLASSES, start=1)}
    sources = [r.provenance["source"] for i in labels.images for r in i.regions]
    assert sources.count("automatic") == report["rounds"][1]["accepted"]
    manual = read_coco(tunnels / "manual.json")
    assert sources.count("manual") == sum(len(image.regions) for image in manual.images)
    before = (tunnels / "o" / "masks.csv").read_bytes()
    code, said, _ = run("--accelerator", "cpu")
    assert code == 0
    assert "to review" in said
    assert (tunnels / "o" / "masks.csv").read_bytes() == before


def test_bad_input_is_one_line(run, tunnels):
    (tunnels / "manual.json").rename(tunnels / "o.json")
    code, _, error = run()
    assert code == 2
    assert error.count("\n") == 1
    assert "manual.json: no such file" in error
    (tunnels / "sam.yaml").unlink()
    code, _, error = run("--rounds", "1")
    assert code == 2
    assert "sam.yaml" in error
