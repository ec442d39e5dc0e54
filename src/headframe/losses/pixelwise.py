"""Losses that are a mean over pixels: cross-entropy and its relatives."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from headframe.core.errors import RecipeError
from headframe.losses.masked import MaskedLoss, check_weights, weight_tensor


def log_likelihood(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Log-probability of the true class at the valid pixels.

    Args:
        logits: (N, K, H, W) float32; K = 1 is a sigmoid, K > 1 a softmax.
        target: (N, H, W) int64, anything where not valid.
        valid: (N, H, W) bool.

    Returns:
        (P,), <= 0, in row-major order of the valid pixels.
    """
    labels = target[valid]
    if logits.shape[1] == 1:
        score = logits[:, 0][valid]
        return F.logsigmoid(score * (2.0 * labels - 1.0))
    scores = logits.movedim(1, -1)[valid]  # (P, K)
    return -F.cross_entropy(scores, labels, reduction="none")


class CrossEntropy(MaskedLoss):
    """Cross-entropy; on one logit, binary cross-entropy.

    With class weights w the mean is sum(w_y * loss) / sum(w_y), as ``torch.nn.CrossEntropyLoss``
    has it. segmentation_models_pytorch's versions are not used: they divide by the number of all
    pixels, so that ignoring half of an image halves its loss.
    """

    def __init__(
        self, *, class_weights: Sequence[float] | None = None, binary_only: bool = False
    ) -> None:
        super().__init__()
        self.class_weights = check_weights(class_weights)
        self.binary_only = binary_only

    def measure(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Return the weighted mean over valid pixels (see the base class)."""
        if self.binary_only and logits.shape[1] != 1:
            raise RecipeError(
                f"a bce loss needs a model of two classes with one logit, this one has "
                f"{logits.shape[1]}; choose the ce loss of the same kind."
            )
        loss = -log_likelihood(logits, target, valid)
        if self.class_weights is None:
            return loss.mean()
        weights = weight_tensor(self.class_weights, logits)[target[valid]]
        return (loss * weights).sum() / weights.sum().clamp_min(1e-12)


class Focal(MaskedLoss):
    """Focal loss (Lin et al. 2017, eq. 5): mean of w_y (1 - p_y)^gamma * -log p_y.

    ``alpha``, for two classes, is short for class weights (1 - alpha, alpha), background first;
    weights do not divide the mean. With gamma = 0 and no weights it is cross-entropy.
    segmentation_models_pytorch's is not used: with gamma below 1 its gradient is NaN at a pixel
    that is surely right, and of several classes it scores each with a sigmoid of its own, which no
    softmax model is read with. On one logit and gamma of 1 or more the two agree.
    """

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        alpha: float | None = None,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if gamma < 0:
            raise RecipeError(f"focal gamma is {gamma}; give 0 or more.")
        if alpha is not None and not 0 <= alpha <= 1:
            raise RecipeError(f"focal alpha is {alpha}; give a value in 0..1.")
        if alpha is not None and class_weights is not None:
            raise RecipeError("focal alpha and class_weights say the same thing; give one of them.")
        self.gamma = gamma
        self.class_weights = check_weights(
            (1 - alpha, alpha) if alpha is not None else class_weights
        )

    def measure(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Return the mean over valid pixels (see the base class)."""
        log_p = log_likelihood(logits, target, valid)
        loss = -log_p
        if self.gamma > 0:
            loss = (-log_p.expm1()).clamp_min(1e-12) ** self.gamma * loss
        if self.class_weights is not None:
            loss = loss * weight_tensor(self.class_weights, logits)[target[valid]]
        return loss.mean()


class GeneralizedCrossEntropy(MaskedLoss):
    """Generalised cross-entropy (Zhang & Sabuncu 2018, eq. 6): mean of (1 - p_y^q) / q.

    Between cross-entropy (q towards 0) and the mean absolute error (q = 1). A pixel whose label
    the model is sure is wrong pulls with p_y^q of the force it has under cross-entropy, hence the
    tolerance of wrong labels. Their pruned version is not implemented. Zero gradient far on the
    wrong side is the price: start from a model that knows something, or use it with Dice.
    """

    def __init__(self, *, q: float = 0.7) -> None:
        super().__init__()
        if not 0 < q <= 1:
            raise RecipeError(f"gce q is {q}; give a value in (0, 1].")
        self.q = q

    def measure(self, logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Return the mean over valid pixels (see the base class)."""
        return (-(self.q * log_likelihood(logits, target, valid)).expm1() / self.q).mean()
