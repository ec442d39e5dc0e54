"""Mine components from polygons to a map, by the commands a person types."""

import json

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

from headframe.cli import main as cli
from headframe.core.components import COMPONENT_NAMES, NODATA_BITS, bits_of
from headframe.io.bitmask import read_bits

PIT, AHEAD, DUMP = (6, 8, 40, 34), (40, 8, 58, 20), (30, 26, 70, 52)
CLASSES = "Pit: excavation\nahead: preparatory work area\ndump: dumping ground\n"


def corner(place):
    return 400_000 + 5_000 * place, 7_400_000


def box(place, rectangle):
    left, top, right, bottom = rectangle
    east, north = corner(place)
    return shapely.box(east + 10 * left, north - 10 * bottom, east + 10 * right, north - 10 * top)


@pytest.fixture
def world(tmp_path):
    """Six sites of one image, brighter in the pit and greener ahead of it; their polygons."""
    rows = []
    for place in range(6):
        values = 600 + 200 * np.random.default_rng(place).random((3, 60, 80))
        for band, (left, top, right, bottom) in ((2, PIT), (1, AHEAD)):
            values[band, top:bottom, left:right] += 2500
        path = tmp_path / "images" / f"mine{place}" / "2021.tif"
        path.parent.mkdir(parents=True)
        shape = {"count": 3, "height": 60, "width": 80, "dtype": "uint16", "nodata": 0}
        grid = {"crs": "EPSG:32719", "transform": from_origin(*corner(place), 10, 10)}
        with rasterio.open(path, "w", driver="GTiff", **shape, **grid) as sink:
            sink.write(values.astype(np.uint16))
            sink.descriptions = ("B02", "B03", "B04")
        kinds = (("pit", PIT), ("ahead", AHEAD), ("dump", DUMP))
        rows += [{"kind": kind, "geometry": box(place, r)} for kind, r in kinds]
    gpd.GeoDataFrame(rows, crs="EPSG:32719").to_file(tmp_path / "parts.gpkg")
    (tmp_path / "classes.yaml").write_text(CLASSES)
    return tmp_path


def run(*words):
    with pytest.raises(SystemExit, match=r"^[0-9]$") as end:
        cli.main([str(word) for word in words])
    return end.value.code


def label(world, out, *more):
    words = ("--polygons", world / "parts.gpkg", "--preset", "components", "--workers", 1)
    return run("label", world / "images", *words, "--out", out, *more)


def write_recipe(path, target):
    path.write_text(
        "model: {architecture: unet, init: none}\n"
        f"data: {{target: {target}, bands: [red, green, blue]}}\n"
        f"loss: {{name: {'bce_dice' if target == 'components-4' else 'ce_dice'}}}\n"
        "train: {steps: 2, batch: 2, crop_px: 32}\n"
        f"output: {{name: {target}, patch_px: 64}}\n"
    )
    return path


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("components-1", ["background", "excavation", "preparatory_work_area"]),
        ("components-4", ["background", "transformed_area"]),
    ],
)
def test_label_train_evaluate_map(world, capsys, target, names):
    out = world / "ds"
    assert label(world, out, "--class-field", "kind", "--class-map", world / "classes.yaml") == 0
    assert "several components a pixel: background" in capsys.readouterr().out
    assert run("dataset", "check", out) == 0
    recipe = write_recipe(world / "recipe.yaml", target)
    assert run("train", recipe, "--data", out, "--out", world / "run") == 0
    bundle = world / "run" / "bundle"
    spec = json.loads((bundle / "model.json").read_text())
    assert [entry["name"] for entry in spec["classes"]] == names
    assert spec["training"]["recipe"]["data"]["target"] == target
    capsys.readouterr()
    assert run("evaluate", bundle, out, "--split", "all", "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    confusion = np.array(scores["confusion"])
    assert list(scores["classes"]) == names
    pit, ahead, both = 34 * 26, 18 * 12, 10 * 8
    dump = 40 * 26
    truth = {"components-1": [pit, ahead], "components-4": [pit + ahead + dump - both]}[target]
    assert confusion.sum(axis=1).tolist() == [6 * (4800 - sum(truth)), *(6 * n for n in truth)]
    scene = next((world / "images").glob("mine0/*.tif"))
    assert run("map", scene, "--model", bundle, "--out", world / "maps") == 0
    with rasterio.open(next((world / "maps").rglob("*class*.tif"))) as source:
        found = source.read(1)
        assert (source.height, source.width) == (60, 80)
    assert set(np.unique(found)) <= set(range(len(names)))


def test_bits_and_layers_by_command(world, capsys):
    out = world / "ds"
    assert label(world, out, "--class-field", "kind", "--class-map", world / "classes.yaml") == 0
    mask = next(out.rglob("labels/mine2/00000.tif"))
    assert run("dataset", "layers", mask, "--out", world / "layers.tif") == 0
    with rasterio.open(world / "layers.tif") as source:
        assert source.descriptions == COMPONENT_NAMES
        assert source.read(2)[30, 45] == 1
    assert run("dataset", "bits", world / "layers.tif", "--out", world / "back.tif") == 0
    assert str(world / "back.tif") in capsys.readouterr().out
    wanted = read_bits(mask)
    assert np.array_equal(read_bits(world / "back.tif").values, wanted.values)
    assert wanted.values[30, 35] == bits_of(["excavation", "dumping_ground"])
    assert not (wanted.values == NODATA_BITS).any()
    assert run("dataset", "bits", mask, "--out", world / "no.tif") == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_what_goes_wrong_is_one_line(world, capsys):
    classes = ("--class-map", world / "classes.yaml")
    (world / "bad.yaml").write_text("pit: quarry\n")
    cases = (
        (("--class-field", "sort", *classes), "has no field 'sort'"),
        (
            ("--class-field", "kind", "--class-map", world / "bad.yaml"),
            "unknown component 'quarry'",
        ),
        (classes, "needs --class-field"),
        (("--class-field", "kind", "--class-map", world / "no.csv"), "no such class map file"),
    )
    for words, message in cases:
        assert label(world, world / "ds", *words) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.strip().splitlines()) == 1
    assert not (world / "ds").exists()


def test_a_class_set_needs_component_labels(world, capsys):
    index = world / "plain"
    words = ("--polygons", world / "parts.gpkg", "--site-field", "kind", "--workers", 1)
    allow = ("--allow-empty", ",".join(f"mine{i}" for i in range(6)))
    assert run("label", world / "images", *words, *allow, "--out", index) == 0
    recipe = write_recipe(world / "recipe.yaml", "components-1")
    capsys.readouterr()
    assert run("train", recipe, "--data", index, "--out", world / "run") == 2
    assert "target 'components-1' needs labels of mine components" in capsys.readouterr().err
    write_recipe(world / "recipe.yaml", "components-9")
    assert run("train", world / "recipe.yaml", "--data", index, "--out", world / "run2") == 2
    assert "data.target" in capsys.readouterr().err
