"""``headframe prompt``, the network faked at its door: ``load_prompter``."""

import importlib.util
import io
import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely

from headframe.cli.main import main
from headframe.engine import prompting

_PATH = Path(__file__).parents[1] / "engine" / "prompting" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("prompt_fakes", _PATH)
fakes = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(fakes)


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    """Run the command on a scene of two things; give code, stdout and stderr."""
    bright = fakes.blob() | fakes.blob(rows=slice(100, 120), cols=slice(140, 170))
    scene = fakes.scene(tmp_path / "scene.tif", bright)
    monkeypatch.setattr(prompting, "load_prompter", lambda name, device: fakes.prompter(name))

    def call(*words, source=scene):
        cache = ["--cache", str(tmp_path / "cache")]
        with pytest.raises(SystemExit) as stop:
            main(["prompt", source, *map(str, words), *cache])
        said = capfd.readouterr()
        return stop.value.code, said.out, said.err

    return call


def test_points_and_boxes_in_map_coordinates_give_a_geopackage(run, tmp_path):
    out = tmp_path / "o.gpkg"
    files = ["--out", out, "--mask", tmp_path / "m.tif", "--picture", tmp_path / "p.png"]
    inside = fakes.to_map(30, 25)
    corners = [fakes.to_map(x, y) for x in (138, 172) for y in (98, 122)]
    west, south = np.min(corners, axis=0)
    east, north = np.max(corners, axis=0)
    code, said, err = run("--point", *inside, "--box", west, south, east, north, *files)
    assert (code, err) == (0, "")
    assert "1  point:" in said
    assert "2  box:" in said
    assert said.splitlines()[-1] == f"Written: {out}, {tmp_path / 'm.tif'}, {tmp_path / 'p.png'}"
    frame = gpd.read_file(out)
    assert list(frame["prompt"]) == ["point", "box"]
    assert frame.area.iloc[0] / 1e4 == pytest.approx(frame["area_ha"].iloc[0], rel=3e-3)
    assert (tmp_path / "m.tif").is_file()
    assert (tmp_path / "p.png").is_file()


def test_lon_lat_json_and_a_file_of_polygons(run, tmp_path):
    rough = gpd.GeoDataFrame(
        geometry=[shapely.Polygon([fakes.to_map(*xy) for xy in ((20, 16), (52, 17), (40, 44))])],
        crs=fakes.UTM,
    ).to_crs(4326)
    rough.to_file(tmp_path / "rough.geojson")
    lon, lat = gpd.points_from_xy(*[[v] for v in fakes.to_map(150, 110)], crs=fakes.UTM).to_crs(
        4326
    )[0].coords[0]  # fmt: skip
    words = ["--point", lon, lat, "--crs", "EPSG:4326", "--polygons", tmp_path / "rough.geojson"]
    code, said, err = run(*words, "--json")
    assert (code, err) == (0, "")
    value = json.loads(said)
    assert value["crs"] == fakes.UTM
    assert [f["id"] for f in value["features"]] == ["1", "2"]
    assert [f["properties"]["prompt"] for f in value["features"]] == ["point", "polygon"]


def test_of_a_register_the_polygons_on_the_scene_are_asked_for(run, tmp_path):
    here = shapely.Polygon([fakes.to_map(*xy) for xy in ((20, 16), (52, 17), (40, 44))])
    away = shapely.affinity.translate(here, 70_000, 5_000)
    further = shapely.affinity.translate(here, -90_000, 0)
    register = gpd.GeoDataFrame(geometry=[away, here, further], crs=fakes.UTM)
    register.to_file(tmp_path / "all.gpkg")
    code, said, err = run("--polygons", tmp_path / "all.gpkg", "--json")
    assert code == 0
    assert [f["id"] for f in json.loads(said)["features"]] == ["2"]  # as counted in the file
    assert "2 of 3 polygons lie outside the scene and are left out" in err
    register.iloc[[0, 2]].to_file(tmp_path / "away.gpkg")
    code, said, err = run("--polygons", tmp_path / "away.gpkg")
    assert (code, said, err.count("\n")) == (2, "", 1)
    assert "the polygon of prompt 1 lies outside the scene" in err


def test_together_exclude_and_commas(run):
    words = ["--pixels", "--point", "30,25", "--point", 150, 110, "--together", "--json"]
    words += ["--exclude", 145, 105, "--max-tiles", 40]
    code, said, _ = run(*words)
    assert code == 0
    (feature,) = json.loads(said)["features"]
    assert feature["properties"]["prompt"] == "point"


def test_all_computes_every_tile_once(run):
    code, said, _ = run("--all")
    assert code == 0
    count = int(said.split()[0])
    assert said == f"{count} tiles, {count} of them computed now.\n"
    assert run("--all")[1] == f"{count} tiles, 0 of them computed now.\n"


def test_a_session_answers_lines_and_writes_at_the_end(run, monkeypatch, tmp_path):
    lines = [{"point": [30, 25], "pixels": True}, {"point": [999, 9], "pixels": True}]
    lines.append({"box": [135, 95, 175, 125], "pixels": True, "id": "b"})
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(map(json.dumps, lines))))
    code, said, err = run("--session", "--out", tmp_path / "o.gpkg")
    assert (code, err) == (0, "")
    answers = [json.loads(line) for line in said.splitlines()]
    assert [a.get("id") for a in answers] == ["1", None, "b"]
    assert "lies outside the scene" in answers[1]["error"]
    assert answers[2]["properties"]["ms"] < 5_000
    assert list(gpd.read_file(tmp_path / "o.gpkg")["prompt_id"]) == ["1", "b"]


@pytest.mark.parametrize("words", [["--pixels"], ["--crs", "EPSG:4326"]])
def test_pixels_and_crs_hold_for_the_lines_of_a_session(run, monkeypatch, words):
    lonlat = gpd.points_from_xy(*[[v] for v in fakes.to_map(30, 25)], crs=fakes.UTM).to_crs(4326)
    place = [30, 25] if words == ["--pixels"] else list(lonlat[0].coords[0])
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"point": place})))
    code, said, err = run("--session", *words)
    assert (code, err) == (0, "")
    west, south, east, north = shapely.geometry.shape(json.loads(said)["geometry"]).bounds
    x, y = fakes.to_map(30, 25)
    assert west < x < east
    assert south < y < north


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing is pointed at"),
        (["--point", "5"], "--point 5: needs 2 numbers"),
        (["--point", "--pixels"], "--point needs 2 numbers, not 0"),
        (["--point", "a", "b"], "--point a b: needs 2 numbers"),
        (["--box", "9", "9", "3", "3", "--pixels"], "is reversed or has no area"),
        (["--box", "1", "2", "3"], "needs 4 numbers"),
        (["--point", "1", "1", "--pixels", "--crs", "EPSG:4326"], "contradict each other"),
        (["--point", "1", "1", "--crs", "EPSG:1"], "is no known reference system"),
        (["--point", "1", "1"], "lies outside the scene"),
        (["--point", "1", "1", "--pixels", "--out", "o.shp"], "--out o.shp: must end in .gpkg"),
        (["--point", "1", "1", "--pixels", "--max-tiles", "0"], "--max-tiles 0"),
        (["--point", "1", "1", "--pixels", "--cache-gb", "0"], "--cache-gb 0"),
        (["--point", "1", "1", "--pixels", "--bands", "a,b"], "--bands names 2"),
        (["--exclude", "1", "1", "--session"], "--exclude goes with"),
        (["--polygons", "none.kml"], "none.kml: no such file"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(run, words, message):
    code, said, err = run(*words)
    assert (code, said) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_bad_files_are_one_line_and_exit_2(run, tmp_path):
    broken = tmp_path / "broken.kml"
    broken.write_text("<kml><Placemark>")
    assert run("--polygons", broken)[0] == 2
    code, _, err = run("--pixels", "--point", 3, 3, source=str(tmp_path / "no.tif"))
    assert (code, err.count("\n"), "no such file" in err) == (2, 1, True)
    grey = fakes.scene(tmp_path / "grey.tif", fakes.blob(), names=("a", "b", "c"))
    code, _, err = run("--pixels", "--point", 3, 3, source=grey)
    assert (code, err.count("\n"), "--bands" in err) == (2, 1, True)
