"""Mask R-CNN put together, behind the two calls of a detector."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.detection.transform import resize_boxes

from headframe.core.detections import Detections
from headframe.models.detector import InstanceTarget, check_images, check_training, evaluating
from headframe.models.isd import suppression_loss
from headframe.models.maskrcnn.backbone import PyramidBackbone, device_of
from headframe.models.maskrcnn.options import STRIDE_PX, MaskRCNNOptions
from headframe.models.maskrcnn.pasting import paste_masks
from headframe.models.maskrcnn.roi_heads import (
    LevelRoIAlign,
    MaskLoss,
    MaskRoIHeads,
    own_mask_loss,
)
from headframe.models.maskrcnn.shaping import Shaping

_RATIOS = (0.5, 1.0, 2.0)
_SCALES = 5
_START = 0.001


class MaskRCNN(nn.Module):
    """Mask R-CNN (He et al. 2017) in DIS-Mine's form: torchvision's parts, its own mask loss.

    DIS-Mine (papers/000, IV-C) has ResNet-101 and does not say how features reach the heads; a
    feature pyramid is taken. Its Fast R-CNN loss is torchvision's: cross-entropy of classes and
    smooth L1 of boxes of objects, plus the two terms of the proposal network.
    """

    def __init__(
        self,
        classes: int,
        options: MaskRCNNOptions | None = None,
        *,
        mask_loss: MaskLoss = own_mask_loss,
        body_state: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Build it.

        Args:
            classes: K, without background.
            options: what it is.
            mask_loss: how masks are compared; DIS-Mine's are in ``losses.instances``.
            body_state: tensors the body starts from (``PyramidBackbone``); None is a random start.

        Raises:
            RecipeError: a body that cannot be used.
            FormatError: ``body_state`` does not fit the body.
        """
        super().__init__()
        self.options = options or MaskRCNNOptions()
        self.classes = classes
        self.backbone = PyramidBackbone(self.options, body_state)
        self.rpn = _proposals(self.options)
        self.roi_heads = _heads(self.options, classes, mask_loss)
        mean, std = self.options.pixel_statistics
        self.shaping = Shaping(
            self.options.min_px, self.options.max_px, mean, std, size_divisible=STRIDE_PX
        )

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[InstanceTarget]
    ) -> dict[str, Tensor]:
        """Return what ``forward_train`` returns."""
        return self.forward_train(images, targets)

    def forward_train(
        self,
        images: Sequence[Tensor],
        targets: Sequence[InstanceTarget],
        *,
        clean: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return the terms of the loss; see ``models.detector.Detector``.

        They are ``loss_classifier``, ``loss_box_reg``, ``loss_mask``, ``loss_objectness`` and
        ``loss_rpn_box_reg``. With ``clean`` the same of those images, before their names
        ``clean_``, and ``loss_suppression`` between the two (ISD, methods 1.8).
        """
        check_training(self, images, targets, classes=self.classes, clean=clean)
        device, pairs = device_of(self), 1 if clean is None else 2
        batch = [image.to(device) for image in (*images, *(clean or ()))]
        shaped, wanted = self.shaping(batch, [_as_dict(t, device) for t in targets] * pairs)
        stages = self.backbone.stages(shaped.tensors)
        levels = self.backbone.pyramid(stages)
        count = len(images)
        losses = self._losses(levels, shaped, wanted, part=slice(0, count))
        if clean is not None:
            bright = self._losses(levels, shaped, wanted, part=slice(count, None))
            losses |= {f"clean_{name}": value for name, value in bright.items()}
            losses["loss_suppression"] = suppression_loss(
                [x[:count] for x in stages],
                [x[count:] for x in stages],
                weight=self.options.suppression,
            )
        return losses

    def detect(self, images: Sequence[Tensor], *, soft: bool = True) -> list[Detections]:
        """Find objects; see ``models.detector.Detector``.

        Images of one size are run together, those of another by themselves: padding would else let
        one photograph's size change what is found on another.
        """
        check_images(images)
        by_size: dict[tuple[int, ...], list[int]] = {}
        for number, image in enumerate(images):
            by_size.setdefault(tuple(image.shape), []).append(number)
        found: dict[int, Detections] = {}
        with evaluating(self):
            for numbers in by_size.values():
                alike = self._detect_alike([images[number] for number in numbers], soft=soft)
                found |= zip(numbers, alike, strict=True)
        return [found[number] for number in range(len(images))]

    def _losses(
        self,
        levels: dict[str, Tensor],
        shaped: ImageList,
        wanted: list[dict[str, Tensor]],
        *,
        part: slice,
    ) -> dict[str, Tensor]:
        levels = {name: level[part] for name, level in levels.items()}
        images = ImageList(shaped.tensors[part], shaped.image_sizes[part])
        proposed, first = self.rpn(images, levels, wanted[part])
        _, second = self.roi_heads(levels, proposed, images.image_sizes, wanted[part])
        return {**second, **first}

    def _detect_alike(self, images: list[Tensor], *, soft: bool) -> list[Detections]:
        device = device_of(self)
        shaped, _ = self.shaping([image.to(device) for image in images])
        levels = self.backbone(shaped.tensors)
        proposed, _ = self.rpn(shaped, levels)
        found, _ = self.roi_heads(levels, proposed, shaped.image_sizes)
        size = (int(images[0].shape[1]), int(images[0].shape[2]))
        results = zip(found, shaped.image_sizes, strict=True)
        return [_detections(one, inner, size, soft=soft) for one, inner in results]


class _ProposalHead(RPNHead):  # type: ignore[misc]  # torchvision is untyped
    """torchvision's, but float32 even under autocast: boxes are made in the type of its moves."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Score and move the anchors of each level (N, C, H, W)."""
        scores, moves = super().forward(x)
        return [score.float() for score in scores], [move.float() for move in moves]


def _proposals(options: MaskRCNNOptions) -> RegionProposalNetwork:
    """Build the first stage with torchvision's thresholds."""
    sizes = tuple((options.anchor_px * 2**level,) for level in range(_SCALES))
    anchors = AnchorGenerator(sizes, (_RATIOS,) * _SCALES)
    kept = {"training": 2 * options.proposals, "testing": options.proposals}
    return RegionProposalNetwork(
        anchors,
        _ProposalHead(options.width, len(_RATIOS)),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n=kept,
        post_nms_top_n=kept,
        nms_thresh=0.7,
    )


def _heads(options: MaskRCNNOptions, classes: int, mask_loss: MaskLoss) -> MaskRoIHeads:
    """Build the second stage: torchvision's heads, as wide as the pyramid."""
    width, hidden = options.width, 4 * options.width
    box_pool, mask_pool = LevelRoIAlign(7), LevelRoIAlign(14)
    mask_predictor = MaskRCNNPredictor(width, width, classes + 1)
    # torchvision's start makes logits of tens where classes are few, and the loss with them
    nn.init.normal_(mask_predictor.mask_fcn_logits.weight, std=_START)
    nn.init.zeros_(mask_predictor.mask_fcn_logits.bias)
    return MaskRoIHeads(
        mask_loss=mask_loss,
        mask_weight=options.mask_weight,
        box_roi_pool=box_pool,
        box_head=TwoMLPHead(width * 7 * 7, hidden),
        box_predictor=FastRCNNPredictor(hidden, classes + 1),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=options.sampled,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=options.min_score,
        nms_thresh=options.overlap,
        detections_per_img=options.most,
        mask_roi_pool=mask_pool,
        mask_head=MaskRCNNHeads(width, (width,) * 4, 1),
        mask_predictor=mask_predictor,
    )


def _as_dict(target: InstanceTarget, device: torch.device) -> dict[str, Tensor]:
    """Give a target as torchvision wants it."""
    return {
        "boxes": target.boxes.to(device, torch.float32),
        "labels": target.labels.to(device, torch.int64),
        "masks": target.masks.to(device),
    }


def _detections(
    found: dict[str, Tensor], inner: tuple[int, int], size: tuple[int, int], *, soft: bool
) -> Detections:
    """Bring what was found on a resized image to the photograph's own pixels."""
    boxes = resize_boxes(found["boxes"], inner, size).cpu()
    masks, logits = paste_masks(
        found["masks"][:, 0].cpu(), boxes, height=size[0], width=size[1], soft=soft
    )
    return Detections(
        boxes=boxes.numpy(),
        labels=found["labels"].cpu().numpy(),
        scores=found["scores"].cpu().numpy(),
        masks=masks,
        logits=logits,
    )
