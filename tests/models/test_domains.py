"""MDIL's old path: shared kernels, norms and head of its own, a residual tap."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from headframe.models.domains import OldPath
from headframe.models.registry import build_network


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_network("fpn", ("red", "green", "blue"), 1, {}).train()


def moved(network, wanted):
    generator = torch.Generator().manual_seed(4)
    for name, value in network.named_parameters():
        if wanted(name):
            value.data += 0.1 * torch.randn(value.shape, generator=generator)


def is_kernel(name):
    return name.endswith("conv.weight") or ".block.0.weight" in name


def test_the_path_is_at_first_the_network_at_rest(network):
    old = OldPath(network)
    pixels = torch.randn(2, 3, 64, 64)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.decoder.dropout.eval()
    found = old(network, pixels)
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    torch.testing.assert_close(found, network.eval()(pixels), atol=1e-5, rtol=1e-4)


def test_norms_and_head_of_the_new_domain_do_not_matter_and_kernels_do(network):
    old = OldPath(network)
    network.eval()
    pixels = torch.randn(1, 3, 64, 64)
    before = old(network, pixels).detach()
    moved(network, lambda name: "segmentation_head" in name)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.running_mean += 1.0
        norm.weight.data *= 1.5
    torch.testing.assert_close(old(network, pixels).detach(), before)
    moved(network, lambda name: "encoder" in name)
    assert not torch.allclose(old(network, pixels), before, atol=1e-3)


@pytest.mark.parametrize(("kernel", "stride", "groups"), [(3, 1, 1), (3, 2, 1), (5, 1, 4)])
def test_the_residual_is_a_convolution_of_one_tap_beside(kernel, stride, groups):
    torch.manual_seed(1)
    conv = nn.Conv2d(4, 8, kernel, stride=stride, padding=kernel // 2, groups=groups)
    network = nn.Sequential(conv)
    old = OldPath(network)
    (residual,) = old.residuals
    assert residual.shape == (8, 4 // groups, 1, 1)
    residual.data.normal_()
    pixels = torch.randn(1, 4, 9, 9)
    beside = functional.conv2d(pixels, residual, stride=stride, groups=groups)
    torch.testing.assert_close(old(network, pixels), network(pixels) - beside, atol=1e-5, rtol=1e-4)


def test_gradients_reach_kernels_and_residuals_alone(network):
    old = OldPath(network)
    assert len(old.residuals) > 10
    old(network, torch.randn(1, 3, 64, 64)).sum().backward()
    assert all(residual.grad is not None for residual in old.residuals)
    kernel = network.encoder.get_parameter("model.conv_stem.weight")
    assert kernel.grad.abs().sum() > 0
    assert network.get_parameter("segmentation_head.0.weight").grad is None
    assert all(m.weight.grad is None for m in network.modules() if isinstance(m, nn.BatchNorm2d))
