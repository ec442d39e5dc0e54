"""Ground that is told by its looks: moved, lit anew, in part without data; and what is not."""

import numpy as np
import pytest
import rasterio
from scipy import ndimage

from headframe.datasets.check import check_dataset
from headframe.datasets.chips import open_dataset
from headframe.datasets.lookalikes import same_ground
from headframe.engine.recipe import DataSection, FoldSection
from headframe.engine.samples import choose_parts

SIDE = 96


def ground(seed, side=2 * SIDE):
    """Fields of different brightness between crooked borders, (3, side, side)."""
    rng = np.random.default_rng(seed)
    heights = [ndimage.gaussian_filter(rng.normal(size=(side, side)), 9) for _ in range(3)]
    fields = sum((2**place) * (height > 0) for place, height in enumerate(heights))
    colours = rng.uniform(0.05, 0.4, (3, 8)).astype(np.float32)
    return colours[:, fields] + rng.normal(0, 0.01, (3, side, side)).astype(np.float32)


def cut(land, row, column):
    return land[:, row : row + SIDE, column : column + SIDE].copy()


def pairs(*images):
    return same_ground(images, count=len(images))


def test_the_same_ground_moved_and_in_another_light():
    land = ground(0)
    first = cut(land, 40, 40)
    later = 0.5 * cut(land, 40, 40)[::-1] + 0.1  # bands in another order, half as bright
    moved = cut(land, 60, 65)
    holed = cut(land, 40, 40)
    holed[:, :30] = np.nan
    assert pairs(first, later, moved, holed) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


def test_other_ground_ground_far_off_and_nothing_at_all():
    land = ground(0)
    flat, void = np.full((3, SIDE, SIDE), 0.2, np.float32), np.full((3, SIDE, SIDE), np.nan)
    assert pairs(cut(land, 0, 0), cut(land, 96, 96), flat, flat, void) == []
    assert pairs(*(cut(ground(seed), 0, 0) for seed in range(12))) == []
    assert pairs() == []
    assert pairs(cut(land, 0, 0), cut(land, 0, 0)[:, :, :64]) == []  # sizes differ


def test_large_images_are_compared_at_64_pixels():
    land = np.kron(ground(3), np.ones((1, 4, 4), np.float32))
    one, other = land[:, :500, :500], land[:, 60:560, 40:540]
    assert pairs(one, other) == [(0, 1)]
    strip = land[:, 100:103, :500]  # lower than the step
    assert pairs(strip, strip.copy()) == [(0, 1)]


@pytest.fixture
def folder(tmp_path):
    """Twelve chips without coordinates of six places, each at two dates."""
    for number in range(12):
        chip = cut(ground(number // 2), 30 + 9 * (number % 2), 30)
        for part, values in (("images", chip * 1e4), ("masks", (chip[:1] > 0.2))):
            path = tmp_path / part / f"{number:03d}.tif"
            path.parent.mkdir(exist_ok=True)
            size = {"count": len(values), "height": SIDE, "width": SIDE, "driver": "GTiff"}
            kind = "uint16" if part == "images" else "uint8"
            with rasterio.open(path, "w", dtype=kind, **size) as file:
                file.write(values.astype(kind))
                file.descriptions = ("red", "green", "blue")[: len(values)]
    return tmp_path


def test_folds_keep_look_alikes_together(folder):
    dataset = open_dataset(folder)
    fold = FoldSection(index=0, of=3)
    apart = choose_parts(dataset, DataSection(fold=fold))
    assert {int(c.site) // 2 for c in apart.test} & {int(c.site) // 2 for c in apart.train}
    parts = choose_parts(dataset, DataSection(fold=fold, same_ground="looks"))
    assert len(parts.test) == 4
    assert not {int(c.site) // 2 for c in parts.test} & {int(c.site) // 2 for c in parts.train}
    groups = dataset.site_groups(by_looks=True)
    assert len(set(groups.values())) == 6
    assert len(set(dataset.site_groups().values())) == 12


def test_the_check_tells_of_them_in_one_line(folder):
    report = check_dataset(folder)
    (found,) = [f for f in report.findings if f.rule == "looks"]
    assert report.passed
    assert found.where == "images/000.tif"
    assert found.message.startswith("12 of 12 chips without coordinates")
    assert "this one like images/001.tif" in found.message
    assert "data.same_ground: looks" in found.message
