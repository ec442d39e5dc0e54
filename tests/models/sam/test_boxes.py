"""LiteMedSAM on photographs; scripts/sam_boxes.py does all of them."""

import importlib.util
import sys
from itertools import islice

import numpy as np
import pytest

from headframe.core.errors import MissingFileError
from headframe.engine.bases import base_state, find_base
from headframe.models.sam import build_sam


@pytest.fixture
def script(repo_root, monkeypatch):
    spec = importlib.util.spec_from_file_location("sam_boxes", repo_root / "scripts/sam_boxes.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "sam_boxes", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.realdata
def test_the_objects_are_those_of_at_least_1500_pixels(script, shared_data):
    photos = list(script.photographs(shared_data / "coco200/val", min_px=script.MIN_PX))
    assert sum(len(photo.masks) for photo in photos) == 233
    assert all(photo.path.is_file() for photo in photos)


@pytest.mark.slow
@pytest.mark.realdata
def test_masks_prompted_with_true_boxes_beat_the_boxes(script, shared_data):
    """Every seventh photograph, eight of them; all 233 objects have 0.601 and 0.562."""
    base = find_base("litemedsam")
    sam = build_sam(base.architecture, state=base_state(base)).eval()
    photos = script.photographs(shared_data / "coco200/val", min_px=script.MIN_PX)
    rows = [row for photo in islice(photos, 0, 56, 7) for row in script.measure(sam, photo)]
    assert len(rows) == 21
    assert np.mean([row.sam for row in rows]) == pytest.approx(0.602, abs=0.005)
    assert np.mean([row.box for row in rows]) == pytest.approx(0.524, abs=0.001)


def test_photographs_without_instances_are_named(script, tmp_path):
    with pytest.raises(MissingFileError, match=r"instances\.json: no COCO instances"):
        next(script.photographs(tmp_path, min_px=1))
