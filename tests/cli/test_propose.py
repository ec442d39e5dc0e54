import json

import geopandas as gpd
import pyogrio
import pytest

from headframe.cli import main as cli
from headframe.surface.review import Proposal, write_review


def run(*words):
    with pytest.raises(SystemExit, match=r"^[0-9]$") as end:
        cli.main([str(word) for word in words])
    return end.value.code


@pytest.fixture
def scene(make, tmp_path):
    return make.scene(tmp_path / "images" / "alpha" / "00000.tif")


@pytest.fixture
def review(scene, tmp_path):
    """What --assist wrote of the scene, judged: one accepted, one still to do."""
    outline = gpd.GeoSeries.from_wkt(
        ["POLYGON((500300 7799800,500900 7799800,500900 7799400,500300 7799400,500300 7799800))"],
        crs=32723,
    )
    shape = outline.to_crs(4326).iloc[0]
    facts = ("alpha", "tailings", 0.8, 0.7, 0.9, "m", "litemedsam", "00000")
    path = tmp_path / "review.gpkg"
    write_review(path, [Proposal(f"0-{i}", shape, *facts) for i in range(2)], classes=["tailings"])
    frame = gpd.read_file(path).assign(review=["accept", "todo"])
    pyogrio.write_dataframe(frame, path, layer="review")
    return path


def test_a_judged_file_becomes_a_data_set_that_counts_its_polygons(review, scene, tmp_path, capsys):
    words = ("label", scene.parent.parent, "--reviewed", review, "--out", tmp_path / "ds")
    assert run(*words) == 2
    assert "1 of 2 polygons are still todo" in capsys.readouterr().err
    assert run(*words, "--skip-todo", "--workers", "1") == 0
    assert "Polygons: 0 manual, 0 assisted, 1 automatic." in capsys.readouterr().out
    assert run("dataset", "check", tmp_path / "ds", "--json") == 0
    counts = {"manual": 0, "assisted": 0, "automatic": 1}
    assert json.loads(capsys.readouterr().out)["polygons"] == counts
    assert run("dataset", "show", tmp_path / "ds", "--out", tmp_path / "sheet.png") == 0
    assert "0 manual, 0 assisted, 1 automatic" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("label {images} --out {out}", "nothing to label by. Give --polygons, or --reviewed"),
        ("label {images} --out {out} --model m", "--model has no meaning without --assist"),
        ("label {images} --out {out} --min-area-ha 1", "--min-area-ha has no meaning without"),
        ("label {images} --assist --out {out}.gpkg", "--assist needs a model that finds mines"),
        ("label {images} --assist --reviewed a.gpkg --out b.gpkg", "leave --polygons and --rev"),
        ("label {images} --assist --model tailings-s2-rgb --out {out}", "Name it *.gpkg"),
        ("label {images} --assist --model no-such --out {out}.gpkg", "unknown model 'no-such'"),
        ("label {images} --polygons {out} --skip-todo --out {out}", "--skip-todo has no meaning"),
        ("label {images} --reviewed {scene} --out {out}", "review files are read as"),
        ("propose {scene} --out {out}.gpkg --min-iou 3", "--min-iou 3 is not between 0 and 1"),
        ("propose {scene} --out {out}.tif", "Name it *.gpkg"),
        ("propose {scene} --out {out}.gpkg --model no-such", "'no-such'"),
        ("propose {scene} --out {out}.gpkg --cache-gb 0", "--cache-gb 0 is not above 0"),
        ("propose {scene} --out {out}.gpkg --max-area-ha 0.5", "below --max-area-ha 0.5"),
    ],
)
def test_bad_input_is_one_line(words, message, scene, tmp_path, capsys):
    places = {"images": scene.parent.parent, "scene": scene, "out": tmp_path / "out"}
    assert run(*words.format(**places).split()) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not list(tmp_path.glob("out*"))
