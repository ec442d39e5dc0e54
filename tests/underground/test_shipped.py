"""The chain that comes with the package, on real photographs it never saw."""

import numpy as np
import pytest
import torch

from headframe.datasets.coco import read_coco
from headframe.datasets.photographs import read_photographs
from headframe.metrics.instances import InstanceEvaluation
from headframe.underground.chain_bundle import load_chain
from headframe.underground.chain_found import truth_of
from headframe.underground.chain_names import shipped_chains


def test_what_comes_with_the_package():
    assert "dis-mine-person" in shipped_chains()


@pytest.mark.realdata
def test_the_chain_finds_people_in_the_dark(shared_data):
    folder = shared_data / "coco200" / "val"
    labels = read_coco(folder / "instances.json")
    photographs = read_photographs(
        labels, folder / "images", categories=("person",), short_side_px=320
    )
    large = [p for p in photographs if p.masks.any() and p.masks[0].mean() > 0.08][:5]
    chain = load_chain("dis-mine-person", device="cpu")
    evaluation = InstanceEvaluation({"person": 1})
    for photograph in large:
        dark = photograph.darkened(0.1, seed=0)
        pixels = np.ascontiguousarray(dark.image.transpose(2, 0, 1), np.float32) / np.float32(255)
        with torch.inference_mode():
            found = chain.look(pixels).detections
        evaluation.update(truth_of(photograph), found, crowd=photograph.crowd)
    assert len(evaluation.matches) == 5
    assert evaluation.report().mean["mask_ap50"] > 0.4
