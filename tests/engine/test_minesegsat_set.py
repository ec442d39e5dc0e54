"""From drawn scenes of band files to a trained and scored MineSegSAT, and its recipes."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

from headframe.datasets.chips import open_dataset
from headframe.datasets.drawn import draw_landscape, write_band_files
from headframe.datasets.minesegsat import TILE_BANDS, band_maxima
from headframe.datasets.tiler import TileOptions, tile_scenes
from headframe.engine.bundle import load_bundle
from headframe.engine.evaluate import evaluate
from headframe.engine.recipe import load_recipe
from headframe.engine.training import train
from headframe.losses.build import build_loss
from headframe.metrics.scores import PAPER, scores


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three drawn places, tiled at 480 m."""
    folder = tmp_path_factory.mktemp("drawn")
    frames = []
    for seed in (3, 4, 5):
        scene = draw_landscape(seed, size=(102, 120), cloudy=False)
        write_band_files(scene, folder / f"scenes/place{seed}")
        frames.append(scene.polygons.to_crs("EPSG:4326"))
    polygons = folder / "mines.gpkg"
    gpd.GeoDataFrame(pd.concat(frames)).to_file(polygons)
    out = folder / "tiles"
    tile_scenes(
        [str(folder / "scenes")], polygons=polygons, out=out, options=TileOptions(tile_m=480)
    )
    return out


def test_a_drawn_set_trains_and_is_scored(root, repo_root, tmp_path):
    dataset = open_dataset(root)
    assert all(dataset.chips(split) for split in ("train", "val", "test"))
    recipe = load_recipe(repo_root / "recipes/minesegsat/short.yaml")
    recipe = recipe.with_data(dataset=str(root)).with_train(
        epochs=None, steps=1, batch=2, crop_px=32
    )
    result = train(recipe, out=tmp_path / "run")
    bundle = load_bundle(result.bundle)
    inputs = bundle.spec.inputs
    maxima = band_maxima(root, dataset.manifest)
    assert inputs.bands == dataset.bands == tuple(maxima)
    assert inputs.mean == (0.0,) * 12
    assert inputs.std == pytest.approx(tuple(maxima.values()))
    found = evaluate(bundle, dataset)
    assert found.split == "test"
    assert len(found.chips) == len(dataset.chips("test"))


@pytest.mark.parametrize("name", ["paper", "paper-dice", "paper-lovasz", "paper-stage2", "short"])
def test_recipes_stand_as_they_are(repo_root, name):
    recipe = load_recipe(repo_root / f"recipes/minesegsat/{name}.yaml")
    build_loss(recipe.loss.name, **recipe.loss.options)
    assert recipe.name == recipe.output.name == f"minesegsat-{name}"
    assert recipe.data.normalize == "minmax"
    assert len(recipe.data.bands) == len(TILE_BANDS)
    if name != "short":
        assert (recipe.train.epochs, recipe.train.batch, recipe.train.crop_px) == (1000, 8, 512)
        assert recipe.train.schedule == "cosine"
        assert recipe.train.steps_for(94) == 12_000
        assert recipe.augment.channel_shuffle == 0.3


def test_an_image_without_the_target_scores_one_only_where_nothing_is_predicted():
    """methods.md 6.6: F1 of an image with no positives is 1 if the prediction is empty, else 0."""
    empty_right = np.array([[100, 0], [0, 0]])
    empty_wrong = np.array([[99, 1], [0, 0]])
    half = np.array([[90, 0], [5, 5]])
    f1 = [
        scores([counts], mode="imagewise", zero_division=PAPER).of(1)["f1"]
        for counts in (empty_right, empty_wrong, half)
    ]
    assert f1 == pytest.approx([1.0, 0.0, 2 / 3])
    mean = scores([empty_right, empty_wrong, half], mode="imagewise", zero_division=PAPER).of(1)
    assert mean["f1"] == pytest.approx(5 / 9)
    assert mean["precision"] == pytest.approx(1 / 3)  # 0, 0 and 1: never predicted counts 0
