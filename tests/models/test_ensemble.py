import pytest
import torch

from headframe.core.errors import HeadframeError
from headframe.models.registry import build_network

SMALL = {"architecture": "procanet", "options": {"width": 4}}


def test_several_classes_sum_to_one():
    network = build_network("ensemble", ("red", "nir"), 3, {"members": [SMALL, SMALL]}).eval()
    with torch.inference_mode():
        logits = network(torch.randn(1, 2, 32, 32))
    sums = logits.exp().sum(dim=1)
    torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([], "empty"),
        ([{"options": {}}], "'architecture' is missing"),
        ([{**SMALL, "share": 1}], "'share' is no field"),
        ([{**SMALL, "bands": ["swir16"]}], "asks for bands swir16"),
        ([{**SMALL, "scale": [1.0]}], "with 1 scales and 0 shifts"),
        ([{**SMALL, "weight": 0}], "the weight of procanet is 0"),
        ([{"architecture": "unot"}], "unot"),
    ],
)
def test_bad_members_are_refused(members, words):
    with pytest.raises(HeadframeError, match=words):
        build_network("ensemble", ("red", "nir"), 1, {"members": members})
