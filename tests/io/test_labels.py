import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from headframe.core.classmap import label_class_map
from headframe.core.errors import FormatError, GridMismatchError, MissingFileError, UnsafeFileError
from headframe.io.labels import read_label_png, write_label_png, write_rgb_png, write_valid_png

CLASSES = label_class_map()
LABEL = np.random.default_rng(1).integers(0, 3, (7, 11), dtype=np.uint8)


def test_round_trip_is_a_palette_image(tmp_path):
    write_label_png(tmp_path / "a.png", LABEL, CLASSES)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), LABEL)
    np.testing.assert_array_equal(read_label_png(tmp_path / "a.png", CLASSES), LABEL)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_true_colour_viridis_reads_alike(tmp_path, mode):
    colors = (mpl.colormaps["viridis"](LABEL / 2.0) * 255).astype(np.uint8)
    Image.fromarray(colors[..., : len(mode)]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label_png(tmp_path / "a.png", CLASSES), LABEL)


def test_a_palette_in_another_order_is_read_by_colour(tmp_path):
    image = Image.fromarray(2 - LABEL)
    image.putpalette([253, 231, 37, 33, 145, 140, 68, 1, 84])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label_png(tmp_path / "a.png", CLASSES), LABEL)


def test_a_foreign_palette_and_grey_are_read_by_index(tmp_path):
    image = Image.fromarray(LABEL)
    image.putpalette([0, 0, 0, 255, 0, 0, 255, 255, 255])
    image.save(tmp_path / "p.png")
    Image.fromarray(np.where(LABEL == 1, 255, LABEL).astype(np.uint8)).save(tmp_path / "l.png")
    np.testing.assert_array_equal(read_label_png(tmp_path / "p.png", CLASSES), LABEL)
    assert set(np.unique(read_label_png(tmp_path / "l.png", CLASSES))) == {0, 2, 255}


def test_what_is_no_label(tmp_path):
    Image.fromarray(LABEL + 7).save(tmp_path / "l.png")
    with pytest.raises(FormatError, match=r"7, 8, 9 are none of the classes 0 to 2"):
        read_label_png(tmp_path / "l.png", CLASSES)
    Image.new("RGB", (4, 3), (255, 0, 255)).save(tmp_path / "c.png")
    with pytest.raises(FormatError, match=r"colour \(255, 0, 255\) is none of the 3"):
        read_label_png(tmp_path / "c.png", CLASSES)
    Image.new("I;16", (4, 3)).save(tmp_path / "i.png")
    with pytest.raises(FormatError, match="mode P, L or RGB, not I"):
        read_label_png(tmp_path / "i.png", CLASSES)
    (tmp_path / "t.png").write_text("text")
    with pytest.raises(FormatError, match="not a readable label PNG"):
        read_label_png(tmp_path / "t.png", CLASSES)
    with pytest.raises(MissingFileError, match="no such label"):
        read_label_png(tmp_path / "none.png", CLASSES)


def test_a_huge_picture_is_refused(tmp_path, monkeypatch):
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(UnsafeFileError, match="exceeds limit"):
        read_label_png(tmp_path / "a.png", CLASSES)


def test_writer_refuses_what_is_no_label(tmp_path):
    with pytest.raises(GridMismatchError, match="two axes, not 3"):
        write_label_png(tmp_path / "a.png", LABEL[None], CLASSES)
    with pytest.raises(FormatError, match="value 3 is none of 3 classes"):
        write_label_png(tmp_path / "a.png", LABEL + 1, CLASSES)


def test_sidecar_and_preview(tmp_path):
    write_valid_png(tmp_path / "v.png", LABEL > 0)
    assert set(np.unique(np.asarray(Image.open(tmp_path / "v.png")))) == {0, 255}
    rgb = np.random.default_rng(2).integers(0, 255, (5, 9, 3), dtype=np.uint8)
    write_rgb_png(tmp_path / "r.png", rgb)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "r.png")), rgb)
