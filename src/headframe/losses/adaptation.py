"""What unlabelled images of another domain teach: entropy (ADVENT, FDA), and looks (FDA)."""

import torch
from torch import Tensor

from headframe.core.classmap import IGNORE_INDEX
from headframe.core.errors import GridMismatchError
from headframe.losses.distillation import class_logits

_TINY = 1e-8


def self_information(logits: Tensor) -> Tensor:
    """Give -p log p of every class, over log K: maps whose sum is the entropy, 0-1 (ADVENT, eq. 5).

    Args:
        logits: (N, K, H, W); K = 1 is the logit of class 1 of two.

    Returns:
        (N, max(K, 2), H, W) float32, >= 0; the sum over channels is at most 1.
    """
    likely = class_logits(logits).log_softmax(dim=1)
    count = torch.tensor(float(likely.shape[1]), device=likely.device)
    return -(likely.exp() * likely) / count.log()


def robust_entropy(logits: Tensor, label: Tensor, *, power: float = 2.0) -> Tensor:
    """Mean of (H^2 + 1e-8)^power over pixels, H the entropy (FDA, eq. 7; Charbonnier's penalty).

    High entropies cost more than with H itself, so that the sure pixels do not rule.

    Args:
        logits: (N, K, H, W).
        label: (N, H, W); only 255 matters: such pixels do not count.
        power: eta, > 0; 0.5 is the entropy itself.

    Returns:
        A float32 scalar >= 0; 0 where no pixel counts.
    """
    entropy = self_information(logits).sum(dim=1)
    counted = (label != IGNORE_INDEX).float()
    cost = (entropy.square() + _TINY) ** power
    total: Tensor = (counted * cost).sum() / counted.sum().clamp(min=1)
    return total


def with_looks_of(pixels: Tensor, other: Tensor, *, share: float) -> Tensor:
    """Give images the low frequencies of others, phases kept (FDA, Yang & Soatto, CVPR 2020).

    Args:
        pixels: (N, C, H, W), finite.
        other: the same shape.
        share: beta, 0 to 0.5: frequencies up to this part of the shorter side are taken over; 0
            takes the mean alone.

    Returns:
        (N, C, H, W) float32. Invariant: with ``other`` the same as ``pixels`` these come back.

    Raises:
        GridMismatchError: shapes differ.
    """
    if pixels.shape != other.shape:
        raise GridMismatchError(
            f"images {tuple(pixels.shape)} cannot take the looks of {tuple(other.shape)}; give "
            "as many of the same size."
        )
    height, width = pixels.shape[-2:]
    reach = int(min(height, width) * share)
    own, told = torch.fft.fft2(pixels.float()), torch.fft.fft2(other.float())
    rows = torch.fft.fftfreq(height, 1 / height, device=pixels.device).abs() <= reach
    columns = torch.fft.fftfreq(width, 1 / width, device=pixels.device).abs() <= reach
    low = rows[:, None] & columns[None, :]
    strength = torch.where(low, told.abs(), own.abs())
    changed: Tensor = torch.fft.ifft2(torch.polar(strength, own.angle())).real
    return changed
