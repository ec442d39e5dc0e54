"""What of a network is trained and saved: all of it, or the names it gives in ``trained``."""

import copy
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from headframe.core.errors import FormatError


@runtime_checkable
class PartlyTrained(Protocol):
    """A network of which only a part is trained.

    Attributes:
        trained: keys of its ``state_dict`` that training changes: parameters, and running
            statistics of batch norms that are trained. All else stays as it was loaded.
    """

    trained: frozenset[str]


@runtime_checkable
class Embedder(Protocol):
    """A network in two parts, of which the first may be frozen and its output kept.

    ``decode(encode(pixels), size)`` is what the network gives for ``pixels``.
    """

    def encode(self, pixels: Tensor) -> Tensor:
        """Embed pixels (N, C, H, W); (N, D, h, w)."""

    def decode(self, embedding: Tensor, size: tuple[int, int]) -> Tensor:
        """Score embeddings (N, D, h, w); logits (N, K, H, W) for ``size`` (H, W)."""

    @property
    def encoder_names(self) -> frozenset[str]:
        """Keys of its ``state_dict`` that ``encode`` goes by."""


def trained_names(network: nn.Module) -> frozenset[str]:
    """Keys of ``state_dict`` that training changes; all of them unless the network says less.

    Raises:
        FormatError: the network names a tensor that it does not have.
    """
    own = frozenset(network.state_dict())
    if not isinstance(network, PartlyTrained):
        return own
    unknown = sorted(network.trained - own)
    if unknown:
        raise FormatError(
            f"{type(network).__name__} calls {len(unknown)} tensors trained that it does not have, "
            f"{unknown[0]!r} the first."
        )
    return network.trained


def trained_state(network: nn.Module) -> dict[str, Tensor]:
    """Tensors that training changes, by name, in the order of ``state_dict``; not copied."""
    names = trained_names(network)
    return {key: value for key, value in network.state_dict().items() if key in names}


def load_trained(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put trained tensors into ``network``; what is frozen stays as it is.

    Raises:
        RuntimeError: a tensor is missing, is not trained, or has another shape, as torch says it.
    """
    trained = trained_names(network)
    frozen = {k: v for k, v in network.state_dict().items() if k not in trained}
    doubled = sorted(frozen.keys() & state.keys())
    if doubled:
        raise RuntimeError(f"{len(doubled)} tensors are frozen here, {doubled[0]!r} the first")
    network.load_state_dict({**frozen, **state})


def set_trainable(network: nn.Module) -> None:
    """Make ready for training: gradients for what is trained, all else as in evaluation.

    The network goes into training mode; a module that has tensors, none of them trained, goes into
    evaluation mode with all it contains, so that the running statistics of a frozen batch norm
    stay and a frozen encoder drops nothing at random.
    """
    names = trained_names(network)
    network.train()
    for key, parameter in network.named_parameters():
        parameter.requires_grad_(key in names)
    if not isinstance(network, PartlyTrained):
        return
    keys = list(network.state_dict())
    for path, module in network.named_modules():
        own = [key for key in keys if key.startswith(f"{path}.")] if path else keys
        if own and not any(key in names for key in own):
            module.eval()


def trained_view(network: nn.Module) -> nn.Module:
    """Give a module of the trained tensors only, shared with ``network``, to average them.

    The network itself where all of it is trained. Else names have ``/`` where the network's have
    a dot, and the view has no ``forward``.
    """
    if not isinstance(network, PartlyTrained):
        return network
    view = nn.Module()
    names = trained_names(network)
    for key, parameter in network.named_parameters():
        if key in names:
            view.register_parameter(key.replace(".", "/"), parameter)
    for key, buffer in network.named_buffers():
        if key in names:
            view.register_buffer(key.replace(".", "/"), buffer)
    return view


def copy_with(network: nn.Module, view: nn.Module) -> nn.Module:
    """Copy a network, in evaluation mode, with the tensors of a view of it (``trained_view``).

    Args:
        network: what is copied; unchanged.
        view: the network itself, or the view or an average of it.
    """
    state = {key.replace("/", "."): value for key, value in view.state_dict().items()}
    twin = copy.deepcopy(network)
    trained = trained_names(twin)
    load_trained(twin, {k: v for k, v in state.items() if k in trained})
    # Weights laid out as those of a network that is built or loaded: scores equal to the bit.
    return twin.requires_grad_(False).to(memory_format=torch.contiguous_format).eval()


def count_trained(network: nn.Module) -> tuple[int, int]:
    """Numbers in the parameters of ``network``: trained ones, and all."""
    names = trained_names(network)
    sizes = {key: value.numel() for key, value in network.named_parameters()}
    return sum(size for key, size in sizes.items() if key in names), sum(sizes.values())
