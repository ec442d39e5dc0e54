"""KinD put together: decompose, restore, adjust, multiply."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.functional import gaussian_blur, rgb_to_grayscale

from headframe.core.errors import RecipeError
from headframe.models.kind.adjustment import AdjustmentNet
from headframe.models.kind.decomposition import DecompositionNet, Layers
from headframe.models.kind.restoration import RestorationNet

Mode = Literal["kind", "dismine"]
MODES: tuple[Mode, ...] = ("kind", "dismine")
DEFAULT_RATIO = 5.0
"""The authors' constant where there is no reference."""

RECEPTIVE_PX = 128
"""Nothing farther away than this many pixels reaches a pixel of the output: 10 of the decomposition
and 108 of the restoration net, rounded up to a multiple of ``STRIDE_PX``."""

STRIDE_PX = 16
"""Four halvings: shift an image by this many pixels and the output shifts alike."""

_EPS = 1e-4
_SIGMA_PX = 3.0
_BLUR_PX = 12


@dataclass(frozen=True)
class KinDOptions:
    """What a KinD network is.

    Attributes:
        mode: ``kind``: three stages and a ratio; ``dismine``: trained jointly, no ratio (the map
            is fixed to 1).
        width: channels of the first level of decomposition and adjustment; the authors' 32.
        restoration_width: the same of the restoration net; 0 leaves it out, and the dark image's
            own reflectance is used.
        leaky_head: see ``AdjustmentNet``.
    """

    mode: Mode = "kind"
    width: int = 32
    restoration_width: int = 32
    leaky_head: bool = True

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise RecipeError(f"mode is {self.mode!r}; give one of {', '.join(MODES)}.")
        if self.width < 1 or self.restoration_width < 0:
            raise RecipeError(
                f"width is {self.width}, restoration_width {self.restoration_width}; give 1 or "
                "more, and 0 or more."
            )


class Enhanced(NamedTuple):
    """What the enhancer makes of dark images.

    Attributes:
        image: (N, 3, H, W), float32 in [0, 1].
        dark: layers of the input.
        restored: its reflectance restored, (N, 3, H, W).
        adjusted: its illumination adjusted, (N, 1, H, W).
    """

    image: Tensor
    dark: Layers
    restored: Tensor
    adjusted: Tensor


class KinDEnhancer(nn.Module):
    """Restored reflectance times adjusted illumination.

    Invariant: without a restoration net and with the illumination left alone the output is the
    product of the layers, which a trained decomposition makes equal to the input.
    """

    def __init__(self, options: KinDOptions | None = None) -> None:
        super().__init__()
        self.options = options or KinDOptions()
        self.decomposition = DecompositionNet(self.options.width)
        self.adjustment = AdjustmentNet(self.options.width, leaky_head=self.options.leaky_head)
        if self.options.restoration_width:
            self.restoration = RestorationNet(self.options.restoration_width)

    def forward(
        self,
        image: Tensor,
        *,
        ratio: Tensor | float = DEFAULT_RATIO,
        detach: bool = False,
        guard: bool = False,
    ) -> Enhanced:
        """Enhance dark images.

        Args:
            image: (N, 3, H, W), RGB, float32 in [0, 1]; any H and W.
            ratio: wanted over present light, one number or (N,); not looked at in mode
                ``dismine``, whose map is 1.
            detach: keep the gradients of what follows the decomposition out of it.
            guard: post-process (``light_up``) against noise in the darkest and whiteness in the
                brightest places.
        """
        dark: Layers = self.decomposition(image)
        source = Layers(*(x.detach() for x in dark)) if detach else dark
        restored = self.restore(source)
        asked = 1.0 if self.options.mode == "dismine" else ratio
        adjusted = self.adjustment(source.illumination, asked)
        if guard:
            out = light_up(image, source, restored=restored, adjusted=adjusted)
        else:
            out = restored * adjusted
        return Enhanced(out, dark, restored, adjusted)

    def restore(self, layers: Layers) -> Tensor:
        """Restore the reflectance, or give it back where there is no restoration net."""
        if not self.options.restoration_width:
            return layers.reflectance
        restored: Tensor = self.restoration(layers.reflectance, layers.illumination)
        return restored


def light_up(image: Tensor, dark: Layers, *, restored: Tensor, adjusted: Tensor) -> Tensor:
    """Multiply the layers, the darkest places dimmed and the brightest left as they were.

    The authors' post-processing: the restored reflectance is dimmed by
    min(sqrt(2 blur(gray R)), 1), a Gaussian of 3 px on the dark image's reflectance; the product
    then gives way to the input where that was bright already. Grey is ITU-R 601 here, 709 there.

    Args:
        image: the input, (N, 3, H, W), in [0, 1].
        dark: its layers.
        restored: (N, 3, H, W).
        adjusted: (N, 1, H, W).

    Returns:
        (N, 3, H, W), in [0, 1].
    """
    grey = F.pad(rgb_to_grayscale(dark.reflectance), [_BLUR_PX] * 4, mode="replicate")
    blurred = gaussian_blur(grey, [2 * _BLUR_PX + 1] * 2, [_SIGMA_PX] * 2)
    blurred = blurred[..., _BLUR_PX:-_BLUR_PX, _BLUR_PX:-_BLUR_PX]
    fused = restored * (2 * blurred).sqrt().clamp(max=1) * adjusted
    blended: Tensor = dark.illumination * image + (1 - dark.illumination) * fused
    return blended


def ratio_to(reference: Tensor, dark: Tensor) -> Tensor:
    """Measure how much brighter a reference is: mean of L_reference / (L_dark + 1e-4).

    Args:
        reference: illumination of the bright images, (N, 1, H, W).
        dark: illumination of the dark ones.

    Returns:
        (N,), the ratio to enhance with.
    """
    return (reference / (dark + _EPS)).mean(dim=(1, 2, 3))


def training_ratio(dark: Tensor, bright: Tensor, *, to_bright: Tensor) -> Tensor:
    """Give the ratio that a training pair is shown with.

    With r = mean(L_dark / (L_bright + 1e-4)): 1/r + 1e-4 from dark to bright, r back.

    Args:
        dark: illumination of the dark images, (N, 1, H, W).
        bright: that of the bright ones.
        to_bright: (N,), bool: the direction of each.

    Returns:
        (N,).
    """
    rho = (dark / (bright + _EPS)).mean(dim=(1, 2, 3))
    return torch.where(to_bright, 1 / rho + _EPS, rho)
