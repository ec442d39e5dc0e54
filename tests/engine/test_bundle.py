import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from headframe.core.classmap import binary_class_map, label_class_map
from headframe.core.errors import BundleError, InputError, MissingFileError, UnknownNameError
from headframe.core.modelspec import InputSpec, ModelSpec
from headframe.engine.bundle import (
    DESCRIPTION,
    WEIGHTS,
    Bundle,
    load_bundle,
    normalise,
    read_spec,
    save_bundle,
)
from headframe.models.registry import build_network

INPUTS = InputSpec(
    sensor="sentinel-2-l1c",
    bands=("red", "green", "blue"),
    gsd_m=10.0,
    mean=(0.1, 0.2, 0.3),
    std=(0.05, 0.1, 0.2),
    percentiles=((0.01, 0.1, 0.3),) * 3,
)


@pytest.fixture(scope="module")
def bundle():
    torch.manual_seed(3)
    spec = ModelSpec(
        name="toy",
        architecture="fpn",
        options={},
        inputs=INPUTS,
        classes=binary_class_map("tailings"),
        patch_px=64,
        training={"sites": ["a"], "limits": "Drawn pixels only."},
        metrics={"iou": 0.5},
    )
    network = build_network("fpn", INPUTS.bands, 1, spec.options).eval()
    return Bundle(spec, network)


def test_save_and_load_are_equal(bundle, tmp_path):
    save_bundle(bundle, tmp_path / "toy", half=False)
    again = load_bundle(tmp_path / "toy")
    assert again.spec == bundle.spec
    pixels = torch.rand(1, 3, 64, 96)
    torch.testing.assert_close(again.scores(pixels), bundle.scores(pixels))
    assert again.fingerprint
    card = (tmp_path / "toy" / "README.md").read_text()
    assert "Drawn pixels only." in card
    assert "sentinel-2-l1c" in card


def test_half_precision_stays_close(bundle, tmp_path):
    save_bundle(bundle, tmp_path / "toy")
    pixels = torch.rand(1, 3, 64, 64)
    difference = load_bundle(tmp_path / "toy").scores(pixels) - bundle.scores(pixels)
    assert difference.abs().max() < 0.01


def test_normalise_takes_nodata_for_the_mean():
    pixels = torch.tensor([0.15, 0.2, float("nan")]).view(1, 3, 1, 1)
    torch.testing.assert_close(normalise(pixels, INPUTS).flatten(), torch.tensor([1.0, 0.0, 0.0]))


class _Corner(nn.Module):
    """Logit grows towards the south-east: no view of it equals another."""

    def forward(self, x):
        height, width = x.shape[-2:]
        ramp = torch.linspace(-2, 2, height)[:, None] + torch.linspace(-1, 1, width)[None]
        return ramp.expand(x.shape[0], 1, height, width) + x[:, :1]


@pytest.mark.parametrize("views", [1, 2, 4, 8])
def test_views_are_undone(bundle, views):
    spec = replace(bundle.spec, test_flips=views)
    pointwise = Bundle(spec, nn.Conv2d(3, 1, 1))
    pixels = torch.rand(2, 3, 32, 32)
    single = Bundle(replace(spec, test_flips=1), pointwise.network).scores(pixels)
    torch.testing.assert_close(pointwise.scores(pixels), single)
    if views == 8:
        flat = Bundle(spec, _Corner()).scores(torch.full((1, 3, 32, 32), 0.1))
        torch.testing.assert_close(flat, flat.flip(2))
        torch.testing.assert_close(flat, flat.transpose(2, 3))


def test_zoom_changes_the_view_and_not_the_grid(bundle):
    pixels = torch.rand(1, 3, 96, 64)
    near, far = bundle.scores(pixels), bundle.with_options(test_zoom=0.5).scores(pixels)
    assert near.shape == far.shape == (1, 1, 96, 64)
    assert not torch.allclose(near, far)
    flat = Bundle(bundle.spec, nn.Conv2d(3, 1, 1)).with_options(test_zoom=0.7)
    even = flat.scores(torch.full((1, 3, 96, 64), 0.2))
    torch.testing.assert_close(even, even[:, :, :1, :1].expand_as(even))


def test_classes_of(bundle):
    scores = np.array([[[0.2, 0.5, 0.9]]], np.float32)
    assert bundle.classes_of(scores).tolist() == [[0, 1, 1]]
    assert bundle.with_options(threshold=0.6).classes_of(scores).tolist() == [[0, 0, 1]]
    three = Bundle(replace(bundle.spec, classes=label_class_map()), nn.Conv2d(3, 3, 1))
    scores = three.scores(torch.rand(1, 3, 32, 32))
    torch.testing.assert_close(scores.sum(1), torch.ones(1, 32, 32))
    assert three.classes_of(np.eye(3, dtype=np.float32)[:, None, :]).tolist() == [[0, 1, 2]]


def test_corrupted_weights_are_named(bundle, tmp_path):
    save_bundle(bundle, tmp_path / "toy")
    weights = tmp_path / "toy" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BundleError, match=r"model\.safetensors: the weights are corrupted"):
        load_bundle(tmp_path / "toy")
    weights.unlink()
    with pytest.raises(MissingFileError, match="weights are missing"):
        load_bundle(tmp_path / "toy")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"architecture": "unett"}, "unknown architecture"),
        ({"architecture": "unet"}, "does not fit"),
        ({"threshold": 2}, "threshold"),
        ({"surprise": 1}, "surprise"),
        ({"format": 99}, "format 99"),
        ({"patch_px": 33}, "patch_px"),
    ],
)
def test_wrong_description_is_named(bundle, tmp_path, change, match):
    save_bundle(bundle, tmp_path / "toy")
    path = tmp_path / "toy" / DESCRIPTION
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=match):
        load_bundle(tmp_path / "toy")


def test_statistics_must_match_the_bands(bundle, tmp_path):
    save_bundle(bundle, tmp_path / "toy")
    path = tmp_path / "toy" / DESCRIPTION
    value = json.loads(path.read_text())
    value["inputs"]["std"] = [0.1, 0.0, 0.1]
    path.write_text(json.dumps(value))
    with pytest.raises(BundleError, match="std"):
        read_spec(tmp_path / "toy")
    path.write_text("{")
    with pytest.raises(BundleError, match="not a valid model description"):
        read_spec(tmp_path / "toy")


def test_unknown_model_is_named(tmp_path):
    with pytest.raises(UnknownNameError, match="tailings"):
        load_bundle("tailings-s2-rbg")
    with pytest.raises(MissingFileError, match="no such model bundle"):
        load_bundle(tmp_path / "nothing")
    with pytest.raises(MissingFileError, match="no model bundle"):
        load_bundle(tmp_path)
