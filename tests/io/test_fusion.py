from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.warp import reproject

from headframe.core.errors import (
    BandError,
    CrsError,
    FormatError,
    GridMismatchError,
    OutputError,
    UnitError,
)
from headframe.core.modelspec import InputSpec
from headframe.geo.window import Window
from headframe.io import fusion
from headframe.io.fusion import FusionPart, fuse, grid_of
from headframe.io.product import SceneOptions
from headframe.io.scene import open_scene

UTM = "EPSG:32723"
X, Y = 300_000, 7_000_000


class Counting:
    """Remember what a job reported."""

    def __init__(self):
        self.total = self.done = 0

    def start(self, label, total):
        self.total = total

    def advance(self, n=1):
        self.done += n

    def finish(self):
        pass


def light(height, width, bands, seed=1):
    row, col = np.mgrid[:height, :width]
    base = 700 + 3 * row + 5 * col + 200 * (row > height // 2) * (col > 2 * width // 3)
    noise = np.random.default_rng(seed).integers(0, 60, (bands, height, width))
    return (base + 40 * np.arange(bands)[:, None, None] + noise).astype(np.uint16)


def radar(height, width):
    row, col = np.mgrid[:height, :width]
    vv = -13 + 0.04 * row + 0.03 * col
    return np.stack([vv, vv - 6 - 0.02 * col]).astype(np.float32)


def write(path, values, names, *, crs=UTM, at=(X, Y), side=10.0, transform=None, **more):
    transform = transform or Affine(side, 0, at[0], 0, -side, at[1])
    shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2]}
    profile = {"crs": crs, "transform": transform, "dtype": values.dtype, **shape, **more}
    with rasterio.open(path, "w", driver="GTiff", **profile) as file:
        file.write(values)
        if names:
            file.descriptions = names
    return path


@pytest.fixture
def files(tmp_path):
    """Sentinel-2 at 10, 20 and 60 m, Sentinel-1 in degrees; not square, not alike."""
    ten = write(tmp_path / "S2A_MSIL2A_10m.tif", light(90, 126, 3), ("B02", "B03", "B04"))
    twenty = write(tmp_path / "S2A_MSIL2A_B05_20m.tif", light(45, 63, 1, 2), None, side=20.0)
    sixty = write(tmp_path / "S2A_MSIL2A_B09_60m.tif", light(15, 21, 1, 3), None, side=60.0)
    one = write(
        tmp_path / "s1.tif",
        radar(180, 200),
        ("VV", "VH"),
        crs="EPSG:4326",
        transform=Affine(1.1e-4, 0, -47.019, 0, -1e-4, -27.1055),
    )
    return [ten, twenty, sixty, one]


def parts(*paths, **options):
    return [FusionPart(str(path), options=SceneOptions(**options)) for path in paths]


def read(path):
    """Give all values, and what the file says of itself."""
    with rasterio.open(path) as file:
        facts = SimpleNamespace(
            shape=file.shape,
            crs=file.crs,
            transform=file.transform,
            nodata=file.nodata,
            descriptions=file.descriptions,
            units=file.units,
            tags=[file.tags(), *(file.tags(i) for i in file.indexes)],
        )
        return file.read(), facts


def test_files_of_four_grids_become_one(files, tmp_path):
    counting = Counting()
    report = fuse(parts(*files), out=tmp_path / "o.tif", progress=counting)
    values, file = read(report.out)
    assert counting.done == counting.total > 0
    assert report.sensor == "sentinel-2-l2a+sentinel-1-grd"
    assert report.bands == ("blue", "green", "red", "rededge071", "nir09", "vv", "vh", "vv_vh")
    assert (report.crs, report.shape) == (UTM, values.shape[1:])
    assert file.descriptions == report.bands
    assert file.units == ("1",) * 5 + ("dB",) * 3
    assert file.tags[0]["HEADFRAME_SENSOR"] == report.sensor
    assert file.tags[6] == {"HEADFRAME_SENSOR": "sentinel-1-grd", "HEADFRAME_UNIT": "db"}
    assert file.tags[1]["HEADFRAME_UNIT"] == "reflectance"
    assert np.isnan(file.nodata)
    ten, twenty, sixty = (read(path)[0] / 1e4 for path in files[:3])
    np.testing.assert_allclose(values[:3], ten, rtol=1e-6)
    np.testing.assert_allclose(values[3], np.kron(twenty[0], np.ones((2, 2))), rtol=1e-6)
    np.testing.assert_allclose(values[4], np.kron(sixty[0], np.ones((6, 6))), rtol=1e-6)
    np.testing.assert_allclose(values[7], values[5] - values[6] - 10, atol=1e-5)
    assert report.data_share["vv"] == pytest.approx(np.isfinite(values[5]).mean())
    assert report.sources["vv_vh"] == report.sources["vv"] == str(files[3])


def test_radar_lies_where_an_independent_warp_puts_it(files, tmp_path):
    values, file = read(fuse(parts(*files), out=tmp_path / "o.tif").out)
    with rasterio.open(files[3]) as source:
        want = np.full(file.shape, np.nan, np.float32)
        reproject(
            source.read(1), want, src_transform=source.transform, src_crs=source.crs,
            dst_transform=file.transform, dst_crs=file.crs, dst_nodata=np.nan,
            resampling=Resampling.nearest, tolerance=0,
        )  # fmt: skip
    np.testing.assert_array_equal(values[5], want)
    assert np.isfinite(want).mean() > 0.3


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "average"])
def test_tiles_leave_no_seams(files, tmp_path, monkeypatch, resampling):
    whole, _ = read(fuse(parts(*files), out=tmp_path / "a.tif", resampling=resampling).out)
    monkeypatch.setattr(fusion, "_tile_side", lambda inputs, geobox: 48)
    tiled, _ = read(fuse(parts(*files), out=tmp_path / "b.tif", resampling=resampling).out)
    off = ~np.isclose(tiled, whole, rtol=2e-5, equal_nan=True)
    assert off.mean() < (1e-3 if resampling == "nearest" else 1e-9)  # ties within 1/1000 pixel
    np.testing.assert_allclose(tiled, whole, atol=0.07)


def test_no_data_stays_in_its_band(tmp_path):
    values = light(40, 50, 2)
    values[0, 3, 4] = 0
    a = write(tmp_path / "S2_L2A.tif", values, ("B02", "B8A"), nodata=0)
    db = radar(40, 50)
    db[0, 7, 9] = np.nan
    b = write(tmp_path / "s1.tif", db, ("VV", "VH"))
    got, _ = read(fuse(parts(a, b), out=tmp_path / "o.tif").out)
    want = np.zeros_like(got, bool)
    want[0, 3, 4] = want[2, 7, 9] = want[4, 7, 9] = True
    np.testing.assert_array_equal(np.isnan(got), want)


def test_a_smaller_file_gives_nan_beyond_its_edge(tmp_path):
    a = write(tmp_path / "S2_L2A.tif", light(40, 50, 1), ("B02",))
    b = write(tmp_path / "s1.tif", radar(20, 30), ("VV", "VH"), at=(X + 105, Y - 52))
    got, file = read(fuse(parts(a, b), out=tmp_path / "o.tif", geobox=grid_of(str(a))).out)
    assert file.shape == (40, 50)
    assert np.isfinite(got[0]).all()
    inside = np.isfinite(got[1])
    assert inside.sum() == 20 * 30
    assert inside[5:25, 10:40].all() or inside[5:25, 11:41].all()


def test_the_grid_may_be_rotated(tmp_path):
    tilted = Affine(8.66, 5, X, 5, -8.66, Y)
    a = write(tmp_path / "S2_L2A.tif", light(40, 50, 2), ("B02", "B8A"), transform=tilted)
    b = write(tmp_path / "s1.tif", radar(80, 90), ("VV", "VH"), at=(X - 100, Y + 280))
    got, file = read(fuse(parts(a, b), out=tmp_path / "o.tif").out)
    assert file.shape == (40, 50)
    assert file.transform.almost_equals(tilted, 1e-6)
    col, row = np.meshgrid(np.arange(50) + 0.5, np.arange(40) + 0.5)
    x, y = tilted * (col, row)
    db = radar(80, 90)[0]
    want = db[np.floor((Y + 280 - y) / 10).astype(int), np.floor((x - X + 100) / 10).astype(int)]
    np.testing.assert_array_equal(got[2], want)


def test_pixels_of_a_stated_size(files, tmp_path):
    report = fuse(parts(*files), out=tmp_path / "o.tif", gsd_m=30, resampling="average")
    values, file = read(report.out)
    assert file.transform.a == 30
    assert report.gsd_m == pytest.approx(30, rel=1e-3)
    ten = read(files[0])[0] / 1e4
    want = ten[:, :90, :126].reshape(3, 30, 3, 42, 3).mean(axis=(2, 4))
    off = round((X - file.transform.c) / 30), round((file.transform.f - Y) / 30)
    if (X % 30, Y % 30) == (0, 0):
        np.testing.assert_allclose(
            values[:3, off[1] : off[1] + 30, off[0] : off[0] + 42], want, rtol=1e-4
        )


def test_averages_of_radar_are_of_power(tmp_path):
    db = np.zeros((2, 40, 40), np.float32) - 20
    db[:, ::2] = -10
    a = write(tmp_path / "s1.tif", db, ("VV", "VH"), side=10.0)
    grid = GeoBox((20, 20), Affine(20, 0, X, 0, -20, Y), UTM)
    got, _ = read(fuse(parts(a), out=tmp_path / "o.tif", geobox=grid, resampling="average").out)
    np.testing.assert_allclose(got[0], 10 * np.log10((0.1 + 0.01) / 2), atol=1e-4)
    np.testing.assert_allclose(got[2], -10, atol=1e-4)


def test_linear_power_is_written_as_decibels(tmp_path):
    db = radar(30, 40)
    a = write(tmp_path / "s1.tif", (10 ** (db / 10)).astype(np.float32), ("VV", "VH"))
    got, _ = read(fuse(parts(a), out=tmp_path / "o.tif").out)
    np.testing.assert_allclose(got[:2], db, atol=1e-4)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (lambda vv, vh: vv / vh, "band 3 holds the decibels of VV divided by those of VH"),
        (lambda vv, vh: vv - vh, "band 3 holds VV/VH in dB"),
        (lambda vv, vh: vv - vh - 10, None),
    ],
)
def test_a_ratio_in_the_file_is_named_and_formed_anew(tmp_path, form, said):
    db = radar(30, 40)
    stored = np.concatenate([db, form(*db)[None]]).astype(np.float32)
    a = write(tmp_path / "s1.tif", stored, ("VV", "VH", "VV/VH"))
    report = fuse(parts(a), out=tmp_path / "o.tif")
    np.testing.assert_allclose(read(report.out)[0][2], db[0] - db[1] - 10, atol=1e-5)
    assert [said in note for note in report.notes] == ([True] if said else [])


def test_a_band_comes_from_the_finest_file(files, tmp_path):
    coarse = write(tmp_path / "S2A_MSIL2A_20m.tif", light(45, 63, 2, 7), ("B04", "B05"), side=20.0)
    with pytest.raises(BandError, match=r"both have rededge071 with pixels of one size"):
        fuse(parts(*files, coarse), out=tmp_path / "o.tif")
    report = fuse(parts(files[0], coarse), out=tmp_path / "o.tif")
    np.testing.assert_allclose(read(report.out)[0][2], read(files[0])[0][2] / 1e4, rtol=1e-6)
    assert report.sources["red"] == str(files[0])


def test_a_file_that_gives_nothing_more_is_left(files, tmp_path):
    coarse = write(tmp_path / "S2A_MSIL2A_B04_20m.tif", light(45, 63, 1, 7), None, side=20.0)
    report = fuse(parts(files[0], coarse), out=tmp_path / "o.tif")
    assert set(report.sources.values()) == {str(files[0])}


def test_bands_to_keep(files, tmp_path):
    report = fuse(parts(*files), out=tmp_path / "o.tif", keep="rgb")
    assert (report.sensor, report.bands) == ("sentinel-2-l2a", ("red", "green", "blue"))
    assert read(report.out)[1].tags[0]["HEADFRAME_SENSOR"] == "sentinel-2-l2a"
    with pytest.raises(BandError, match=r"no file has nir; together they have blue, green, red, r"):
        fuse(parts(*files), out=tmp_path / "p.tif", keep="r+n+s")
    assert not (tmp_path / "p.tif").exists()


def test_what_is_written_is_read_without_an_option(files, tmp_path):
    out = fuse(parts(*files), out=tmp_path / "o.tif").out
    bands = ("vh", "red", "vv_vh", "nir09")
    spec = InputSpec(
        "sentinel-2-l2a+sentinel-1-grd", bands, 10, (0,) * 4, (1,) * 4, ((-20, -10, 0),) * 4
    )
    stored, file = read(out)
    with open_scene(out, inputs=spec, options=SceneOptions()) as scene:
        got = scene.read(Window(0, 0, *scene.shape))
    want = stored[[file.descriptions.index(band) for band in bands]]
    missing = np.isnan(stored[5:7]).any(axis=0)
    want[:, missing] = np.nan
    np.testing.assert_array_equal(got, want)


def test_a_fused_file_may_be_fused_again(files, tmp_path):
    first = fuse(parts(*files[:3]), out=tmp_path / "light.tif").out
    again = fuse(parts(first, files[3]), out=tmp_path / "o.tif")
    straight = fuse(parts(*files), out=tmp_path / "p.tif")
    assert again.bands == straight.bands
    np.testing.assert_array_equal(read(again.out)[0], read(straight.out)[0])
    third = fuse(parts(again.out), out=tmp_path / "q.tif")
    np.testing.assert_array_equal(read(third.out)[0], read(straight.out)[0])
    assert third.notes == ()


def test_bad_files(files, tmp_path):
    out = tmp_path / "o.tif"
    far = write(tmp_path / "far_s1.tif", radar(30, 40), ("VV", "VH"), at=(X + 90_000, Y))
    with pytest.raises(GridMismatchError, match=r"far_s1\.tif.*share no ground"):
        fuse(parts(files[0], far), out=out)
    with pytest.raises(GridMismatchError, match=r"far_s1\.tif and the grid given share no"):
        fuse(parts(files[0], far), out=out, geobox=grid_of(str(files[0])))
    lost = write(tmp_path / "lost_s1.tif", radar(30, 40), ("VV", "VH"), crs=None)
    with pytest.raises(CrsError, match=r"lost_s1\.tif: has no CRS.*terrain-corrected"):
        fuse(parts(files[0], lost), out=out)
    with pytest.raises(CrsError, match=r"lost_s1\.tif: has no CRS"):
        grid_of(str(lost))
    odd = write(tmp_path / "s1_odd.tif", radar(30, 40), ("a", "b"))
    with pytest.raises(BandError, match=r"s1_odd\.tif: none of its bands \(a, b\).*Sentinel-1"):
        fuse(parts(odd), out=out)
    empty = write(tmp_path / "s1_empty.tif", radar(30, 40) * np.nan, ("VV", "VH"), nodata=np.nan)
    with pytest.raises(FormatError, match=r"s1_empty\.tif: every pixel is nodata"):
        fuse(parts(files[0], empty), out=out)
    ready = write(tmp_path / "S2_L2A.tif", light(9, 8, 1) / 1e4, ("B02",), dtype="float64")
    with pytest.raises(UnitError, match=r"S2_L2A\.tif looks already scaled.*--scale 1"):
        fuse(parts(ready), out=out)
    with pytest.raises(OutputError, match="is one of the files to read"):
        fuse(parts(*files), out=files[0])
    assert not list(tmp_path.glob("*o.tif"))


def test_a_full_disk_is_one_line(files, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise rasterio.errors.RasterioIOError("write failed: No space left on device")

    monkeypatch.setattr(fusion, "_tile", fail)
    with pytest.raises(OutputError, match=r"o\.tif: cannot be written .*No space left"):
        fuse(parts(*files), out=tmp_path / "o.tif")
    assert not list(tmp_path.glob("*o.tif"))


def test_stated_names_and_unit(tmp_path):
    a = write(tmp_path / "a.tif", (light(30, 40, 2) / 1e4).astype(np.float32), None)
    part = FusionPart(str(a), "planetscope-4b", SceneOptions(bands=("red", "-"), scale=1.0))
    report = fuse([part], out=tmp_path / "o.tif")
    np.testing.assert_array_equal(read(report.out)[0][0], read(a)[0][0])
    assert report.notes == (f"{a}: band 2 (-) left out.",)
