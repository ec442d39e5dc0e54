"""What every loss shares: which pixels count, and in what precision."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from headframe.core.classmap import IGNORE_INDEX
from headframe.core.errors import DatasetError, GridMismatchError, RecipeError


class MaskedLoss(nn.Module, ABC):
    """A segmentation loss that never sees an ignored pixel.

    Subclasses implement ``measure``. Before it is called the logits of ignored pixels are replaced
    by 0, so that neither their value (NaN included) nor a gradient can leak; ``measure`` must then
    leave those pixels out of its sums and of its pixel count. Work is done in float32 even under
    mixed precision, where sums over pixels would overflow.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss over the pixels that count.

        Invariant: changing the logits where ``target`` is 255 changes nothing, and the gradient is
        exactly 0 there.

        Args:
            logits: (N, K, H, W), any float dtype; K = 1 holds the logit of class 1 of two.
            target: (N, H, W), integers 0..max(K, 2)-1, and 255 for pixels to ignore.

        Returns:
            A float32 scalar; 0 with a zero gradient where every pixel is ignored.

        Raises:
            GridMismatchError: the shapes do not fit each other.
            DatasetError: a label is no class of the model.
        """
        if logits.ndim != 4 or target.shape != (logits.shape[0], *logits.shape[2:]):
            raise GridMismatchError(
                f"logits {tuple(logits.shape)} and target {tuple(target.shape)} do not fit; "
                "give (N, K, H, W) and (N, H, W)."
            )
        valid = target != IGNORE_INDEX
        if not bool(valid.any()):
            return logits.masked_fill(torch.ones_like(logits, dtype=torch.bool), 0.0).float().sum()
        classes = max(logits.shape[1], 2)
        target = target.long()
        if bool(((target < 0) | (target >= classes))[valid].any()):
            found = sorted(set(target[valid].tolist()))
            raise DatasetError(
                f"labels {found} do not fit a model of {classes} classes (0..{classes - 1}); "
                f"correct the class map or set other pixels to {IGNORE_INDEX}."
            )
        clean = logits.float().masked_fill(~valid[:, None], 0.0)
        return self.measure(clean, target, valid)

    @abstractmethod
    def measure(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Return the loss; at least one pixel is valid.

        Args:
            logits: (N, K, H, W) float32, 0 where ignored.
            target: (N, H, W) int64, 255 where ignored.
            valid: (N, H, W) bool, False where ignored.
        """


def smp_mode(logits: Tensor) -> str:
    """Name segmentation_models_pytorch gives to this kind of logits (N, K, H, W)."""
    return "binary" if logits.shape[1] == 1 else "multiclass"


def check_weights(class_weights: Sequence[float] | None) -> tuple[float, ...] | None:
    """Return the class weights as a tuple.

    Raises:
        RecipeError: there are fewer than two, one is negative, or all are 0.
    """
    if class_weights is None:
        return None
    weights = tuple(float(w) for w in class_weights)
    if len(weights) < 2 or min(weights) < 0 or max(weights) == 0:
        raise RecipeError(
            f"class_weights {list(weights)} cannot be used; give one weight >= 0 a class, "
            "background first, and not all 0."
        )
    return weights


def weight_tensor(weights: tuple[float, ...], logits: Tensor) -> Tensor:
    """Weights (K,) on the device of ``logits``; two weights when K = 1.

    Raises:
        RecipeError: their number is not the number of classes.
    """
    classes = max(logits.shape[1], 2)
    if len(weights) != classes:
        raise RecipeError(
            f"class_weights has {len(weights)} values, the model {classes} classes; "
            "give one weight a class, background first."
        )
    return torch.tensor(weights, dtype=torch.float32, device=logits.device)
