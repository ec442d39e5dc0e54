import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely
from pyogrio.errors import DataSourceError

from headframe.core.errors import CrsError, FormatError, MissingFileError, OutputError
from headframe.io.feature_table import free_column, read_features, write_features

SQUARE = [(10.0, 50.0), (10.2, 50.0), (10.2, 50.1), (10.0, 50.1), (10.0, 50.0)]


def frame(**columns):
    shapes = [
        shapely.box(500_000, 7_800_000, 500_400, 7_800_300),
        None,
        shapely.MultiPolygon([shapely.box(x, 7_790_000, x + 50, 7_790_080) for x in (1e5, 2e5)]),
    ]
    return gpd.GeoDataFrame(columns, geometry=shapes, crs="EPSG:32723")


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson"])
def test_rows_fields_order_and_crs_survive(tmp_path, suffix):
    first = frame(
        licence=["b", None, "a"],
        year=[2019, 2021, 2020],
        when=np.array(["2019-01-02T03:04:05", "NaT", "2020-01-01"], "datetime64[ms]"),
        fid=[7, 8, 9],
    )
    path = tmp_path / f"in{suffix}"
    first.to_file(path, engine="pyogrio", **({"FID": "key"} if suffix == ".gpkg" else {}))
    table = read_features(path)
    out = tmp_path / "new" / "out.gpkg"
    write_features(table, out, layer="refined")
    again = read_features(out)
    assert again.crs.equals(first.crs)
    assert list(again.columns) == list(table.columns) == [*first.columns]
    for name in ("licence", "year", "fid"):
        assert again[name].fillna("none").tolist() == first[name].fillna("none").tolist()
    assert again["when"].isna().tolist() == [False, True, False]
    assert again.geometry.isna().tolist() == [False, True, False]
    assert again.geometry[0].geom_type == "MultiPolygon"
    for old, new in zip(first.geometry, again.geometry, strict=True):
        assert old is new is None or old.equals(new)


def test_kml_gives_its_names_folders_and_fields(tmp_path):
    ring = " ".join(f"{x},{y},12" for x, y in SQUARE)
    polygon = (
        f"<Polygon><outerBoundaryIs><LinearRing><coordinates>{ring}</coordinates></LinearRing>"
        "</outerBoundaryIs></Polygon>"
    )

    def mark(name, **fields):
        data = "".join(
            f"<Data name='{key}'><value>{value}</value></Data>" for key, value in fields.items()
        )
        inner = f"<name>{name}</name><ExtendedData>{data}</ExtendedData>{polygon}"
        return f"<Placemark>{inner}</Placemark>"

    body = mark("one", Site="x", Name="inner") + "<Folder><name>old</name>" + mark("two", ha=3)
    path = tmp_path / "mines.kml"
    path.write_text(
        f"<kml xmlns='http://www.opengis.net/kml/2.2'><Document>{body}</Folder></Document></kml>"
    )
    table = read_features(path)
    assert list(table.columns) == ["name", "folder", "Site", "Name_", "ha", "geometry"]
    assert table["name"].tolist() == ["one", "two"]
    assert table["folder"].tolist() == [None, "old"]
    assert table["Site"].tolist() == ["x", None]
    assert table["ha"].tolist() == [None, "3"]
    assert table.crs.to_epsg() == 4326
    assert not table.geometry.has_z.any()
    assert table.geometry[0].bounds == (10.0, 50.0, 10.2, 50.1)
    write_features(table, tmp_path / "out.gpkg", layer="a")


def test_lists_become_text(tmp_path):
    path = tmp_path / "a.geojson"
    ring = [list(point) for point in SQUARE]
    path.write_text(
        '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"n":[1,2],'
        f'"o":"x"}},"geometry":{{"type":"Polygon","coordinates":[{ring}]}}}}]}}'
    )
    table = read_features(path)
    assert table["n"].tolist() == ["[1, 2]"]
    assert table["o"].tolist() == ["x"]


def test_a_new_column_never_hides_one_of_the_file():
    table = frame(Status=[1, 2, 3], headframe_score=[1, 2, 3])
    assert free_column(table, "status") == "headframe_status"
    assert free_column(table, "score") == "score"
    twice = table.assign(headframe_status=0)
    assert free_column(twice, "status") == "headframe_status_2"


def test_what_is_no_table_of_polygons_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match="no such file of polygons"):
        read_features(tmp_path / "gone.kml")
    text = tmp_path / "a.txt"
    text.write_text("x")
    with pytest.raises(FormatError, match=r"not from \.txt"):
        read_features(text)
    fake = tmp_path / "a.gpkg"
    fake.write_text("x" * 100)
    with pytest.raises(FormatError, match="content is not what"):
        read_features(fake)
    bare = tmp_path / "bare.gpkg"
    with pytest.warns(UserWarning, match="crs"):
        gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)]).to_file(bare, engine="pyogrio")
    with pytest.raises(CrsError, match="no coordinate reference system"):
        read_features(bare)
    empty = tmp_path / "empty.gpkg"
    frame(a=[1, 2, 3]).iloc[:0].to_file(empty, engine="pyogrio", geometry_type="Polygon")
    with pytest.raises(FormatError, match="holds no polygons"):
        read_features(empty)


def test_a_table_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise DataSourceError("disk or table is full\nmore")

    monkeypatch.setattr(pyogrio, "write_dataframe", full)
    with pytest.raises(
        OutputError, match=r"out\.gpkg: cannot be written \(disk or table is full\)"
    ):
        write_features(frame(a=[1, 2, 3]), tmp_path / "out.gpkg", layer="x")
    assert not list(tmp_path.iterdir())


def test_a_table_that_is_short_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(pyogrio, "read_info", lambda *_, **__: {"features": 2})
    with pytest.raises(OutputError, match="only 2 of 3 rows"):
        write_features(frame(a=[1, 2, 3]), tmp_path / "out.gpkg", layer="x")
    assert not list(tmp_path.iterdir())
