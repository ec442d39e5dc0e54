import pytest
import timm
import torch

from headframe.core.errors import FormatError, UnknownNameError
from headframe.engine.weights import imagenet_state
from headframe.models.imagenet import ENCODERS, load_imagenet, timm_name

# Logits 0-4 of each network on _probe(side), computed once with the package that the weights were
# published for (efficientnet_lite_pytorch 0.1.0), which shares no code with timm.
REFERENCE = {
    "tf_efficientnet_lite0": (224, [1.1221, -0.2889, 0.0895, 0.1332, -1.2129]),
    "tf_efficientnet_lite1": (240, [-1.6651, 1.1738, -0.4443, -2.0614, -1.9373]),
    "tf_efficientnet_lite2": (260, [-0.9053, 0.5970, 0.3045, -1.2288, -0.5450]),
}


def _probe(side: int) -> torch.Tensor:
    ramp = torch.linspace(-1, 1, 3 * side * side).reshape(1, 3, side, side)
    return torch.sin(ramp * 37.0) + 0.25 * ramp.flip(3)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_reference_activation(encoder):
    side, expected = REFERENCE[encoder]
    network = timm.create_model(encoder)
    load_imagenet(network, imagenet_state(encoder), name=encoder)
    network.eval()
    with torch.inference_mode():
        logits = network(_probe(side))[0, :5]
    torch.testing.assert_close(logits, torch.tensor(expected), atol=2e-3, rtol=0)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_name_map_covers_every_tensor_once(encoder):
    names = [timm_name(key, encoder) for key in imagenet_state(encoder)]
    assert sorted(names) == sorted(timm.create_model(encoder).state_dict())


def test_wrong_shape_is_named():
    state = imagenet_state("tf_efficientnet_lite0")
    state["_conv_stem.weight"] = state["_conv_stem.weight"][:, :2]
    network = timm.create_model("tf_efficientnet_lite0")
    with pytest.raises(FormatError, match=r"conv_stem\.weight.*\(32, 2, 3, 3\)"):
        load_imagenet(network, state, name="tf_efficientnet_lite0")


def test_missing_tensor_is_named():
    state = imagenet_state("tf_efficientnet_lite0")
    del state["_blocks.3._bn1.weight"]
    network = timm.create_model("tf_efficientnet_lite0")
    with pytest.raises(FormatError, match=r"blocks\.2\.0\.bn2\.weight.*missing"):
        load_imagenet(network, state, name="tf_efficientnet_lite0")


@pytest.mark.parametrize("name", ["_blocks.16._bn1.weight", "_blocks.0._expand_conv.weight", "x.y"])
def test_name_without_rule(name):
    with pytest.raises(FormatError, match="no rule"):
        timm_name(name, "tf_efficientnet_lite0")


def test_unknown_encoder():
    with pytest.raises(UnknownNameError, match="tf_efficientnet_lite0"):
        timm_name("_fc.weight", "tf_efficientnet_lite9")
