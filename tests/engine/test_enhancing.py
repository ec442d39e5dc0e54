"""Blocks equal the whole, ratios and stretches, baselines, and bundles of enhancers."""

import json

import numpy as np
import pytest
import torch

from headframe.core.errors import BundleError, MissingFileError, RecipeError, UnknownNameError
from headframe.engine import enhancing
from headframe.engine.enhancer_bundle import (
    DESCRIPTION,
    EnhancerBundle,
    load_enhancer,
    read_enhancer,
    save_enhancer,
)
from headframe.engine.enhancing import (
    EnhanceOptions,
    NetworkEnhancer,
    enhance_clahe,
    enhance_gamma,
)
from headframe.io.images import read_float
from headframe.metrics.enhancement import psnr_db
from headframe.models.iat import Iat
from headframe.models.kind import KinDEnhancer, KinDOptions

SMALL = KinDOptions(width=4, restoration_width=2)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return KinDEnhancer(SMALL).eval()


@pytest.fixture
def dark():
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 0.2, 333, dtype=np.float32)
    return (ramp + rng.uniform(0, 0.05, (3, 301, 333))).astype(np.float32)


@pytest.mark.parametrize("guard", [False, True])
def test_blocks_give_what_the_whole_gives(network, dark, guard):
    with torch.no_grad():
        whole = network(torch.from_numpy(dark)[None], ratio=5.0, guard=guard).image[0].numpy()
    enhancer = NetworkEnhancer(network, EnhanceOptions(core_px=96, guard=guard))
    found = enhancer(dark)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, whole, atol=2e-6)


def test_fast_is_near_and_only_where_matrices_are_multiplied_in_bfloat16(
    network, dark, monkeypatch
):
    exact = NetworkEnhancer(network, EnhanceOptions())(dark)
    found = {}
    for has in (False, True):
        monkeypatch.setattr(enhancing, "_has_bfloat16", lambda _device, has=has: has)
        found[has] = NetworkEnhancer(network, EnhanceOptions(), fast=True)(dark)
        assert found[has].dtype == np.float32
    np.testing.assert_array_equal(found[False], exact)
    apart = np.abs(found[True] - exact)
    assert 0 < apart.mean() < 0.002
    assert apart.max() < 0.02


def test_processors_are_asked_for_units_of_matrices(monkeypatch):
    for told, has in (({"amx_bf16": True}, True), ({"avx512_bf16": True}, False), ({}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda told=told: told, raising=False)
        assert enhancing._has_bfloat16(torch.device("cpu")) is has
    assert not enhancing._has_bfloat16(torch.device("meta"))


def test_memory_does_not_grow_with_the_photograph(network, monkeypatch):
    seen = []
    forward = KinDEnhancer.forward

    def spy(self, image, **options):
        seen.append(image.shape[-2:])
        return forward(self, image, **options)

    monkeypatch.setattr(KinDEnhancer, "forward", spy)
    NetworkEnhancer(network, EnhanceOptions(core_px=64))(np.zeros((3, 130, 700), np.float32))
    assert len(seen) == 3 * 11
    assert max(h * w for h, w in seen) <= (64 + 2 * 128) ** 2


def test_auto_asks_for_what_is_missing(network, dark):
    ratios = []
    network.adjustment.register_forward_pre_hook(lambda _, given: ratios.append(given[1]))
    with torch.no_grad():
        light = network.decomposition(torch.from_numpy(dark)[None]).illumination.mean().item()
    NetworkEnhancer(network, EnhanceOptions(ratio=None, target_light=0.9, core_px=512))(dark)
    assert ratios == [pytest.approx(0.9 / (light + 1e-4), rel=1e-4)]
    NetworkEnhancer(network, EnhanceOptions(ratio=None, target_light=0.01))(dark)
    assert ratios[1] == 1.0  # never darker
    NetworkEnhancer(network, EnhanceOptions(ratio=3.0))(dark)
    assert ratios[2] == 3.0


def test_stretch_makes_brightness_and_offset_irrelevant(network, dark):
    stretching = NetworkEnhancer(network, EnhanceOptions(stretch=True))
    np.testing.assert_allclose(stretching(dark), stretching(dark * 3 + 0.1), atol=1e-5)
    black = stretching(np.zeros((3, 20, 30), np.float32))
    assert np.isfinite(black).all()


def test_gamma_by_hand():
    grey = np.full((3, 4, 6), 0.09, dtype=np.float32)
    np.testing.assert_allclose(enhance_gamma(grey), 0.45, atol=1e-6)
    bright = np.full((3, 4, 6), 0.7, dtype=np.float32)
    np.testing.assert_allclose(enhance_gamma(bright), 0.7, atol=1e-6)
    assert np.isfinite(enhance_gamma(np.zeros((3, 2, 2), np.float32))).all()


def test_clahe_spreads_and_keeps_colour(dark):
    reddish = dark * np.array([1.0, 0.5, 0.5], np.float32)[:, None, None]
    out = enhance_clahe(reddish)
    assert out.shape == reddish.shape
    assert out.dtype == np.float32
    assert out.std() > 1.05 * reddish.std()
    assert out[0].mean() > out[1].mean()


def test_a_bundle_comes_back(network, dark, tmp_path):
    use = EnhanceOptions(ratio=None, target_light=0.7, stretch=True)
    bundle = EnhancerBundle("mine", network, use, {"psnr_db": 20.0}, {"steps": 3})
    save_enhancer(bundle, tmp_path / "bundle")
    again = read_enhancer(tmp_path / "bundle")
    assert (again.name, again.options, again.metrics) == ("mine", use, {"psnr_db": 20.0})
    found = load_enhancer(str(tmp_path))(dark)  # a run's folder counts
    np.testing.assert_allclose(found, NetworkEnhancer(network, use)(dark), atol=5e-3)
    assert load_enhancer(str(tmp_path), ratio="2", guard=True).options == EnhanceOptions(
        ratio=2.0, target_light=0.7, stretch=True, guard=True
    )


def test_a_damaged_bundle_is_named(network, tmp_path):
    save_enhancer(EnhancerBundle("mine", network, EnhanceOptions()), tmp_path)
    path = tmp_path / DESCRIPTION
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "network": {**told["network"], "width": 6}}))
    with pytest.raises(BundleError, match="does not fit"):
        read_enhancer(tmp_path)
    path.write_text(json.dumps({**told, "code": "import os"}))
    with pytest.raises(BundleError, match="code: Extra inputs"):
        read_enhancer(tmp_path)
    path.write_text("{")
    with pytest.raises(BundleError, match="not a valid description"):
        read_enhancer(tmp_path)
    with pytest.raises(MissingFileError, match=r"no enhancer\.json in it"):
        read_enhancer(tmp_path / "none")


def test_names_that_are_not(tmp_path):
    with pytest.raises(UnknownNameError, match="unknown enhancer 'clake'; closest: clahe"):
        load_enhancer("clake")
    with pytest.raises(MissingFileError, match="no such enhancer"):
        load_enhancer("runs/none")
    with pytest.raises(MissingFileError, match="no such file of weights"):
        load_enhancer(str(tmp_path / "a.safetensors"))
    save_enhancer(EnhancerBundle("a", KinDEnhancer(SMALL), EnhanceOptions()), tmp_path)
    with pytest.raises(BundleError, match="not the KinD authors' tensors"):
        load_enhancer(str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0.0}, "ratio is 0.0"),
        ({"ratio": float("nan")}, "ratio is nan"),
        ({"target_light": 0.0}, "target_light is 0.0"),
        ({"core_px": 100}, "core_px is 100; give a multiple of 16"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(RecipeError, match=message):
        EnhanceOptions(**options)


def test_a_ratio_that_is_no_number(network, tmp_path):
    save_enhancer(EnhancerBundle("a", network, EnhanceOptions()), tmp_path)
    with pytest.raises(RecipeError, match="--ratio is 'lots'; give a number above 0, or auto"):
        load_enhancer(str(tmp_path), ratio="lots")


def test_iat_in_blocks_gives_what_the_whole_gives(tmp_path):
    torch.manual_seed(2)
    network = Iat().eval()
    pixels = np.random.default_rng(4).random((3, 530, 61), dtype=np.float32) * np.float32(0.2)
    with torch.no_grad():
        want = network(torch.from_numpy(pixels)[None])[0].clamp(0, 1).numpy()
    torch.save(network.state_dict(), tmp_path / "iat_lol.pth")
    enhancer = load_enhancer(str(tmp_path / "iat_lol.pth"))
    assert enhancer.name == "iat_lol"
    np.testing.assert_allclose(enhancer(pixels), want, atol=1e-6)


def test_files_that_are_not_iats(tmp_path):
    state = Iat().state_dict()
    torch.save({"conv": state["local_net.conv1.weight"]}, tmp_path / "other.pth")
    with pytest.raises(BundleError, match="not the tensors of IAT's authors"):
        load_enhancer(str(tmp_path / "other.pth"))
    del state["global_net.color_base"]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(BundleError, match=r"not all of IAT's tensors \(Missing.*color_base"):
        load_enhancer(str(tmp_path / "part.pth"))
    (tmp_path / "cut.pth").write_bytes((tmp_path / "part.pth").read_bytes()[:999])
    with pytest.raises(BundleError, match=r"cut\.pth"):
        load_enhancer(str(tmp_path / "cut.pth"))


@pytest.mark.realdata
def test_iats_authors_weights_give_the_known_figure(shared_data):
    """25.1 dB over all six pairs, four of which the authors trained on."""
    enhancer = load_enhancer(str(shared_data / "weights/iat_lol_v1.pth"))
    figures = []
    for path in sorted((shared_data / "lol-pairs").glob("*/imgs/*.png")):
        want = read_float(path.parents[1] / "targets" / path.name)
        figures.append(psnr_db(enhancer(read_float(path)), want))
    assert len(figures) == 6
    assert np.mean(figures) == pytest.approx(25.11, abs=0.01)
