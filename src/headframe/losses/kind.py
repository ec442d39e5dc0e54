"""Losses of KinD's three stages, and their sum for DIS-Mine's joint training.

After the authors' code (methods 1.2). The sign ∇ is the absolute forward difference of
neighbours, stretched to 0-1 over the whole tensor; beyond the last row and column nothing
changes, where the authors' zero padding makes a false edge.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.image import structural_similarity_index_measure
from torchvision.transforms.functional import rgb_to_grayscale

from headframe.core.errors import RecipeError

_RANGE_EPS = 1e-4
_SHARPNESS = 10.0
_FLOOR = 0.01
_DARKEST = 0.1
_CONTRAST = 1.2
_SSIM_PX = 11
_SSIM_SIGMA = 1.5


@dataclass(frozen=True)
class KinDWeights:
    """How much each term counts; all >= 0.

    Attributes:
        reconstruction: of both images by their layers.
        reflectance: sameness of the two reflectances.
        consistency: mutual consistency of the two illuminations' edges; code 0.2, paper 0.1.
        smoothness: of illumination where the image is smooth; code 0.15, paper 0.08.
        restoration: mean square error of the restored reflectance, joint training only.
        adjustment: the same of the adjusted illumination.
        max_rgb: of both illuminations by the largest channel; ours, 0 in KinD.
        relative: reconstruction and ``max_rgb`` are shares of each image's mean rather than of the
            range 0-1; ours. In KinD what is wrong with an image in a fiftieth of the light costs a
            fiftieth, and its colours are learnt last.
    """

    reconstruction: float = 1.0
    reflectance: float = 0.01
    consistency: float = 0.2
    smoothness: float = 0.15
    restoration: float = 1.0
    adjustment: float = 1.0
    max_rgb: float = 0.0
    relative: bool = False

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0:
                raise RecipeError(f"loss weight {name} is {value}; give 0 or more.")


@dataclass(frozen=True)
class Decomposed:
    """A pair of images and its layers; all (N, C, H, W), float32 in [0, 1].

    Attributes:
        dark: the dark image, C = 3.
        bright: the bright one.
        dark_reflectance: C = 3.
        dark_illumination: C = 1.
        bright_reflectance: C = 3.
        bright_illumination: C = 1.
    """

    dark: Tensor
    bright: Tensor
    dark_reflectance: Tensor
    dark_illumination: Tensor
    bright_reflectance: Tensor
    bright_illumination: Tensor


def gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    """Give ∇ along x (columns) and along y (rows), each stretched to 0-1 over the whole tensor.

    Args:
        x: (N, C, H, W).

    Returns:
        Two tensors (N, C, H, W) in [0, 1); the last column, and the last row, hold the least.
    """
    along_x = F.pad((x[..., :, 1:] - x[..., :, :-1]).abs(), (0, 1, 0, 0))
    along_y = F.pad((x[..., 1:, :] - x[..., :-1, :]).abs(), (0, 0, 0, 1))
    return _stretched(along_x), _stretched(along_y)


def _stretched(x: Tensor) -> Tensor:
    least = x.min()
    return (x - least) / (x.max() - least + _RANGE_EPS)


def reconstruction(pair: Decomposed, *, relative: bool = False) -> Tensor:
    """L_rec: mean absolute difference of R * L and image, dark plus bright.

    Args:
        pair: images and layers.
        relative: each image's difference over its mean, which is taken as 0.1 at least.
    """
    dark = _distance(pair.dark_reflectance * pair.dark_illumination, pair.dark, relative)
    bright = _distance(pair.bright_reflectance * pair.bright_illumination, pair.bright, relative)
    return dark + bright


def _distance(found: Tensor, image: Tensor, relative: bool) -> Tensor:
    """Mean absolute difference of (N, C, H, W)."""
    if not relative:
        return F.l1_loss(found, image)
    scale = image.mean(dim=(1, 2, 3), keepdim=True).clamp(min=_DARKEST)
    return ((found - image).abs() / scale).mean()


def reflectance_similarity(pair: Decomposed) -> Tensor:
    """L_rs: mean absolute difference of the two reflectances."""
    return F.l1_loss(pair.dark_reflectance, pair.bright_reflectance)


def mutual_consistency(pair: Decomposed) -> Tensor:
    """L_mc: mean over pixels of M exp(-10 M), along x plus along y.

    M = ∇L_dark + ∇L_bright: strong edges that both share cost nothing, weak ones do.
    """
    total = pair.dark_illumination.new_zeros(())
    both = zip(gradients(pair.dark_illumination), gradients(pair.bright_illumination), strict=True)
    for dark, bright in both:
        shared = dark + bright
        total = total + (shared * torch.exp(-_SHARPNESS * shared)).mean()
    return total


def illumination_smoothness(illumination: Tensor, image: Tensor) -> Tensor:
    """L_is: mean of ∇L / max(∇gray(image), 0.01), along x plus along y, for one image."""
    total = illumination.new_zeros(())
    grey = gradients(rgb_to_grayscale(image))
    for light, edge in zip(gradients(illumination), grey, strict=True):
        total = total + (light / edge.clamp(min=_FLOOR)).mean()
    return total


def max_rgb_distance(pair: Decomposed, *, relative: bool = False) -> Tensor:
    """Mean absolute difference of illumination and largest channel, dark plus bright.

    Retinex's first guess of illumination (LIME, Guo et al., IEEE TIP 2017, eq. 3). KinD has no such
    term: its four leave open how much of a dark image is lack of light and how much dark ground,
    and the level of the light is learnt late or, in a short training, not at all.
    """
    dark = _distance(pair.dark_illumination, pair.dark.amax(dim=1, keepdim=True), relative)
    bright = _distance(pair.bright_illumination, pair.bright.amax(dim=1, keepdim=True), relative)
    return dark + bright


def decomposition_loss(pair: Decomposed, weights: KinDWeights | None = None) -> Tensor:
    """Sum the four terms of the first stage, and ours."""
    w = weights or KinDWeights()
    smooth = illumination_smoothness(pair.dark_illumination, pair.dark)
    smooth = smooth + illumination_smoothness(pair.bright_illumination, pair.bright)
    return (
        w.reconstruction * reconstruction(pair, relative=w.relative)
        + w.reflectance * reflectance_similarity(pair)
        + w.consistency * mutual_consistency(pair)
        + w.smoothness * smooth
        + w.max_rgb * max_rgb_distance(pair, relative=w.relative)
    )


def restoration_loss(restored: Tensor, reflectance: Tensor) -> Tensor:
    """Compare a restored reflectance with the bright image's, its contrast raised.

    Mean square error, 1 - SSIM (Gaussian window of 11 px, sigma 1.5, mean over channels), and the
    mean square error of ∇gray along x plus along y. The target is reflectance ** 1.2.

    Args:
        restored: (N, 3, H, W) in [0, 1], H and W at least 11.
        reflectance: of the bright image, taken as given: no gradient flows into it.
    """
    target = reflectance.detach() ** _CONTRAST
    likeness = structural_similarity_index_measure(
        restored, target, sigma=_SSIM_SIGMA, kernel_size=_SSIM_PX, data_range=1.0
    )
    if isinstance(likeness, tuple):  # torchmetrics gives more where more is asked for
        likeness = likeness[0]
    edges = _edge_error(rgb_to_grayscale(restored), rgb_to_grayscale(target))
    return F.mse_loss(restored, target) + (1 - likeness) + edges


def adjustment_loss(adjusted: Tensor, illumination: Tensor) -> Tensor:
    """Compare adjusted illumination (N, 1, H, W) with the wanted: mean squares of L and of ∇L."""
    target = illumination.detach()
    return F.mse_loss(adjusted, target) + _edge_error(adjusted, target)


def _edge_error(found: Tensor, wanted: Tensor) -> Tensor:
    (x, y), (wanted_x, wanted_y) = gradients(found), gradients(wanted)
    return F.mse_loss(x, wanted_x) + F.mse_loss(y, wanted_y)


def joint_loss(
    pair: Decomposed,
    *,
    restored: Tensor,
    adjusted: Tensor,
    weights: KinDWeights | None = None,
) -> Tensor:
    """Sum DIS-Mine's one update of all modules (Algorithm 1, "MSE").

    The decomposition's four terms, MSE(restored, R_bright) and MSE(adjusted, L_bright). The paper
    lists no reconstruction; without it nothing ties R * L to the image, so it is in. Targets are
    taken as given, or the decomposition would learn to be easy to restore.
    """
    w = weights or KinDWeights()
    return (
        decomposition_loss(pair, w)
        + w.restoration * F.mse_loss(restored, pair.bright_reflectance.detach())
        + w.adjustment * F.mse_loss(adjusted, pair.bright_illumination.detach())
    )
