"""Labelled photographs: reduced, of some classes, mirrored and darkened."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from headframe.core.errors import DatasetError, FormatError, MissingFileError
from headframe.datasets.coco import read_coco
from headframe.datasets.instances import InstanceSet, LabelledImage, Region, numbered
from headframe.datasets.photographs import read_photographs


def ring(left, top, right, bottom):
    return ((left, top), (right, top), (right, bottom), (left, bottom))


LABELS = InstanceSet(
    (
        LabelledImage(
            "east/a.png",
            80,
            120,
            (
                Region("lamp", rings=(ring(0, 0, 40, 20),)),
                Region("person", rings=(ring(60, 20, 100, 60),)),
                Region("person", rings=(ring(10, 70, 11, 71),)),  # vanishes at half the size
                Region("person", rings=(ring(100, 60, 120, 80),), crowd=True),
            ),
        ),
        LabelledImage("b.png", 0, 0, ()),
    ),
    numbered(["lamp", "person", "dog"]),
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "east").mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("east/a.png", (80, 120)), ("b.png", (30, 50))):
        pixels = rng.integers(80, 250, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    return tmp_path


def test_photographs_are_reduced_with_their_masks(folder):
    first, second = read_photographs(
        LABELS, folder, categories=["person", "lamp"], short_side_px=40
    )
    assert first.image.shape == (40, 60, 3)
    assert first.labels.tolist() == [2, 1, 1]
    assert first.crowd.tolist() == [False, False, True]
    assert first.boxes.tolist() == [[0, 0, 20, 10], [30, 10, 50, 30], [50, 30, 60, 40]]
    assert first.masks.sum(axis=(1, 2)).tolist() == [200, 400, 100]
    assert (first.name, first.group) == ("east/a.png", "east")
    assert (second.group, second.image.shape) == ("b.png", (30, 50, 3))
    assert second.masks.shape == (0, 30, 50)
    assert second.boxes.shape == (0, 4)


def test_a_mirrored_photograph_and_its_masks_agree(folder):
    (photo, _) = read_photographs(LABELS, folder, categories=["person"], short_side_px=80)
    mirrored = photo.mirrored()
    np.testing.assert_array_equal(
        mirrored.image[mirrored.masks[0]].sum(), photo.image[photo.masks[0]].sum()
    )
    assert mirrored.boxes[0].tolist() == [20, 20, 60, 60]
    assert mirrored.image.flags["C_CONTIGUOUS"]


def test_darkness_is_a_function_of_name_light_and_seed(folder):
    photo, _ = read_photographs(LABELS, folder, categories=["person"], short_side_px=80)
    assert photo.darkened(1, seed=3) is photo
    dark = photo.darkened(0.1, seed=3)
    assert dark.image.mean() == pytest.approx(0.1 * photo.image.mean(), rel=0.05)
    np.testing.assert_array_equal(dark.image, photo.darkened(0.1, seed=3).image)
    assert (dark.image != photo.darkened(0.1, seed=4).image).any()
    assert (dark.image != replace(photo, name="z.png").darkened(0.1, seed=3).image).any()
    np.testing.assert_array_equal(dark.masks, photo.masks)


def test_labels_that_do_not_fit(folder):
    def read(labels, categories=("person",)):
        return read_photographs(labels, folder, categories=categories, short_side_px=40)

    with pytest.raises(DatasetError, match="no class 'cat' in the labels; they have lamp, person"):
        read(LABELS, ["person", "cat"])
    with pytest.raises(DatasetError, match="name no photograph"):
        read(replace(LABELS, images=()))
    with pytest.raises(FormatError, match="is 120 x 80 px and its labels are for 120 x 81"):
        read(replace(LABELS, images=(replace(LABELS.images[0], height=81),)))
    with pytest.raises(MissingFileError, match=r"none\.png"):
        read(replace(LABELS, images=(LabelledImage("none.png", 0, 0),)))


@pytest.mark.realdata
def test_the_people_of_pennfudan(shared_data):
    root = shared_data / "pennfudan"
    photos = read_photographs(
        read_coco(root / "instances.json"),
        root / "images",
        categories=["person"],
        short_side_px=160,
    )
    assert len(photos) == 128
    assert sum(len(photo.labels) for photo in photos) == 312
    assert min(min(photo.image.shape[:2]) for photo in photos) == 160
