"""Which photograph plays which part, and labels that do not go together."""

import pytest
import yaml

from headframe.core.errors import DatasetError, FormatError, MissingFileError, RecipeError
from headframe.datasets.coco import write_coco
from headframe.datasets.instances import InstanceSet, LabelledImage, Region
from headframe.engine.recipe import FoldSection
from headframe.underground.annotate.material import Sources, read_material
from headframe.underground.annotate.plan import load_annotate_plan
from headframe.underground.annotate.prompts import Hint, read_hints


def read(scene, *, classes=("person",), merge=(), of=2, **more):
    sources = Sources(scene.images, more.pop("manual", scene.manual), **more)
    hold = FoldSection(of=of)
    return read_material(sources, hold=hold, classes=classes, merge=merge, out=scene.out)


def test_no_photograph_has_two_parts(scene):
    found = read(scene)
    parts = [{i.file_name for i in s.images} for s in (found.learn, found.held)]
    assert [len(part) for part in parts] == [2, 2]
    assert found.rest == ("rest/4.png", "rest/5.png", "rest/6.png")
    assert not parts[0] & parts[1]
    assert found.categories == {"person": 1, "road": 2}
    scene.out.mkdir()
    (scene.images / "rest" / "4.png").rename(scene.out / "sheet.png")
    inside = read_material(
        Sources(scene.root, scene.root / "m.json"), hold=FoldSection(of=2), classes=["person"],
        out=scene.out,
    ) if scene.coco(scene.root / "m.json", range(4), folder="images/hand") else None  # fmt: skip
    assert inside.rest == ("images/rest/5.png", "images/rest/6.png")


def test_merged_classes(scene):
    write_coco(
        InstanceSet(
            tuple(LabelledImage(f"hand{n}/{n}.png", 48, 66) for n in range(4)),
            {"road": 1, "wall": 2, "person": 3},
        ),
        scene.root / "m.json",
    )
    box = ((0.0, 0.0), (4.0, 0.0), (4.0, 4.0))
    images = (LabelledImage("rest/4.png", 48, 66, (Region("wall", (box,)),)),)
    write_coco(InstanceSet(images, {"wall": 1}), scene.root / "p.json")
    found = read(
        scene, manual=scene.root / "m.json", prompts=scene.root / "p.json",
        merge=("road+wall=surrounding",), classes=("surrounding", "person"),
    )  # fmt: skip
    assert found.categories == {"surrounding": 1, "person": 2}
    assert found.hints == {"rest/4.png": (Hint("surrounding", (0, 0, 4, 4)),)}


def test_labels_that_do_not_go_together(scene):
    with pytest.raises(DatasetError, match="has no class 'lamp', only person, road"):
        read(scene, classes=("lamp",))
    with pytest.raises(MissingFileError, match=r"hand9/9\.png: no such photograph"):
        read(scene, manual=scene.coco(scene.root / "m.json", [0, 1, 9]))
    with pytest.raises(DatasetError, match=r"hand0/0\.png is labelled twice"):
        read(scene, manual=scene.coco(scene.root / "m.json", [0, 1, 0, 2]))
    with pytest.raises(MissingFileError, match="no such folder of photographs"):
        read_material(Sources(scene.root / "no", scene.manual), hold=FoldSection(), classes=())
    with pytest.raises(DatasetError, match="cannot be held back of 4 folders"):
        read(scene, of=5)
    strange = scene.coco(scene.root / "s.json", [4], folder="x", categories=("person", "lamp"))
    with pytest.raises(DatasetError, match=r"x4/4\.png is not among the photographs"):
        read(scene, prompts=strange)
    images = (LabelledImage("rest/4.png", 48, 66, (Region("lamp", (scene.ring("large", 0),)),)),)
    write_coco(InstanceSet(images, {"lamp": 1}), strange)
    with pytest.raises(DatasetError, match=r"rest/4\.png has a 'lamp'; the plan's recipes know"):
        read(scene, prompts=strange)
    with pytest.raises(DatasetError, match="class 'lamp' is none of the manual labels'"):
        read(scene, reviewed=strange)
    strange.write_text("[]")
    with pytest.raises(FormatError, match="is no COCO instance file"):
        read(scene, reviewed=strange)
    for path in (scene.images / "rest").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="every photograph is labelled; none is left"):
        read(scene)


def test_hints_are_boxes_and_points():
    ring = ((1.0, 2.0), (5.0, 2.0), (5.0, 9.0))
    dot = ((3.0, 4.0), (3.0, 4.0), (3.0, 4.0), (3.0, 4.0))
    line = {"shape_attributes": {"name": "polyline", "all_points_x": [1, 2]}}
    regions = (
        Region("a", (ring,)), Region("a", (dot,), box_only=True), Region("a", (ring,), crowd=True),
        Region("a", via=line),
    )  # fmt: skip
    images = (LabelledImage("x.png", 20, 30, regions), LabelledImage("y.png", 20, 30))
    found = read_hints(InstanceSet(images, {"a": 1}))
    assert found == {"x.png": (Hint("a", (1, 2, 5, 9)), Hint("a", (3, 4, 3, 4)))}
    assert [hint.is_point for hint in found["x.png"]] == [False, True]


@pytest.mark.parametrize(
    ("where", "changes", "match"),
    [
        ("plan", {"rounds": 0}, "rounds"),
        ("plan", {"gate": {}}, "unknown key 'gate'; the closest is 'gates'"),
        ("plan", {"ask_score": 0.8}, "Lower ask_score"),
        ("sam", {"prepare": "stretch"}, "prepare is none in detector.yaml and stretch in sam.yaml"),
        ("sam", {"photographs": {"categories": ["person", "road"], "short_side_px": 48}},
         "categories is"),
    ],
)  # fmt: skip
def test_plans_that_cannot_be(scene, where, changes, match):
    scene.plan()
    path = scene.root / f"{where}.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))
    with pytest.raises(RecipeError, match=match):
        load_annotate_plan(scene.root / "plan.yaml")


def test_rounds_of_the_command_line(scene):
    plan = scene.plan().plan
    assert plan.with_rounds(1).rounds == 1
    with pytest.raises(RecipeError, match="rounds"):
        plan.with_rounds(10)


def test_plans_that_come_with_headframe(repo_root):
    root = repo_root / "recipes" / "dis-mine"
    for path, gates in (
        (root / "annotate" / "tunnel.yaml", (0.7, 0.6, 0.6)),  # as measured in the dark
        (root / "person" / "annotate.yaml", (0.7, 0.85, 0.9)),  # methods 1.6
    ):
        plan, detector, sam = load_annotate_plan(path)
        assert plan.rounds == 2
        assert detector.photographs.categories == sam.photographs.categories
        assert (plan.gates.score, plan.gates.predicted_iou, plan.gates.stability) == gates
