"""MineSegSAT: SegFormer on the twelve bands of Sentinel-2 L2A (papers/004, methods 6.2)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional
from transformers import SegformerConfig, SegformerModel
from transformers.models.segformer.modeling_segformer import (
    SegformerDecodeHead,
    SegformerDropPath,
    SegformerLayer,
)

from headframe.core.errors import RecipeError
from headframe.models.encoders import load_encoder, spread_stem
from headframe.models.inflate import RGB

_NORM_EPS = 1e-6


@dataclass(frozen=True)
class _Size:
    """Widths and depths of the four stages."""

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]


_SIZES = {
    "b0": _Size((32, 64, 160, 256), (2, 2, 2, 2)),
    "b1": _Size((64, 128, 320, 512), (2, 2, 2, 2)),
    "b3": _Size((64, 128, 320, 512), (3, 4, 18, 3)),
}

# Published SegFormer weights bear the names of transformers before version 5.
_RENAMED = (
    (r"encoder\.patch_embeddings\.(\d+)\.", r"stages.\1.patch_embeddings."),
    (r"encoder\.block\.(\d+)\.", r"stages.\1.blocks."),
    (r"encoder\.layer_norm\.(\d+)\.", r"stages.\1.layer_norm."),
    (r"attention\.self\.query\.", "attention.q_proj."),
    (r"attention\.self\.key\.", "attention.k_proj."),
    (r"attention\.self\.value\.", "attention.v_proj."),
    (r"attention\.self\.sr\.", "attention.sequence_reduction.sequence_reduction."),
    (r"attention\.self\.layer_norm\.", "attention.sequence_reduction.layer_norm."),
    (r"attention\.output\.dense\.", "attention.o_proj."),
    (r"mlp\.dense1\.", "mlp.fc1."),
    (r"mlp\.dense2\.", "mlp.fc2."),
    (r"layer_norm_1\.", "layernorm_before."),
    (r"layer_norm_2\.", "layernorm_after."),
)


class MineSegSAT(nn.Module):
    """A SegFormer encoder and its all-convolutional head, from transformers.

    The encoder has LayerNorm eps 1e-6 everywhere, which transformers leaves at 1e-5; the head maps
    every stage to 256 channels, joins them at a quarter of the size, and ends in batch norm, ReLU
    and one 1 x 1 convolution.
    """

    def __init__(self, config: SegformerConfig) -> None:
        """Build both at random weights."""
        super().__init__()
        self.encoder = SegformerModel(config)
        self.decoder = SegformerDecodeHead(config)
        for module in self.encoder.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = _NORM_EPS

    def forward(self, pixels: Tensor) -> Tensor:
        """Score pixels (N, C, H, W); logits (N, K, H, W), H and W multiples of 32."""
        features = []
        hidden = pixels
        for stage in self.encoder.stages:
            hidden = stage(hidden)  # (N, width, H / 4, W / 4), then / 8, / 16, / 32
            features.append(hidden)
        logits: Tensor = self.decoder(features)
        return functional.interpolate(
            logits, size=pixels.shape[-2:], mode="bilinear", align_corners=False
        )


def build_minesegsat(
    bands: Sequence[str],
    out_channels: int,
    *,
    size: str = "b3",
    encoder_state: Mapping[str, Tensor] | None = None,
    dropout: float = 0.1,
    drop_path: float = 0.15,
    legacy_drop_path: bool = False,
) -> nn.Module:
    """Build MineSegSAT (N, C, H, W) -> logits (N, K, H, W); H and W multiples of 32.

    At size b3, twelve bands and one logit it has 44,626,433 parameters. Against the B3 of Xie et
    al. 2021 it has a head of 256 channels in place of 768, and twelve bands. b0 and b1 are the
    paper's network at the widths and depths of MiT-B0 and MiT-B1.

    Args:
        bands: common names of the C input channels, in order.
        out_channels: K; 1 for two classes (logit of the target).
        size: b0, b1 or b3.
        encoder_state: tensors of a SegFormer of this size in transformers' layout, of before
            version 5 or after; three input channels are spread over the bands. None leaves the
            encoder at its random initialisation.
        dropout: of attention probabilities, projections, the feed-forward part and the head.
        drop_path: chance of leaving out the last block; it rises linearly from 0 at the first.
        legacy_drop_path: count the blocks of earlier stages twice, as the authors' code does: the
            chance jumps between stages, up to 0.289 at the defaults.

    Raises:
        RecipeError: an unknown size, or a probability outside 0 to 1.
        FormatError: ``encoder_state`` does not fit.
    """
    if size not in _SIZES:
        raise RecipeError(f"minesegsat size is {size!r}; give one of {', '.join(_SIZES)}.")
    if not (0 <= dropout < 1 and 0 <= drop_path < 0.5):
        raise RecipeError(
            f"minesegsat dropout is {dropout}, drop_path {drop_path}; "
            "give 0 or more and less than 1 and 0.5."
        )
    chosen = _SIZES[size]
    config = SegformerConfig(
        num_channels=len(RGB),
        num_labels=out_channels,
        hidden_sizes=chosen.widths,
        depths=chosen.depths,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        classifier_dropout_prob=dropout,
        drop_path_rate=drop_path,
        decoder_hidden_size=256,
    )
    network = MineSegSAT(config)
    if legacy_drop_path:
        _count_twice(network, drop_path)
    if encoder_state is None:
        spread_stem(network.encoder, bands)
    else:
        state = {_renamed(key): value for key, value in encoder_state.items()}
        load_encoder(network.encoder, state, bands=bands, source="model.init")
    return network


def _count_twice(network: MineSegSAT, drop_path: float) -> None:
    """Set the drop-path of every block as the authors' code does (methods 6.2, notes)."""
    depths = [len(stage.blocks) for stage in network.encoder.stages]
    for number, stage in enumerate(network.encoder.stages):
        earlier = sum(depths[:number])
        for index, block in enumerate(stage.blocks):
            _set_drop_path(block, drop_path * (2 * earlier + index) / (sum(depths) - 1))


def _set_drop_path(block: SegformerLayer, chance: float) -> None:
    block.drop_path = SegformerDropPath(chance) if chance > 0 else nn.Identity()


def _renamed(key: str) -> str:
    for pattern, name in _RENAMED:
        key = re.sub(pattern, name, key)
    return key
