"""Outputs of two scenes that would have one name."""

import json
from pathlib import Path

import pytest

from headframe.core.errors import InputError
from headframe.engine.mapping.clashes import check_clashes

HERE = Path()


def test_two_scenes_of_one_call_may_not_write_one_file(tmp_path):
    placed = [("in/a.tif", HERE), ("in/a.b.tif", HERE)]
    match = r"^in/a\.tif and in/a\.b\.tif would both be mapped to .*a\.b\.c\.classes\.tif\."
    with pytest.raises(InputError, match=match):
        check_clashes(placed, tmp_path, models=["b.c", "c"])
    with pytest.raises(InputError, match=r"would both be mapped to .*a\.b\.classes\.tif"):
        check_clashes(placed, tmp_path, models=["b", "c"])
    check_clashes(placed, tmp_path, models=["c", "d"])
    check_clashes(placed, tmp_path, models=[])
    apart = [("in/a.tif", Path("x")), ("in/a.b.tif", Path("y"))]
    check_clashes(apart, tmp_path, models=["b.c", "c"])


def test_an_earlier_map_of_another_scene_is_not_overwritten(tmp_path):
    (tmp_path / "a.b.classes.tif").touch()
    item = tmp_path / "a.b.stac.json"
    item.write_text(json.dumps({"assets": {"classes": {"href": "./a.b.classes.tif"}}}))
    match = (
        r"in/a\.tif would be mapped to .*a\.b\.classes\.tif, which belongs to .*a\.b\.stac\.json"
    )
    with pytest.raises(InputError, match=match):
        check_clashes([("in/a.tif", HERE)], tmp_path, models=["b", "c"])
    check_clashes([("in/a.tif", HERE)], tmp_path, models=["c", "d"])
    check_clashes([("in/a.b.tif", HERE)], tmp_path, models=[])  # its own, once more
    item.write_text("{")  # nobody's
    check_clashes([("in/a.tif", HERE)], tmp_path, models=["b", "c"])


def test_a_scene_whose_name_begins_like_a_models_is_found_too(tmp_path):
    # scene a, model b.x, is there; scene a.b comes with model x
    (tmp_path / "a.b.x.classes.tif").touch()
    item = tmp_path / "a.stac.json"
    item.write_text(json.dumps({"assets": {"classes-b.x": {"href": "a.b.x.classes.tif"}}}))
    with pytest.raises(InputError, match=r"belongs to .*a\.stac\.json"):
        check_clashes([("in/a.b.tif", HERE)], tmp_path, models=["x", "y"])
