"""One architecture learns eight drawn chips by heart; scripts/overfit.py tries all of them."""

import importlib.util
import sys

import pytest
import torch

from headframe.models.registry import BUILDERS


@pytest.fixture
def script(repo_root, monkeypatch):
    spec = importlib.util.spec_from_file_location("overfit", repo_root / "scripts/overfit.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "overfit", module)
    spec.loader.exec_module(module)
    return module


def test_a_network_learns_eight_chips_by_heart(script):
    outcome = script.overfit("linknet")
    assert outcome.iou > 0.9
    assert outcome.steps <= 300


def test_the_smallest_sam_learns_them_too(script):
    assert script.overfit("sam-tiny", most=120).iou > 0.9


def test_without_steps_nothing_is_learnt(script):
    assert script.overfit("linknet", most=0).iou == 0


def test_chips_are_eight_with_both_classes(script):
    images, labels = script.draw_chips(64)
    assert images.shape == (8, 15, 64, 64)
    assert labels.shape == (8, 64, 64)
    assert set(labels.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(images.mean(dim=(0, 2, 3)), torch.zeros(15), atol=1e-4, rtol=0)


def test_every_family_is_tried(script):
    left_out = set(BUILDERS) - set(script.smallest())
    assert {"minesegsat-b1", "minesegsat-b3", "sam-litemedsam", "sam-vit-b"} <= left_out
    assert all(name.startswith(("minesegsat-b", "sam-")) for name in left_out)
    assert {"sam-tiny", "minesegsat-b0", "fpn"} <= set(script.smallest())
