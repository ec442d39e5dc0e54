"""What a student keeps of a teacher: MineC2FNet's attentive distillation (papers/003, methods 4.2).

A teacher learnt from many generous outlines, a student goes on with a few exact ones. Of what the
teacher knows, the student is to keep what is general and to learn the boundary anew: near outlines
nothing is distilled, elsewhere more where the teacher is sure and attends. The equations are our
reconstruction, for the paper's abstract names the parts and gives no formula.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from headframe.core.classmap import IGNORE_INDEX
from headframe.core.errors import GridMismatchError, RecipeError

SCALES = ("deviation", "raw")
_TINY = 1e-6


@dataclass(frozen=True)
class Attentive:
    """How distillation chooses places and channels.

    Attributes:
        attention: weigh by the teacher's attention (features) and certainty (predictions); without
            it every place and channel counts alike.
        gate: beta, 0 to 1: how much less is distilled in the band along outlines; 1 is nothing.
        width_px: half-width of the band, >= 1.
        feature_tau: temperature of the attention over places and channels, > 0.
        feature_scale: what the temperature is counted in, one of ``SCALES``: ``deviation``, the
            standard deviation of the places or channels compared; ``raw``, squares of the
            features as they are (methods 4.2), which on a trained pyramid leaves one cell or two
            with all of the attention.
        tau: temperature of the predictions, > 0.
        disagreement: kappa, 0 to 1: weight of pixels where the teacher contradicts the label.
        transfer: gamma, >= 0: weight of the attention transfer (Zagoruyko & Komodakis 2017).
    """

    attention: bool = True
    gate: float = 1.0
    width_px: int = 4
    feature_tau: float = 1.0
    feature_scale: str = "deviation"
    tau: float = 2.0
    disagreement: float = 0.1
    transfer: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, low, high in (
            ("gate", 0.0, 1.0),
            ("disagreement", 0.0, 1.0),
            ("width_px", 1, float("inf")),
            ("transfer", 0.0, float("inf")),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise RecipeError(f"distillation {name} is {value}; give {low:g} to {high:g}.")
        if self.feature_scale not in SCALES:
            raise RecipeError(
                f"distillation feature_scale is {self.feature_scale!r}; give one of "
                f"{', '.join(SCALES)}."
            )
        if not (self.feature_tau > 0 and self.tau > 0):
            raise RecipeError(
                f"temperatures are {self.feature_tau} and {self.tau}; give values above 0."
            )


ATTENTIVE = Attentive()


def boundary_band(label: Tensor, width_px: int) -> Tensor:
    """Mark the pixels within ``width_px`` of an outline: dilated less eroded, by a square.

    An outline is where two classes meet; the edge of the crop and of ignored pixels is none.

    Args:
        label: (N, H, W), classes and 255.
        width_px: half-width, >= 1.

    Returns:
        (N, H, W) bool, False where ``label`` is 255.
    """
    valid = label != IGNORE_INDEX
    value = label.float()
    top = _dilated(value.masked_fill(~valid, -1.0), width_px)
    least = -_dilated((-value).masked_fill(~valid, -float(IGNORE_INDEX)), width_px)
    return valid & (top > least)


def _dilated(values: Tensor, width_px: int) -> Tensor:
    """Largest of the square around every cell of (N, H, W): along rows, then along columns."""
    side = 2 * width_px + 1
    along = functional.max_pool2d(values[:, None], (1, side), stride=1, padding=(0, width_px))
    return functional.max_pool2d(along, (side, 1), stride=1, padding=(width_px, 0))[:, 0]


def place_attention(features: Tensor, options: Attentive = ATTENTIVE) -> Tensor:
    """Attention over places: softmax of the mean square over channels; its mean is 1.

    Args:
        features: (N, C, h, w).
        options: temperature, and what it is counted in.

    Returns:
        (N, 1, h, w), > 0.
    """
    energy = features.float().square().mean(dim=1).flatten(1)  # (N, h * w)
    return _attention(energy, options).view(len(features), 1, *features.shape[2:])


def channel_attention(features: Tensor, options: Attentive = ATTENTIVE) -> Tensor:
    """Attention over channels: softmax of the mean size over places; its mean is 1.

    Args:
        features: (N, C, h, w).
        options: temperature, and what it is counted in.

    Returns:
        (N, C, 1, 1), > 0.
    """
    return _attention(features.float().abs().mean(dim=(2, 3)), options)[:, :, None, None]


def _attention(energy: Tensor, options: Attentive) -> Tensor:
    """Softmax of (N, M) over M times M."""
    if options.feature_scale == "deviation":
        centred = energy - energy.mean(dim=1, keepdim=True)
        deviation = centred.square().mean(dim=1, keepdim=True).sqrt()
        energy = centred / deviation.clamp_min(_TINY)
    return energy.shape[1] * (energy / options.feature_tau).softmax(dim=1)


def feature_distillation(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    label: Tensor,
    options: Attentive = ATTENTIVE,
) -> Tensor:
    """Distance of the student's pyramid from the teacher's, where the teacher attends (L_FAD).

    The sum over levels of mean(A C G (s - t)^2), s and t of length 1 over channels, and of
    ``transfer`` times the distance of their attention maps, both of length 1. A is the attention
    over places, C that over channels, G = 1 - gate * B the gate, B the share of a cell that is
    boundary.

    Invariant: 0 where student and teacher agree, whatever the label.

    Args:
        student: (N, C, h, w) a level.
        teacher: the same shapes; no gradient goes there.
        label: (N, H, W), classes and 255; what is ignored counts as any other ground.
        options: how.

    Returns:
        A float32 scalar >= 0.

    Raises:
        GridMismatchError: levels or shapes differ.
    """
    check_levels(student, teacher)
    total = label.new_zeros((), dtype=torch.float32)
    for own, given in zip(student, teacher, strict=True):
        told = given.detach().float()
        distance = (functional.normalize(own.float()) - functional.normalize(told)).square()
        weight = feature_gate(label, told, options)
        if options.attention:
            weight = weight * place_attention(told, options) * channel_attention(told, options)
        total = total + (weight * distance).mean()
        if options.attention and options.transfer:
            total = total + options.transfer * _transfer(own.float(), told)
    return total


def feature_gate(label: Tensor, features: Tensor, options: Attentive = ATTENTIVE) -> Tensor:
    """How much is distilled at a place: 1 - gate * B, B the share of its cell that is boundary.

    Args:
        label: (N, H, W), classes and 255.
        features: (N, C, h, w) of a level.
        options: how.

    Returns:
        (N, 1, h, w) in [0, 1].
    """
    band = boundary_band(label, options.width_px).float()[:, None]
    cells = (features.shape[-2], features.shape[-1])
    return 1 - options.gate * functional.adaptive_avg_pool2d(band, cells)


def check_levels(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
    """Check that two pyramids have the same levels.

    Raises:
        GridMismatchError: they do not.
    """
    if [s.shape for s in student] != [t.shape for t in teacher]:
        raise GridMismatchError(
            f"student {[tuple(s.shape) for s in student]} and teacher "
            f"{[tuple(t.shape) for t in teacher]} differ; give the same levels of both."
        )


def _transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over samples of the distance between normalised sums of squares over channels."""
    own, told = (
        functional.normalize(t.square().sum(dim=1).flatten(1), dim=1) for t in (student, teacher)
    )
    # Of a norm at 0 torch's gradient is 0, where that of a square root is none.
    distance: Tensor = torch.linalg.vector_norm(own - told, dim=1)
    return distance.mean()


def prediction_distillation(
    student: Tensor,
    teacher: Tensor,
    label: Tensor,
    options: Attentive = ATTENTIVE,
) -> Tensor:
    """Divergence of the student's classes from the teacher's, where the teacher is sure (L_PAD).

    tau^2 sum(w KL(t || s)) / sum(w) at temperature tau, w = (1 - H(t) / log K) (1 - gate * B),
    times ``disagreement`` where the teacher's class is not the label's. Without attention and gate
    it is learning without forgetting (Li & Hoiem 2017).

    Args:
        student: logits (N, K, H, W); K = 1 is the logit of class 1 of two.
        teacher: the same; no gradient goes there.
        label: (N, H, W), classes and 255, which counts nowhere.
        options: how.

    Returns:
        A float32 scalar >= 0; 0 where no pixel counts.

    Raises:
        GridMismatchError: shapes do not fit.
    """
    if student.shape != teacher.shape or label.shape != (len(student), *student.shape[2:]):
        raise GridMismatchError(
            f"student {tuple(student.shape)}, teacher {tuple(teacher.shape)} and label "
            f"{tuple(label.shape)} do not fit each other."
        )
    own, told = class_logits(student), class_logits(teacher.detach())
    weight = prediction_weight(told, label, options)
    divergence = functional.kl_div(
        (own / options.tau).log_softmax(dim=1),
        (told / options.tau).log_softmax(dim=1),
        reduction="none",
        log_target=True,
    ).sum(dim=1)  # (N, H, W)
    weighed = torch.where(weight > 0, weight * divergence, 0.0).sum()
    return options.tau**2 * weighed / weight.sum().clamp_min(_TINY)


def prediction_weight(teacher: Tensor, label: Tensor, options: Attentive = ATTENTIVE) -> Tensor:
    """How much of a pixel's prediction is distilled: w of ``prediction_distillation``.

    Args:
        teacher: logits (N, K, H, W); K = 1 is the logit of class 1 of two.
        label: (N, H, W), classes and 255, which counts nowhere.
        options: how.

    Returns:
        (N, H, W) in [0, 1].
    """
    told = class_logits(teacher)
    weight = (label != IGNORE_INDEX).float()
    weight = weight * (1 - options.gate * boundary_band(label, options.width_px).float())
    if options.attention:
        likely = told.log_softmax(dim=1)
        entropy = -(likely.exp() * likely).sum(dim=1)
        weight = weight * (1 - entropy / torch.log(torch.tensor(float(told.shape[1]))))
        differs = told.argmax(dim=1) != label
        weight = torch.where(differs, options.disagreement * weight, weight)
    return weight


def boundary_loss(logits: Tensor, label: Tensor, width_px: int = ATTENTIVE.width_px) -> Tensor:
    """Cross-entropy in the band along outlines alone (L_bd).

    Args:
        logits: (N, K, H, W); K = 1 is the logit of class 1 of two.
        label: (N, H, W), classes and 255.
        width_px: half-width of the band.

    Returns:
        A float32 scalar >= 0, the mean over the band; 0 where there is none.
    """
    band = boundary_band(label, width_px)
    if not bool(band.any()):
        return logits.float().sum() * 0.0
    scores = class_logits(logits).movedim(1, -1)[band]  # (P, K)
    return functional.cross_entropy(scores, label[band].long())


def class_logits(logits: Tensor) -> Tensor:
    """Logits (N, K, H, W), K >= 2; one logit becomes two whose softmax is its sigmoid."""
    scores = logits.float()
    return scores if scores.shape[1] > 1 else torch.cat([torch.zeros_like(scores), scores], dim=1)
