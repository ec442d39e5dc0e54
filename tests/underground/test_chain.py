"""The chain with each part left out and put in; times; what does not fit."""

import tracemalloc

import numpy as np
import pytest
import torch

from headframe.core.errors import GridMismatchError, RecipeError
from headframe.engine.detectors import build_detector
from headframe.engine.enhancing import BASELINES
from headframe.models.sam.classprompt import build_class_prompted_sam
from headframe.underground import chain as module
from headframe.underground.chain import Chain, ChainOptions, reduced_float
from headframe.underground.fusion import FusionOptions


def pixels_of(picture):
    return np.ascontiguousarray(picture.transpose(2, 0, 1)).astype(np.float32) / 255


@pytest.fixture
def sam():
    torch.manual_seed(0)
    return build_class_prompted_sam(1, base="tiny")


def test_the_detector_alone(blob_chain, workers):
    looked = blob_chain().look(pixels_of(workers))
    assert len(looked.detections) == 2
    assert looked.detections.logits is None
    assert looked.detections.boxes.tolist() == [[6, 8, 20, 30], [50, 20, 56, 28]]
    assert list(looked.stages) == ["detect"]
    assert looked.fused is None
    assert looked.size == (48, 66)
    assert set(looked.seconds) == set(module.PARTS)
    assert looked.seconds["sam"] == looked.seconds["fuse"] == 0
    assert looked.seconds["detect"] > 0


def test_sam_is_asked_about_the_sure_ones(blob_chain, workers, sam):
    chain = blob_chain(sam=sam, options=ChainOptions(sam_score=0.7))
    looked = chain.look(pixels_of(workers))
    assert len(looked.stages["sam"]) == 1
    np.testing.assert_array_equal(looked.detections.masks[0], looked.stages["sam"].masks[0])
    np.testing.assert_array_equal(looked.detections.masks[1], looked.stages["detect"].masks[1])
    np.testing.assert_array_equal(looked.detections.scores, looked.stages["detect"].scores)
    assert not sam.training
    silent = blob_chain(sam=sam, options=ChainOptions(sam_score=1.0)).look(pixels_of(workers))
    assert len(silent.stages["sam"]) == 0
    assert len(silent.detections) == 2


@pytest.mark.parametrize("method", ["intersection", "weighted", "boundary", "detector"])
def test_fusion(blob_chain, workers, sam, method):
    options = FusionOptions(method=method, close=False, open_=False)
    chain = blob_chain(sam=sam, fusion=options, options=ChainOptions(sam_score=0.7))
    looked = chain.look(pixels_of(workers))
    assert looked.fused is not None
    assert len(looked.fused.detections) == 1
    either = looked.stages["detect"].masks[0] | looked.stages["sam"].masks[0]
    assert not (looked.detections.masks[0] & ~either).any()
    np.testing.assert_array_equal(looked.detections.masks[1], looked.stages["detect"].masks[1])
    again = chain.look(pixels_of(workers))
    np.testing.assert_array_equal(looked.detections.masks, again.detections.masks)


def test_the_grid_rule_reaches_all(blob_chain, sam):
    picture = np.zeros((3, 48, 64), np.float32)
    picture[:, 20:48, 4:30] = picture[:, 38:47, 50:60] = 1
    sam = build_class_prompted_sam(2, base="tiny")
    for fusion, labels in (
        (FusionOptions(method="detector", grid="structural"), [2, 2]),
        (FusionOptions(method="detector"), [1, 1]),
        (None, [1, 1]),
    ):
        chain = blob_chain(categories=("wall", "road"), sam=sam, fusion=fusion)
        assert chain.look(picture).detections.labels.tolist() == labels


def test_all_networks_see_the_enhanced_photograph(blob_chain, workers, sam):
    dark = pixels_of(workers // 4)
    assert len(blob_chain(sam=sam).look(dark).detections) == 0
    looked = blob_chain(sam=sam, prepare=BASELINES["gamma"], threshold=0.5).look(dark)
    assert len(looked.detections) == 2
    np.testing.assert_array_equal(looked.shown, BASELINES["gamma"](dark))
    assert looked.seconds["enhance"] > 0


def test_large_photographs_are_reduced(blob_chain, workers):
    chain = blob_chain(options=ChainOptions(short_side_px=32))
    looked = chain.look(pixels_of(workers.repeat(4, axis=0).repeat(4, axis=1)))
    assert chain.detector.seen == [(3, 32, 44)]
    assert looked.size == (192, 264)
    assert looked.detections.size == (32, 44)
    full = blob_chain(options=ChainOptions(short_side_px=0)).look(pixels_of(workers))
    assert full.shown.shape == (3, 48, 66)


def test_reducing_is_averaging():
    pixels = np.random.default_rng(0).random((3, 64, 96)).astype(np.float32)
    small = reduced_float(pixels, 32)
    np.testing.assert_allclose(small, pixels.reshape(3, 32, 2, 48, 2).mean((2, 4)), atol=1e-6)
    assert reduced_float(pixels, 64) is pixels


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("short_side_px", [32, 0])
def test_levels_are_looked_at_as_floats_are(blob_chain, workers, kind, short_side_px):
    large = workers.repeat(3, axis=0).repeat(3, axis=1)
    large = large.astype(kind) * (257 if kind is np.uint16 else 1)
    chain = blob_chain(options=ChainOptions(short_side_px=short_side_px))
    first = chain.look(pixels_of(workers.repeat(3, axis=0).repeat(3, axis=1)))
    second = chain.look_at(large)
    assert second.size == first.size == (144, 198)
    np.testing.assert_allclose(second.shown, first.shown, atol=1e-6)
    np.testing.assert_array_equal(second.detections.masks, first.detections.masks)
    assert set(second.cpu_seconds) == set(module.PARTS)
    with pytest.raises(GridMismatchError, match=r"shape \(3, 48, 66\)"):
        chain.look_at(np.zeros((3, 48, 66), np.uint8))


def test_a_photograph_of_12_mp_is_never_floats(blob_chain):
    large = np.full((3000, 4000, 3), 20, np.uint8)
    large[900:2100, 300:1500] = 230
    chain = blob_chain()
    tracemalloc.start()
    try:
        looked = chain.look_at(large)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert looked.size == (3000, 4000)
    assert looked.detections.masks.shape == (1, 320, 427)  # masks stay small
    assert peak < 90e6  # as floats it would be 144 MB, and a mask 12 MB each


def test_low_scores_are_dropped(blob_chain, workers):
    chain = blob_chain(options=ChainOptions(min_score=0.7))
    assert len(chain.look(pixels_of(workers)).detections) == 1


def test_a_tiny_untrained_network_of_each_kind(workers, sam):
    torch.manual_seed(1)
    options = {"channels": 8, "frozen_norm": False, "min_px": 48, "max_px": 64, "anchor_px": 8,
               "proposals": 20, "sampled": 16}  # fmt: skip
    detector = build_detector("maskrcnn", options, classes=1)
    chain = Chain(
        detector, ("person",), sam=sam, fusion=FusionOptions(), options=ChainOptions(sam_score=0)
    )
    looked = chain.look(pixels_of(workers))
    assert len(looked.stages["fuse"]) == len(looked.stages["detect"]) > 0
    assert looked.detections.size == (48, 66)
    for shape in ((1, 1), (2, 300), (33, 1)):
        assert chain.look(np.zeros((3, *shape), np.float32)).size == shape


def test_overhead_is_fusion_and_glue_over_networks(blob_chain, workers, monkeypatch):
    looked = blob_chain().look(pixels_of(workers))
    told = {"enhance": 1.0, "detect": 2.0, "sam": 1.0, "fuse": 0.3, "glue": 0.1}
    object.__setattr__(looked, "seconds", told)
    assert looked.overhead == pytest.approx(0.1)


def test_what_does_not_fit(blob_chain, sam):
    with pytest.raises(RecipeError, match="fusion needs a SAM"):
        blob_chain(fusion=FusionOptions())
    with pytest.raises(RecipeError, match="SAM was told 1 classes, the detector finds 2"):
        blob_chain(categories=("road", "person"), sam=sam)
    blob_chain(categories=("road", "person"), sam=sam, options=ChainOptions(classes=False))
    with pytest.raises(RecipeError, match="Linear is no detector"):
        Chain(torch.nn.Linear(1, 1), ("person",))
    with pytest.raises(RecipeError, match="sam_score is 2"):
        ChainOptions(sam_score=2)
    with pytest.raises(RecipeError, match="short_side_px is 5"):
        ChainOptions(short_side_px=5)
    with pytest.raises(GridMismatchError, match=r"shape \(48, 66, 3\)"):
        blob_chain().look(np.zeros((48, 66, 3), np.float32))
