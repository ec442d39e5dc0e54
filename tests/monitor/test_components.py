"""Change of components that may overlap: areas against geometry, each for itself."""

import csv
import logging

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image

from headframe.core.errors import FormatError
from headframe.monitor.change import compare
from headframe.monitor.options import ChangeOptions, Dated

PIT, DUMP, SLOPE, TSF = (
    "excavation",
    "dumping_ground",
    "exploitation_slope",
    "tailings_storage_facility",
)


def run(tmp_path, before, after, **options):
    return compare(
        Dated(before), Dated(after), out=tmp_path / "out", options=ChangeOptions(**options)
    )


def whole(result):
    return {r["class"]: r for r in result.rows if r["site"] == "whole overlap"}


@pytest.fixture
def mine(ground):
    """Shapes before and after by component: a slope in a pit, a dump that spreads over a TSF."""
    pit, wider = ground.disc(-330, 150, 300), ground.disc(-330, 150, 420)
    slope, moved = ground.disc(-330, 150, 270), ground.disc(-180, 90, 270)
    tailings = ground.disc(360, -220, 330)
    dump = ground.disc(250, 20, 250)
    return (
        {PIT: pit, SLOPE: slope, TSF: tailings},
        {PIT: wider, SLOPE: moved, TSF: tailings, DUMP: dump},
    )


@pytest.mark.parametrize(
    "grid", [{"shift_px": 0.5}, {"crs": "EPSG:32645", "shift_px": 0.31}], ids=["half", "zone"]
)
def test_areas_of_each_component_are_within_one_percent(ground, mine, tmp_path, grid):
    before, after = mine
    first = ground.Raster().write_bits(tmp_path / "b.tif", before.items())
    second = ground.Raster(**grid).write_bits(tmp_path / "a.tif", after.items())
    rows = whole(run(tmp_path, first, second))
    assert list(rows) == ["all", PIT, DUMP, SLOPE, TSF]
    none = shapely.Polygon()
    for name in list(rows)[1:]:
        was, now = before.get(name, none), after.get(name, none)
        truth = {
            "before": was,
            "after": now,
            "stable": was & now,
            "expansion": now - was,
            "contraction": was - now,
        }
        for kind, shape in truth.items():
            true = 0.0 if shape.is_empty else ground.hectares(shape)
            assert rows[name][f"{kind}_ha"] == pytest.approx(true, rel=0.01), (name, kind)
            assert abs(rows[name][f"{kind}_ha"] - true) <= rows[name][f"{kind}_pm_ha"] + 1e-9
    both = rows["all"]
    union = shapely.union_all(list(after.values()))
    assert both["after_ha"] == pytest.approx(ground.hectares(union), rel=0.01)


def test_tables_polygons_and_rasters_are_of_each_component(ground, mine, tmp_path):
    before, after = mine
    lost = shapely.box(-850, -850, -550, -450)
    site = ground.sites(
        tmp_path / "s.geojson",
        West=shapely.box(-800, -800, 0, 800),
        East=shapely.box(1, -800, 800, 800),
    )
    first = ground.Raster().write_bits(tmp_path / "b.tif", before.items(), lost=lost)
    second = ground.Raster().write_bits(tmp_path / "a.tif", after.items())
    result = run(tmp_path, first, second, sites=site, site_field="mine")
    out = tmp_path / "out"
    with (out / "change.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(r["site"], r["class"]) for r in rows[:6]] == [
        ("West", name) for name in ("all", PIT, DUMP, SLOPE, TSF)
    ] + [("East", "all")]
    west = {r["class"]: r for r in rows if r["site"] == "West"}
    assert float(west[TSF]["stable_ha"]) < 1 < float(west[PIT]["stable_ha"])
    assert whole(result)[TSF]["no_data_ha"] == pytest.approx(12, rel=0.02)
    polygons = gpd.read_file(out / "change.gpkg")
    assert set(polygons.columns) == {"change", "component", "area_ha", "site", "geometry"}
    found = polygons.groupby(["component", "change"])["area_ha"].sum()
    for name, row in whole(result).items():
        for kind in ("stable", "expansion", "contraction"):
            if name != "all":
                expected = pytest.approx(row[f"{kind}_ha"], rel=1e-4, abs=1e-9)
                assert found.get((name, kind), 0.0) == expected
    assert set(polygons[polygons["component"] == DUMP]["site"]) == {"East"}
    # the slope and the pit it lies in have polygons over one another
    pit, slope = (
        polygons[(polygons["component"] == n) & (polygons["change"] == "stable")].union_all()
        for n in (PIT, SLOPE)
    )
    assert (pit & slope).area > 0.9 * slope.area
    assert {p.name for p in out.glob("change-*.tif")} == {
        f"change-{n}.tif" for n in (PIT, DUMP, SLOPE, TSF)
    }
    with rasterio.open(out / f"change-{DUMP}.tif") as file:
        assert set(np.unique(file.read(1))) == {0, 2, 255}
        assert file.tags()["class_2"] == "expansion"
    with rasterio.open(out / "change.tif") as file:
        assert set(np.unique(file.read(1))) == {0, 1, 2, 4, 255}
    moved = {row["from"]: row for row in result.transitions}
    on_tailings = ground.hectares(before[TSF] & after[DUMP])
    assert moved[TSF][f"to {DUMP} (ha)"] == pytest.approx(on_tailings, rel=0.02)
    assert moved[TSF][f"to {TSF} (ha)"] == whole(result)[TSF]["stable_ha"]
    bare = ground.hectares(after[SLOPE] - before[PIT])
    assert moved["background"][f"to {SLOPE} (ha)"] == pytest.approx(bare, rel=0.05)


def test_small_patches_are_taken_back_within_their_component(ground, tmp_path):
    # A speck of slope in a pit that stays: the pit is no cover for it, nor is it for the pit.
    pit, speck = shapely.box(-300, -300, 300, 300), shapely.box(0, 0, 40, 40)
    first = ground.Raster().write_bits(tmp_path / "b.tif", [(PIT, pit)])
    second = ground.Raster().write_bits(tmp_path / "a.tif", [(PIT, pit), (SLOPE, speck)])
    rows = whole(run(tmp_path, first, second))
    assert rows[SLOPE]["dropped_expansion_ha"] == pytest.approx(0.16, rel=0.1)
    assert rows[SLOPE]["expansion_ha"] == 0
    assert rows[PIT]["stable_ha"] == rows[PIT]["before_ha"] == rows[PIT]["after_ha"]
    # On new ground of the pit, only the slope is taken back.
    none = ground.Raster().write_bits(tmp_path / "c.tif", [])
    new = whole(run(tmp_path, none, second))
    assert new[PIT]["expansion_ha"] == rows[PIT]["before_ha"]
    assert (new[PIT]["dropped_expansion_ha"], new[SLOPE]["expansion_ha"]) == (0, 0)
    kept = whole(run(tmp_path, first, second, min_patch_px=9))
    assert kept[SLOPE]["expansion_ha"] == rows[SLOPE]["dropped_expansion_ha"]


def test_the_picture_has_a_panel_for_each_component(ground, mine, tmp_path):
    before, after = mine
    first = ground.Raster().write_bits(tmp_path / "b.tif", before.items())
    second = ground.Raster().write_bits(tmp_path / "a.tif", after.items())
    run(tmp_path, first, second)
    with Image.open(tmp_path / "out" / "change.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    half = pixels.shape[1] // 2
    upper, lower = np.array_split(pixels, 2)
    orange = (213, 94, 0)
    shares = [
        (part == orange).all(axis=2).mean()
        for part in (upper[:, :half], upper[:, half:], lower[:, :half], lower[:, half:])
    ]
    # excavation and dumping ground above; slope, and a tailings facility that stays, below
    assert min(shares[:3]) > 0.005 > 2 * shares[3]


def test_what_one_date_cannot_hold_is_left_out(ground, mine, tmp_path, caplog):
    before, after = mine
    first = ground.Raster().write_bits(
        tmp_path / "b.tif", [(PIT, before[PIT])], names={0: PIT, 10: "transformed_area"}
    )
    names = {0: PIT, 1: DUMP, 10: "other"}
    second = ground.Raster().write_bits(
        tmp_path / "a.tif", [(PIT, after[PIT]), (DUMP, after[DUMP])], names=names
    )
    with caplog.at_level(logging.WARNING, logger="headframe"):
        rows = whole(run(tmp_path, first, second))
    assert [r.getMessage().split(": ", 1)[1] for r in caplog.records] == [
        f"leaving out transformed_area, which {second} does not name.",
        f"leaving out dumping_ground, other, which {first} does not name.",
    ]
    assert rows["all"]["expansion_ha"] == rows[PIT]["expansion_ha"]
    assert DUMP not in rows


def test_classes_beyond_the_ten_are_compared(ground, mine, tmp_path):
    before, after = mine
    names = {0: PIT, 11: "transformed_area"}
    first = ground.Raster().write_bits(
        tmp_path / "b.tif", [("transformed_area", before[PIT])], names=names
    )
    second = ground.Raster().write_bits(
        tmp_path / "a.tif", [("transformed_area", after[PIT])], names=names
    )
    rows = whole(run(tmp_path, first, second))
    truth = ground.hectares(after[PIT] - before[PIT])
    assert rows["transformed_area"]["expansion_ha"] == pytest.approx(truth, rel=0.01)


def test_bad_input_is_told_in_one_line(ground, mine, tmp_path):
    shapes = list(mine[0].items())
    mask = ground.Raster().write_bits(tmp_path / "mask.tif", shapes)
    classes = ground.Raster().write(tmp_path / "classes.tif", [(1, mine[0][PIT])])
    match = r"mask\.tif is a mask of components and .*classes\.tif a class map: they cannot"
    for pair in ((mask, classes), (classes, mask)):
        with pytest.raises(FormatError, match=match):
            run(tmp_path, *pair)
    other = ground.Raster().write_bits(tmp_path / "o.tif", [], names={10: "dam_wall"})
    with pytest.raises(FormatError, match=r"mask\.tif has components .*none is in both"):
        run(tmp_path, mask, other)
    swapped = ground.Raster().write_bits(tmp_path / "w.tif", [], names={0: DUMP})
    with pytest.raises(FormatError, match=r"w\.tif: its tags say that bit 0 is 'dumping_ground'"):
        run(tmp_path, mask, swapped)
    few = ground.Raster().write_bits(tmp_path / "few.tif", [(PIT, mine[0][PIT])], names={0: PIT})
    with rasterio.open(few, "r+") as file:
        file.write(np.full((1, *file.shape), 2, np.uint16))
    with pytest.raises(FormatError, match=r"few\.tif: value 2 has bits that no tag names"):
        run(tmp_path, mask, few)
    bare = tmp_path / "bare.tif"
    with rasterio.open(mask) as file:
        profile, values = file.profile, file.read()
    with rasterio.open(bare, "w", **profile) as file:
        file.write(values)
    match = r"bare\.tif: value \d+ is no class .*BIT_0=excavation"
    with pytest.raises(FormatError, match=match):
        run(tmp_path, str(bare), classes)
