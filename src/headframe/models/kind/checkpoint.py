"""The KinD authors' TensorFlow weights under our names."""

from collections.abc import Mapping

from torch import Tensor, nn

from headframe.core.errors import FormatError

_OURS = {
    "DecomNet/g_conv1_1": "decomposition.conv1",
    "DecomNet/g_conv2_1": "decomposition.conv2",
    "DecomNet/g_conv3_1": "decomposition.conv3",
    "DecomNet/g_up_1": "decomposition.up2",
    "DecomNet/g_conv8_1": "decomposition.conv4",
    "DecomNet/g_up_2": "decomposition.up1",
    "DecomNet/g_conv9_1": "decomposition.conv5",
    "DecomNet/g_conv10": "decomposition.reflectance",
    "DecomNet/l_conv1_2": "decomposition.light",
    "DecomNet/l_conv1_4": "decomposition.illumination",
    "Illumination_adjust_net/en_conv_1": "adjustment.conv1",
    "Illumination_adjust_net/en_conv_2": "adjustment.conv2",
    "Illumination_adjust_net/en_conv_3": "adjustment.conv3",
    "Illumination_adjust_net/en_conv_4": "adjustment.head",
}
_KINDS = {"weights": "weight", "biases": "bias"}
_UNPUBLISHED = "restoration."


def is_authors(state: Mapping[str, Tensor]) -> bool:
    """Tell whether tensors bear the authors' names."""
    return any(key.rpartition("/")[0] in _OURS for key in state)


def authors_state(state: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """Give the authors' tensors our names and axes.

    TensorFlow keeps kernels as (height, width, in, out), of transposed convolutions as (height,
    width, out, in); torch wants (out, in, height, width) and (in, out, height, width). Both are
    the same turn of axes, and no kernel is mirrored.

    Args:
        state: tensors by TensorFlow's names.
        source: where they come from, for messages.

    Returns:
        Tensors of ``decomposition.…`` and ``adjustment.…``, the names of ``KinDEnhancer``.

    Raises:
        FormatError: a name that is none of the authors', or a kernel without four axes.
    """
    ours: dict[str, Tensor] = {}
    for key, value in state.items():
        layer, _, kind = key.rpartition("/")
        if layer not in _OURS or kind not in _KINDS:
            raise FormatError(
                f"{source}: {key!r} is no tensor of KinD's decomposition or adjustment. Give the "
                "authors' file with DecomNet/… and Illumination_adjust_net/…."
            )
        if kind == "weights" and value.ndim != 4:
            raise FormatError(
                f"{source}: {key!r} has shape {tuple(value.shape)}; a kernel has four axes."
            )
        turned = value.permute(3, 2, 0, 1) if kind == "weights" else value
        ours[f"{_OURS[layer]}.{_KINDS[kind]}"] = turned.contiguous()
    return ours


def load_authors(network: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Put the authors' tensors into a ``KinDEnhancer`` of width 32, each in its place.

    Its restoration net keeps what it has: the authors never published theirs.

    Raises:
        FormatError: a tensor is missing, unknown or of another shape.
    """
    found = authors_state(state, source=source)
    own = {k: v for k, v in network.state_dict().items() if not k.startswith(_UNPUBLISHED)}
    missing = [key for key in own if key not in found]
    if missing:
        raise FormatError(
            f"{source}: {len(missing)} of {len(own)} tensors are missing, {missing[0]!r} the "
            "first. Copy the file again."
        )
    for key, value in own.items():
        if found[key].shape != value.shape:
            raise FormatError(
                f"{source}: {key!r} has shape {tuple(found[key].shape)}, the network needs "
                f"{tuple(value.shape)}. The authors' weights are of width 32."
            )
    network.load_state_dict(found, strict=False)
