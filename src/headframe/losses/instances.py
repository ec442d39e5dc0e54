"""Losses on the masks of single objects, as a Mask R-CNN predicts them in its boxes.

DIS-Mine (papers/000, eqs. 3-5; methods 1.3) replaces the binary cross-entropy of Mask R-CNN by a
weighted Dice loss plus a focal loss. Two of its equations cannot be meant as they are printed; both
forms are here. Targets may lie between 0 and 1, as RoIAlign makes them of masks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from headframe.core.errors import GridMismatchError, RecipeError, UnknownNameError

_EPS = 1e-12


@dataclass(frozen=True)
class MaskLossOptions:
    """How the masks of objects are compared.

    Attributes:
        foreground_weight: of the object in the weighted Dice loss, in (0, 1]; its surroundings
            have the rest. At 1 they count for nothing: plain Dice.
        alpha: of the object in the focal loss, in [0, 1]; its surroundings have the rest.
        gamma: how much less a pixel counts that is already right, >= 0.
        focal_weight: of the focal loss beside the Dice loss, >= 0; the paper's 1.
        class_weights: one a class of objects (1 to K, without background), >= 0, not all 0; None
            gives all objects the same. See ``inverse_frequency``.
    """

    foreground_weight: float = 0.7
    alpha: float = 0.25
    gamma: float = 2.0
    focal_weight: float = 1.0
    class_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.foreground_weight <= 1 or not 0 <= self.alpha <= 1:
            raise RecipeError(
                f"foreground_weight is {self.foreground_weight}, alpha {self.alpha}; give values "
                "in (0, 1] and in [0, 1]."
            )
        if self.gamma < 0 or self.focal_weight < 0:
            raise RecipeError(
                f"gamma is {self.gamma}, focal_weight {self.focal_weight}; give 0 or more."
            )
        if self.class_weights is not None and (
            min(self.class_weights, default=0) < 0 or max(self.class_weights, default=0) == 0
        ):
            raise RecipeError(
                f"class_weights {list(self.class_weights)} of masks cannot be used; give one "
                "weight >= 0 a class of objects, and not all 0."
            )


def weighted_dice(
    logits: Tensor, target: Tensor, *, foreground_weight: float = 0.7, as_printed: bool = False
) -> Tensor:
    """Measure the weighted Dice loss of each mask (eq. 4).

    With soft counts TP = sum p y, FP = sum p (1 - y), FN = sum (1 - p) y of the object, the same of
    its surroundings with p and y turned round, and weights w of the two:
    1 - sum 2 w TP / sum w (2 TP + FP + FN). The paper prints sum w (TP + FP + FN) below the line,
    which makes a perfect mask -1 instead of 0.

    Args:
        logits: (R, M, M), any float dtype.
        target: (R, M, M), 0 to 1.
        foreground_weight: of the object, in (0, 1]; its surroundings have the rest.
        as_printed: the denominator as the paper has it.

    Returns:
        (R,), float32: 0 for a perfect mask and up to 1; as printed -1 to 1.
    """
    logits, y = logits.float().flatten(1), target.float().flatten(1)  # (R, M * M)
    p, q = logits.sigmoid(), (-logits).sigmoid()
    false = (p * (1 - y)).sum(dim=1) + (q * y).sum(dim=1)  # FP + FN, the same for both
    background_weight = 1 - foreground_weight
    hits = foreground_weight * (p * y).sum(dim=1) + background_weight * (q * (1 - y)).sum(dim=1)
    all_counted = (hits if as_printed else 2 * hits) + false  # the weights add to 1
    return 1 - 2 * hits / all_counted.clamp_min(_EPS)


def binary_focal(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    as_printed: bool = False,
) -> Tensor:
    """Measure the focal loss of each mask (eq. 5), the mean over its pixels.

    -alpha y (1 - p)^gamma log p - (1 - alpha) (1 - y) p^gamma log(1 - p). The paper prints it
    without y: both terms count at every pixel, whatever the truth is. For targets of 0 and 1 the
    corrected form is ``torchvision.ops.sigmoid_focal_loss``; for those between, it is the mean of
    the two here, and the power of a mixture there.

    Args:
        logits: (R, M, M), any float dtype.
        target: (R, M, M), 0 to 1; not looked at as printed.
        alpha: weight of the object, in [0, 1].
        gamma: how much less a pixel counts that is already right, >= 0.
        as_printed: without the target.

    Returns:
        (R,), float32, >= 0.
    """
    logits = logits.float().flatten(1)  # (R, M * M)
    inside = -alpha * _power((-logits).sigmoid(), gamma) * F.logsigmoid(logits)
    outside = -(1 - alpha) * _power(logits.sigmoid(), gamma) * F.logsigmoid(-logits)
    if as_printed:
        return (inside + outside).mean(dim=1)
    y = target.float().flatten(1)
    return (y * inside + (1 - y) * outside).mean(dim=1)


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Measure Mask R-CNN's own loss of each mask, the mean over its pixels; (R,), float32.

    Args:
        logits: (R, M, M), any float dtype.
        target: (R, M, M), 0 to 1.
    """
    loss = F.binary_cross_entropy_with_logits(logits.float(), target.float(), reduction="none")
    return loss.flatten(1).mean(dim=1)


def inverse_frequency(counts: Sequence[int]) -> tuple[float, ...]:
    """Weigh classes by how rare they are: total / (K n), so that objects weigh 1 on average.

    Args:
        counts: number of objects of each class 1 to K; a class without any gets 0.

    Raises:
        RecipeError: a count is negative, or all are 0.
    """
    if min(counts, default=0) < 0 or not any(counts):
        raise RecipeError(f"class counts {list(counts)}: there is no object to weigh.")
    seen = sum(count > 0 for count in counts)
    return tuple(sum(counts) / (seen * count) if count else 0.0 for count in counts)


class MaskLoss:
    """The loss of all masks of a batch, called with logits, targets and classes.

    Each object counts the same, whatever its size, but for its class's weight.
    """

    def __init__(
        self, each: Callable[[Tensor, Tensor], Tensor], class_weights: Sequence[float] | None
    ) -> None:
        """Take the mean of a loss of single masks.

        Args:
            each: (logits, target) -> (R,).
            class_weights: of classes 1 to K, or None.
        """
        self._each = each
        self._class_weights = class_weights

    def __call__(self, logits: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        """Return the (weighted) mean over objects.

        Args:
            logits: (R, M, M), those of each object's own class.
            target: (R, M, M), 0 to 1.
            labels: (R,), int64, 1 to K.

        Returns:
            A float32 scalar; 0 with a zero gradient where there is no object.

        Raises:
            GridMismatchError: shapes that do not fit each other.
            RecipeError: a class that has no weight.
        """
        if logits.shape != target.shape or logits.shape[:1] != labels.shape:
            raise GridMismatchError(
                f"mask logits {tuple(logits.shape)}, targets {tuple(target.shape)} and classes "
                f"{tuple(labels.shape)} do not fit; give (R, M, M) twice and (R,)."
            )
        if not len(logits):
            return logits.float().sum() * 0.0
        losses = self._each(logits, target)
        if self._class_weights is None:
            return losses.mean()
        if int(labels.max()) > len(self._class_weights):
            raise RecipeError(
                f"class_weights of masks has {len(self._class_weights)} values, an object is of "
                f"class {int(labels.max())}; give one weight a class of objects."
            )
        weights = torch.tensor(self._class_weights, device=losses.device)[labels - 1]
        return (losses * weights).sum() / weights.sum().clamp_min(_EPS)


def _dice_focal(options: MaskLossOptions, *, as_printed: bool = False) -> MaskLoss:
    def each(logits: Tensor, target: Tensor) -> Tensor:
        dice = weighted_dice(
            logits, target, foreground_weight=options.foreground_weight, as_printed=as_printed
        )
        focal = binary_focal(
            logits, target, alpha=options.alpha, gamma=options.gamma, as_printed=as_printed
        )
        return dice + options.focal_weight * focal

    return MaskLoss(each, options.class_weights)


MASK_LOSSES: Mapping[str, Callable[[MaskLossOptions], MaskLoss]] = {
    "dice_focal": _dice_focal,
    "dice_focal_as_printed": lambda options: _dice_focal(options, as_printed=True),
    "bce": lambda options: MaskLoss(binary_cross_entropy, options.class_weights),
}
"""Builder of each loss of masks."""


def build_mask_loss(name: str, options: MaskLossOptions | None = None) -> MaskLoss:
    """Build a loss of masks.

    Args:
        name: a key of ``MASK_LOSSES``; ``dice_focal`` is DIS-Mine's eq. 3, corrected.
        options: how; ``bce`` looks at ``class_weights`` alone.

    Raises:
        UnknownNameError: no loss of masks has this name.
    """
    if name not in MASK_LOSSES:
        raise UnknownNameError.of("mask loss", name, MASK_LOSSES)
    return MASK_LOSSES[name](options or MaskLossOptions())


def _power(base: Tensor, gamma: float) -> Tensor:
    """Raise probabilities; the floor keeps the slope of a root at 0 finite."""
    return base.clamp_min(_EPS) ** gamma if gamma else torch.ones_like(base)
