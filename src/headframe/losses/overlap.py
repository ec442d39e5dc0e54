"""Losses that compare regions: Dice, Jaccard, Tversky and Lovász."""

from collections.abc import Sequence

import segmentation_models_pytorch as smp
import torch
from torch import Tensor

from headframe.core.errors import RecipeError
from headframe.losses.masked import MaskedLoss, check_weights, smp_mode, weight_tensor


class Tversky(MaskedLoss):
    """Tversky loss 1 - TP / (TP + alpha FP + beta FN), soft sums over the whole batch.

    segmentation_models_pytorch's, which adds ``smooth`` to numerator and denominator, means over
    classes (with ``class_weights``, weighted), and counts a class with no labelled pixel in the
    batch as 0: on a batch of pure background a binary model gets no gradient, so add a
    cross-entropy. alpha = beta = 0.5 is Dice, 1 is Jaccard. Sums run over the batch, not over each
    image: one large mine outweighs ten small ones.
    """

    def __init__(
        self,
        *,
        alpha: float = 0.5,
        beta: float = 0.5,
        smooth: float = 0.0,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if min(alpha, beta, smooth) < 0 or alpha + beta == 0:
            raise RecipeError(
                f"tversky alpha {alpha}, beta {beta}, smooth {smooth} cannot be used; "
                "give values >= 0, alpha and beta not both 0."
            )
        self.options = {"alpha": alpha, "beta": beta, "smooth": smooth}
        self.class_weights = check_weights(class_weights)

    def measure(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Return the loss over valid pixels (see the base class)."""
        weights = None
        if self.class_weights is not None:
            if logits.shape[1] == 1:
                raise RecipeError(
                    "an overlap loss of two classes looks at the target only and has no "
                    "class_weights; drop them, or choose alpha and beta of tversky."
                )
            weights = weight_tensor(self.class_weights, logits).tolist()
        # 255 cannot be a class (0..254), so smp's own masking is exact: it multiplies prediction
        # and label by the mask before summing.
        loss = smp.losses.TverskyLoss(
            smp_mode(logits), ignore_index=255, class_weights=weights, **self.options
        )
        value: Tensor = loss(logits, target)
        return value


class Lovasz(MaskedLoss):
    """Lovász loss (Berman et al. 2018): hinge on one logit, softmax on more.

    segmentation_models_pytorch's. ``per_image`` takes the mean of the images' losses, over the
    images that have a valid pixel (there an all-ignored image counts as a perfect one). An image
    without positives is handled: its Jaccard index steps to 1 at the first error.
    """

    def __init__(self, *, per_image: bool = False) -> None:
        super().__init__()
        self.per_image = per_image

    def measure(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Return the loss over valid pixels (see the base class)."""
        kept = torch.nonzero(valid.flatten(1).any(dim=1)).flatten()
        logits, target = logits[kept], target[kept]
        if logits.shape[1] == 1:
            logits = logits[:, 0]
            mode = "binary"
        else:
            mode = "multiclass"
        loss = smp.losses.LovaszLoss(mode, per_image=self.per_image, ignore_index=255)
        value: Tensor = loss(logits, target)
        return value
