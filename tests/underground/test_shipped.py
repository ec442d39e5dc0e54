"""The chain that comes with the package."""

from dataclasses import replace

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
def test_the_chain_works_as_it_was_packed(shared_data):
    """On photographs of its training, in a noise it never saw: a guard of files, no figure."""
    folder = shared_data / "pennfudan"
    labels = read_coco(folder / "instances.json")
    few = replace(labels, images=labels.images[:4])
    photographs = read_photographs(
        few, folder / "images", categories=("person",), short_side_px=320
    )
    chain = load_chain("dis-mine-person", device="cpu")
    evaluation = InstanceEvaluation({"person": 1})
    for photograph in photographs:
        dark = photograph.darkened(0.03, seed=20)
        pixels = np.ascontiguousarray(dark.image.transpose(2, 0, 1), np.float32) / np.float32(255)
        with torch.inference_mode():
            found = chain.look(pixels).detections
        evaluation.update(truth_of(photograph), found, crowd=photograph.crowd)
    assert evaluation.report().mean["mask_ap50"] > 0.7
