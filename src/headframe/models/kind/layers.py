"""The two layers all of KinD is made of."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2
"""Of the leaky ReLU after every 3 x 3 convolution."""


class Conv(nn.Conv2d):
    """A 3 x 3 convolution with zeros around the image, then leaky ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H, W)."""
        return F.leaky_relu(super().forward(x), SLOPE)


class Up(nn.ConvTranspose2d):
    """A 2 x 2 transposed convolution of stride 2 without bias, then the skip beside it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, kernel_size=2, stride=2, bias=False)

    def join(self, x: Tensor, skip: Tensor) -> Tensor:
        """Double ``x`` (N, inputs, h, w), cut it to ``skip`` and put it before its channels."""
        height, width = skip.shape[-2:]
        return torch.cat([self(x)[..., :height, :width], skip], dim=1)


def halve(x: Tensor) -> Tensor:
    """Take the maximum of each 2 x 2 pixels; an odd last row or column counts on its own."""
    return F.max_pool2d(x, 2, ceil_mode=True)
