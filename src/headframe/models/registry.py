"""Every architecture by name."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import torch
from torch import nn

from headframe.core.errors import RecipeError, UnknownNameError
from headframe.models.indices import WithIndices, check_indices
from headframe.models.inflate import RGB
from headframe.models.procanet import build_procanet
from headframe.models.segmenter import build_segmenter
from headframe.models.trainable import trained_names

_SMP = "segmentation-models-pytorch"
# The order of methods 6.1: bands of 10 m, of 20 m, of 60 m.
_TWELVE = (
    *("red", "green", "blue", "nir"),
    *("rededge071", "rededge075", "rededge078", "nir08", "swir16", "swir22"),
    *("coastal", "nir09"),
)
_INDICES = "indices"
_HIDDEN = frozenset({"encoder_state"})


@dataclass(frozen=True)
class Architecture:
    """One entry of the registry.

    Attributes:
        build: (bands, out_channels, **options) -> network of logits (N, K, H, W); or, where that
            needs a library of an extra, ``module:function``, imported when a network is built.
        source: paper or library it comes from.
        description: one line for ``headframe models list``.
        fixed: options of the builder that this name stands for.
        bands: common names it is counted and shown with; any others can be given.
        stride: input sides must be multiples of this many pixels.
        min_px: the smallest side it takes.
        base: of an adapted SAM, which of ``models.sam``'s bases it stands on.
        planes: channels after the bands that hold prompts (``models.sam.prompted``).
    """

    build: Callable[..., nn.Module] | str
    source: str
    description: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    bands: tuple[str, ...] = RGB
    stride: int = 32
    min_px: int = 32
    base: str | None = None
    planes: int = 0

    def builder(self) -> Callable[..., nn.Module]:
        """The function that builds it.

        Raises:
            ModuleNotFoundError: its library is not installed; the command names the extra.
        """
        if not isinstance(self.build, str):
            return self.build
        module, _, function = self.build.partition(":")
        found: Callable[..., nn.Module] = getattr(import_module(module), function)
        return found

    def options(self) -> dict[str, Any]:
        """What ``model.options`` of a recipe may hold, with defaults."""
        parameters = inspect.signature(self.builder()).parameters.values()
        own = {
            p.name: p.default
            for p in parameters
            if p.kind is p.KEYWORD_ONLY and p.name not in self.fixed and p.name not in _HIDDEN
        }
        return own if self.base else {**own, _INDICES: ()}


def _smp(decoder: str, source: str, description: str, *, min_px: int = 32) -> Architecture:
    return Architecture(
        build=build_segmenter,
        source=f"{source}; {_SMP}",
        description=description,
        fixed={"decoder": decoder},
        min_px=min_px,
    )


def _minesegsat(size: str, description: str) -> Architecture:
    return Architecture(
        build="headframe.models.minesegsat:build_minesegsat",
        source="MineSegSAT (papers/004, methods 6.2); SegFormer of transformers",
        description=description,
        fixed={"size": size},
        bands=_TWELVE,
    )


def _sam(base: str, source: str, description: str) -> Architecture:
    return Architecture(
        build="headframe.models.sam.semantic:build_sam_seg",
        source=f"{source}; methods 2.4",
        description=description,
        fixed={"base": base},
        base=base,
    )


def _prompted(base: str, source: str, description: str) -> Architecture:
    return Architecture(
        build="headframe.models.sam.prompted:build_prompted_sam",
        source=source,
        description=description,
        fixed={"base": base},
        base=base,
        planes=3,
    )


_SAM = "Kirillov et al. 2023"
BUILDERS: dict[str, Architecture] = {
    "unet": _smp("unet", "Ronneberger et al. 2015", "skips at every scale"),
    "unetplusplus": _smp("unetplusplus", "Zhou et al. 2018", "nested skips; components paper"),
    "linknet": _smp("linknet", "Chaurasia & Culurciello 2017", "skips that are added: fast"),
    "fpn": _smp("fpn", "Kirillov et al. 2019", "feature pyramid; the shipped tailings model"),
    "pspnet": _smp("pspnet", "Zhao et al. 2017", "pyramid pooling at an eighth of the size"),
    "deeplabv3": _smp("deeplabv3", "Chen et al. 2017", "dilated convolutions, no skips"),
    "deeplabv3plus": _smp("deeplabv3plus", "Chen et al. 2018", "dilated convolutions, one skip"),
    "manet": _smp("manet", "Fan et al. 2020", "U-Net with attention"),
    "pan": _smp("pan", "Li et al. 2018", "pyramid attention", min_px=128),
    "upernet": _smp("upernet", "Xiao et al. 2018", "pyramid pooling and feature pyramid"),
    "segformer": _smp("segformer", "Xie et al. 2021", "SegFormer's head on any encoder"),
    "ensemble": Architecture(
        build="headframe.models.ensemble:build_ensemble",
        source="Hansen & Salamon 1990",
        description="several networks, the mean of their probabilities; models merge makes it",
        bands=(*RGB, "nir"),
    ),
    "minesegsat-b0": _minesegsat("b0", "MineSegSAT at MiT-B0's size, for a CPU"),
    "minesegsat-b1": _minesegsat("b1", "MineSegSAT at MiT-B1's size"),
    "minesegsat-b3": _minesegsat("b3", "MineSegSAT as published"),
    "procanet": Architecture(
        build=build_procanet,
        source="ProCANet (papers/003, methods 5.2)",
        description="two encoders that attend to themselves and to each other; floods",
        bands=(*RGB, "nir"),
        stride=16,
    ),
    "sam-litemedsam": _sam("litemedsam", "LiteMedSAM", "SAM on TinyViT, with class tokens"),
    "sam-mobile": _sam("mobile", "Zhang et al. 2023", "MobileSAM with class tokens"),
    "sam-vit-b": _sam("vit_b", _SAM, "SAM on ViT-B with class tokens"),
    "sam-vit-l": _sam("vit_l", _SAM, "SAM on ViT-L with class tokens"),
    "sam-vit-h": _sam("vit_h", _SAM, "SAM on ViT-H with class tokens"),
    "sam-tiny": _sam("tiny", _SAM, "SAM on four random blocks, for tests"),
    "sam-prompt-litemedsam": _prompted("litemedsam", "LiteMedSAM", "SAM on TinyViT, prompted"),
    "sam-prompt-mobile": _prompted("mobile", "Zhang et al. 2023", "MobileSAM, prompted"),
    "sam-prompt-vit-b": _prompted("vit_b", _SAM, "SAM on ViT-B, prompted"),
    "sam-prompt-tiny": _prompted("tiny", _SAM, "prompted SAM on four random blocks, for tests"),
}


def get_architecture(name: str) -> Architecture:
    """Look up an architecture.

    Raises:
        UnknownNameError: no such name; the three closest are given.
    """
    if name not in BUILDERS:
        raise UnknownNameError.of("architecture", name, BUILDERS)
    return BUILDERS[name]


def encoder_of(name: str, options: Mapping[str, Any]) -> str | None:
    """Name of the encoder an architecture would have with ``options``; None without a choice.

    Raises:
        UnknownNameError: no such architecture.
    """
    known = get_architecture(name).options()
    return str(options.get("encoder", known["encoder"])) if "encoder" in known else None


def build_network(
    name: str,
    bands: Sequence[str],
    out_channels: int,
    options: Mapping[str, Any],
    *,
    encoder_state: Mapping[str, torch.Tensor] | None = None,
) -> nn.Module:
    """Build a network by name.

    Args:
        name: key of ``BUILDERS``.
        bands: common names of the input channels, in order.
        out_channels: number of logits a pixel.
        options: keyword arguments of the builder; ``indices``, which every architecture but SAM
            has, are names of ``core.indices.INDICES`` that the network makes of its bands and
            sees as channels after them (``models.indices``).
        encoder_state: tensors the encoder starts from; None is a random start.

    Raises:
        UnknownNameError: no such architecture.
        RecipeError: the builder does not know an option.
    """
    architecture = get_architecture(name)
    _check_options(name, options, architecture.options())
    own = {key: value for key, value in options.items() if key != _INDICES}
    indices = tuple(options.get(_INDICES, ()))
    check_indices(indices, bands)
    try:
        network = architecture.builder()(
            (*bands, *indices),
            out_channels,
            encoder_state=encoder_state,
            **architecture.fixed,
            **own,
        )
    except TypeError as exc:
        raise RecipeError(f"architecture {name!r}: {exc}. Correct model.options.") from exc
    return WithIndices(network, bands, indices) if indices else network


def count_parameters(
    name: str, bands: Sequence[str], out_channels: int, options: Mapping[str, Any]
) -> int:
    """Count a network's parameters without giving them memory; arguments as ``build_network``."""
    with torch.device("meta"):
        network = build_network(name, bands, out_channels, options)
    return sum(parameter.numel() for parameter in network.parameters())


def count_trained(
    name: str, bands: Sequence[str], out_channels: int, options: Mapping[str, Any]
) -> int:
    """Count the parameters that training changes; arguments as ``build_network``."""
    with torch.device("meta"):
        network = build_network(name, bands, out_channels, options)
    names = trained_names(network)
    return sum(value.numel() for key, value in network.named_parameters() if key in names)


def _check_options(name: str, options: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for option, value in options.items():
        if option in known:
            continue
        if option == "decoder":
            raise RecipeError(
                f"architecture {name!r} has no option 'decoder': every decoder is an architecture "
                f"of its own. Write architecture: {value}."
            )
        close = get_close_matches(option, list(known), n=1, cutoff=0.0)
        raise RecipeError(
            f"architecture {name!r} has no option {option!r}"
            + (f"; the closest is {close[0]!r}." if close else ".")
        )
