"""Prompts on a real chip, with LiteMedSAM."""

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from scipy import ndimage

from headframe.engine.prompting import (
    PromptSession,
    SceneEmbeddings,
    load_prompter,
    prompts_of,
    write_polygons,
)

SITE = "brazil_002"


@pytest.mark.realdata
def test_a_point_and_a_box_find_a_labelled_tailings_facility(shared_data, tmp_path):
    chip = shared_data / "tailings-brazil" / "images" / SITE / "00000.tif"
    with rasterio.open(shared_data / "tailings-brazil" / "masks" / SITE / "00000.tif") as file:
        parts, _ = ndimage.label(file.read(1) == 1)
        facility = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
        depth = ndimage.distance_transform_edt(facility)
        row, col = np.unravel_index(depth.argmax(), depth.shape)
        rows, cols = np.nonzero(facility)
        lon, lat = file.transform @ (col + 0.5, row + 0.5)
    box = (cols.min(), rows.min(), cols.max() + 1, rows.max() + 1)
    with SceneEmbeddings.open(str(chip), load_prompter("litemedsam", device="cpu")) as scene:
        session = PromptSession(scene)
        boxed = session.ask(prompts_of(boxes=[box]).objects[0], None)
        pointed = session.ask(prompts_of(points=[(lon, lat)]).objects[0], session.crs)
    assert session.crs.to_epsg() == 4326
    for found, least in ((boxed, 0.8), (pointed, 0.7)):
        w = found.window
        mask = np.zeros((w.row + w.height, w.col + w.width), dtype=bool)
        mask[w.row :, w.col :] = found.mask
        mask = mask[: facility.shape[0], : facility.shape[1]]
        truth = facility[: mask.shape[0], : mask.shape[1]]
        assert (mask & truth).sum() / ((mask | truth).sum() + facility.sum() - truth.sum()) > least
    assert write_polygons(tmp_path / "o.gpkg", [boxed, pointed], session.crs) == 2
    frame = gpd.read_file(tmp_path / "o.gpkg")
    metric = frame.to_crs(frame.estimate_utm_crs())
    np.testing.assert_allclose(metric.area / 1e4, frame["area_ha"], rtol=5e-3)
