"""Mask2Former (Cheng et al. 2022) of transformers behind the two calls of a detector."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from transformers import (
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    ResNetConfig,
    SwinConfig,
)

from headframe.core.detections import Detections, boxes_of
from headframe.core.errors import FormatError, RecipeError, UnknownNameError
from headframe.models.detector import InstanceTarget, check_images, check_training, evaluating
from headframe.models.maskrcnn.shaping import Shaping

_STAGES = ["stage1", "stage2", "stage3", "stage4"]
_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_STRIDE_PX = 32
_SMALL_HEAD: dict[str, Any] = {
    "hidden_dim": 128,
    "feature_size": 128,
    "mask_feature_size": 128,
    "encoder_feedforward_dim": 512,
    "dim_feedforward": 512,
    "encoder_layers": 3,
    "decoder_layers": 4,
    "num_attention_heads": 4,
}
_TINY_HEAD = {name: max(2, value // 4) for name, value in _SMALL_HEAD.items()}
_SIZES: Mapping[str, tuple[type[Any], dict[str, Any], dict[str, Any]]] = {
    "r50": (ResNetConfig, {}, {}),
    "swin-t": (SwinConfig, {"depths": [2, 2, 6, 2], "drop_path_rate": 0.3}, {}),
    "r18-small": (
        ResNetConfig,
        {"depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512], "layer_type": "basic"},
        _SMALL_HEAD,
    ),
    "tiny": (
        ResNetConfig,
        {
            "depths": [1, 1, 1, 1],
            "embedding_size": 8,
            "hidden_sizes": [8, 8, 16, 16],
            "layer_type": "basic",
        },
        {**_TINY_HEAD, "train_num_points": 256},
    ),
}
_TERMS = {
    "loss_classifier": "loss_cross_entropy",
    "loss_mask": "loss_mask",
    "loss_dice": "loss_dice",
}
_HEADS = ("class_predictor.", "criterion.")


@dataclass(frozen=True)
class Mask2FormerOptions:
    """What a Mask2Former is.

    Attributes:
        size: ``r50`` as published on ResNet-50 and ``swin-t`` on Swin-T, both with 9 layers of the
            decoder and widths of 256; ``r18-small``, on ResNet-18 with a head of half the widths
            and a third of the layers; ``tiny``, for tests.
        queries: objects it can tell apart on a photograph.
        min_px: the short side is brought to this many pixels, up or down;
        max_px: but the long side to no more than this.
        min_score: objects below are dropped, in [0, 1).
        most: objects given of a photograph, at most.
    """

    size: str = "r18-small"
    queries: int = 100
    min_px: int = 320
    max_px: int = 640
    min_score: float = 0.05
    most: int = 100

    def __post_init__(self) -> None:
        if self.size not in _SIZES:
            raise UnknownNameError.of("size of Mask2Former", self.size, _SIZES)
        for name in ("queries", "min_px", "most"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{name} is {getattr(self, name)}; give 1 or more.")
        if self.max_px < self.min_px or not 0 <= self.min_score < 1:
            raise RecipeError(
                f"min_px is {self.min_px}, max_px {self.max_px}, min_score {self.min_score}; give "
                "max_px no less than min_px, and a score in [0, 1)."
            )


class Mask2Former(nn.Module):
    """Queries that each give one object: a class or none, and a mask of the whole photograph.

    Losses and matching are those of transformers: cross-entropy 2, masks 5, Dice 5, on 12,544
    points (methods 1.8). A score is the probability of the class times the mean probability of the
    mask's own pixels, as there; boxes are those around the masks. Of a query every class may be
    given, so that masks may come more than once.
    """

    def __init__(
        self,
        classes: int,
        options: Mask2FormerOptions | None = None,
        *,
        state: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Build it.

        Args:
            classes: K, without background.
            options: what it is.
            state: tensors of transformers' ``Mask2FormerForUniversalSegmentation`` of this size,
                whose classes may be others: then those start at random. None: all does.

        Raises:
            FormatError: ``state`` does not fit the size.
        """
        super().__init__()
        self.options = options or Mask2FormerOptions()
        self.classes = classes
        self.network = Mask2FormerForUniversalSegmentation(_config(self.options, classes))
        if state is not None:
            _load(self.network, state, size=self.options.size)
        self.shaping = Shaping(
            self.options.min_px, self.options.max_px, _MEAN, _STD, size_divisible=_STRIDE_PX
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
        """Return the terms of the loss, summed over the decoder's layers; see ``Detector``.

        They are ``loss_classifier``, ``loss_mask`` and ``loss_dice``. ``clean`` is not looked at.
        """
        check_training(self, images, targets, classes=self.classes, clean=clean)
        shaped = self._shaped(images)
        masks = [
            _fitted(target.masks.to(shaped.tensors.device), inner, shaped.tensors.shape[-2:])
            for target, inner in zip(targets, shaped.image_sizes, strict=True)
        ]
        labels = [target.labels.to(shaped.tensors.device).long() - 1 for target in targets]
        found = self.network(shaped.tensors, output_auxiliary_logits=True)
        parts = self.network.get_loss_dict(
            masks_queries_logits=found.masks_queries_logits.float(),
            class_queries_logits=found.class_queries_logits.float(),
            mask_labels=masks,
            class_labels=labels,
            auxiliary_predictions=found.auxiliary_logits,
        )
        return {
            name: torch.stack([value for key, value in parts.items() if theirs in key]).sum()
            for name, theirs in _TERMS.items()
        }

    def detect(self, images: Sequence[Tensor], *, soft: bool = True) -> list[Detections]:
        """Find objects; see ``models.detector.Detector``. Each image is run by itself."""
        check_images(images)
        with evaluating(self):
            return [self._detect_one(image, soft=soft) for image in images]

    def _detect_one(self, image: Tensor, *, soft: bool) -> Detections:
        shaped = self._shaped([image])
        found = self.network(shaped.tensors)
        classes = found.class_queries_logits[0].float().softmax(dim=-1)[:, :-1]  # (Q, K)
        coarse = found.masks_queries_logits[0].float()  # (Q, h, w)
        inside = coarse > 0
        sure = (coarse.sigmoid() * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2)).clamp_min(1)
        scores, places = (classes * sure[:, None]).flatten().sort(descending=True, stable=True)
        kept = places[: self.options.most][scores[: self.options.most] >= self.options.min_score]
        size = (int(image.shape[1]), int(image.shape[2]))
        planes = _in_pixels(coarse, kept // self.classes, shaped, size)
        masks = planes > 0
        return Detections(
            boxes=boxes_of(masks),
            labels=(kept % self.classes + 1).cpu().numpy(),
            scores=scores[: len(kept)].clamp(0, 1).cpu().numpy(),
            masks=masks,
            logits=planes if soft else None,
        )

    def _shaped(self, images: Sequence[Tensor]) -> ImageList:
        device = next(self.parameters()).device
        shaped: ImageList = self.shaping([image.to(device) for image in images])[0]
        return shaped


def _config(options: Mask2FormerOptions, classes: int) -> Mask2FormerConfig:
    kind, body, head = _SIZES[options.size]
    logger = logging.getLogger(Mask2FormerConfig.__module__)
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of ResNet, which the paper has, to everyone's stderr
    try:
        return Mask2FormerConfig(
            backbone_config=kind(out_features=_STAGES, **body),
            num_queries=options.queries,
            num_labels=classes,
            **head,
        )
    finally:
        logger.setLevel(level)


def _load(network: nn.Module, state: Mapping[str, Tensor], *, size: str) -> None:
    own = network.state_dict()
    for key, value in own.items():
        if key.startswith(_HEADS):
            continue
        if key not in state or state[key].shape != value.shape:
            raise FormatError(
                f"weights of Mask2Former {size}: tensor {key!r} is missing or has another shape. "
                "Choose the size that the file was trained with."
            )
    fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    network.load_state_dict({**own, **fitting})


def _fitted(masks: Tensor, inner: tuple[int, int], outer: Sequence[int]) -> Tensor:
    """Bring masks (n, H, W) to the resized image and its padding: shares of pixels, 0 to 1."""
    if not len(masks):
        return masks.new_zeros((0, *outer), dtype=torch.float32)
    small = F.interpolate(masks[None].float(), inner, mode="bilinear", antialias=True)[0]
    return F.pad(small, (0, outer[1] - inner[1], 0, outer[0] - inner[0]))


def _in_pixels(
    coarse: Tensor, queries: Tensor, shaped: ImageList, size: tuple[int, int]
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Bring mask logits (Q, h, w) of the padded image to the photograph's pixels, (n, H, W)."""
    planes = np.zeros((len(queries), *size), np.float32)
    padded, (height, width) = shaped.tensors.shape[-2:], shaped.image_sizes[0]
    for plane, query in zip(planes, queries.tolist(), strict=True):
        whole = F.interpolate(coarse[None, query : query + 1], padded, mode="bilinear")
        own = F.interpolate(whole[..., :height, :width], size, mode="bilinear")
        plane[:] = own[0, 0].cpu().numpy()
    return planes
