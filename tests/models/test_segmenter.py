import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from headframe.core.errors import RecipeError, UnknownNameError
from headframe.engine.weights import imagenet_state
from headframe.models.inflate import inflate_kernel
from headframe.models.registry import BUILDERS, build_network, get_architecture
from headframe.models.segmenter import Reduced, build_segmenter

RGB = ("red", "green", "blue")


def test_imagenet_start_differs_from_random_and_is_exact():
    state = imagenet_state("tf_efficientnet_lite0")
    network = build_segmenter(RGB, 1, decoder="unet", encoder_state=state)
    stem = network.get_submodule("encoder.model.conv_stem").weight
    torch.testing.assert_close(stem, state["_conv_stem.weight"])


@given(st.permutations(["red", "green", "blue", "nir", "swir16"]))
@settings(max_examples=10, deadline=None)
def test_inflated_kernel_answers_grey_alike(bands):
    kernel = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    inflated = inflate_kernel(kernel, bands)
    assert inflated.shape == (8, 5, 3, 3)
    # a grey pixel (all bands equal) excites the stem as it did with three bands
    torch.testing.assert_close(inflated.sum(1), kernel.sum(1), atol=1e-5, rtol=1e-5)
    red = inflated[:, list(bands).index("red")]
    torch.testing.assert_close(red, kernel[:, 0] * 3 / 5)


def test_band_order_moves_the_kernels():
    state = imagenet_state("tf_efficientnet_lite0")
    rgb = build_segmenter(RGB, 1, decoder="unet", encoder_state=state)
    bgr = build_segmenter(RGB[::-1], 1, decoder="unet", encoder_state=state)
    a, b = (n.get_submodule("encoder.model.conv_stem") for n in (rgb, bgr))
    pixels = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(a(pixels), b(pixels.flip(1)), atol=1e-5, rtol=1e-5)


def test_reduced_sees_averages_and_keeps_the_grid():
    network = Reduced(nn.Identity(), factor=2)
    pixels = torch.arange(2 * 34 * 70, dtype=torch.float32).reshape(1, 2, 34, 70)
    logits = network(pixels)
    assert logits.shape == pixels.shape
    torch.testing.assert_close(network(torch.full_like(pixels, 3.0)), torch.full_like(pixels, 3.0))
    with pytest.raises(RecipeError, match="reduce is 0"):
        build_segmenter(RGB, 1, decoder="unet", reduce=0)


def test_unknown_names_are_named():
    with pytest.raises(UnknownNameError, match="unet"):
        get_architecture("unett")
    with pytest.raises(UnknownNameError, match="fpn"):
        build_segmenter(RGB, 1, decoder="fpnn")
    with pytest.raises(RecipeError, match="colour"):
        build_network("unet", RGB, 1, {"colour": 1})
    with pytest.raises(RecipeError, match="no_such_net"):
        build_segmenter(RGB, 1, decoder="unet", encoder="no_such_net")
    with pytest.raises(RecipeError, match="architecture: fpn"):
        build_network("unet", RGB, 1, {"decoder": "fpn"})
    with pytest.raises(RecipeError, match="the closest is 'encoder'"):
        build_network("unet", RGB, 1, {"encodr": "x"})
    with pytest.raises(RecipeError, match=r"'vgg16' with decoder 'deeplabv3plus'.*dilated"):
        build_segmenter(RGB, 1, decoder="deeplabv3plus", encoder="vgg16")


def test_every_entry_has_a_source():
    assert all(entry.source and entry.description for entry in BUILDERS.values())
