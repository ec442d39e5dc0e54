"""Segment Anything (Kirillov et al. 2023) over several image encoders: one interface.

The prompt encoder and the mask decoder are transformers'; they equal the authors' (and those of
MobileSAM and LiteMedSAM) once the norms of the decoder's transformer have the authors' eps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import SamConfig
from transformers.models.sam.modeling_sam import (
    SamMaskDecoder,
    SamPositionalEmbedding,
    SamPromptEncoder,
)

from headframe.core.errors import GridMismatchError, UnknownNameError
from headframe.models.encoders import spread_stem
from headframe.models.inflate import RGB
from headframe.models.sam.checkpoint import ours_from_authors
from headframe.models.sam.encoders import (
    EMBEDDING,
    TinyViTEncoder,
    TinyViTSize,
    ViTEncoder,
    ViTSize,
)
from headframe.models.sam.maskdecoder import draw_masks
from headframe.models.sam.positions import centres

_IMAGENET_MEAN = (123.675 / 255, 116.28 / 255, 103.53 / 255)
_IMAGENET_STD = (58.395 / 255, 57.12 / 255, 57.375 / 255)
_DECODER_EPS = 1e-5  # the authors leave torch's default; transformers has 1e-6


@dataclass(frozen=True)
class _Base:
    """What tells one base from another."""

    encoder: ViTSize | TinyViTSize
    stride: int
    """Pixels of the frame to one cell of the embedding."""
    size_px: int
    """Side of the native frame."""
    mean: tuple[float, float, float] = _IMAGENET_MEAN
    std: tuple[float, float, float] = _IMAGENET_STD
    mlp: int = 2048
    """Hidden width of the decoder's transformer."""


_BASES: Mapping[str, _Base] = {
    "vit_b": _Base(ViTSize(768, 12, 12, (2, 5, 8, 11)), 16, 1024),
    "vit_l": _Base(ViTSize(1024, 24, 16, (5, 11, 17, 23)), 16, 1024),
    "vit_h": _Base(ViTSize(1280, 32, 16, (7, 15, 23, 31)), 16, 1024),
    "mobile": _Base(TinyViTSize(stem_kernel=3, stem_stride=2), 16, 1024),
    "litemedsam": _Base(
        TinyViTSize(stem_kernel=1, stem_stride=1), 4, 256, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    ),
    "tiny": _Base(ViTSize(64, 4, 4, (1, 3), frame_px=64, window=3), 16, 64, mlp=128),
}
BASES: tuple[str, ...] = tuple(_BASES)
"""Names of the bases; ``tiny`` is a ViT of four blocks for tests, of which no weights exist."""


@dataclass(frozen=True)
class Prompts:
    """Prompts of B objects of one image, in pixels of the encoder's input.

    x runs right and y down; the centre of the first pixel is (0, 0), as in SAM, which adds half a
    pixel to points and to the corners of boxes. What is None is not prompted.
    """

    points: Tensor | None = None
    """(B, P, 2) x and y, float32; with ``labels``."""
    labels: Tensor | None = None
    """(B, P) int64: 1 inside the object, 0 outside, -1 padding."""
    boxes: Tensor | None = None
    """(B, 4) x0, y0, x1, y1, float32."""
    masks: Tensor | None = None
    """(B, 1, 4h, 4w) logits at four times the size of the embedding, float32."""

    @property
    def count(self) -> int:
        """B; 1 where nothing is prompted."""
        given = next((p for p in (self.points, self.boxes, self.masks) if p is not None), None)
        return 1 if given is None else int(given.shape[0])


class Sam(nn.Module):
    """An image encoder, SAM's prompt encoder and SAM's mask decoder.

    ``bands`` are the common names of the input channels, in order.
    Invariants: ``decode`` of one embedding with B prompts gives what B calls with one prompt each
    give; at the native size both parts equal the authors' networks.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, base: str) -> None:
        """Build the base ``base`` at random weights, with a stem for red, green and blue."""
        super().__init__()
        chosen = _BASES[base]
        self.base = base
        self.bands: tuple[str, ...] = RGB
        self.stride = chosen.stride
        self.size_px = chosen.size_px
        size = chosen.encoder
        self.encoder: nn.Module = (
            ViTEncoder(size) if isinstance(size, ViTSize) else TinyViTEncoder(size)
        )
        config = SamConfig(
            vision_config={"num_pos_feats": EMBEDDING // 2},
            prompt_encoder_config={
                "image_size": chosen.size_px,
                "patch_size": chosen.stride,
                "hidden_size": EMBEDDING,
            },
            mask_decoder_config={"mlp_dim": chosen.mlp, "layer_norm_eps": _DECODER_EPS},
        )
        config.mask_decoder_config._attn_implementation = "sdpa"
        self.prompts: SamPromptEncoder = SamPromptEncoder(config)
        self.decoder: SamMaskDecoder = SamMaskDecoder(config.mask_decoder_config)
        _freeze_frequencies(self.prompts.shared_embedding)
        self.register_buffer("pixel_mean", torch.tensor(chosen.mean), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(chosen.std), persistent=False)

    def encode(self, pixels: Tensor) -> Tensor:
        """Embed frames, the slow half.

        Args:
            pixels: (N, C, H, W) in the base's units: (rgb in [0, 1] - ``pixel_mean``) /
                ``pixel_std``; C the bands the network was built for; sides multiples of
                ``stride``, not necessarily ``size_px``.

        Returns:
            (N, 256, H / stride, W / stride).

        Raises:
            GridMismatchError: a side is no multiple of ``stride``.
        """
        height, width = pixels.shape[-2:]
        if height % self.stride or width % self.stride:
            raise GridMismatchError(
                f"a frame is {height} x {width} px; {self.base} needs sides that are multiples "
                f"of {self.stride}. Pad it."
            )
        embedding: Tensor = self.encoder(pixels)
        return embedding

    def decode(
        self,
        embedding: Tensor,
        prompts: Prompts | None,
        *,
        multimask: bool = False,
        tokens: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw the masks of B prompted objects, the fast half.

        Args:
            embedding: (1, 256, h, w) of one frame for all objects, or (B, 256, h, w), one frame
                an object.
            prompts: of B objects; None or empty: SAM's embedding of "no mask" and no tokens.
            multimask: three masks an object (whole, part, subpart) rather than one.
            tokens: (B, T, 256) or (1, T, 256), further prompt tokens, put after those of points
                and boxes (a learned class, for instance).

        Returns:
            Logits (B, M, 4h, 4w) and predicted IoU (B, M); M is 3 with ``multimask``, else 1.
        """
        sparse, dense = self.embed_prompts(prompts, embedding, tokens=tokens)
        given = (self.decoder.iou_token.weight, self.decoder.mask_tokens.weight)
        outputs = torch.cat(given).expand(dense.shape[0], -1, -1)  # (B, 5, 256)
        asked = outputs if sparse is None else torch.cat([outputs, sparse], dim=1)
        alike = embedding.shape[0] == 1 and (prompts is None or prompts.masks is None)
        chosen = range(1, self.decoder.num_mask_tokens) if multimask else range(1)
        heads = self.decoder.output_hypernetworks_mlps
        masks, found = draw_masks(
            self.decoder,
            embedding + (dense[:1] if alike else dense),
            self.image_positions(embedding),
            asked,
            heads=[(1 + number, heads[number]) for number in chosen],
        )
        return masks, self.decoder.iou_prediction_head(found[:, 0])[:, list(chosen)]

    def embed_prompts(
        self, prompts: Prompts | None, embedding: Tensor, *, tokens: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor]:
        """Turn prompts into what the decoder takes.

        Args:
            prompts: as for ``decode``.
            embedding: (N, 256, h, w), for its size.
            tokens: as for ``decode``.

        Returns:
            Sparse tokens (B, T, 256) or None, and the dense embedding (B, 256, h, w).
        """
        prompts = prompts or Prompts()
        height, width = embedding.shape[-2:]
        count = max(prompts.count, embedding.shape[0], 1 if tokens is None else tokens.shape[0])
        sparse, dense = self.prompts(
            input_points=self._native(prompts.points, embedding),
            input_labels=None if prompts.labels is None else prompts.labels[:, None],
            input_boxes=self._native(prompts.boxes, embedding),
            input_masks=prompts.masks,
        )
        if prompts.masks is None:
            nothing = self.prompts.no_mask_embed.weight
            dense = nothing.reshape(1, -1, 1, 1).expand(count, -1, height, width)
        given = [] if sparse is None else [sparse[:, 0]]
        if tokens is not None:
            given.append(tokens)
        joined = torch.cat([t.expand(count, -1, -1) for t in given], dim=1) if given else None
        return joined, dense.expand(count, -1, -1, -1)

    def image_positions(self, embedding: Tensor) -> Tensor:
        """Positional embedding (1, 256, h, w) of the cells of an embedding (N, 256, h, w)."""
        features: Tensor = self.prompts.shared_embedding(centres(embedding))
        return features.permute(2, 0, 1)[None]

    def _native(self, pixels: Tensor | None, embedding: Tensor) -> Tensor | None:
        """Scale x and y (B, ..., 2 or 4) to the native frame; (B, 1, ..., 2 or 4).

        SAM takes positions as fractions of the frame, after it has added half a pixel.
        """
        if pixels is None:
            return None
        height, width = embedding.shape[-2:]
        native = self.size_px / self.stride
        if (height, width) != (native, native):
            scale = pixels.new_tensor([native / width, native / height])
            scale = scale.repeat(pixels.shape[-1] // 2)
            pixels = (pixels + 0.5) * scale - 0.5
        return pixels[:, None]


def _freeze_frequencies(embedding: SamPositionalEmbedding) -> None:
    """Make SAM's random frequencies a buffer again, at the authors' scale of 1."""
    frequencies = torch.randn_like(embedding.positional_embedding.detach())
    del embedding.positional_embedding
    embedding.register_buffer("positional_embedding", frequencies)


def build_sam(
    base: str,
    *,
    bands: Sequence[str] = RGB,
    state: Mapping[str, Tensor] | None = None,
    source: str | None = None,
) -> Sam:
    """Build a SAM.

    Args:
        base: one of ``BASES``.
        bands: common names of the input channels, in order; where they are not red, green and
            blue, the patch embedding is inflated (``models.inflate``) after loading.
        state: tensors under their authors' names, for red, green and blue
            (``checkpoint.ours_from_authors``); None for a random start.
        source: where ``state`` comes from, for messages.

    Raises:
        UnknownNameError: no such base.
        FormatError: ``state`` does not fit, key by key and shape by shape.
    """
    if base not in _BASES:
        raise UnknownNameError.of("SAM base", base, BASES)
    sam = Sam(base)
    if state is not None:
        load_sam(sam, state, source=source or f"weights of {base}")
    spread_stem(sam.encoder, bands)
    sam.bands = tuple(bands)
    return sam


def load_sam(sam: Sam, state: Mapping[str, Tensor], *, source: str) -> None:
    """Give ``sam``, built for red, green and blue, tensors under their authors' names, in place.

    Raises:
        FormatError: a tensor is missing, unexpected or of another shape.
    """
    sam.load_state_dict(ours_from_authors(state, own=sam.state_dict(), source=source))
