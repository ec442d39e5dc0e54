"""Optimisers and learning-rate schedules a recipe can name."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from headframe.engine.recipe import OptimiserSection

_MOMENTUM = 0.9


def build_optimizer(network: nn.Module, settings: OptimiserSection) -> torch.optim.Optimizer:
    """Build the optimiser of a recipe.

    Weight decay is decoupled in ``adamw`` and an L2 term of the gradient in ``adam`` and ``sgd``;
    ``sgd`` has a momentum of 0.9.

    Args:
        network: parameters that need a gradient are trained. Those it lists in ``pretrained``, or
            else those under a module named ``encoder``, take ``encoder_lr_factor`` times the
            learning rate.
        settings: the recipe's section.
    """
    groups = _groups(network, settings.lr, settings.encoder_lr_factor)
    decay = settings.weight_decay
    if settings.optimizer == "adam":
        return torch.optim.Adam(groups, weight_decay=decay)
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=_MOMENTUM, weight_decay=decay)
    return torch.optim.AdamW(groups, weight_decay=decay)


def build_schedule(
    optimizer: torch.optim.Optimizer, settings: OptimiserSection
) -> torch.optim.lr_scheduler.LambdaLR:
    """Build the schedule of a recipe, stepped once a step.

    Args:
        optimizer: its groups hold the highest learning rates.
        settings: the recipe's section, its ``steps`` resolved.
    """
    factors: dict[str, Callable[[int], float]] = {
        "one-cycle": partial(one_cycle, steps=settings.steps, warmup=settings.warmup),
        "cosine": partial(cosine, steps=settings.steps, floor=settings.lr_min / settings.lr),
        "constant": _constant,
        "poly": partial(polynomial, steps=settings.steps, warmup=settings.warmup),
    }
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factors[settings.schedule])


def one_cycle(step: int, *, steps: int, warmup: float) -> float:
    """Factor of the learning rate: a short rise from 1/25, then half a cosine to nearly 0."""
    rise = warmup * steps
    if step < rise:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * step / rise)) / 2
    return 1e-4 + (1 - 1e-4) * (1 + math.cos(math.pi * (step - rise) / (steps - rise))) / 2


def cosine(step: int, *, steps: int, floor: float) -> float:
    """Factor of the learning rate: half a cosine from 1 at step 0 to ``floor`` at ``steps``.

    The form of MineSegSAT (methods 6.5), which steps it once an epoch; here it moves every step.
    """
    return floor + (1 - floor) * (1 + math.cos(math.pi * step / steps)) / 2


def polynomial(step: int, *, steps: int, warmup: float, power: float = 0.9) -> float:
    """Factor of the learning rate: a straight rise, then (1 - share of the rest) ** ``power``.

    The schedule of SAMed (methods 2.3), whose rise takes 250 steps: ``warmup`` 250 / steps. The
    first step takes a part of the rate, not none of it; theirs takes none.
    """
    rise = round(warmup * steps)
    if step < rise:
        return (step + 1) / rise
    return float(max(0.0, 1 - (step - rise) / max(1, steps - rise)) ** power)


def _constant(_step: int) -> float:
    return 1.0


def _groups(network: nn.Module, lr: float, encoder_factor: float) -> list[dict[str, Any]]:
    """Trained parameters in two groups, those that came with weights at their own learning rate."""
    known: frozenset[str] | None = getattr(network, "pretrained", None)
    encoder: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            slow = "encoder" in name.split(".") if known is None else name in known
            (encoder if slow else rest).append(parameter)
    groups = [{"params": encoder, "lr": lr * encoder_factor}, {"params": rest, "lr": lr}]
    return [group for group in groups if group["params"]]
