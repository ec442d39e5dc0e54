import csv
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pytest
import shapely
import torch
from pyproj import CRS
from rasterio.transform import Affine

from headframe.core.errors import CrsError, FormatError, InputError, OutputError
from headframe.core.modelspec import InputSpec
from headframe.engine.prompting.prompter import Prompter
from headframe.geo.window import Window
from headframe.surface import refine as refine_module
from headframe.surface.refine import refine_polygons
from headframe.surface.refine_compare import compare, draw_before_after, write_table
from headframe.surface.refine_journal import RowJournal
from headframe.surface.refine_outline import (
    OutlineFrame,
    RefineOptions,
    parse_prompt,
    read_frame,
    tidy,
    trace,
)

UTM = "EPSG:32733"
NAMES = ("B02", "B03", "B04")
INPUTS = InputSpec(
    "sentinel-2-l1c",
    ("red", "green", "blue"),
    10.0,
    (0.2, 0.2, 0.2),
    (0.1, 0.1, 0.1),
    ((0.05, 0.2, 0.5),) * 3,
)
GRID = Affine(10.0, 2.0, 500_215.0, 1.5, -10.0, 8_900_475.0)
"""Turned a little, not square: neither flips nor axis swaps go unseen."""


class BrightInside:
    """Stands in for a SAM: the object is what is bright and near the prompt."""

    size_px, stride = 64, 4
    pixel_mean = torch.zeros(3)

    def __init__(self):
        self.seen = []

    def encode(self, pixels):
        return pixels

    def decode(self, pixels, prompts):
        self.seen.append(prompts)
        bright = torch.where(pixels[:, :1] > 1, 5.0, -5.0)
        near = torch.full_like(bright, -5.0)
        if prompts.boxes is not None:
            x0, y0, x1, y1 = (int(v) for v in prompts.boxes[0])
            near[:, :, max(y0 - 3, 0) : y1 + 4, max(x0 - 3, 0) : x1 + 4] = 5.0
        if prompts.masks is not None:
            assert prompts.masks.shape[-1] == 64
            near = torch.maximum(near, prompts.masks)
        return torch.minimum(bright, near), torch.tensor([[0.8]])


def fake(*, takes_masks=True):
    sam = BrightInside()
    return Prompter("fake", "f" * 64, sam, INPUTS, lambda x: x, takes_masks=takes_masks)


def box_px(left, top, right, bottom, grid=GRID):
    """A rectangle of pixels of the scene, in its CRS."""
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return shapely.Polygon([grid * corner for corner in corners])


def write_scene(write_chip, path, bright, *, grid=GRID, height=110, width=150, gap=None):
    values = np.full((3, height, width), 1500, np.uint16)
    values[0] += np.linspace(0, 90, width).astype(np.uint16)
    for left, top, right, bottom in bright:
        values[:, top:bottom, left:right] = 4000
    if gap is not None:
        values[:, gap[1] : gap[3], gap[0] : gap[2]] = 0
    return write_chip(path, values, transform=grid, crs=UTM, nodata=0, descriptions=NAMES)


@pytest.fixture
def place(tmp_path, write_chip):
    """Two overlapping scenes of two bright fields, a third elsewhere, and coarse polygons."""
    fields = [(30, 20, 60, 38), (80, 60, 100, 90)]
    write_scene(write_chip, tmp_path / "scenes" / "a.tif", fields)
    shifted = GRID * Affine.translation(-60, 0)  # holds the first field at its edge
    write_scene(
        write_chip, tmp_path / "scenes" / "b.tif", [(90, 20, 120, 38)], grid=shifted, width=122
    )
    far = Affine.translation(30_000, 4_000) * GRID
    write_scene(write_chip, tmp_path / "scenes" / "c.tif", [(30, 20, 60, 38)], grid=far)
    rows = [
        ("late", box_px(76, 55, 106, 93), 7),
        ("none", box_px(300, 20, 330, 40), 8),
        ("early", box_px(24, 16, 63, 45), 9),
        ("dark", box_px(110, 5, 130, 15), 10),
        ("point", shapely.Point(GRID * (40, 30)), 11),
        ("gone", None, 12),
        ("empty", shapely.Polygon(), 14),
        ("twice", shapely.MultiPolygon([box_px(28, 18, 47, 42), box_px(50, 18, 66, 42)]), 13),
    ]
    frame = gpd.GeoDataFrame(
        {"name": [r[0] for r in rows], "status": "drawn", "licence": [r[2] for r in rows]},
        geometry=[r[1] for r in rows],
        crs=UTM,
    ).to_crs("EPSG:32734")
    frame.to_file(tmp_path / "old.gpkg", engine="pyogrio", layer="old")
    true = gpd.GeoDataFrame(geometry=[box_px(*field) for field in fields], crs=UTM)
    true.to_crs("EPSG:4326").to_file(tmp_path / "true.geojson", engine="pyogrio")
    return SimpleNamespace(
        root=tmp_path, scenes=[str(tmp_path / "scenes")], polygons=tmp_path / "old.gpkg",
        out=tmp_path / "new" / "tight.gpkg", true=tmp_path / "true.geojson", fields=fields,
    )  # fmt: skip


def run(place, prompter=None, **changes):
    return refine_polygons(
        place.scenes,
        polygons=place.polygons,
        prompter=prompter or fake(),
        out=place.out,
        options=RefineOptions(**changes),
    )


def in_pixels(shape, crs="EPSG:32734"):
    there = gpd.GeoSeries([shape], crs=crs).to_crs(UTM)[0]
    a, b, c, d, e, f = tuple(~GRID)[:6]
    return shapely.transform(
        there,
        lambda xy: np.column_stack(
            [a * xy[:, 0] + b * xy[:, 1] + c, d * xy[:, 0] + e * xy[:, 1] + f]
        ),
    )


def test_polygons_are_tightened_and_all_else_is_kept(place):
    result = run(place)
    old, new = gpd.read_file(place.polygons), gpd.read_file(place.out)
    assert new.crs.equals(old.crs)
    assert list(new.columns) == [
        "name", "status", "licence", "headframe_status", "score", "scene", "geometry",
    ]  # fmt: skip
    for column in ("name", "status", "licence"):
        assert new[column].tolist() == old[column].tolist()
    said = dict(zip(new["name"], new["headframe_status"], strict=True))
    assert said == {
        "late": "refined",
        "none": "unchanged: no scene covers it",
        "early": "refined",
        "dark": "unchanged: nothing found",
        "point": "unchanged: no polygon",
        "gone": "unchanged: no polygon",
        "empty": "unchanged: no polygon",
        "twice": "refined",
    }
    assert [new["scene"][row] for row in (0, 2, 3)] == ["a", "a", "a"]
    for row, field in ((0, place.fields[1]), (2, place.fields[0])):
        found = in_pixels(new.geometry[row])
        true = shapely.box(field[0], field[1], field[2], field[3])
        share = found.intersection(true).area / found.union(true).area
        assert share > 0.87, (row, share)
    for row in (1, 3):
        assert new.geometry[row].equals_exact(old.geometry[row], 1e-6)
    assert result.counts()["refined"] == 3
    assert not list(place.out.parent.glob(".*"))


@pytest.mark.parametrize(
    ("prompt", "masks", "boxed", "masked"),
    [
        ("auto", True, True, True),
        ("auto", False, True, False),
        ("box", True, True, False),
        ("mask", False, False, True),
        ("both", False, True, True),
    ],
)
def test_a_network_is_told_what_was_asked_for(place, prompt, masks, boxed, masked):
    prompter = fake(takes_masks=masks)
    run(place, prompter, prompt=parse_prompt(prompt))
    assert prompter.sam.seen
    assert all((p.boxes is not None) == boxed for p in prompter.sam.seen)
    assert all((p.masks is not None) == masked for p in prompter.sam.seen)


def test_views_agree_where_the_network_does_not_care(place):
    one, eight = run(place), run(place, views=8)
    for a, b in zip(one.rows, eight.rows, strict=True):
        assert (a.shape is None) == (b.shape is None)
        if a.shape is not None:
            assert a.shape.symmetric_difference(b.shape).area < 0.08 * a.shape.area


def test_an_answer_that_is_unlike_the_outline_is_not_believed(place):
    result = run(place, min_overlap=0.9)
    assert result.rows[0].status == "unchanged: the answer is unlike it (IoU under 0.9)"
    assert result.rows[0].score == pytest.approx(0.8)
    assert result.after.geometry[0].equals(result.before.geometry[0])


def test_pixels_without_data_keep_the_outline(place, write_chip):
    gap = (70, 50, 90, 100)  # the left half of the second field
    write_scene(write_chip, place.root / "scenes" / "a.tif", place.fields, gap=gap)
    found = in_pixels(run(place).rows[0].shape)
    left = shapely.box(77, 56, 89, 92)  # within the coarse outline
    assert found.intersection(left).area > 0.97 * left.area
    right = shapely.box(102, 56, 106, 92)
    assert found.intersection(right).area < 0.1 * right.area
    whole = (70, 50, 120, 100)
    write_scene(write_chip, place.root / "scenes" / "a.tif", place.fields, gap=whole)
    assert run(place).rows[0].status == "unchanged: no data there"


def test_a_killed_call_goes_on_where_it_was(place, monkeypatch):
    whole = run(place)
    real = refine_module.refine_outline

    def dies(outline, scene, frame, **options):
        if prompter.sam.seen:
            raise KeyboardInterrupt
        return real(outline, scene, frame, **options)

    prompter = fake()
    before = place.out.read_bytes()
    monkeypatch.setattr(refine_module, "refine_outline", dies)
    with pytest.raises(KeyboardInterrupt):
        run(place, prompter)
    assert place.out.read_bytes() == before
    (journal,) = place.out.parent.glob(".*.rows")
    with journal.open("a") as file:
        file.write('{"row": 3, "sta')  # the power went as it was written
    monkeypatch.setattr(refine_module, "refine_outline", real)
    again = fake()
    result = run(place, again)
    assert len(again.sam.seen) == 3  # of four with a scene one was done
    for a, b in zip(whole.rows, result.rows, strict=True):
        assert a.status == b.status
        assert a.shape is b.shape is None or a.shape.equals(b.shape)
    assert not list(place.out.parent.glob(".*"))


def test_rows_of_another_call_do_not_count(tmp_path):
    first = RowJournal(tmp_path / "a.gpkg", "one")
    assert first.known() == {}
    first.add(4, refine_module.Row(shapely.box(0, 0, 1, 2), "refined", float("nan"), "s"))
    assert list(RowJournal(tmp_path / "a.gpkg", "one").known()) == [4]
    assert RowJournal(tmp_path / "a.gpkg", "two").known() == {}


def test_before_and_after_are_compared_with_the_truth(place):
    result = run(place)
    comparison = compare(result, place.true)
    assert comparison.compared == 3
    late = comparison.rows[0]
    assert late.iou_before == pytest.approx(20 * 30 / (30 * 38), abs=0.01)
    assert late.iou_after > 0.87
    assert late.boundary_iou_after > late.boundary_iou_before
    pixel_ha = abs(10 * -10 - 2 * 1.5) / 1e4
    assert late.area_before_ha == pytest.approx(30 * 38 * pixel_ha, rel=2e-3)
    figures = {name: (old, new) for name, old, new in comparison.summary()}
    assert figures["mean IoU"][1] > figures["mean IoU"][0] + 0.2
    assert set(figures) == {
        "area, ha", "mean IoU", "median IoU",
        "mean boundary IoU (30 m)", "median boundary IoU (30 m)",
    }  # fmt: skip
    write_table(comparison.rows, place.root / "t.csv")
    with (place.root / "t.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == 8
    assert table[1]["iou_before"] == ""
    assert float(table[0]["iou_after"]) == pytest.approx(late.iou_after, abs=1e-5)
    assert [name for name, _, _ in compare(result).summary()] == ["area, ha"]


def test_pictures_show_what_was_refined(place):
    prompter, options = fake(), RefineOptions()
    result = run(place, prompter)
    path = place.root / "p.png"
    comparison = compare(result, place.true)
    count = draw_before_after(result, comparison, path, prompter=prompter, options=options)
    assert count == 3
    assert path.stat().st_size > 10_000


def test_scenes_that_cannot_be_used_are_left_out(place, write_chip, caplog):
    bad = write_chip(
        place.root / "scenes" / "d.tif", np.ones((1, 9, 9), np.uint16), transform=GRID, crs=UTM
    )
    assert run(place).counts()["refined"] == 3
    assert "Left out" in caplog.text
    with pytest.raises(InputError, match=r"d\.tif"):
        refine_polygons([str(bad)], polygons=place.polygons, prompter=fake(), out=place.out)


def test_a_large_window_is_averaged_while_it_is_read(tmp_path, write_chip):
    values = np.random.default_rng(0).integers(900, 1100, (3, 700, 520)).astype(np.uint16)
    values[:, 200:400, 100:300] = 4000
    path = write_chip(
        tmp_path / "a.tif", values, transform=GRID, crs=UTM, nodata=0, descriptions=NAMES
    )
    with fake().open(str(path), RefineOptions().scene) as scene:
        frame = read_frame(scene, Window(-60, -140, 800, 800), 32)
        assert frame.shape == (3, 32, 32)
        assert np.isnan(frame[:, :2]).all()
        assert np.isnan(frame[:, :, :5]).all()
        assert frame[0, 15, 12] == pytest.approx(0.4, abs=0.01)
        assert frame[0, 25, 22] == pytest.approx(0.1, abs=0.01)
        outside = read_frame(scene, Window(5000, 0, 64, 64), 32)
        assert np.isnan(outside).all()


def test_small_parts_and_pinholes_are_noise():
    found, given = np.zeros((2, 40, 40), np.bool_)
    given[5:25, 5:25] = True
    found[6:24, 6:24] = True
    found[10, 10] = False  # a pinhole
    found[14:20, 14:20] = False  # a true hole
    found[24, 30:34] = True  # beyond the outline
    found[30:39, 30:39] = True
    found[5, 8] = False
    clean = tidy(found, given)
    assert clean[10, 10]
    assert not clean[16, 16]
    assert not clean[24:].any()
    assert clean.sum() == 18 * 18 - 36
    traced = trace(clean, Window(100, 50, 80, 40), 0.0)
    assert traced.is_valid
    assert traced.bounds == (56, 112, 74, 148)
    assert traced.area == pytest.approx(clean.sum() * 2)


def test_options_are_checked():
    for options, message in (
        ({"context": 1.0}, "--context 1: must be above 1"),
        ({"threshold": 1.0}, "--threshold 1"),
        ({"min_overlap": 2}, "--min-overlap 2"),
        ({"min_cover": -1}, "--min-cover -1"),
        ({"views": 3}, "--views 3"),
        ({"simplify_px": -1}, "--simplify-px -1"),
    ):
        with pytest.raises(InputError, match=message):
            RefineOptions(**options)
    with pytest.raises(InputError, match="--prompt points: choose auto, box, mask, both"):
        parse_prompt("points")


def test_outputs_are_checked(place):
    with pytest.raises(OutputError, match=r"Name a \.gpkg file"):
        refine_polygons(
            place.scenes, polygons=place.polygons, prompter=fake(), out=place.root / "a.geojson"
        )
    with pytest.raises(OutputError, match="file of polygons itself"):
        refine_polygons(place.scenes, polygons=place.polygons, prompter=fake(), out=place.polygons)


def test_a_file_without_any_polygon_is_refused(place):
    bare = place.root / "bare.gpkg"
    shapes = [shapely.Point(1, 2), shapely.Polygon(), shapely.box(3, 3, 3, 9), None]
    gpd.GeoDataFrame(geometry=shapes, crs=UTM).to_file(bare)
    with pytest.raises(FormatError, match=r"bare\.gpkg: none of its 4 rows is a polygon with an"):
        refine_polygons(place.scenes, polygons=bare, prompter=fake(), out=place.out)


def test_polygons_that_no_scene_covers_are_told(place, caplog):
    far = place.root / "far.gpkg"
    gpd.GeoDataFrame(geometry=[box_px(900, 20, 930, 40)], crs=UTM).to_file(far)
    result = refine_polygons(place.scenes, polygons=far, prompter=fake(), out=place.out)
    assert result.counts() == {"unchanged: no scene covers it": 1}
    assert "far.gpkg: no scene covers any of its polygons" in caplog.text


def test_scenes_without_a_crs_are_refused_with_a_remedy(place, write_chip):
    path = write_chip(
        place.root / "plain.tif", np.full((3, 40, 50), 1500, np.uint16), crs=None, transform=None,
        nodata=0, descriptions=NAMES,
    )  # fmt: skip
    with pytest.raises(CrsError, match=r"plain\.tif: has no CRS.* Set one with gdal_edit"):
        refine_polygons([str(path)], polygons=place.polygons, prompter=fake(), out=place.out)


def test_a_scene_without_a_crs_has_no_outlines():
    scene = SimpleNamespace(geobox=None, source="a.tif", shape=(4, 4))
    with pytest.raises(CrsError, match=r"a\.tif: has no CRS"):
        OutlineFrame(scene, CRS.from_epsg(4326))
