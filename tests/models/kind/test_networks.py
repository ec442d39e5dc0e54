"""The three nets of KinD: sizes, shapes, reach, and what post-processing does."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from headframe.core.errors import RecipeError
from headframe.models.kind import (
    AdjustmentNet,
    DecompositionNet,
    KinDEnhancer,
    KinDOptions,
    Layers,
    RestorationNet,
    light_up,
)
from headframe.models.kind.enhancer import (
    RECEPTIVE_PX,
    STRIDE_PX,
    ratio_to,
    training_ratio,
)


def count(network):
    return sum(p.numel() for p in network.parameters())


def conv(inputs, outputs, kernel=3):
    return inputs * outputs * kernel**2 + outputs


@pytest.mark.parametrize(
    ("build", "parameters"),
    [(DecompositionNet, 235_876), (RestorationNet, 7_760_739), (AdjustmentNet, 19_393)],
)
def test_the_authors_sizes(build, parameters):
    with torch.device("meta"):
        assert count(build()) == parameters


def test_the_restoration_net_is_counted_by_hand():
    widths = [4, 32, 64, 128, 256, 512]
    down = sum(conv(i, o) + conv(o, o) for i, o in pairwise(widths))
    up = sum(4 * 2 * w * w + conv(2 * w, w) + conv(w, w) for w in widths[1:-1])
    with torch.device("meta"):
        assert count(RestorationNet()) == down + up + conv(32, 3)


def test_kind_s_fits_into_eight_megabytes_of_halves():
    with torch.device("meta"):
        network = KinDEnhancer(KinDOptions(restoration_width=16))
    assert count(network) == 235_876 + 19_393 + 1_941_427
    assert 2 * count(network) < 8e6


@pytest.mark.parametrize(("height", "width"), [(32, 48), (37, 21), (1, 3)])
@pytest.mark.parametrize("guard", [False, True])
def test_any_size_comes_back(height, width, guard):
    torch.manual_seed(0)
    network = KinDEnhancer(KinDOptions(width=4, restoration_width=2)).eval()
    with torch.no_grad():
        out = network(torch.rand(2, 3, height, width), guard=guard)
    assert out.image.shape == out.restored.shape == (2, 3, height, width)
    assert out.dark.illumination.shape == out.adjusted.shape == (2, 1, height, width)
    assert 0 <= out.image.min() <= out.image.max() <= 1


def test_nothing_reaches_farther_than_said():
    rng = np.random.default_rng(1)
    network = KinDEnhancer(KinDOptions(width=2, restoration_width=1)).double().eval()
    with torch.no_grad():
        for weight in network.parameters():  # above 0: no path ends at a ReLU
            share = 2 / weight[0].numel() if weight.ndim > 1 else 1e-3
            weight.copy_(torch.from_numpy(share * rng.uniform(0.5, 1.5, tuple(weight.shape))))
    image = torch.from_numpy(rng.random((1, 3, 2, 2 * RECEPTIVE_PX + 65)))
    changed = image.clone()
    at = RECEPTIVE_PX + 32
    changed[..., at] = 50
    with torch.no_grad():
        moved = (network(image).image - network(changed).image).abs().amax(dim=(0, 1, 2)) > 0
    reach = (torch.nonzero(moved)[:, 0] - at).abs().max()
    assert 100 < reach < RECEPTIVE_PX


def test_a_shift_by_the_stride_shifts_the_output():
    torch.manual_seed(2)
    network = KinDEnhancer(KinDOptions(width=2, restoration_width=2)).eval()
    image = torch.rand(1, 3, 16, 2 * RECEPTIVE_PX + 3 * STRIDE_PX)
    with torch.no_grad():
        whole, part = network(image).image, network(image[..., STRIDE_PX:]).image
    inside = slice(RECEPTIVE_PX, RECEPTIVE_PX + STRIDE_PX)
    wanted = whole[..., STRIDE_PX:][..., inside]
    torch.testing.assert_close(part[..., inside], wanted)


def test_the_ratio_is_one_an_image_and_none_in_dismine():
    torch.manual_seed(3)
    dark = torch.rand(1, 3, 8, 12).expand(2, -1, -1, -1)
    kind = KinDEnhancer(KinDOptions(width=4, restoration_width=0)).eval()
    joint = KinDEnhancer(KinDOptions(mode="dismine", width=4, restoration_width=0)).eval()
    joint.load_state_dict(kind.state_dict())
    with torch.no_grad():
        both = kind(dark, ratio=torch.tensor([1.0, 4.0])).adjusted
        torch.testing.assert_close(both[:1], kind(dark[:1], ratio=1.0).adjusted)
        assert not torch.allclose(both[0], both[1])
        fixed = joint(dark, ratio=4.0).adjusted
        torch.testing.assert_close(fixed, kind(dark, ratio=1.0).adjusted)


def test_without_a_restoration_net_the_reflectance_is_the_dark_images():
    network = KinDEnhancer(KinDOptions(width=4, restoration_width=0))
    out = network(torch.rand(1, 3, 9, 7))
    assert out.restored is out.dark.reflectance


def test_detached_layers_teach_the_decomposition_nothing():
    network = KinDEnhancer(KinDOptions(width=4, restoration_width=2))
    network(torch.rand(1, 3, 16, 16), detach=True).image.sum().backward()
    assert all(p.grad is None for p in network.decomposition.parameters())
    assert all(p.grad is not None for p in network.restoration.parameters())
    network(torch.rand(1, 3, 16, 16)).image.sum().backward()
    assert all(p.grad is not None for p in network.decomposition.parameters())


def test_light_up_by_hand():
    image = torch.full((1, 3, 5, 30), 0.2)
    layers = Layers(torch.full((1, 3, 5, 30), 0.125), torch.full((1, 1, 5, 30), 0.25))
    restored, adjusted = torch.full_like(image, 0.6), torch.full((1, 1, 5, 30), 0.5)
    out = light_up(image, layers, restored=restored, adjusted=adjusted)
    # dimmed by sqrt(2 * 0.125) = 0.5 (the grey weights sum to 0.9999); a quarter is the input
    torch.testing.assert_close(
        out, torch.full_like(image, 0.25 * 0.2 + 0.75 * 0.6 * 0.5 * 0.5), atol=1e-4, rtol=0
    )
    bright = Layers(torch.full_like(image, 0.9), layers.illumination)
    out = light_up(image, bright, restored=restored, adjusted=adjusted)
    torch.testing.assert_close(out, torch.full_like(image, 0.25 * 0.2 + 0.75 * 0.6 * 0.5))


def test_ratios_by_hand():
    dark = torch.tensor([[0.1, 0.2], [0.1, 0.4]]).view(2, 1, 1, 2)
    bright = torch.tensor([[0.5, 0.5], [0.5, 0.8]]).view(2, 1, 1, 2)
    assert ratio_to(bright, dark).tolist() == pytest.approx([3.75, 3.5], rel=2e-3)
    ratios = training_ratio(dark, bright, to_bright=torch.tensor([True, False]))
    assert ratios.tolist() == pytest.approx([1 / 0.3, 0.35], rel=2e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "gan"}, "mode is 'gan'; give one of kind, dismine"),
        ({"width": 0}, "width is 0"),
        ({"restoration_width": -1}, "restoration_width -1"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(RecipeError, match=message):
        KinDOptions(**options)
