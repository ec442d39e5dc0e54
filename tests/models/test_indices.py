import pytest
import torch
from torch import nn

from headframe.core.errors import HeadframeError
from headframe.models.indices import WithIndices, inner_network
from headframe.models.registry import build_network, count_parameters

BANDS = ("red", "green", "nir", "swir16")


class _Seen(nn.Module):
    """Hands on what it is shown."""

    def forward(self, pixels):
        return pixels


@pytest.fixture
def watching():
    network = WithIndices(_Seen(), BANDS, ("ndvi", "mndwi"))
    network.set_statistics((0.1, 0.2, 0.3, 0.2), (0.05, 0.1, 0.2, 0.1))
    return network


def test_indices_are_those_of_the_reflectance(watching):
    reflectance = torch.tensor([0.05, 0.3, 0.45, 0.1]).reshape(1, 4, 1, 1)
    pixels = (reflectance - watching.mean[:, None, None]) / watching.std[:, None, None]
    seen = watching(pixels)
    assert torch.equal(seen[:, :4], pixels)
    ndvi, mndwi = (seen[0, 4:, 0, 0] * 0.5).tolist()
    assert ndvi == pytest.approx((0.45 - 0.05) / (0.45 + 0.05), abs=1e-6)
    assert mndwi == pytest.approx((0.3 - 0.1) / (0.3 + 0.1), abs=1e-6)


def test_black_and_negative_pixels_stay_finite(watching):
    reflectance = torch.tensor([[0.0, 0.0, 0.0, 0.0], [-0.02, 0.01, 0.05, -0.0098]])
    pixels = (reflectance.reshape(2, 4, 1, 1) - watching.mean[:, None, None]) / watching.std[
        :, None, None
    ]
    indices = watching(pixels)[:, 4:, 0, 0] * 0.5
    assert indices[0].abs().max() == 0
    assert indices[1].tolist() == [1, 0]  # NDVI would be 2.3; the sum of MNDWI's bands is no number


@pytest.mark.parametrize("name", ["unet", "procanet", "fpn"])
def test_any_architecture_takes_them(name):
    network = build_network(name, BANDS, 1, {"indices": ["ndwi"]}).eval()
    with torch.inference_mode():
        assert network(torch.randn(1, 4, 64, 64)).shape == (1, 1, 64, 64)
    plain = count_parameters(name, BANDS, 1, {})
    assert count_parameters(name, BANDS, 1, {"indices": ["ndwi"]}) > plain
    assert {"mean", "std"} < set(network.state_dict())
    assert inner_network(network) is network.network
    assert inner_network(network.network) is network.network


def test_an_encoder_of_procanet_can_look_at_an_index():
    options = {"second": ["nir", "ndwi"], "first": BANDS[:2] + BANDS[3:], "indices": ["ndwi"]}
    network = build_network("procanet", BANDS, 1, options).eval()
    pixels = torch.randn(1, 4, 32, 32)
    with torch.inference_mode():
        assert network(pixels).shape == (1, 1, 32, 32)


@pytest.mark.parametrize(
    ("indices", "words"),
    [
        (["nbr"], "nbr"),
        (["ndvi", "ndvi"], "once"),
        (["ndwi"], "ndwi is made of green and nir; the bands are red, blue. Add green"),
    ],
)
def test_bad_indices_are_refused(indices, words):
    bands = ("red", "blue") if indices == ["ndwi"] else BANDS
    with pytest.raises(HeadframeError, match=words):
        build_network("unet", bands, 1, {"indices": indices})


def test_a_sam_has_none():
    with pytest.raises(HeadframeError, match="no option 'indices'"):
        build_network("sam-tiny", ("red", "green", "blue"), 1, {"indices": ["ndvi"]})
