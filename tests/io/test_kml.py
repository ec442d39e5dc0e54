import io
import zipfile

import pytest

from headframe.core.errors import FormatError, GeometryError, MissingFileError, UnsafeFileError
from headframe.io import kml
from headframe.io.kml import parse_kml, read_kml

RING = "<LinearRing><coordinates>-56.1,-16.2,0 -56,-16.2 -56,-16</coordinates></LinearRing>"
POLYGON = f"<Polygon><outerBoundaryIs>{RING}</outerBoundaryIs></Polygon>"
HEAD = '<kml xmlns="http://www.opengis.net/kml/2.2"><Document>'


def document(body):
    return f"{HEAD}{body}</Document></kml>".encode()


def archive(path, entries, **options):
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return path


def test_fields_folders_and_geometry():
    hole = (
        "<innerBoundaryIs><LinearRing><coordinates>-56.05,-16.15 -56.04,-16.15 -56.04,-16.1 "
        "-56.05,-16.15</coordinates></LinearRing></innerBoundaryIs>"
    )
    with_hole = POLYGON.replace("</Polygon>", hole + "</Polygon>")
    nested = f"<MultiGeometry>{with_hole}<MultiGeometry>{POLYGON}</MultiGeometry></MultiGeometry>"
    body = (
        "<Folder><name>North</name><Folder><name>Pits</name><Placemark><name> a </name>"
        "<ExtendedData><Data name='Owner'><value>x</value></Data><SchemaData schemaUrl='#s'>"
        "<SimpleData name='site'>brazil_000</SimpleData></SchemaData></ExtendedData>"
        f"{nested}</Placemark></Folder></Folder>"
        "<Placemark><name>dot</name><Point><coordinates>1,2</coordinates></Point></Placemark>"
        "<NetworkLink><Link><href>http://example.invalid/x.kml</href></Link></NetworkLink>"
    )
    found = parse_kml(document(body), "x.kml")
    (mark,) = found.placemarks
    assert (mark.name, mark.folders) == ("a", ("North", "Pits"))
    assert mark.fields == {"Owner": "x", "site": "brazil_000"}
    first, second = mark.polygons
    assert first.outer[0] == first.outer[-1] == (-56.1, -16.2)  # closed for the writer
    assert len(first.inner) == 1
    assert second.inner == ()
    assert found.report == (
        "x.kml: 1 placemark(s) without a polygon left out.",
        "x.kml: 1 network link(s) not followed.",
    )


@pytest.mark.parametrize(
    "dtd",
    [
        '<!DOCTYPE k [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE k [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>',
        '<!DOCTYPE k SYSTEM "http://example.invalid/x.dtd">',
    ],
)
def test_dtd_and_entities_are_refused(dtd):
    with pytest.raises(UnsafeFileError, match="DTD or entities"):
        parse_kml(dtd.encode() + document(""), "x.kml")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"hello", "not a readable KML document"),
        (b"<html/>", "the document element is <html>"),
        (document("<Placemark><Polygon/></Placemark>"), "0 outer boundaries"),
        (document(f"<Placemark>{POLYGON}</Placemark>".replace("-56.1,", "x,")), "'x,-16.2,0'"),
        (b'<?xml version="1.0" encoding="klingon"?><kml/>', "not a readable KML document"),
    ],
)
def test_broken_documents(data, message):
    with pytest.raises(FormatError, match=message):
        parse_kml(data, "x.kml")


@pytest.mark.parametrize("bad", ["-16.2e9", "nan", "inf", "-95"])
def test_coordinates_that_are_no_degrees(bad):
    body = f"<Placemark>{POLYGON}</Placemark>".replace("-16.2,0", f"{bad},0")
    with pytest.raises(GeometryError, match="no longitude and latitude"):
        parse_kml(document(body), "x.kml")


def test_limits(monkeypatch):
    deep = "<Folder>" * 70 + "</Folder>" * 70
    with pytest.raises(UnsafeFileError, match="folders are nested"):
        parse_kml(document(deep), "x.kml")
    deep = "<MultiGeometry>" * 70 + "</MultiGeometry>" * 70
    with pytest.raises(UnsafeFileError, match="geometries are nested"):
        parse_kml(document(f"<Placemark>{deep}</Placemark>"), "x.kml")
    monkeypatch.setattr(kml, "MAX_KML_TAGS", 3)
    with pytest.raises(UnsafeFileError, match="over 3 tags"):
        parse_kml(document(""), "x.kml")
    monkeypatch.setattr(kml, "MAX_KML_BYTES", 3)
    with pytest.raises(UnsafeFileError, match="document is over"):
        parse_kml(document(""), "x.kml")


def test_kmz_prefers_doc_kml(tmp_path):
    good = document(f"<Placemark><name>good</name>{POLYGON}</Placemark>")
    path = archive(tmp_path / "a.kmz", {"a.kml": document(""), "doc.kml": good, "i.png": b"x"})
    assert read_kml(path).placemarks[0].name == "good"
    path = archive(tmp_path / "b.kml", {"deep/b.kml": document(""), "b.KML": good})
    assert read_kml(path).placemarks[0].name == "good"  # told apart by content


def test_kmz_bomb(tmp_path):
    bomb = archive(
        tmp_path / "b.kmz", {"doc.kml": b" " * 5_000_000}, compression=zipfile.ZIP_DEFLATED
    )
    with pytest.raises(UnsafeFileError, match="archive bomb"):
        read_kml(bomb)


def test_kmz_limits(tmp_path, monkeypatch):
    path = archive(tmp_path / "b.kmz", {"doc.kml": document(""), "x": b"y" * 9000})
    monkeypatch.setattr(kml, "MAX_KMZ_BYTES", 5000)
    with pytest.raises(UnsafeFileError, match="unpacks to"):
        read_kml(path)
    monkeypatch.setattr(kml, "MAX_KMZ_ENTRIES", 1)
    with pytest.raises(UnsafeFileError, match="2 entries"):
        read_kml(path)
    monkeypatch.setattr(kml, "MAX_KML_BYTES", 100)
    with pytest.raises(UnsafeFileError, match="larger than"):
        read_kml(path)


@pytest.mark.parametrize("name", ["../../etc/doc.kml", "/doc.kml", "C:\\doc.kml", "a\\..\\b.kml"])
def test_kmz_paths_may_not_leave(tmp_path, name):
    path = archive(tmp_path / "b.kmz", {name: document("")})
    with pytest.raises(UnsafeFileError, match="leaves the archive"):
        read_kml(path)


def test_broken_archives(tmp_path):
    with pytest.raises(FormatError, match=r"holds no \.kml"):
        read_kml(archive(tmp_path / "a.kmz", {"x.txt": b"x"}))
    data = io.BytesIO()
    archive(data, {"doc.kml": document(POLYGON * 50)}, compression=zipfile.ZIP_DEFLATED)
    raw = bytearray(data.getvalue())
    raw[60:80] = b"\xff" * 20
    (tmp_path / "b.kmz").write_bytes(raw)
    with pytest.raises(FormatError, match="not a readable KMZ"):
        read_kml(tmp_path / "b.kmz")
    (tmp_path / "c.kmz").write_bytes(bytes(raw[:100]))
    with pytest.raises(FormatError, match="not a readable KMZ"):
        read_kml(tmp_path / "c.kmz")
    with pytest.raises(FormatError, match="packed in an unusual way"):
        read_kml(archive(tmp_path / "d.kmz", {"doc.kml": b"x"}, compression=zipfile.ZIP_BZIP2))
    raw = bytearray(archive(tmp_path / "e.kmz", {"doc.kml": b"x"}).read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "e.kmz").write_bytes(raw)
    with pytest.raises(FormatError, match="encrypted"):
        read_kml(tmp_path / "e.kmz")
    with pytest.raises(MissingFileError, match="cannot be read"):
        read_kml(tmp_path / "none.kml")


@pytest.mark.realdata
def test_site_of_real_placemarks(shared_data):
    found = read_kml(shared_data / "tailings-brazil" / "tailings.kml")
    sites = {p.fields["site"] for p in found.placemarks}
    assert len(found.placemarks) == 91
    assert len(sites) == 40
