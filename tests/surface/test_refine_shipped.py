"""Outlines made tighter by the prompt model that comes with the package."""

import numpy as np
import pytest

from headframe.engine.prompting import load_prompter
from headframe.geo.coarsen import Coarseness, coarsen
from headframe.io.feature_table import write_features
from headframe.io.vector import read_polygons
from headframe.surface.refine import refine_polygons
from headframe.surface.refine_compare import iou


@pytest.mark.realdata
def test_refine_tightens_a_coarse_outline(shared_data, tmp_path):
    """One of the outlines it learnt from: whether it works here, not how good it is."""
    folder = shared_data / "tailings-brazil"
    frame = read_polygons(folder / "tailings.kml", site_field="site").frame
    frame = frame[frame["site"] == "brazil_032"].reset_index(drop=True)
    truth = list(frame.geometry)
    frame.geometry = [p.shape for p in coarsen(truth, Coarseness(30, 60, 30), seed=1)]
    write_features(frame[["site", "geometry"]], tmp_path / "coarse.gpkg", layer="polygons")
    result = refine_polygons(
        [str(path) for path in sorted((folder / "images" / "brazil_032").iterdir())],
        polygons=tmp_path / "coarse.gpkg",
        prompter=load_prompter("sam-refine-s2-rgb", device="cpu"),
        out=tmp_path / "tight.gpkg",
    )
    before = [iou(coarse, true) for coarse, true in zip(frame.geometry, truth, strict=True)]
    after = [iou(tight, true) for tight, true in zip(result.after.geometry, truth, strict=True)]
    assert np.mean(after) > np.mean(before) + 0.05
