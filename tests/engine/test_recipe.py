import pytest

from headframe.core.errors import InputError, MissingFileError, RecipeError
from headframe.engine.recipe import Recipe, load_recipe, parse_recipe, save_recipe


def test_round_trip(tmp_path):
    recipe = Recipe(name="a").with_train(steps=7).with_data(dataset="DS")
    save_recipe(recipe, tmp_path / "b.yaml")
    assert load_recipe(tmp_path / "b.yaml") == recipe


def test_name_comes_from_the_file(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text("train: {steps: 3}\n")
    assert load_recipe(path).name == "small"


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ({"train": {"stepps": 3}}, r"unknown key 'train\.stepps'; the closest is 'steps'"),
        ({"trane": {}}, "closest is 'train'"),
        ({"data": {"fold": {"indx": 1}}}, "closest is 'index'"),
        ({"train": {"steps": 0}}, r"train\.steps.*is 0"),
        ({"train": {"crop_px": 100}}, r"crop_px.*multiple of 32"),
        ([1], "mapping"),
        (None, "mapping"),
    ],
)
def test_mistakes_are_named(value, match):
    with pytest.raises(RecipeError, match=match):
        parse_recipe(value, source="r.yaml")


def test_unreadable(tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.yaml"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1\n")
    with pytest.raises(RecipeError, match="not valid YAML"):
        load_recipe(tmp_path / "bad.yaml")
    (tmp_path / "evil.yaml").write_text("a: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(InputError, match="not valid YAML"):
        load_recipe(tmp_path / "evil.yaml")
