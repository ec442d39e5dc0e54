import geopandas as gpd
import pytest
from shapely.geometry import LineString, MultiPolygon, Point, Polygon, box

from headframe.core.errors import CrsError, FormatError, GeometryError, MissingFileError
from headframe.io.vector import read_polygons

A, B = box(10, 50, 10.2, 50.1), box(11, 51, 11.1, 51.3)


def layer(shapes, crs="EPSG:4326", **columns):
    return gpd.GeoDataFrame(columns, geometry=shapes, crs=crs)


def save_kml(path, marks, fields=""):
    body = "".join(
        f"<Placemark><name>{name}</name>{fields}<Polygon><outerBoundaryIs><LinearRing>"
        f"<coordinates>{ring}</coordinates></LinearRing></outerBoundaryIs></Polygon></Placemark>"
        for name, ring in marks
    )
    path.write_text(f"<kml><Document><Folder><name>Fold</name>{body}</Folder></Document></kml>")
    return path


@pytest.mark.parametrize("suffix", ["geojson", "gpkg", "shp", "json"])
def test_formats(tmp_path, suffix):
    path = tmp_path / f"p.{suffix}"
    driver = {"gpkg": "GPKG", "shp": None}.get(suffix, "GeoJSON")
    layer([A, B], site=["a", "b"], name=["n", None]).to_file(path, driver=driver)
    found = read_polygons(path)
    assert found.frame.crs.to_epsg() == 4326
    assert list(found.frame["site"]) == ["a", "b"]
    assert list(found.frame["name"]) == ["n", ""]
    assert found.sites == ("a", "b")
    assert found.report == found.empty_sites == ()
    assert found.frame.geometry[1].equals(B)


def test_projected_layers_are_densified(tmp_path):
    square = Polygon([(500_000, 8_000_000), (600_000, 8_000_000), (600_000, 8_050_000)])
    layer([square], crs="EPSG:32733", site=["a"]).to_file(tmp_path / "p.gpkg")
    shape = read_polygons(tmp_path / "p.gpkg").frame.geometry[0]
    assert len(shape.exterior.coords) > 1000
    assert 14.9 < shape.bounds[0] < 15.1


def test_repairs_are_reported(tmp_path):
    bow = Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    apart = MultiPolygon([box(4, 0, 6, 2), box(5, 1, 7, 3)])  # parts overlap: they are united
    flat = Polygon([(0.1, 0.1), (0.2, 0.2), (0.3, 0.3), (0.1, 0.1)])
    frame = layer(
        [bow, apart, A, A, flat, Point(1, 1), LineString([(0, 0), (1, 1)])],
        site=["s", "s", "t", "t", "u", "v", "w"],
        name=["bow", "apart", "one", "two", "flat", "", ""],
    )
    frame.to_file(tmp_path / "p.geojson", driver="GeoJSON")
    found = read_polygons(tmp_path / "p.geojson")
    assert [s.is_valid for s in found.frame.geometry] == [True] * 3
    assert found.frame.geometry[0].area == pytest.approx(2)
    assert found.frame.geometry[1].area == pytest.approx(7)
    assert found.empty_sites == ("u",)
    text = " ".join(found.report)
    assert "2 feature(s) that are no polygon left out" in text
    assert "2 self-crossing polygon(s) repaired: bow of site s, apart of site s." in text
    assert "1 duplicate polygon(s) dropped: two of site t." in text
    assert "1 zero-area polygon(s) dropped: flat of site u." in text


def test_nothing_with_an_area(tmp_path):
    path = save_kml(tmp_path / "p.kml", [("x", "1,1 2,2 3,3 1,1"), ("y", "1,1"), ("z", "")])
    with pytest.raises(GeometryError, match="no polygon has an area; zero-area: x of site x"):
        read_polygons(path)
    (tmp_path / "e.kml").write_text("<kml/>")
    with pytest.raises(FormatError, match="holds no polygons"):
        read_polygons(tmp_path / "e.kml")


def test_kml_sites(tmp_path):
    ring = "1,1 2,1 2,2"
    fields = "<ExtendedData><Data name='Mine'><value>m7</value></Data></ExtendedData>"
    path = save_kml(tmp_path / "p.kml", [("x", ring), ("", "5,5 6,5 6,7")], fields)
    assert read_polygons(path).sites == ("x", "Fold")
    assert read_polygons(path, site_field="folder").sites == ("Fold",)
    assert read_polygons(path, site_field="mine").sites == ("m7",)
    assert read_polygons(path, site_field="name").sites == ("x", "")
    frame = read_polygons(path, stratum_field="MINE").frame
    assert list(frame["stratum"]) == ["m7", "m7"]
    with pytest.raises(FormatError, match="has no field 'owner'; it has Mine"):
        read_polygons(path, site_field="owner")


def test_fields_of_tables(tmp_path):
    path = tmp_path / "p.gpkg"
    layer([A, B], Name=["a", "b"], land=["x", "y"]).to_file(path)
    assert read_polygons(path).sites == ("a", "b")
    found = read_polygons(path, site_field="LAND", stratum_field="name")
    assert found.sites == ("x", "y")
    assert list(found.frame["stratum"]) == ["a", "b"]
    with pytest.raises(FormatError, match="has no field 'mine'; it has name, land"):
        read_polygons(path, site_field="mine")


def test_layers(tmp_path):
    path = tmp_path / "p.gpkg"
    layer([A], site=["a"]).to_file(path, layer="one")
    layer([B], site=["b"]).to_file(path, layer="two")
    with pytest.raises(FormatError, match=r"2 layers of polygons \(one, two\).*--layer"):
        read_polygons(path)
    assert read_polygons(path, layer="two").sites == ("b",)
    with pytest.raises(FormatError, match="cannot be read"):
        read_polygons(path, layer="three")


def test_no_crs(tmp_path):
    layer([A], site=["a"]).to_file(tmp_path / "p.shp")
    (tmp_path / "p.prj").unlink()
    with pytest.raises(CrsError, match=r"no coordinate reference system .*\.prj"):
        read_polygons(tmp_path / "p.shp")


def test_wrong_files(tmp_path):
    with pytest.raises(MissingFileError, match="no such file of polygons"):
        read_polygons(tmp_path / "none.kml")
    for name, text, message in (
        ("a.txt", "x", "not from .txt"),
        ("a", "x", "a file without suffix"),
        ("a.gpkg", "x", "its content is not what .gpkg stands for"),
        ("a.geojson", "<OGRVRTDataSource/>", "its content is not what .geojson"),
        ("b.geojson", '{"type": "FeatureColl', "cannot be read"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(FormatError, match=message):
            read_polygons(tmp_path / name)


def test_many_names_are_counted(tmp_path):
    frame = layer([A] * 9, site=["s"] * 9, name=[str(i) for i in range(9)])
    frame.to_file(tmp_path / "p.gpkg")
    (line,) = read_polygons(tmp_path / "p.gpkg").report
    assert line.endswith("5 of site s and 3 more.")
