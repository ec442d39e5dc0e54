"""Disturbance suppression: features of a noisy image should be those of the clean one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from headframe.core.errors import GridMismatchError

_MOST = 0.1


def suppression_loss(
    noisy: Sequence[Tensor], clean: Sequence[Tensor], *, weight: float = 0.01
) -> Tensor:
    """Compare features of noisy and clean images that went through the same weights.

    Sum over levels of weight x mean(min((f_noisy - f_clean)^2, 0.1)), as the authors' code has it
    (methods 1.8), on the stages of the body. Gradients flow into both. Differences beyond the limit
    teach nothing. The loss stands beside the full losses of detection on both images, without which
    features could become alike by becoming nothing.

    Args:
        noisy: (N, C, H, W) of each level.
        clean: the same of the clean images.
        weight: of each level.

    Returns:
        A float32 scalar, from 0 to 0.1 x weight x levels.

    Raises:
        GridMismatchError: other shapes, or no level.
    """
    if not noisy or [x.shape for x in noisy] != [x.shape for x in clean]:
        raise GridMismatchError(
            f"features of {len(noisy)} noisy and {len(clean)} clean levels differ in shape."
        )
    parts = [
        (a.float() - b.float()).square().clamp(max=_MOST).mean()
        for a, b in zip(noisy, clean, strict=True)
    ]
    return weight * torch.stack(parts).sum()
