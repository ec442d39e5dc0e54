"""One network for two domains: what MDIL keeps apart (Garg et al., WACV 2022; methods 4.2)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

_HEAD = "segmentation_head."


class OldPath(nn.Module):
    """A network as the domain that it learnt before sees it.

    Both domains share kernels, but for a residual of one tap in the middle of every kernel wider
    than one, which is a 1 x 1 convolution beside it (MDIL's parallel residual adapter). The old
    domain keeps its norms, with their statistics, and its head. MDIL adds the residuals to the new
    domain's path; here the new path is the network as it is and the residuals are taken away from
    the old one's, which describes the same pairs of networks and leaves a plain network behind.

    Attributes:
        residuals: one a kernel, (out, in / groups, 1, 1); zero at first.
    """

    def __init__(self, network: nn.Module) -> None:
        """Keep the norms and the head that ``network`` has now."""
        super().__init__()
        norms = [
            n for n, m in network.named_modules() if isinstance(m, nn.modules.batchnorm._NormBase)
        ]
        tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        self._own = {
            name: value.detach().clone()
            for name, value in tensors.items()
            if name.rpartition(".")[0] in norms or _HEAD in name
        }
        self._kernels = [
            f"{name}.weight"
            for name, module in network.named_modules()
            if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1 and _HEAD not in name
        ]
        self.residuals = nn.ParameterList(
            torch.zeros(*tensors[name].shape[:2], 1, 1) for name in self._kernels
        )

    def forward(self, network: nn.Module, pixels: Tensor) -> Tensor:
        """Give the old domain's logits of ``pixels``.

        Args:
            network: the one of the beginning, as it is by now; gradients flow into its kernels.
            pixels: as for ``network``.
        """
        changed: dict[str, Tensor] = {
            name: own.to(pixels.device) for name, own in self._own.items()
        }
        for name, residual in zip(self._kernels, self.residuals, strict=True):
            changed[name] = network.get_parameter(name) - _centred(
                residual, network.get_parameter(name)
            )
        with _norms_at_rest(network):
            return _call(network, changed, pixels)


def _call(network: nn.Module, changed: Mapping[str, Tensor], pixels: Tensor) -> Tensor:
    logits: Tensor = functional_call(network, dict(changed), (pixels,))
    return logits


def _centred(residual: Tensor, kernel: Tensor) -> Tensor:
    """Put one tap in the middle of zeros of a kernel's size."""
    height, width = kernel.shape[-2:]
    left, top = (width - 1) // 2, (height - 1) // 2
    return functional.pad(residual, (left, width - 1 - left, top, height - 1 - top))


@contextmanager
def _norms_at_rest(network: nn.Module) -> Iterator[None]:
    """Use running statistics for a while, and leave them as they are."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
    before = [norm.training for norm in norms]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm, training in zip(norms, before, strict=True):
            norm.train(training)
