"""Polygons on their way to GeoPackage and GeoParquet."""

import geopandas as gpd
import pyogrio
import pytest
from pyproj import CRS
from shapely import box

from headframe.core.errors import OutputError
from headframe.io import gpkg
from headframe.io.gpkg import LayerWriter
from headframe.io.polygons import PolygonBatch, PolygonWriter

UTM = CRS(32733)
DAY = "2020-01-02T00:00:00.000Z"


def batch(n: int, model: str | None = None) -> PolygonBatch:
    shapes = [box(i, 2 * i, i + 3, 2 * i + 1) for i in range(n)]
    return PolygonBatch(shapes, [1] * n, ["pit"] * n, [0.5] * n, [1.25] * n, [0.75] * n, model)


def writer(folder, **options) -> PolygonWriter:
    return PolygonWriter(folder / "p.gpkg", folder / "p.parquet", crs=UTM, date=DAY, **options)


@pytest.mark.parametrize("model", [None, "dams"])
def test_both_files_agree_and_stay_the_same(tmp_path, model):
    for name in ("one", "two"):
        with writer(tmp_path / name, with_model=model is not None) as out:
            out.write(batch(3, model))
            out.write(batch(2, model))
            assert not (tmp_path / name / "p.gpkg").exists()
        assert out.count == 5
    table = gpd.read_file(tmp_path / "one" / "p.gpkg")
    other = gpd.read_parquet(tmp_path / "one" / "p.parquet")
    assert list(table.columns) == list(other.columns)
    assert ("model" in table) == (model is not None)
    assert table.geometry.equals(other.geometry)
    assert table.geometry[1].bounds == (1, 2, 4, 3)
    assert (table.crs, table["class_id"].dtype) == (UTM, "int32")
    for file in ("p.gpkg", "p.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_no_polygon_is_a_file_too(tmp_path):
    with writer(tmp_path):
        pass
    assert len(gpd.read_file(tmp_path / "p.gpkg")) == 0
    assert len(gpd.read_parquet(tmp_path / "p.parquet")) == 0


def test_a_block_that_fails_leaves_nothing(tmp_path):
    def fail():
        with writer(tmp_path) as out:
            out.write(batch(1))
            raise KeyError("why")

    with pytest.raises(KeyError, match="why"):
        fail()
    assert list(tmp_path.iterdir()) == []
    assert pyogrio.get_gdal_config_option("OGR_CURRENT_DATE") is None


@pytest.mark.parametrize("kind", ["gpkg", "parquet"])
def test_a_polygon_too_few_is_an_error(tmp_path, monkeypatch, kind):
    if kind == "gpkg":
        monkeypatch.setattr(gpkg.pyogrio, "read_info", lambda *_, **__: {"features": 1})
    else:
        read = "headframe.io.polygons.parquet.read_metadata"
        monkeypatch.setattr(read, lambda _: type("Facts", (), {"num_rows": 1}))
    with pytest.raises(OutputError, match=rf"p\.{kind}: .*only 1 of 2 "), writer(tmp_path) as out:
        out.write(batch(2))
    assert list(tmp_path.iterdir()) == []


def test_a_driver_that_fails_is_one_line(tmp_path, monkeypatch):
    def full(*_, **__):
        raise RuntimeError("disk full\nand more")

    monkeypatch.setattr(gpkg.pyogrio, "write_dataframe", full)
    with pytest.raises(OutputError, match=r"p\.gpkg: cannot be written \(disk full\)\. Free"):
        writer(tmp_path).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_a_layer_has_the_columns_asked_for(tmp_path):
    path = tmp_path / "l.gpkg"
    with LayerWriter(path, layer="change", columns={"kind": "object", "ha": "f8"}, crs=UTM) as out:
        out.write([box(0, 0, 1, 2)], {"kind": ["new"], "ha": [2.5]})
    table = gpd.read_file(path, layer="change")
    assert table.drop(columns="geometry").to_dict("records") == [{"kind": "new", "ha": 2.5}]
