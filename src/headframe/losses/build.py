"""Losses by the name a recipe gives."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from headframe.core.errors import RecipeError, UnknownNameError
from headframe.losses.overlap import Lovasz, Tversky
from headframe.losses.pixelwise import CrossEntropy, Focal, GeneralizedCrossEntropy


class SumLoss(nn.Module):
    """``pixel_weight`` times a loss on pixels plus ``weight`` times a loss on regions."""

    def __init__(
        self, pixels: nn.Module, regions: nn.Module, *, weight: float, pixel_weight: float = 1.0
    ) -> None:
        super().__init__()
        if weight < 0 or pixel_weight < 0:
            raise RecipeError(
                f"overlap_weight is {weight}, pixel_weight {pixel_weight}; give 0 or more."
            )
        self.pixels = pixels
        self.regions = regions
        self.weight = weight
        self.pixel_weight = pixel_weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the sum; arguments and errors as in ``MaskedLoss.forward``."""
        pixels: Tensor = self.pixels(logits, target)
        regions: Tensor = self.regions(logits, target)
        return self.pixel_weight * pixels + self.weight * regions


def _bce(*, class_weights: Sequence[float] | None = None) -> nn.Module:
    return CrossEntropy(class_weights=class_weights, binary_only=True)


def _dice(*, smooth: float = 0.0, class_weights: Sequence[float] | None = None) -> nn.Module:
    return Tversky(alpha=0.5, beta=0.5, smooth=smooth, class_weights=class_weights)


def _jaccard(*, smooth: float = 0.0, class_weights: Sequence[float] | None = None) -> nn.Module:
    return Tversky(alpha=1.0, beta=1.0, smooth=smooth, class_weights=class_weights)


def _bce_dice(
    *,
    overlap_weight: float = 1.0,
    smooth: float = 0.0,
    class_weights: Sequence[float] | None = None,
) -> nn.Module:
    pixels = _bce(class_weights=class_weights)
    return SumLoss(pixels, _dice(smooth=smooth), weight=overlap_weight)


def _bce_jaccard(
    *,
    overlap_weight: float = 1.0,
    smooth: float = 0.0,
    class_weights: Sequence[float] | None = None,
) -> nn.Module:
    pixels = _bce(class_weights=class_weights)
    return SumLoss(pixels, _jaccard(smooth=smooth), weight=overlap_weight)


def _ce_dice(
    *,
    pixel_weight: float = 1.0,
    overlap_weight: float = 1.0,
    smooth: float = 0.0,
    class_weights: Sequence[float] | None = None,
    overlap_class_weights: Sequence[float] | None = None,
) -> nn.Module:
    pixels = CrossEntropy(class_weights=class_weights)
    regions = _dice(smooth=smooth, class_weights=overlap_class_weights)
    return SumLoss(pixels, regions, weight=overlap_weight, pixel_weight=pixel_weight)


def _gce_dice(*, q: float = 0.7, overlap_weight: float = 1.0, smooth: float = 0.0) -> nn.Module:
    return SumLoss(GeneralizedCrossEntropy(q=q), _dice(smooth=smooth), weight=overlap_weight)


LOSSES: Mapping[str, Callable[..., nn.Module]] = {
    "ce": CrossEntropy,
    "bce": _bce,
    "dice": _dice,
    "jaccard": _jaccard,
    "tversky": Tversky,
    "focal": Focal,
    "lovasz": Lovasz,
    "gce": GeneralizedCrossEntropy,
    "bce_dice": _bce_dice,
    "bce_jaccard": _bce_jaccard,
    "ce_dice": _ce_dice,
    "gce_dice": _gce_dice,
}
"""Builder of each loss; keyword arguments are the options a recipe may give."""

_PRIVATE = frozenset({"binary_only"})


def build_loss(name: str, **options: Any) -> nn.Module:  # noqa: ANN401 - options of the loss named
    """Build a loss that ignores label 255.

    In a sum of two losses ``class_weights`` weigh the pixel term; ``overlap_class_weights`` of
    ``ce_dice`` the other, where (0, 1, 1) leaves the background out of Dice (methods 2.4).

    Args:
        name: a key of ``LOSSES``.
        **options: keyword arguments of its builder, e.g. ``class_weights``, ``gamma``, ``q``.

    Returns:
        A module called with logits (N, K, H, W) and target (N, H, W); see ``MaskedLoss.forward``.

    Raises:
        UnknownNameError: no loss has this name.
        RecipeError: an option that this loss does not define, or a value it cannot use.
    """
    if name not in LOSSES:
        raise UnknownNameError.of("loss", name, LOSSES)
    builder = LOSSES[name]
    known = sorted(set(inspect.signature(builder).parameters) - _PRIVATE)
    for option in options:
        if option not in known:
            raise RecipeError(_unknown_option(name, option, known))
    return builder(**options)


def _unknown_option(name: str, option: str, known: list[str]) -> str:
    if option == "class_weights":
        weighted = [n for n, b in LOSSES.items() if option in inspect.signature(b).parameters]
        return f"loss {name!r} defines no class weights; those that do: {', '.join(weighted)}."
    close = get_close_matches(option, known, n=1, cutoff=0.0)
    return (
        f"loss {name!r} has no option {option!r}"
        + (f"; closest: {close[0]}" if close else "")
        + f" (it knows: {', '.join(known) or 'none'})."
    )
