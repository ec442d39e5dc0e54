"""Detectors as recipes name them."""

import pytest
import torch
from safetensors.torch import save_file

from headframe.core.errors import FormatError, RecipeError, UnknownNameError
from headframe.engine.detectors import DETECTORS, build_detector
from headframe.engine.weights import imagenet_state
from headframe.models.detector import Detector

TINY = {
    "maskrcnn": {"body": "test_resnet", "channels": 16, "frozen_norm": False},
    "mask2former": {"size": "tiny", "queries": 4},
}


@pytest.mark.parametrize("name", DETECTORS)
def test_each_is_a_detector_of_its_classes(name):
    network = build_detector(name, TINY[name], classes=3)
    assert isinstance(network, Detector)
    assert network.classes == 3


def test_the_mask_loss_is_the_recipes():
    logits, target = torch.zeros(1, 4, 4), torch.ones(1, 4, 4)
    label = torch.tensor([1])
    found = {}
    for loss, how in (
        ("bce", {}),
        ("dice_focal", {}),
        ("dice_focal", {"focal_weight": 0, "foreground_weight": 1}),
    ):
        options = {**TINY["maskrcnn"], "mask_loss": loss, "mask_options": how}
        network = build_detector("maskrcnn", options, classes=1)
        found[loss, len(how)] = network.roi_heads.mask_loss(logits, target, label).item()
    assert found["bce", 0] == pytest.approx(0.6931, abs=1e-4)
    assert found["dice_focal", 2] == pytest.approx(1 - 2 * 8 / (2 * 8 + 8))
    # Dice of p = 1/2: TP 8, FN 8 of the object, and FP 8 of its surroundings
    assert found["dice_focal", 0] == pytest.approx(1 - 11.2 / 19.2 + 0.25 * 0.25 * 0.6931, abs=1e-4)
    plain = build_detector("maskrcnn", TINY["maskrcnn"], classes=1)
    assert plain.roi_heads.mask_loss(logits, target, label).item() == found["dice_focal", 0]


def test_weights_start_where_the_recipe_says(tmp_path):
    options = {**TINY["maskrcnn"], "body": "tf_efficientnet_lite0"}
    network = build_detector("maskrcnn", options, classes=1, init="imagenet")
    stem = imagenet_state("tf_efficientnet_lite0")["_conv_stem.weight"]
    assert torch.equal(network.backbone.body.conv_stem.weight, stem)
    first = build_detector("mask2former", TINY["mask2former"], classes=2)
    save_file(first.network.state_dict(), tmp_path / "all.safetensors")
    second = build_detector(
        "mask2former", TINY["mask2former"], classes=2, init=str(tmp_path / "all.safetensors")
    )
    assert torch.equal(second.network.class_predictor.weight, first.network.class_predictor.weight)
    with pytest.raises(FormatError, match="tensors are missing"):
        build_detector("maskrcnn", options, classes=1, init=str(tmp_path / "all.safetensors"))


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("maskrcnn", {"mask_loss": "dise_focal"}, "mask loss 'dise_focal'; closest: dice_focal"),
        ("maskrcnn", {"mask_options": {"gama": 1}}, "no option 'gama'; the closest is 'gamma'"),
        ("maskrcnn", {"min_px": "wide"}, "maskrcnn: .*; correct the option"),
        ("mask2former", {"querys": 1}, "no option 'querys'; the closest is 'queries'"),
        ("yolo", {}, "unknown detector 'yolo'"),
    ],
)
def test_what_a_recipe_cannot_ask_for(name, options, said):
    with pytest.raises((RecipeError, UnknownNameError), match=said):
        build_detector(name, options, classes=1)
    with pytest.raises(RecipeError, match="mask2former has no ImageNet weights"):
        build_detector("mask2former", {}, classes=1, init="imagenet")
