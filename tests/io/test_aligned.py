import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning
from rasterio.warp import transform_bounds

from headframe.core.errors import CrsError, FormatError, GridMismatchError
from headframe.geo.window import Window
from headframe.io.aligned import aligned_classes

# the scene: 6 x 9 pixels of 10 m, rotated by no angle but off the cover's grid
SCENE = GeoBox((6, 9), Affine(10, 0, 600_003, 0, -10, 7_800_004), "EPSG:32723")


def write(path, values, transform, *, crs="EPSG:32723", nodata=None):
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=1,
        dtype=values.dtype, crs=crs, transform=transform, nodata=nodata,
    ) as file:  # fmt: skip
        file.write(values, 1)
    return str(path)


@pytest.mark.parametrize("nodata", [None, 7])
def test_nearest_pixel_of_another_resolution(tmp_path, nodata):
    # 20 m cells; the scene's pixel centres lie 8 m right of and 1 m above a cell's corner
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    path = write(
        tmp_path / "c.tif", values, Affine(20, 0, 600_000, 0, -20, 7_800_000), nodata=nodata
    )
    x = 600_003 + 10 * (np.arange(9) + 0.5)
    y = 7_800_004 - 10 * (np.arange(6) + 0.5)
    cols, rows = (x - 600_000) // 20, (7_800_000 - y) // 20
    inside = ((rows >= 0) & (rows < 3))[:, None] & ((cols >= 0) & (cols < 4))[None]
    with aligned_classes(path, SCENE) as cover:
        got, known = cover.read(Window(0, 0, 6, 9))
        expected = values[np.clip(rows, 0, 2).astype(int)][:, np.clip(cols, 0, 3).astype(int)]
        np.testing.assert_array_equal(known, inside & (expected != 7 if nodata else True))
        np.testing.assert_array_equal(got[known], expected[known])
        part, _ = cover.read(Window(2, 3, 3, 4))
        np.testing.assert_array_equal(part, got[2:5, 3:7])


def test_another_crs(tmp_path):
    values = np.full((40, 50), 40, dtype=np.uint8)
    left, _, _, top = transform_bounds("EPSG:32723", "EPSG:4326", *SCENE.boundingbox)
    step = Affine(0.0001, 0, left - 0.002, 0, -0.0001, top + 0.002)
    path = write(tmp_path / "c.tif", values, step, crs="EPSG:4326")
    with aligned_classes(path, SCENE) as cover:
        got, known = cover.read(Window(0, 0, 6, 9))
    assert known.all()
    assert (got == 40).all()


def test_what_cannot_be_laid_over(tmp_path):
    values = np.zeros((3, 4), dtype=np.uint8)
    far = write(tmp_path / "far.tif", values, Affine(20, 0, 700_000, 0, -20, 7_000_000))
    real = write(
        tmp_path / "f.tif", values.astype("float32"), Affine(20, 0, 600_000, 0, -20, 7_800_000)
    )
    with pytest.warns(NotGeoreferencedWarning):
        bare = write(tmp_path / "bare.tif", values, Affine.identity(), crs=None)
    for path, error, message in (
        (far, GridMismatchError, r"far\.tif: covers nothing of the scene"),
        (real, FormatError, r"f\.tif: holds float32, not whole numbers"),
        (bare, CrsError, r"bare\.tif: it and the scene need a CRS"),
    ):
        with pytest.raises(error, match=message), aligned_classes(path, SCENE):
            pass
