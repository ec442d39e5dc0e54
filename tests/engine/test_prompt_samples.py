import numpy as np
import pytest
import rasterio
import shapely
import torch
from rasterio.transform import from_origin

from headframe.core.errors import DatasetError, RecipeError
from headframe.engine.prompt_samples import (
    PromptStore,
    PromptStream,
    Said,
    crop_window,
    cut,
    draw_planes,
    draw_sample,
)
from headframe.engine.prompting.prompter import load_prompter
from headframe.engine.recipe import AugmentSection, PromptSection, parse_recipe
from headframe.engine.sampling import CropPlan, Sample
from headframe.engine.training import Watch, train
from headframe.geo.window import Window

PLAIN = AugmentSection(dihedral=False)


def chip(site="alfa", *, height=90, width=140):
    """Red is high on the objects; one is large, one of an L, one too small, one ignored."""
    label = np.zeros((height, width), np.uint8)
    label[10:40, 20:70] = 1
    label[50:80, 90:100] = 1
    label[70:80, 90:130] = 1
    label[2:4, 2:4] = 1
    label[60:70, 10:20] = 255
    rng = np.random.default_rng(1)
    pixels = rng.normal(0, 0.1, (3, height, width)).astype(np.float32)
    pixels[0] += 3.0 * (label == 1)
    pixels[1] += np.linspace(-1, 1, width, dtype=np.float32)
    pixels[:, :, -5:] = np.nan
    return Sample(pixels, label, site)


def store(**changes):
    return PromptStore([chip(), chip("bravo")], PromptSection(**changes), gsd_m=10.0)


def test_objects_are_connected_parts_that_are_large_enough():
    found = store()
    assert [(o.chip, o.outline.bounds) for o in found.objects] == [
        (0, (20, 10, 70, 40)),
        (0, (90, 50, 130, 80)),
        (1, (20, 10, 70, 40)),
        (1, (90, 50, 130, 80)),
    ]
    assert found.objects[1].outline.area == 30 * 10 + 10 * 30
    alone = found[1]
    assert set(np.unique(alone.label)) == {0, 1, 255}
    assert (alone.label == 1).sum() == 600
    assert alone.label[20, 30] == 0  # the other object is background
    assert len(store(min_area_px=1)) == 6
    with pytest.raises(DatasetError, match="min_area_px"):
        store(min_area_px=5000)


def test_a_sample_is_a_function_of_seed_epoch_and_index():
    plan = CropPlan(64, 7, AugmentSection(gain=0.2, noise=0.1))
    one, two = store().stream(plan), store().stream(plan)
    for n in (0, 5, 13):
        for a, b in zip(one[n], two[n], strict=True):
            assert torch.equal(a, b)
    other = PromptStream(store(), CropPlan(64, 8, plan.augment))
    assert not all(torch.equal(one[n][0], other[n][0]) for n in range(3))
    places = [one.chip_of(n) for n in range(8)]
    assert sorted(places[:4]) == sorted(places[4:]) == [0, 1, 2, 3]


@pytest.mark.parametrize("augment", [PLAIN, AugmentSection(dihedral=True)])
def test_planes_and_label_move_with_the_pixels(augment):
    prompts = {"box": 0, "mask": 0, "points": 0, "buffer_m": (0, 0), "simplify_m": (0, 0)}
    stream = store(**prompts, shift_m=(0, 0)).stream(CropPlan(96, 3, augment))
    for n in range(12):
        pixels, label = stream[n]
        assert pixels.shape == (6, 96, 96)
        assert pixels.isfinite().all()
        inside = label == 1
        assert inside.sum() > 100
        assert pixels[0][inside].mean() > 2.5
        mask, box = pixels[4] > 0, pixels[3] > 0
        assert (mask & inside).sum() / (mask | inside).sum() > 0.93  # an exact outline
        assert (box & mask).sum() == mask.sum()
        rows, cols = torch.nonzero(mask, as_tuple=True)
        size = (rows.max() - rows.min() + 1) * (cols.max() - cols.min() + 1)
        assert abs(int(size) - int(box.sum())) <= 0.1 * int(size)
        assert not pixels[5].any()


def test_coarse_prompts_are_wider_by_as_much_as_was_asked():
    found = store(box=0, points=0, box_mask=0, buffer_m=(60, 60), simplify_m=(0, 0), shift_m=(0, 0))
    for seed in range(3):
        pixels, label = draw_sample(found, 0, CropPlan(128, 0, PLAIN), np.random.default_rng(seed))
        zoom = float((label == 1).sum()) / (
            50 * 30
        )  # square pixels of the frame to one of the chip
        expected = 50 * 30 + 2 * (50 + 30) * 6 + np.pi * 36
        assert float(pixels[4].sum()) / zoom == pytest.approx(expected, rel=0.06)
        assert not pixels[3].any()


def test_every_kind_is_drawn():
    stream = store(box=1, mask=1, points=1, box_mask=1).stream(CropPlan(64, 0, PLAIN))
    kinds = set()
    for n in range(40):
        pixels, label = stream[n]
        kinds.add(tuple(bool(plane.any()) for plane in pixels[3:]))
        assert (pixels[5][label == 0] <= 0).float().mean() > 0.9
    assert kinds == {
        (True, False, False),
        (False, True, False),
        (False, False, True),
        (True, True, False),
    }


def test_what_lies_beyond_the_chip_is_ignored():
    sample = chip()
    pixels, label = cut(sample, Window(-20, -10, 64, 64), 64)
    assert label[:20].eq(255).all()
    assert label[:, :10].eq(255).all()
    assert pixels[:, :20].isnan().all()
    assert label[20 + 12, 10 + 25] == 1
    np.testing.assert_array_equal(pixels[:, 20:, 10:].numpy(), sample.pixels[:, :44, :54])
    nothing, _ = cut(sample, Window(500, 500, 40, 40), 32)
    assert nothing.isnan().all()


def test_a_window_is_a_square_around_the_outline():
    outline = shapely.box(100, 40, 160, 50)
    large = (900, 800)
    assert crop_window(outline, large, context=1.4) == Window(3, 88, 84, 84)
    assert crop_window(shapely.box(50, 50, 54, 53), large, context=2.0).height == 32
    for seed in range(20):
        rng = np.random.default_rng(seed)
        window = crop_window(outline, large, context=1.5, stray=0.1, rng=rng)
        assert window.col <= 100
        assert window.col + window.width >= 160


def test_a_window_lies_on_the_chip_as_far_as_the_outline_does():
    outline = shapely.box(100, 40, 160, 50)
    assert crop_window(outline, (300, 170), context=2.0) == Window(0, 50, 120, 120)
    assert crop_window(outline, (90, 170), context=4.0) == Window(-40, 0, 170, 170)
    over = shapely.box(100, 40, 190, 50)  # 20 px of it lie beyond the chip
    assert crop_window(over, (90, 170), context=1.2) == Window(-9, 82, 108, 108)


def test_what_is_smaller_than_a_pixel_is_drawn_all_the_same():
    said = Said(mask=shapely.box(10.1, 10.1, 10.3, 10.3))
    planes = draw_planes(said, Window(0, 0, 64, 64), 64)
    assert planes[1].sum() == planes[1, 10, 10] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"rotate": 0.5},
        {"hflip": 0.5},
        {"channel_shuffle": 0.1},
        {"grid_shuffle": 0.1},
        {"calm": 0.5},
        {"scale": 1.5},
    ],
)
def test_changes_that_planes_cannot_follow_are_refused(change):
    with pytest.raises(RecipeError, match=rf"augment\.{next(iter(change))} does not go"):
        store().stream(CropPlan(64, 0, AugmentSection(**change)))


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({"box": 0, "mask": 0, "points": 0, "box_mask": 0}, "must be above 0"),
        ({"buffer_m": [50, 20]}, "50 is above 20"),
        ({"context": [0.9, 2]}, "context is above 1"),
        ({"shift_m": [-3, 2]}, "0 and more"),
        ({"boxes": 1}, "closest is 'box'"),
    ],
)
def test_a_recipe_is_checked(prompts, message):
    with pytest.raises(RecipeError, match=message):
        parse_recipe({"data": {"prompts": prompts}}, source="test")


def prompt_recipe(root, **train_changes):
    value = {
        "name": "prompts",
        "model": {"architecture": "sam-prompt-tiny", "init": "none"},
        "data": {
            "dataset": str(root),
            "prompts": {"min_area_px": 20, "context": [1.3, 2.0]},
            "fold": {"index": 1, "of": 2},
        },
        "train": {"steps": 6, "batch": 2, "crop_px": 64, "checkpoint_every": 2, "lr": 1e-3}
        | train_changes,
        "output": {"patch_px": 64},
    }
    return parse_recipe(value, source="test")


@pytest.mark.parametrize("embed_epochs", [0, 2])
def test_a_run_on_prompts_is_resumed_and_gives_a_prompt_model(
    write_squares, tmp_path, embed_epochs
):
    root = write_squares(tmp_path / "data")
    chosen = prompt_recipe(root, embed_epochs=embed_epochs)
    seen = []
    watch = Watch(lambda *figures: seen.append(figures), times=2, part="test", measure="test_iou")
    plain = train(chosen, out=tmp_path / "plain", watch=watch)
    assert len(seen) == 2
    assert 0 <= plain.metrics["test_iou"] <= 1
    with pytest.raises(PowerCutError):
        train(chosen, out=tmp_path / "cut", watch=Watch(cut_at(3), times=2, part="test"))
    resumed = train(chosen, out=tmp_path / "cut", resume=True)
    assert resumed.metrics["loss"] == pytest.approx(plain.metrics["loss"], rel=1e-5)
    assert (tmp_path / "plain" / "samples.png").stat().st_size > 10_000
    prompter = load_prompter(str(plain.bundle), device="cpu")
    assert prompter.takes_masks
    assert prompter.sam.size_px == 64


def test_prompts_and_networks_that_take_them_need_each_other(tmp_path):
    chosen = prompt_recipe(tmp_path)
    without = chosen.with_data(prompts=None)
    with pytest.raises(RecipeError, match=r"'sam-prompt-tiny' is prompted.*Add data\.prompts"):
        train(without, out=tmp_path / "a")
    other = chosen.model_copy(
        update={"model": chosen.model.model_copy(update={"architecture": "unet"})}
    )
    with pytest.raises(RecipeError, match="'unet' takes no prompts"):
        train(other, out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


class PowerCutError(Exception):
    """The power fails."""


def cut_at(step):
    def seen(now, *_):
        if now >= step:
            raise PowerCutError

    return seen


@pytest.fixture
def write_squares():
    """Writes four far-apart sites of one 64 px chip with two bright fields each."""

    def write(root):
        rng = np.random.default_rng(5)
        for number, site in enumerate(("alfa", "bravo", "charlie", "delta")):
            mask = np.zeros((64, 72), np.uint8)
            mask[4 + number : 24, 6:30] = 1
            mask[38:58, 40 - number : 66] = 1
            image = (800 + 1500.0 * mask + rng.normal(0, 60, (3, 64, 72))).astype(np.uint16)
            place = {
                "crs": "EPSG:32723",
                "transform": from_origin(500_000 + 50_000 * number, 7_800_000, 10, 10),
            }
            for kind, array in (("images", image), ("masks", mask[None])):
                path = root / kind / site / "00000.tif"
                path.parent.mkdir(parents=True)
                with rasterio.open(
                    path, "w", driver="GTiff", height=64, width=72, count=len(array),
                    dtype=array.dtype, **place,
                ) as file:  # fmt: skip
                    file.write(array)
                    if kind == "images":
                        file.descriptions = ("B02", "B03", "B04")
        return root

    return write
