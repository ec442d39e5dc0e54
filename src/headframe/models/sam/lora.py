"""Low-rank updates of queries and values in encoders whose q, k and v are one matrix.

LoRA (Hu et al. 2021) as SAMed (Zhang & Liu 2023) places it: on q and v of every block, never on k.
The encoders of SAM keep q, k and v in one linear layer, in one of two orders (``QkvLayout``). The
update is a submodule ``lora`` of that layer, added by a forward hook, so that the names of the
base's tensors stay as they are.
"""

from dataclasses import dataclass

import torch
from timm.models.tiny_vit import Attention as TinyVitAttention
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.sam.modeling_sam import SamVisionAttention

from headframe.core.errors import JobError, RecipeError

SCALES = (1, 2, 4)


@dataclass(frozen=True)
class QkvLayout:
    """Order of the 3 D output rows of a fused qkv layer, D = heads times d.

    Attributes:
        heads: attention heads.
        interleaved: TinyViT: for each head d rows of q, d of k, d of v. Else, as in SAM's ViT:
            all D rows of q, then of k, then of v, each head by head.
        window: rows and columns of a window whose tokens reach the layer as one axis (TinyViT);
            None where they come as a picture.
    """

    heads: int
    interleaved: bool
    window: tuple[int, int] | None = None

    def parts(self, rows: Tensor) -> Tensor:
        """View rows (3 D, ...) as (3, heads, d, ...): q, k, v in that order; shares memory."""
        per_head = rows.shape[0] // (3 * self.heads)
        if self.interleaved:
            return rows.view(self.heads, 3, per_head, *rows.shape[1:]).transpose(0, 1)
        return rows.view(3, self.heads, per_head, *rows.shape[1:])

    def join(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Put three (..., D) into the order of the layer's output; (..., 3 D)."""
        if not self.interleaved:
            return torch.cat((q, k, v), dim=-1)
        by_head = [part.view(*part.shape[:-1], self.heads, -1) for part in (q, k, v)]
        return torch.stack(by_head, dim=-2).flatten(-3)  # (..., heads, 3, d) -> (..., 3 D)


def layout_of(attention: nn.Module) -> QkvLayout:
    """Tell the layout of an attention's ``qkv``.

    Raises:
        TypeError: neither SAM's attention nor TinyViT's.
    """
    if isinstance(attention, SamVisionAttention):
        return QkvLayout(int(attention.num_attention_heads), interleaved=False)
    if isinstance(attention, TinyVitAttention):
        return QkvLayout(attention.num_heads, interleaved=True, window=attention.resolution)
    raise TypeError(f"the order of q, k and v in {type(attention).__name__} is not known")


class LowRank(nn.Module):
    """The update x -> B A x of one part, q or v.

    A is drawn as torch draws a linear layer, B starts at zero, and there is no further factor (in
    LoRA's terms alpha = rank), so at the start the update is exactly zero.
    """

    def __init__(self, dim: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(dim, rank, bias=False)  # A
        self.up = nn.Linear(rank, dim, bias=False)  # B
        nn.init.zeros_(self.up.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Update for tokens (..., dim); same shape."""
        update: Tensor = self.up(self.down(tokens))
        return update

    def matrix(self) -> Tensor:
        """B A, (dim, dim): what merging adds to the base's rows."""
        return self.up.weight @ self.down.weight


class ConvLowRank(LowRank):
    """The update x -> B (z + sum_i g_i E_i(z)), z = A x: Conv-LoRA (Zhong et al. 2024).

    Expert E_i enlarges z bilinearly by its scale, convolves 3 x 3 (rank to rank) and averages back.
    The weights g are a softmax over a linear function of the mean of z over the tokens that the
    layer sees at once: the image, or one window where the block attends within windows.
    We weigh all experts where the authors pick one with noise and balance the load by a further
    loss: with three experts of a few hundred numbers nothing is saved by leaving any out, and the
    answer to an image is always the same.
    """

    def __init__(self, dim: int, rank: int, window: tuple[int, int] | None = None) -> None:
        super().__init__(dim, rank)
        self.window = window
        self.gate = nn.Linear(rank, len(SCALES))
        self.experts = nn.ModuleList(nn.Conv2d(rank, rank, 3, padding=1) for _ in SCALES)

    def forward(self, tokens: Tensor) -> Tensor:
        """Update for tokens (n, h, w, dim), or (n, h * w, dim) of a ``window``; same shape."""
        z = self.down(tokens)
        picture = z if self.window is None else z.view(z.shape[0], *self.window, -1)
        grid = picture.permute(0, 3, 1, 2)  # (n, rank, h, w)
        weights = self.gate(grid.mean(dim=(2, 3))).softmax(dim=-1)  # (n, experts)
        mixed = grid
        for i, (scale, expert) in enumerate(zip(SCALES, self.experts, strict=True)):
            mixed = mixed + weights[:, i, None, None, None] * _at_scale(expert, grid, scale)
        update: Tensor = self.up(mixed.permute(0, 2, 3, 1).reshape(z.shape))
        return update


def _at_scale(expert: nn.Module, grid: Tensor, scale: int) -> Tensor:
    """Apply a convolution to (n, c, h, w) as if it were ``scale`` times larger."""
    if scale == 1:
        plain: Tensor = expert(grid)
        return plain
    enlarged = F.interpolate(grid, scale_factor=scale, mode="bilinear", align_corners=False)
    return F.avg_pool2d(expert(enlarged), scale)


class QvUpdate(nn.Module):
    """Updates of q and of v of one fused layer.

    Attributes:
        layout: order of the rows of the layer.
        merged: the base's weight holds the update already.
    """

    def __init__(self, layout: QkvLayout, dim: int, rank: int, *, convolve: bool) -> None:
        super().__init__()

        def part() -> LowRank:
            return ConvLowRank(dim, rank, layout.window) if convolve else LowRank(dim, rank)

        self.q = part()
        self.v = part()
        self.layout = layout
        self.merged = False

    def forward(self, tokens: Tensor) -> Tensor:
        """Update (..., 3 D) for tokens (..., D), zero in the rows of k."""
        q, v = self.q(tokens), self.v(tokens)
        return self.layout.join(q, torch.zeros_like(q), v)


def add_lora(attention: nn.Module, rank: int, *, convolve: bool) -> None:
    """Give an attention's ``qkv`` an update of q and v, in place.

    Args:
        attention: SAM's or TinyViT's, with a linear layer ``qkv``.
        rank: r; 4 D r numbers are added without convolutions.
        convolve: Conv-LoRA instead of LoRA.
    """
    qkv = attention.get_submodule("qkv")
    if not isinstance(qkv, nn.Linear):
        raise TypeError(f"qkv is {type(qkv).__name__}, not a linear layer")
    update = QvUpdate(layout_of(attention), qkv.in_features, rank, convolve=convolve)
    qkv.add_module("lora", update.to(qkv.weight))
    qkv.register_forward_hook(_add_update)


def _add_update(qkv: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    update = qkv.lora
    assert isinstance(update, QvUpdate)  # add_lora put it there
    if not update.merged:
        added: Tensor = output + update(inputs[0])
        return added
    if qkv.training:
        raise JobError("LoRA is merged into the weights of this network; unmerge it to train on.")
    return output


def merge_lora(root: nn.Module) -> None:
    """Add every update to its base's weight, in place; nothing where it is merged already.

    Rows of k are not touched: they stay equal to the base to the bit.

    Raises:
        RecipeError: there is no LoRA in ``root``, or it is Conv-LoRA.
    """
    for weight, update in _mergeable(root):
        if not update.merged:
            _shift(weight, update, sign=1)


def unmerge_lora(root: nn.Module) -> None:
    """Take every update off its base's weight again; the weight is as before to rounding.

    Raises:
        RecipeError: as ``merge_lora``.
    """
    for weight, update in _mergeable(root):
        if update.merged:
            _shift(weight, update, sign=-1)


def _mergeable(root: nn.Module) -> list[tuple[Tensor, QvUpdate]]:
    found = [
        (module.weight, update)
        for module in root.modules()
        if isinstance(module, nn.Linear)
        and isinstance(update := getattr(module, "lora", None), QvUpdate)
    ]
    if not found:
        raise RecipeError("this network has no LoRA to merge; adapt it with peft: lora first.")
    if any(isinstance(update.q, ConvLowRank) for _, update in found):
        raise RecipeError(
            "Conv-LoRA cannot be merged: its convolutions mix tokens by what the image shows, "
            "which no weight of a linear layer does. Use the network as it is, or peft: lora."
        )
    return found


@torch.no_grad()
def _shift(weight: Tensor, update: QvUpdate, *, sign: int) -> None:
    parts = update.layout.parts(weight)  # (3, heads, d, D), q, k, v
    for part, low_rank in ((parts[0], update.q), (parts[2], update.v)):
        part.add_(low_rank.matrix().view_as(part), alpha=sign)
    update.merged = sign > 0
