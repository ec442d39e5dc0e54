"""SAM's mask decoder on the weights of transformers' modules, in an order that costs less.

A frame has thousands of cells and an object has about eight tokens, yet SAM projects every cell
to keys, values and queries of each attention between the two. Products of matrices may be
regrouped: here the tokens are carried to the space of the cells instead, so that cells are only
ever multiplied by a few vectors a head, and nothing is split into heads and copied. Transposed
convolutions whose strides equal their kernels are products too. All of it equals transformers'
modules up to rounding, with its gradients, and takes about half the time on CPUs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.sam.modeling_sam import (
    SamAttention,
    SamMaskDecoder,
    SamTwoWayAttentionBlock,
    SamTwoWayTransformer,
)


def draw_masks(
    decoder: SamMaskDecoder,
    image: Tensor,
    positions: Tensor,
    tokens: Tensor,
    *,
    heads: Sequence[tuple[int, nn.Module]],
) -> tuple[Tensor, Tensor]:
    """Run the decoder: tokens and image attend to each other, then masks are drawn.

    Args:
        decoder: the weights.
        image: (N, 256, h, w), image embedding with the dense prompt; N is B, or 1 for the same
            image for all objects.
        positions: (1, 256, h, w), positional embedding of the cells.
        tokens: (B, T, 256), output tokens, then those of prompts.
        heads: for each of M masks the number of its token and its hypernetwork.

    Returns:
        Logits (B, M, 4h, 4w), and what became of the tokens (B, T, 256).
    """
    height, width = image.shape[-2:]
    cells = image.flatten(2).transpose(1, 2).contiguous()  # (N, h * w, 256)
    places = positions.flatten(2).transpose(1, 2)  # (1, h * w, 256)
    found, cells = attend_both_ways(decoder.transformer, tokens, cells, places)
    weights = torch.stack([head(found[:, number]) for number, head in heads], dim=1)
    masks = [  # one object at a time: what is drawn on is large
        _drawn(decoder, own[None], weight[None], (height, width))
        for own, weight in zip(cells, weights, strict=True)
    ]
    return torch.cat(masks), found


def attend_both_ways(
    transformer: SamTwoWayTransformer, tokens: Tensor, cells: Tensor, places: Tensor
) -> tuple[Tensor, Tensor]:
    """Let tokens and cells attend to each other.

    Args:
        transformer: the weights.
        tokens: (B, T, 256).
        cells: (N, L, 256), N is B or 1.
        places: (1, L, 256), positions of the cells.

    Returns:
        (B, T, 256) and (B, L, 256).
    """
    queries = tokens
    placed = cells + places
    for layer in transformer.layers:
        queries = _self_attended(layer, queries, tokens)
        seen = look_up(layer.cross_attn_token_to_image, queries + tokens, placed, cells)
        queries = layer.layer_norm2(queries + seen)
        queries = layer.layer_norm3(queries + layer.mlp(queries))
        told = spread(layer.cross_attn_image_to_token, placed, queries + tokens, queries)
        cells = layer.layer_norm4(cells + told)
        placed = cells + places
    seen = look_up(transformer.final_attn_token_to_image, queries + tokens, placed, cells)
    return transformer.layer_norm_final_attn(queries + seen), cells


def look_up(attention: SamAttention, asking: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attend from tokens to cells; equals ``attention(asking, keys, values)``.

    A query meets a key as q . (W k + b) = (W^T q) . k + q . b. Weights sum to 1, so values are
    projected after they are summed.

    Args:
        attention: the weights, of H heads.
        asking: (B, T, C).
        keys: (N, L, C), N is B or 1.
        values: (N, L, C).

    Returns:
        (B, T, C).
    """
    count, number = asking.shape[:2]
    heads = attention.num_attention_heads
    query = attention.q_proj(asking).view(count, number, heads, -1) * attention.scaling
    carried, offset = _carried(query, attention.k_proj)
    scores = carried @ keys.transpose(1, 2) + offset  # (B, H * T, L)
    summed = scores.softmax(dim=-1).to(values.dtype) @ values  # (B, H * T, C)
    to_value = attention.v_proj.weight.view(heads, -1, values.shape[-1])
    summed = summed.view(count, heads, number, -1)
    found = torch.einsum("bhtc,hdc->bthd", summed, to_value).flatten(2)
    told: Tensor = attention.out_proj(found + attention.v_proj.bias)
    return told


def spread(attention: SamAttention, asking: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attend from cells to tokens; equals ``attention(asking, keys, values)``.

    A cell meets a key as (W a + b) . k = a . (W^T k) + b . k, and a value leaves through the output
    projection before it is summed, not after.

    Args:
        attention: the weights, of H heads.
        asking: (N, L, C), cells; N is B or 1.
        keys: (B, T, C), tokens.
        values: (B, T, C).

    Returns:
        (B, L, C).
    """
    count, number, width = keys.shape
    heads = attention.num_attention_heads
    key = attention.k_proj(keys).view(count, number, heads, -1) * attention.scaling
    value = attention.v_proj(values).view(count, number, heads, -1)  # (B, T, H, d)
    carried, offset = _carried(key, attention.q_proj)
    scores = carried @ asking.transpose(1, 2) + offset  # (B, H * T, L)
    weights = scores.view(count, heads, number, -1).softmax(dim=2).flatten(1, 2)
    to_output = attention.out_proj.weight.view(width, heads, -1)  # (C, H, d)
    leaving = torch.einsum("bthd,chd->bhtc", value, to_output).flatten(1, 2)  # (B, H * T, C)
    # The weights of a head sum to 1: each row of a head may carry its share of the bias.
    told: Tensor = weights.to(leaving.dtype).transpose(1, 2) @ (
        leaving + attention.out_proj.bias / heads
    )
    return told


def _carried(tokens: Tensor, projection: nn.Linear) -> tuple[Tensor, Tensor]:
    """Carry tokens of heads (B, T, H, d) to the space that ``projection`` projects from.

    Returns:
        (B, H * T, C), and what the projection's bias adds to each product, (B, H * T, 1).
    """
    heads, depth = tokens.shape[2:]
    matrix = projection.weight.view(heads, depth, -1)  # (H, d, C)
    carried = torch.einsum("bthd,hdc->bhtc", tokens, matrix).flatten(1, 2)
    offset = torch.einsum("bthd,hd->bht", tokens, projection.bias.view(heads, depth))
    return carried, offset.flatten(1)[..., None]


def _self_attended(layer: SamTwoWayAttentionBlock, queries: Tensor, tokens: Tensor) -> Tensor:
    """The tokens' attention to each other, (B, T, 256); transformers wants an axis more."""
    own = queries if layer.skip_first_layer_pe else queries + tokens
    found, _ = layer.self_attn(own[:, None], own[:, None], queries[:, None])
    mixed = found[:, 0] if layer.skip_first_layer_pe else queries + found[:, 0]
    normed: Tensor = layer.layer_norm1(mixed)
    return normed


def _drawn(
    decoder: SamMaskDecoder, cells: Tensor, weights: Tensor, size: tuple[int, int]
) -> Tensor:
    """Enlarge cells (B, h * w, 256) fourfold and weigh their channels.

    Args:
        decoder: the weights.
        cells: (B, h * w, 256).
        weights: (B, M, 32), from the hypernetworks.
        size: (h, w).

    Returns:
        Logits (B, M, 4h, 4w).
    """
    count, masks = weights.shape[:2]
    norm = decoder.upscale_layer_norm
    twice = _quartered(decoder.upscale_conv1, cells)  # (B, h * w * 4, 64)
    twice = functional.layer_norm(twice, twice.shape[-1:], norm.weight, norm.bias, norm.eps)
    fourfold = _quartered(decoder.upscale_conv2, decoder.activation(twice))  # (B, h * w * 16, 32)
    flat = decoder.activation(fourfold) @ weights.transpose(1, 2)  # (B, h * w * 16, M)
    nested = flat.view(count, *size, 2, 2, 2, 2, masks)  # rows and columns in two steps
    height, width = 4 * size[0], 4 * size[1]
    drawn: Tensor = nested.permute(0, 7, 1, 3, 5, 2, 4, 6).reshape(count, masks, height, width)
    return drawn


def _quartered(convolution: nn.ConvTranspose2d, cells: Tensor) -> Tensor:
    """Turn each of (B, L, C) into 2 x 2 cells, row by row: (B, L * 4, c)."""
    assert convolution.bias is not None  # transformers builds it so
    matrix = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (4 * c, C)
    parts = functional.linear(cells, matrix).add_(convolution.bias.repeat(4))
    return parts.view(len(cells), -1, convolution.out_channels)
