"""SAM as a segmenter: what class tokens start from, what each method trains, sizes."""

import copy

import pytest
import torch

from headframe.core.errors import RecipeError, UnknownNameError
from headframe.models.registry import BUILDERS, build_network, count_trained
from headframe.models.sam import build_sam
from headframe.models.sam.peft import METHODS
from headframe.models.sam.semantic import build_sam_seg
from headframe.models.trainable import Embedder, set_trainable, trained_names

RGB = ("red", "green", "blue")
SEVEN = ("blue", "green", "red", "nir", "swir16", "lwir11", "swir22")


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(2)
    return build_sam("tiny").state_dict()


def tiny(state, outputs=1, *, bands=RGB, **options):
    return build_sam_seg(bands, outputs, base="tiny", encoder_state=state, **options).eval()


@pytest.fixture(scope="module")
def batch():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("method", METHODS)
def test_a_method_has_no_effect_before_it_is_trained(state, batch, method):
    plain, adapted = tiny(state, 3, peft="none"), tiny(state, 3, peft=method)
    with torch.inference_mode():
        assert torch.equal(adapted(batch), plain(batch))


@pytest.mark.parametrize("method", METHODS)
def test_only_what_a_method_trains_gets_a_gradient(state, batch, method):
    network = tiny(state, peft=method)
    set_trainable(network)
    network(batch).square().mean().backward()
    names = dict(network.named_parameters())
    got = {key for key, value in names.items() if value.grad is not None}
    assert got == trained_names(network) & names.keys()
    assert {"tokens", "heads.0.proj_in.weight"} < got
    assert any(key.startswith("sam.decoder.transformer") for key in got) == (method != "none")
    inside = {key for key in got if key.startswith("sam.encoder.")}
    assert bool(inside) == (method not in ("none", "decoder"))
    fresh = {key for key in got if ".lora." in key or ".adapter." in key or key == "tokens"}
    assert network.pretrained & got == got - fresh


def test_one_class_is_sams_single_mask(state, batch):
    """With SAM's own tokens in their places the logits would be those of its unprompted mask."""
    network, sam = tiny(state, peft="none"), build_sam("tiny", state=state)
    with torch.inference_mode():
        embedding = network.encode(batch[:1])
        other = [sam.decoder.mask_tokens.weight[1:].clone()]
        masks, _ = sam.decode(embedding, None)
        # class tokens stand alone: put the other three mask tokens beside ours
        network.tokens = torch.nn.Parameter(torch.cat([network.tokens, *other]))
        network.heads.extend(copy.deepcopy(list(sam.decoder.output_hypernetworks_mlps[1:])))
        ours = network.decode(embedding, (64, 96))[:, :1]
    grown = torch.nn.functional.interpolate(masks, size=(64, 96), mode="bilinear")
    torch.testing.assert_close(ours, grown, atol=1e-5, rtol=1e-4)


def test_more_classes_start_from_the_three_masks_in_turn(state):
    network = tiny(state, 4)
    own = state["decoder.mask_tokens.weight"]
    assert torch.equal(network.tokens, own[[1, 2, 3, 1]])
    first = state["decoder.output_hypernetworks_mlps.2.proj_in.weight"]
    assert torch.equal(network.heads[1].proj_in.weight, first)
    assert not any("mask_tokens" in key or "iou_pred" in key for key in network.state_dict())


def test_encode_and_decode_are_forward(state, batch):
    network = tiny(state, 2)
    assert isinstance(network, Embedder)
    with torch.inference_mode():
        embedding = network.encode(batch)
        assert embedding.shape == (2, 256, 4, 6)
        assert torch.equal(network.decode(embedding, (64, 96)), network(batch))
    assert network.encoder_names == {k for k in network.state_dict() if "sam.encoder." in k}
    assert not network.encoder_names & trained_names(network)


def test_coarser_pixels_and_odd_sides(state):
    network = tiny(state, reduce=2)
    pixels = torch.randn(1, 3, 112, 80)
    with torch.inference_mode():
        assert network(pixels).shape == (1, 1, 112, 80)
        coarse = torch.nn.functional.avg_pool2d(pixels, 2)
        alone = tiny(state).encode(coarse)
        assert torch.equal(network.encode(pixels), alone)
    with pytest.raises(RecipeError, match="reduce is 0"):
        tiny(state, reduce=0)


def test_pixels_are_brought_to_the_bases_units():
    light, full = (build_sam_seg(RGB, 1, base=base) for base in ("litemedsam", "tiny"))
    seen = {}
    for name, network in (("lite", light), ("sam", full)):
        network.sam.encode = lambda frame, name=name: seen.setdefault(name, frame)
        network.encode(torch.tensor([0.0, 1.0, -2.0]).view(1, 3, 1, 1).expand(1, 3, 32, 32))
    wanted = torch.tensor([0.45, 0.65, 0.05])
    torch.testing.assert_close(seen["lite"][0, :, 0, 0], wanted)
    mean, std = full.sam.pixel_mean, full.sam.pixel_std
    torch.testing.assert_close(seen["sam"][0, :, 0, 0], (wanted - mean) / std)


def test_seven_bands_train_the_inflated_stem(state):
    network = tiny(state, 3, bands=SEVEN)
    stem = "sam.encoder.patch_embed.weight"
    assert stem in trained_names(network)
    assert stem in network.pretrained
    kernel = state["encoder.patch_embed.weight"]
    assert network.state_dict()[stem].shape[1] == 7
    torch.testing.assert_close(network.state_dict()[stem][:, 2], kernel[:, 0] * 3 / 7)
    assert stem not in trained_names(tiny(state, 3))


def test_full_needs_no_base_and_names_are_checked(state):
    assert trained_names(tiny(state, peft="full")) == frozenset(tiny(state).state_dict())
    with pytest.raises(UnknownNameError, match="lora"):
        tiny(state, peft="lorra")
    with pytest.raises(RecipeError, match=r"no option 'pefft'; the closest is 'peft'"):
        build_network("sam-tiny", RGB, 1, {"pefft": "lora"})


def test_every_base_has_an_architecture():
    names = {name: kind.base for name, kind in BUILDERS.items() if kind.base is not None}
    assert names["sam-litemedsam"] == "litemedsam"
    assert names["sam-vit-b"] == "vit_b"
    decoder = count_trained("sam-litemedsam", RGB, 1, {"peft": "decoder"})
    lora = count_trained("sam-litemedsam", RGB, 1, {"peft": "lora", "rank": 16})
    assert lora - decoder == 118_784  # methods 2.3: 0.119 M
