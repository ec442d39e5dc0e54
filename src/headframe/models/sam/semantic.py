"""Semantic segmentation with SAM: learned class tokens in place of prompts (methods 2.4)."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from headframe.core.errors import RecipeError
from headframe.models.inflate import RGB
from headframe.models.sam.maskdecoder import draw_masks
from headframe.models.sam.network import Sam, build_sam
from headframe.models.sam.peft import adapt

_LEVEL, _SPREAD = 0.45, 0.2
_STRIDE = 32
"""Sides of frames are multiples of this: every encoder takes them."""

_UNASKED = ("point_embed", "not_a_point_embed", "mask_embed")
"""Parts of the prompt encoder that nothing reaches without prompts."""


class SamSeg(nn.Module):
    """Logits of K classes a pixel from a SAM that nobody prompts.

    The mask decoder runs with SAM's embedding of "no mask", its IoU token, and K learned class
    tokens where SAM has its mask tokens; a hypernetwork a class turns what becomes of the token
    into the weights of its mask. Tokens and hypernetworks start as copies of SAM's own: one class
    from those of the single mask, more from those of the three ambiguous masks in turn. What SAM
    needs for prompts and for rating its masks is left out.

    Attributes:
        sam: the adapted network.
        trained: keys of ``state_dict`` that training changes: class tokens, hypernetworks, and what
            the method trains of ``sam``; with ``full`` all there is.
        pretrained: keys among them of tensors that came with the base: they want smaller steps
            than class tokens, adapters and low-rank updates, which are new.
    """

    _scale: Tensor
    _offset: Tensor

    def __init__(
        self,
        sam: Sam,
        out_channels: int,
        *,
        bands: Sequence[str],
        reduce: int = 1,
        trained: frozenset[str] = frozenset(),
        known: frozenset[str] = frozenset(),
    ) -> None:
        """Wrap ``sam``, built for ``bands`` and adapted.

        Args:
            sam: the network; its mask tokens and hypernetworks move out of it.
            out_channels: K.
            bands: common names of its input channels.
            reduce: the network looks at pixels this many times coarser; 1 is off.
            trained: keys of ``sam.state_dict()`` that are trained, from ``peft.adapt``.
            known: keys of ``sam.state_dict()`` before it was adapted.
        """
        super().__init__()
        self.reduce = reduce
        tokens, heads = _take_outputs(sam.decoder)
        for name in _UNASKED:
            delattr(sam.prompts, name)
        source = (
            [0] if out_channels == 1 else [1 + k % (len(heads) - 1) for k in range(out_channels)]
        )
        self.tokens = nn.Parameter(tokens[source].detach().clone())  # (K, 256)
        self.heads = nn.ModuleList(copy.deepcopy(heads[index]) for index in source)
        self.sam = sam
        mean, std = (_of_bands(v, bands) for v in (sam.pixel_mean, sam.pixel_std))
        self.register_buffer("_scale", _SPREAD / std, persistent=False)
        self.register_buffer("_offset", (_LEVEL - mean) / std, persistent=False)
        own = frozenset(self.state_dict())
        kept = {f"sam.{name}" for name in trained} & own
        outputs = {name for name in own if not name.startswith("sam.")}
        self.trained = frozenset(kept | outputs)
        came = {f"sam.{name}" for name in known} & kept
        self.pretrained = frozenset(came | {name for name in outputs if name.startswith("heads.")})

    @property
    def encoder_names(self) -> frozenset[str]:
        """Keys of ``state_dict`` that ``encode`` goes by."""
        return frozenset(key for key in self.state_dict() if key.startswith("sam.encoder."))

    def forward(self, pixels: Tensor) -> Tensor:
        """Score pixels.

        Args:
            pixels: (N, C, H, W), mean 0 and deviation 1 over the training pixels; H and W
                multiples of ``reduce``.

        Returns:
            Logits (N, K, H, W).
        """
        return self.decode(self.encode(pixels), (pixels.shape[-2], pixels.shape[-1]))

    def encode(self, pixels: Tensor) -> Tensor:
        """Embed pixels, the slow half.

        A band's mean becomes 0.45 and a standard deviation 0.2 of the range [0, 1] of a
        photograph, which is where LiteMedSAM's and ImageNet's pixels lie; then the base's own
        standardisation follows. Right and bottom are filled up with 0 to multiples of 32, as its
        authors fill up frames.

        Args:
            pixels: as for ``forward``.

        Returns:
            (N, 256, h, w), h = H / (``reduce`` * stride), rounded up to whole frames.
        """
        coarse = functional.avg_pool2d(pixels, self.reduce) if self.reduce > 1 else pixels
        frame = coarse * self._scale.view(1, -1, 1, 1) + self._offset.view(1, -1, 1, 1)
        height, width = frame.shape[-2:]
        return self.sam.encode(functional.pad(frame, (0, -width % _STRIDE, 0, -height % _STRIDE)))

    def decode(self, embedding: Tensor, size: tuple[int, int]) -> Tensor:
        """Score embeddings, the fast half.

        Args:
            embedding: (N, 256, h, w), from ``encode``.
            size: (H, W) of the pixels that were embedded.

        Returns:
            Logits (N, K, H, W), from those at (4h, 4w) by bilinear interpolation.
        """
        count, _, rows, cols = embedding.shape
        tokens = torch.cat([self.sam.decoder.iou_token.weight, self.tokens])  # (1 + K, 256)
        _, dense = self.sam.embed_prompts(None, embedding)
        logits, _ = draw_masks(
            self.sam.decoder,
            embedding + dense,
            self.sam.image_positions(embedding),
            tokens.expand(count, -1, -1),
            heads=[(1 + index, head) for index, head in enumerate(self.heads)],
        )
        side = self.sam.stride * self.reduce
        full = functional.interpolate(
            logits, size=(rows * side, cols * side), mode="bilinear", align_corners=False
        )
        return full[..., : size[0], : size[1]]


def _take_outputs(decoder: nn.Module) -> tuple[Tensor, nn.ModuleList]:
    """Take mask tokens (4, 256) and hypernetworks out of SAM's decoder, and its IoU head off."""
    tokens = decoder.get_parameter("mask_tokens.weight")
    heads = decoder.get_submodule("output_hypernetworks_mlps")
    assert isinstance(heads, nn.ModuleList)  # transformers builds it so
    for name in ("mask_tokens", "output_hypernetworks_mlps", "iou_prediction_head"):
        delattr(decoder, name)
    return tokens, heads


def _of_bands(values: Tensor, bands: Sequence[str]) -> Tensor:
    """The base's value of every band: that of its colour, of other bands the mean of the three."""
    mean = values.mean()
    return torch.stack([values[RGB.index(band)] if band in RGB else mean for band in bands])


def build_sam_seg(  # noqa: PLR0913 - each is an option that a recipe may give
    bands: Sequence[str],
    out_channels: int,
    *,
    base: str = "litemedsam",
    peft: str = "decoder",
    rank: int = 4,
    ratio: float = 0.25,
    reduce: int = 1,
    encoder_state: Mapping[str, Tensor] | None = None,
) -> nn.Module:
    """Build a SAM for segmentation (N, C, H, W) -> logits (N, K, H, W).

    Args:
        bands: common names of the C input channels, in order; other bands than red, green and blue
            inflate the patch embedding, which is then trained.
        out_channels: K; 1 for two classes (logit of the target).
        base: one of ``models.sam.BASES``.
        peft: what is trained of it, one of ``models.sam.peft.METHODS``.
        rank: of ``lora`` and ``convlora``.
        ratio: of ``adapter``, width of a bottleneck over that of its block.
        reduce: the network looks at pixels this many times coarser; 1 is off.
        encoder_state: tensors of the whole base under its authors' names; None is a random start.

    Raises:
        UnknownNameError: no such base or method.
        RecipeError: ``rank``, ``ratio`` or ``reduce`` is out of range.
        FormatError: ``encoder_state`` does not fit the base.
    """
    if reduce < 1:
        raise RecipeError(f"model.options.reduce is {reduce}; give 1 or more.")
    sam = build_sam(base, bands=bands, state=encoder_state)
    known = frozenset(sam.state_dict())
    trained = adapt(sam, peft, rank=rank, ratio=ratio)
    if peft == "full":
        trained = frozenset(sam.state_dict())  # nothing of the base is left to point to
    return SamSeg(sam, out_channels, bands=bands, reduce=reduce, trained=trained, known=known)
