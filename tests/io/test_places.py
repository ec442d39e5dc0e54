import geopandas as gpd
import pytest
import shapely

from headframe.core.errors import CrsError, FormatError, GeometryError, MissingFileError, SiteError
from headframe.io.kml import parse_kml
from headframe.io.places import read_places


def csv(tmp_path, text, name="sites.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_points_of_a_csv_with_their_facts(tmp_path):
    text = "\ufeffSite;lon;lat;material;opened;code\nBoa Vista;-46,5;1;RR;2016;007\n"
    path = csv(tmp_path, text.replace(",", "."))
    (place,) = read_places(path)
    assert place.site == "Boa Vista"
    assert place.shape.equals(shapely.Point(-46.5, 1))
    assert place.facts == {"material": "RR", "opened": 2016, "code": "007"}


def test_a_table_without_places(tmp_path):
    path = csv(tmp_path, "name,type,share\na,OP,0.5\nb,,nan\n")
    one, other = read_places(path)
    assert one.shape is None
    assert one.facts == {"type": "OP", "share": 0.5}
    assert other.facts == {"type": None, "share": "nan"}


def test_shapes_of_one_site_are_united_and_the_first_facts_stay(tmp_path):
    frame = gpd.GeoDataFrame(
        {"mine": ["x", "y", "x"], "type": ["OP", "MT", "OC"], "n": [1, 2, 3]},
        geometry=[shapely.box(0, 0, 10, 20), shapely.Point(50, 60), shapely.box(100, 0, 120, 5)],
        crs="EPSG:32632",
    )
    path = tmp_path / "sites.gpkg"
    frame.to_file(path, driver="GPKG", engine="pyogrio")
    x, y = read_places(path, site_field="MINE")
    assert (x.site, y.site) == ("x", "y")
    assert x.facts == {"type": "OP", "n": 1}
    assert len(shapely.get_parts(x.shape)) == 2
    assert x.shape.bounds[0] == pytest.approx(4.5113, abs=1e-3)
    assert y.shape.geom_type == "Point"


def test_points_and_polygons_of_kml(tmp_path):
    text = (
        '<kml xmlns="http://www.opengis.net/kml/2.2"><Folder><name>Andes</name>'
        "<Placemark><name>a</name><Point><coordinates>-69.1,-20.9,0</coordinates></Point>"
        '<ExtendedData><Data name="material"><value>MO</value></Data></ExtendedData></Placemark>'
        "<Placemark><name>b</name><Polygon><outerBoundaryIs><LinearRing><coordinates>"
        "1,2 3,2 3,5 1,2</coordinates></LinearRing></outerBoundaryIs></Polygon></Placemark>"
        "</Folder></kml>"
    )
    places = {place.site: place for place in read_places(csv(tmp_path, text, "sites.kml"))}
    assert places["a"].shape.equals(shapely.Point(-69.1, -20.9))
    assert places["a"].facts == {"folder": "Andes", "material": "MO"}
    assert places["b"].shape.bounds == (1, 2, 3, 5)
    document = parse_kml(text.encode(), "sites.kml")
    assert [p.name for p in document.placemarks] == ["b"]
    assert "1 placemark(s) without a polygon" in document.report[0]


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("a,lon,lat\nx,1,2\n", FormatError, r"no column 'site' or 'name'; it has a"),
        ("site,lon,lat\nx,181,2\n", GeometryError, r"site 'x' lies at \(181, 2\)"),
        ("site,lon,lat\nx,here,2\n", GeometryError, r"\(here, 2\) is no longitude"),
        ("site,lon,lat\n ,1,2\n", SiteError, r"row 1 names no site"),
        ("site,lon,lat\nx,1,2,3\n", FormatError, r"more cells"),
        ("site,lon,lat\n", FormatError, r"holds no sites"),
        ('site,a\nx,"open\n', FormatError, r"is not CSV"),
    ],
)
def test_a_bad_table_is_told_in_one_line(tmp_path, text, error, match):
    with pytest.raises(error, match=match) as caught:
        read_places(csv(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_other_bad_files(tmp_path):
    with pytest.raises(MissingFileError, match="no such file of sites"):
        read_places(tmp_path / "none.csv")
    with pytest.raises(FormatError, match=r"read from \.geojson"):
        read_places(csv(tmp_path, "x", "sites.xlsx"))
    with pytest.raises(FormatError, match="content is not what"):
        read_places(csv(tmp_path, "x", "sites.gpkg"))
    with pytest.raises(FormatError, match="cannot be read"):
        read_places(csv(tmp_path, '{"type": "Nonsense"}', "sites.geojson"))
    path = tmp_path / "latin.csv"
    path.write_bytes("site\nS\u00e3o".encode("latin-1"))
    with pytest.raises(FormatError, match="as UTF-8"):
        read_places(path)


def test_several_layers_and_no_crs(tmp_path):
    frame = gpd.GeoDataFrame({"site": ["x"]}, geometry=[shapely.Point(1, 2)])
    bare = tmp_path / "bare.gpkg"
    frame.set_crs("EPSG:4326").to_file(bare, layer="one", engine="pyogrio")
    frame.set_crs("EPSG:4326").to_file(bare, layer="two", engine="pyogrio")
    with pytest.raises(FormatError, match=r"2 layers \(one, two\)"):
        read_places(bare)
    shape = tmp_path / "s.shp"
    frame.set_crs("EPSG:4326").to_file(shape, engine="pyogrio")
    shape.with_suffix(".prj").unlink()
    with pytest.raises(CrsError, match="no coordinate reference system"):
        read_places(shape)
