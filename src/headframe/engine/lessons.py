"""A teacher beside a run: what the student is to keep of the model it started from."""

import copy
from collections.abc import Callable, Iterable, Sequence

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from headframe.core.errors import RecipeError
from headframe.engine.companion import Companion
from headframe.engine.recipe import DistillSection, Recipe
from headframe.engine.sampling import CropPlan, CropStream, Sample
from headframe.engine.weights import names_bundle
from headframe.losses.build import build_loss
from headframe.losses.distillation import (
    Attentive,
    boundary_loss,
    feature_distillation,
    prediction_distillation,
)
from headframe.losses.incremental import Anchor, pooled_distillation, relation_distillation
from headframe.models.domains import OldPath
from headframe.models.pyramid import PyramidWatch

Loss = Callable[[Tensor, Tensor], Tensor]


class Lessons(Companion):
    """A frozen teacher, and what its student loses by differing from it (methods 4.2).

    The teacher is the student as it started; it stays in evaluation mode, with its own running
    statistics. It sees what the student sees.

    Attributes:
        anchor: holds weights that mattered for the teacher, where ``ewc`` is above 0.
        learner: the old domain's path, with MDIL's ``domains``.
    """

    anchor: Anchor | None = None

    def __init__(
        self, student: nn.Module, section: DistillSection, fabric: Fabric, *, lr: float = 1e-3
    ) -> None:
        """Take ``student`` before its first step; ``lr`` is that of MDIL's residuals.

        Raises:
            RecipeError: its features are asked for, and it has no pyramid.
        """
        self._section = section
        self._fabric = fabric
        self._student = student
        self._teacher = copy.deepcopy(student).eval().requires_grad_(requires_grad=False)
        self._teacher.to(fabric.device)
        watched = section.features or section.pooled or section.relations
        if section.domains:
            old = OldPath(student)
            optimizer = torch.optim.AdamW(old.parameters(), lr=lr, weight_decay=0.0)
            self.learner, self.optimizer = fabric.setup(old, optimizer)
        self._watches = (PyramidWatch(student), PyramidWatch(self._teacher)) if watched else None
        self._options = Attentive(
            attention=section.attention,
            gate=section.gate,
            width_px=section.width_px,
            feature_tau=section.feature_tau,
            feature_scale=section.feature_scale,
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
        if self._watches is not None or section.predictions:
            with torch.no_grad(), self._fabric.autocast():
                told = self._teacher(pixels)
            total = total + self._of_features(label)
            if section.predictions:
                if self.learner is not None:
                    logits = self.learner(self._student, pixels)
                divergence = prediction_distillation(logits, told, label, self._options)
                total = total + section.predictions * divergence
        if section.boundary:
            total = total + section.boundary * boundary_loss(logits, label, section.width_px)
        if self.anchor is not None:
            total = total + section.ewc * self.anchor.loss(self._student)
        return total

    def _of_features(self, label: Tensor) -> Tensor:
        """Weigh up what the two networks' features were in the passes of a moment ago."""
        section = self._section
        total = torch.zeros((), device=label.device)
        if self._watches is None:
            return total
        own, given = (watch.take() for watch in self._watches)
        if section.features:
            distance = feature_distillation(own, given, label, self._options)
            total = total + section.features * distance
        if section.pooled:
            total = total + section.pooled * pooled_distillation(own, given)
        if section.relations:
            middle = len(own) // 2
            resemblance = relation_distillation(own[middle], given[middle])
            total = total + section.relations * resemblance
        return total


def begin_lessons(
    recipe: Recipe, student: nn.Module, fabric: Fabric, coarse: Sequence[Sample] | None = None
) -> Lessons:
    """Make the lessons of a recipe, whose network has the weights of its ``model.init``.

    Args:
        recipe: with ``distill``.
        student: before its first step.
        fabric: of the run.
        coarse: what the teacher learnt from, for ``ewc``.

    Raises:
        RecipeError: the network starts from no model, or has no pyramid, or ``ewc`` lacks what the
            teacher learnt from.
    """
    section = recipe.distill
    if section is None or not names_bundle(recipe.model.init):
        raise RecipeError(
            f"model.init is {recipe.model.init!r}: distill needs a model to keep something of. "
            "Set model.init to a bundle."
        )
    lessons = Lessons(student, section, fabric, lr=recipe.train.lr)
    if section.ewc:
        if coarse is None:
            raise RecipeError("distill.ewc needs the labels that the model learnt. Give --coarse.")
        crops = CropStream(
            coarse, CropPlan(recipe.train.crop_px, recipe.train.seed, recipe.augment)
        )
        own = build_loss(recipe.loss.name, **recipe.loss.options)
        told = (crops[n] for n in range(section.ewc_crops))
        matter = what_matters(student, told, own)
        start = {name: student.get_parameter(name).detach().clone() for name in matter}
        lessons.anchor = Anchor(start, matter)
    return lessons


def what_matters(
    network: nn.Module, crops: Iterable[tuple[Tensor, Tensor]], loss: Loss
) -> dict[str, Tensor]:
    """Measure the diagonal of the Fisher information, by the labels as they are.

    Args:
        network: trained on such crops; it is left as it is found, without gradients.
        crops: pixels (C, H, W) and labels (H, W), taken one by one.
        loss: of logits and labels.

    Returns:
        Mean square of each parameter's gradient over the crops, by name.
    """
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    known = {name: value for name, value in network.named_parameters() if value.requires_grad}
    total = {name: torch.zeros_like(value) for name, value in known.items()}
    count = 0
    for pixels, label in crops:
        value = loss(network(pixels[None].to(device)).float(), label[None].to(device))
        found = torch.autograd.grad(value, list(known.values()), allow_unused=True)
        for name, gradient in zip(known, found, strict=True):
            if gradient is not None:
                total[name] += gradient.square()
        count += 1
    network.train(training)
    return {name: value / max(count, 1) for name, value in total.items()}
