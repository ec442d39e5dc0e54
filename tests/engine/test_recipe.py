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
        ({"train": {"optimizer": "adamx"}}, r"train\.optimizer.*is 'adamx'"),
        ({"train": {"lr_min": 1e-5}}, r"lr_min 1e-05 needs schedule cosine"),
        ({"train": {"schedule": "cosine", "lr_min": 0.1}}, r"not cosine with lr 0\.001"),
        ({"augment": {"hflip": 1.5}}, r"augment\.hflip.*is 1\.5"),
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


def test_epochs_decide_steps():
    section = parse_recipe({"train": {"epochs": 3, "batch": 4, "steps": 9}}, source="r").train
    assert section.steps_for(10) == 9  # three times ceil(10 / 4)
    assert section.steps_for(12) == 9
    assert section.steps_for(13) == 12
    assert section.steps_for(13, world=2) == 6
    assert Recipe().train.steps_for(13) == 400


def test_weight_decay_follows_the_optimizer_unless_given():
    def decay(**train):
        return parse_recipe({"train": train}, source="r").train.weight_decay

    assert decay() == decay(optimizer="adamw") == 0.01
    assert decay(optimizer="adam") == decay(optimizer="sgd") == 0
    assert decay(optimizer="sgd", weight_decay=0.1) == 0.1


@pytest.mark.parametrize(
    ("given", "count", "last"), [("m+s", 15, "vv_vh"), (["R+N"], 4, "nir"), (["red"], 1, "red")]
)
def test_bands_may_be_a_band_set(given, count, last):
    bands = parse_recipe({"data": {"bands": given}}, source="r.yaml").data.bands
    assert (len(bands), bands[-1]) == (count, last)


@pytest.mark.parametrize(
    ("given", "match"),
    [("m+x", "unknown band set 'm.x'; closest: m.s"), ([], "at least 1"), ([3], "bands.0")],
)
def test_bands_that_are_no_band_set(given, match):
    with pytest.raises(RecipeError, match=match):
        parse_recipe({"data": {"bands": given}}, source="r.yaml")


@pytest.mark.parametrize(
    ("change", "told"),
    [({"steps": -5}, "train.steps: "), ({"precision": "fp8"}, "train.precision: .*fp8")],
)
def test_a_changed_value_is_checked_like_one_of_a_file(change, told):
    recipe = parse_recipe({"name": "mine"}, source="test")
    with pytest.raises(RecipeError, match=f"recipe mine: {told}"):
        recipe.with_train(**change)
