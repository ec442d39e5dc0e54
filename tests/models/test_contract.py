"""What every architecture promises, each at its smallest size; a new one costs a line below."""

import copy
from functools import cache

import pytest
import torch
from safetensors.torch import load, save

from headframe.losses.build import build_loss
from headframe.models.registry import BUILDERS, build_network

SMALLEST = {
    **{
        name: {"encoder": "tf_efficientnet_lite0"}
        for name in BUILDERS
        if not name.startswith(("ensemble", "mineseg", "procanet", "sam-"))
    },
    "procanet": {"width": 8},
    "ensemble": {
        "members": [
            {"architecture": "unet"},
            {"architecture": "procanet", "options": {"width": 4}, "weight": 2.0},
        ]
    },
    "minesegsat-b0": {},
    "sam-tiny": {"peft": "full"},
}
for wide in ("deeplabv3", "upernet"):
    SMALLEST[wide] = {**SMALLEST[wide], "decoder_options": {"decoder_channels": 64}}
BIGGER = {"minesegsat-b1", "minesegsat-b3"}  # the same network, wider and deeper
BIGGER |= {name for name in BUILDERS if name.startswith("sam-")} - {"sam-tiny"}
BANDS = ("nir", "red", "green", "blue")
MANY = (*BANDS, "coastal", "rededge071", "rededge075", "rededge078", "nir08", "nir09", "swir16")
MANY = (*MANY, "swir22", "vv", "vh", "vv_vh")


@cache
def _built(name):
    torch.manual_seed(0)
    return build_network(name, BANDS, 3, SMALLEST[name])


def network(name):
    return copy.deepcopy(_built(name))


def pixels(name, count=2):
    """An oblong batch, its sides the smallest multiples of the stride that the network takes."""
    side = BUILDERS[name].min_px
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, len(BANDS), side, side + BUILDERS[name].stride, generator=generator)


def test_no_architecture_is_left_out():
    assert set(SMALLEST) | BIGGER == set(BUILDERS)


@pytest.mark.parametrize("name", SMALLEST)
def test_shape_and_gradient(name):
    net, batch = network(name), pixels(name)
    logits = net(batch)
    assert logits.shape == (2, 3, *batch.shape[2:])
    assert logits.dtype == torch.float32
    logits.square().mean().backward()
    without = [key for key, value in net.named_parameters() if value.grad is None]
    assert without == []
    assert all(bool(torch.isfinite(value.grad).all()) for value in net.parameters())


@pytest.mark.parametrize("name", SMALLEST)
@pytest.mark.parametrize("bands", [3, 4, 12, 15])
def test_any_number_of_bands_and_sides_of_the_stride(name, bands):
    stride, least = BUILDERS[name].stride, BUILDERS[name].min_px
    with torch.device("meta"):
        net = build_network(name, MANY[:bands], 1, SMALLEST[name])
        for height, width in ((least, least), (least + stride, least + 3 * stride)):
            assert net(torch.empty(2, bands, height, width)).shape == (2, 1, height, width)


@pytest.mark.parametrize("name", sorted(name for name in BIGGER if "prompt" not in name))
def test_the_bigger_ones_are_of_the_same_shape(name):
    with torch.device("meta"):
        net = build_network(name, MANY[:7], 3, {})
        assert net(torch.empty(1, 7, 64, 96)).shape == (1, 3, 64, 96)


@pytest.mark.parametrize("name", SMALLEST)
def test_every_band_is_seen_and_samples_are_independent(name):
    net, one = network(name).eval(), pixels(name, count=1)
    changed = one.repeat(len(BANDS), 1, 1, 1)
    for band in range(len(BANDS)):
        changed[band, band] += 1.0
    with torch.inference_mode():
        alone, together = net(one), net(torch.cat([one, changed]))
        last = net(changed[-1:])
    torch.testing.assert_close(together[:1], alone, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(together[-1:], last, atol=1e-4, rtol=1e-3)
    moved = (together[1:] - alone).abs().amax(dim=(1, 2, 3))
    assert bool((moved > 1e-5).all()), moved


@pytest.mark.parametrize("name", SMALLEST)
def test_saved_and_loaded_it_answers_alike(name):
    net = network(name)
    with torch.no_grad():
        net(pixels(name))  # moves the running statistics away from their start
    net.eval()
    torch.manual_seed(5)
    other = build_network(name, BANDS, 3, SMALLEST[name])
    other.load_state_dict(load(save({k: v.contiguous() for k, v in net.state_dict().items()})))
    other.eval()
    with torch.inference_mode():
        assert torch.equal(other(pixels(name)), net(pixels(name)))


@pytest.mark.parametrize("name", SMALLEST)
def test_ignored_pixels_teach_nothing(name):
    net, batch = network(name).eval(), pixels(name)  # evaluation: the same dropout for both
    loss = build_loss("ce_dice")
    label = torch.randint(0, 3, (2, *batch.shape[2:]), generator=torch.Generator().manual_seed(2))
    label[:, :, :40] = 255
    logits = net(batch)
    logits.retain_grad()
    loss(logits, label).backward()
    assert bool((logits.grad[..., :40] == 0).all())
    assert bool((logits.grad[..., 40:] != 0).any())
    net.zero_grad()
    loss(net(batch), torch.full_like(label, 255)).backward()
    assert all(bool((p.grad == 0).all()) for p in net.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", SMALLEST)
def test_half_precision(name):
    net, batch = network(name), pixels(name)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(batch)
    build_loss("ce")(logits.float(), torch.zeros(2, *batch.shape[2:])).backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in net.parameters())
    net.eval()
    with torch.inference_mode():
        full = net(batch)
        with torch.autocast("cpu", torch.bfloat16):
            half = net(batch)
    spread = float(full.std()) + 1e-3
    assert float((half.float() - full).abs().mean()) < 0.25 * spread


@pytest.mark.parametrize("name", SMALLEST)
def test_it_can_overfit_a_few_samples(name):
    torch.manual_seed(0)
    still = {"dropout": 0.0, "drop_path": 0.0} if "mineseg" in name else {}
    net = build_network(name, BANDS, 1, {**SMALLEST[name], **still})
    side = max(64, BUILDERS[name].min_px)
    label = torch.zeros(3, side, side)
    for number, (row, col) in enumerate(((4, 9), (20, 30), (36, 2))):
        label[number, row : row + 24, col : col + 28] = 1
    batch = torch.randn(3, len(BANDS), side, side) + 2 * label[:, None]
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    loss = build_loss("bce_dice")
    best = 0.0
    for _ in range(60):
        logits = net(batch)
        found = logits[:, 0].detach() > 0
        best = float((found & (label > 0)).sum() / (found | (label > 0)).sum())
        if best > 0.9:
            break
        loss(logits, label).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert best > 0.9
