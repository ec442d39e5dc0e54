"""``headframe map`` with several models and rules."""

import json
from dataclasses import replace

import pytest
import rasterio

from headframe.cli.main import main
from headframe.cli.map import _scenes_and_models
from headframe.core.errors import InputError
from headframe.engine.bundle import load_bundle, save_bundle


@pytest.fixture
def two(tmp_path, make):
    """Scene and the folders of two models that find a dam and tailings."""
    first = make.bundle(tmp_path / "a")
    bundle = load_bundle(first)
    old = bundle.spec.classes.classes
    for name, folder in (("dam", "a"), ("tailings_storage_facility", "b")):
        classes = replace(bundle.spec.classes, classes=(old[0], replace(old[1], name=name)))
        spec = replace(bundle.spec, name=folder, classes=classes)
        save_bundle(replace(bundle, spec=spec), tmp_path / folder)
    return str(make.scene(tmp_path / "scene.tif")), str(first), str(tmp_path / "b")


def run(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    said = capsys.readouterr()
    return stop.value.code, said.out, said.err


@pytest.mark.parametrize("form", ["one option", "two options", "commas"])
def test_several_models_however_they_are_written(two, tmp_path, capsys, form):
    scene, a, b = two
    words = {
        "one option": ["--model", a, b],
        "two options": ["--model", a, "--model", b],
        "commas": ["--model", f"{a},{b}"],
    }[form]
    out = str(tmp_path / "o")
    choices = ["--out", out, "--rules", "dam-at-tailings", "--threshold", "0.5", "--json"]
    code, said, err = run(["map", scene, *words, *choices], capsys)
    assert code == 0, err
    (result,) = json.loads(said)
    assert list(result["area_ha"]) == ["dam", "tailings_storage_facility"]
    assert result["rules"][0]["rule"] == "dam-at-tailings"
    assert sorted(result["outputs"]) == [
        "classes-a", "classes-b", "components", "gpkg", "parquet", "png", "stac",
    ]  # fmt: skip
    with rasterio.open(result["outputs"]["components"]) as file:
        assert file.dtypes == ("uint16",)


def test_one_model_with_rules_and_what_they_did(two, tmp_path, capsys):
    scene, a, _ = two
    words = ["map", scene, "--model", a, "--out", str(tmp_path / "o"), "--rules", "all"]
    code, said, err = run(words, capsys)
    assert code == 0, err
    assert "scene.components.tif" in said
    assert "snow-cloud: not applied, the models do not read nir, swir16" in said
    assert "dam-at-tailings: not applied, no model finds tailings_storage_facility" in said


def test_bad_choices_are_one_line(two, tmp_path, capsys):
    scene, a, b = two
    start = ["map", scene, "--model", a, "--out", str(tmp_path / "o")]
    for more, message in (
        (["--rules", "dams"], "unknown rule 'dams'"),
        (["--rules", "dam-at-tailings"], "no model finds tailings_storage_facility"),
        (["--rules", "all", "--land-cover-exclude", "1,x"], "--land-cover-exclude 1,x: not whole"),
        (["--rules", "snow-cloud"], "nir"),
        (["--model", a], "is given twice"),
    ):
        code, _, err = run([*start, *more], capsys)
        assert code == 2
        assert message in err
        assert err.count("\n") == 1
    code, _, err = run(["map", b, "--model", a, "--out", str(tmp_path / "o")], capsys)
    assert (code, "no scene is named" in err) == (2, True)


def test_scenes_are_told_from_models(two, tmp_path):
    scene, a, b = two
    words = [scene, b, "other.tif", "hf://x/y", "tailings-s2-rgb"]
    (tmp_path / "beside").mkdir()
    words.append(str(tmp_path / "beside"))
    scenes, models = _scenes_and_models(words, [a])
    assert scenes.pop() == words[-1]
    assert scenes == [scene, "other.tif"]
    assert models == [a, b, "hf://x/y", "tailings-s2-rgb"]
    with pytest.raises(InputError, match="no scene is named"):
        _scenes_and_models([b], [a])


def test_a_mistyped_model_is_told_from_a_missing_scene(two, tmp_path, capsys):
    scene, a, b = two
    out = ["--out", str(tmp_path / "o")]
    typo = str(tmp_path / "bb")
    for words, value, closest in (
        (["--model", a, typo], typo, b),
        (["--model", a, "tailings-s2-rgx"], "tailings-s2-rgx", "tailings-s2-rgb"),
    ):
        code, _, err = run(["map", scene, *words, *out], capsys)
        (line,) = err.splitlines()
        assert (code, line.startswith(f"error: {value}: no such file or folder")) == (2, True)
        assert "no model of this name" in line
        assert line.split("closest models: ")[1].split(", ")[0].rstrip(".") == closest
    code, _, err = run(["map", scene, "none.tif", "--model", a, *out], capsys)
    assert (code, "none.tif: no such file or folder." in err) == (2, True)
