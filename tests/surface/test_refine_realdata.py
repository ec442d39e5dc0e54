"""A coarse outline of a real tailings facility, made tight by LiteMedSAM as it was published."""

import geopandas as gpd
import pytest

from headframe.engine.prompting import load_prompter
from headframe.surface.refine import refine_polygons
from headframe.surface.refine_compare import compare

SITE = "brazil_000"


@pytest.mark.realdata
def test_the_outline_of_a_real_facility_comes_closer_to_the_true_one(shared_data, tmp_path):
    folder = shared_data / "tailings-brazil"
    drawn = gpd.read_file(folder / "tailings.kml")
    true = drawn.loc[drawn["site"] == SITE, ["site", "geometry"]].reset_index(drop=True)
    true.to_file(tmp_path / "true.gpkg")
    coarse = true.to_crs(5880)  # metres
    coarse = coarse.set_geometry(coarse.simplify(40).buffer(60).translate(30, 0))
    coarse.to_file(tmp_path / "coarse.gpkg")
    result = refine_polygons(
        [str(folder / "images" / SITE)],
        polygons=tmp_path / "coarse.gpkg",
        prompter=load_prompter("litemedsam", device="cpu"),
        out=tmp_path / "tight.gpkg",
    )
    frame = gpd.read_file(tmp_path / "tight.gpkg")
    assert frame["status"].tolist() == ["refined"]
    assert frame["site"].tolist() == [SITE]
    assert frame.crs.to_epsg() == 5880
    (row,) = compare(result, tmp_path / "true.gpkg").rows
    assert row.iou_before == pytest.approx(0.49, abs=0.01)
    assert row.iou_after == pytest.approx(0.64, abs=0.03)
    assert row.boundary_iou_after > row.boundary_iou_before + 0.2
