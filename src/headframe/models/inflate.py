"""First convolutions for any number of bands, from weights trained on red, green and blue."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

RGB = ("red", "green", "blue")


def inflate_kernel(kernel: Tensor, bands: Sequence[str]) -> Tensor:
    """Spread an RGB kernel over ``bands``.

    Bands named red, green and blue take the kernel of their colour, all others the mean of the
    three; everything is multiplied by 3 / N so that the activations keep their scale (methods
    2.4, "band inflation"). With exactly the three colours the kernel is only reordered.

    Args:
        kernel: (out, 3, k, k), input channels in the order red, green, blue.
        bands: N common names in the order of the new input channels.

    Returns:
        (out, N, k, k), same dtype.
    """
    mean = kernel.mean(dim=1)
    slices = [kernel[:, RGB.index(band)] if band in RGB else mean for band in bands]
    return torch.stack(slices, dim=1) * (len(RGB) / len(bands))


def inflate_stem(stem: nn.Conv2d, bands: Sequence[str]) -> nn.Conv2d:
    """Build a copy of a three-band convolution that takes ``bands``.

    Args:
        stem: a convolution of three input channels, red, green, blue.
        bands: N common names in the order of the new input channels.

    Returns:
        A convolution of the same class (padding rules kept) with N input channels.
    """
    new = copy.deepcopy(stem)
    new.in_channels = len(bands)
    new.weight = nn.Parameter(inflate_kernel(stem.weight.detach(), bands))
    return new
