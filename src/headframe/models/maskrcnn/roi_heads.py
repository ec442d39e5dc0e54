"""The second stage: classes, boxes and masks of the proposed boxes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.ops import MultiScaleRoIAlign, roi_align
from torchvision.ops.poolers import initLevelMapper

from headframe.models.maskrcnn.backbone import LEVELS

MaskLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Logits (R, M, M), true masks (R, M, M) in 0-1 and classes (R,) of objects to a scalar; R may be
0. ``losses.instances`` has DIS-Mine's."""


def own_mask_loss(logits: Tensor, target: Tensor, labels: Tensor) -> Tensor:
    """Mask R-CNN's own: binary cross-entropy, the mean over all pixels of all objects."""
    if not len(labels):
        return logits.float().sum() * 0.0
    return F.binary_cross_entropy_with_logits(logits.float(), target)


class LevelRoIAlign(MultiScaleRoIAlign):  # type: ignore[misc]  # torchvision is untyped
    """torchvision's RoIAlign on a pyramid whose strides are known.

    torchvision guesses them from the first image it sees and keeps the guess; a first image of a
    few pixels in width, padded to a multiple of 32, would spoil the detector for good.
    """

    def __init__(self, output_size: int) -> None:
        super().__init__(featmap_names=list(LEVELS), output_size=output_size, sampling_ratio=2)
        self.scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
        self.map_levels = initLevelMapper(2, 5)


class MaskRoIHeads(RoIHeads):  # type: ignore[misc]  # torchvision is untyped
    """torchvision's heads with a mask loss of one's own choice.

    In training it returns losses ``loss_classifier``, ``loss_box_reg`` and ``loss_mask``; else, of
    each image, ``boxes``, ``labels``, ``scores`` and ``masks`` (n, 1, 28, 28), probabilities.
    """

    def __init__(self, *, mask_loss: MaskLoss, mask_weight: float, **parts: Any) -> None:  # noqa: ANN401 - torchvision's own arguments
        super().__init__(**parts)
        self.mask_loss = mask_loss
        self.mask_weight = mask_weight

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Score, place and outline.

        Args:
            features: levels of the pyramid by name.
            proposals: (P, 4) of each image, pixels of the resized image.
            image_shapes: (height, width) of each before padding.
            targets: ``boxes`` and ``labels`` of each resized image, ``masks`` of the original and
                ``scale`` between the two (``Shaping``); looked at in training alone.
        """
        if self.training:
            return [], self._losses(features, proposals, image_shapes, targets)
        return self._found(features, proposals, image_shapes), {}

    def _losses(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None,
    ) -> dict[str, Tensor]:
        proposals, matched, labels, wanted = self.select_training_samples(proposals, targets)
        scores, moves = self._boxes(features, proposals, image_shapes)
        classified, placed = fastrcnn_loss(scores, moves, labels, wanted)
        objects = [label > 0 for label in labels]
        boxes = [box[kept] for box, kept in zip(proposals, objects, strict=True)]
        own = torch.cat([label[kept] for label, kept in zip(labels, objects, strict=True)])
        logits = self._masks(features, boxes, image_shapes, own)
        truth = [
            mask_truth(target["masks"], box, which[kept], target["scale"], side=logits.shape[-1])
            for target, box, which, kept in zip(targets or [], boxes, matched, objects, strict=True)
        ]
        outlined = self.mask_weight * self.mask_loss(logits, torch.cat(truth), own)
        return {"loss_classifier": classified, "loss_box_reg": placed, "loss_mask": outlined}

    def _found(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> list[dict[str, Tensor]]:
        scores, moves = self._boxes(features, proposals, image_shapes)
        kept = self.postprocess_detections(scores, moves, proposals, image_shapes)
        boxes, labels = kept[0], kept[2]
        logits = self._masks(features, boxes, image_shapes, torch.cat(labels))
        masks = torch.split(logits.float().sigmoid()[:, None], [len(box) for box in boxes])
        names = ("boxes", "scores", "labels", "masks")
        return [dict(zip(names, each, strict=True)) for each in zip(*kept, masks, strict=True)]

    def _boxes(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> tuple[Tensor, Tensor]:
        """Class logits (P, K + 1) and moves of boxes (P, 4 (K + 1)), float32."""
        pooled = self.box_roi_pool(features, proposals, image_shapes)
        scores, moves = self.box_predictor(self.box_head(pooled))
        return scores.float(), moves.float()

    def _masks(
        self,
        features: dict[str, Tensor],
        boxes: list[Tensor],
        image_shapes: list[tuple[int, int]],
        labels: Tensor,
    ) -> Tensor:
        """Logits (P, 28, 28) of the masks in boxes, each of its own class."""
        pooled = self.mask_roi_pool(features, boxes, image_shapes)
        logits = self.mask_predictor(self.mask_head(pooled))  # (P, K + 1, 28, 28)
        own: Tensor = logits[torch.arange(len(logits), device=logits.device), labels]
        return own


def mask_truth(masks: Tensor, boxes: Tensor, which: Tensor, scale: Tensor, *, side: int) -> Tensor:
    """Cut true masks to boxes: each value is the share of its cell that the object covers.

    Unlike torchvision's, masks are read at their own resolution and a pixel's centre lies half a
    pixel from its corner, as it does when masks are pasted back.

    Args:
        masks: (n, H, W) bool.
        boxes: (P, 4) in pixels of the resized image.
        which: (P,) int64, the mask of each box.
        scale: (2,), pixels of the masks a pixel of the resized image, x and y.
        side: cells each way.

    Returns:
        (P, side, side) float32 in [0, 1].
    """
    if not len(boxes):
        return boxes.new_zeros((0, side, side))
    used, place = torch.unique(which, return_inverse=True)
    rois = torch.cat([place[:, None].to(boxes), boxes * scale.repeat(2).to(boxes)], dim=1)
    cut: Tensor = roi_align(masks[used, None].to(boxes), rois, (side, side), aligned=True)
    return cut[:, 0].clamp(0, 1)
