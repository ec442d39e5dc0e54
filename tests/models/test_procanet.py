import pytest
import torch

from headframe.core.errors import BandError, RecipeError
from headframe.models.procanet import Exchange, ExchangeOptions, build_procanet, gates
from headframe.models.registry import count_parameters

BANDS = ("red", "green", "blue", "nir")
SPLIT = {"first": BANDS[:3], "second": BANDS[3:]}


def _pixels(count=1, height=32, width=48, bands=4):
    return torch.randn(count, bands, height, width, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def small():
    def build(**options):
        torch.manual_seed(0)
        return build_procanet(BANDS, 1, width=4, **options).eval()

    return build


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({"width": 32, "join": "sum"}, 25_051_265),
        ({"width": 64, "join": "sum"}, 100_174_081),
        ({"width": 32}, 25_750_625),
        ({"width": 64}, 102_969_537),
        ({"width": 32, "attention": "none"}, 25_750_625 - 12_574_592),
        ({"width": 32, "kernel": 1}, 25_750_625 - 12_574_592 + 1_400_704),
        ({"width": 64, "kernel": 1}, 102_969_537 - 50_290_432 + 5_594_880),
    ],
)
def test_parameters_are_those_of_the_specification(options, parameters):
    assert count_parameters("procanet", BANDS, 1, {**SPLIT, **options}) == parameters


def test_masks_by_hand():
    """A 1 x 1 mask without weights is sigmoid(bias); each step multiplies by its own."""
    exchange = Exchange(1, level=0, sides=2, options=ExchangeOptions(kernel=1, join="sum"))
    bias = {"own.0": 0.0, "own.1": 1.0, "other.0": -1.0, "other.1": 2.0}
    with torch.no_grad():
        for name, value in exchange.named_parameters():
            value.fill_(bias[name[: name.index(".mask")]] if name.endswith("bias") else 0.0)
        first, second = torch.full((1, 1, 2, 3), 5.0), torch.full((1, 1, 2, 3), -7.0)
        joined, (one, two) = exchange([first, second])
    sigmoid = {name: 1 / (1 + 2.718281828**-value) for name, value in bias.items()}
    assert float(one[0, 0, 0, 0]) == pytest.approx(5 * sigmoid["own.0"] * sigmoid["other.0"])
    assert float(two[0, 0, 1, 2]) == pytest.approx(-7 * sigmoid["own.1"] * sigmoid["other.1"])
    torch.testing.assert_close(joined, one + two)


def test_a_cross_mask_is_made_of_what_the_other_side_has_weighed():
    """With weight 1 and no bias: C = sigmoid(S2 * X2), not sigmoid(X2)."""
    exchange = Exchange(1, level=0, sides=2, options=ExchangeOptions(kernel=1, join="sum"))
    with torch.no_grad():
        for name, value in exchange.named_parameters():
            value.fill_(0.0 if name.endswith("bias") else 1.0)
        first, second = torch.tensor([[[[2.0]]]]), torch.tensor([[[[3.0]]]])
        _, (one, _) = exchange([first, second])
    expected = first * first.sigmoid() * (second * second.sigmoid()).sigmoid()
    torch.testing.assert_close(one, expected)


@pytest.mark.parametrize("masks", ["conv", "channel", "dot-product"])
@pytest.mark.parametrize("attention", ["none", "self", "cross", "both"])
def test_encoders_hear_of_each_other_only_across(masks, attention):
    exchange = Exchange(8, level=3, sides=2, options=ExchangeOptions(attention, masks)).eval()
    first, second = (_pixels(1, 4, 6, 8) + shift for shift in (0.0, 0.5))
    with torch.inference_mode():
        _, (one, two) = exchange([first, second])
        _, (again, moved) = exchange([first, second + 1.0])
    heard = not torch.equal(again, one)
    assert heard == (attention in ("cross", "both"))
    assert not torch.equal(moved, two)
    if attention == "none":
        assert torch.equal(one, first)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("masks", ["conv", "channel", "dot-product"])
def test_every_variant_learns_with_all_it_has(masks, progressive):
    network = build_procanet(BANDS, 2, width=4, masks=masks, progressive=progressive)
    logits = network(_pixels(2, 48, 32))
    assert logits.shape == (2, 2, 48, 32)
    logits.square().mean().backward()
    assert all(bool(value.grad.isfinite().all()) for value in network.parameters())


def test_progressive_changes_what_coarser_scales_see(small):
    plain, progressive = small(), small(progressive=True)
    progressive.load_state_dict(plain.state_dict())
    with torch.inference_mode():
        assert not torch.allclose(plain(_pixels()), progressive(_pixels()))


def test_one_encoder_without_attention_is_a_plain_unet(small):
    network = small(first=BANDS, second=[], attention="none")
    assert not list(network.exchanges.parameters())
    own = small(first=BANDS, second=[], attention="self")
    assert {name.split(".")[1] for name, _ in own.exchanges.named_parameters()} == {"own"}
    both = small(first=BANDS, second=[])  # cross-attention with nobody is nothing
    assert both.state_dict().keys() == own.state_dict().keys()


def test_an_encoder_sees_its_own_bands_alone(small):
    network = small(**SPLIT, attention="none")
    pixels = _pixels()
    seen = []
    for encoder in network.encoders:
        encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        first = encoder[0]
        first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        network(pixels)
    assert torch.equal(seen[0], pixels[:, :3])
    assert torch.equal(seen[1], pixels[:, 3:])


def test_unless_told_otherwise_near_infrared_is_beside_everything(small):
    assert (small().first, small().second) == (BANDS, ("nir",))
    assert build_procanet(("red", "green"), 1, width=4).second == ("green",)


def test_gates_are_seen_at_every_scale(small):
    found = gates(small(**SPLIT), _pixels(2))
    wanted = {
        f"{kind}.{side}.{n}" for kind in ("own", "other") for side in (0, 1) for n in range(5)
    }
    assert found.keys() == wanted
    for name, mask in found.items():
        level = int(name[-1])
        assert mask.shape == (2, 32 >> level, 48 >> level)
        assert 0 < float(mask.min()) <= float(mask.max()) < 1
    network = small(masks="dot-product")
    assert {name[-1] for name in gates(network, _pixels())} == {"0", "1", "2"}
    assert gates(small(masks="channel"), _pixels())["own.0.4"].shape == (1, 1, 1)
    assert not any(step._forward_hooks for step in network.modules())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"attention": "cros"}, r"attention is 'cros'; procanet knows none, self, cross, both"),
        ({"masks": "mha"}, r"masks is 'mha'"),
        ({"kernel": 5}, r"kernel is 5; procanet knows 1, 3"),
        ({"join": "mean"}, r"join is 'mean'"),
        ({"width": 0}, r"width is 0"),
        ({"second": [], "attention": "cross"}, r"needs two encoders"),
        ({"encoder_state": {}}, r"Set model.init to none"),
    ],
)
def test_options_out_of_range_are_refused(options, match):
    with pytest.raises(RecipeError, match=match):
        build_procanet(BANDS, 1, **options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"first": ["red", "swir16"]}, r"first is red, swir16; of the bands red, green, blue, nir"),
        ({"second": ["nir", "nir"]}, r"second is nir, nir"),
        ({"first": ["red", "green"]}, r"band blue goes to no encoder"),
        ({"first": [], "second": list(BANDS)}, r"first is empty"),
    ],
)
def test_bands_of_encoders_are_checked(options, match):
    with pytest.raises(BandError, match=match):
        build_procanet(BANDS, 1, **options)
