"""`headframe dataset pseudo-label`, as a user calls it, and what is done with its tiles."""

import json

import numpy as np
import pytest

from headframe.cli import main as cli


def run(*words):
    with pytest.raises(SystemExit, match=r"^[0-9]$") as end:
        cli.main([str(word) for word in words])
    return end.value.code


def test_labelled_checked_and_evaluated(make, tmp_path, capsys):
    names = ("blue", "green", "red", "nir")
    scene = make.scene(tmp_path / "lake.tif", make.pixels(bands=4), names=names)
    out = tmp_path / "water"
    words = ("dataset", "pseudo-label", scene, "--out", out, "--tile-px", 64)
    assert run(*words, "--event", "Lake", "--threshold", "0.05", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["tiles"], report["skipped"]) == (4, 0)
    assert report["scenes"][0]["threshold"] == 0.05
    values = make.pixels(bands=4).astype(float)
    index = (values[1] - values[3]) / (values[1] + values[3])
    assert report["water_share"] == pytest.approx(np.mean(index >= 0.05))
    assert run(*words, "--event", "Lake", "--threshold", "0.05") == 0
    assert "4 tile(s)" in capsys.readouterr().out
    assert run("dataset", "check", out) == 0
    model = make.bundle(tmp_path / "model")
    capsys.readouterr()
    assert run("evaluate", model, out, "--split", "test", "--json") == 0
    assert json.loads(capsys.readouterr().out)["split"] == "test"


def test_a_model_of_a_band_that_is_absent_is_refused(make, tmp_path, capsys):
    scene = make.scene(tmp_path / "lake.tif", make.pixels(bands=2), names=("green", "nir"))
    assert run("dataset", "pseudo-label", scene, "--out", tmp_path / "water") == 0
    assert run("evaluate", make.bundle(tmp_path / "model"), tmp_path / "water") == 2
    assert "has bands green, nir; the model needs red, blue too" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--threshold", "high"), "--threshold 'high': is neither a number nor otsu"),
        (("--index", "mndwi"), "lake.tif: has the bands B02, B03, B04; mndwi needs green and swir"),
        (("--event", "../x"), "--event '../x': file names begin with it"),
        (("--scale", "0"), "--scale 0.0 is not a number other than 0"),
    ],
)
def test_bad_input_is_one_line(make, tmp_path, capsys, words, told):
    scene = make.scene(tmp_path / "lake.tif")
    assert run("dataset", "pseudo-label", scene, "--out", tmp_path / "water", *words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert told in lines[0]
    assert not (tmp_path / "water").exists()
