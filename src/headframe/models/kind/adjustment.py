"""KinD's illumination adjustment: the light of an image made as strong as asked."""

import torch
from torch import Tensor, nn

from headframe.models.kind.layers import Conv


class AdjustmentNet(nn.Module):
    """Four convolutions on the illumination and a constant map of the wanted ratio.

    The authors' code passes the fourth convolution, too, through leaky ReLU before the sigmoid,
    so that the light never falls much below a half of the sensor's range; ``leaky_head=False``
    leaves that out, as the paper's text has it. 19,393 parameters at width 32.
    """

    def __init__(self, width: int = 32, *, leaky_head: bool = True) -> None:
        super().__init__()
        self.conv1 = Conv(2, width)
        self.conv2 = Conv(width, width)
        self.conv3 = Conv(width, width)
        self.head = Conv(width, 1) if leaky_head else nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, illumination: Tensor, ratio: Tensor | float) -> Tensor:
        """Adjust illumination.

        Args:
            illumination: (N, 1, H, W), float32 in [0, 1].
            ratio: wanted over present light, above 1 brighter; one number, or one an image (N,).

        Returns:
            (N, 1, H, W), float32 in (0, 1).
        """
        value = torch.as_tensor(ratio, dtype=illumination.dtype, device=illumination.device)
        plane = value.reshape(-1, 1, 1, 1).expand_as(illumination)
        x = torch.cat([illumination, plane], dim=1)
        return torch.sigmoid(self.head(self.conv3(self.conv2(self.conv1(x)))))
