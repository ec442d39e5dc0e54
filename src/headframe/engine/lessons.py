"""A teacher beside a run: what the student is to keep of the model it started from."""

import copy

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from headframe.core.errors import RecipeError
from headframe.engine.recipe import DistillSection, Recipe
from headframe.engine.weights import names_bundle
from headframe.losses.distillation import (
    Attentive,
    boundary_loss,
    feature_distillation,
    prediction_distillation,
)
from headframe.models.pyramid import PyramidWatch


class Lessons:
    """A frozen teacher, and what its student loses by differing from it (methods 4.2).

    The teacher is the student as it started; it stays in evaluation mode, with its own running
    statistics. It sees what the student sees.
    """

    def __init__(self, student: nn.Module, section: DistillSection, fabric: Fabric) -> None:
        """Take ``student`` before its first step.

        Raises:
            RecipeError: its features are asked for, and it has no pyramid.
        """
        self._section = section
        self._fabric = fabric
        self._teacher = copy.deepcopy(student).eval().requires_grad_(requires_grad=False)
        self._teacher.to(fabric.device)
        self._watches = (
            (PyramidWatch(student), PyramidWatch(self._teacher)) if section.features else None
        )
        self._options = Attentive(
            attention=section.attention,
            gate=section.gate,
            width_px=section.width_px,
            feature_tau=section.feature_tau,
            tau=section.tau,
            disagreement=section.disagreement,
            transfer=section.transfer,
        )

    def loss(self, pixels: Tensor, logits: Tensor, label: Tensor) -> Tensor:
        """Weigh up what the student has lost in its forward pass of a moment ago.

        Args:
            pixels: (N, C, H, W) that the student saw.
            logits: (N, K, H, W) that it gave.
            label: (N, H, W), classes and 255.

        Returns:
            A float32 scalar >= 0.
        """
        section = self._section
        total = logits.new_zeros((), dtype=torch.float32)
        if section.features or section.predictions:
            with torch.no_grad(), self._fabric.autocast():
                told = self._teacher(pixels)
            if self._watches is not None:
                own, given = (watch.take() for watch in self._watches)
                distance = feature_distillation(own, given, label, self._options)
                total = total + section.features * distance
            if section.predictions:
                divergence = prediction_distillation(logits, told, label, self._options)
                total = total + section.predictions * divergence
        if section.boundary:
            total = total + section.boundary * boundary_loss(logits, label, section.width_px)
        return total


def begin_lessons(recipe: Recipe, student: nn.Module, fabric: Fabric) -> Lessons:
    """Make the lessons of a recipe, whose network has the weights of its ``model.init``.

    Raises:
        RecipeError: the network starts from no model, or has no pyramid.
    """
    if recipe.distill is None or not names_bundle(recipe.model.init):
        raise RecipeError(
            f"model.init is {recipe.model.init!r}: distill needs a model to keep something of. "
            "Set model.init to a bundle."
        )
    return Lessons(student, recipe.distill, fabric)
