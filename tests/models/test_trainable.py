import copy

import pytest
import torch
from torch import nn

from headframe.core.errors import FormatError
from headframe.models.trainable import (
    Embedder,
    copy_with,
    count_trained,
    load_trained,
    set_trainable,
    trained_names,
    trained_state,
    trained_view,
)

TRAINED = frozenset({"head.weight", "head.bias", "norm.weight", "norm.running_mean"})


class Half(nn.Module):
    """A frozen encoder with a batch norm and dropout; a trained norm and head."""

    def __init__(self, trained=TRAINED):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Conv2d(4, 1, 1)
        self.trained = trained

    def forward(self, x):
        return self.head(self.drop(self.norm(self.encoder(x))))


def plain():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))


def test_all_of_a_network_is_trained_unless_it_says_less():
    network = plain()
    assert trained_names(network) == frozenset(network.state_dict())
    assert trained_view(network) is network
    assert trained_names(Half()) == TRAINED
    assert list(trained_state(Half())) == [
        *("norm.weight", "norm.running_mean"),
        *("head.weight", "head.bias"),
    ]
    assert count_trained(Half()) == (9, 3 * 4 * 9 + 4 + 8 + 8 + 5)
    assert not isinstance(Half(), Embedder)


def test_a_name_that_is_no_tensor_is_an_error():
    with pytest.raises(FormatError, match=r"1 tensors trained .* 'tail\.weight'"):
        trained_names(Half(frozenset({"head.weight", "tail.weight"})))


def test_what_is_frozen_stays_in_evaluation():
    network = Half()
    set_trainable(network)
    needing = {key for key, value in network.named_parameters() if value.requires_grad}
    assert needing == {"head.weight", "head.bias", "norm.weight"}
    assert network.training
    assert network.norm.training
    assert network.drop.training
    assert not network.encoder[1].training
    assert not network.encoder[2].training
    before = copy.deepcopy(network.state_dict())
    network(torch.randn(2, 3, 9, 7)).sum().backward()
    after = network.state_dict()
    assert torch.equal(after["encoder.1.running_mean"], before["encoder.1.running_mean"])
    assert not torch.equal(after["norm.running_mean"], before["norm.running_mean"])
    whole = plain().eval()
    whole.requires_grad_(False)
    set_trainable(whole)
    assert whole[1].training
    assert all(value.requires_grad for value in whole.parameters())


def test_trained_tensors_go_from_one_network_to_another():
    torch.manual_seed(1)
    one, two = Half(), Half()
    encoder = two.encoder[0].weight.clone()
    load_trained(two, trained_state(one))
    assert torch.equal(two.head.weight, one.head.weight)
    assert torch.equal(two.encoder[0].weight, encoder)
    with pytest.raises(RuntimeError, match=r"1 tensors are frozen here, 'encoder\.0\.weight'"):
        load_trained(two, {**trained_state(one), "encoder.0.weight": encoder})
    with pytest.raises(RuntimeError, match=r"Missing key.*head\.bias"):
        load_trained(two, {k: v for k, v in trained_state(one).items() if k != "head.bias"})


def test_a_view_shares_its_tensors_and_an_average_of_it_can_be_copied_back():
    network = Half()
    view = trained_view(network)
    assert {key.replace("/", ".") for key in view.state_dict()} == TRAINED
    network.head.bias.data.fill_(7.0)
    network.norm.running_mean.fill_(3.0)
    assert view.state_dict()["head/bias"].item() == 7.0
    average = copy.deepcopy(view)
    average.get_parameter("head/bias").data.fill_(2.0)
    twin = copy_with(network, average)
    assert twin.head.bias.item() == 2.0
    assert network.head.bias.item() == 7.0
    assert twin.norm.running_mean.tolist() == [3.0] * 4
    assert torch.equal(twin.encoder[0].weight, network.encoder[0].weight)
    assert not twin.training
    assert not any(value.requires_grad for value in twin.parameters())
    assert twin.trained == TRAINED
