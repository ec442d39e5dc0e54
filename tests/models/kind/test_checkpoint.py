"""The authors' weights: every name, every axis, and the figures they give on real pairs."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from headframe.core.errors import FormatError
from headframe.models.kind import KinDEnhancer, KinDOptions, authors_state, load_authors
from headframe.models.kind.checkpoint import _OURS, is_authors

WEIGHTS = "weights/kind_official_decomposition_adjustment.safetensors"
PLAIN = KinDOptions(restoration_width=0)


@pytest.fixture
def theirs():
    """Tensors of the right shapes under TensorFlow's names, each with values of its own."""
    own = KinDEnhancer(PLAIN).state_dict()
    state = {}
    for number, (name, ours) in enumerate(_OURS.items()):
        kernel = own[f"{ours}.weight"].permute(2, 3, 1, 0)
        state[f"{name}/weights"] = torch.full(kernel.shape, 1.0 + number)
        if f"{ours}.bias" in own:
            state[f"{name}/biases"] = torch.full_like(own[f"{ours}.bias"], -1.0 - number)
    return state


def test_every_tensor_has_its_place(theirs):
    network = KinDEnhancer(KinDOptions(restoration_width=1))
    before = network.restoration.head.weight.clone()
    load_authors(network, theirs, source="a.safetensors")
    for number, ours in enumerate(_OURS.values()):
        assert (network.get_submodule(ours).weight == 1 + number).all(), ours
    assert torch.equal(network.restoration.head.weight, before)


def test_axes_turn_and_kernels_are_not_mirrored():
    kernel = torch.arange(3 * 3 * 2 * 5, dtype=torch.float32).view(3, 3, 2, 5)
    up = torch.arange(2 * 2 * 4 * 7, dtype=torch.float32).view(2, 2, 4, 7)
    ours = authors_state(
        {"DecomNet/g_conv1_1/weights": kernel, "DecomNet/g_up_1/weights": up}, source="a"
    )
    assert ours["decomposition.conv1.weight"][3, 1, 0, 2] == kernel[0, 2, 1, 3]
    assert ours["decomposition.up2.weight"][6, 3, 1, 0] == up[1, 0, 3, 6]  # (in, out, h, w)


def test_what_is_not_theirs_is_named(theirs):
    assert is_authors(theirs)
    assert not is_authors({"conv1.weight": torch.zeros(1)})
    network = KinDEnhancer(PLAIN)
    with pytest.raises(FormatError, match=r"b.safetensors: 'Adam/beta' is no tensor"):
        load_authors(network, theirs | {"Adam/beta": torch.zeros(1)}, source="b.safetensors")
    with pytest.raises(FormatError, match=r"g_conv10/weights' has shape \(3,\)"):
        load_authors(network, theirs | {"DecomNet/g_conv10/weights": torch.zeros(3)}, source="b")
    with pytest.raises(FormatError, match=r"needs \(3,\)"):
        load_authors(network, theirs | {"DecomNet/g_conv10/biases": torch.zeros(4)}, source="b")
    del theirs["DecomNet/g_conv10/biases"]
    with pytest.raises(FormatError, match=r"1 of 26 .* 'decomposition.reflectance.bias' the first"):
        load_authors(network, theirs, source="b.safetensors")


def picture(path):
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def psnr(image, truth):
    return -10 * math.log10(float(((image - truth) ** 2).mean()))


@pytest.mark.realdata
def test_the_authors_weights_give_the_authors_figures(shared_data):
    """Means over all six pairs, pixels as stored (no stretch), ratio 5, no restoration net."""
    network = KinDEnhancer(PLAIN).eval()
    load_authors(network, load_file(shared_data / WEIGHTS), source=WEIGHTS)
    figures = []
    for path in sorted((shared_data / "lol-pairs").glob("*/imgs/*.png")):
        dark, bright = picture(path), picture(path.parents[1] / "targets" / path.name)
        with torch.no_grad():
            out = network(dark, ratio=5.0)
            lit = network.decomposition(bright)
        product = out.dark.reflectance * out.dark.illumination
        errors = ((product - dark), (lit.reflectance * lit.illumination - bright))
        matched = (out.image * (bright.mean() / out.image.mean())).clamp(0, 1)
        figures.append(
            [
                *(float(error.abs().mean()) for error in errors),
                float(errors[0].square().mean().sqrt()),
                psnr(out.image, bright),
                psnr(matched, bright),
            ]
        )
    assert len(figures) == 6
    dark, bright, rms, raw, matched = np.mean(figures, axis=0)
    assert dark == pytest.approx(0.0047, abs=1e-4)
    assert bright == pytest.approx(0.0137, abs=1e-4)
    assert rms == pytest.approx(0.0066, abs=1e-4)
    assert raw == pytest.approx(15.40, abs=0.01)
    assert matched == pytest.approx(20.51, abs=0.01)
