"""Adapters of the Medical SAM Adapter, in SAM's blocks and in TinyViT's.

Med-SA (Wu et al. 2023), without its branch for volumes. With S(x) = U GELU(D x + d) + u, a block of
SAM's ViT becomes

    a = attention(norm1(x));  y = x + a + S1(a);  z = norm2(y);  out = y + mlp(z) + 0.5 S2(z)

TinyViT has a convolution between the two halves and the norms within them; there

    a = attention(x);  y = conv(x + a + S1(a));  out = y + mlp(y) + 0.5 S2(norm(y))

where ``norm`` is the one that ``mlp`` begins with, so that S2 reads what the mlp's first matrix
reads, as in SAM's. U and u start at zero: at the start nothing changes.
"""

from collections.abc import Sequence

from torch import Tensor, nn

MLP_SCALE = 0.5


class Bottleneck(nn.Module):
    """S(x): a linear layer down, GELU, a linear layer up that starts at zero."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.down = nn.Linear(dim, width)
        self.act = nn.GELU()
        self.up = nn.Linear(width, dim)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Update for tokens (..., dim); same shape."""
        update: Tensor = self.up(self.act(self.down(tokens)))
        return update


def add_adapters(block: nn.Module, ratio: float) -> None:
    """Give a block its two adapters, in place.

    They are submodules ``adapter`` of its ``attn`` and its ``mlp``, added by forward hooks; the
    names of the base's tensors stay as they are.

    Args:
        block: SAM's or TinyViT's, with ``attn.proj`` and ``mlp``.
        ratio: width of the bottleneck over the block's, > 0; at least one number is kept.
    """
    proj = block.get_submodule("attn.proj")
    if not isinstance(proj, nn.Linear):
        raise TypeError(f"attn.proj is {type(proj).__name__}, not a linear layer")
    dim = proj.out_features
    width = max(1, round(dim * ratio))
    for name, hook in (("attn", _after_attention), ("mlp", _beside_mlp)):
        half = block.get_submodule(name)
        half.add_module("adapter", Bottleneck(dim, width).to(proj.weight))
        half.register_forward_hook(hook)


def _after_attention(attention: nn.Module, _inputs: object, output: object) -> object:
    adapter = attention.get_submodule("adapter")
    if isinstance(output, Tensor):
        return output + adapter(output)
    if not isinstance(output, Sequence):
        raise TypeError(f"attention gives {type(output).__name__}")
    return (output[0] + adapter(output[0]), *output[1:])  # transformers adds the weights


def _beside_mlp(mlp: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    norm = getattr(mlp, "norm", None)
    tokens = inputs[0] if norm is None else norm(inputs[0])
    added: Tensor = output + MLP_SCALE * mlp.get_submodule("adapter")(tokens)
    return added
