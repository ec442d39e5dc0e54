"""What was found, scored against labels and coloured masks, by hand-made cases."""

import json

import numpy as np
import pytest
from PIL import Image

from headframe.cli.main import main
from headframe.core.errors import DatasetError, FormatError, InputError
from headframe.datasets.coco import write_coco
from headframe.datasets.instances import InstanceSet, LabelledImage, Region, numbered
from headframe.underground.score import ScoreOptions, mask_truth, score_found, write_score


def box(name, x, y, w, h, score=None, *, crowd=False):
    ring = ((x, y), (x + w, y), (x + w, y + h), (x, y + h))
    return Region(name, rings=(ring,), score=score, crowd=crowd)


def labels(*images, size=(40, 60)):
    names = dict.fromkeys(region.category for _, regions in images for region in regions)
    entries = tuple(LabelledImage(name, *size, tuple(regions)) for name, regions in images)
    return InstanceSet(entries, numbered(names))


@pytest.fixture
def found(tmp_path):
    """Two photographs: a person found, one missed, one false, a drill, and one without objects."""
    seen = labels(
        ("a.png", [box("person", 4, 4, 10, 20, 0.9), box("person", 40, 10, 8, 8, 0.6),
                   box("person", 20, 30, 4, 4, 0.2), box("drill", 30, 20, 10, 10, 0.8)]),
        ("b.png", []),
        ("c.png", [box("person", 4, 4, 10, 20, 0.9)]),
    )  # fmt: skip
    (tmp_path / "found").mkdir()
    write_coco(seen, tmp_path / "found" / "instances.json")
    return tmp_path / "found"


def test_counts_by_hand(found):
    truth = labels(
        ("a.png", [box("miner", 4, 4, 10, 16), box("miner", 44, 30, 8, 8)]),
        ("b.png", [box("miner", 4, 4, 10, 20, crowd=True)]),
    )
    report = score_found(found, truth)
    assert report.counts == {"person": {"true": 2, "found": 2, "hit": 1}}
    measures = report.report.per_class["person"]
    assert measures["precision"] == measures["recall"] == measures["f1"] == 0.5
    assert measures["iou"] == pytest.approx(160 / (200 + 64 + 64))
    assert report.left_out == {"drill": 1}
    assert (report.report.images, report.unlabelled) == (2, 1)
    strict = score_found(found, truth, ScoreOptions(score=0.7))
    assert strict.counts["person"]["found"] == 1
    loose = score_found(found, truth, ScoreOptions(score=0.1, only=("person", "drill")))
    assert loose.counts["person"]["found"] == 3
    assert loose.counts["drill"] == {"true": 0, "found": 1, "hit": 0}


def test_classes_are_joined_as_far_as_they_are_there(found):
    truth = labels(("a.png", [box("pump", 30, 20, 10, 10)]), ("b.png", []))
    rule = "pump+drill+fan=equipment"
    report = score_found(found, truth, ScoreOptions(merge=(rule,)))
    assert report.counts == {"equipment": {"true": 1, "found": 1, "hit": 1}}
    assert report.left_out == {"person": 2 + 1 + 1}
    with pytest.raises(DatasetError, match="none of its classes is in the truth or was found"):
        score_found(found, truth, ScoreOptions(merge=("fan=equipment",)))
    with pytest.raises(DatasetError, match="write it as"):
        score_found(found, truth, ScoreOptions(merge=("pump+drill",)))


def test_what_cannot_be_scored(found):
    with pytest.raises(DatasetError, match=r"d\.png: has truth and is not among the 3"):
        score_found(found, labels(("d.png", [box("person", 0, 0, 9, 9)])))
    with pytest.raises(FormatError, match="its truth is for 61 x 40 px"):
        score_found(found, labels(("a.png", [box("person", 0, 0, 9, 9)]), size=(40, 61)))
    with pytest.raises(DatasetError, match="--only cat: no such class; there are person, drill"):
        score_found(
            found, labels(("a.png", [box("person", 0, 0, 9, 9)])), ScoreOptions(only=("cat",))
        )
    with pytest.raises(DatasetError, match="names no class"):
        score_found(found, InstanceSet((LabelledImage("a.png", 40, 60),), {}))
    bare = labels(("a.png", [box("person", 0, 0, 9, 9)]))
    write_coco(bare, found / "bare.json")
    with pytest.raises(FormatError, match=r"an object on a\.png has no score"):
        score_found(found / "bare.json", bare)


@pytest.fixture
def mask(tmp_path):
    """A red block, two green ones that touch at no corner, a green speck, and grey elsewhere."""
    pixels = np.full((40, 60, 3), 90, np.uint8)
    pixels[4:20, 4:14] = (255, 0, 0)
    pixels[20:30, 30:40] = (0, 255, 0)
    pixels[5:10, 50:58] = (0, 255, 0)
    pixels[36:38, 36:38] = (0, 255, 0)
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


def test_pieces_of_a_coloured_mask_are_objects(mask, found):
    truth = mask_truth(mask, {"person": "red", "drill": "#00ff00"}, name="a.png")
    assert truth.count() == {"person": 1, "drill": 2}
    report = score_found(found, truth)
    assert report.counts["drill"] == {"true": 2, "found": 1, "hit": 1}
    assert report.report.per_class["drill"]["iou"] == pytest.approx(100 / 140)
    assert mask_truth(mask, {"drill": "lime"}, name="a", least_px=1).count() == {"drill": 3}
    with pytest.raises(InputError, match="person=reddish: is no colour"):
        mask_truth(mask, {"person": "reddish"}, name="a.png")
    with pytest.raises(DatasetError, match=r"has no pixel of blue \(person\)"):
        mask_truth(mask, {"person": "blue"}, name="a.png")


def test_files_and_the_verb(mask, found, tmp_path, capsys):
    def run(*words):
        with pytest.raises(SystemExit) as stop:
            main(["underground", "score", *map(str, words)])
        said = capsys.readouterr()
        return stop.value.code, said.out, said.err

    colours = ["--colour", "person=red", "--colour", "drill=lime"]
    words = [found, "--mask", mask, "--image", "a.png", *colours]
    out = tmp_path / "scored"
    code, said, _ = run(*words, "--out", out, "--json")
    assert code == 0
    told = json.loads(said)
    assert told == json.loads((out / "score.json").read_text())
    assert told["classes"]["person"]["hit"] == 1
    assert "| drill | 2 | 1 | 1 |" in (out / "score.md").read_text()
    code, said, _ = run(*words, "--only", "person")
    assert code == 0
    assert "Found and not scored: 1 drill" in said
    for wrong, message in (
        ([found], "give --truth LABELS or --mask PICTURE"),
        ([found, "--mask", mask], "needs its colours"),
        ([found, "--mask", mask, *colours], "has 3 photographs. Say with --image"),
    ):
        code, _, error = run(*wrong)
        assert (code, error.count("\n")) == (2, 1)
        assert message in error
    write_coco(labels(("a.png", [box("person", 4, 4, 10, 20)])), tmp_path / "truth.json")
    code, said, _ = run(found, "--truth", tmp_path / "truth.json")
    assert code == 0
    assert "person" in said


def test_a_photograph_without_objects_on_both_sides(found, tmp_path):
    write_coco(labels(("b.png", [])), tmp_path / "none.json")
    report = score_found(found, labels(("b.png", [])), ScoreOptions(only=("person",)))
    write_score(report, tmp_path)
    assert json.loads((tmp_path / "score.json").read_text())["mean"]["f1"] is None
    assert report.counts == {"person": {"true": 0, "found": 0, "hit": 0}}
