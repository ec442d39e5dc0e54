"""The illumination-adaptive transformer, untrained and with its authors' weights."""

import pytest
import torch

from headframe.models.iat import LOCAL_REACH_PX, Iat, is_iat


@pytest.fixture
def network():
    torch.manual_seed(5)
    network = Iat().eval()
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return network


def test_it_has_the_papers_size():
    assert sum(value.numel() for value in Iat().parameters()) == 91_348 - 2 * (32 + 64) - 2
    assert is_iat(Iat().state_dict())
    assert not is_iat({"local_net.conv1.weight": 1})
    assert not is_iat([1])


def test_a_pixel_is_changed_by_its_near_ones_only(network):
    image = torch.rand(1, 3, 40, 52)
    image.requires_grad_()
    network.local(image)[0, :, 20, 26].sum().backward()
    rows, cols = image.grad.abs().sum(1)[0].nonzero().T
    assert rows.min() == 20 - LOCAL_REACH_PX
    assert rows.max() == 20 + LOCAL_REACH_PX
    assert cols.min() == 26 - LOCAL_REACH_PX
    assert cols.max() == 26 + LOCAL_REACH_PX


def test_colour_matrix_and_gamma_by_hand():
    changed = torch.tensor([0.25, 0.5, 0.75]).view(1, 3, 1, 1)
    colour = torch.tensor([[[0.0, 1, 0], [1, 0, 0], [0, 0, 2]]])
    lit = Iat.adjust(changed, torch.tensor([[2.0]]), colour)
    torch.testing.assert_close(lit.flatten(), torch.tensor([0.25, 0.0625, 1.0]))


def test_photographs_of_a_batch_do_not_mix(network):
    images = torch.rand(2, 3, 24, 31)
    with torch.no_grad():
        together = network(images)
        torch.testing.assert_close(together[1:], network(images[1:]))
    assert together.shape == images.shape
    assert together.min() >= 0
    assert together.max() <= 1 + 1e-6
