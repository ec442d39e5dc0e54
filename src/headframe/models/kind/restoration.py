"""KinD's reflectance restoration: noise and false colours out of a dark image's reflectance."""

from typing import cast

import torch
from torch import Tensor, nn

from headframe.models.kind.layers import Conv, Up, halve

_LEVELS = 5


class RestorationNet(nn.Module):
    """A U-Net of five levels, two convolutions on each.

    7,760,739 parameters at the authors' width 32; about a quarter at 16 (ours, for bundles that
    must stay small). The authors published no weights of it.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(_LEVELS)]
        inputs = [4, *widths[:-1]]
        self.down = nn.ModuleList(_twice(i, o) for i, o in zip(inputs, widths, strict=True))
        self.ups = nn.ModuleList(Up(2 * w, w) for w in reversed(widths[:-1]))
        self.joined = nn.ModuleList(_twice(2 * w, w) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, 3, kernel_size=3, padding=1)

    def forward(self, reflectance: Tensor, illumination: Tensor) -> Tensor:
        """Restore the reflectance of dark images.

        Args:
            reflectance: (N, 3, H, W), float32 in [0, 1].
            illumination: (N, 1, H, W), float32 in [0, 1]: noise is worst where it was dark.

        Returns:
            (N, 3, H, W), float32 in (0, 1).
        """
        x = torch.cat([reflectance, illumination], dim=1)
        skips: list[Tensor] = []
        for level in self.down:
            x = level(halve(x) if skips else x)
            skips.append(x)
        skips.pop()
        for up, joined in zip(self.ups, self.joined, strict=True):
            x = joined(cast(Up, up).join(x, skips.pop()))
        return torch.sigmoid(self.head(x))


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(Conv(inputs, outputs), Conv(outputs, outputs))
