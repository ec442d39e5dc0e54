import math

import pytest

from headframe.core.errors import MissingFileError, RecipeError
from headframe.engine.recipe import parse_recipe
from headframe.engine.space import PAPER_SPACE, check_space, load_space, make_space


def recipe(**sections):
    value = {"name": "base", "model": {"architecture": "fpn", "init": "none"}, **sections}
    return parse_recipe(value, source="base.yaml")


def space(value):
    return make_space(value, source="space.yaml")


def test_the_papers_grid_has_14580_combinations():
    assert load_space(None).size == 14_580
    assert math.prod(len(values) for values in PAPER_SPACE.values()) == 14_580
    optima = {"train.lr": 6e-4, "train.crop_px": 512, "loss.name": "ce"}  # of the paper's Table 5
    assert all(value in PAPER_SPACE[key] for key, value in optima.items())


def test_a_combination_becomes_a_recipe():
    searched = space(
        {
            "train.lr": {"low": "1e-4", "high": 1e-2, "log": True},
            "loss": [{"name": "ce"}, {"name": "focal", "options": {"gamma": 3}}],
            "model.options.encoder": ["resnet50", "vgg16"],
        }
    )
    assert searched.size is None
    focal = searched.distributions["loss"].choices[1]
    values = {"train.lr": 0.002, "loss": focal, "model.options.encoder": "vgg16"}
    found = searched.recipe(recipe(train={"steps": 7, "batch": 3}), values)
    assert (found.loss.name, found.loss.options) == ("focal", {"gamma": 3})
    assert (found.train.lr, found.train.batch, found.train.steps) == (0.002, 3, 7)
    assert found.model.options == {"encoder": "vgg16"}
    assert found.model.architecture == "fpn"


def test_weight_decay_follows_the_optimiser_unless_the_recipe_has_one():
    searched = space({"train.optimizer": ["adam", "adamw"]})
    decays = {
        (given, name): searched.recipe(base, {"train.optimizer": name}).train.weight_decay
        for given, base in {
            "adamw": recipe(),
            "adam": recipe(train={"optimizer": "adam"}),
            "own": recipe(train={"weight_decay": 0.3}),
        }.items()
        for name in ("adam", "adamw")
    }
    assert decays[("adamw", "adam")] == decays[("adam", "adam")] == 0
    assert decays[("adamw", "adamw")] == decays[("adam", "adamw")] == 0.01
    assert decays[("own", "adam")] == decays[("own", "adamw")] == 0.3


def test_whole_numbers_make_whole_numbers():
    searched = space({"train.batch": {"low": 4, "high": 16, "step": 4}})
    assert searched.distributions["train.batch"].high == 16
    check_space(searched, recipe())
    assert searched.recipe(recipe(), {"train.batch": 12}).train.batch == 12


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ([], "a space maps recipe keys"),
        ({}, "a space maps recipe keys"),
        ({"train.lr": 0.1}, r"train\.lr: 0\.1 is neither a list"),
        ({"train.lr": []}, "is neither a list"),
        ({"train.lr": [0.1, 0.1]}, "a value is there twice"),
        ({"train.lr": {"low": 1, "high": 2, "lag": True}}, "not 'lag'"),
        ({"train.lr": {"low": "few", "high": 2}}, "'few' is no number"),
        ({"train.lr": {"low": 2.0, "high": 1.0}}, r"train\.lr: .*low <= high"),
        ({"data.fold.index": [0, 1]}, "says what is learnt, not how"),
        ({"data": [{}]}, "says what is learnt, not how"),
        ({"train.seed": [0, 1]}, "says what is learnt, not how"),
    ],
)
def test_what_is_no_space(value, match):
    with pytest.raises(RecipeError, match=match):
        space(value)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ({"train.lrr": [0.1]}, r"unknown key 'train\.lrr'; the closest is 'lr'"),
        ({"trian.lr": [0.1]}, "the closest is 'train'"),
        ({"train.batch": [4, 0]}, r"train\.batch.*is 0"),
        ({"train.crop_px": {"low": 64, "high": 128, "step": 16}}, "multiple of 32"),
        ({"train.lr.low": [1]}, "'lr' is a value, not a section"),
        ({"model.architecture": ["fpn", "unnet"]}, "'unnet' cannot be used: unknown architecture"),
        ({"model.options.encoder": ["resnet5O"]}, "'resnet5O' cannot be used"),
        ({"loss.name": ["ce", "focall"]}, "'focall' cannot be used: unknown loss"),
        ({"loss.options.gamma": [1, 2]}, "has no option 'gamma'"),
    ],
)
def test_a_value_that_no_recipe_has_is_refused_before_training(value, match):
    with pytest.raises(RecipeError, match=match):
        check_space(space(value), recipe(train={"lr": 0.1}))


def test_what_cannot_be_built_together_is_left_out():
    searched = space(
        {
            "model.architecture": ["fpn", "deeplabv3plus"],
            "model.options.encoder": ["tf_efficientnet_lite0", "vgg16"],
            "train.batch": [2, 4, 8],
        }
    )
    buildable = check_space(searched, recipe())
    assert list(buildable.refused) == [
        "model.architecture 'deeplabv3plus', model.options.encoder 'vgg16'"
    ]
    assert buildable.possible == 9
    values = {"model.architecture": "deeplabv3plus", "train.batch": 2}
    assert not buildable({**values, "model.options.encoder": "vgg16"})
    assert buildable({**values, "model.options.encoder": "tf_efficientnet_lite0"})


def test_space_files(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text("train.lr: [1.0e-3, 1.0e-2]\n")
    assert load_space(path).size == 2
    path.write_text("a: [")
    with pytest.raises(RecipeError, match=r"space\.yaml: not valid YAML"):
        load_space(path)
    with pytest.raises(MissingFileError, match=r"none\.yaml"):
        load_space(tmp_path / "none.yaml")
