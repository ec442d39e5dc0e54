import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from headframe.core.errors import FormatError, RecipeError
from headframe.models.minesegsat import build_minesegsat
from headframe.models.registry import BUILDERS, count_parameters

TWELVE = BUILDERS["minesegsat-b3"].bands
RGB = ("red", "green", "blue")


def _on_meta(**options):
    with torch.device("meta"):
        return build_minesegsat(TWELVE, 1, **options)


def test_parameters_are_those_of_the_paper():
    assert len(TWELVE) == 12
    assert count_parameters("minesegsat-b3", TWELVE, 1, {}) == 44_626_433
    encoder = sum(p.numel() for p in _on_meta().encoder.parameters())
    assert encoder == 44_100_352  # 44.10 M
    assert count_parameters("minesegsat-b0", RGB, 1, {}) < 4_000_000


def test_shape_of_the_network():
    network = _on_meta()
    stages = network.encoder.stages
    assert [len(stage.blocks) for stage in stages] == [3, 4, 18, 3]
    convolutions = [stage.patch_embeddings.proj for stage in stages]
    assert [c.kernel_size[0] for c in convolutions] == [7, 3, 3, 3]
    assert [c.stride[0] for c in convolutions] == [4, 2, 2, 2]
    assert [c.out_channels for c in convolutions] == [64, 128, 320, 512]
    attention = [stage.blocks[0].attention for stage in stages]
    assert [a.num_attention_heads for a in attention] == [1, 2, 5, 8]
    assert [a.sequence_reduction_ratio for a in attention] == [8, 4, 2, 1]
    norms = [m for m in network.modules() if isinstance(m, nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {1e-6}
    assert {m.p for m in network.modules() if isinstance(m, nn.Dropout)} == {0.1}
    assert {a.attention_dropout for a in attention} == {0.1}


def _chances(network):
    blocks = [block for stage in network.encoder.stages for block in stage.blocks]
    return [getattr(block.drop_path, "drop_prob", 0.0) for block in blocks]


def test_drop_path_is_linear_or_as_the_authors_code_has_it():
    assert _chances(_on_meta()) == pytest.approx([0.15 * i / 27 for i in range(28)])
    legacy = _chances(_on_meta(legacy_drop_path=True))
    assert legacy[:3] == pytest.approx([0.15 * i / 27 for i in range(3)])
    assert legacy[3] == pytest.approx(0.15 * 6 / 27)  # 3 earlier blocks, counted twice
    assert max(legacy) == legacy[-1] == pytest.approx(0.289, abs=5e-4)
    assert set(_chances(_on_meta(drop_path=0.0, legacy_drop_path=True))) == {0.0}


def _theirs():
    config = SegformerConfig(num_labels=1)  # its defaults are those of MiT-B0
    torch.manual_seed(4)
    network = SegformerForSemanticSegmentation(config).eval()
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
    return network


def test_answers_as_the_network_of_transformers_does():
    theirs = _theirs()
    ours = build_minesegsat(RGB, 1, size="b0", encoder_state=theirs.state_dict()).eval()
    ours.decoder.load_state_dict(theirs.decode_head.state_dict())
    pixels = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        expected = nn.functional.interpolate(theirs(pixels).logits, (64, 96), mode="bilinear")
        torch.testing.assert_close(ours(pixels), expected)


def test_published_names_are_understood(tmp_path):
    theirs = _theirs()
    theirs.save_pretrained(tmp_path)  # writes the names of before version 5
    published = load_file(tmp_path / "model.safetensors")
    assert any(".block." in key for key in published)
    network = build_minesegsat(("nir", *RGB), 1, size="b0", encoder_state=published)
    own = network.encoder.state_dict()
    expected = theirs.segformer.state_dict()
    stem = "stages.0.patch_embeddings.proj.weight"
    torch.testing.assert_close(own[stem][:, 1:], expected[stem] * 3 / 4)
    assert all(torch.equal(own[key], value) for key, value in expected.items() if key != stem)


def test_what_does_not_fit_is_named():
    with pytest.raises(RecipeError, match="size is 'b9'; give one of b0, b1, b3"):
        build_minesegsat(RGB, 1, size="b9")
    with pytest.raises(RecipeError, match=r"dropout is 1\.5"):
        build_minesegsat(RGB, 1, size="b0", dropout=1.5)
    with pytest.raises(FormatError, match="has shape"):
        build_minesegsat(RGB, 1, size="b1", encoder_state=_theirs().state_dict())
