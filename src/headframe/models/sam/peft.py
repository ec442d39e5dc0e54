"""Ways to adapt a SAM to new images, by how much of it is trained (methods 2.3).

=========== ======================================================= ==================
method      what is trained                                         of the encoder
=========== ======================================================= ==================
none        nothing here; only what a caller adds (tokens, heads)   nothing
decoder     mask decoder                                            nothing
lora        mask decoder, low-rank updates of q and v               ``lora``
convlora    mask decoder, the same with convolutions between        ``lora``
adapter     mask decoder, two adapters a block (Med-SA)             ``adapter``
full        everything, running statistics of batch norms too       everything
=========== ======================================================= ==================

The patch embedding is trained as well, except by ``none``, where it was inflated to other bands.
Prompts are encoded by SAM's own encoder, which only ``full`` trains; SAMed trains it too, whose
one tensor without prompts is the embedding of "no mask".
"""

from collections.abc import Iterator

import torch
from timm.models.tiny_vit import TinyVitBlock
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers.models.sam.modeling_sam import SamVisionLayer

from headframe.core.errors import RecipeError, UnknownNameError
from headframe.models.inflate import RGB
from headframe.models.sam.adapters import Bottleneck, add_adapters
from headframe.models.sam.lora import QvUpdate, add_lora, merge_lora, unmerge_lora
from headframe.models.sam.network import Sam

METHODS = ("none", "decoder", "lora", "adapter", "convlora", "full")
_PARTS = {"lora": ".lora.", "convlora": ".lora.", "adapter": ".adapter."}


def adapt(
    sam: Sam, method: str, *, rank: int = 4, ratio: float = 0.25, seed: int = 0
) -> frozenset[str]:
    """Add what a method adds to ``sam``, in place, and freeze all that it does not train.

    What is added has no effect until it is trained: outputs are the same to the bit. The names of
    the base's own tensors do not change. Load the base's weights before, trained ones after.

    Args:
        sam: a network not adapted yet; parameters that are not trained lose their gradients.
        method: one of ``METHODS``.
        rank: r of ``lora`` and ``convlora``, >= 1; from 1 to 16 is usual.
        ratio: width of an adapter over that of its block, > 0.
        seed: of the random numbers that new parts start from; torch's own are left alone.

    Returns:
        Keys of ``sam.state_dict()`` that training changes. Whoever trains keeps batch norms
        without any of them in evaluation mode (``models.trainable.set_trainable``).

    Raises:
        UnknownNameError: no such method.
        RecipeError: ``rank`` or ``ratio`` is out of range, or ``sam`` is adapted already.
    """
    if method not in METHODS:
        raise UnknownNameError.of("method of adaptation", method, METHODS)
    if rank < 1:
        raise RecipeError(f"rank is {rank}; LoRA needs at least 1. Set model.options.rank.")
    if not ratio > 0:
        raise RecipeError(f"ratio is {ratio}; an adapter needs a width above 0.")
    if any(isinstance(module, QvUpdate | Bottleneck) for module in sam.modules()):
        raise RecipeError("this SAM is adapted already; build it anew to adapt it another way.")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for block in _blocks(sam.encoder):
            if method == "adapter":
                add_adapters(block, ratio)
            elif method in ("lora", "convlora"):
                add_lora(block.get_submodule("attn"), rank, convolve=method == "convlora")
    trained = frozenset(_trained(sam, method))
    for name, parameter in sam.named_parameters():
        parameter.requires_grad_(name in trained)
    return trained


def merge(sam: nn.Module) -> None:
    """Add LoRA to the weights it updates, in place, so that inference costs nothing more.

    Outputs stay equal to 1e-5. Rows of keys stay equal to the base to the bit. Training needs
    ``unmerge`` first.

    Args:
        sam: a network adapted by ``lora``, or one that contains it.

    Raises:
        RecipeError: it has no LoRA, or Conv-LoRA, which is no matrix and cannot be merged.
    """
    merge_lora(sam)


def unmerge(sam: nn.Module) -> None:
    """Undo ``merge``, in place; weights are as before to rounding.

    Raises:
        RecipeError: as ``merge``.
    """
    unmerge_lora(sam)


def _blocks(encoder: nn.Module) -> list[nn.Module]:
    """Transformer blocks, first to last: all of a ViT, those of stages 1 to 3 of a TinyViT."""
    return [m for m in encoder.modules() if isinstance(m, SamVisionLayer | TinyVitBlock)]


def _trained(sam: Sam, method: str) -> Iterator[str]:
    if method == "none":
        return
    names = [name for name, _ in sam.named_parameters(remove_duplicate=False)]
    if method == "full":
        yield from names
        yield from _running_statistics(sam)
        return
    yield from (name for name in names if name.startswith("decoder."))
    if method in _PARTS:
        yield from (name for name in names if _PARTS[method] in name)
    if sam.bands != RGB:
        yield from (f"encoder.{name}" for name in _stem(sam.encoder))


def _running_statistics(sam: nn.Module) -> Iterator[str]:
    for path, module in sam.named_modules():
        if isinstance(module, _BatchNorm):
            yield from (f"{path}.{name}" for name, _ in module.named_buffers(recurse=False))


def _stem(encoder: nn.Module) -> Iterator[str]:
    """Names of the tensors of the first convolution, which takes the bands."""
    path, stem = next((p, m) for p, m in encoder.named_modules() if isinstance(m, nn.Conv2d))
    yield from (f"{path}.{name}" for name, _ in stem.named_parameters())
