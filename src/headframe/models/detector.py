"""What every network that finds single objects on photographs has in common."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from torchvision.ops import masks_to_boxes

from headframe.core.detections import Detections
from headframe.core.errors import DatasetError, GridMismatchError, JobError, RecipeError

_Options = TypeVar("_Options")


@dataclass(frozen=True, eq=False)
class InstanceTarget:
    """The true objects of one photograph; n may be 0.

    Attributes:
        boxes: (n, 4) float32, x0 y0 x1 y1 in pixels of the photograph, x1 > x0 and y1 > y0, (0, 0)
            being the corner of the first pixel.
        labels: (n,) int64, classes 1 and up.
        masks: (n, H, W) bool, of the photograph's size.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor

    @classmethod
    def of_masks(cls, masks: Tensor, labels: Tensor) -> Self:
        """Put boxes around masks; objects without a single pixel are left out.

        Args:
            masks: (n, H, W) bool.
            labels: (n,) int64, 1 and up.
        """
        seen = masks.flatten(1).any(dim=1)
        masks, labels = masks[seen], labels[seen]
        boxes = masks_to_boxes(masks)  # corners of the outermost pixels; their far sides follow
        boxes[:, 2:] += 1
        return cls(boxes, labels.long(), masks)


@runtime_checkable
class Detector(Protocol):
    """A network that finds objects.

    Attributes:
        classes: K, without background.
    """

    classes: int

    def forward_train(
        self,
        images: Sequence[Tensor],
        targets: Sequence[InstanceTarget],
        *,
        clean: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return the terms of the loss of a batch, by name, already weighed; their sum is it.

        Args:
            images: each (3, H, W), RGB, float32 in [0, 1], of any size.
            targets: one a photograph.
            clean: the same photographs without what disturbs ``images``, for networks that learn
                to suppress it (``models.isd``); others look at ``images`` alone.

        Raises:
            GridMismatchError: an image is not (3, H, W), or a mask is not of its size.
            DatasetError: a class the network does not have, or a box without area.
            JobError: the network is in evaluation mode.
        """

    def detect(self, images: Sequence[Tensor], *, soft: bool = True) -> list[Detections]:
        """Find the objects, the surest first, in each photograph's own pixels.

        What is found on a photograph does not depend on the others. Modes of modules and random
        numbers are left as they are.

        Args:
            images: each (3, H, W), RGB, float32 in [0, 1], of any size.
            soft: give ``logits`` too: four bytes a pixel and object.

        Raises:
            GridMismatchError: an image is not (3, H, W).
        """


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode without gradients; each module's mode comes back after.

    Gradients are switched off by ``no_grad``: tensors that a library keeps between calls (anchors)
    would else be inference tensors, of no use to a later training step.
    """
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def check_images(images: Sequence[Tensor]) -> None:
    """Raise GridMismatchError unless every image is (3, H, W), H and W >= 1, of floats."""
    for number, image in enumerate(images):
        if (
            image.ndim != 3
            or image.shape[0] != 3
            or 0 in image.shape
            or not image.is_floating_point()
        ):
            raise GridMismatchError(
                f"image {number} of the batch is {image.dtype} {tuple(image.shape)}; give RGB "
                "(3, H, W) as floats in [0, 1]."
            )


def check_training(
    network: nn.Module,
    images: Sequence[Tensor],
    targets: Sequence[InstanceTarget],
    *,
    classes: int,
    clean: Sequence[Tensor] | None = None,
) -> None:
    """Raise what ``Detector.forward_train`` raises, unless it can train on these."""
    if not network.training:
        raise JobError(f"{type(network).__name__} is in evaluation mode; call train() first.")
    check_images(images)
    if len(images) != len(targets):
        raise GridMismatchError(f"{len(images)} images, but targets of {len(targets)}.")
    if clean is not None and [x.shape for x in clean] != [x.shape for x in images]:
        raise GridMismatchError("the clean images are not those of the batch: sizes differ.")
    for number, (image, target) in enumerate(zip(images, targets, strict=True)):
        _check_target(target, tuple(image.shape[1:]), number=number, classes=classes)


def _check_target(
    target: InstanceTarget, size: tuple[int, ...], *, number: int, classes: int
) -> None:
    count = len(target.labels)
    if target.boxes.shape != (count, 4) or target.masks.shape != (count, *size):
        raise GridMismatchError(
            f"image {number} of the batch: {count} labels, boxes {tuple(target.boxes.shape)} and "
            f"masks {tuple(target.masks.shape)} on {size[0]} x {size[1]} pixels do not fit."
        )
    if not count:
        return
    if int(target.labels.min()) < 1 or int(target.labels.max()) > classes:
        raise DatasetError(
            f"image {number} of the batch has classes {sorted(set(target.labels.tolist()))}; the "
            f"network knows 1 to {classes}."
        )
    if bool((target.boxes[:, 2:] <= target.boxes[:, :2]).any()):
        raise DatasetError(
            f"image {number} of the batch has a box without area; leave out empty objects."
        )


def read_options(kind: type[_Options], values: Mapping[str, Any], *, name: str) -> _Options:
    """Build a dataclass of options from what a recipe says; lists become tuples.

    Args:
        kind: a dataclass.
        values: its fields by name; those left out keep their defaults.
        name: of the network, for messages.

    Raises:
        RecipeError: an unknown field, or a value that the dataclass refuses.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # a dataclass
    for key in values:
        if key not in known:
            close = get_close_matches(key, known, n=1, cutoff=0.0)
            raise RecipeError(f"{name} has no option {key!r}; the closest is {close[0]!r}.")
    try:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except TypeError as exc:
        raise RecipeError(f"{name}: {exc}; correct the option's type.") from exc
