"""SAM tensors under their authors' names, and ours.

Three namings are understood, told apart by their first words: the authors' (segment-anything,
MobileSAM and LiteMedSAM: ``image_encoder.``), that of transformers' ``SamModel``
(``vision_encoder.``) and our own (``encoder.``). The maps are explicit: a tensor without a
place, a place without a tensor, or another shape is an error, never skipped.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from headframe.core.errors import FormatError

# Left over from ImageNet in MobileSAM's files; no SAM uses them.
_UNUSED = re.compile(r"image_encoder\.(norm_head|head)\.")

_AUTHORS = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        # rooms
        (r"^image_encoder\.", "encoder."),
        (r"^prompt_encoder\.", "prompts."),
        (r"^mask_decoder\.", "decoder."),
        # ViT
        (r"^(encoder\.patch_embed)\.proj\.", r"\1."),
        (r"^encoder\.blocks\.(\d+)\.", r"encoder.layers.\1."),
        (r"^(encoder\.layers\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
        # TinyViT: a stage ends in the merging of patches, timm's begins with it
        (r"^encoder\.patch_embed\.seq\.", "encoder.stem."),
        (r"^encoder\.layers\.(\d)\.blocks\.", r"encoder.stages.\1.blocks."),
        (r"^encoder\.layers\.0\.downsample\.", "encoder.stages.1.downsample."),
        (r"^encoder\.layers\.1\.downsample\.", "encoder.stages.2.downsample."),
        (r"^encoder\.layers\.2\.downsample\.", "encoder.stages.3.downsample."),
        (r"^(encoder\.st.*)\.c\.weight$", r"\1.conv.weight"),
        # neck
        (r"^encoder\.neck\.0\.", "encoder.neck.conv1."),
        (r"^encoder\.neck\.1\.", "encoder.neck.layer_norm1."),
        (r"^encoder\.neck\.2\.", "encoder.neck.conv2."),
        (r"^encoder\.neck\.3\.", "encoder.neck.layer_norm2."),
        # prompt encoder
        (
            r"^prompts\.pe_layer\.positional_encoding_gaussian_matrix$",
            "prompts.shared_embedding.positional_embedding",
        ),
        (r"^prompts\.point_embeddings\.", "prompts.point_embed."),
        (r"^prompts\.mask_downscaling\.0\.", "prompts.mask_embed.conv1."),
        (r"^prompts\.mask_downscaling\.1\.", "prompts.mask_embed.layer_norm1."),
        (r"^prompts\.mask_downscaling\.3\.", "prompts.mask_embed.conv2."),
        (r"^prompts\.mask_downscaling\.4\.", "prompts.mask_embed.layer_norm2."),
        (r"^prompts\.mask_downscaling\.6\.", "prompts.mask_embed.conv3."),
        # mask decoder
        (r"^(decoder\.transformer\.layers\.\d)\.norm(\d)\.", r"\1.layer_norm\2."),
        (r"^decoder\.transformer\.norm_final_attn\.", "decoder.transformer.layer_norm_final_attn."),
        (r"^decoder\.output_upscaling\.0\.", "decoder.upscale_conv1."),
        (r"^decoder\.output_upscaling\.1\.", "decoder.upscale_layer_norm."),
        (r"^decoder\.output_upscaling\.3\.", "decoder.upscale_conv2."),
        (r"^(decoder\.(?:output_hyper|iou_pred).*)\.layers\.0\.", r"\1.proj_in."),
        (r"^(decoder\.(?:output_hyper|iou_pred).*)\.layers\.1\.", r"\1.layers.0."),
        (r"^(decoder\.(?:output_hyper|iou_pred).*)\.layers\.2\.", r"\1.proj_out."),
    )
)
_TRANSFORMERS = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^vision_encoder\.patch_embed\.projection\.", "encoder.patch_embed."),
        (r"^vision_encoder\.", "encoder."),
        (r"^prompt_encoder\.", "prompts."),
        (r"^mask_decoder\.", "decoder."),
        # the same table twice, tied; a file may hold either or both
        (r"^shared_image_embedding\.", "prompts.shared_embedding."),
    )
)
_OURS: tuple[tuple[re.Pattern[str], str], ...] = ()
_NAMINGS = {"image_encoder.": _AUTHORS, "vision_encoder.": _TRANSFORMERS, "encoder.": _OURS}
_WRAPPER = "module."  # torch's DataParallel

_VIT_BY_WIDTH = {768: "vit_b", 1024: "vit_l", 1280: "vit_h", 64: "tiny"}
_TINYVIT_BY_KERNEL = {3: "mobile", 1: "litemedsam"}


def ours_from_authors(
    state: Mapping[str, Tensor], *, own: Mapping[str, Tensor], source: str
) -> dict[str, Tensor]:
    """Name tensors as ``network.Sam`` does, and check them against the network.

    Args:
        state: tensors under any of the three namings, for red, green and blue.
        own: ``state_dict()`` of the network they are for.
        source: name of the file, for messages.

    Returns:
        A tensor for every key of ``own``, of its shape; dtypes are the file's.

    Raises:
        FormatError: no naming of SAM's, or tensors missing, unexpected (their count and the
            first are named) or of another shape.
    """
    found = renamed(state, source=source)
    missing = [key for key in own if key not in found]
    if missing:
        raise FormatError(
            f"{source}: {len(missing)} of {len(own)} tensors are missing, {missing[0]!r} the "
            "first. Choose the base that the file holds, or copy the file again."
        )
    unexpected = [key for key in found if key not in own]
    if unexpected:
        raise FormatError(
            f"{source}: {len(unexpected)} tensors are unexpected, {unexpected[0]!r} the first. "
            "Choose the base that the file holds, or copy the file again."
        )
    for key, value in own.items():
        if found[key].shape != value.shape:
            raise FormatError(
                f"{source}: {key!r} has shape {tuple(found[key].shape)}, the network needs "
                f"{tuple(value.shape)}. Choose the base that the file holds, or copy the file "
                "again."
            )
    return found


def renamed(state: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """Give tensors of any of the three namings our names; what no rule covers keeps its own.

    Raises:
        FormatError: none of the three namings.
    """
    plain = {key.removeprefix(_WRAPPER): value for key, value in state.items()}
    naming = next((start for start in _NAMINGS if any(k.startswith(start) for k in plain)), None)
    if naming is None:
        first = next(iter(plain), "nothing")
        raise FormatError(
            f"{source}: not a SAM: no tensor is named image_encoder.…, vision_encoder.… or "
            f"encoder.… (the first is {first!r}). Give a file of SAM, MobileSAM or LiteMedSAM."
        )
    return {
        _translated(key, _NAMINGS[naming]): value
        for key, value in plain.items()
        if not _UNUSED.match(key)
    }


def _translated(key: str, rules: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for pattern, name in rules:
        key = pattern.sub(name, key)
    return key


def recognise(state: Mapping[str, Tensor], *, source: str) -> str:
    """Tell which base (``network.BASES``) tensors are of, by the first layer of the encoder.

    Raises:
        FormatError: none of them.
    """
    found = renamed(state, source=source)
    if (patch := found.get("encoder.patch_embed.weight")) is not None:
        base = _VIT_BY_WIDTH.get(patch.shape[0])
    elif (stem := found.get("encoder.stem.0.conv.weight")) is not None:
        base = _TINYVIT_BY_KERNEL.get(stem.shape[-1])
    else:
        base = None
    if base is None:
        raise FormatError(
            f"{source}: the encoder is neither SAM's ViT-B, L or H nor the TinyViT of MobileSAM "
            "or LiteMedSAM. Give a checkpoint of one of these."
        )
    return base
