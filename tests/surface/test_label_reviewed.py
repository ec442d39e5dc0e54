import json

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from PIL import Image
from rasterio.transform import Affine

from headframe.core.errors import DatasetError, OutputError
from headframe.datasets.check import check_dataset
from headframe.datasets.provenance import POLYGONS_NAME, read_provenance
from headframe.surface.labelling import LabelOptions, label_images
from headframe.surface.review import Proposal, write_review

UTM = "EPSG:32733"
GRID = Affine(30.0, 2.0, 500_215.0, 1.5, -30.0, 8_900_475.0)
PLACES = {"pit": (5, 4, 20, 14), "dump": (30, 10, 44, 28), "roof": (50, 30, 60, 40)}
"""Columns and rows x0 y0 x1 y1 on the chip (45 x 70 px); the first is then moved by a pixel."""


def degrees(shape, grid=GRID):
    a, b, c, d, e, f = tuple(grid)[:6]
    there = shapely.transform(shape, lambda xy: np.column_stack([xy @ [a, b] + c, xy @ [d, e] + f]))
    return gpd.GeoSeries([there], crs=UTM).to_crs(4326).iloc[0]


def proposal(name):
    shape = degrees(shapely.box(*PLACES[name]))
    return Proposal(name, shape, "rio", "excavation", 0.9, None, None, "seg", "", "chip")


@pytest.fixture
def desk(tmp_path, write_chip):
    """A chip, and a review file in which one is accepted, one moved, one rejected, one drawn."""
    values = np.random.default_rng(3).integers(200, 3000, (3, 45, 70), dtype=np.uint16)
    write_chip(tmp_path / "images" / "rio" / "chip.tif", values, transform=GRID)
    path = tmp_path / "review.gpkg"
    write_review(path, [proposal(name) for name in PLACES], classes=["excavation"])
    frame = gpd.read_file(path)
    frame["review"] = ["accept", "todo", "reject"]
    moved = degrees(shapely.box(31, 10, 45, 28))
    shapes = [frame.geometry[0], shapely.MultiPolygon([moved]), frame.geometry[2]]
    drawn = {"class": "tailings_storage_facility", "geometry": degrees(shapely.box(2, 30, 12, 40))}
    far = {"class": "excavation", "geometry": degrees(shapely.box(900, 900, 910, 910))}
    rows = [{**row, "geometry": s} for row, s in zip(frame.to_dict("records"), shapes, strict=True)]
    empty = dict.fromkeys(frame.columns)
    frame = gpd.GeoDataFrame([*rows, {**empty, **drawn}, {**empty, **far}], crs=4326)
    frame["geometry"] = [shapely.MultiPolygon(shapely.get_parts(s)) for s in frame.geometry]
    pyogrio.write_dataframe(frame, path, layer="review")
    return tmp_path


def label(desk, *, out="ds", polygons=None, **options):
    options = LabelOptions(reviewed=desk / "review.gpkg", **options)
    return label_images([desk / "images"], out=desk / out, polygons=polygons, options=options)


def test_accepted_and_edited_polygons_become_labels_and_rejected_ones_do_not(desk):
    report = label(desk)
    assert report.provenance == {"manual": 1, "assisted": 1, "automatic": 1}
    label_file = next((desk / "ds").glob("*/labels/rio/00000.png"))
    found = np.asarray(Image.open(label_file))
    want = np.zeros((45, 70), np.uint8)
    for x0, y0, x1, y1 in (PLACES["pit"], (31, 10, 45, 28), (2, 30, 12, 40)):
        want[y0:y1, x0:x1] = 2
    np.testing.assert_array_equal(found, want)


def test_the_data_set_keeps_where_polygons_come_from_and_the_check_counts(desk):
    label(desk)
    records = read_provenance(desk / "ds")
    assert [(r.id, r.provenance, r.model) for r in records] == [
        ("pit", "automatic", "seg"),
        ("dump", "assisted", "seg"),
        ("", "manual", ""),
    ]  # the rejected one and the one on no image are not behind any label
    assert records[0].area_ha == pytest.approx(15 * 10 * 0.09, rel=0.01)
    manifest = json.loads((desk / "ds" / "dataset.json").read_text())
    assert manifest["sources"]["reviewed"] == "review.gpkg"
    report = check_dataset(desk / "ds")
    assert report.passed
    assert report.polygons == {"manual": 1, "assisted": 1, "automatic": 1}


def test_a_table_that_is_lost_or_changed_fails_the_check(desk):
    label(desk)
    table = desk / "ds" / POLYGONS_NAME
    table.write_text(table.read_text().replace("assisted", "manual"))
    (found,) = check_dataset(desk / "ds").findings
    assert (found.rule, found.level) == ("provenance", "error")
    assert found.message.startswith("has 2 manual, 0 assisted, 1 automatic")
    table.write_text("id\n")
    assert "has no column provenance" in check_dataset(desk / "ds").findings[0].message
    table.unlink()
    assert "is missing" in check_dataset(desk / "ds").findings[0].message


def test_drawn_outlines_and_reviewed_ones_go_together(desk):
    """Labels of earlier work are kept: with --polygons they are manual, whatever their site."""
    old = desk / "old.gpkg"
    shapes = [degrees(shapely.box(60, 2, 68, 9))]
    gpd.GeoDataFrame({"name": ["old"]}, geometry=shapes, crs=4326).to_file(old)
    report = label(desk, polygons=old)
    assert report.provenance == {"manual": 2, "assisted": 1, "automatic": 1}
    assert {r.source for r in read_provenance(desk / "ds")} == {"old.gpkg", "review.gpkg"}
    found = np.asarray(Image.open(next((desk / "ds").glob("*/labels/rio/00000.png"))))
    assert (found[2:9, 60:68] == 2).all()


def test_components_keep_their_classes_without_a_class_map(desk):
    label(desk, preset="components")
    with rasterio.open(next((desk / "ds").glob("*/labels/rio/00000.tif"))) as file:
        bits = file.read(1)
    assert len(np.unique(bits)) == 3  # none, excavation, tailings storage facility
    assert bits[35, 5] != bits[10, 10] > 0


def test_the_same_again_is_done_and_another_review_is_not(desk):
    label(desk)
    before = (desk / "ds" / "dataset.json").read_bytes()
    assert label(desk).provenance == {"manual": 1, "assisted": 1, "automatic": 1}
    assert (desk / "ds" / "dataset.json").read_bytes() == before
    frame = gpd.read_file(desk / "review.gpkg").assign(review="accept")
    pyogrio.write_dataframe(frame, desk / "review.gpkg", layer="review")
    with pytest.raises(OutputError, match="made from other images, polygons or options"):
        label(desk)


def test_polygons_on_images_without_data_are_behind_no_label(desk, write_chip):
    values = np.zeros((3, 20, 20), np.uint16)
    far = GRID * Affine.translation(895, 895)
    write_chip(desk / "images" / "far" / "empty.tif", values, transform=far, nodata=0)
    report = label(desk)
    assert report.skipped == ("far/empty.tif",)
    assert report.provenance == {"manual": 1, "assisted": 1, "automatic": 1}


def test_without_a_review_nothing_is_noted(desk):
    old = desk / "old.gpkg"
    frame = gpd.GeoDataFrame({"site": ["rio"]}, geometry=[proposal("pit").shape], crs=4326)
    frame.to_file(old)
    report = label_images([desk / "images"], polygons=old, out=desk / "plain")
    assert report.provenance is None
    assert not (desk / "plain" / POLYGONS_NAME).exists()
    assert check_dataset(desk / "plain").polygons is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to label by. Give --polygons, or --reviewed"),
        ({"skip_todo": True}, "nothing to label by|--skip-todo has no meaning"),
    ],
)
def test_nothing_to_label_by(desk, options, message):
    with pytest.raises(DatasetError, match=message):
        label_images([desk / "images"], out=desk / "ds", options=LabelOptions(**options))


def test_reviewed_polygons_have_no_site_to_balance_by(desk):
    with pytest.raises(DatasetError, match="Stratify later with"):
        label(desk, stratify="country")
