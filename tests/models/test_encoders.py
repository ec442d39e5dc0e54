import pytest
import timm
import torch

from headframe.core.errors import FormatError
from headframe.models.encoders import ENCODERS, load_encoder, spread_stem, timm_encoder
from headframe.models.inflate import inflate_kernel
from headframe.models.registry import build_network, encoder_of

BANDS = ("nir", "red", "green", "blue")
DECODERS = ("unet", "unetplusplus", "linknet", "fpn", "deeplabv3plus")


def _features(name, **options):
    return timm.create_model(name, features_only=True, **options)


@pytest.mark.parametrize("encoder", ["resnet50", "vgg16", "efficientnet-b0"])
@pytest.mark.parametrize("decoder", DECODERS)
def test_search_list_of_the_components_paper_builds_at_4_to_15_bands(decoder, encoder):
    if (decoder, encoder) == ("deeplabv3plus", "vgg16"):
        pytest.skip("VGG cannot be dilated; a test of the segmenter expects the message")
    with torch.device("meta"):
        for count in (4, 15):
            bands = tuple(f"band{i}" for i in range(count))
            network = build_network(decoder, bands, 1, {"encoder": encoder})
            assert network(torch.empty(2, count, 64, 96)).shape == (2, 1, 64, 96)


def test_names():
    assert timm_encoder("resnet50") == "resnet50.tv_in1k"
    assert timm_encoder("tf_efficientnet_lite0") == "tf_efficientnet_lite0"
    assert all(timm.is_model(name.split(".")[0]) for name in ENCODERS.values())
    assert encoder_of("fpn", {}) == "tf_efficientnet_lite0"
    assert encoder_of("fpn", {"encoder": "vgg16"}) == "vgg16"
    assert encoder_of("minesegsat-b0", {}) is None


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "tf_efficientnet_lite0"])
@pytest.mark.parametrize("prefix", ["", "backbone.", "encoder.model."])
def test_weights_are_found_under_any_prefix_and_spread_over_the_bands(name, prefix):
    torch.manual_seed(0)
    source = timm.create_model(name, num_classes=3)
    state = {prefix + key: value for key, value in source.state_dict().items()}
    encoder = _features(name)
    load_encoder(encoder, state, bands=BANDS, source="w.pth")
    own = list(encoder.state_dict().items())
    given = {key.replace(".", "_"): value for key, value in source.state_dict().items()}
    stem = given[own[0][0].replace(".", "_")]
    torch.testing.assert_close(own[0][1], inflate_kernel(stem, BANDS))
    assert all(torch.equal(value, given[key.replace(".", "_")]) for key, value in own[1:])


def test_weights_of_the_same_bands_are_taken_as_they_are():
    source = _features("resnet18", in_chans=4)
    encoder = _features("resnet18")
    load_encoder(encoder, source.state_dict(), bands=BANDS, source="w.pth")
    assert torch.equal(encoder.conv1.weight, source.conv1.weight)


def test_rgb_keeps_its_stem():
    encoder = _features("resnet18")
    stem = encoder.conv1
    spread_stem(encoder, ("red", "green", "blue"))
    assert encoder.conv1 is stem


def test_weights_of_another_network_are_refused():
    state = timm.create_model("resnet18", num_classes=0).state_dict()
    with pytest.raises(FormatError, match=r"w\.pth: .* tensors are missing, 'features_0"):
        load_encoder(_features("vgg11"), state, bands=BANDS, source="w.pth")
    state["layer2.0.conv1.weight"] = state["layer2.0.conv1.weight"][:5]
    with pytest.raises(FormatError, match=r"layer2\.0\.conv1\.weight.*\(5, 64, 3, 3\)"):
        load_encoder(_features("resnet18"), state, bands=BANDS, source="w.pth")
