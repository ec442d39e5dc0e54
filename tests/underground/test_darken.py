"""Folders darkened: names, seeds by file, the brighter ones chosen."""

import json

import numpy as np
import pytest
from PIL import Image

from headframe.cli.main import main
from headframe.core.errors import OutputError, RecipeError, UnknownNameError
from headframe.io.images import read_image
from headframe.underground.darken import DarkenOptions, darken_files


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "bright"
    root.mkdir()
    for name, level in (("a.jpg", 200), ("b.png", 90), ("c.png", 150)):
        Image.fromarray(np.full((20, 33, 3), level, np.uint8)).save(root / name)
    return root


@pytest.mark.parametrize("way", ["camera", "paper", "sensor"])
def test_the_same_every_time_and_by_name(way, folder, tmp_path):
    options = DarkenOptions(way=way, light=0.1, seed=4)
    first = darken_files([folder], out=tmp_path / "o", options=options)
    alone = darken_files([folder / "c.png"], out=tmp_path / "p", options=options)
    assert [p.name for p in first] == ["a.png", "b.png", "c.png"]
    assert np.array_equal(read_image(first[2]), read_image(alone[0]))
    assert read_image(first[2]).mean() < 0.6 * read_image(folder / "c.png").mean()
    assert json.loads((tmp_path / "o" / "darkened.json").read_text())["way"] == way


def test_the_brighter_ones(folder, tmp_path):
    written = darken_files([folder], out=tmp_path / "o", options=DarkenOptions(brightest=0.67))
    assert [p.name for p in written] == ["a.png", "c.png"]


def test_what_cannot_be(folder, tmp_path):
    with pytest.raises(UnknownNameError, match="closest: camera"):
        DarkenOptions(way="camra")
    with pytest.raises(RecipeError, match="--brightest is 0"):
        DarkenOptions(brightest=0)
    with pytest.raises(RecipeError, match="light is 2"):
        DarkenOptions(light=2)
    with pytest.raises(OutputError, match="would be written over"):
        darken_files([folder / "b.png"], out=folder, options=DarkenOptions())
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(folder / "a.png")
    with pytest.raises(OutputError, match="would both become"):
        darken_files([folder], out=tmp_path / "o", options=DarkenOptions())


def test_the_command(folder, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["underground", "darken", str(folder), "--out", str(tmp_path / "o"), "--json"])
    assert end.value.code == 0
    assert len(json.loads(capsys.readouterr().out)["files"]) == 3
