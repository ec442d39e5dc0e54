import numpy as np
import pytest
from PIL import Image

from headframe.core.classmap import binary_class_map
from headframe.core.errors import OutputError
from headframe.engine.panels import (
    FALSE_ALARM,
    HIT,
    IGNORED,
    MISS,
    draw_samples,
    paint_classes,
    paint_errors,
    stretch,
)


def test_errors_have_their_colours():
    pred = np.array([[1, 1, 0], [0, 255, 1]], np.uint8)
    truth = np.array([[1, 0, 1], [0, 1, 255]], np.uint8)
    picture = np.zeros((2, 3, 3), np.uint8)
    painted = paint_errors(pred, truth, picture, index=1)
    assert painted.dtype == np.uint8
    expected = [[HIT, FALSE_ALARM, MISS], [(90, 90, 90), IGNORED, IGNORED]]
    assert painted.tolist() == [[list(c) for c in row] for row in expected]


def test_classes_have_the_colours_of_the_class_map():
    classes = binary_class_map()
    painted = paint_classes(np.array([[0, 1, 255]], np.uint8), classes)
    assert [tuple(c) for c in painted[0]] == [
        classes.classes[0].color,
        classes.classes[1].color,
        IGNORED,
    ]


def test_stretch_finds_red_green_and_blue_by_name():
    image = np.full((4, 6, 7), 0.2, np.float32)
    image[2, 3:] = 0.9  # red, in the lower half
    picture = stretch(image, ("blue", "green", "red", "nir"))
    assert picture.shape == (6, 7, 3)
    assert picture[1, 4].tolist() == [0, 0, 0]
    assert picture[4, 1].tolist() == [255, 0, 0]


def test_stretch_shows_the_first_band_of_an_image_without_colours():
    image = np.zeros((2, 6, 7), np.float32)
    image[0, :, 4:] = 5
    picture = stretch(image, ("vv", "vh"))
    assert picture[2, 5].tolist() == [255, 255, 255]
    assert picture[2, 1].tolist() == [0, 0, 0]


def test_nodata_is_grey():
    image = np.random.default_rng(0).random((3, 5, 6)).astype(np.float32)
    image[1, 2, 3] = np.nan
    picture = stretch(image, ("red", "green", "blue"))
    assert tuple(picture[2, 3]) == IGNORED
    gone = stretch(np.full((3, 5, 6), np.nan, np.float32), ("red", "green", "blue"))
    assert (gone == IGNORED).all()


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_flat_image_does_not_divide_by_zero(value):
    picture = stretch(np.full((3, 4, 5), value, np.float32), ("red", "green", "blue"))
    assert picture.min() == picture.max()


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (3, 3), (9, 4)])
def test_samples_are_up_to_four_rows(count, rows, fakes, tmp_path):
    red = np.zeros((20, 50))
    red[3:9, 10:40] = 1
    dataset = fakes.FakeDataset([(f"s{n}", None, red, red.astype(int)) for n in range(count)])
    draw_samples(fakes.bundle(), dataset, dataset.chips(), tmp_path / "new" / "samples.png")
    with Image.open(tmp_path / "new" / "samples.png") as picture:
        assert picture.size == (1200, rows * 300 + 90)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(2**20)}
    assert HIT in colours
    assert MISS in colours  # in the legend


def test_a_picture_that_cannot_be_written(fakes, tmp_path):
    red = np.zeros((20, 50))
    dataset = fakes.FakeDataset([("s", None, red, red.astype(int))])
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"file: cannot be made"):
        draw_samples(fakes.bundle(), dataset, dataset.chips(), tmp_path / "file" / "samples.png")
