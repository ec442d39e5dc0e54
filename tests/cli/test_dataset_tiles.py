"""`headframe dataset tile` and `mosaic` as they are typed."""

import json

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from headframe.cli import main as cli
from headframe.io.bandfiles import BAND_METRES

CORNER = (600_000, 5_000_040)


@pytest.fixture
def folder(tmp_path):
    """Two scenes side by side of 4 x 6 cells of 60 m, and a polygon in each."""
    for place, zone in enumerate(("EPSG:32610", "EPSG:32610", "EPSG:32611")):
        rng = np.random.default_rng(place)
        for band, metres in BAND_METRES.items():
            shape = (240 // metres, 360 // metres)
            path = tmp_path / f"scenes/s{place}/{band}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            with rasterio.open(
                path,
                "w",
                driver="GTiff",
                count=1,
                height=shape[0],
                width=shape[1],
                dtype="uint16",
                crs=zone,
                transform=Affine(metres, 0, CORNER[0] + 360 * place, 0, -metres, CORNER[1]),
            ) as sink:
                sink.write(rng.integers(300, 3000, shape).astype(np.uint16), 1)
    boxes = [
        shapely.box(CORNER[0] + x, CORNER[1] - 100, CORNER[0] + x + 60, CORNER[1] - 20)
        for x in (30, 270, 500)
    ]
    frame = gpd.GeoDataFrame(geometry=boxes, crs="EPSG:32610")
    frame.to_crs("EPSG:4326").to_file(tmp_path / "mines.gpkg")
    return tmp_path


def run(*words):
    with pytest.raises(SystemExit, match=r"^[0-9]$") as end:
        cli.main([str(word) for word in words])
    return end.value.code


def test_tile_check_stats_and_split(folder, capsys):
    out = folder / "tiles"
    scenes = [folder / "scenes/s0", folder / "scenes/s1"]
    words = ("--polygons", folder / "mines.gpkg", "--out", out, "--tile-m", "120")
    assert run("dataset", "tile", *scenes, *words, "--as-paper", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["grouped_by"] == "tile"
    assert sum(report["tiles"].values()) == 3
    assert run("dataset", "tile", *scenes, *words, "--as-paper") == 0  # finished already
    said = capsys.readouterr().out
    assert "100 % of tiles show mining" in said
    assert "Neighbouring tiles may be in different splits" in said
    assert run("dataset", "check", out) == 0
    assert run("dataset", "stats", out, "--json") == 0
    assert run("dataset", "check", out) == 0
    before = (out / "dataset_splits.csv").read_text()
    assert run("dataset", "split", out, "--fractions", "0", "0", "1", "--json") == 0
    after = (out / "dataset_splits.csv").read_text()
    assert before.replace("train", "test").replace("val", "test") == after
    assert run("dataset", "check", out) == 0


def test_mosaic(folder, capsys):
    out = folder / "one"
    scenes = [folder / "scenes/s1", folder / "scenes/s0"]
    assert run("dataset", "mosaic", *scenes, "--out", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["scenes"] == ["s1", "s0"]
    assert run("dataset", "mosaic", *scenes, "--out", out) == 0
    assert "2 scene(s), the first on top: s1" in capsys.readouterr().out
    with rasterio.open(out / "B11.tif") as source:
        assert source.shape == (12, 36)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mosaic", "scenes", "--out", "x"), "s2 is in EPSG:32611 and s0 in EPSG:32610"),
        (
            ("tile", "scenes", "--polygons", "mines.gpkg", "--out", "x", "--group-by", "mine"),
            "unknown --group-by 'mine'; closest: site",
        ),
        (
            ("tile", "scenes", "--polygons", "mines.gpkg", "--out", "x", "--tile-m", "7681"),
            "--tile-m 7681: must be a multiple of 60",
        ),
        (("tile", "mines.gpkg", "--polygons", "mines.gpkg", "--out", "x"), "is one file; name"),
    ],
)
def test_bad_words_are_answered_in_one_line(folder, capsys, monkeypatch, words, said):
    monkeypatch.chdir(folder)
    assert run("dataset", *words) == 2
    error = capsys.readouterr().err.strip()
    assert said in " ".join(error.split())
    assert not (folder / "x").exists()
