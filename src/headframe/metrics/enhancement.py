"""How good an enhanced photograph is, with a bright reference or without any."""

import numpy as np
import numpy.typing as npt
import torch
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from headframe.core.errors import GridMismatchError

FloatPixels = npt.NDArray[np.float32]
_LOE_SIDE = 50
_LEVELS = 256


def psnr_db(image: FloatPixels, truth: FloatPixels) -> float:
    """Peak signal-to-noise ratio over all channels and pixels, peak 1, in dB.

    Args:
        image: (3, H, W), float32 in [0, 1].
        truth: the same of the bright reference.

    Returns:
        dB; infinite for equal images.

    Raises:
        GridMismatchError: the sizes differ.
    """
    found, wanted = _pair(image, truth)
    return float(peak_signal_noise_ratio(found, wanted, data_range=1.0))


def matched_psnr_db(image: FloatPixels, truth: FloatPixels) -> float:
    """PSNR after the image is given the truth's mean, over all channels at once, then clipped.

    It asks about noise and colour where the right brightness could not be known. Arguments, returns
    and errors as ``psnr_db``; a black image stays black.
    """
    factor = float(truth.mean()) / max(float(image.mean()), 1e-6)
    return psnr_db((image * np.float32(factor)).clip(0, 1), truth)


def ssim(image: FloatPixels, truth: FloatPixels) -> float:
    """Structural similarity, Gaussian window of 11 px and sigma 1.5, mean over channels.

    Arguments and errors as ``psnr_db``; at most 1, for equal images.
    """
    found, wanted = _pair(image, truth)
    value = structural_similarity_index_measure(found, wanted, data_range=1.0)
    return float(value[0] if isinstance(value, tuple) else value)


def lightness_order_error(image: FloatPixels, dark: FloatPixels) -> float:
    """Share of pairs of places of which the other one is the brighter after enhancement.

    The LOE of Wang et al. 2013 without a bright reference: lightness is the largest channel,
    images are averaged to at most 50 px a side. Theirs counts pairs a pixel; ours is divided by
    the number of pixels, so that sizes compare.

    Args:
        image: enhanced, (3, H, W), float32 in [0, 1].
        dark: the photograph before.

    Returns:
        0 (natural) to 1.

    Raises:
        GridMismatchError: the sizes differ.
    """
    _pair(image, dark)
    after, before = _lightness(image), _lightness(dark)
    flipped = (after[:, None] >= after[None, :]) != (before[:, None] >= before[None, :])
    return float(flipped.float().mean())


def entropy_bits(image: FloatPixels) -> float:
    """Shannon entropy of the mean of the channels in 256 levels: how much of the range is used.

    Args:
        image: (3, H, W), float32 in [0, 1].

    Returns:
        Bits, 0 (one level) to 8. Noise raises it too: read it beside ``lightness_order_error``.
    """
    levels = np.rint(image.mean(axis=0).clip(0, 1) * (_LEVELS - 1)).astype(np.int64)
    shares = np.bincount(levels.ravel(), minlength=_LEVELS) / levels.size
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def _pair(image: FloatPixels, truth: FloatPixels) -> tuple[torch.Tensor, torch.Tensor]:
    if image.shape != truth.shape:
        raise GridMismatchError(
            f"images of {image.shape} and {truth.shape} cannot be compared. Give pairs of one size."
        )
    return torch.from_numpy(image)[None], torch.from_numpy(truth)[None]


def _lightness(image: FloatPixels) -> torch.Tensor:
    lightness = torch.from_numpy(image).amax(dim=0)[None]
    height, width = (min(side, _LOE_SIDE) for side in lightness.shape[-2:])
    return torch.nn.functional.adaptive_avg_pool2d(lightness, (height, width)).flatten()
