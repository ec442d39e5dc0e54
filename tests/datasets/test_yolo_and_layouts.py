import json
import shutil

import numpy as np
import pytest
import yaml

from headframe.core.errors import (
    DatasetError,
    FormatError,
    MissingFileError,
    UnknownNameError,
    UnsafeFileError,
)
from headframe.datasets.coco import write_coco
from headframe.datasets.instances import InstanceSet, LabelledImage, Region, region_mask
from headframe.datasets.mine_layouts import read_dslmf, read_imagemine, read_lis
from headframe.datasets.via import write_via
from headframe.datasets.yolo_seg import read_yolo, write_yolo
from headframe.io.images import write_image

BLACK = np.zeros((24, 40, 3), np.uint8)
SQUARE = ((2.0, 3.0), (12.0, 3.0), (12.0, 9.0), (2.0, 9.0))
FAR = ((30.0, 12.0), (38.0, 12.0), (38.0, 20.0))


def labels_of(name, *regions):
    return InstanceSet((LabelledImage(name, 24, 40, regions),), {"wall": 1, "people": 2})


def test_there_and_back(tmp_path):
    write_image(tmp_path / "in" / "deep" / "a.png", BLACK)
    regions = (
        Region("people", (SQUARE,)),
        Region("wall", (SQUARE, FAR)),
        Region("people", (SQUARE,), box_only=True),
        Region("wall"),  # a line
        Region("wall", rle={"size": [24, 40], "counts": [24 * 2 + 3, 4, 24 * 38 - 7]}),
    )
    labels = labels_of("deep/a.png", *regions)
    assert write_yolo(labels, tmp_path / "out", images=tmp_path / "in") == 4
    assert yaml.safe_load((tmp_path / "out/data.yaml").read_text())["names"] == {
        0: "wall",
        1: "people",
    }
    back = read_yolo(tmp_path / "out")
    assert back.categories == labels.categories
    found = back.images[0].regions
    assert back.images[0].file_name == "images/deep/a.png"
    assert [r.category for r in found] == ["people", "wall", "people", "wall"]
    assert [r.box_only for r in found] == [False, False, True, False]
    for old, new in zip(regions[:3], found, strict=False):
        assert (region_mask(old, 24, 40) ^ region_mask(new, 24, 40)).sum() <= 20  # the bridge
    np.testing.assert_array_equal(region_mask(found[0], 24, 40), region_mask(regions[0], 24, 40))


def test_corners_beyond_the_edge_and_sizes_unknown(tmp_path):
    outside = Region("wall", (((-5.0, 0.0), (45.0, 0.0), (45.0, 30.0)),))
    write_yolo(labels_of("a.png", outside), tmp_path)
    assert (tmp_path / "labels/a.txt").read_text() == "0 0 0 1 0 1 1\n"
    with pytest.raises(FormatError, match="size is not known"):
        write_yolo(InstanceSet((LabelledImage("a.png", 0, 0),), {}), tmp_path)
    for name in ("../a.png", "/etc/a.png"):
        with pytest.raises(UnsafeFileError, match="leads out of"):
            write_yolo(labels_of(name), tmp_path)


def test_names_of_classes(tmp_path):
    write_image(tmp_path / "images" / "a.png", BLACK)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("2 0.5 0.5 0.2 0.5\n\n")
    assert list(read_yolo(tmp_path).categories) == ["class-0", "class-1", "class-2"]
    assert read_yolo(tmp_path, names=["x", "y", "z"]).count() == {"x": 0, "y": 0, "z": 1}
    box = read_yolo(tmp_path).images[0].regions[0].rings[0]
    assert box[0] == pytest.approx((16, 6))
    assert box[2] == pytest.approx((24, 18))
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    assert list(read_yolo(tmp_path).categories) == ["a", "b", "c"]
    (tmp_path / "data.yaml").write_text("names: {0: r, 1: s, 2: t}")
    assert list(read_yolo(tmp_path).categories) == ["r", "s", "t"]
    (tmp_path / "data.yaml").write_text("path: x")
    with pytest.raises(FormatError, match="names of classes"):
        read_yolo(tmp_path)


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("9 0.5 0.5 0.2 0.5", "class 9, but there are 1"), ("0 0.5 0.5 0.2", "3 numbers"),
        ("0 1 2 3 4 5 6 7", "7 numbers"), ("0 a 0 0 0", "could not convert"),
        ("0 nan 0 0 0", "not finite"), ("x 0 0 0 0", "invalid literal"),
    ],
)  # fmt: skip
def test_bad_lines_are_named(tmp_path, line, match):
    write_image(tmp_path / "a.png", BLACK)
    (tmp_path / "a.txt").write_text(f"0 0.5 0.5 0.2 0.5\n{line}\n")
    with pytest.raises(FormatError, match=rf"a\.txt: line 2 cannot be used .*{match}"):
        read_yolo(tmp_path, names=["one"])


def test_no_folder(tmp_path):
    for reader in (read_yolo, read_dslmf, read_imagemine):
        with pytest.raises(MissingFileError, match="no such folder"):
            reader(tmp_path / "gone")


def test_lis(tmp_path):
    write_image(tmp_path / "RGB-dark/JPEGImages/2.JPG", BLACK)
    write_image(tmp_path / "RGB-normal/JPEGImages/1.png", BLACK)
    write_coco(
        labels_of("2.png", Region("wall", (FAR,))),
        tmp_path / "annotations/lis_coco_png_train+1.json",
    )
    write_coco(labels_of("1.png"), tmp_path / "annotations/lis_coco_png_test.json")
    dark = read_lis(tmp_path)
    assert dark.images[0].file_name == "RGB-dark/JPEGImages/2.JPG"
    assert dark.count() == {"wall": 1, "people": 0}
    normal = read_lis(tmp_path, light="normal", split="test")
    assert normal.images[0].file_name == "RGB-normal/JPEGImages/1.png"
    with pytest.raises(DatasetError, match=r"lis_coco_JPG_test\+1\.json: no such file"):
        read_lis(tmp_path, split="test")
    with pytest.raises(UnknownNameError, match="unknown light 'dim'"):
        read_lis(tmp_path, light="dim")


def test_dslmf_as_yolo_and_as_coco(tmp_path):
    for subject, name in (("coal_miner", "miner"), ("towline", "line")):
        folder = tmp_path / subject
        write_image(folder / "images/train/a.png", BLACK)
        (folder / "labels/train").mkdir(parents=True)
        (folder / "labels/train/a.txt").write_text("0 0.5 0.5 0.2 0.5\n")
        (folder / "classes.txt").write_text(name)
    labels = read_dslmf(tmp_path)
    assert [i.file_name for i in labels.images] == [
        "coal_miner/images/train/a.png", "towline/images/train/a.png",
    ]  # fmt: skip
    assert labels.count() == {"miner": 1, "line": 1}
    assert labels.images[0].regions[0].box_only
    write_coco(labels_of("a.png", Region("wall", (FAR,))), tmp_path / "towline/annotations/x.json")
    (tmp_path / "note.json").write_text("{}")
    as_coco = read_dslmf(tmp_path)
    assert [i.file_name for i in as_coco.images] == ["towline/images/train/a.png"]
    (tmp_path / "bad.json").write_text('{"annotations": ')
    with pytest.raises(FormatError, match=r"bad\.json: is no JSON"):
        read_dslmf(tmp_path)
    shutil.rmtree(tmp_path / "towline")
    shutil.rmtree(tmp_path / "coal_miner")
    (tmp_path / "bad.json").unlink()
    with pytest.raises(DatasetError, match="Unpack DsLMF"):
        read_dslmf(tmp_path)


def test_imagemine(tmp_path):
    for video, file in (("v1", "via.json"), ("v2", "auto.json")):
        write_image(tmp_path / video / "images" / f"{video}.png", BLACK)
        write_via(labels_of(f"{video}.png", Region("wall", (FAR,))), tmp_path / video / file)
    assert [i.file_name for i in read_imagemine(tmp_path).images] == [
        "v1/images/v1.png", "v2/images/v2.png",
    ]  # fmt: skip
    assert len(read_imagemine(tmp_path, which="manual").images) == 1
    assert read_imagemine(tmp_path, which="auto").images[0].file_name == "v2/images/v2.png"
    with pytest.raises(UnknownNameError, match="kind of labels 'mine'"):
        read_imagemine(tmp_path, which="mine")
    shutil.rmtree(tmp_path / "v2")
    with pytest.raises(DatasetError, match="no VIA files with auto labels"):
        read_imagemine(tmp_path, which="auto")
    content = json.loads((tmp_path / "v1/via.json").read_text())
    content["v1.png-1"]["regions"][0]["shape_attributes"]["name"] = "blob"
    (tmp_path / "v1/via.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="shape 'blob' is unknown"):
        read_imagemine(tmp_path)
