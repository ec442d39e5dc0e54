import resource
from contextlib import contextmanager

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rio_cogeo.cogeo import cog_validate

from headframe.core.classmap import binary_class_map
from headframe.core.errors import OutputError
from headframe.geo.window import Window
from headframe.io.cog import RasterStyle, StripWriter, class_style, write_cog

UTM = GeoBox((700, 900), Affine(10, 0, 600_000, 0, -10, 7_800_000), "EPSG:32723")
ROTATED = GeoBox((700, 900), Affine(8, 3, 600_000, 3, -8, 7_800_000), "EPSG:32723")


@contextmanager
def disk_of(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_strips(folder, values, heights):
    strips, row = [], 0
    bands, _, width = values.shape
    for i, height in enumerate(heights):
        path = folder / f"strip-{i}.tif"
        with StripWriter(path, (bands, height, width), str(values.dtype)) as writer:
            for col in range(0, width, 333):
                part = values[:, row : row + height, col : col + 333]
                writer.write(part, Window(0, col, height, part.shape[2]))
        strips.append((path, row))
        row += height
    return strips


@pytest.fixture
def classes():
    rng = np.random.default_rng(1)
    values = rng.integers(0, 2, (1, 700, 900), dtype=np.uint8)
    values[0, :40, 100:] = 255
    return values


@pytest.mark.parametrize("geobox", [UTM, ROTATED, None])
def test_classes_survive_with_palette_nodata_and_overviews(tmp_path, classes, geobox):
    strips = write_strips(tmp_path, classes, [300, 1, 399])
    path = tmp_path / "sub" / "a.classes.tif"
    style = class_style(binary_class_map("tailings"))
    write_cog(path, strips, shape=(700, 900), geobox=geobox, style=style)
    if geobox is None:
        with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
            file = rasterio.open(path)
    else:
        file = rasterio.open(path)
    with file:
        np.testing.assert_array_equal(file.read(), classes)
        assert file.nodata == 255
        assert file.colormap(1)[1] == (230, 85, 13, 255)
        assert file.overviews(1) == [2]
        assert file.tags()["class_1"] == "tailings"
        if geobox is None:
            assert file.crs is None
        else:
            assert file.crs.to_epsg() == 32723
            assert file.transform == geobox.affine
            valid, errors, _ = cog_validate(path)
            assert valid, errors
    assert [p.name for p in path.parent.iterdir()] == ["a.classes.tif"]


def test_scores_keep_nan_and_names(tmp_path):
    scores = np.random.default_rng(2).random((2, 700, 900), dtype=np.float32)
    scores[:, 5:9, 7:20] = np.nan
    strips = write_strips(tmp_path, scores, [256, 444])
    style = RasterStyle("float32", float("nan"), ("pit", "dump"), overview="average")
    write_cog(tmp_path / "s.tif", strips, shape=(700, 900), geobox=UTM, style=style)
    with rasterio.open(tmp_path / "s.tif") as file:
        np.testing.assert_array_equal(file.read(), scores)
        assert np.isnan(file.nodata)
        assert file.descriptions == ("pit", "dump")


@pytest.mark.parametrize("size", [1000, 100_000, 255_000])
def test_full_disk_under_a_strip(tmp_path, size):
    values = np.random.default_rng(0).integers(0, 255, (1, 500, 512), dtype=np.uint8)
    with disk_of(size), pytest.raises(OutputError, match=r"strip-0\.tif: .*Free some space"):
        write_strips(tmp_path, values, [500])


@pytest.mark.parametrize("size", [2000, 30_000, 80_000, 120_000])
def test_full_disk_under_the_final_file_leaves_nothing(tmp_path, classes, size):
    strips = write_strips(tmp_path, classes, [700])
    path = tmp_path / "out" / "a.tif"
    style = class_style(binary_class_map())
    with disk_of(size), pytest.raises(OutputError, match=r"a\.tif: .*Free some space"):
        write_cog(path, strips, shape=(700, 900), geobox=UTM, style=style)
    assert list(path.parent.iterdir()) == []


def test_a_changed_strip_is_noticed(tmp_path):
    writer = StripWriter(tmp_path / "s.tif", (1, 4, 5), "float32").__enter__()
    writer.write(np.ones((1, 4, 5), dtype=np.float32), Window(0, 0, 4, 5))
    writer._sums += np.uint64(1)
    with pytest.raises(OutputError, match="reads back other values"):
        writer.__exit__(None, None, None)


def test_an_error_while_writing_a_strip_comes_through(tmp_path):
    with pytest.raises(KeyError, match="stop"), StripWriter(tmp_path / "s.tif", (1, 4, 5), "uint8"):
        raise KeyError("stop")
