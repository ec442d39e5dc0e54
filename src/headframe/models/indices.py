"""Normalised differences that a network computes from the bands it is given."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from headframe.core.errors import RecipeError, UnknownNameError
from headframe.core.indices import INDICES

_LEAST = 1e-3
"""Sums nearer to 0 say nothing: the index is 0 there."""
_DEVIATION = 0.5
"""What indices are divided by, about their standard deviation on land with some water."""


class WithIndices(nn.Module):
    """A network that sees normalised differences of its bands as further channels.

    Images are given, cut, recoloured, mapped and exported by their bands alone; the indices are
    made of reflectance (dB, numbers) as the last step, so that haze or gain of a training crop
    reaches them as it would in nature.

    Attributes:
        network: what looks at bands and indices, (N, C + I, H, W).
        mean: (C,), what ``pixels`` were standardised by; 0 until ``set_statistics``.
        std: (C,), the same; 1 until then.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, bands: Sequence[str], indices: Sequence[str]) -> None:
        """Wrap ``network``; ``bands`` and ``indices`` are those of ``check_indices``."""
        super().__init__()
        self.network = network
        pairs = [INDICES[name] for name in indices]
        self._first = [list(bands).index(first) for first, _ in pairs]
        self._second = [list(bands).index(second) for _, second in pairs]
        self.register_buffer("mean", torch.zeros(len(bands)))
        self.register_buffer("std", torch.ones(len(bands)))

    def set_statistics(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Keep what the pixels are standardised by, per band, in their physical unit."""
        self.mean.copy_(torch.tensor(mean))
        self.std.copy_(torch.tensor(std))

    def forward(self, pixels: Tensor) -> Tensor:
        """Score standardised pixels (N, C, H, W); logits (N, K, H, W)."""
        physical = pixels.float() * self.std[:, None, None] + self.mean[:, None, None]
        first, second = physical[:, self._first], physical[:, self._second]
        total = first + second
        usable = total.abs() > _LEAST
        ratio = (first - second) / torch.where(usable, total, torch.ones_like(total))
        index = torch.where(usable, ratio, torch.zeros_like(ratio)).clamp(-1, 1) / _DEVIATION
        logits: Tensor = self.network(torch.cat([pixels, index.to(pixels.dtype)], dim=1))
        return logits


def inner_network(network: nn.Module) -> nn.Module:
    """Give the network within ``WithIndices``, or ``network`` itself."""
    return network.network if isinstance(network, WithIndices) else network


def check_indices(indices: Sequence[str], bands: Sequence[str]) -> None:
    """Look whether ``indices`` can be made of ``bands``.

    Raises:
        UnknownNameError: no such index; the closest are given.
        RecipeError: one is named twice, or needs a band that is not there.
    """
    for name in indices:
        if name not in INDICES:
            raise UnknownNameError.of("index", name, INDICES)
        missing = [band for band in INDICES[name] if band not in bands]
        if missing:
            raise RecipeError(
                f"model.options.indices: {name} is made of {' and '.join(INDICES[name])}; the "
                f"bands are {', '.join(bands)}. Add {missing[0]} to data.bands or leave {name} out."
            )
    if len(set(indices)) < len(indices):
        raise RecipeError(f"model.options.indices is {', '.join(indices)}; each can be named once.")
