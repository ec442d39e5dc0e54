"""The drawn demo: small, whole, and taken up where it stopped."""

import json

import pytest

from headframe.core.errors import OutputError
from headframe.surface.demo import DATES, DemoOptions, demo_recipe, draw_heldout, run_demo
from headframe.surface.report import write_demo_report


def test_the_mapped_place_is_no_training_place():
    options = DemoOptions(seed=3)
    training = {options.heldout_seed + 1 + n for n in range(options.sites)}
    assert options.heldout_seed not in training
    assert len(training) == options.sites


def test_heldout_place_is_seen_at_both_dates():
    before, after = draw_heldout(DemoOptions(fast=True))
    assert (before.date, after.date) == DATES
    assert before.geobox == after.geobox
    assert after.truth.sum() > before.truth.sum()


def test_recipe_names_its_start(tmp_path):
    recipe, start = demo_recipe(tmp_path, DemoOptions(fast=True))
    assert recipe.data.dataset == str(tmp_path)
    assert recipe.data.target == "binary"
    assert (recipe.model.init == "imagenet") == (start == "ImageNet weights")


def test_another_folder_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(OutputError, match="is not empty and holds no demo"):
        run_demo(tmp_path)
    (tmp_path / "mine.txt").unlink()
    (tmp_path / "options.json").write_text("{}", encoding="utf-8")
    with pytest.raises(OutputError, match="holds a demo with other options"):
        run_demo(tmp_path)


@pytest.mark.slow
# odc-geo calls a function that shapely 2.2 deprecates.
@pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning")
def test_whole_way_and_again(tmp_path):
    options = DemoOptions(seed=2, fast=True)
    out = tmp_path / "demo"
    first = run_demo(out, options=options)
    assert len(first.losses) == options.steps
    assert 0 <= first.iou <= 1
    assert all(place.true_ha > 1 for place in first.dates)
    assert sum(first.chips.values()) == options.sites
    write_demo_report(first, out / "report.html")
    json.dumps(first.to_json())
    stamps = {p: p.stat().st_mtime_ns for p in out.rglob("*.tif")}
    again = run_demo(out, options=options)
    assert again.to_json() == first.to_json()
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*.tif")} == stamps
