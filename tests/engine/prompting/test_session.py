"""Prompts on scenes: from coordinates to polygons."""

import json

import numpy as np
import pytest
import shapely
from pyproj import CRS, Transformer

from headframe.core.errors import CrsError, GeometryError, InputError
from headframe.engine.prompting import (
    AnswerOptions,
    ObjectPrompt,
    PromptOptions,
    PromptSession,
    SceneEmbeddings,
    prompt_scene,
    prompts_of,
)
from headframe.engine.prompting.prompter import Prompter
from headframe.models.sam import build_sam


@pytest.fixture
def small(fake, tmp_path):
    """A scene of one small thing, with its outline in the scene's CRS."""
    source = fake.scene(tmp_path / "small.tif", fake.blob())
    corners = [fake.to_map(*xy) for xy in ((24, 20), (50, 20), (50, 38), (24, 38))]
    return source, shapely.Polygon(corners)


def ask(source, prompter, options=None, **said):
    return prompt_scene(source, prompter, prompts_of(**said), options)


def test_a_point_in_map_coordinates_gives_the_exact_outline_and_area(fake, small):
    source, truth = small
    (found,) = ask(
        source, fake.prompter(), points=[fake.to_map(30, 25)], crs=CRS.from_user_input(fake.utm)
    )
    assert found.shape.symmetric_difference(truth).area < 1e-6 * truth.area
    assert found.area_ha == pytest.approx(truth.area / 1e4, rel=2e-3)  # UTM's own scale
    assert (found.kind, found.score, found.stability) == ("point", pytest.approx(0.9), 1.0)
    assert (found.tiles, found.level, found.cut) == (1, 0, False)


def test_longitude_latitude_pixels_and_map_mean_the_same_place(fake, small):
    source, _ = small
    utm = fake.to_map(30, 25)
    lonlat = Transformer.from_crs(fake.utm, "EPSG:4326", always_xy=True).transform(*utm)
    answers = [
        ask(source, fake.prompter(), points=[xy], crs=crs)[0]
        for xy, crs in (((30, 25), None), (lonlat, CRS.from_epsg(4326)), (utm, CRS(fake.utm)))
    ]
    assert answers[0].shape.equals(answers[1].shape)
    assert answers[0].shape.equals(answers[2].shape)


def test_a_box_chooses_and_cuts_and_objects_are_kept_apart(fake, tmp_path):
    bright = fake.blob() | fake.blob(rows=slice(100, 120), cols=slice(140, 170))
    source = fake.scene(tmp_path / "two.tif", bright)
    said = {"points": [(30, 25)], "boxes": [(135, 95, 160, 125)]}
    first, second = ask(source, fake.prompter(), **said)
    assert (first.id, first.kind, int(first.mask.sum())) == ("1", "point", 18 * 26)
    assert (second.id, second.kind, int(second.mask.sum())) == ("2", "box", 20 * 20)


def test_together_is_one_object_and_exclude_forbids(fake, tmp_path):
    bright = fake.blob() | fake.blob(rows=slice(20, 38), cols=slice(60, 70))
    source = fake.scene(tmp_path / "two.tif", bright)
    points = [(30, 25), (65, 25)]
    (both,) = ask(source, fake.prompter(), points=points, together=True)
    assert int(both.mask.sum()) == 18 * 36
    assert len(both.shape.geoms) == 2
    (one,) = ask(source, fake.prompter(), points=points, exclude=[(62, 30)], together=True)
    assert int(one.mask.sum()) == 18 * 26


def test_a_thing_larger_than_a_frame_is_merged_with_its_hole(fake, tmp_path):
    bright = fake.ring()
    source = fake.scene(tmp_path / "ring.tif", bright)
    row, col = np.argwhere(bright)[5]
    (found,) = ask(source, fake.prompter(), points=[(col + 0.5, row + 0.5)])
    truth = np.zeros(bright.shape, dtype=bool)
    w = found.window
    truth[w.row : w.row + w.height, w.col : w.col + w.width] = found.mask
    iou = (truth & bright).sum() / (truth | bright).sum()
    assert iou == 1
    assert found.tiles > 1
    assert not found.cut
    (part,) = found.shape.geoms
    assert len(part.interiors) == 1


def test_a_network_of_boxes_is_told_of_boxes_only(fake, small):
    prompter = fake.prompter(takes_points=False)
    (found,) = ask(small[0], prompter, points=[(37, 29)], exclude=[(3, 3)])
    (said,) = prompter.sam.said
    assert (said.points, tuple(said.boxes.shape)) == (None, (2, 4))
    widths = said.boxes[:, 2] - said.boxes[:, 0]
    assert widths.tolist() == [16, 32]
    assert found.area_ha > 0


def test_a_lone_point_may_have_three_masks_and_a_polygon_is_seen_by_who_knows_masks(fake, small):
    prompter = fake.prompter(multimask=True, takes_masks=True)
    with SceneEmbeddings.open(small[0], prompter) as embeddings:
        session = PromptSession(embeddings)
        session.ask(prompts_of(points=[(30, 25)]).objects[0], None)
        triangle = shapely.Polygon([(22, 18), (52, 18), (52, 40)])
        session.ask(ObjectPrompt("a", shape=triangle), None)
    point, polygon = prompter.sam.said
    assert point.masks is None
    assert tuple(polygon.masks.shape) == (1, 1, 64, 64)
    assert float(polygon.masks.max()) == -float(polygon.masks.min()) > 1
    assert tuple(polygon.boxes.shape) == (1, 4)


def test_max_tiles_bounds_an_answer_and_says_so(fake, tmp_path):
    bright = fake.ring()
    source = fake.scene(tmp_path / "ring.tif", bright)
    row, col = np.argwhere(bright)[5]
    options = PromptOptions(answer=AnswerOptions(max_tiles=2))
    prompter = fake.prompter()
    (found,) = ask(source, prompter, options, points=[(col + 0.5, row + 0.5)])
    assert (found.tiles, found.cut, prompter.sam.calls) == (2, True, 2)
    with pytest.raises(InputError, match="--max-tiles 0 is not 1 or more"):
        AnswerOptions(max_tiles=0)


def test_a_box_larger_than_a_frame_is_asked_on_a_coarser_level_and_redrawn(fake, tmp_path):
    bright = fake.blob(rows=slice(21, 122), cols=slice(33, 170))
    source = fake.scene(tmp_path / "large.tif", bright)
    options = PromptOptions(answer=AnswerOptions(max_tiles=32))
    (found,) = ask(source, fake.prompter(), options, boxes=[(30, 18, 173, 125)])
    assert (found.level, found.kind) == (1, "box")
    assert found.tiles > 2
    w = found.window
    whole = np.zeros(bright.shape, dtype=bool)
    whole[w.row : w.row + w.height, w.col : w.col + w.width] = found.mask
    assert (whole & bright).sum() / (whole | bright).sum() > 0.97
    coarse = PromptOptions(answer=AnswerOptions(max_tiles=1))
    (rough,) = ask(source, fake.prompter(), coarse, boxes=[(30, 18, 173, 125)])
    assert (rough.level, rough.tiles) == (2, 1)
    assert rough.area_ha == pytest.approx(found.area_ha, rel=0.06)


def test_nodata_is_never_of_an_object(fake, tmp_path):
    bright = fake.blob(rows=slice(20, 60), cols=slice(30, 80))
    source = fake.scene(tmp_path / "holes.tif", bright, nodata=[(slice(30, 31), slice(40, 41))])
    (found,) = ask(source, fake.prompter(), points=[(35, 25)])
    w = found.window
    assert not found.mask[30 - w.row, 40 - w.col]
    assert len(found.shape.geoms[0].interiors) == 1
    with pytest.raises(GeometryError, match=r"holes.tif: has no data at column 40, row 30"):
        ask(source, fake.prompter(), points=[(40.5, 30.5)])


def test_nothing_found_is_an_answer_without_a_shape(fake, small):
    (found,) = ask(small[0], fake.prompter(), points=[(120, 100)])
    assert (found.shape, found.area_ha, found.stability) == (None, 0.0, 0.0)


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        ({"points": [(190.5, 5)]}, GeometryError, r"point \(190.5, 5\) of prompt 1 lies outside"),
        ({"points": [(5, -0.1)]}, GeometryError, "which is 190 x 150 pixels"),
        ({"boxes": [(200, 10, 220, 30)]}, GeometryError, "the box of prompt 1 lies outside"),
        ({"boxes": [(20, 10, 10, 30)]}, GeometryError, "box 20 10 10 30: is reversed"),
        ({"boxes": [(20, np.nan, 30, 30)]}, GeometryError, "coordinates must be numbers"),
        ({"points": [(np.inf, 3)]}, GeometryError, "needs two numbers"),
        (
            {"boxes": [(0, 0, 9, 9), (1, 1, 5, 5)], "together": True},
            InputError,
            "2 boxes cannot be around one object",
        ),
        (
            {"points": [(-43.5, -22.9)], "crs": CRS.from_epsg(4326)},
            GeometryError,
            r"point \(-43.5, -22.9\).*which reaches from .* in EPSG:4326",
        ),
        (
            {"points": [(400.0, 95.0)], "crs": CRS.from_epsg(4326)},
            InputError,
            "point|brought",
        ),
    ],
)
def test_prompts_that_mean_nothing_are_refused(fake, small, said, error, message):
    with pytest.raises(error, match=message):
        ask(small[0], fake.prompter(), **said)


def test_a_scene_without_crs_is_refused(fake, tmp_path):
    source = fake.scene(tmp_path / "bare.tif", fake.blob(), crs=None)
    with pytest.raises(CrsError, match="no place and no area"):
        ask(source, fake.prompter(), points=[(30, 25)])


def test_a_conversation_answers_line_by_line(fake, small):
    source, truth = small
    x, y = fake.to_map(30, 25)
    square = shapely.geometry.mapping(shapely.box(22, 18, 52, 40))
    lines = [
        json.dumps({"point": [x, y], "id": "pit"}),
        "",
        json.dumps({"points": [[30, 25]], "exclude": [[2, 2]], "pixels": True}),
        json.dumps({"polygon": square, "pixels": True}),
        json.dumps({"box": [22, 18, 52, 40], "pixels": True}),
    ]
    with SceneEmbeddings.open(source, fake.prompter()) as embeddings:
        answers = list(PromptSession(embeddings).converse(lines))
    shapes = [shapely.geometry.shape(feature["geometry"]) for feature, _, _ in answers]
    assert all(shape.symmetric_difference(truth).area < 1e-6 * truth.area for shape in shapes)
    assert [feature["id"] for feature, _, _ in answers] == ["pit", "3", "4", "5"]
    facts = answers[0][0]["properties"]
    assert facts["area_ha"] > 0
    assert facts["ms"] >= 0
    assert [feature["properties"]["prompt"] for feature, _, _ in answers] == [
        "point", "point", "polygon", "box",
    ]  # fmt: skip


def test_coordinates_that_a_line_says_nothing_of_are_what_the_conversation_says(fake, small):
    source, truth = small
    utm = fake.to_map(30, 25)
    lonlat = Transformer.from_crs(fake.utm, "EPSG:4326", always_xy=True).transform(*utm)
    in_pixels = {"point": [30, 25]}
    own = [{"point": utm, "crs": fake.utm}, {"point": [30, 25], "pixels": True}]
    with SceneEmbeddings.open(source, fake.prompter()) as embeddings:
        session = PromptSession(embeddings)
        told = [
            *session.converse(map(json.dumps, [in_pixels, *own]), in_pixels=True),
            *session.converse(map(json.dumps, [{"point": lonlat}, *own]), crs=CRS.from_epsg(4326)),
            *session.converse([json.dumps({"point": utm})]),
        ]
    assert len(told) == 7
    for _, mask, _ in told:
        assert mask.shape.symmetric_difference(truth).area < 1e-6 * truth.area


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: is no prompt in JSON"),
        ("[]", "line 1"),
        ('{"pont": [1, 2]}', "line 1: pont: Extra inputs"),
        ('{"point": [1]}', "line 1: point"),
        ('{"point": [1, 2], "crs": "EPSG:999999"}', "--crs EPSG:999999: is no known"),
        ('{"point": [1, 2], "crs": "EPSG:4326", "pixels": true}', "crs or pixels, not both"),
        ('{"box": [5, 5, 1, 1], "pixels": true}', "is reversed"),
        ('{"exclude": [[5, 5]], "pixels": true}', "needs a point inside"),
        ('{"polygon": {"type": "Nonsense"}, "pixels": true}', "line 1: is no prompt"),
        (
            '{"polygon": {"type": "Polygon", "coordinates": [[[0,0],[2,2],[2,0],[0,2],[0,0]]]}}',
            "crosses itself",
        ),
    ],
)
def test_a_bad_line_is_told_and_the_next_one_answered(fake, small, line, message):
    good = json.dumps({"point": [30, 25], "pixels": True})
    with SceneEmbeddings.open(small[0], fake.prompter()) as embeddings:
        first, second = PromptSession(embeddings).converse([line, good])
    assert message in first[0]["error"]
    assert first[0]["line"] == 1
    assert first[1] is None
    assert second[1].area_ha > 0


@pytest.mark.parametrize("max_tiles", [1, 32])
def test_nodata_within_a_large_object_is_cut_out(fake, tmp_path, max_tiles):
    bright = fake.blob(rows=slice(21, 122), cols=slice(33, 170))
    holes = [(slice(70, 71), slice(90, 92)), (slice(26, 27), slice(60, 61))]
    source = fake.scene(tmp_path / "large.tif", bright, nodata=holes)
    options = PromptOptions(answer=AnswerOptions(max_tiles=max_tiles))
    (found,) = ask(source, fake.prompter(), options, boxes=[(30, 18, 173, 125)])
    w = found.window
    for rows, cols in holes:
        assert not found.mask[rows.start - w.row, cols.start - w.col]
    assert found.mask[72 - w.row, 90 - w.col]


def test_memory_is_ready_before_the_first_line_is_read(fake, small, monkeypatch):
    """A network is asked about nothing while the person still thinks; alone it is not."""
    source, _ = small
    done = []
    monkeypatch.setattr(type(fake.prompter()), "warm_up", lambda _: done.append("warm"))

    def lines():
        done.append("read")
        yield json.dumps({"points": [[30, 25]], "pixels": True})

    with SceneEmbeddings.open(source, fake.prompter()) as embeddings:
        session = PromptSession(embeddings)
        assert done == []
        assert len(list(session.converse(lines()))) == 1
    assert done == ["warm", "read"]


def test_a_real_network_can_be_warmed_up():
    prompter = Prompter("tiny", "0", build_sam("tiny").eval())
    shapes = []
    prompter.sam.decoder.iou_prediction_head.register_forward_hook(
        lambda _module, _inputs, output: shapes.append(tuple(output.shape))
    )
    prompter.warm_up()
    assert shapes == [(2, 4), (2, 4)]
