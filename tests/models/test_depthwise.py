import copy

import torch
from torch import nn

from headframe.models.depthwise import depthwise_in_float32
from headframe.models.registry import build_network

BANDS = ("red", "green", "blue")


def test_only_depthwise_convolutions_leave_autocast():
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 1))
    names = [type(m).__name__ for m in network]
    assert depthwise_in_float32(network) == 1
    assert depthwise_in_float32(network) == 1  # twice is once
    assert [type(m).__name__ for m in network] == names
    seen = []
    for module in network:
        module.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.rand(1, 3, 9, 9)).float().sum().backward()
    assert seen == [torch.bfloat16, torch.float32, torch.bfloat16]
    assert all(p.grad is not None for p in network.parameters())


def test_names_values_and_copies_stay():
    torch.manual_seed(0)
    network = build_network("fpn", BANDS, 1, {"encoder": "tf_efficientnet_lite0"}).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        plain = network(pixels)
        assert depthwise_in_float32(network) == 16
        assert torch.equal(network(pixels), plain)
        twin = copy.deepcopy(network)
        for parameter in network.parameters():
            parameter.zero_()
        assert torch.equal(twin(pixels), plain)  # of its own weights
    assert twin.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in twin.state_dict().items())
