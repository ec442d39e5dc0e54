"""A SAM that is told what is in the box: a learned class token beside the box's two corners."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from headframe.core.errors import DatasetError, RecipeError
from headframe.models.sam.network import Prompts, Sam, build_sam
from headframe.models.sam.peft import adapt

_WIDTH = 256


class ClassPromptedSam(nn.Module):
    """SAM with boxes and classes for prompts (methods.md, section 1.4).

    DIS-Mine prompts SAM with boxes and class labels, which SAM has no place for. Ours is a table
    of one vector a class, appended to the tokens of the box's corners. It starts at zero, and a
    row of zeros says nothing: outside training a class with such a row adds no token, so that an
    untrained network, and a class that training never saw, give to the bit what SAM gives for the
    box alone. (A token of zeros is not nothing: it is still attended to.) In training every class
    adds its token, or none would ever be learned.

    Attributes:
        sam: the adapted network.
        table: (K, 256), the tokens; row 0 belongs to class 1.
        trained: keys of ``state_dict`` that training changes: the table, and what the method
            trains of ``sam`` (the mask decoder, with ``lora`` a part of the encoder).
        pretrained: keys among them of tensors that came with the base.
    """

    def __init__(
        self,
        sam: Sam,
        classes: int,
        *,
        trained: frozenset[str],
        known: frozenset[str] = frozenset(),
    ) -> None:
        """Wrap ``sam``, adapted.

        Args:
            sam: the network.
            classes: K, the highest number of a class.
            trained: keys of ``sam.state_dict()`` that are trained, from ``peft.adapt``.
            known: keys of ``sam.state_dict()`` before it was adapted.
        """
        super().__init__()
        self.sam = sam
        self.table = nn.Embedding(classes, _WIDTH)
        nn.init.zeros_(self.table.weight)
        self.trained = frozenset({"table.weight"} | {f"sam.{name}" for name in trained})
        self.pretrained = frozenset(f"sam.{name}" for name in trained & known)

    @property
    def encoder_names(self) -> frozenset[str]:
        """Keys of ``state_dict`` that ``encode`` goes by."""
        return frozenset(key for key in self.state_dict() if key.startswith("sam.encoder."))

    def encode(self, frames: Tensor) -> Tensor:
        """Embed frames, the slow half.

        Args:
            frames: (N, 3, H, W) in the base's units; sides multiples of its stride.

        Returns:
            (N, 256, H / stride, W / stride).
        """
        return self.sam.encode(frames)

    def decode(
        self, embedding: Tensor, boxes: Tensor, labels: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Draw one mask a box, the fast half; boxes do not see each other.

        Args:
            embedding: (1, 256, h, w) of one frame for all boxes, or (B, 256, h, w).
            boxes: (B, 4) x0, y0, x1, y1, float32, in pixels of the frame; the centre of the first
                is (0, 0).
            labels: (B,) int64, 1 to K; None: no classes are told.

        Returns:
            Logits (B, 4h, 4w) and the IoU that SAM expects (B,), B >= 0.

        Raises:
            DatasetError: a label is none of 1 to K.
        """
        told = self._told(labels, boxes)
        size = 4 * embedding.shape[-2], 4 * embedding.shape[-1]
        logits = embedding.new_zeros((len(boxes), *size))
        quality = embedding.new_zeros(len(boxes))
        for group in (told, ~told):
            rows = group.nonzero()[:, 0]
            if not len(rows):
                continue
            tokens = None
            if labels is not None and bool(group is told):
                tokens = self.table(labels[rows] - 1)[:, None]  # (b, 1, 256)
            own = embedding if len(embedding) == 1 else embedding[rows]
            found, rated = self.sam.decode(own, Prompts(boxes=boxes[rows]), tokens=tokens)
            logits = logits.index_copy(0, rows, found[:, 0])
            quality = quality.index_copy(0, rows, rated[:, 0])
        return logits, quality

    def forward(self, frames: Tensor, boxes: Tensor, labels: Tensor | None, of: Tensor) -> Tensor:
        """Draw boxes of several frames.

        Args:
            frames: as for ``encode``.
            boxes: as for ``decode``.
            labels: as for ``decode``.
            of: (B,) int64, which frame each box is in.

        Returns:
            Logits (B, H, W), interpolated from a quarter of the embedding's cells.
        """
        logits, _ = self.decode(self.encode(frames)[of], boxes, labels)
        size = (frames.shape[-2], frames.shape[-1])
        return functional.interpolate(
            logits[:, None], size=size, mode="bilinear", align_corners=False
        )[:, 0]

    def _told(self, labels: Tensor | None, boxes: Tensor) -> Tensor:
        """Which boxes (B,) get a token."""
        if labels is None or not len(labels):
            return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
        classes = self.table.num_embeddings
        if int(labels.min()) < 1 or int(labels.max()) > classes:
            strange = labels[(labels < 1) | (labels > classes)][0]
            raise DatasetError(
                f"class {int(strange)} cannot be told to a SAM of classes 1 to {classes}. Check "
                "the labels."
            )
        if self.training:
            return torch.ones(len(labels), dtype=torch.bool, device=labels.device)
        return self.table.weight.any(dim=1)[labels - 1]


def build_class_prompted_sam(
    classes: int,
    *,
    base: str = "litemedsam",
    peft: str = "decoder",
    rank: int = 4,
    state: Mapping[str, Tensor] | None = None,
) -> ClassPromptedSam:
    """Build a SAM that is prompted by boxes and classes, for red, green and blue.

    Args:
        classes: highest number of a class, >= 1.
        base: one of ``network.BASES``.
        peft: what is trained beside the table, one of ``peft.METHODS``.
        rank: of LoRA.
        state: tensors of the whole base under their authors' names; None is a random start.

    Raises:
        RecipeError: no classes, or ``rank`` is out of range.
        UnknownNameError: no such base or method.
        FormatError: ``state`` does not fit the base.
    """
    if classes < 1:
        raise RecipeError(f"a SAM for {classes} classes cannot be built; give at least one.")
    sam = build_sam(base, state=state)
    known = frozenset(sam.state_dict())
    return ClassPromptedSam(sam, classes, trained=adapt(sam, peft, rank=rank), known=known)
