"""ISD's three parts against values computed by hand, and in bodies."""

import pytest
import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn
from torch.nn import functional as F

from headframe.core.errors import GridMismatchError, RecipeError
from headframe.models.isd import (
    AdaptiveDownsampling,
    SmoothConv,
    Smoothing,
    add_adaptive_downsampling,
    add_smooth_blocks,
    suppression_loss,
)


@pytest.fixture
def oblong():
    return torch.rand(2, 4, 7, 10, generator=torch.Generator().manual_seed(0))


def with_even_weights(channels, **options):
    down = AdaptiveDownsampling(channels, **options).eval()
    nn.init.zeros_(down.spatial[0].weight)
    return down


def test_equal_weights_are_the_mean_of_nine_with_reflection(oblong):
    out = with_even_weights(4)(oblong)
    expected = F.avg_pool2d(F.pad(oblong, (1, 1, 1, 1), mode="reflect"), 3, stride=2)
    assert out.shape == (2, 4, 4, 5)
    torch.testing.assert_close(out, expected)


def test_a_corner_by_hand():
    # reflected, the corner of [[1, 2], [3, 4]] sees 4 3 4 / 2 1 2 / 4 3 4
    out = with_even_weights(1)(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    assert out.flatten().tolist() == pytest.approx([27 / 9])


def test_weights_by_hand_of_place_times_channel():
    down = AdaptiveDownsampling(1).eval()
    nn.init.zeros_(down.spatial[0].weight)
    with torch.no_grad():
        down.spatial[0].weight[0, 0, 1, 1] = 1.0  # the first tap's logit is the middle value, 5
        down.channel[1].weight.fill_(1.0)
        down.channel[3].weight.fill_(0.1)  # the channel's scale is 0.1 x its mean, 5
        down.spatial[1].running_var.fill_(1 - down.spatial[1].eps)
    x = torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    middle = AdaptiveDownsampling(1, stride=1).eval()
    middle.load_state_dict(down.state_dict())
    # softmax of (5 x 0.5, 0, 0, 0, 0, 0, 0, 0, 0): the first has e^2.5, the other eight 1 each
    e = torch.tensor(2.5).exp()
    expected = float((1 * e + 44) / (e + 8))
    assert float(middle(x).detach()[0, 0, 1, 1]) == pytest.approx(expected, rel=1e-5)


def test_a_constant_map_stays_and_nothing_leaves_the_range(oblong):
    down = AdaptiveDownsampling(4).train()
    torch.testing.assert_close(down(torch.full((1, 4, 8, 6), 3.0)), torch.full((1, 4, 4, 3), 3.0))
    out = down(5 * oblong).detach()
    assert float(out.min()) >= 0
    assert float(out.max()) <= 5


def test_groups_share_their_weights(oblong):
    down = AdaptiveDownsampling(4, groups=2).eval()
    assert down.spatial[0].weight.shape == (18, 2, 3, 3)
    with torch.no_grad():
        down.channel[3].weight.zero_()
    torch.testing.assert_close(down(oblong), with_even_weights(4)(oblong))


def test_published_size_of_downsampling():
    # 9 x 9 weights and 9 x 2 of the norm a channel, and two convolutions of C x C / 4
    count = sum(p.numel() for p in AdaptiveDownsampling(256).parameters())
    assert count == 256 * 81 + 256 * 18 + 2 * 256 * 64


def test_smoothing_starts_as_the_binomial_filter():
    kernel = Smoothing(3).kernel
    binomial = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    torch.testing.assert_close(kernel, binomial.expand(3, 1, 3, 3))
    dot = torch.zeros(1, 3, 5, 6)
    dot[0, 1, 2, 3] = 16
    out = Smoothing(3)(dot).detach()
    torch.testing.assert_close(out[0, 1, 1:4, 2:5], 16 * binomial)
    assert float(out[0, [0, 2]].abs().max()) == 0


def test_smoothing_stays_a_low_pass_filter_whatever_it_learns():
    smooth = Smoothing(2)
    with torch.no_grad():
        smooth.logits.copy_(torch.randn(2, 1, 9) * 5)
    assert bool((smooth.kernel >= 0).all())
    torch.testing.assert_close(smooth.kernel.sum(dim=(1, 2, 3)), torch.ones(2))


def test_a_smooth_convolution_starts_as_the_convolution_alone(oblong):
    conv = nn.Conv2d(4, 6, 3, padding=1, stride=2, bias=False)
    both = SmoothConv(conv)
    assert torch.equal(both(oblong), conv(oblong))
    with torch.no_grad():
        both.mix.weight.normal_()
    by_hand = conv(oblong) + F.conv2d(both.smooth(oblong, stride=2), both.mix.weight)
    torch.testing.assert_close(both(oblong), by_hand)
    both(oblong).sum().backward()
    assert float(both.smooth.logits.grad.abs().max()) > 0


def test_smoothing_stands_where_a_strided_convolution_of_tensorflow_looks():
    # on even sides TensorFlow pads below and to the right alone: the first centre is (1, 1)
    conv = Conv2dSame(1, 1, 5, stride=2, bias=False)
    nn.init.zeros_(conv.weight)
    both = SmoothConv(conv)
    nn.init.ones_(both.mix.weight)
    dot = torch.zeros(1, 1, 6, 8)
    dot[0, 0, 1, 3] = 16
    out = both(dot)[0, 0].detach()
    assert out.shape == (3, 4)
    torch.testing.assert_close(out[0], torch.tensor([0.0, 4.0, 0.0, 0.0]))


def test_suppression_by_hand():
    noisy = [torch.tensor([[[[0.1, 1.0]]]]), torch.tensor([[[[0.2]]]])]
    clean = [torch.zeros(1, 1, 1, 2), torch.tensor([[[[0.1]]]])]
    # 0.01 ((0.01 + 0.1) / 2 + 0.01)
    assert float(suppression_loss(noisy, clean)) == pytest.approx(0.01 * 0.065)
    assert float(suppression_loss(noisy, clean, weight=1.0)) == pytest.approx(0.065)
    assert float(suppression_loss(clean, clean)) == 0


def test_suppression_teaches_both_sides_within_its_limit():
    noisy = torch.tensor([[[[0.1, 1.0]]]], requires_grad=True)
    clean = torch.zeros(1, 1, 1, 2, requires_grad=True)
    suppression_loss([noisy], [clean], weight=1.0).backward()
    assert noisy.grad.flatten().tolist() == pytest.approx([0.1, 0])
    assert clean.grad.flatten().tolist() == pytest.approx([-0.1, 0])


def test_suppression_of_what_does_not_fit():
    with pytest.raises(GridMismatchError, match="1 noisy and 2 clean"):
        suppression_loss([torch.zeros(1)], [torch.zeros(1), torch.zeros(1)])
    with pytest.raises(GridMismatchError, match="0 noisy"):
        suppression_loss([], [])


def body_of(name):
    return timm.create_model(name, pretrained=False, features_only=True, out_indices=(1, 2, 3, 4))


@pytest.mark.parametrize("name", ["resnet26", "resnet10t", "tf_efficientnet_lite0"])
def test_bodies_keep_their_shapes_and_train(name):
    torch.manual_seed(0)
    body = body_of(name)
    before = [x.shape for x in body(torch.zeros(2, 3, 64, 96))]
    add_adaptive_downsampling(body)
    add_smooth_blocks(body)
    found = body(torch.randn(2, 3, 64, 96))
    assert [x.shape for x in found] == before
    with torch.no_grad():
        for module in body.modules():
            if isinstance(module, SmoothConv):
                module.mix.weight.normal_(std=0.1)
            if isinstance(module, nn.BatchNorm2d):
                module.weight.fill_(1.0)  # timm starts the last one of a block at 0
    sum(x.square().mean() for x in body(torch.randn(2, 3, 64, 96))).backward()
    still = [key for key, p in body.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_parts_lie_where_the_paper_has_them():
    with torch.device("meta"):
        body = body_of("resnet50")
        add_adaptive_downsampling(body)
        add_smooth_blocks(body)
    downs = {n: m for n, m in body.named_modules() if isinstance(m, AdaptiveDownsampling)}
    assert {n: m.groups for n, m in downs.items()} == {
        "layer2.down": 256,
        "layer3.down": 512,
        "layer4.down": 1024,
    }
    smooth = [n for n, m in body.named_modules() if isinstance(m, SmoothConv)]
    assert len(smooth) == 16
    assert {n.rsplit(".", 1)[1] for n in smooth} == {"conv2"}
    strides = {m.stride for m in body.layer4.stage.modules() if isinstance(m, nn.Conv2d)}
    assert strides == {(1, 1)}
    assert body.maxpool.stride == 2


def test_parts_of_the_small_body():
    with torch.device("meta"):
        body = body_of("tf_efficientnet_lite0")
        plain = sum(p.numel() for p in body.parameters())
        add_adaptive_downsampling(body)
        add_smooth_blocks(body)
    downs = [n for n, m in body.named_modules() if isinstance(m, AdaptiveDownsampling)]
    assert downs == ["blocks.2.down", "blocks.3.down", "blocks.5.down"]
    smooth = [m.conv.groups for m in body.modules() if isinstance(m, SmoothConv)]
    assert len(smooth) == 16
    assert min(smooth) > 1
    assert sum(p.numel() for p in body.parameters()) < 1.2 * plain


def test_a_stage_without_halving_is_what_it_was():
    torch.manual_seed(0)
    body = body_of("resnet26").eval()
    kept = body.layer2[1].conv2.weight.clone()
    add_adaptive_downsampling(body)
    assert torch.equal(body.layer2.stage[1].conv2.weight, kept)


def test_a_body_of_another_family():
    body = nn.Sequential(nn.Conv2d(3, 4, 3))
    for add in (add_adaptive_downsampling, add_smooth_blocks):
        with pytest.raises(RecipeError, match="not Sequential"):
            add(body)
