"""Detectors by name: a network, the loss of its masks, and where its weights start."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from headframe.core.errors import RecipeError, UnknownNameError
from headframe.engine.weights import encoder_start, file_state
from headframe.losses.instances import MaskLossOptions, build_mask_loss
from headframe.models.detector import read_options
from headframe.models.maskrcnn import MaskRCNN, MaskRCNNOptions

_MASK_LOSS = "dice_focal"


def _mask_rcnn(options: Mapping[str, Any], classes: int, init: str) -> nn.Module:
    own = {k: v for k, v in options.items() if k not in ("mask_loss", "mask_options")}
    chosen = read_options(MaskRCNNOptions, own, name="maskrcnn")
    how = read_options(MaskLossOptions, options.get("mask_options", {}), name="mask_options")
    loss = build_mask_loss(options.get("mask_loss", _MASK_LOSS), how)
    state = encoder_start(init, chosen.body)
    return MaskRCNN(classes, chosen, mask_loss=loss, body_state=state)


def _mask2former(options: Mapping[str, Any], classes: int, init: str) -> nn.Module:
    module = import_module("headframe.models.mask2former")  # its library comes with an extra
    chosen = read_options(module.Mask2FormerOptions, options, name="mask2former")
    if init == "imagenet":
        raise RecipeError(
            "mask2former has no ImageNet weights that come with a package. Set init to none, or to "
            "a file of transformers' weights of its size."
        )
    state = None if init == "none" else file_state(Path(init))
    network: nn.Module = module.Mask2Former(classes, chosen, state=state)
    return network


DETECTORS: Mapping[str, Callable[[Mapping[str, Any], int, str], nn.Module]] = {
    "maskrcnn": _mask_rcnn,
    "mask2former": _mask2former,
}
"""Builder of each: options of a recipe, number of classes, init."""


def build_detector(
    architecture: str, options: Mapping[str, Any], *, classes: int, init: str = "none"
) -> nn.Module:
    """Build a detector's network (``models.detector.Detector``).

    Args:
        architecture: a key of ``DETECTORS``.
        options: of ``maskrcnn`` the fields of ``MaskRCNNOptions``, and ``mask_loss``, a key of
            ``losses.instances.MASK_LOSSES`` (``dice_focal``), with ``mask_options``, the fields of
            ``MaskLossOptions``; of ``mask2former`` the fields of ``Mask2FormerOptions``.
        classes: K, without background.
        init: ``none``; ``imagenet``, for the body of a Mask R-CNN; or a file of tensors, of a Mask
            R-CNN's body or of a whole Mask2Former.

    Raises:
        UnknownNameError: no such architecture, or no such loss.
        RecipeError: options it does not have or cannot use.
        MissingFileError, BundleError, FormatError: weights that are not there or do not fit.
        ModuleNotFoundError: its library is not installed; the command names the extra.
    """
    if architecture not in DETECTORS:
        raise UnknownNameError.of("detector", architecture, DETECTORS)
    return DETECTORS[architecture](options, classes, init)
