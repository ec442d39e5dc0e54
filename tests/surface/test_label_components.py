import json
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from odc.geo.geobox import GeoBox
from rasterio.transform import Affine

from headframe.core.components import COMPONENT_NAMES, bits_of, component
from headframe.core.errors import (
    DatasetError,
    FormatError,
    MissingFileError,
    OutputError,
    SiteError,
    UnknownNameError,
)
from headframe.datasets.chips import open_dataset
from headframe.datasets.drawn import draw_landscape, write_scene
from headframe.datasets.manifest import read_manifest
from headframe.io.bitmask import read_bits
from headframe.surface import labelling
from headframe.surface.label_components import assign, read_class_map
from headframe.surface.labelling import LabelOptions, label_images

CRS = "EPSG:32719"
GRID = Affine(10.0, 1.5, 400_215.0, 1.0, -10.0, 7_400_475.0)
SHAPE = (37, 53)
PIT = [(3.3, 4.4), (31.2, 5.1), (29.6, 22.8), (5.5, 20.3)]
SLOPE = [(3.3, 4.4), (12.1, 4.6), (11.7, 9.2), (4.2, 8.9)]
DUMP = [(33.4, 10.2), (49.7, 12.3), (45.2, 33.1)]
MAP = {"Pit": "excavation", "wall": "Exploitation slope", "4": ["dumping ground", "TSF"]}


def placed(ring, grid=GRID):
    return shapely.Polygon([grid * corner for corner in ring])


def write_polygons(path, grids, *, extra=(), with_site=True):
    """PIT, SLOPE and DUMP on every grid, in degrees."""
    rows = []
    for site, grid in grids.items():
        for kind, ring in (("pit", PIT), ("Wall", SLOPE), ("4", DUMP), *extra):
            shape = shapely.segmentize(placed(ring, grid), 20)
            rows.append({"kind": kind, "geometry": shape} | ({"mine": site} if with_site else {}))
    gpd.GeoDataFrame(rows, crs=CRS).to_crs("EPSG:4326").to_file(path, driver="GeoJSON")
    return path


def write_map(path, mapping):
    path.write_text(json.dumps(mapping))  # JSON is YAML
    return path


@pytest.fixture
def world(tmp_path, write_chip):
    """Three sites of one image each, far apart; polygons; a class map."""
    grids = {name: Affine.translation(9_000 * i, 0) * GRID for i, name in enumerate("abc")}
    for i, (site, grid) in enumerate(grids.items()):
        values = np.random.default_rng(i).integers(200, 4000, (4, *SHAPE)).astype(np.uint16)
        values[:, 0, :7] = 0
        names = ("B02", "B03", "B04", "B08")
        path = tmp_path / "images" / f"Mina {site}" / "2021.tif"
        write_chip(path, values, transform=grid, crs=CRS, nodata=0, descriptions=names)
    polygons = write_polygons(tmp_path / "parts.geojson", grids)
    table = write_map(tmp_path / "classes.yaml", MAP)
    return tmp_path, polygons, table, grids


def options(table, **changes):
    values = {"preset": "components", "class_field": "KIND", "class_map": table}
    return LabelOptions(**{**values, "fractions": (0.34, 0.33, 0.33), **changes})


def by_hand(shape=SHAPE):
    """Masks by point-in-polygon of pixel centres in pixel space, where the grid is straight."""
    cols, rows = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    mask = np.zeros(shape, np.uint16)
    wanted = {
        ("excavation",): PIT,
        ("exploitation_slope",): SLOPE,
        ("dumping_ground", "tailings_storage_facility"): DUMP,
    }
    for names, ring in wanted.items():
        inside = shapely.contains_xy(shapely.Polygon(ring), cols, rows)
        mask[inside] |= np.uint16(bits_of(names))
    return mask


def test_polygons_of_classes_become_masks(world):
    root, polygons, table, grids = world
    report = label_images(
        [root / "images"], polygons=polygons, out=root / "ds", options=options(table)
    )
    assert report.chips == {"train": 1, "val": 1, "test": 1}
    manifest = read_manifest(root / "ds")
    assert (manifest.labels, manifest.preset) == ("bits", "components")
    assert manifest.class_map.names == ("background", *COMPONENT_NAMES)
    assert manifest.sensor == "sentinel-2-l2a"
    assert manifest.sources["class_map"] == "classes.yaml"
    assert {site: facts["polygons"] for site, facts in manifest.sites.items()} == {
        "Mina a": 3, "Mina b": 3, "Mina c": 3,
    }  # fmt: skip
    wanted = by_hand()
    for chip in open_dataset(root / "ds").chips():
        found = read_bits(chip.label)
        assert np.array_equal(found.values, wanted), chip.key
        assert found.geobox is not None
        assert tuple(found.geobox.transform) == pytest.approx(tuple(grids[chip.site[-1]]))
    valid = np.ones(SHAPE, bool)
    valid[0, :7] = False
    assert report.pixels["background"] == 3 * int((wanted[valid] == 0).sum())
    assert report.pixels["exploitation_slope"] == 3 * int((wanted[valid] >> 6 & 1).sum()) > 0
    assert report.pixels["dam"] == 0
    assert report.nodata == 3 * 7
    assert report.notes == ()


def test_polygons_go_by_place_or_by_their_sites_name(world, write_chip):
    root, polygons, table, _ = world
    values = np.full((4, *SHAPE), 900, np.uint16)
    far = Affine.translation(90_000, 0) * GRID
    lone = root / "images" / "lone_2020.tif"
    write_chip(lone, values, transform=far, crs=CRS, descriptions=("B02", "B03", "B04", "B08"))
    report = label_images(
        [root / "images"], polygons=polygons, out=root / "ds", options=options(table)
    )
    assert sorted(s for sites in report.sites.values() for s in sites)[-1] == "lone"
    assert report.notes == ("1 image(s) without any polygon: lone_2020.tif.",)
    with pytest.raises(SiteError, match=r"no polygons for site\(s\) of images: .*Mina a"):
        label_images(
            [root / "images"],
            polygons=polygons,
            out=root / "named",
            options=options(table, site_field="mine"),
        )


def test_sites_are_matched_by_name_where_a_field_is_given(world):
    root, _, table, grids = world
    named = {f"mina-{site}": grid for site, grid in grids.items()}
    del named["mina-c"]
    polygons = write_polygons(root / "named.geojson", named | {"mina-x": grids["c"]})
    found = label_images(
        [root / "images"],
        polygons=polygons,
        out=root / "ds",
        options=options(table, site_field="mine", allow_empty=("Mina c",), stratify="mine"),
    )
    assert "1 site(s) of polygons in no image: mina-x." in found.notes
    dataset = open_dataset(root / "ds")
    empty = next(chip for chip in dataset.chips() if chip.site == "Mina c")
    assert not read_bits(empty.label).values.any()  # polygons of x lie on it, under another name


def test_unmapped_classes_are_told_and_left_out(world):
    root, _, _, grids = world
    extra = (("road", SLOPE), ("road", DUMP), ("lake", PIT))
    polygons = write_polygons(root / "more.geojson", grids, extra=extra, with_site=False)
    table = write_map(root / "some.yaml", MAP | {"lake": "Ignore", "4": "ignore", "tip": "dam"})
    report = label_images(
        [root / "images"], polygons=polygons, out=root / "ds", options=options(table)
    )
    assert report.notes == (
        f"6 polygon(s) of 1 unmapped class(es) left out: road (6). Map them in {table}, or to "
        "'ignore'.",
        f"{table}: no polygon is of class tip.",
    )
    assert report.pixels["dumping_ground"] == 0
    assert report.pixels["excavation"] > 0
    assert read_manifest(root / "ds").sites["Mina a"]["polygons"] == 2


def test_a_killed_run_goes_on_and_another_map_is_refused(world, monkeypatch):
    root, polygons, table, _ = world
    whole = label_images(
        [root / "images"], polygons=polygons, out=root / "whole", options=options(table)
    )
    made = []

    def make_two(task):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(task.source)
        return labelling_make(task)

    labelling_make = labelling.make_chip
    monkeypatch.setattr(labelling, "make_chip", make_two)
    with pytest.raises(KeyboardInterrupt):
        label_images([root / "images"], polygons=polygons, out=root / "ds", options=options(table))
    monkeypatch.setattr(labelling, "make_chip", labelling_make)
    other = write_map(root / "other.yaml", MAP | {"pit": "dam"})
    with pytest.raises(OutputError, match="unfinished data set made from other"):
        label_images([root / "images"], polygons=polygons, out=root / "ds", options=options(other))
    moved = write_map(root / "renamed.yaml", MAP)  # the content counts, not the name
    again = label_images(
        [root / "images"], polygons=polygons, out=root / "ds", options=options(moved)
    )
    assert again.pixels == whole.pixels
    for path in sorted((root / "whole").rglob("*.*")):
        if path.is_file() and path.name != "dataset.json":
            assert (
                path.read_bytes() == (root / "ds" / path.relative_to(root / "whole")).read_bytes()
            )


def test_one_shape_of_two_classes_is_no_duplicate(world):
    root, _, _, grids = world
    polygons = write_polygons(root / "two.geojson", grids, extra=(("tip", PIT), ("pit", PIT)))
    table = write_map(root / "two.yaml", {"pit": "excavation", "tip": "dumping ground"})
    report = label_images(
        [root / "images"], polygons=polygons, out=root / "ds", options=options(table)
    )
    assert report.pixels["excavation"] == report.pixels["dumping_ground"] > 0
    assert "3 duplicate polygon(s) dropped" in report.notes[0]


def test_an_image_without_data_is_skipped(world, write_chip):
    root, polygons, table, grids = world
    values = np.zeros((4, *SHAPE), np.uint16)
    place = root / "images" / "Mina a" / "2022.tif"
    names = ("B02", "B03", "B04", "B08")
    write_chip(place, values, transform=grids["a"], crs=CRS, nodata=0, descriptions=names)
    report = label_images(
        [root / "images"], polygons=polygons, out=root / "ds", options=options(table)
    )
    assert report.skipped == ("Mina a/2022.tif",)
    assert sum(report.chips.values()) == 3


def test_whole_numbers_with_gaps_are_classes(world):
    root, _, _, grids = world
    rows = [{"kind": 4, "geometry": placed(PIT, grids["a"])}]
    rows.append({"kind": None, "geometry": placed(DUMP, grids["a"])})
    frame = gpd.GeoDataFrame(rows, crs=CRS)
    frame.to_file(root / "n.gpkg")
    table = write_map(root / "n.yaml", {"4": "excavation"})
    report = label_images(
        [root / "images"], polygons=root / "n.gpkg", out=root / "ds", options=options(table)
    )
    assert "1 unmapped class(es) left out: (empty) (1)" in report.notes[0]
    assert report.pixels["excavation"] > 0


def test_kml_classes(world):
    root, _, table, grids = world
    frame = gpd.GeoDataFrame(geometry=[placed(PIT, grids["a"])], crs=CRS).to_crs("EPSG:4326")
    ring = " ".join(f"{x:.9f},{y:.9f}" for x, y in frame.geometry[0].exterior.coords)
    text = (
        "<kml xmlns='http://www.opengis.net/kml/2.2'><Document><Placemark><ExtendedData>"
        "<Data name='kind'><value>pit</value></Data></ExtendedData><Polygon><outerBoundaryIs>"
        f"<LinearRing><coordinates>{ring}</coordinates></LinearRing></outerBoundaryIs></Polygon>"
        "</Placemark></Document></kml>"
    )
    (root / "a.kml").write_text(text)
    report = label_images(
        [root / "images"], polygons=root / "a.kml", out=root / "ds", options=options(table)
    )
    assert report.pixels["excavation"] > 0
    with pytest.raises(FormatError, match=r"no field 'color'; it has kind\. .*--class-field"):
        label_images(
            [root / "images"],
            polygons=root / "a.kml",
            out=root / "no",
            options=options(table, class_field="color"),
        )


def test_options_that_do_not_go_together(world):
    root, polygons, table, _ = world
    cases = (
        (LabelOptions(preset="components", class_field="kind"), "needs --class-field .* and --cl"),
        (LabelOptions(class_map=table), "are for preset components, not plain"),
        (options(table, stratify="mine"), "Add --site-field"),
    )
    for wrong, words in cases:
        with pytest.raises(DatasetError, match=words):
            label_images([root / "images"], polygons=polygons, out=root / "ds", options=wrong)
    with pytest.raises(FormatError, match=r"has no field 'sort'; .*--class-field"):
        label_images(
            [root / "images"],
            polygons=polygons,
            out=root / "ds",
            options=options(table, class_field="sort"),
        )
    none = write_map(root / "none.yaml", {"road": "dam"})
    with pytest.raises(DatasetError, match=r"none of 9 polygons .* they are of 4, Wall, pit"):
        label_images([root / "images"], polygons=polygons, out=root / "ds", options=options(none))
    assert not (root / "ds").exists()


def test_class_map_files(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("﻿Source class,component\nPit, excavation\n\n4,dam\n4,TSF\nroad,ignore\n")
    table = read_class_map(path)
    wanted = {"pit": 1, "4": bits_of(["dam", "tailings_storage_facility"]), "road": 0}
    assert dict(table.bits) == wanted
    path.write_text("pit,excavation\n")
    assert dict(read_class_map(path).bits) == {"pit": 1}
    other = tmp_path / "a.yml"
    other.write_text("Pit: excavation\n4: [dam, TSF]\nno: ignore\n")
    assert dict(read_class_map(other).bits) == {"pit": 1, "4": wanted["4"], "no": 0}
    assert assign(["PIT", "no", "4"], table)[0] == [1, 0, wanted["4"]]


@pytest.mark.parametrize(
    ("name", "text", "kind", "words"),
    [
        (
            "a.yaml",
            "pit: hole",
            UnknownNameError,
            r"a\.yaml: class 'pit': unknown component 'hole'",
        ),
        ("a.yaml", "[pit, hole]", FormatError, "a class map is a mapping"),
        ("a.yaml", "pit: {a: b}", FormatError, "class 'pit' is mapped to"),
        ("a.yaml", "pit: []", FormatError, "class 'pit' is mapped to"),
        ("a.yaml", "pit: [", FormatError, "not valid YAML"),
        ("a.yaml", "pit: [dam, ignore]", FormatError, "to be ignored and mapped as well"),
        ("a.yaml", "{}", FormatError, "maps no class"),
        ("a.csv", "a,b,c", FormatError, r"row 1 has 3 column\(s\)"),
        ("a.csv", "class,component\n", FormatError, "maps no class"),
        ("a.txt", "pit: dam", FormatError, r"is \.yaml or \.csv, not \.txt"),
    ],
)
def test_wrong_class_maps(tmp_path, name, text, kind, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(kind, match=words):
        read_class_map(tmp_path / name)


def test_class_maps_that_cannot_be_read(tmp_path):
    with pytest.raises(MissingFileError, match="no such class map file"):
        read_class_map(tmp_path / "none.yaml")
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="cannot be read as text"):
        read_class_map(tmp_path / "a.yaml")


@pytest.mark.realdata
def test_mine_components_of_chile_on_a_drawn_scene(tmp_path, shared_data):
    """1,204 real outlines with classes, over a drawn scene put where one of the mines is."""
    path = shared_data / "vectors" / "chile_mine_components.geojson"
    frame = gpd.read_file(path)
    frame = frame.to_crs(CRS)
    site = frame[frame["site_id"] == "2108"]
    west, _, _, north = site.total_bounds
    scene = draw_landscape(3, size=(300, 420), cloudy=False)
    grid = GeoBox((300, 420), Affine(20, 0, west - 100, 0, -20, north + 100), CRS)
    write_scene(replace(scene, geobox=grid), tmp_path / "images" / "2108" / "0.tif")
    names = ("excavation", "dumping ground", "stockpile", "settling pond", "infrastructure", "TSF")
    classes = dict(zip("345678", names, strict=True))  # the file has no legend: only a trial
    table = write_map(tmp_path / "classes.yaml", classes)
    for site_field, known in ((None, frame), ("site_id", site)):
        out = tmp_path / f"ds-{site_field}"
        report = label_images(
            [tmp_path / "images"],
            polygons=path,
            out=out,
            options=options(table, class_field="class", site_field=site_field),
        )
        assert any("unmapped class(es) left out: 0 (1), 9 (320)" in line for line in report.notes)
        (chip,) = open_dataset(out).chips()
        bits = read_bits(chip.label).values
        for digit, name in classes.items():
            outlines = known[known["class"].astype(str) == digit].geometry.make_valid()
            inside = shapely.union_all(outlines.values).intersection(grid.extent.geom)
            found_ha = 0.04 * int((bits >> component(name).index & 1).sum())
            slack_ha = 0.04 + 0.01 * inside.area / 1e4 + 0.02 * 20 * inside.length / 1e4
            assert found_ha == pytest.approx(inside.area / 1e4, abs=slack_ha), name
        with rasterio.open(chip.image) as source:
            assert source.crs == CRS
