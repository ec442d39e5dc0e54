"""Every architecture by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from headframe.core.errors import RecipeError, UnknownNameError
from headframe.models.segmenter import build_segmenter


@dataclass(frozen=True)
class Architecture:
    """One entry of the registry.

    Attributes:
        build: (bands, out_channels, **options) -> network of logits (N, K, H, W).
        stride: input sides must be multiples of this many pixels.
        source: paper or library it comes from.
        description: one line for ``headframe models list``.
    """

    build: Callable[..., nn.Module]
    stride: int
    source: str
    description: str


BUILDERS: dict[str, Architecture] = {
    "unet": Architecture(
        build=build_segmenter,
        stride=32,
        source="Ronneberger et al. 2015; decoders of segmentation-models-pytorch",
        description="any smp decoder on an EfficientNet-Lite encoder with ImageNet weights",
    ),
}


def get_architecture(name: str) -> Architecture:
    """Look up an architecture.

    Raises:
        UnknownNameError: no such name; the three closest are given.
    """
    if name not in BUILDERS:
        raise UnknownNameError.of("architecture", name, BUILDERS)
    return BUILDERS[name]


def build_network(
    name: str, bands: Sequence[str], out_channels: int, options: Mapping[str, Any]
) -> nn.Module:
    """Build a network by name.

    Args:
        name: key of ``BUILDERS``.
        bands: common names of the input channels, in order.
        out_channels: number of logits a pixel.
        options: keyword arguments of the builder.

    Raises:
        UnknownNameError: no such architecture.
        RecipeError: the builder does not know an option.
    """
    architecture = get_architecture(name)
    try:
        return architecture.build(bands, out_channels, **options)
    except TypeError as exc:
        raise RecipeError(f"architecture {name!r}: {exc}. Correct model.options.") from exc
