"""The bundles that come with the package: small, described, measured."""

import pytest
import torch

from headframe.core.errors import BundleError
from headframe.engine.bundle import find_bundle, load_bundle, read_spec, shipped_bundles
from headframe.engine.modelcard import is_prompted, model_card
from headframe.engine.prompting import load_prompter

MOST_MB = 25
MAPS = tuple(n for n in shipped_bundles() if not is_prompted(read_spec(find_bundle(n))))


def test_what_is_shipped():
    maps = {"tailings-s2-rgb", "tailings-sam", "water-s2-6band"}
    assert set(shipped_bundles()) == {*maps, "sam-refine-s2-rgb"}
    assert set(MAPS) == maps


@pytest.mark.parametrize("name", shipped_bundles())
def test_small_with_a_card_that_says_figures_data_and_limits(name):
    folder = find_bundle(name)
    spec = read_spec(folder)
    assert sum(path.stat().st_size for path in folder.iterdir()) < MOST_MB * 1e6
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card == model_card(spec)
    assert spec.metrics["measured on"] in card
    assert ("water-chips" if name == "water-s2-6band" else "tailings-brazil") in card
    assert spec.training["limits"] in card
    assert spec.training["attribution"] in card


@pytest.mark.parametrize("name", MAPS)
def test_maps_score_every_pixel(name):
    bundle = load_bundle(name)
    bands = len(bundle.spec.inputs.bands)
    pixels = torch.rand(1, bands, 96, 64, generator=torch.Generator().manual_seed(1)) * 0.2
    scores = bundle.scores(pixels)
    assert scores.shape == (1, 1, 96, 64)
    assert 0 <= scores.min() < scores.max() <= 1


def test_the_water_model_is_small_and_finds_water():
    folder = find_bundle("water-s2-6band")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 15e6
    bundle = load_bundle("water-s2-6band").with_options(test_flips=1)
    assert bundle.spec.inputs.bands == ("blue", "green", "red", "nir", "swir16", "swir22")
    field = torch.tensor([0.04, 0.08, 0.06, 0.35, 0.22, 0.12])[:, None, None].repeat(1, 64, 64)
    lake = torch.tensor([0.05, 0.06, 0.04, 0.02, 0.01, 0.005])[:, None]
    field[:, 16:48, 16:48] = lake[..., None]
    grain = torch.randn(6, 64, 64, generator=torch.Generator().manual_seed(1)) * 0.004
    scores = bundle.scores((field + grain)[None])[0, 0]
    wet = bundle.classes_of(scores.numpy()[None])
    assert wet[20:44, 20:44].mean() > 0.9
    assert wet[:10].mean() < 0.1


def test_the_prompt_model_takes_every_prompt():
    prompter = load_prompter("sam-refine-s2-rgb", device="cpu")
    assert prompter.takes_masks
    assert prompter.takes_points
    assert prompter.trained_px == 256
    with pytest.raises(BundleError, match=r"maps nothing\. Use headframe prompt or refine"):
        load_bundle("sam-refine-s2-rgb").scores(torch.zeros(1, 3, 64, 64))
