"""Adaptive weighted downsampling: each place of a feature map chooses how it is averaged."""

from torch import Tensor, nn
from torch.nn import functional as F

_TAPS = 9
_SQUEEZE = 4


class AdaptiveDownsampling(nn.Module):
    """Halve a feature map by a low-pass filter that depends on place and channel (AWD).

    Chen et al. 2023 (ISD/LIS, methods 1.8): the nine weights of a 3 x 3 neighbourhood are a softmax
    of spatial logits times a scale of the channel. Spatial logits: a grouped 3 x 3 convolution of
    the stride without bias, then batch norm; channel scale: global average, 1 x 1 to a quarter of
    the channels, ReLU, 1 x 1 back, both without bias. Beyond the edge the map is reflected.

    Where all logits are equal the output is the mean of 3 x 3. The weights add to 1, so that a
    constant map is unchanged.
    """

    def __init__(self, channels: int, *, stride: int = 2, groups: int | None = None) -> None:
        """Build it.

        Args:
            channels: of the map.
            stride: of its places that are kept, each way.
            groups: of channels that share their spatial logits; None is a group a channel, as
                published.
        """
        super().__init__()
        self.stride = stride
        self.groups = groups or channels
        maps = self.groups * _TAPS
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, maps, 3, stride=stride, padding=1, bias=False, groups=self.groups),
            nn.BatchNorm2d(maps),
        )
        squeezed = max(channels // _SQUEEZE, 1)
        self.channel = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(squeezed, channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, ceil(H / stride), ceil(W / stride)); H and W >= 2."""
        count, channels = x.shape[:2]
        logits = self.spatial(x)  # (N, G * 9, h, w)
        height, width = logits.shape[-2:]
        logits = logits.view(count, self.groups, 1, _TAPS, height, width)
        scale = self.channel(x).view(count, self.groups, channels // self.groups, 1, 1, 1)
        weights = (logits * scale).softmax(dim=3)  # (N, G, C / G, 9, h, w)
        padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
        taps = F.unfold(padded, 3, stride=self.stride).view_as(weights)
        out: Tensor = (weights * taps).sum(dim=3).reshape(count, channels, height, width)
        return out
