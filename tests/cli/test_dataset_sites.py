import json
from datetime import UTC, datetime

import numpy as np
import pystac
import pytest
import rasterio
import shapely
from affine import Affine

from headframe.cli import main as cli
from headframe.datasets.chips import open_dataset
from headframe.datasets.dates import chip_dates
from headframe.datasets.manifest import read_manifest


def run(*words):
    with pytest.raises(SystemExit, match=r"^[0-9]$") as end:
        cli.main([str(word) for word in words])
    return end.value.code


@pytest.fixture
def catalogue(tmp_path):
    """One item of red and nir near 45 W, 19 S."""
    values = np.arange(60 * 80, dtype=np.uint16).reshape(60, 80) + 500
    outline = shapely.box(-45.01, -19.01, -44.99, -19.0)
    item = pystac.Item(
        "one",
        shapely.geometry.mapping(outline),
        list(outline.bounds),
        datetime(2021, 5, 9, tzinfo=UTC),
        {"eo:cloud_cover": 0.0},
    )
    for name in ("red", "nir"):
        path = tmp_path / f"{name}.tif"
        profile = {"driver": "GTiff", "count": 1, "height": 60, "width": 80, "dtype": "uint16"}
        place = {"crs": "EPSG:32723", "transform": Affine(10, 0, 499_200, 0, -10, 7_899_000)}
        with rasterio.open(path, "w", **profile, **place, nodata=0) as sink:
            sink.write(values, 1)
        fields = {"eo:bands": [{"name": name, "common_name": name}]}
        item.add_asset(name, pystac.Asset(str(path), media_type="image/tiff", extra_fields=fields))
    item.collection_id = "sentinel-2-l2a"
    path = tmp_path / "items.json"
    path.write_text(json.dumps(pystac.ItemCollection([item]).to_dict()))
    return path


@pytest.fixture
def sites(tmp_path):
    path = tmp_path / "mines.csv"
    path.write_text("site,lon,lat,material\nserra,-45.004,-19.003,MO\nfar,10,50,RR\n")
    return path


def test_fetch(catalogue, sites, tmp_path, capsys):
    words = ("dataset", "fetch", sites, "--out", tmp_path / "ds", "--catalog", catalogue)
    more = ("--preset", "minesegsat", "--bands", "red,nir", "--size-m", 200)
    assert run(*words, *more) == 0
    printed = capsys.readouterr()
    assert "1 images of 2 sites, 1 of them new; 1 sites lack some" in printed.out
    assert "warning: site far: no image of 2021 (no item with at most 1 % cloud)." in printed.err
    with rasterio.open(tmp_path / "ds/images/serra/2021-05-09.tif") as file:
        assert file.shape == (20, 20)
        assert file.descriptions == ("red", "nir")
    assert run(*words, *more, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "images": {"serra": ["images/serra/2021-05-09.tif"], "far": []},
        "missing": {"far": ["2021"]},
    }


def test_what_is_fetched_is_labelled_with_no_further_word(catalogue, sites, tmp_path):
    words = ("dataset", "fetch", sites, "--out", tmp_path / "ds", "--catalog", catalogue)
    assert run(*words, "--preset", "minesegsat", "--bands", "red,nir", "--size-m", 300) == 0
    outline = shapely.Point(-45.004, -19.003).buffer(0.0005)
    feature = {
        "type": "Feature",
        "properties": {"site": "Serra"},
        "geometry": shapely.geometry.mapping(outline),
    }
    polygons = tmp_path / "outlines.geojson"
    polygons.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    out = tmp_path / "chips"
    assert run("label", tmp_path / "ds" / "images", "--polygons", polygons, "--out", out) == 0
    dataset = open_dataset(out)
    assert dataset.manifest.sensor == "sentinel-2-l2a"
    assert dataset.bands == ("red", "nir")
    (chip,) = dataset.chips()
    assert chip_dates(dataset) == {chip.image: "2021-05-09"}
    found = dataset.read(chip)
    assert 0.05 < np.nanmean(found.image) < 0.6
    assert (found.label == 1).any()
    assert run("dataset", "sites", out, tmp_path / "ds" / "sites.csv") == 0
    assert read_manifest(out).sites["serra"]["material"] == "MO"


def test_fetch_of_nothing_exits_1(catalogue, sites, tmp_path, capsys):
    words = ("dataset", "fetch", sites, "--out", tmp_path / "ds", "--catalog", catalogue)
    dates = ("--start", "2020-01-01", "--end", "2020-12-31")
    assert run(*words, *dates) == 1
    assert "0 images of 2 sites" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("--start", "2021-01-01"), "--end is needed"),
        (("--start", "yesterday", "--end", "2021-01-01"), "--start yesterday: is no date"),
        (("--start", "2022-01-01", "--end", "2021-01-01"), "lies after --end"),
        (("--preset", "minecan"), "unknown preset 'minecan'; closest: minecam"),
        (("--preset", "minecam", "--one-per", "week"), "unknown --one-per 'week'"),
    ],
)
def test_fetch_of_nonsense_exits_2_in_one_line(catalogue, sites, tmp_path, capsys, words, match):
    given = ("dataset", "fetch", sites, "--out", tmp_path / "ds", "--catalog", catalogue, *words)
    assert run(*given) == 2
    said = capsys.readouterr().err
    assert match in said
    assert said.count("\n") == 1


def test_sites(tmp_path, capsys):
    root = tmp_path / "raw"
    for number, site in enumerate(("alpha", "beta")):
        for kind in ("images", "masks"):
            path = root / kind / site / "0.tif"
            path.parent.mkdir(parents=True)
            place = Affine(10, 0, 500_000 + 999 * number, 0, -10, 8_000_000)
            profile = {"driver": "GTiff", "height": 8, "width": 9, "crs": "EPSG:32721"}
            count = 3 if kind == "images" else 1
            with rasterio.open(
                path, "w", count=count, dtype="uint8", transform=place, **profile
            ) as sink:
                sink.write(np.ones((count, 8, 9), np.uint8))
                if kind == "images":
                    sink.descriptions = ("B02", "B03", "B04")
    table = tmp_path / "t.csv"
    table.write_text("site,material,type\nAlpha,RR,OP\ngamma,CL,OC\n")
    assert run("dataset", "sites", root, table) == 0
    said = capsys.readouterr().out
    assert "Sites without facts: beta" in said
    assert "not in the data set: gamma" in said
    assert read_manifest(root).sites == {"alpha": {"material": "RR", "type": "OP"}}
    assert run("dataset", "sites", root, table, "--json") == 0
    assert json.loads(capsys.readouterr().out)["unknown"] == ["gamma"]
    table.write_text("site,material\ngamma,CL\n")
    assert run("dataset", "sites", root, table) == 2
    assert "none of its 1 sites (gamma)" in capsys.readouterr().err
