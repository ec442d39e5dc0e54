"""Features of a network at several scales, as it computes them."""

from collections.abc import Sequence

from torch import Tensor, nn

from headframe.core.errors import RecipeError
from headframe.models.indices import WithIndices
from headframe.models.segmenter import Reduced

_FPN = ("p2", "p3", "p4", "p5")
_FINE = 2
"""Outputs of an encoder that are left out: the pixels themselves and half their size."""


class PyramidWatch:
    """Keeps what the levels of a network's pyramid were in its last forward pass.

    Levels are those of an FPN's decoder, finest first; of other networks of
    segmentation-models-pytorch the encoder's from a quarter of the size on. Their gradients flow.
    """

    def __init__(self, network: nn.Module) -> None:
        """Watch ``network`` until ``close``.

        Raises:
            RecipeError: it has no pyramid that we know.
        """
        self._found: dict[str, Sequence[Tensor]] = {}
        inner = network
        while isinstance(inner, Reduced | WithIndices):
            inner = inner.network
        decoder = getattr(inner, "decoder", None)
        encoder = getattr(inner, "encoder", None)
        if isinstance(decoder, nn.Module) and all(hasattr(decoder, name) for name in _FPN):
            modules = {name: decoder.get_submodule(name) for name in _FPN}
        elif isinstance(encoder, nn.Module) and hasattr(encoder, "out_channels"):
            modules = {"encoder": encoder}
        else:
            raise RecipeError(
                f"{type(inner).__name__} has no pyramid of features to distil. Take an "
                "architecture such as fpn or unet, or set distill.features to 0."
            )
        self._names = tuple(modules)
        self._hooks = [
            module.register_forward_hook(self._keeper(name)) for name, module in modules.items()
        ]

    def take(self) -> list[Tensor]:
        """Give the levels (N, C, h, w) of the last pass, and forget them."""
        found = [level for name in self._names for level in self._found.get(name, ())]
        self._found.clear()
        return found

    def close(self) -> None:
        """Watch no longer."""
        for hook in self._hooks:
            hook.remove()

    def _keeper(self, name: str) -> "_Keep":
        return _Keep(self._found, name)


class _Keep:
    """A hook that keeps what a module gave."""

    def __init__(self, found: dict[str, Sequence[Tensor]], name: str) -> None:
        self._found = found
        self._name = name

    def __call__(
        self, _module: nn.Module, _inputs: object, output: Tensor | Sequence[Tensor]
    ) -> None:
        self._found[self._name] = [output] if isinstance(output, Tensor) else output[_FINE:]
