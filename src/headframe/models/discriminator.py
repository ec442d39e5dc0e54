"""Which domain a map comes from: ADVENT's discriminator (Vu et al., CVPR 2019)."""

from itertools import pairwise

from torch import Tensor, nn

_SLOPE = 0.2


class Discriminator(nn.Module):
    """Five convolutions of 4 x 4 pixels, each halving the size."""

    def __init__(self, channels: int, width: int = 64) -> None:
        """Build it for maps of ``channels``; ``width`` is that of the first convolution."""
        super().__init__()
        widths = [channels, width, 2 * width, 4 * width, 8 * width, 1]
        parts: list[nn.Module] = []
        for inward, outward in pairwise(widths):
            parts += [nn.Conv2d(inward, outward, 4, stride=2, padding=1), nn.LeakyReLU(_SLOPE)]
        self.layers = nn.Sequential(*parts[:-1])  # the last gives logits

    def forward(self, maps: Tensor) -> Tensor:
        """Give logits (N, 1, H / 32, W / 32) of maps (N, C, H, W), H and W 32 and more."""
        logits: Tensor = self.layers(maps)
        return logits
