"""Change between dates: areas against geometry, tables, polygons, rasters, bad input."""

import csv
import json

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image

from headframe.core.errors import CrsError, FormatError, GridMismatchError, InputError, SiteError
from headframe.monitor.change import compare
from headframe.monitor.options import ChangeOptions, Dated
from headframe.monitor.tally import REGIONS

NAMES = ("background", "excavation", "dump")


def run(tmp_path, before, after, **options):
    return compare(
        Dated(before), Dated(after), out=tmp_path / "out", options=ChangeOptions(**options)
    )


def whole(result, layer=None):
    rows = [r for r in result.rows if r["site"] == "whole overlap"]
    return next(r for r in rows if layer in (None, r["class"]))


GRIDS = {
    "same": {},
    "half a pixel": {"shift_px": 0.5},
    "neighbour zone": {"crs": "EPSG:32645", "shift_px": 0.31},
    "degrees": {"crs": "EPSG:4326", "shift_px": 0.5},
    "turned": {"turn_deg": 23.0},
    "coarser": {"pixel_m": 15.0, "shift_px": 0.25},
}


CASES = [
    *(("moves", name) for name in GRIDS),
    *(("grows", name) for name in ("half a pixel", "neighbour zone")),
    *(("stays", name) for name in ("half a pixel", "neighbour zone", "coarser")),
    ("shrinks", "half a pixel"),
]


@pytest.mark.parametrize(("change", "grid"), CASES)
def test_areas_are_within_one_percent_of_the_geometry(ground, tmp_path, change, grid):
    small, large = ground.disc(-40, 30, 380), ground.disc(20, 60, 610)
    before, after = {
        "grows": (small, large),
        "shrinks": (large, small),
        "moves": (small, ground.disc(330, 30, 380)),
        "stays": (small, small),
    }[change]
    first = ground.Raster().write(tmp_path / "b.tif", [(1, before)])
    second = ground.Raster(**GRIDS[grid]).write(tmp_path / "a.tif", [(1, after)])
    row = whole(run(tmp_path, first, second))
    truth = {
        "before": before,
        "after": after,
        "stable": before.intersection(after),
        "expansion": after.difference(before),
        "contraction": before.difference(after),
    }
    for name, shape in truth.items():
        true = ground.hectares(shape) if shape.area else 0.0
        assert row[f"{name}_ha"] == pytest.approx(true, rel=0.01), name
        assert abs(row[f"{name}_ha"] - true) <= row[f"{name}_pm_ha"]


def test_one_small_mine_on_grids_like_the_time_series(ground, tmp_path):
    # 39 x 44 pixels of about 9 m in degrees, against half a pixel off and another CRS
    before, after = ground.disc(-10, 5, 80), ground.disc(0, 10, 130)
    first = ground.Raster("EPSG:4326", 9.05, half_m=180)
    for number, second in enumerate(
        [
            ground.Raster("EPSG:4326", 9.05, shift_px=0.5, half_m=180),
            ground.Raster("EPSG:32644", 10, shift_px=0.2, half_m=180),
        ]
    ):
        result = run(
            tmp_path,
            first.write(tmp_path / "b.tif", [(1, before)]),
            second.write(tmp_path / f"a{number}.tif", [(1, after)]),
        )
        row = whole(result)
        truth = ground.hectares(after.difference(before))
        assert row["expansion_ha"] == pytest.approx(truth, rel=0.01)
        assert row["contraction_ha"] == 0


def test_an_edge_both_dates_share_is_no_change(ground, tmp_path):
    # Straight edges make the longest threads between two drawings of one outline.
    before, after = shapely.box(-503, -300, 203, 401), shapely.box(-503, -300, 597, 401)
    first = ground.Raster().write(tmp_path / "b.tif", [(1, before)])
    second = ground.Raster(shift_px=0.5).write(tmp_path / "a.tif", [(1, after)])
    row = whole(run(tmp_path, first, second))
    assert row["expansion_ha"] == pytest.approx(ground.hectares(after.difference(before)), rel=0.01)
    assert row["contraction_ha"] == 0
    assert row["dropped_expansion_ha"] + row["dropped_contraction_ha"] > 0.3


@pytest.fixture
def components(ground, tmp_path):
    """An excavation that grows into a dump, a dump that goes, a speck that comes."""
    pit, dump = shapely.box(-600, -300, -100, 200), shapely.box(-100, -300, 300, 200)
    grown = shapely.box(-600, -300, 100, 200)
    speck = shapely.box(500, 500, 540, 540)
    old = shapely.box(400, -700, 600, -500)
    grid = ground.Raster()
    first = grid.write(tmp_path / "b.tif", [(1, pit), (2, dump), (2, old)], tags=NAMES)
    second = grid.write(
        tmp_path / "a.tif",
        [(2, dump), (1, grown), (1, speck)],
        tags=NAMES,
        lost=shapely.box(-700, 500, -500, 700),
    )
    return first, second


def test_components_have_a_table_and_a_raster_each(ground, tmp_path, components):
    result = run(tmp_path, *components)
    pit, dump, both = (whole(result, name) for name in ("excavation", "dump", "all"))
    assert pit["expansion_ha"] == pytest.approx(10.0, rel=0.03)
    assert dump["contraction_ha"] == pytest.approx(10 + 4, rel=0.03)
    assert (both["converted_ha"], both["contraction_ha"]) == pytest.approx((10, 4), rel=0.03)
    assert both["no_data_ha"] == pytest.approx(4, rel=0.03)
    moved = {row["from"]: row for row in result.transitions}
    assert moved["dump"]["to excavation (ha)"] == both["converted_ha"]
    assert moved["background"]["to excavation (ha)"] == 0  # the speck was dropped
    assert pit["dropped_expansion_ha"] == pytest.approx(0.16, rel=0.1)
    with rasterio.open(tmp_path / "out" / "change.tif") as file:
        kinds = file.read(1)
        assert (file.nodata, file.colormap(1)[2][:3]) == (255, (213, 94, 0))
        assert file.tags()["class_4"] == "converted"
    assert set(np.unique(kinds)) == {0, 1, 3, 4, 255}
    with rasterio.open(tmp_path / "out" / "change-dump.tif") as file:
        assert set(np.unique(file.read(1))) == {0, 1, 3, 255}


def test_parts_of_a_row_add_up(tmp_path, components):
    result = run(tmp_path, *components)
    for row in result.rows:
        assert row["before_ha"] == pytest.approx(row["stable_ha"] + row["contraction_ha"], abs=2e-4)
        mapped = row["after_ha"] - row["dropped_expansion_ha"] + row["dropped_contraction_ha"]
        assert mapped == pytest.approx(row["stable_ha"] + row["expansion_ha"], abs=2e-4)
        assert row["compared_ha"] + row["no_data_ha"] == pytest.approx(row["area_ha"], rel=1e-4)
    polygons = gpd.read_file(tmp_path / "out" / "change.gpkg")
    assert result.polygons == len(polygons)
    for kind in ("stable", "contraction", "converted"):
        found = polygons[polygons["change"] == kind]["area_ha"].sum()
        row = whole(result, "all")
        expected = row[f"{kind}_ha"] - (row["converted_ha"] if kind == "stable" else 0)
        assert found == pytest.approx(expected, rel=1e-4)
    gone = polygons[polygons["change"] == "contraction"].iloc[0]
    assert (gone["class"], gone["from_class"], gone["to_class"]) == ("dump", "dump", "background")


@pytest.mark.parametrize(
    ("option", "drops"),
    [
        ({"min_patch_px": 16}, False),
        ({"min_patch_px": 17}, True),
        ({"min_area_ha": 0.155}, False),
        ({"min_area_ha": 0.165}, True),
    ],
)
def test_the_smallest_patch_is_in_pixels_of_the_map_or_in_hectares(ground, tmp_path, option, drops):
    # On a grid of quarters of a pixel, too; 4 x 4 pixels are 0.16 ha.
    grid = ground.Raster()
    none = ground.disc(-400, 0, 150)
    first = grid.write(tmp_path / "b.tif", [(1, none)])
    back = ground.Raster(shift_px=0.5)
    second = back.write(tmp_path / "a.tif", [(1, none)])
    with rasterio.open(second, "r+") as file:
        values = file.read(1)
        values[150:154, 120:124] = 1
        file.write(values, 1)
    result = run(tmp_path, first, second, **option)
    assert result.grid["parts"] == 2
    assert (whole(result)["expansion_ha"] == 0) is drops


def test_sites_are_counted_apart_and_named_on_polygons(ground, tmp_path):
    east, west = ground.disc(450, 0, 200), ground.disc(-450, 0, 200)
    first = ground.Raster().write(tmp_path / "b.tif", [(1, west)])
    second = ground.Raster().write(tmp_path / "a.tif", [(1, west), (1, east)])
    path = ground.sites(
        tmp_path / "sites.geojson",
        East=shapely.box(100, -300, 800, 300),
        West=shapely.box(-1500, -300, -100, 300),
        Far=shapely.box(5000, 0, 5200, 300),
    )
    result = run(tmp_path, first, second, sites=path, site_field="mine")
    rows = {row["site"]: row for row in result.rows}
    assert list(rows) == ["East", "West", "Far", "whole overlap"]
    assert rows["East"]["expansion_ha"] == pytest.approx(ground.hectares(east), rel=0.01)
    assert rows["West"]["stable_ha"] == pytest.approx(ground.hectares(west), rel=0.01)
    assert rows["West"]["outside_ha"] == pytest.approx(600 * 600 / 1e4, rel=0.02)
    assert rows["Far"]["outside_ha"] == rows["Far"]["area_ha"]
    assert rows["Far"]["compared_ha"] == 0
    polygons = gpd.read_file(tmp_path / "out" / "change.gpkg")
    assert dict(zip(polygons["change"], polygons["site"], strict=True)) == {
        "expansion": "East",
        "stable": "West",
    }
    with (tmp_path / "out" / "change.csv").open(encoding="utf-8") as file:
        assert [row["site"] for row in csv.DictReader(file)] == list(rows)
    written = json.loads((tmp_path / "out" / "change.json").read_text(encoding="utf-8"))
    assert written["rows"][0]["expansion_ha"] == rows["East"]["expansion_ha"]


def test_uncertainty_is_of_the_edge_pixels(ground, tmp_path):
    # 50 x 40 pixels: 176 on the edge; a whole outline half a pixel off, or each by chance
    pit = shapely.box(-203, -203, 297, 197)
    first = ground.Raster().write(tmp_path / "b.tif", [(1, pit)])
    second = ground.Raster().write(tmp_path / "a.tif", [(1, pit)])
    row = whole(run(tmp_path, first, second))
    pixel_ha = row["before_ha"] / 2000
    assert row["before_pm_ha"] == pytest.approx(176 * pixel_ha / 2, rel=1e-3)
    assert row["before_se_ha"] == pytest.approx((176 / 12) ** 0.5 * pixel_ha, rel=1e-2)
    assert row["net_se_ha"] == pytest.approx(2**0.5 * row["before_se_ha"], rel=1e-2)
    fine = ground.Raster(shift_px=0.5).write(tmp_path / "c.tif", [(1, pit)])
    again = whole(run(tmp_path, first, fine))
    for name in ("before_pm_ha", "before_se_ha"):  # the common grid's pixels do not matter
        assert again[name] == pytest.approx(row[name], rel=0.02)
    assert all(f"{name}_pm_ha" in row for name in REGIONS)


def cloud(path, like, values, *, name="mask"):
    with rasterio.open(like) as file:
        profile = {**file.profile, "nodata": None}
    with rasterio.open(path, "w", **profile) as file:
        file.write(values.astype(np.uint8), 1)
        file.descriptions = (name,)
    return str(path)


@pytest.mark.parametrize(
    ("name", "value", "stated", "lost"),
    [
        ("mask", 1, None, True),
        ("SCL", 9, None, True),
        ("SCL", 4, None, False),
        ("SCL", 11, None, False),
        ("classification", 9, (3, 8, 9, 10), True),
    ],
)
def test_clouds_are_no_data(ground, tmp_path, name, value, stated, lost):
    pit = ground.disc(0, 0, 300)
    first = ground.Raster().write(tmp_path / "b.tif", [(1, pit)])
    second = ground.Raster().write(tmp_path / "a.tif", [])
    values = np.zeros(ground.Raster().shape)
    values[:, :90] = value
    mask = cloud(tmp_path / "m.tif", first, values, name=name)
    row = whole(run(tmp_path, first, second, cloud_after=mask, cloud_values=stated))
    half = ground.hectares(pit) / (2 if lost else 1)
    assert row["contraction_ha"] == pytest.approx(half, rel=0.01)
    assert (row["no_data_ha"] > 100) is lost


def test_a_class_named_cloud_is_no_data(ground, tmp_path):
    names = ("background", "cloud", "mining")
    pit = ground.disc(0, 0, 300)
    first = ground.Raster().write(tmp_path / "b.tif", [(2, pit)], tags=names)
    over = shapely.box(-1000, -1000, 0, 1000)
    second = ground.Raster().write(tmp_path / "a.tif", [(1, over)], tags=names)
    row = whole(run(tmp_path, first, second), "mining")
    assert row["contraction_ha"] == pytest.approx(ground.hectares(pit) / 2, rel=0.01)


def test_the_picture_shows_three_panels(tmp_path, components):
    run(tmp_path, *components)
    with Image.open(tmp_path / "out" / "change.png") as picture:
        colors = {color for _, color in picture.convert("RGB").getcolors(2**20)}
        assert picture.width > 2 * picture.height
    assert {(150, 140, 130), (0, 114, 178), (204, 121, 167)} <= colors


def test_a_second_run_replaces_the_first_and_leaves_nothing_else(ground, tmp_path, components):
    run(tmp_path, *components)
    pit = ground.disc(0, 0, 300)
    first = ground.Raster().write(tmp_path / "c.tif", [(1, pit)])
    result = run(tmp_path, first, ground.Raster().write(tmp_path / "d.tif", []))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"change.{s}" for s in ("tif", "gpkg", "csv", "json", "png")} | {
        "transitions.csv"
    }
    assert set(result.outputs) == names


def test_bad_input_is_told_in_one_line(ground, tmp_path):
    pit = ground.disc(0, 0, 300)
    good = ground.Raster().write(tmp_path / "good.tif", [(1, pit)], tags=NAMES[:2])
    with pytest.raises(InputError, match=r"good\.tif: is named as BEFORE and as AFTER"):
        run(tmp_path, good, good)
    bare = ground.Raster().write(tmp_path / "bare.tif", [(1, pit)], crs=False)
    with pytest.raises(CrsError, match=r"bare\.tif: has no coordinate reference system"):
        run(tmp_path, good, bare)
    dump = ground.Raster().write(tmp_path / "dump.tif", [(1, pit)], tags=("background", "dump"))
    with pytest.raises(FormatError, match=r"1 excavation and .*1 dump: they cannot be compared"):
        run(tmp_path, good, dump)
    zero = ground.Raster().write(tmp_path / "zero.tif", [(1, pit)], nodata=0)
    with pytest.raises(FormatError, match=r"zero\.tif: its nodata is 0"):
        run(tmp_path, good, zero)
    with rasterio.open(good) as file:
        profile = {**file.profile, "transform": file.transform @ file.transform.translation(999, 0)}
    with rasterio.open(tmp_path / "far.tif", "w", **profile) as file:
        file.write(np.zeros((1, *ground.Raster().shape), np.uint8))
    with pytest.raises(GridMismatchError, match=r"good\.tif and .*far\.tif: .*do not overlap"):
        run(tmp_path, good, str(tmp_path / "far.tif"))
    lost = ground.Raster().write(tmp_path / "n.tif", [], lost=shapely.box(-2e3, -2e3, 2e3, 2e3))
    with pytest.raises(GridMismatchError, match="no pixel with data on both dates"):
        run(tmp_path, good, lost)
    other = ground.Raster().write(tmp_path / "other.tif", [(1, pit)])
    strange = cloud(tmp_path / "x.tif", good, np.full(ground.Raster().shape, 8))
    with pytest.raises(FormatError, match=r"x\.tif: value 8 in a cloud mask.*--cloud-values"):
        run(tmp_path, good, other, cloud_before=strange)
    far = ground.sites(tmp_path / "s.geojson", far=shapely.box(9000, 0, 9100, 90))
    with pytest.raises(SiteError, match=r"s\.geojson: none of its 1 site"):
        run(tmp_path, good, other, sites=far, site_field="mine")
    with pytest.raises(InputError, match="--min-patch-px -1"):
        ChangeOptions(min_patch_px=-1)
    assert not (tmp_path / "out" / "change.json").exists()
    assert not list((tmp_path / "out").glob(".part*"))
