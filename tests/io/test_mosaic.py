"""Scenes of separate band files, and how they are laid over one another."""

import json

import numpy as np
import pytest
import rasterio
from affine import Affine

from headframe.core.errors import (
    BandError,
    CrsError,
    FormatError,
    GridMismatchError,
    MissingFileError,
    OutputError,
    UnitError,
)
from headframe.geo.window import Window
from headframe.io.bandfiles import BAND_METRES, find_band_scenes
from headframe.io.mosaic import lay_scenes, scene_crs, write_mosaic

SIDE = (18, 24)  # rows, columns at 10 m


def write_band(path, values, *, metres, x=600_000, y=5_000_040, **facts):
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff",
        "count": 1,
        "height": values.shape[0],
        "width": values.shape[1],
        "dtype": values.dtype,
        "crs": facts.get("crs", "EPSG:32610"),
        "transform": facts.get("transform", Affine(metres, 0, x, 0, -metres, y)),
        "nodata": facts.get("nodata"),
    }
    with rasterio.open(path, "w", **profile) as sink:
        sink.write(values, 1)
        sink.update_tags(**facts.get("tags", {}))


def write_scene(folder, value, *, names="{band}.tif", hole=None, shape=SIDE, **facts):
    """All bands hold ``value`` plus the band's place; ``hole`` in cells of 60 m is nodata 0."""
    for k, (band, metres) in enumerate(BAND_METRES.items()):
        factor = metres // 10
        values = np.full((shape[0] // factor, shape[1] // factor), value + k, np.uint16)
        if hole is not None:
            rows, cols = hole
            n = 6 // factor
            values[rows.start * n : rows.stop * n, cols.start * n : cols.stop * n] = 0
        name = names.format(band=band, metres=metres)
        write_band(folder / name, values, metres=metres, **facts)
    return folder


def found(*folders):
    return find_band_scenes([str(folder) for folder in folders])


def test_names_of_files_tell_scenes_and_bands(tmp_path):
    safe = tmp_path / "in/S2A_MSIL2A_20210815T190911_N0301_R056_T10UED_x.SAFE"
    granule = safe / "GRANULE/L2A_T10UED/IMG_DATA"
    write_scene(granule, 900, names="R{metres}m/T10UED_20210815_{band}_{metres}m.tif")
    write_band(granule / "R20m/T10UED_20210815_B04_20m.tif", np.ones((2, 2)), metres=20)
    write_band(safe / "GRANULE/L2A_T10UED/QI_DATA/MSK_B04.tif", np.ones((2, 2)), metres=10)
    write_scene(tmp_path / "in/flat", 700, names="one_{band}.tif")
    write_scene(tmp_path / "in/flat", 800, names="two-{band}_{metres}m.tif")
    write_scene(tmp_path / "in/site 7", 600)
    write_scene(tmp_path / "in/other/site 7/R10m/..", 600)
    scenes = found(tmp_path / "in")
    assert [s.name for s in scenes] == [safe.stem, "one", "two", "site 7", "site 7-2"]
    assert list(scenes[0].files) == list(BAND_METRES)
    assert scenes[0].files["B04"].endswith("R10m/T10UED_20210815_B04_10m.tif")
    assert scenes[2].files["B8A"].endswith("two-B8A_20m.tif")


def test_what_is_no_scene_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="no such file or folder"):
        found(tmp_path / "none")
    with pytest.raises(MissingFileError, match="no such STAC item"):
        found(tmp_path / "none.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="holds no band files"):
        found(tmp_path / "empty")
    write_scene(tmp_path / "short", 5)
    with pytest.raises(FormatError, match="is one file; name the folder"):
        found(tmp_path / "short/B04.tif")
    (tmp_path / "short/B8A.tif").unlink()
    (tmp_path / "short/B09.tif").unlink()
    with pytest.raises(BandError, match="has no file of B8A, B09; a scene"):
        found(tmp_path / "short")


def test_a_stac_item_is_a_scene(tmp_path):
    write_scene(tmp_path / "data", 500)
    assets = {
        band: {"href": f"data/{band}.tif", "type": "image/tiff", "eo:bands": [{"name": band}]}
        for band in BAND_METRES
    }
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "S2B_10UED",
        "properties": {"s2:processing_baseline": "05.10"},
        "assets": assets,
    }
    path = tmp_path / "item.json"
    path.write_text(json.dumps(item))
    (scene,) = found(path)
    assert scene.name == "S2B_10UED"
    values = lay_scenes([scene]).read("B04", Window(0, 0, 2, 3))
    assert values.tolist() == [[1] * 3] * 2  # 500 is -0.05 since baseline 04.00
    assets["B04"]["eo:bands"] = [{"name": "B05x"}, {"name": "B04"}]
    path.write_text(json.dumps(item))
    with pytest.raises(FormatError, match="keeps several bands"):
        found(path)


def test_first_scene_is_on_top_and_later_ones_show_only_through_its_holes(tmp_path):
    write_scene(tmp_path / "a", 1000, hole=(range(2), range(1, 2)))
    write_scene(tmp_path / "b", 2000, x=600_060, y=5_000_100, hole=(range(1), range(1)))
    mosaic = lay_scenes(found(tmp_path / "a", tmp_path / "b"))
    assert tuple(mosaic.geobox.shape) == (24, 30)
    assert (mosaic.geobox.affine.c, mosaic.geobox.affine.f) == (600_000, 5_000_100)
    assert mosaic.notes == ()
    a, b, none = 1000, 2000, 0
    wanted = np.array([[none, none, b, b, b], [a, b, a, a, b], [a, b, a, a, b], [a, a, a, a, none]])
    for k, (band, metres) in enumerate(BAND_METRES.items()):
        n = 60 // metres
        grid = mosaic.grid(band)
        values = mosaic.read(band, Window(0, 0, *grid.shape))
        own = np.kron(np.where(wanted > 0, wanted + k, 0), np.ones((n, n)))
        assert np.array_equal(values, own), band
    part = mosaic.read("B04", Window(5, 4, 9, 11))
    assert np.array_equal(part, mosaic.read("B04", Window(0, 0, 24, 30))[5:14, 4:15])
    assert mosaic.top(Window(12, 0, 12, 12)) == "a"
    assert mosaic.top(Window(0, 18, 6, 12)) == "b"
    swapped = lay_scenes(found(tmp_path / "b", tmp_path / "a"))
    assert swapped.read("B04", Window(6, 12, 1, 1)) == [[2000]]


def test_numbers_become_reflectance_times_ten_thousand(tmp_path):
    write_scene(tmp_path / "S2A_MSIL2A_20230815T190911_N0509_R056", 1500)
    write_scene(tmp_path / "S2A_MSIL2A_20210815T190911_N0301_R056", 1500)
    write_scene(tmp_path / "tagged", 1500, tags={"PROCESSING_BASELINE": "04.00"})
    values = [lay_scenes([s]).read("B04", Window(0, 0, 1, 1)).item() for s in found(tmp_path)]
    assert values == [1500, 500, 500]


def test_other_crs_is_refused_naming_both(tmp_path):
    write_scene(tmp_path / "a", 1000)
    write_scene(tmp_path / "b", 1000, crs="EPSG:32611")
    scenes = found(tmp_path / "a", tmp_path / "b")
    assert [scene_crs(s) for s in scenes] == ["EPSG:32610", "EPSG:32611"]
    with pytest.raises(CrsError, match=r"b is in EPSG:32611 and a in EPSG:32610"):
        write_mosaic(scenes, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_scene_off_the_grid_is_moved_and_said(tmp_path):
    write_scene(tmp_path / "a", 1000)
    write_scene(tmp_path / "b", 2000, x=600_000 + 246, y=5_000_040)
    mosaic = lay_scenes(found(tmp_path / "a", tmp_path / "b"))
    assert mosaic.notes == (
        "b: lies off the grid of a by 6 m and 0 m; moved to the nearest pixels.",
    )
    row = mosaic.read("B04", Window(0, 0, 1, mosaic.geobox.shape.x))[0]
    assert (row[:24] == 1000).all()
    assert (row[25:48] == 2000).all()  # the pixel from 246 m on has its centre at 251 m


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"metres": 20}, FormatError, "has pixels of 20 x 20 m; B04 needs its own 10 m"),
        ({"crs": None}, CrsError, "has no CRS"),
        ({"crs": "EPSG:32611"}, CrsError, r"B04.tif: is in EPSG:32611|is in EPSG:32610, B04 in"),
        ({"crs": "EPSG:4326"}, CrsError, "not north-up in metres|is in EPSG:32610"),
        ({"transform": Affine(10, 0, 6e5, 0, 10, 5e6)}, CrsError, "not north-up in metres"),
        ({"x": 700_000}, GridMismatchError, "a: its bands share no ground"),
        ({"dtype": "float32"}, UnitError, "holds fractions and states no scale"),
    ],
)
def test_unfit_bands_are_refused(tmp_path, change, error, match):
    write_scene(tmp_path / "a", 1000)
    values = np.full(SIDE, 900, change.pop("dtype", "uint16"))
    write_band(tmp_path / "a/B04.tif", values, **{"metres": 10, **change})
    with pytest.raises(error, match=match):
        lay_scenes(found(tmp_path / "a"))


def test_levels_do_not_mix(tmp_path):
    write_scene(tmp_path / "a", 1000)
    write_scene(tmp_path / "S2A_MSIL1C_20210815T1", 1000)
    with pytest.raises(UnitError, match="is sentinel-2-l1c and a sentinel-2-l2a"):
        lay_scenes(found(tmp_path / "a", tmp_path / "S2A_MSIL1C_20210815T1"))


def test_a_written_mosaic_is_a_scene_and_a_killed_one_goes_on(tmp_path):
    write_scene(tmp_path / "in/a", 1000, hole=(range(2), range(1, 2)))
    write_scene(tmp_path / "in/b", 2000, x=600_060, y=5_000_100)
    scenes = found(tmp_path / "in")
    out = tmp_path / "out"
    assert write_mosaic(scenes, out) == ()
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (again,) = found(out)
    laid, mosaic = lay_scenes([again]), lay_scenes(scenes)
    for band in BAND_METRES:
        whole = Window(0, 0, *mosaic.grid(band).shape)
        assert np.array_equal(laid.read(band, whole), mosaic.read(band, whole)), band
    (out / "B11.tif").unlink()
    (out / "B05.tif").unlink()
    kept = (out / "B04.tif").stat().st_mtime_ns
    write_mosaic(scenes, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert (out / "B04.tif").stat().st_mtime_ns == kept
    with pytest.raises(OutputError, match="holds a mosaic of other scenes"):
        write_mosaic(scenes[:1], out)
    with pytest.raises(OutputError, match="is not an empty folder"):
        write_mosaic(scenes, tmp_path / "in")
