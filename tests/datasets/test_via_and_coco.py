import json

import numpy as np
import pytest

from headframe.core.errors import DatasetError, FormatError, MissingFileError
from headframe.datasets.coco import read_coco, write_coco
from headframe.datasets.instances import (
    SURROUNDING,
    InstanceSet,
    LabelledImage,
    Region,
    combine,
    merge_classes,
    region_area,
    region_box,
    region_mask,
)
from headframe.datasets.via import read_via, require_sound, write_via
from headframe.io.images import write_image

SHAPES = [
    {"name": "polygon", "all_points_x": [2, 20, 20.5, 2], "all_points_y": [3, 3, 12, 12.25]},
    {"name": "polyline", "all_points_x": [1, 5, 9], "all_points_y": [1, 8, 1]},
    {"name": "rect", "x": 4, "y": 6, "width": 10, "height": 5},
    {"name": "circle", "cx": 20, "cy": 15, "r": 6.5},
    {"name": "ellipse", "cx": 20, "cy": 15, "rx": 8, "ry": 3, "theta": 0.5},
    {"name": "point", "cx": 7, "cy": 9},
]
CLASSES = ["road", "wall", "roof", "people", "equipment", "corridor"]


def entry(name, regions, size=1234):
    return {"filename": name, "size": size, "regions": regions, "file_attributes": {"mine": "x"}}


def region(shape, category="road", **more):
    return {"shape_attributes": shape, "region_attributes": {"type": category, **more}}


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png"):
        write_image(tmp_path / name, np.zeros((24, 40, 3), np.uint8))
    return tmp_path


def write(folder, content, name="via.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def all_shapes(folder, as_dict=False):
    regions = [region(s, c, note=c) for s, c in zip(SHAPES, CLASSES, strict=True)]
    told = {str(n): r for n, r in enumerate(regions)} if as_dict else regions
    return write(
        folder, {"a.png1234": entry("a.png", told), "b.png9": entry("b.png", [], 9)}
    ), regions


@pytest.mark.parametrize("as_dict", [False, True])
def test_via_to_coco_to_via_keeps_every_region(folder, as_dict):
    path, regions = all_shapes(folder, as_dict)
    reading = read_via(path)
    assert reading.problems == ()
    assert reading.class_key == "type"
    labels = require_sound(reading)
    assert labels.count() == dict.fromkeys(CLASSES, 1)
    assert write_coco(labels, folder / "coco.json") == 4  # a line and a point cover nothing
    back = read_coco(folder / "coco.json")
    assert write_via(back, folder / "again.json", class_key="type") == 6
    again = json.loads((folder / "again.json").read_text())
    assert again["a.png1234"] == entry("a.png", regions)
    assert again["b.png9"] == entry("b.png", [], 9)
    write_via(back, folder / "dict.json", regions_as="dict")
    assert read_via(folder / "dict.json", class_key="type").labels.count() == labels.count()


def test_coco_of_via_is_plain_coco(folder):
    path, _ = all_shapes(folder)
    write_coco(read_via(path).labels, folder / "coco.json")
    coco = json.loads((folder / "coco.json").read_text())
    assert [(i["width"], i["height"]) for i in coco["images"]] == [(40, 24)] * 2
    rect = coco["annotations"][1]
    assert rect["segmentation"] == [[4, 6, 14, 6, 14, 11, 4, 11]]
    assert rect["bbox"] == [4, 6, 10, 5]
    assert rect["area"] == 50
    assert coco["categories"][rect["category_id"] - 1]["name"] == "roof"


def test_an_outline_changed_in_coco_is_what_via_gets(folder):
    path, _ = all_shapes(folder)
    write_coco(read_via(path).labels, folder / "coco.json")
    coco = json.loads((folder / "coco.json").read_text())
    coco["annotations"][1]["segmentation"] = [[4, 6, 14, 6, 14, 12]]
    write_via(read_coco(write(folder, coco, "coco.json")), folder / "again.json")
    shapes = [
        r["shape_attributes"]
        for r in json.loads((folder / "again.json").read_text())["a.png1234"]["regions"]
    ]
    assert shapes[2] == {"name": "polygon", "all_points_x": [4, 14, 14], "all_points_y": [6, 6, 12]}
    assert shapes[3] == SHAPES[3]


def test_shapes_cover_what_they_should(folder):
    path, _ = all_shapes(folder)
    areas = [region_area(r) for r in read_via(path).labels.images[0].regions]
    assert areas[3] == pytest.approx(np.pi * 6.5**2, rel=0.002)
    assert areas[4] == pytest.approx(np.pi * 24, rel=0.002)
    assert (areas[1], areas[5]) == (0, 0)
    ellipse = region_mask(read_via(path).labels.images[0].regions[4], 24, 40)
    assert ellipse.shape == (24, 40)
    assert ellipse.sum() == pytest.approx(np.pi * 24, rel=0.1)
    assert ellipse[17, 25]  # turned by theta towards lower right
    assert not ellipse[12, 25]


def test_errors_are_listed_by_photograph_and_region(folder):
    line, point = SHAPES[1], SHAPES[5]
    regions = [
        region(SHAPES[2]),
        region({"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1, 2]}),
        region({"name": "polygon", "all_points_x": [1, 1, 3], "all_points_y": [1, 1, 3]}),
        region({"name": "polygon", "all_points_x": [1, "x", 3], "all_points_y": [1, 2, 3]}),
        region({"name": "polygon", "all_points_x": [1, 2, 3]}),
        region({"name": "rect", "x": 1, "y": 1, "width": 0, "height": 3}),
        region({"name": "circle", "cx": 1, "cy": 1}),
        region({"name": "star"}),
        {"region_attributes": {"type": "road"}},
        region(line, ""),
        region({"name": "rect", "x": 90, "y": 1, "width": 5, "height": 3}),
        region(point, {"road": True, "wall": True}),
        "text",
    ]
    content = {
        "a": entry("a.png", regions),
        "b": entry("b.png", 7),
        "c": {"size": 3},
        "d": entry("a.png", []),
        "e": entry("gone.png", [region(SHAPES[2], {"wall": True, "road": False})]),
    }
    reading = read_via(write(folder, content))
    told = {(p.image, p.region): p.message for p in reading.problems}
    for at, match in {
        ("a.png", "1"): "3 x but 2 y", ("a.png", "2"): "2 different points",
        ("a.png", "3"): "'x', not a number", ("a.png", "4"): "all_points_y is missing",
        ("a.png", "5"): "width is 0", ("a.png", "6"): "r is None", ("a.png", "7"): "unknown",
        ("a.png", "8"): "no shape_attributes", ("a.png", "9"): "names no class",
        ("a.png", "10"): "outside", ("a.png", "11"): "names no class",
        ("a.png", "12"): "not an object", ("b.png", ""): "neither a list", ("c", ""): "no filename",
        ("a.png", ""): "listed twice", ("gone.png", ""): "cannot be read",
    }.items():  # fmt: skip
        assert match in told[at], at
    assert len(told) == 16
    assert reading.labels.count() == {"road": 1, "wall": 1}
    with pytest.raises(DatasetError, match=r"a\.png region 1: .*\(16 problems in all\)"):
        require_sound(reading)


def test_keys_that_stand_twice_are_told(folder):
    first, second = (json.dumps(entry(name, [])) for name in ("a.png", "b.png"))
    text = f'{{"a": {first}, "a": {second}}}'
    problems = read_via(write(folder, text)).problems
    assert [p.message for p in problems] == ["the key 'a' stands twice; rename or remove one"]
    with pytest.raises(DatasetError, match=r"stands twice; rename or remove one\.$"):
        require_sound(read_via(write(folder, text)))


def test_projects_and_class_keys(folder):
    odd = {"shape_attributes": SHAPES[2], "region_attributes": {"what": "road", "who": "me"}}
    project = {"_via_settings": {}, "_via_img_metadata": {"a": entry("a.png", [odd])}}
    path = write(folder, project)
    assert read_via(path, class_key="who").labels.count() == {"me": 1}
    assert read_via(path).labels.count() == {"road": 1}
    missing = read_via(path, class_key="kind")
    assert "'kind' names no class" in missing.problems[0].message


@pytest.mark.parametrize(
    ("content", "match"),
    [("{,}", "line 1, column 2"), ("[1]", "no VIA 2"), ('{"annotations": []}', "no VIA 2")],
)
def test_files_that_are_not_via(folder, content, match):
    with pytest.raises(FormatError, match=match):
        read_via(write(folder, content))
    (folder / "latin.json").write_bytes(b'{"\xe4": 1}')
    with pytest.raises(FormatError, match="UTF-8"):
        read_via(folder / "latin.json")
    with pytest.raises(MissingFileError, match="no such file"):
        read_via(folder / "gone.json")


def coco(**more):
    return {
        "images": [{"id": 5, "file_name": "a.png", "width": 40, "height": 24}],
        "categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}],
        "annotations": [{"id": 1, "image_id": 5, "category_id": 3, "bbox": [2, 3, 10, 4], **more}],
    }


def test_coco_kinds_of_outline(folder):
    rings = [[0, 0, 4, 0, 4, 4], [10, 10, 14, 10, 14, 14, 10, 14]]
    labels = read_coco(write(folder, coco(segmentation=rings, score=0.5)))
    found = labels.images[0].regions[0]
    assert (found.category, len(found.rings), found.score) == ("car", 2, 0.5)
    assert region_area(found) == 8 + 16
    assert labels.categories == {"person": 1, "car": 3}
    assert write_via(labels, folder / "via.json") == 2
    parts = read_via(folder / "via.json").labels.images[0].regions
    assert {r.via["region_attributes"]["object_id"] for r in parts} == {"0"}
    box = read_coco(write(folder, coco())).images[0].regions[0]
    assert box.box_only
    assert region_box(box) == (2, 3, 10, 4)
    counts = [24 * 2 + 3, 4, 24 * 38 - 7]
    rle = {"size": [24, 40], "counts": counts}
    labels = read_coco(write(folder, coco(segmentation=rle, iscrowd=1)))
    mask = labels.images[0].regions[0]
    assert mask.crowd
    assert region_mask(mask, 24, 40).sum() == region_area(mask) == 4
    assert region_mask(mask, 24, 40)[3:7, 2].all()
    assert region_box(mask) == (2, 3, 1, 4)
    write_coco(labels, folder / "again.json")
    assert read_coco(folder / "again.json") == labels
    assert write_via(labels, folder / "box.json") == 1
    assert not region_mask(Region("x"), 3, 4).any()
    assert region_box(Region("x")) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "bad",
    [
        {"category_id": 9}, {"image_id": 7}, {"segmentation": [[1, 2, 3, 4]]},
        {"segmentation": [[1, 2, 3]]}, {"segmentation": {"counts": 3}}, {"bbox": [1, 2]},
    ],
)  # fmt: skip
def test_annotations_that_cannot_be_used_are_named(folder, bad):
    with pytest.raises(FormatError, match="annotation 1 cannot be used"):
        read_coco(write(folder, coco(**bad)))


def test_provenance_survives(tmp_path):
    ring = ((0.0, 0.0), (4.0, 0.0), (4.0, 3.0))
    told = {"source": "automatic", "round": 2}
    regions = (Region("car", (ring,), score=0.75, provenance=told), Region("car", (ring,)))
    labels = InstanceSet((LabelledImage("a.png", 8, 9, regions),), {"car": 1})
    write_coco(labels, tmp_path / "c.json")
    assert read_coco(tmp_path / "c.json") == labels
    plain = json.loads((tmp_path / "c.json").read_text())["annotations"][1]
    assert "provenance" not in plain


def test_files_that_are_not_coco(folder):
    with pytest.raises(FormatError, match="no COCO instance file"):
        read_coco(write(folder, {"images": []}))
    with pytest.raises(MissingFileError, match="no such file"):
        read_coco(folder / "gone.json")


def test_merging_and_combining():
    regions = tuple(Region(name, (((0, 0), (1, 0), (1, 1)),)) for name in CLASSES)
    labels = InstanceSet(
        (LabelledImage("a.png", 9, 8, regions),), {c: n for n, c in enumerate(CLASSES, 1)}
    )
    merged = merge_classes(labels, [SURROUNDING.replace("=", "->")])
    assert merged.categories == {"surrounding": 1, "people": 2, "equipment": 3, "corridor": 4}
    assert merged.count()["surrounding"] == 3
    with pytest.raises(DatasetError, match="no class 'lamp'"):
        merge_classes(labels, ["lamp=light"])
    with pytest.raises(DatasetError, match=r"write it as road\+wall"):
        merge_classes(labels, ["road"])
    other = InstanceSet((LabelledImage("b.png", 9, 8),), {"lamp": 4, "wall": 9})
    assert list(combine([labels, other]).categories) == [*CLASSES, "lamp"]
    with pytest.raises(DatasetError, match=r"a\.png: is labelled twice"):
        combine([labels, labels])


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "images", "instances"),
    [("pennfudan", 128, 312), ("coco200/train", 100, 746), ("coco200/val", 60, 418)],
)
def test_real_coco_files(shared_data, tmp_path, name, images, instances):
    labels = read_coco(shared_data / name / "instances.json")
    assert len(labels.images) == images
    assert sum(labels.count().values()) == instances
    first = labels.images[0]
    mask = region_mask(first.regions[0], first.height, first.width)
    assert mask.sum() == pytest.approx(region_area(first.regions[0]), rel=0.1)
    write_coco(labels, tmp_path / "again.json")
    assert read_coco(tmp_path / "again.json") == labels
