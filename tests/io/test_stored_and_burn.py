import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp
from rasterio.transform import Affine
from shapely.geometry import MultiPolygon, Polygon, box

from headframe.core.errors import CrsError, FormatError, MissingFileError
from headframe.io.burn import burn_polygons, footprint
from headframe.io.stored import read_header, read_stored, select_bands, write_stored

GRID = Affine(30.0, 0, 500_000, 0, -30.0, 8_000_000)


def save(path, values, **options):
    profile = {"crs": "EPSG:32733", "transform": GRID} | options
    with rasterio.open(
        path, "w", driver="GTiff", dtype=values.dtype.name, count=len(values),
        height=values.shape[1], width=values.shape[2], **profile,
    ) as dataset:  # fmt: skip
        dataset.write(values)
        dataset.set_band_description(1, "B02")
    return path


def test_round_trip(tmp_path):
    values = np.random.default_rng(3).integers(0, 99, (3, 8, 13), dtype=np.int16)
    values[1, 2, 3] = -9999
    chip = read_stored(save(tmp_path / "a.tif", values, nodata=-9999))
    assert np.argwhere(~chip.valid).tolist() == [[1, 2, 3]]
    write_stored(tmp_path / "b.tif", select_bands(chip, (1, 0)))
    again = read_stored(tmp_path / "b.tif")
    np.testing.assert_array_equal(again.values, values[[1, 0]])
    assert again.header.descriptions == (None, "B02")
    assert again.header.geobox == chip.header.geobox
    assert again.header.nodata == -9999
    assert again.header.dtype == "int16"


def test_nan_and_alpha_are_nodata(tmp_path):
    values = np.ones((2, 8, 13), np.float32)
    values[0, 1, 2] = np.nan
    assert (~read_stored(save(tmp_path / "a.tif", values)).valid).sum() == 1
    values = np.full((4, 8, 13), 255, np.uint8)
    values[3, :2] = 0
    path = save(tmp_path / "b.tif", values)
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = (*[ColorInterp.gray] * 3, ColorInterp.alpha)
    chip = read_stored(path)
    assert chip.values.shape == (3, 8, 13)
    assert (~chip.valid).sum() == 3 * 2 * 13


def test_errors(tmp_path):
    values = np.ones((1, 8, 13), np.uint8)
    with pytest.raises(MissingFileError, match="no such image"):
        read_header(tmp_path / "none.tif")
    (tmp_path / "v.tif").write_text("<VRTDataset/>")
    with pytest.raises(FormatError, match="cannot be read as a GeoTIFF"):
        read_header(tmp_path / "v.tif")
    with pytest.raises(CrsError, match="no coordinate reference system"):
        read_header(save(tmp_path / "c.tif", values, crs=None))
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning, match="identity"):
        save(tmp_path / "t.tif", values, transform=None)
    with pytest.raises(CrsError, match="no geotransform"):
        read_header(tmp_path / "t.tif")


def test_burn_takes_pixel_centres_and_unites_overlaps():
    grid = GeoBox((6, 9), Affine(0.1, 0, 20, 0, -0.1, 45), "EPSG:4326")
    hole = Polygon(box(20.1, 44.5, 20.7, 44.9).exterior, [box(20.3, 44.6, 20.5, 44.8).exterior])
    two = MultiPolygon([box(20.64, 44.44, 20.86, 44.56), box(20.0, 44.4, 20.04, 44.6)])
    found = burn_polygons([hole, two, hole], grid)
    found_rows = ["".join("#" if v else "." for v in row) for row in found]
    assert found_rows == [
        ".........",
        ".######..",
        ".##..##..",
        ".##..##..",
        ".########",
        "......###",
    ]


def test_burn_far_and_huge_polygons():
    grid = GeoBox((20, 33), GRID, "EPSG:32733")
    assert not burn_polygons([box(80, 10, 81, 11)], grid).any()
    assert not burn_polygons([], grid).any()
    assert burn_polygons([box(-170, -80, 170, 80)], grid).all()
    assert footprint(grid).bounds == pytest.approx((15.0, -18.08, 15.01, -18.07), abs=0.02)
