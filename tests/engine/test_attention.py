import numpy as np
import pytest
import torch
from PIL import Image

from headframe.core.errors import OutputError, RecipeError
from headframe.engine.attention import attention_of, check_attention, draw_attention
from headframe.losses.distillation import Attentive
from headframe.models.registry import build_network

RED_GREEN = ("red", "green")


@pytest.fixture
def chip(fakes):
    """One chip of 40 x 70 pixels whose target is a block in the upper left; red is high in it."""
    truth = np.zeros((40, 70), np.uint8)
    truth[8:24, 8:40] = 1
    red = np.where(truth == 1, 0.9, 0.1).astype(np.float32)
    red[-3:, -3:] = np.nan
    dataset = fakes.FakeDataset([("north", None, red, truth)])
    arrays = dataset.read(dataset.chips()[0], target="binary")
    return dataset, arrays.image[[2, 1]], truth


def built(fakes, architecture, **options):
    torch.manual_seed(0)
    network = build_network(architecture, RED_GREEN, 1, options).eval()
    return fakes.bundle(network, architecture=architecture)


def test_masks_of_both_encoders_at_every_scale(fakes, chip):
    model = built(fakes, "procanet", width=4, second=["red"])
    rows = attention_of(model, *chip[1:]).rows
    assert list(rows) == [
        f"encoder {side} ({bands})\nby {what}"
        for what in ("itself", "the other")
        for side, bands in ((1, "red, green"), (2, "red"))
    ]
    sizes = [(40, 70), (20, 35), (10, 18), (5, 9), (2, 4)]  # the chip's share of 64 x 96
    for maps in rows.values():
        assert [found.shape for found in maps] == sizes
        assert all(0 < found.min() <= found.max() < 1 for found in maps)


def test_of_one_encoder_and_one_step_there_is_one_row(fakes, chip):
    alone = built(fakes, "procanet", width=4, second=[], attention="self")
    assert list(attention_of(alone, *chip[1:]).rows) == ["encoder 1 (red, green)\nby itself"]
    mixed = built(fakes, "procanet", width=4, second=["red"], masks="dot-product")
    (first, *_) = attention_of(mixed, *chip[1:]).rows.values()
    assert len(first) == 3  # above an eighth of the size only


def test_what_a_teacher_passes_on(fakes, chip):
    model = built(fakes, "unet")
    _, image, truth = chip
    label = truth.copy()
    label[:2] = 255
    rows = attention_of(model, image, label, Attentive(width_px=2)).rows
    assert list(rows) == ["attention", "gate", "features passed on", "predictions passed on"]
    for attended, gate, both in zip(*list(rows.values())[:3], strict=True):
        np.testing.assert_allclose(both, attended * gate, rtol=1e-6)
        assert attended.min() > 0
    (weight,) = rows["predictions passed on"]
    assert weight.shape == label.shape
    assert (weight[:2] == 0).all()  # ignored
    assert (weight[8:10, 20] == 0).all()  # on the outline
    assert weight[14:18, 20].min() > 0
    finest = rows["gate"][0]
    assert finest.shape == (10, 18)
    assert finest[2, 4] == 0.5  # of its rows 8 to 11 two are in the band
    assert finest[9, 10] == 1
    open_gate = attention_of(model, image, label, Attentive(gate=0)).rows
    assert all((gate == 1).all() for gate in open_gate["gate"])


def test_networks_without_either_are_named(fakes):
    with pytest.raises(RecipeError, match=r"FirstChannel has no pyramid"):
        check_attention(fakes.bundle())
    with pytest.raises(RecipeError, match=r"model fake: a procanet without masks"):
        check_attention(built(fakes, "procanet", width=4, attention="none"))


@pytest.mark.parametrize(("architecture", "rows", "columns"), [("procanet", 4, 6), ("unet", 4, 5)])
def test_picture(fakes, chip, tmp_path, architecture, rows, columns):
    options = {"width": 4, "second": ["red"]} if architecture == "procanet" else {}
    dataset = chip[0]
    found = built(fakes, architecture, **options)
    path = tmp_path / "attention.png"
    draw_attention(found, dataset, [("best", dataset.chips()[0])] * 2, path)
    with Image.open(path) as picture:
        assert picture.size == (round(columns * 2.1 * 90), round(2 * rows * 2.45 * 90))
        assert len(picture.convert("RGB").getcolors(10**6)) > 200
    with pytest.raises(OutputError):
        draw_attention(found, dataset, [("best", dataset.chips()[0])], tmp_path / "attention.png/a")
