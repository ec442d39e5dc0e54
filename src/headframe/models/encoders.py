"""Encoders by the names papers use, and weights for them from other people's files."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from headframe.core.errors import FormatError
from headframe.models.inflate import RGB, inflate_stem

ENCODERS: Mapping[str, str] = {
    "resnet50": "resnet50.tv_in1k",
    "vgg16": "vgg16.tv_in1k",
    **{f"efficientnet-b{n}": f"tf_efficientnet_b{n}.aa_in1k" for n in range(8)},
}
"""timm's names, with the tag of their plain ImageNet weights; any other name is timm's own."""


def timm_encoder(name: str) -> str:
    """Name timm knows an encoder by; names we have no other word for pass as they are."""
    return ENCODERS.get(name, name)


def load_encoder(
    encoder: nn.Module, state: Mapping[str, Tensor], *, bands: Sequence[str], source: str
) -> None:
    """Give ``encoder`` the tensors of a file and a first convolution for ``bands``, in place.

    Tensors are found by name, whatever prefix (``backbone.``, ``encoder.model.``) the file puts
    before all of them, and with dots and underscores alike, since timm flattens some networks.
    Tensors that the encoder does not have (a head) are left out; all of its own must be there.
    A file with a first convolution of three channels is taken as red, green and blue and spread
    over the bands (``models.inflate``); else its channels must be the bands, in their order.

    Args:
        encoder: a network with a three-channel first convolution.
        state: tensors by name, of the encoder or of a network that holds it.
        bands: common names of the input channels, in order.
        source: name of the file, for messages.

    Raises:
        FormatError: a tensor is missing or has another shape.
    """
    names = _matching(encoder, state, source)
    stem = f"{_stem_name(encoder)}.weight"
    trained_on_rgb = state[names[stem]].shape[1] == len(RGB)
    if not trained_on_rgb:
        spread_stem(encoder, bands)
    own = encoder.state_dict()
    for key, found in names.items():
        if state[found].shape != own[key].shape:
            raise FormatError(
                f"{source}: {found!r} has shape {tuple(state[found].shape)}, the encoder needs "
                f"{tuple(own[key].shape)}. Choose the encoder and bands the file was trained with."
            )
    encoder.load_state_dict({**own, **{key: state[found] for key, found in names.items()}})
    if trained_on_rgb:
        spread_stem(encoder, bands)


def spread_stem(encoder: nn.Module, bands: Sequence[str]) -> None:
    """Let the first convolution of ``encoder`` take ``bands``, in place, where it is not RGB."""
    if tuple(bands) == RGB:
        return
    parent_name, _, leaf = _stem_name(encoder).rpartition(".")
    parent = encoder.get_submodule(parent_name) if parent_name else encoder
    setattr(parent, leaf, inflate_stem(parent.get_submodule(leaf), bands))  # type: ignore[arg-type]  # a Conv2d


def _stem_name(encoder: nn.Module) -> str:
    names = (str(name) for name, module in encoder.named_modules() if isinstance(module, nn.Conv2d))
    return next(names)


def _matching(encoder: nn.Module, state: Mapping[str, Tensor], source: str) -> dict[str, str]:
    """Name in ``state`` of every tensor of ``encoder``; counters of batches may be missing."""
    flat = {key.replace(".", "_"): key for key in state}
    own = [key for key in encoder.state_dict() if not key.endswith("num_batches_tracked")]
    prefix = _prefix(own[0].replace(".", "_"), flat)
    names = {key: flat.get(prefix + key.replace(".", "_"), "") for key in own}
    missing = [key for key, found in names.items() if not found]
    if missing:
        raise FormatError(
            f"{source}: {len(missing)} of the encoder's {len(own)} tensors are missing, "
            f"{missing[0]!r} the first. Choose the encoder that the file was trained with."
        )
    return names


def _prefix(first: str, flat: Mapping[str, str]) -> str:
    """What the file puts before the encoder's names: the shortest that fits its first tensor."""
    fitting = [key for key in flat if key == first or key.endswith("_" + first)]
    return min(fitting, key=len).removesuffix(first) if fitting else ""
