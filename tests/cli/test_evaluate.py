import json
import shutil

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from typer.testing import CliRunner

from headframe.cli.main import build_app
from headframe.core.classmap import binary_class_map
from headframe.core.errors import DatasetError, UnknownNameError
from headframe.core.modelspec import InputSpec, ModelSpec
from headframe.engine.bundle import Bundle, save_bundle
from headframe.models.registry import build_network

BANDS = ("red", "green", "blue")


def write(path, values, descriptions=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    profile = {"driver": "GTiff", "dtype": values.dtype, "crs": "EPSG:32723"}
    profile |= {"transform": Affine(10, 0, 600_000, 0, -10, 7_800_000)}
    with rasterio.open(path, "w", count=count, height=height, width=width, **profile) as file:
        file.write(values)
        for index, text in enumerate(descriptions or (), start=1):
            file.set_band_description(index, text)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Three chips of two sites, 40 x 70 pixels, bands in the order of the satellite."""
    root = tmp_path_factory.mktemp("dataset")
    rng = np.random.default_rng(1)
    for site, number in (("north", 0), ("north", 1), ("south", 0)):
        image = rng.integers(500, 4000, (3, 40, 70)).astype(np.uint16)
        mask = np.zeros((1, 40, 70), np.uint8)
        mask[:, 5:20, 30:60] = 1
        write(root / "images" / site / f"{number:05d}.tif", image, ("B02", "B03", "B04"))
        write(root / "masks" / site / f"{number:05d}.tif", mask)
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "bundle"
    torch.manual_seed(0)
    spec = ModelSpec(
        name="small",
        architecture="unet",
        options={},
        inputs=InputSpec(
            "sentinel-2-l1c", BANDS, 10.0, (0.2,) * 3, (0.1,) * 3, ((0.0, 0.2, 0.4),) * 3
        ),
        classes=binary_class_map("tailings"),
        patch_px=64,
    )
    save_bundle(Bundle(spec, build_network("unet", BANDS, 1, {})), folder)
    return folder


def call(*words):
    return CliRunner().invoke(build_app("evaluate"), ["evaluate", *map(str, words)])


def test_json_on_stdout(model, dataset):
    result = call(model, dataset, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["model"] == "small"
    assert found["target"] == "tailings"  # the folder says nothing; the model knows
    assert found["split"] == "all"
    assert found["chips"] == 3
    assert 0 <= found["pooled"]["iou"] <= 1
    counts = np.array(found["confusion"])
    assert counts.sum() == 3 * 40 * 70
    assert found["pooled"]["iou"] == pytest.approx(
        counts[1, 1] / (counts.sum() - counts[0, 0]), abs=1e-6
    )


def test_threshold_zero_finds_everything(model, dataset):
    found = json.loads(call(model, dataset, "--json", "--threshold", 0, "--flips", 2).stdout)
    assert found["pooled"]["recall"] == 1
    assert found["pooled"]["precision"] == pytest.approx(450 / 2800, abs=1e-6)


def test_tables_and_files(model, dataset, tmp_path):
    result = call(model, dataset, "--by", "site", "--out", tmp_path / "report")
    assert result.exit_code == 0
    for word in ("pooled", "imagewise", "north", "south", "boundary IoU at 3 px", "as the papers"):
        assert word in result.stdout
    assert {p.name for p in (tmp_path / "report").iterdir()} == {
        "scores.json",
        "sites.csv",
        "classes.csv",
        "panels.png",
        "sites",
    }
    assert "Add --out" in call(model, dataset).stdout


def test_finer_pixels_at_the_size_that_was_learnt(model, dataset, tmp_path):
    """A model of 30 m and chips of 10 m: sides of 64 and 96 become 32, at one scale as near as
    multiples of 32 allow; a scale of 1 changes nothing."""
    described = json.loads((model / "model.json").read_text())
    described["inputs"]["gsd_m"] = 30.0
    coarse = tmp_path / "coarse"
    shutil.copytree(model, coarse)
    (coarse / "model.json").write_text(json.dumps(described))
    plain = json.loads(call(model, dataset, "--json").stdout)["confusion"]
    assert json.loads(call(model, dataset, "--json", "--own-gsd").stdout)["confusion"] == plain
    assert json.loads(call(coarse, dataset, "--json").stdout)["confusion"] == plain
    seen = json.loads(call(coarse, dataset, "--json", "--own-gsd").stdout)["confusion"]
    assert seen != plain
    assert np.sum(seen) == np.sum(plain)
    described["inputs"]["gsd_m"] = 100.0
    (coarse / "model.json").write_text(json.dumps(described))
    found = call(coarse, dataset, "--own-gsd")
    assert isinstance(found.exception, DatasetError)
    assert "pixels of 10 m are too far from the 100 m of model small" in str(found.exception)


def test_attention_is_drawn_into_a_folder(model, dataset, tmp_path):
    result = call(model, dataset, "--attention", "--out", tmp_path / "report")
    assert result.exit_code == 0
    assert "attention.png" in result.stdout
    assert (tmp_path / "report" / "attention.png").stat().st_size > 10_000
    result = call(model, dataset, "--attention")
    assert result.exit_code == 2
    assert "Add --out" in result.stderr


def test_bad_words_exit_2(model, dataset):
    assert call(model, dataset, "--by", "chip").exit_code == 2
    assert call(model, dataset, "--flips", "3").exit_code == 2
    assert isinstance(call(model, dataset, "--split", "tests").exception, UnknownNameError)
    assert isinstance(call("no-such-model", dataset).exception, UnknownNameError)
