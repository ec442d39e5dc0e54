"""KinD's layer decomposition: an image into reflectance and illumination."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from headframe.models.kind.layers import Conv, Up, halve


class Layers(NamedTuple):
    """An image taken apart; their product is the image.

    Attributes:
        reflectance: (N, 3, H, W), float32 in (0, 1).
        illumination: (N, 1, H, W), float32 in (0, 1).
    """

    reflectance: Tensor
    illumination: Tensor


class DecompositionNet(nn.Module):
    """Reflectance by a small U-Net, illumination by a branch from its first and last features.

    After the authors' code (methods 1.2), whose heads are 1 x 1 where the paper has 3 x 3. One
    network serves dark and bright images. 235,876 parameters at width 32.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        w = width
        self.conv1 = Conv(3, w)
        self.conv2 = Conv(w, 2 * w)
        self.conv3 = Conv(2 * w, 4 * w)
        self.up2 = Up(4 * w, 2 * w)
        self.conv4 = Conv(4 * w, 2 * w)
        self.up1 = Up(2 * w, w)
        self.conv5 = Conv(2 * w, w)
        self.reflectance = nn.Conv2d(w, 3, kernel_size=1)
        self.light = Conv(w, w)
        self.illumination = nn.Conv2d(2 * w, 1, kernel_size=1)

    def forward(self, image: Tensor) -> Layers:
        """Take images apart.

        Args:
            image: (N, 3, H, W), RGB, float32 in [0, 1]; any H and W.
        """
        first = self.conv1(image)
        second = self.conv2(halve(first))
        third = self.conv3(halve(second))
        fourth = self.conv4(self.up2.join(third, second))
        fifth = self.conv5(self.up1.join(fourth, first))
        lit = torch.cat([self.light(first), fifth], dim=1)
        return Layers(torch.sigmoid(self.reflectance(fifth)), torch.sigmoid(self.illumination(lit)))
