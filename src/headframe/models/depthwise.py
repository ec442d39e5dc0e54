"""Depthwise convolutions in full precision, where half of it is slower.

On CPUs, PyTorch 2.15 computes the gradients of a depthwise convolution in bfloat16 up to ten times
slower than in float32, while all other convolutions gain: of EfficientNet-Lite's steps they took
two thirds (EXPERIMENTS.md, 2026-12-01).
"""

from typing import Any

import torch
from torch import Tensor, nn


class FullPrecision(nn.Conv2d):
    """A convolution that autocast leaves in float32; first base of any kind of them."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Convolve (N, C, H, W) in float32, whatever autocast would do."""
        with torch.autocast(pixels.device.type, enabled=False):
            found: Tensor = super().forward(pixels.float())
        return found


def _in_full(kind: type[nn.Conv2d]) -> Any:  # noqa: ANN401 - mypy knows no class made at run time
    return type(kind.__name__, (FullPrecision, kind), {})


def depthwise_in_float32(network: nn.Module) -> int:
    """Keep the depthwise convolutions of a network out of autocast, in place.

    Names of weights and their values stay; a network in float32 scores as before, to the bit.

    Args:
        network: any; convolutions of one channel a group are depthwise.

    Returns:
        How many there are.
    """
    found = [
        module
        for module in network.modules()
        if isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels
    ]
    for module in found:
        if not isinstance(module, FullPrecision):
            module.__class__ = _in_full(type(module))
    return len(found)
