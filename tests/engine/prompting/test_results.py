"""Files of results: polygons, mask, picture."""

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from PIL import Image

from headframe.core.errors import OutputError
from headframe.engine.prompting import (
    PromptSession,
    SceneEmbeddings,
    answer_all,
    prompts_of,
    write_mask,
    write_picture,
    write_polygons,
)


@pytest.fixture
def session(fake, tmp_path):
    bright = fake.ring() | fake.blob(rows=slice(4, 12), cols=slice(150, 186))
    source = fake.scene(tmp_path / "scene.tif", bright)
    with SceneEmbeddings.open(source, fake.prompter()) as embeddings:
        yield PromptSession(embeddings), bright


@pytest.fixture
def found(session):
    asked, bright = session
    row, col = np.argwhere(bright & (np.arange(bright.shape[1]) < 140))[9]
    said = prompts_of(points=[(col + 0.5, row + 0.5)], boxes=[(140, 2, 189, 20), (2, 130, 30, 148)])
    return answer_all(asked, said), asked.to_pixels(said)


def test_polygons_are_rows_in_the_scenes_crs_and_nothing_found_is_no_row(found, session, tmp_path):
    masks, _ = found
    assert masks[2].shape is None
    assert write_polygons(tmp_path / "o.gpkg", masks, session[0].crs) == 2
    frame = gpd.read_file(tmp_path / "o.gpkg", layer="prompts")
    assert frame.crs.to_epsg() == 32723
    assert list(frame["prompt_id"]) == ["1", "2"]
    assert list(frame["prompt"]) == ["point", "box"]
    assert frame.geometry.is_valid.all()
    np.testing.assert_allclose(frame["area_ha"], frame.area / 1e4, rtol=3e-3)
    assert {"score", "stability", "tiles", "level", "cut"} < set(frame.columns)


def test_the_mask_has_each_object_at_its_own_pixels(found, session, tmp_path):
    asked, bright = session
    write_mask(tmp_path / "m.tif", found[0], asked.embeddings.scene)
    with rasterio.open(tmp_path / "m.tif") as file:
        numbers = file.read(1)
        assert (file.dtypes[0], file.crs.to_epsg()) == ("uint16", 32723)
        with rasterio.open(asked.embeddings.scene.source) as scene:
            assert file.transform.almost_equals(scene.transform)
    np.testing.assert_array_equal(numbers > 0, bright)
    assert numbers[5, 160] == 2
    assert set(np.unique(numbers)) == {0, 1, 2}


def test_the_picture_shows_prompts_and_outlines(found, session, tmp_path):
    masks, pixels = found
    write_picture(tmp_path / "p.png", masks, pixels, session[0].embeddings)
    picture = np.asarray(Image.open(tmp_path / "p.png").convert("RGB")).astype(int)
    assert min(picture.shape[:2]) > 300
    for colour in ((0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9)):
        assert (np.abs(picture - colour).sum(axis=2) < 12).sum() > 200


def test_outputs_that_cannot_be_written_are_one_line(found, session, tmp_path):
    (tmp_path / "file").write_text("x")
    for write in (
        lambda: write_polygons(tmp_path / "file" / "o.gpkg", found[0], session[0].crs),
        lambda: write_mask(tmp_path / "file" / "m.tif", found[0], session[0].embeddings.scene),
        lambda: write_picture(tmp_path / "file" / "p.png", *found, session[0].embeddings),
    ):
        with pytest.raises(OutputError, match="file"):
            write()
