"""Names of SAM's authors and of transformers, and answers equal to transformers' own network."""

import pytest
import torch
from transformers import SamConfig, SamModel

from headframe.core.errors import FormatError
from headframe.engine.bases import base_state, find_base
from headframe.models.sam import Prompts, build_sam
from headframe.models.sam.checkpoint import ours_from_authors, recognise, renamed
from headframe.models.sam.network import Sam

AUTHORS = {  # segment-anything's names, and ours
    "image_encoder.pos_embed": "encoder.pos_embed",
    "image_encoder.patch_embed.proj.bias": "encoder.patch_embed.bias",
    "image_encoder.blocks.11.norm1.weight": "encoder.layers.11.layer_norm1.weight",
    "image_encoder.blocks.11.norm2.bias": "encoder.layers.11.layer_norm2.bias",
    "image_encoder.blocks.2.attn.rel_pos_h": "encoder.layers.2.attn.rel_pos_h",
    "image_encoder.blocks.0.attn.qkv.weight": "encoder.layers.0.attn.qkv.weight",
    "image_encoder.blocks.0.attn.proj.weight": "encoder.layers.0.attn.proj.weight",
    "image_encoder.blocks.0.mlp.lin1.bias": "encoder.layers.0.mlp.lin1.bias",
    "image_encoder.neck.0.weight": "encoder.neck.conv1.weight",
    "image_encoder.neck.1.bias": "encoder.neck.layer_norm1.bias",
    "image_encoder.neck.2.weight": "encoder.neck.conv2.weight",
    "image_encoder.neck.3.weight": "encoder.neck.layer_norm2.weight",
    "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (
        "prompts.shared_embedding.positional_embedding"
    ),
    "prompt_encoder.point_embeddings.3.weight": "prompts.point_embed.3.weight",
    "prompt_encoder.not_a_point_embed.weight": "prompts.not_a_point_embed.weight",
    "prompt_encoder.no_mask_embed.weight": "prompts.no_mask_embed.weight",
    "prompt_encoder.mask_downscaling.0.weight": "prompts.mask_embed.conv1.weight",
    "prompt_encoder.mask_downscaling.1.weight": "prompts.mask_embed.layer_norm1.weight",
    "prompt_encoder.mask_downscaling.3.bias": "prompts.mask_embed.conv2.bias",
    "prompt_encoder.mask_downscaling.4.bias": "prompts.mask_embed.layer_norm2.bias",
    "prompt_encoder.mask_downscaling.6.weight": "prompts.mask_embed.conv3.weight",
    "mask_decoder.transformer.layers.1.self_attn.q_proj.weight": (
        "decoder.transformer.layers.1.self_attn.q_proj.weight"
    ),
    "mask_decoder.transformer.layers.1.norm4.weight": (
        "decoder.transformer.layers.1.layer_norm4.weight"
    ),
    "mask_decoder.transformer.layers.0.mlp.lin2.bias": (
        "decoder.transformer.layers.0.mlp.lin2.bias"
    ),
    "mask_decoder.transformer.final_attn_token_to_image.out_proj.bias": (
        "decoder.transformer.final_attn_token_to_image.out_proj.bias"
    ),
    "mask_decoder.transformer.norm_final_attn.weight": (
        "decoder.transformer.layer_norm_final_attn.weight"
    ),
    "mask_decoder.iou_token.weight": "decoder.iou_token.weight",
    "mask_decoder.mask_tokens.weight": "decoder.mask_tokens.weight",
    "mask_decoder.output_upscaling.0.weight": "decoder.upscale_conv1.weight",
    "mask_decoder.output_upscaling.1.weight": "decoder.upscale_layer_norm.weight",
    "mask_decoder.output_upscaling.3.weight": "decoder.upscale_conv2.weight",
    "mask_decoder.output_hypernetworks_mlps.2.layers.0.weight": (
        "decoder.output_hypernetworks_mlps.2.proj_in.weight"
    ),
    "mask_decoder.output_hypernetworks_mlps.2.layers.1.weight": (
        "decoder.output_hypernetworks_mlps.2.layers.0.weight"
    ),
    "mask_decoder.output_hypernetworks_mlps.2.layers.2.bias": (
        "decoder.output_hypernetworks_mlps.2.proj_out.bias"
    ),
    "mask_decoder.iou_prediction_head.layers.1.bias": ("decoder.iou_prediction_head.layers.0.bias"),
}
TINYVIT = {  # MobileSAM's and LiteMedSAM's encoder
    "image_encoder.patch_embed.seq.0.c.weight": "encoder.stem.0.conv.weight",
    "image_encoder.patch_embed.seq.2.bn.running_var": "encoder.stem.2.bn.running_var",
    "image_encoder.layers.0.blocks.1.conv2.c.weight": (
        "encoder.stages.0.blocks.1.conv2.conv.weight"
    ),
    "image_encoder.layers.0.downsample.conv1.bn.bias": "encoder.stages.1.downsample.conv1.bn.bias",
    "image_encoder.layers.2.downsample.conv3.c.weight": (
        "encoder.stages.3.downsample.conv3.conv.weight"
    ),
    "image_encoder.layers.3.blocks.1.attn.attention_biases": (
        "encoder.stages.3.blocks.1.attn.attention_biases"
    ),
    "image_encoder.layers.1.blocks.0.local_conv.c.weight": (
        "encoder.stages.1.blocks.0.local_conv.conv.weight"
    ),
    "image_encoder.layers.1.blocks.0.mlp.norm.weight": "encoder.stages.1.blocks.0.mlp.norm.weight",
    "image_encoder.neck.2.weight": "encoder.neck.conv2.weight",
}


@pytest.mark.parametrize(("names", "base"), [(AUTHORS, "vit_b"), (TINYVIT, "mobile")])
def test_names_of_the_authors(names, base):
    state = {name: torch.zeros(number) for number, name in enumerate(names)}
    found = renamed(state, source="sam.pth")
    assert list(found) == list(names.values())
    assert [value.numel() for value in found.values()] == list(range(len(names)))
    with torch.device("meta"):
        own = Sam(base).state_dict()
    assert set(found) <= set(own)
    parallel = {f"module.{name}": value for name, value in state.items()}
    assert list(renamed(parallel, source="sam.pth")) == list(names.values())


def test_every_tensor_of_the_published_litemedsam_finds_its_place():
    state = base_state(find_base("litemedsam"))
    assert recognise(state, source="lite_medsam.pth") == "litemedsam"
    sam = build_sam("litemedsam", state=state)
    own = sam.state_dict()
    assert own["encoder.stages.3.downsample.conv2.bn.running_mean"].abs().sum() > 0
    theirs = state["image_encoder.layers.2.downsample.conv2.bn.running_mean"]
    assert torch.equal(own["encoder.stages.3.downsample.conv2.bn.running_mean"], theirs)
    lost = {key: value for key, value in state.items() if "iou_token" not in key}
    with pytest.raises(FormatError, match=r"1 of 435 tensors are missing, 'decoder\.iou_token"):
        ours_from_authors(lost, own=own, source="lite_medsam.pth")


def _transformers():
    config = SamConfig(
        vision_config={
            "hidden_size": 64,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_size": 64,
            "window_size": 3,
            "global_attn_indexes": [1, 3],
            "initializer_range": 0.02,
        },
        prompt_encoder_config={"image_size": 64},
        mask_decoder_config={"mlp_dim": 128, "layer_norm_eps": 1e-5},
    )
    torch.manual_seed(6)
    network = SamModel(config).eval()
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "pos" in name:
                value.normal_(std=0.3)
    return network


def test_answers_as_the_network_of_transformers_does():
    theirs = _transformers()
    state = theirs.state_dict()
    assert recognise(state, source="model.safetensors") == "tiny"
    ours = build_sam("tiny", state=state).eval()
    pixels = torch.randn(1, 3, 64, 64)
    points, labels = torch.tensor([[[9.0, 40], [50, 3]]]), torch.tensor([[1, 0]])
    boxes, masks = torch.tensor([[4.0, 30, 33, 63]]), torch.randn(1, 1, 16, 16)
    with torch.inference_mode():
        embedding = ours.encode(pixels)
        torch.testing.assert_close(embedding, theirs.get_image_embeddings(pixels))
        for several in (False, True):
            expected = theirs(
                pixels,
                input_points=points[:, None],
                input_labels=labels[:, None],
                input_boxes=boxes[:, None],
                input_masks=masks,
                multimask_output=several,
            )
            prompts = Prompts(points, labels, boxes, masks)
            logits, quality = ours.decode(embedding, prompts, multimask=several)
            torch.testing.assert_close(logits, expected.pred_masks[:, 0])
            torch.testing.assert_close(quality, expected.iou_scores[:, 0])


def test_a_table_that_transformers_ties_may_come_once():
    state = dict(_transformers().state_dict())
    del state["prompt_encoder.shared_embedding.positional_embedding"]
    build_sam("tiny", state=state)


def test_the_imagenet_head_of_mobilesam_is_left_out():
    state = {
        "image_encoder.patch_embed.seq.0.c.weight": torch.zeros(32, 3, 3, 3),
        "image_encoder.norm_head.weight": torch.zeros(320),
        "image_encoder.head.bias": torch.zeros(1000),
    }
    assert list(renamed(state, source="mobile_sam.pt")) == ["encoder.stem.0.conv.weight"]
    assert recognise(state, source="mobile_sam.pt") == "mobile"


@pytest.mark.parametrize(
    ("width", "base"), [(768, "vit_b"), (1024, "vit_l"), (1280, "vit_h"), (64, "tiny")]
)
def test_a_vit_is_told_by_its_width(width, base):
    patch = torch.zeros(width, 3, 16, 16)
    for name in ("image_encoder.patch_embed.proj", "vision_encoder.patch_embed.projection"):
        assert recognise({f"{name}.weight": patch}, source="sam") == base


def test_what_does_not_fit_is_named():
    own = {"decoder.iou_token.weight": torch.zeros(1, 256), "encoder.pos_embed": torch.zeros(3)}
    fitting = {
        "mask_decoder.iou_token.weight": torch.zeros(1, 256),
        "image_encoder.pos_embed": torch.zeros(3),
    }
    assert set(ours_from_authors(fitting, own=own, source="sam.pth")) == set(own)
    with pytest.raises(FormatError, match=r"sam\.pth: not a SAM: .*the first is 'fc\.weight'"):
        renamed({"fc.weight": torch.zeros(1)}, source="sam.pth")
    with pytest.raises(FormatError, match=r"sam\.pth: 1 of 2 tensors are missing, 'decoder\.iou"):
        ours_from_authors({"image_encoder.pos_embed": torch.zeros(3)}, own=own, source="sam.pth")
    more = {**fitting, "mask_decoder.spare": torch.zeros(1)}
    with pytest.raises(FormatError, match=r"1 tensors are unexpected, 'decoder\.spare' the first"):
        ours_from_authors(more, own=own, source="sam.pth")
    short = {**fitting, "image_encoder.pos_embed": torch.zeros(2)}
    with pytest.raises(FormatError, match=r"'encoder\.pos_embed' has shape \(2,\)"):
        ours_from_authors(short, own=own, source="sam.pth")
    for unknown in ("image_encoder.patch_embed.proj.weight", "image_encoder.pos_embed"):
        with pytest.raises(FormatError, match=r"sam\.pth: the encoder is neither"):
            recognise({unknown: torch.zeros(7, 3, 2, 2)}, source="sam.pth")
