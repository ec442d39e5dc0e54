"""SAM's image encoders: ViT (Kirillov et al. 2023) and TinyViT (MobileSAM, LiteMedSAM).

All of them map pixels (N, 3, H, W) in the base's own units to an embedding (N, 256, H / stride,
W / stride). Blocks come from transformers and timm; here is what those leave out: frames of any
size, and the two changes that MobileSAM and LiteMedSAM made to TinyViT.
"""

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from timm.models.tiny_vit import Attention, ConvLayer, ConvNorm, PatchMerging, TinyVitStage
from torch import Tensor, nn
from transformers import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionEncoder, SamVisionNeck

from headframe.models.inflate import RGB
from headframe.models.sam.positions import resize_table

EMBEDDING = 256
"""Channels of every embedding."""


@dataclass(frozen=True)
class ViTSize:
    """A ViT of SAM."""

    width: int
    """Channels of a token."""
    depth: int
    """Blocks."""
    heads: int
    global_blocks: tuple[int, ...]
    """Blocks that attend over the whole frame; all others over windows."""
    frame_px: int = 1024
    patch_px: int = 16
    window: int = 14
    """Side of a window in patches."""


class ViTEncoder(nn.Module):
    """SAM's ViT with relative positions, for frames of any size.

    At the native size it is transformers' ``SamVisionEncoder`` (the authors' network). At other
    sizes the absolute positions are resized (``positions.resize_table``) and the relative ones of
    the global blocks linearly, by transformers' attention; windows stay as they are.
    """

    def __init__(self, size: ViTSize) -> None:
        """Build at random weights, positions included."""
        super().__init__()
        config = SamVisionConfig(
            hidden_size=size.width,
            num_hidden_layers=size.depth,
            num_attention_heads=size.heads,
            global_attn_indexes=list(size.global_blocks),
            image_size=size.frame_px,
            patch_size=size.patch_px,
            window_size=size.window,
            output_channels=EMBEDDING,
            initializer_range=0.02,  # transformers' 1e-10 is for networks that are then loaded
        )
        body = SamVisionEncoder(config)
        self.patch_embed: nn.Conv2d = body.patch_embed.projection
        self.pos_embed: nn.Parameter = body.pos_embed
        self.layers: nn.ModuleList = body.layers
        self.neck: SamVisionNeck = body.neck
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed pixels (N, C, H, W), sides multiples of the patch; (N, 256, h, w)."""
        # oneDNN 3.13 gets 16 x 16 kernels of 4, 6, 8 and more bands wrong in bf16 where AMX is.
        on_cpu = pixels.device.type == "cpu"
        with torch.autocast("cpu", enabled=False) if on_cpu else nullcontext():
            embedded = self.patch_embed(pixels.to(self.patch_embed.weight.dtype))
        hidden = embedded.permute(0, 2, 3, 1)  # (N, h, w, width)
        height, width = hidden.shape[1:3]
        hidden = hidden + resize_table(self.pos_embed, (height, width))
        for layer in self.layers:
            hidden = layer(hidden)
        embedding: Tensor = self.neck(hidden)
        return embedding


@dataclass(frozen=True)
class TinyViTSize:
    """A TinyViT under SAM's neck."""

    stem_kernel: int
    """Side of the two convolutions of the stem, 3 or 1."""
    stem_stride: int
    """Stride of each of the two."""
    widths: tuple[int, ...] = (64, 128, 160, 320)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (2, 4, 5, 10)
    windows: tuple[int, ...] = (7, 7, 14, 7)


class TinyViTEncoder(nn.Module):
    """TinyViT-5M under SAM's neck, as MobileSAM and LiteMedSAM have it, for frames of any size.

    Against timm's TinyViT the last stage keeps the resolution (stride 1), and LiteMedSAM's stem
    is two 1 x 1 convolutions of stride 1. Queries, keys and values of an attention lie in one
    layer, head by head: rows of ``qkv`` are (head, [query | key | value], channel).
    """

    def __init__(self, size: TinyViTSize) -> None:
        """Build at random weights."""
        super().__init__()
        first = size.widths[0]
        kernel, stride = size.stem_kernel, size.stem_stride
        self.stem = nn.Sequential(
            ConvNorm(len(RGB), first // 2, kernel, stride, kernel // 2),
            nn.GELU(),
            ConvNorm(first // 2, first, kernel, stride, kernel // 2),
        )
        self.stages = nn.Sequential(ConvLayer(first, size.depths[0], nn.GELU))
        for number in range(1, len(size.widths)):
            self.stages.append(_stage(size, number))
        self.neck = SamVisionNeck(
            SamVisionConfig(hidden_size=size.widths[-1], output_channels=EMBEDDING)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed pixels (N, C, H, W), sides multiples of the stride; (N, 256, h, w)."""
        hidden = self.stages(self.stem(pixels))  # (N, 320, h, w)
        embedding: Tensor = self.neck(hidden.permute(0, 2, 3, 1))
        return embedding


class _Widening(PatchMerging):
    """timm's merging of patches at stride 1: more channels, the same resolution."""

    def __init__(
        self,
        dim: int,
        out_dim: int,
        act_layer: type[nn.Module],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(dim, out_dim, act_layer, device, dtype)
        self.conv2 = ConvNorm(out_dim, out_dim, 3, 1, 1, groups=out_dim, device=device, dtype=dtype)


class _Attention(Attention):
    """timm's attention without its cache of biases.

    The cache outlives ``load_state_dict`` and holds tensors of inference mode, which a later pass
    with gradients cannot use.
    """

    attention_bias_idxs: Tensor

    def get_attention_biases(self, device: torch.device) -> Tensor:
        return self.attention_biases[:, self.attention_bias_idxs].to(device)


def _stage(size: TinyViTSize, number: int) -> TinyVitStage:
    width, heads, window = size.widths[number], size.heads[number], size.windows[number]
    last = number == len(size.widths) - 1
    stage = TinyVitStage(
        size.widths[number - 1],
        width,
        size.depths[number],
        heads,
        window,
        downsample=_Widening if last else PatchMerging,
    )
    for block in stage.blocks:
        block.attn = _Attention(
            width, width // heads, heads, attn_ratio=1, resolution=(window, window)
        )
    return stage
