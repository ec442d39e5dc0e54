"""Domain adaptation beside a run: what images of the fine domain teach without their labels.

Baselines of MineC2FNet (methods 4.2): ADVENT makes the entropy of the fine domain's maps look like
that of the coarse domain's, FDA gives the coarse domain's images the looks of the fine one's and
makes the maps of the fine domain sure.
"""

from collections.abc import Callable, Sequence

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from headframe.engine.companion import Companion
from headframe.engine.recipe import AdaptSection, Recipe
from headframe.engine.sampling import CropPlan, CropStream, Sample
from headframe.losses.adaptation import robust_entropy, self_information, with_looks_of
from headframe.models.discriminator import Discriminator

Loss = Callable[[Tensor, Tensor], Tensor]
_OTHER_SEED = 7_919
"""Crops of the other domain are drawn with a seed that much higher."""


class Adaptation(Companion):
    """Images of another domain beside those that are learnt from.

    A step's images of the other domain are a function of seed and step, as its own are. The learner
    is ADVENT's discriminator.
    """

    def __init__(
        self,
        recipe: Recipe,
        section: AdaptSection,
        other: Sequence[Sample],
        fabric: Fabric,
        *,
        classes: int,
    ) -> None:
        """Take the samples of the other domain; ``classes`` are those of the network."""
        train = recipe.train
        self._section = section
        self._fabric = fabric
        self._batch = train.batch
        plan = CropPlan(train.crop_px, train.seed + _OTHER_SEED, recipe.augment)
        self._crops = CropStream(other, plan)
        self._pixels, self._label = torch.empty(0), torch.empty(0)
        if section.adversarial:
            judge = Discriminator(max(classes, 2), section.width).to(
                memory_format=torch.channels_last
            )
            rate = section.discriminator_lr
            optimizer = torch.optim.Adam(judge.parameters(), lr=rate, betas=(0.9, 0.99))
            self.learner, self.optimizer = fabric.setup(judge, optimizer)

    def begin(self, pixels: Tensor, step: int) -> Tensor:
        """Draw the other domain's images of a step, and give the own ones as they are shown.

        Args:
            pixels: (N, C, H, W) that are learnt from.
            step: number of the step.
        """
        first = (step * self._fabric.world_size + self._fabric.global_rank) * self._batch
        drawn = [self._crops[first + place] for place in range(len(pixels))]
        self._pixels = torch.stack([crop for crop, _ in drawn]).to(pixels)
        self._label = torch.stack([label for _, label in drawn]).to(pixels.device)
        if self._section.looks is None:
            return pixels
        return with_looks_of(pixels, self._pixels, share=self._section.looks).to(pixels)

    def loss(self, network: nn.Module, logits: Tensor, own: Loss) -> Tensor:
        """Weigh up what the network makes of the other domain's images of this step.

        Args:
            network: the one that learns.
            logits: that it gave of the images learnt from.
            own: the recipe's loss, for the other domain's labels where they count.

        Returns:
            A float32 scalar.
        """
        section = self._section
        found = network(self._pixels.contiguous(memory_format=torch.channels_last)).float()
        total: Tensor = found.new_zeros(())
        if section.fine_labels:
            total = total + own(found, self._label)
        if section.entropy:
            unsure = robust_entropy(found, self._label, power=section.power)
            total = total + section.entropy * unsure
        if section.adversarial:
            total = total + self._contest(logits.float(), found)
        return total

    def _contest(self, own: Tensor, other: Tensor) -> Tensor:
        """The network is to pass for the own domain, the discriminator to tell them apart."""
        maps, told = (
            self_information(logits).contiguous(memory_format=torch.channels_last)
            for logits in (other, own.detach())
        )
        self.learner.requires_grad_(False)
        fooled = _called(self.learner(maps), 1.0)
        self.learner.requires_grad_(True)
        judged = _called(self.learner(told), 1.0) + _called(self.learner(maps.detach()), 0.0)
        return self._section.adversarial * fooled + judged / 2


def _called(scores: Tensor, domain: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(scores, torch.full_like(scores, domain))
