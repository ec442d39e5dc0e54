import numpy as np
import pytest

from headframe.core.detections import Detections, boxes_of
from headframe.core.errors import FormatError, InputError, MissingFileError
from headframe.io.images import read_levels, write_image
from headframe.underground.segment.thermal import (
    check_thermal,
    find_thermal,
    fuse_thermal,
    look_at_both,
)


def found(*objects):
    masks = np.zeros((len(objects), 20, 40), np.bool_)
    for mask, (_, _, left, wide) in zip(masks, objects, strict=True):
        mask[4:14, left : left + wide] = True
    labels = np.array([label for label, *_ in objects], np.int64)
    scores = np.array([score for _, score, *_ in objects], np.float32)
    return Detections(boxes_of(masks), labels, scores, masks)


def test_what_both_see_is_surer():
    rgb = found((1, 0.6, 0, 10), (1, 0.5, 20, 8), (2, 0.55, 30, 10))
    thermal = found((1, 0.7, 2, 10), (1, 0.8, 30, 10))
    joined, sources = fuse_thermal(rgb, thermal)
    assert sources == ("both", "thermal", "rgb", "rgb")
    assert joined.scores == pytest.approx([0.88, 0.8, 0.55, 0.5])
    np.testing.assert_array_equal(joined.masks[0], thermal.masks[0])  # the surer's
    assert joined.labels.tolist() == [1, 1, 2, 1]
    apart, sources = fuse_thermal(found((1, 0.6, 0, 10)), found((1, 0.6, 6, 10)))
    assert sources == ("rgb", "thermal")
    assert len(apart) == 2


def test_one_view_alone():
    some, none = found((1, 0.6, 0, 10)), Detections.none(20, 40)
    assert fuse_thermal(some, none)[1] == ("rgb",)
    assert fuse_thermal(none, some)[1] == ("thermal",)
    assert fuse_thermal(none, none)[1] == ()


def test_a_thermal_frame_of_another_size(tmp_path, blob_chain, workers):
    heat = workers[::2, ::2].copy()
    heat[10:14, 25:28] = 20  # the small block is cold
    heat[2:6, 30:33] = 250  # and what is warm is elsewhere
    write_image(tmp_path / "a.png", workers)
    write_image(tmp_path / "heat.png", heat)
    looked, sources = look_at_both(blob_chain(), workers, tmp_path / "heat.png")
    assert sources == ("both", "rgb", "thermal") or sorted(sources) == ["both", "rgb", "thermal"]
    assert looked.detections.size == (48, 66)
    alone = blob_chain().look_at(workers)
    assert set(looked.cpu_seconds) == set(looked.seconds)
    assert looked.detections.scores[0] > alone.detections.scores[0]
    write_image(tmp_path / "wide.png", heat[:12])
    with pytest.raises(FormatError, match=r"wide\.png: is 33 x 12 px, the photograph 66 x 48"):
        look_at_both(blob_chain(), workers, tmp_path / "wide.png")


def test_pairs_by_name(tmp_path):
    picture = np.zeros((4, 4, 3), np.uint8)
    for name in ("t/shaft/a.tif", "t/b.png", "t/c.png", "t/c.jpg"):
        write_image(tmp_path / name, picture)
    root = tmp_path / "t"
    assert find_thermal("shaft/a.png", root) == root / "shaft/a.tif"
    assert find_thermal("b.png", root) == root / "b.png"
    assert find_thermal("c.png", root) == root / "c.png"
    assert find_thermal("x.png", root / "b.png") == root / "b.png"
    with pytest.raises(FormatError, match=r"c\.jpg and c\.png for c\.bmp"):
        find_thermal("c.bmp", root)
    with pytest.raises(MissingFileError, match=r"no thermal frame of d/e\.png"):
        find_thermal("d/e.png", root)
    with pytest.raises(MissingFileError, match="no such file or folder"):
        find_thermal("a.png", tmp_path / "u")
    check_thermal(None, 5)
    check_thermal(root, 5)
    with pytest.raises(InputError, match="is one frame, for 2 photographs"):
        check_thermal(root / "b.png", 2)


@pytest.mark.realdata
def test_a_tunnel_seen_in_both_ways(shared_data, blob_chain):
    folder = shared_data / "pst900"
    looked, sources = look_at_both(
        blob_chain(threshold=0.5), read_levels(folder / "clr_rgb.png"), folder / "img_thermal.png"
    )
    assert looked.size == (720, 1280)
    assert looked.detections.size == (320, 569)
    assert len(sources) == len(looked.detections) > 0
    assert {"rgb", "thermal"} <= set(sources)
