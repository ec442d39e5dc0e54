"""``headframe change`` from the command line: scenes, class maps, bad input."""

import json

import numpy as np
import pytest
import rasterio

from headframe.cli.main import main


def run(*words):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return stop.value.code


@pytest.fixture
def scenes(make, tmp_path):
    """Two scenes of one place; the later one has an SCL band with cloud on its left."""
    scl = np.full((1, 96, 128), 4, np.uint16)
    scl[:, :, :32] = 9
    later = np.concatenate([make.pixels(seed=2), scl])
    return (
        make.scene(tmp_path / "in" / "2019.tif", make.pixels(seed=1)),
        make.scene(tmp_path / "in" / "2024.tif", later, names=("B02", "B03", "B04", "SCL")),
    )


def test_scenes_are_mapped_once_and_clouds_left_out(make, scenes, tmp_path, capsys):
    model, out = make.bundle(tmp_path / "model"), tmp_path / "out"
    words = ["change", *scenes, "--model", model, "--out", out, "--json"]
    assert run(*words) == 0
    result = json.loads(capsys.readouterr().out)
    (row,) = result["rows"]
    assert row["no_data_ha"] == pytest.approx(row["area_ha"] / 4, rel=1e-3)
    assert (out / "before" / "2019.classes.tif").is_file()
    assert (out / "after" / "2024.classes.tif").is_file()
    assert not list(out.glob(".part*"))
    assert run(*words) == 0
    heard = capsys.readouterr()
    assert heard.err.count("already mapped") == 2
    assert json.loads(heard.out)["rows"] == result["rows"]
    # last year's map beside a new scene; and two maps without a model
    known = out / "before" / "2019.classes.tif"
    assert run("change", known, scenes[1], *words[3:]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == result["rows"]
    later = out / "after" / "2024.classes.tif"
    assert run("change", known, later, "--out", tmp_path / "bare") == 0
    assert "whole overlap" in capsys.readouterr().out


def test_bad_input_is_one_line(make, scenes, tmp_path, capsys):
    first, second = scenes
    byte = make.scene(tmp_path / "map.tif", np.zeros((1, 96, 128), np.uint8), names=None)
    cases = [
        ([first, second], "2019.tif: is no class map", "--model"),
        ([tmp_path / "none.tif", second], "none.tif: no such file", ""),
        ([first, second, "--model", "tailings-s2-rgx"], "tailings-s2-rgb", ""),
        ([byte, first, "--cloud-values", "3,x"], "--cloud-values 3,x", "3,8,9,10"),
        ([byte, first, "--min-area-ha", "-1"], "--min-area-ha -1", ""),
    ]
    for words, what, remedy in cases:
        assert run("change", *words, "--out", tmp_path / "out") == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
        assert len(lines) == 1, lines
        assert what in lines[0]
        assert remedy in lines[0]
        assert not (tmp_path / "out" / "change.json").exists()


def test_two_maps_need_no_model(make, tmp_path, capsys):
    model = make.bundle(tmp_path / "model")
    maps = []
    for name in ("a", "b"):
        values = np.zeros((1, 96, 128), np.uint8)
        maps.append(make.scene(tmp_path / f"{name}.tif", values, names=None))
        with rasterio.open(maps[-1], "r+") as file:
            file.update_tags(class_0="background", class_1="mine")
    assert run("change", *maps, "--model", model, "--out", tmp_path / "out") == 2
    assert "are class maps already. Leave --model out." in capsys.readouterr().err


def test_a_mask_of_components_and_a_class_map_are_not_compared(make, tmp_path, capsys):
    values = np.zeros((1, 96, 128), np.uint16)
    mask = make.scene(tmp_path / "m.tif", values, names=("component bits",))
    classes = make.scene(tmp_path / "c.tif", values.astype(np.uint8), names=None)
    assert run("change", mask, classes, "--out", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "m.tif is a mask of components and" in line
    assert "c.tif a class map" in line
