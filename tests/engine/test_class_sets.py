"""Component masks as class sets: what a model learns is what it is scored on."""

import logging

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from headframe.core.classmap import binary_class_map
from headframe.core.components import CLASS_SETS, bits_of, component_class_map
from headframe.core.errors import DatasetError, RecipeError
from headframe.datasets.chips import open_dataset
from headframe.datasets.manifest import Manifest, write_manifest
from headframe.engine.bundle import load_bundle
from headframe.engine.evaluate import evaluate, evaluate_chips
from headframe.engine.prediction import predicted
from headframe.engine.recipe import parse_recipe
from headframe.engine.samples import ChipStore, measure_inputs, model_classes
from headframe.engine.training import train
from headframe.io.bitmask import BitMask, write_bits

SHAPE = (40, 64)
SPLITS = {"train": ("a", "b"), "val": ("c",)}


def truth(k):
    """Pit and the area ahead of it, and a dump in the pit; larger by site."""
    bits = np.zeros(SHAPE, np.uint16)
    bits[4:20, 6 : 20 + 2 * k] |= np.uint16(bits_of(["excavation"]))
    bits[24:36, 30:50] |= np.uint16(bits_of(["preparatory_work_area"]))
    bits[10:18, 8:14] |= np.uint16(bits_of(["dumping_ground"]))
    return bits


@pytest.fixture
def dataset(tmp_path):
    """The green band is bright where there is a pit, the red one ahead of it."""
    root = tmp_path / "ds"
    for split, sites in SPLITS.items():
        for site in sites:
            k = "abc".index(site)
            bits = truth(k)
            dark = 1000 + np.random.default_rng(k).integers(0, 90, (3, *SHAPE))
            bright = np.stack([np.zeros(SHAPE), bits & 1, bits >> 5 & 1]) > 0
            values = np.where(bright, 9000, dark).astype(np.uint16)
            path = root / split / "images" / site / "00000.tif"
            path.parent.mkdir(parents=True)
            shape = {"count": 3, "height": SHAPE[0], "width": SHAPE[1], "dtype": "uint16"}
            place = {"crs": "EPSG:32719", "transform": from_origin(5e5 + 9e3 * k, 7e6, 10, 10)}
            with rasterio.open(path, "w", driver="GTiff", nodata=0, **shape, **place) as sink:
                sink.write(values)
                sink.descriptions = ("B02", "B03", "B04")
            write_bits(root / split / "labels" / site / "00000.tif", BitMask(bits, None))
    facts = {"sensor": "sentinel-2-l1c", "bands": ("blue", "green", "red"), "gsd_m": 10.0}
    classes = {"classes": component_class_map(), "labels": "bits", "splits": SPLITS}
    write_manifest(root, Manifest(**facts, **classes))
    return open_dataset(root)


def recipe(dataset, target, **loss):
    return parse_recipe(
        {
            "name": "toy",
            "model": {"architecture": "fpn", "init": "none"},
            "data": {"dataset": str(dataset.root), "target": target},
            "train": {"steps": 1, "batch": 2, "crop_px": 32},
            "loss": {"name": "ce_dice"} | loss,
        },
        source="toy.yaml",
    )


@pytest.mark.parametrize("name", list(CLASS_SETS))
def test_samples_and_classes_of_a_target(dataset, name):
    data = recipe(dataset, name).data
    assert model_classes(dataset, data) == CLASS_SETS[name].class_map
    chips = dataset.chips("train")
    inputs = measure_inputs(dataset, chips, ("red", "green"))
    label = ChipStore(dataset, chips, data=data, inputs=inputs)[0].label
    wanted = {"components-1": [0, 1, 2], "components-3": [0]}.get(name, [0, 1])
    assert np.unique(label).tolist() == wanted


def test_a_model_is_scored_on_the_set_it_was_made_for(dataset, fakes):
    """Class 2 where red is bright, 1 where green is: both components, exactly."""
    bundle = fakes.bundle(fakes.ThreeClasses(), classes=CLASS_SETS["components-1"].class_map)
    found = evaluate(bundle, dataset, split="all")
    assert found.scores("pooled").mean() == pytest.approx(
        {"iou": 1, "f1": 1, "precision": 1, "recall": 1, "accuracy": 1, "jaccard_accuracy": 1}
    )
    second = fakes.bundle(classes=CLASS_SETS["components-2"].class_map)
    arrays, _ = predicted(second, dataset, dataset.chips()[0])
    assert np.array_equal(arrays.label == 1, truth(0) >> 1 & 1 > 0)


def test_other_models_meet_the_transformed_area_or_are_refused(dataset, fakes, caplog):
    with caplog.at_level(logging.WARNING):
        found = evaluate(fakes.bundle(classes=binary_class_map("mining")), dataset, split="all")
    assert "writes mining, which is no component: it is scored against all ten" in caplog.text
    wanted = sum(int((truth(k) > 0).sum()) for k in range(3))
    assert sum(c.sum(axis=1)[1] for c in found.confusions) == wanted
    with pytest.raises(DatasetError, match="writes background, cloud, tailings"):
        evaluate(fakes.bundle(fakes.ThreeClasses(), classes=fakes.three_classes()), dataset)
    caplog.clear()
    evaluate(fakes.bundle(classes=CLASS_SETS["components-4"].class_map), dataset, split="all")
    assert "no component" not in caplog.text


def test_validation_is_the_mean_over_the_components(dataset, tmp_path):
    result = train(recipe(dataset, "components-1"), out=tmp_path / "run")
    bundle = load_bundle(str(result.bundle))
    assert bundle.spec.classes == CLASS_SETS["components-1"].class_map
    assert bundle.spec.training["recipe"]["data"]["target"] == "components-1"
    found = evaluate_chips(bundle, dataset, dataset.chips("val")).scores("pooled")
    mean = np.nanmean(found.per_class["iou"][1:])
    assert result.metrics["validation_iou"] == pytest.approx(mean, abs=1e-4)
    assert mean != pytest.approx(found.of(-1)["iou"], abs=1e-3)


def test_an_unknown_target_is_named():
    with pytest.raises(RecipeError, match=r"data\.target: .*components-4.*'components-5'"):
        parse_recipe({"data": {"target": "components-5"}}, source="a.yaml")
