import json

import pytest

from headframe.cli import main as cli
from headframe.engine import by_fact
from headframe.engine.by_fact import FactRow


def run(*words):
    with pytest.raises(SystemExit, match=r"^[0-9]$") as end:
        cli.main([str(word) for word in words])
    return end.value.code


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "general.yaml"
    path.write_text("name: general\n")
    return path


@pytest.fixture
def asked(monkeypatch):
    seen = []
    good, fair = (dict.fromkeys(("iou", "recall", "precision", "accuracy"), x) for x in (0.9, 0.5))
    row = FactRow("RR", 2, 2, good, fair, (0.8, 1.0), (0.4, 0.6), good, fair)

    def compare(recipe, fact, *, plan, out, hardware, progress):
        seen.append((recipe.name, recipe.data.dataset, fact, plan.folds, plan.seeds, out))
        return (row,)

    monkeypatch.setattr(by_fact, "compare_by_fact", compare)
    return seen


def test_experiment_by_fact(recipe, asked, tmp_path, capsys):
    words = ("experiment", recipe, "--data", "DS", "--out", tmp_path, "--by-fact", "material")
    assert run(*words, "--own-split", "--seed", 3) == 0
    assert asked == [("general", "DS", "material", (), (3,), tmp_path)]
    said = capsys.readouterr().out
    assert "0.900 / 0.500" in said
    assert "by-material.csv" in said
    assert run(*words, "--only-fold", 1, "--json") == 0
    assert asked[1][3] == (1,)
    assert json.loads(capsys.readouterr().out)[0]["own_iou"] == 0.9


def test_two_recipes_cannot_be_the_general_one(recipe, asked, tmp_path, capsys):
    assert run("experiment", recipe, recipe, "--out", tmp_path, "--by-fact", "material") == 2
    assert "give one recipe" in capsys.readouterr().err
    assert asked == []


def test_evaluate_where_needs_a_fact_that_is_there(make, tmp_path, capsys):
    for kind in ("images", "masks"):
        values = make.pixels(bands=3 if kind == "images" else 1)
        values = values if kind == "images" else (values > 1500).astype("uint8")
        make.scene(tmp_path / "ds" / kind / "a" / "0.tif", values)
    bundle = make.bundle(tmp_path / "model")
    assert run("evaluate", bundle, tmp_path / "ds", "--where", "material=RR") == 2
    assert "unknown fact of the sites" in capsys.readouterr().err
    assert run("evaluate", bundle, tmp_path / "ds", "--where", "material") == 2
    assert "write FIELD=VALUE" in capsys.readouterr().err
