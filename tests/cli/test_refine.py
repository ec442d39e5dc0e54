"""``headframe refine`` from the command line."""

import csv
import json

import geopandas as gpd
import pytest
import torch

from headframe.cli.main import main
from headframe.core.classmap import binary_class_map
from headframe.core.modelspec import InputSpec, ModelSpec
from headframe.engine.bundle import Bundle, save_bundle
from headframe.models.registry import build_network


def run(*words):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return stop.value.code


@pytest.fixture
def model(tmp_path):
    """A prompt model of four random blocks."""
    torch.manual_seed(0)
    names = ("red", "green", "blue")
    inputs = InputSpec(
        "sentinel-2-l1c", names, 10.0, (0.15,) * 3, (0.1,) * 3, ((0.02, 0.1, 0.4),) * 3
    )
    network = build_network("sam-prompt-tiny", names, 1, {}).eval()
    spec = ModelSpec(
        "toy", "sam-prompt-tiny", {}, inputs, binary_class_map("tailings"), patch_px=64
    )
    save_bundle(Bundle(spec, network), tmp_path / "model")
    return tmp_path / "model"


def test_a_kml_is_refined_row_for_row(make, model, tmp_path, capsys):
    scene = make.scene(tmp_path / "scenes" / "a.tif")
    outlines = tmp_path / "old.kml"
    outlines.write_text(make.kml("north", make.ring(24, 16, 95, 66)))
    truth = tmp_path / "true.kml"
    truth.write_text(make.kml("north", make.ring()))
    out = tmp_path / "out" / "tight.gpkg"
    words = ["refine", scene.parent, "--polygons", outlines, "--model", model, "--out", out]
    words += ["--min-overlap", 0, "--device", "cpu"]
    assert run(*words, "--truth", truth, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == told["compared"] == 1
    before = told["figures"]["mean IoU"]["before"]
    assert before == pytest.approx(60 * 40 / (71 * 50), abs=0.01)
    table = gpd.read_file(out)
    assert table["name"].tolist() == ["north"]
    assert table["site"].tolist() == ["north"]
    assert table.crs.to_epsg() == 4326
    assert list(told["status"]) == table["status"].tolist()
    with out.with_suffix(".csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["iou_before"]) == pytest.approx(before, abs=1e-5)
    assert run(*words) == 0
    heard = capsys.readouterr().out
    assert "Before and after" in heard
    assert "Written: " in heard
    assert "tight.gpkg" in heard


def test_a_prompt_model_maps_nothing(make, model, tmp_path, capsys):
    scene = make.scene(tmp_path / "a.tif")
    assert run("map", scene, "--model", model, "--out", tmp_path / "maps", "--device", "cpu") == 2
    assert "model toy: draws what it is prompted for" in capsys.readouterr().err


def test_bad_input_is_one_line(make, model, tmp_path, capsys):
    scene = make.scene(tmp_path / "a.tif")
    outlines = tmp_path / "old.kml"
    outlines.write_text(make.kml())
    good = {"--polygons": outlines, "--model": model, "--out": tmp_path / "t.gpkg"}
    mapper = make.bundle(tmp_path / "mapper")
    cases = [
        ({"--polygons": tmp_path / "none.kml"}, "none.kml: no such file"),
        ({"--polygons": scene}, "polygons are read from"),
        ({"--model": mapper}, "answers no prompts"),
        ({"--model": "sam-refine-s2-rgx"}, "sam-refine-s2-rgx"),
        ({"--out": tmp_path / "t.shp"}, "Name a .gpkg file"),
        ({"--truth": outlines, "--out": outlines}, "is the file of true polygons itself"),
        ({"--prompt": "points"}, "choose auto, box, mask, both"),
        ({"--context": "0.5"}, "--context 0.5: must be above 1"),
        ({"--truth": tmp_path / "gone.kml"}, "gone.kml: no such file"),
    ]
    for change, message in cases:
        options = [word for pair in (good | change).items() for word in pair]
        assert run("refine", scene, *options) == 2, change
        heard = capsys.readouterr().err.strip()
        assert message in heard, (change, heard)
        assert heard.count("\n") == 0
    assert run("refine", tmp_path / "no.tif", *[w for p in good.items() for w in p]) == 2
    assert "no.tif: no such file" in capsys.readouterr().err
