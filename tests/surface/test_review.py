from dataclasses import replace

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely
from shapely import MultiPolygon, Polygon, box

from headframe.core.errors import (
    CrsError,
    DatasetError,
    FormatError,
    MissingFileError,
    OutputError,
)
from headframe.io.vector import read_polygons
from headframe.surface.review import (
    Proposal,
    area_ha,
    check_place,
    manual_records,
    outline_sha,
    read_review,
    write_review,
)

RING = [(-63.5, -9.2), (-63.49, -9.2), (-63.488, -9.21), (-63.5, -9.213)]
HOLE = [(-63.497, -9.203), (-63.495, -9.203), (-63.496, -9.206)]
PIT = Polygon(RING, [HOLE])


def proposal(number, *, east=0.0, **changes):
    shape = shapely.transform(PIT, lambda xy: xy + np.array([east, 0.0]))
    facts = Proposal(
        f"s-{number}", shape, "rio", "tailings", 0.91, 0.8, None, "seg", "litemedsam", "s.tif"
    )
    return replace(facts, **changes)


@pytest.fixture
def review(tmp_path):
    """Six proposals in a row, as QGIS would open them, and a way to save what a person did."""
    path = tmp_path / "review.gpkg"
    write_review(path, [proposal(i, east=0.1 * i) for i in range(6)], classes=["tailings"])

    def save(change=lambda frame: frame, **options):
        frame = change(gpd.read_file(path, engine="pyogrio"))
        pyogrio.write_dataframe(frame, path, layer="review", **options)
        return path

    return save


def judged(frame):
    """One of each: accepted, moved, moved unsaid, rejected, class changed, set to edited."""
    frame["review"] = ["accept", "accept", "todo", "Reject", "accept", " edited "]
    shapes = list(frame.geometry)
    for row in (1, 2):
        shapes[row] = shapely.transform(shapes[row], lambda xy: xy + np.array([1e-6, 0.0]))
    frame.loc[4, "class"] = "dam"
    frame = frame.set_geometry(gpd.GeoSeries(shapes, crs=frame.crs))
    drawn = {
        "review": None,
        "model": None,
        "class": "dam",
        "geometry": MultiPolygon([box(1, 2, 1.01, 2.01)]),
    }
    return gpd.GeoDataFrame(
        [*frame.to_dict("records"), {**dict.fromkeys(frame.columns), **drawn}], crs=frame.crs
    )


def test_the_file_is_what_a_person_needs(review, tmp_path):
    path = review()
    frame = gpd.read_file(path)
    assert (len(frame), frame.crs.to_epsg()) == (6, 4326)
    assert set(frame["review"]) == {"todo"}
    assert list(frame["id"]) == [f"s-{i}" for i in range(6)]
    assert frame["area_ha"].tolist() == pytest.approx([area_ha(PIT)] * 6, abs=1e-3)
    assert frame["stability"].isna().all()
    assert frame["agreement"].tolist() == [0.8] * 6
    style = (tmp_path / "review.qml").read_text(encoding="utf-8")
    assert 'attr="review"' in style
    assert "'tailings'" in style  # the only class is what a new polygon gets


def test_what_somebody_judged_is_not_written_over(review, tmp_path):
    check_place(tmp_path / "new.gpkg")
    check_place(review())  # as it was proposed: nothing is lost
    (tmp_path / "other.gpkg").write_bytes(b"no GeoPackage")
    check_place(tmp_path / "other.gpkg")

    def moved(frame):
        shapes = [*frame.geometry[:-1], shapely.box(1, 2, 1.1, 2.1)]
        return frame.set_geometry(gpd.GeoSeries(shapes, crs=frame.crs))

    with pytest.raises(OutputError, match=r"review\.gpkg: 1 of its 6 polygons are judged, moved"):
        check_place(review(moved))
    with pytest.raises(OutputError, match=r"7 of its 7 polygons are judged"):
        check_place(review(judged))
    with pytest.raises(FormatError, match=r"Name it \*\.gpkg"):
        check_place(tmp_path / "new.shp")


def test_area_is_that_of_the_ground():
    square = box(-63.5, 0.0, -63.4, 0.1)  # at the equator: 11.132 km by 11.057 km
    assert area_ha(square) == pytest.approx(12309, rel=1e-3)


def test_where_each_polygon_comes_from(review):
    found = read_review(review(judged))
    assert found.states == {"accept": 1, "edited": 4, "reject": 1, "drawn": 1}
    came = {r.id: (r.provenance, r.kind) for r in found.records}
    assert came == {
        "s-0": ("automatic", "tailings"),
        "s-1": ("assisted", "tailings"),
        "s-2": ("assisted", "tailings"),  # moved, whatever the column says
        "s-4": ("assisted", "dam"),
        "s-5": ("assisted", "tailings"),
        "": ("manual", "dam"),
    }
    assert len(found.layer.frame) == 6
    first = found.records[0]
    assert (first.score, first.model, first.sam, first.source) == (
        0.91, "seg", "litemedsam", "review.gpkg",
    )  # fmt: skip
    assert PIT.contains(shapely.Point(first.longitude, first.latitude))
    assert found.records[-1].score is None


def test_what_is_still_to_do_is_not_passed_over(review):
    def half(frame):
        frame["review"] = ["accept", "todo", None, "accept", "reject", "reject"]
        return frame

    path = review(half)
    with pytest.raises(DatasetError, match=r"2 of 6 polygons are still todo.*--skip-todo"):
        read_review(path)
    found = read_review(path, skip_todo=True)
    assert (len(found.records), found.states["todo"]) == (2, 2)


def test_nothing_accepted_is_told(review):
    path = review(lambda frame: frame.assign(review="reject"))
    with pytest.raises(DatasetError, match="none of 6 polygons is accepted, edited or drawn anew"):
        read_review(path)


def test_a_word_that_is_none_of_the_four(review):
    path = review(lambda frame: frame.assign(review=["ok", *["accept"] * 5]))
    with pytest.raises(
        FormatError, match="polygon s-0 has review 'ok'; it must be one of todo, acc"
    ):
        read_review(path)


def test_other_files_are_refused(tmp_path, review):
    with pytest.raises(MissingFileError, match=r"no\.gpkg: no such review file"):
        read_review(tmp_path / "no.gpkg")
    (tmp_path / "a.kml").write_text("<kml/>")
    with pytest.raises(FormatError, match=r"review files are read as \.gpkg"):
        read_review(tmp_path / "a.kml")
    other = tmp_path / "other.gpkg"
    gpd.GeoDataFrame({"name": ["x"]}, geometry=[PIT], crs=4326).to_file(other)
    with pytest.raises(FormatError, match=r"has no column review.*label --assist"):
        read_review(other)
    bare = tmp_path / "bare.gpkg"
    frame = gpd.read_file(review()).set_crs(None, allow_override=True)
    with pytest.warns(UserWarning, match="crs"):
        pyogrio.write_dataframe(frame, bare)
    with pytest.raises(CrsError, match="no coordinate reference system"):
        read_review(bare)
    with pytest.raises(FormatError, match=r"Name it \*.gpkg"):
        write_review(tmp_path / "a.geojson", [], classes=[])


def test_saved_in_another_system_it_is_read_with_a_warning(review, tmp_path, caplog):
    frame = gpd.read_file(review(lambda f: f.assign(review="accept"))).to_crs(32720)
    pyogrio.write_dataframe(frame, tmp_path / "utm.gpkg")
    found = read_review(tmp_path / "utm.gpkg")
    assert "outlines that nobody moved look moved" in caplog.text
    assert {r.provenance for r in found.records} == {"assisted"}
    assert found.layer.frame.geometry.iloc[0].equals_exact(PIT, 1e-6) or area_ha(
        found.layer.frame.geometry.iloc[0]
    ) == pytest.approx(area_ha(PIT), rel=1e-6)


def test_an_empty_file_of_proposals_can_still_be_drawn_in(tmp_path):
    path = tmp_path / "none.gpkg"
    write_review(path, [], classes=["pit", "dam"])
    info = pyogrio.read_info(path)
    assert (info["features"], info["geometry_type"]) == (0, "MultiPolygon")
    assert "review" in info["fields"]


def test_the_condensed_outline_tells_moves_and_nothing_else():
    sha = outline_sha(PIT)
    turned = Polygon([*RING[2:], *RING[:2]][::-1], [HOLE[::-1]])
    assert outline_sha(turned) == sha
    assert outline_sha(MultiPolygon([PIT])) == sha
    assert outline_sha(shapely.force_3d(PIT)) == sha
    far = box(0, 0, 1, 1)
    assert outline_sha(MultiPolygon([PIT, far])) == outline_sha(MultiPolygon([far, PIT]))
    assert outline_sha(Polygon(RING)) != sha
    nudged = [(RING[0][0] + 2e-9, RING[0][1]), *RING[1:]]
    assert outline_sha(Polygon(nudged, [HOLE])) != sha


def test_drawn_outlines_are_manual(tmp_path):
    path = tmp_path / "mines.gpkg"
    gpd.GeoDataFrame({"site": ["a"], "name": ["p"]}, geometry=[PIT], crs=4326).to_file(path)
    (record,) = manual_records(read_polygons(path), path)
    assert (record.provenance, record.site, record.id, record.kind) == ("manual", "a", "p", "")
    assert record.area_ha == pytest.approx(area_ha(PIT), abs=1e-3)
