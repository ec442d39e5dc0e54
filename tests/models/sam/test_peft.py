import copy

import peft
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from headframe.core.errors import JobError, RecipeError, UnknownNameError
from headframe.models.encoders import spread_stem
from headframe.models.sam import Prompts, build_sam
from headframe.models.sam.adapters import Bottleneck
from headframe.models.sam.encoders import TinyViTEncoder, TinyViTSize
from headframe.models.sam.lora import SCALES, ConvLowRank, LowRank, QkvLayout, QvUpdate, layout_of
from headframe.models.sam.peft import METHODS, adapt, merge, unmerge
from headframe.models.trainable import load_trained, set_trainable, trained_state

RGB = ("red", "green", "blue")
SEVEN = (*RGB, "nir", "swir16", "swir22", "lwir")
BASES = ("tiny", "tinyvit")  # one of each layout of q, k and v
SMALL = TinyViTSize(
    3, 2, widths=(16, 32, 40, 64), depths=(1, 2, 2, 1), heads=(1, 2, 5, 4), windows=(7, 7, 14, 7)
)
ADDED = ("lora", "convlora", "adapter")


def _sam(base, bands=RGB):
    torch.manual_seed(3)
    sam = build_sam("tiny", bands=bands)
    if base == "tinyvit":
        sam.encoder = TinyViTEncoder(SMALL)
        spread_stem(sam.encoder, bands)
    sam.eval()
    with torch.no_grad():  # random norms and statistics, so that none of them is a no-op
        for name, tensor in sam.encoder.state_dict().items():
            if name.endswith(("running_var", "norm.weight", "bn.weight")):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith(("running_mean", "attention_biases")):
                tensor.normal_(0, 0.1)
    return sam


def _pixels(channels=3):
    return torch.rand(2, channels, 64, 96, generator=torch.Generator().manual_seed(8))


def _masks(sam, pixels):
    """Masks and qualities of both modes, so that every part of the decoder has a say."""
    embedding = sam.encode(pixels)
    points = Prompts(points=torch.tensor([[[9.0, 40.0]]] * 2), labels=torch.ones(2, 1).long())
    outputs = [t for three in (False, True) for t in sam.decode(embedding, points, multimask=three)]
    return torch.cat([output.flatten() for output in outputs])


def _scatter(sam, part):
    """Give the parts that start at zero some numbers, as training would."""
    generator = torch.Generator().manual_seed(5)
    for name, parameter in sam.named_parameters():
        if part in name and ".up." in name:
            parameter.data.normal_(0, 0.05, generator=generator)


def _tensors(sam):
    named = [*sam.named_parameters(), *sam.named_buffers()]  # buffers that are not saved, too
    return {name: tensor.detach().clone() for name, tensor in named}


def _train(sam, names, steps=3):
    sam.trained = names
    set_trainable(sam)
    trained = [p for p in sam.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-2)
    channels = len(sam.bands)
    target = torch.randn(_masks(sam, _pixels(channels)).shape)
    for _ in range(steps):
        optimizer.zero_grad()
        F.mse_loss(_masks(sam, _pixels(channels)), target).backward()
        optimizer.step()


def _count(base, method, marks=None, bands=RGB, **options):
    with torch.device("meta"):
        sam = build_sam(base, bands=bands)
        names = adapt(sam, method, **options)
    sizes = {name: p.numel() for name, p in sam.named_parameters() if name in names}
    assert {p.device.type for p in sam.parameters()} == {"meta"}
    return sum(size for name, size in sizes.items() if marks is None or marks in name)


@pytest.mark.parametrize(
    ("base", "rank", "expected"),
    [
        *(("vit_b", 4, 147_456), ("vit_b", 8, 294_912), ("vit_b", 16, 589_824)),
        *(
            (base, r, n)
            for base in ("mobile", "litemedsam")
            for r, n in ((4, 29_696), (16, 118_784))
        ),
    ],
)
def test_lora_counts_are_those_of_methods(base, rank, expected):
    decoder = 4_058_340
    assert _count(base, "lora", ".lora.", rank=rank) == expected
    assert _count(base, "lora", rank=rank) == expected + decoder


def test_counts_of_the_other_methods_are_those_of_methods():
    assert _count("vit_b", "none") == 0
    assert _count("vit_b", "decoder") == _count("mobile", "decoder") == 4_058_340
    assert _count("vit_b", "adapter", ".adapter.") == 7_100_928
    assert _count("vit_b", "adapter", ".adapter.", ratio=64 / 768) == 2_379_264
    assert _count("vit_b", "adapter", ".adapter.", ratio=32 / 768) == 1_198_848
    extra = _count("vit_b", "convlora", ".lora.") - 147_456
    assert 0 < extra < 100_000
    assert _count("vit_b", "full") == pytest.approx(93.7e6, abs=5e4)
    head = 2 * 320 + 321 * 1000  # of ImageNet; in MobileSAM's file and in its 10.1 M, not here
    assert _count("mobile", "full") + head == pytest.approx(10.1e6, abs=5e4)


@pytest.mark.parametrize(
    ("base", "expected"), [("vit_b", 1_377_024), ("mobile", 2_016), ("litemedsam", 224)]
)
def test_inflated_stem_is_trained(base, expected):
    stem = "patch_embed" if base == "vit_b" else "encoder.stem.0.conv"
    for method in METHODS[1:] if base == "vit_b" else ("lora",):
        assert _count(base, method, stem, bands=SEVEN) == expected
    assert _count(base, "none", bands=SEVEN) == 0
    assert _count(base, "lora", stem) == 0
    assert _count(base, "lora", stem, bands=("nir", "red", "green")) > 0  # three, but others


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("method", METHODS)
def test_no_effect_before_training(base, method):
    sam = _sam(base)
    own = set(sam.state_dict())
    with torch.inference_mode():
        before = sam.encode(_pixels())
        adapt(sam, method)
        assert torch.equal(sam.encode(_pixels()), before)
    assert own <= set(sam.state_dict())  # the base keeps its names
    if method in ADDED:
        part = "adapter" if method == "adapter" else "lora"
        assert all(f".{part}." in name for name in set(sam.state_dict()) - own)
        _scatter(sam, part)
        with torch.inference_mode():
            assert not torch.allclose(sam.encode(_pixels()), before, atol=1e-3)
    else:
        assert own == set(sam.state_dict())


@pytest.mark.parametrize(
    ("base", "method", "bands"),
    [
        *((base, method, RGB) for base in BASES for method in METHODS[1:]),
        *((base, "lora", SEVEN) for base in BASES),
    ],
)
def test_training_changes_what_is_named_and_nothing_else(base, method, bands):
    sam = _sam(base, bands)
    names = adapt(sam, method, rank=2, ratio=0.1)
    assert names <= set(sam.state_dict())
    before = _tensors(sam)
    _train(sam, names)
    after = _tensors(sam)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed <= names
    if method == "full":
        statistics = {n for n in before if n.endswith(("running_mean", "running_var", "tracked"))}
        assert statistics <= changed
        assert bool(statistics) == (base == "tinyvit")
    else:  # and all of it is trained
        assert changed == names


def test_methods_without_gradients_need_none():
    sam = _sam("tiny")
    assert adapt(sam, "none") == frozenset()
    assert not any(p.requires_grad for p in sam.parameters())


def _split(base, attention, output):
    """q, k and v as the libraries' own code takes them from the output of ``qkv``."""
    if base == "tiny":  # transformers: SamVisionSdpaAttention.forward
        heads = attention.num_attention_heads
        flat = output.reshape(*output.shape[:-1], 3, heads, -1)
        return flat.unbind(-3)
    heads, d = attention.num_heads, attention.key_dim  # timm: Attention.forward
    return output.view(*output.shape[:-1], heads, -1).split([d, d, d], dim=-1)


def _attentions(sam):
    return [m for m in sam.encoder.modules() if hasattr(m, "qkv")]


@pytest.mark.parametrize("base", BASES)
def test_keys_stay_and_queries_and_values_move(base):
    sam = _sam(base)
    plain = copy.deepcopy(sam)
    _train(sam, adapt(sam, "lora"))
    sam.eval()
    pairs = list(zip(_attentions(plain), _attentions(sam), strict=True))
    assert len(pairs) == (4 if base == "tiny" else 5)
    tokens = [torch.randn(2, 9, a.qkv.in_features) for a, _ in pairs]
    for merged in (False, True):
        if merged:
            merge(sam)
        for x, (old, new) in zip(tokens, pairs, strict=True):
            with torch.inference_mode():
                q, k, v = _split(base, new, new.qkv(x))
                q0, k0, v0 = _split(base, old, old.qkv(x))
            assert torch.equal(k, k0)
            assert not torch.equal(q, q0)
            assert not torch.equal(v, v0)
            # row by row, in the order in which the libraries read rows
            rows = torch.arange(3 * old.qkv.in_features)
            of_q, of_k, of_v = (r.flatten() for r in _split(base, old, rows))
            same = (new.qkv.weight == old.qkv.weight).all(dim=1)
            assert same[of_k].all()
            assert same[of_q].any() != merged
            assert same[of_v].any() != merged
            assert torch.equal(new.qkv.bias, old.qkv.bias)


@pytest.mark.parametrize("base", BASES)
def test_merged_and_unmerged_are_equal(base):
    sam = _sam(base)
    adapt(sam, "lora", rank=3)
    _scatter(sam, "lora")
    weights = {n: p.detach().clone() for n, p in sam.named_parameters() if "qkv" in n}
    with torch.inference_mode():
        apart = sam.encode(_pixels())
        merge(sam)
        merge(sam)  # the second does nothing
        torch.testing.assert_close(sam.encode(_pixels()), apart, atol=1e-5, rtol=1e-5)
        unmerge(sam)
        unmerge(sam)
        torch.testing.assert_close(sam.encode(_pixels()), apart, atol=1e-5, rtol=1e-5)
    for name, parameter in sam.named_parameters():
        if name in weights:
            torch.testing.assert_close(parameter.data, weights[name], atol=1e-6, rtol=0)


def test_a_merged_network_is_not_trained():
    sam = _sam("tiny")
    names = adapt(sam, "lora")
    merge(sam)
    with pytest.raises(JobError, match="unmerge it to train on"):
        _train(sam, names)
    unmerge(sam)
    _train(sam, names, steps=1)


@pytest.mark.parametrize("act", [merge, unmerge])
def test_what_is_not_lora_is_not_merged(act):
    sam = _sam("tiny")
    with pytest.raises(RecipeError, match="has no LoRA to merge"):
        act(sam)
    adapt(sam, "convlora")
    with pytest.raises(RecipeError, match="Conv-LoRA cannot be merged"):
        act(sam)


def test_an_update_is_the_one_of_the_peft_library():
    """The library cannot leave the keys out of a fused layer, but it can tell what q should be."""
    layout = QkvLayout(heads=3, interleaved=True)
    theirs = nn.Sequential(nn.Linear(12, 12))
    config = peft.LoraConfig(r=4, lora_alpha=4, target_modules=["0"], init_lora_weights=False)
    theirs = peft.inject_adapter_in_model(config, theirs)
    ours = LowRank(12, 4)
    ours.down.weight.data = theirs[0].lora_A["default"].weight.data
    ours.up.weight.data = theirs[0].lora_B["default"].weight.data
    x = torch.randn(5, 12)
    torch.testing.assert_close(theirs[0].base_layer(x) + ours(x), theirs(x))
    base = theirs[0].base_layer.weight.detach().clone()
    theirs[0].merge()
    torch.testing.assert_close(base + ours.matrix(), theirs[0].base_layer.weight.data)
    joined = layout.join(ours(x), torch.zeros(5, 12), torch.ones(5, 12))
    assert torch.equal(joined[:, :4], ours(x)[:, :4])  # q of the first head
    assert torch.equal(joined[:, 12:16], ours(x)[:, 4:8])  # q of the second


def test_layouts():
    rows = torch.arange(12)  # D = 4: two heads of two
    plain, by_head = QkvLayout(2, interleaved=False), QkvLayout(2, interleaved=True)
    assert plain.parts(rows).tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9], [10, 11]]]
    assert by_head.parts(rows).tolist() == [[[0, 1], [6, 7]], [[2, 3], [8, 9]], [[4, 5], [10, 11]]]
    q, k, v = (torch.arange(4) + 10 * i for i in range(3))
    assert plain.join(q, k, v).tolist() == [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]
    assert by_head.join(q, k, v).tolist() == [0, 1, 10, 11, 20, 21, 2, 3, 12, 13, 22, 23]
    with pytest.raises(TypeError, match="order of q, k and v in MultiheadAttention is not known"):
        layout_of(nn.MultiheadAttention(4, 2))


@pytest.mark.parametrize("ratio", [0.25, 0.01])
def test_adapters_of_a_vit_block(ratio):
    sam = _sam("tiny")
    adapt(sam, "adapter", ratio=ratio)
    _scatter(sam, "adapter")
    block = sam.encoder.layers[1]  # global attention: no windows to undo
    s1, s2 = block.attn.adapter, block.mlp.adapter
    assert s1.down.out_features == max(1, round(64 * ratio))
    x = torch.randn(2, 4, 5, 64)
    attention, _ = type(block.attn).forward(block.attn, block.layer_norm1(x))  # without the hook
    y = x + attention + s1.up(F.gelu(s1.down(attention)))
    z = block.layer_norm2(y)
    mlp = block.mlp.lin2(F.gelu(block.mlp.lin1(z)))
    expected = y + mlp + 0.5 * s2.up(F.gelu(s2.down(z)))
    torch.testing.assert_close(block(x), expected)


def test_adapters_of_a_tinyvit_block():
    sam = _sam("tinyvit")
    adapt(sam, "adapter")
    _scatter(sam, "adapter")
    block = sam.encoder.stages[2].blocks[0]  # windows of 14, here one
    s1, s2 = block.attn.adapter, block.mlp.adapter
    x = torch.randn(2, 14, 14, 40)
    attention = type(block.attn).forward(block.attn, x.flatten(1, 2)).view(x.shape)
    y = x + attention + s1.up(F.gelu(s1.down(attention)))
    y = block.local_conv(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    mlp = block.mlp.fc2(F.gelu(block.mlp.fc1(block.mlp.norm(y))))
    expected = y + mlp + 0.5 * s2.up(F.gelu(s2.down(block.mlp.norm(y))))
    torch.testing.assert_close(block(x), expected)


def _conv_low_rank(dim=6, rank=2):
    torch.manual_seed(1)
    part = ConvLowRank(dim, rank)
    nn.init.normal_(part.up.weight)
    for expert in part.experts:
        nn.init.zeros_(expert.weight)
        nn.init.zeros_(expert.bias)
    return part


def test_convolutions_that_say_nothing_leave_lora():
    part = _conv_low_rank()
    x = torch.randn(3, 4, 5, 6)
    torch.testing.assert_close(part(x), part.up(part.down(x)))


@pytest.mark.parametrize("index", range(len(SCALES)))
def test_an_expert_works_at_its_scale(index):
    part = _conv_low_rank()
    nn.init.zeros_(part.gate.weight)
    part.gate.bias.data = torch.full((len(SCALES),), -100.0)
    part.gate.bias.data[index] = 0.0  # this expert alone
    expert = part.experts[index]
    for channel in range(2):
        expert.weight.data[channel, channel, 1, 0] = 1.0  # the token to the left
    x = torch.randn(3, 4, 7, 6)
    x[1:] = x[1, 0, 3] * torch.arange(7.0)[:, None]  # a slope along a row
    z = part.down(x).detach()
    added = part(x) - part.up(z)
    if SCALES[index] == 1:
        left = F.pad(z, (0, 0, 1, 0))[:, :, :-1]
        torch.testing.assert_close(added, part.up(left))
    # on the slope the neighbour of the enlarged picture is 1 / scale to the left
    inner = slice(2, 5)
    slope = z[1, 0, 1] - z[1, 0, 0]
    shifted = part.up(z[1:, :, inner] - slope / SCALES[index])
    torch.testing.assert_close(added[1:, :, inner], shifted, atol=1e-5, rtol=1e-4)


def test_the_gate_goes_by_the_image():
    part = _conv_low_rank()
    part.gate.weight.data.normal_(0, 3)
    for i, expert in enumerate(part.experts):
        nn.init.constant_(expert.bias, float(i))
    x = torch.randn(2, 5, 4, 6) + torch.tensor([0.0, 2.0])[:, None, None, None]
    z = part.down(x)
    weights = part.gate(z.mean(dim=(1, 2))).softmax(-1)
    assert (weights[0] - weights[1]).abs().max() > 0.05
    amount = (weights * torch.arange(3.0)).sum(-1)[:, None, None, None]
    expected = part.up(z + amount)
    torch.testing.assert_close(part(x), expected)
    part.window = (5, 4)
    torch.testing.assert_close(part(x.flatten(1, 2)), expected.flatten(1, 2))


def test_a_traced_network_keeps_its_updates():
    sam = _sam("tinyvit")
    adapt(sam, "convlora")
    _scatter(sam, "lora")
    program = torch.export.export(sam.encoder, (_pixels(),))
    other = 1 - _pixels()
    with torch.inference_mode():
        torch.testing.assert_close(program.module()(other), sam.encoder(other))


def test_the_seed_decides_and_torchs_own_numbers_are_left_alone():
    states = []
    for seed in (0, 0, 1):
        sam = _sam("tiny")
        torch.manual_seed(99)
        adapt(sam, "convlora", seed=seed)
        drawn = torch.rand(3)
        torch.manual_seed(99)
        assert torch.equal(drawn, torch.rand(3))
        states.append({n: t for n, t in sam.state_dict().items() if ".down." in n})
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])
    assert not any(torch.equal(states[0][n], states[2][n]) for n in states[0])


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("method", ["decoder", *ADDED])
def test_trained_tensors_alone_bring_a_network_back(base, method):
    sam = _sam(base)
    twin = copy.deepcopy(sam)
    names = adapt(sam, method, rank=2, ratio=0.1)
    _train(sam, names)
    twin.trained = adapt(twin, method, rank=2, ratio=0.1, seed=7)
    state = {name: tensor.clone() for name, tensor in trained_state(sam).items()}
    assert set(state) == names
    load_trained(twin, state)
    with torch.inference_mode():
        assert torch.equal(_masks(twin.eval(), _pixels()), _masks(sam.eval(), _pixels()))


@pytest.mark.parametrize("method", ADDED)
def test_a_copy_has_updates_of_its_own(method):
    sam = _sam("tiny")
    adapt(sam, method)
    twin = copy.deepcopy(sam)
    with torch.inference_mode():
        before = twin.encode(_pixels())
        _scatter(sam, "")
        assert torch.equal(twin.encode(_pixels()), before)
        assert not torch.equal(sam.encode(_pixels()), before)


def test_what_cannot_be_followed_is_refused():
    sam = _sam("tiny")
    with pytest.raises(UnknownNameError, match=r"unknown method of adaptation 'lorra'.*lora"):
        adapt(sam, "lorra")
    with pytest.raises(RecipeError, match="rank is 0; LoRA needs at least 1"):
        adapt(sam, "lora", rank=0)
    with pytest.raises(RecipeError, match=r"ratio is nan; an adapter needs a width above 0"):
        adapt(sam, "adapter", ratio=float("nan"))
    assert not any(isinstance(m, QvUpdate | Bottleneck) for m in sam.modules())
    adapt(sam, "lora")
    with pytest.raises(RecipeError, match="adapted already"):
        adapt(sam, "adapter")
