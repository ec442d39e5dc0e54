"""Enhancers trained: stages, the joint form, resuming at the next batch, learning at all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from headframe.core.errors import DatasetError, MissingFileError, OutputError, RecipeError
from headframe.datasets.light_pairs import PairPlan, light_pair, read_bright
from headframe.engine.enhance_recipe import load_enhance_recipe, parse_enhance_recipe
from headframe.engine.enhance_training import EnhanceRun, train_enhancer
from headframe.engine.enhancer_bundle import load_enhancer, read_enhancer
from headframe.losses.kind import max_rgb_distance

ROOT = Path(__file__).parents[2]
STAGE = {"steps": 3, "batch": 2, "crop_px": 32, "lr": 1e-3}


def recipe(mode="kind", **changes):
    names = ("joint",) if mode == "dismine" else ("decomposition", "adjustment", "restoration")
    value = {
        "network": {"mode": mode, "width": 4, "restoration_width": 2},
        "pairs": {"camera": 1, "paper": 1, "sensor": 1},
        "stages": dict.fromkeys(names, STAGE),
        "checkpoint_every": 2,
    }
    return parse_enhance_recipe(value | changes, source="test")


@pytest.fixture
def photographs(tmp_path):
    """Three drawn photographs of different brightness and size."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rows, columns = np.mgrid[0:60, 0:90]
    for number, level in enumerate((60, 160, 110)):
        disc = 80 * ((rows - 25) ** 2 + (columns - 30 - 9 * number) ** 2 < 300)
        image = np.stack([level + disc, level + rows // 2, level + columns // 3], axis=-1)
        Image.fromarray(image[:, : 90 - 5 * number].astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def test_the_recipes_of_the_repository_can_be_used():
    paths = sorted((ROOT / "recipes" / "dis-mine").glob("kind-*.yaml"))
    assert [path.stem for path in paths] == ["kind-joint", "kind-s"]
    for path in paths:
        chosen = load_enhance_recipe(path)
        assert chosen.name == path.stem
        with torch.device("meta"):
            run = EnhanceRun(chosen, [], out=Path("none"), device="meta")
        size = 2 * sum(p.numel() for p in run.network.parameters())
        assert size < 8e6 or path.stem != "kind-s"


@pytest.mark.parametrize("mode", ["kind", "dismine"])
def test_a_run_leaves_a_bundle(mode, photographs, tmp_path):
    out = tmp_path / "run"
    result = train_enhancer(recipe(mode), [photographs], out=out)
    assert result["steps"] == (9 if mode == "kind" else 3)
    rows = (out / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + result["steps"]
    bundle = read_enhancer(out / "bundle")
    assert bundle.network.options.mode == mode
    assert bundle.options.ratio is None
    assert bundle.options.target_light == result["target_light"]
    dark = np.full((3, 33, 47), 0.02, np.float32)
    assert load_enhancer(str(out), device="cpu")(dark).shape == dark.shape
    assert train_enhancer(recipe(mode), [photographs], out=out, resume=True) == result


class KilledError(Exception):
    pass


@pytest.mark.parametrize("after", [3, 8])
def test_a_killed_run_goes_on_as_if_it_had_not_been(after, photographs, tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    train_enhancer(recipe(), [photographs], out=whole)
    out = tmp_path / "killed"
    steps = 0
    one_step = EnhanceRun._one_step

    def fail_later(self, name):
        nonlocal steps
        if steps == after:
            raise KilledError
        steps += 1
        one_step(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(EnhanceRun, "_one_step", fail_later)
        with pytest.raises(KilledError):
            train_enhancer(recipe(), [photographs], out=out)
    train_enhancer(recipe(), [photographs], out=out, resume=True)
    assert (out / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    ours, theirs = (read_enhancer(f / "bundle").network.state_dict() for f in (out, whole))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_each_stage_trains_its_own_net(photographs, tmp_path):
    run = EnhanceRun(
        recipe(), read_bright([photographs], short_side_px=60), out=tmp_path, device="cpu"
    )
    for stage in ("decomposition", "adjustment", "restoration"):
        before = {key: value.clone() for key, value in run.network.state_dict().items()}
        run.optimizer = run._begin()
        run._one_step(stage)
        changed = {k for k, v in run.network.state_dict().items() if not torch.equal(v, before[k])}
        assert changed
        assert all(key.startswith(f"{stage}.") for key in changed)
        run.state.stage, run.state.step = run.state.stage + 1, 0


def test_the_rate_is_halved(photographs, tmp_path):
    stage = {**STAGE, "steps": 4, "halve_at": [0.25, 0.75]}
    chosen = recipe("dismine", stages={"joint": stage})
    run = EnhanceRun(
        chosen, read_bright([photographs], short_side_px=60), out=tmp_path, device="cpu"
    )
    rates = []
    for _ in range(4):
        run._one_step("joint")
        rates.append(run.optimizer.param_groups[0]["lr"])
    assert rates == [1e-3, 5e-4, 5e-4, 2.5e-4]


def test_decomposition_learns_to_take_an_image_apart(photographs, tmp_path):
    stages = {n: {**STAGE, "steps": 1} for n in ("adjustment", "restoration")}
    stages["decomposition"] = {**STAGE, "steps": 120, "lr": 1e-2}
    chosen = recipe(stages=stages, network={"width": 8, "restoration_width": 2})
    train_enhancer(chosen, [photographs], out=tmp_path / "run")
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[1:121]
    losses = [float(row.split(",")[2]) for row in rows]
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])


def test_illumination_follows_the_largest_channel_where_it_is_told(photographs, tmp_path):
    def distance(max_rgb):
        stages = {n: {**STAGE, "steps": 1} for n in ("adjustment", "restoration")}
        stages["decomposition"] = {**STAGE, "steps": 60, "lr": 1e-2}
        loss = {"max_rgb": max_rgb, "smooth_after": 0.5}
        pairs = {"camera": 1, "light": [0.05, 0.2], "stretch": False}
        chosen = recipe(stages=stages, network={"width": 8}, loss=loss, pairs=pairs)
        run = EnhanceRun(
            chosen, read_bright([photographs], short_side_px=60), out=tmp_path, device="cpu"
        )
        for _ in range(60):
            run._one_step("decomposition")
        with torch.no_grad():
            return max_rgb_distance(run._pair(*run._pairs(range(1000, 1010), crop_px=32))).item()

    assert distance(2.0) < 0.7 * distance(0.0)


def test_smoothness_comes_later():
    loss = recipe(loss={"smooth_after": 0.2, "max_rgb": 0.3}).loss
    grown = [loss.at(share).smoothness for share in (0.0, 0.2, 0.3, 0.4, 1.0)]
    assert grown == pytest.approx([0, 0, 0.075, 0.15, 0.15])
    assert loss.at(0.3).consistency == pytest.approx(0.1)
    assert (loss.at(0.0).max_rgb, loss.at(0.0).reflectance) == (0.3, 0.01)
    assert recipe().loss.at(0.0).smoothness == 0.15


def test_a_run_is_not_taken_over(photographs, tmp_path):
    out = tmp_path / "run"
    train_enhancer(recipe("dismine"), [photographs], out=out)
    with pytest.raises(OutputError, match="holds a run already"):
        train_enhancer(recipe("dismine"), [photographs], out=out)
    with pytest.raises(RecipeError, match="begun with another recipe"):
        train_enhancer(recipe("dismine", seed=1), [photographs], out=out, resume=True)


def test_recipes_that_cannot_be(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("stages: {joint: {stepz: 1}}\nnetwork: {mode: dismine}\n")
    with pytest.raises(RecipeError, match=r"'stages.joint.stepz'; the closest is 'steps'"):
        load_enhance_recipe(path)
    path.write_text("stages: {joint: {steps: 1}}\nnetwork: {mode: dismine, widht: 3}\n")
    with pytest.raises(
        RecipeError, match=r"a.yaml: unknown key 'network.widht'; the closest is 'width'"
    ):
        load_enhance_recipe(path)
    with pytest.raises(RecipeError, match="mode 'kind' has the stages decomposition, adjustment"):
        parse_enhance_recipe({"stages": {"joint": STAGE}}, source="a")
    with pytest.raises(RecipeError, match="light is"):
        recipe(pairs={"light": [0.3, 0.1]})
    with pytest.raises(RecipeError, match="gamma is"):
        recipe(pairs={"gamma": [0.0, 1.0]})
    with pytest.raises(RecipeError, match="one of camera, paper and sensor"):
        recipe(pairs={"camera": 0})
    path.write_text("a: [")
    with pytest.raises(RecipeError, match="not valid YAML"):
        load_enhance_recipe(path)
    with pytest.raises(MissingFileError, match="cannot be read as a recipe"):
        load_enhance_recipe(tmp_path / "none.yaml")


def test_the_brighter_photographs_are_kept_and_reduced(photographs):
    kept = read_bright([photographs], short_side_px=30, brightest=0.67)
    assert [image.shape for image in kept] == [(30, 42, 3), (30, 40, 3)]  # the darkest is "0"
    assert kept[0].mean() > kept[1].mean()


def test_a_pair_is_a_function_of_its_number(photographs):
    images = read_bright([photographs], short_side_px=60)
    plan = PairPlan(seed=3, crop_px=32, weights=(1, 1, 1), stretch=False)
    (dark, bright), (again, _) = light_pair(images, 7, plan), light_pair(images, 7, plan)
    assert dark.shape == bright.shape == (3, 32, 32)
    assert np.array_equal(dark, again)
    assert dark.mean() < bright.mean()
    assert not np.array_equal(light_pair(images, 8, plan)[1], bright)
    one_way = PairPlan(seed=3, crop_px=32, light=(0.5, 0.5), stretch=False)
    plain, deep = (light_pair(images, 7, replace(one_way, gamma=g))[0] for g in ((1, 1), (2, 2)))
    assert deep.mean() < 0.9 * plain.mean()
    stretched = light_pair(images, 7, PairPlan(seed=3, crop_px=32, weights=(1, 1, 1)))
    for image in stretched:
        assert (image.min(), image.max()) == (0, 1)
    with pytest.raises(DatasetError, match="crops are 64 px"):
        light_pair(images, 0, PairPlan(seed=3, crop_px=64))
