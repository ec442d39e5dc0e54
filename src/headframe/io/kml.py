"""Polygons from KML and KMZ, which come from strangers.

Nothing outside the file is ever opened: documents with a DTD (and so with entities) are refused,
``NetworkLink`` is reported and not followed, KMZ archives are read in memory within fixed limits
and never unpacked.
"""

import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from headframe.core.errors import (
    FormatError,
    GeometryError,
    InputError,
    MissingFileError,
    UnsafeFileError,
)

MAX_KML_BYTES = 256 * 2**20
"""Largest KML document read, as it stands or unpacked from a KMZ."""
MAX_KML_TAGS = 8_000_000
"""Most tags, opening and closing, in a document: a tree of them takes some 100 bytes each."""
MAX_KMZ_ENTRIES = 10_000
MAX_KMZ_BYTES = 1024 * 2**20
"""Largest sum of unpacked sizes of a KMZ."""
MAX_KMZ_RATIO = 200
"""Largest ratio of unpacked to packed size; coordinates as text pack about 4 to 20 times."""
MAX_DEPTH = 64
"""Deepest nesting of folders and of geometries."""

Ring = tuple[tuple[float, float], ...]
"""Closed ring of (longitude, latitude), degrees, EPSG:4326."""


@dataclass(frozen=True)
class KmlPolygon:
    """One ``Polygon`` element, as it stands: neither checked nor repaired.

    Attributes:
        outer: outer boundary.
        inner: inner boundaries (holes).
    """

    outer: Ring
    inner: tuple[Ring, ...]


@dataclass(frozen=True)
class Placemark:
    """One placemark with at least one polygon or point.

    Attributes:
        name: its ``name``, empty where it has none.
        folders: names of the folders around it, outermost first.
        fields: ``SimpleData`` and ``Data`` of its ``ExtendedData``.
        polygons: its polygons in document order, those of nested ``MultiGeometry`` included.
        points: its points likewise, (longitude, latitude).
    """

    name: str
    folders: tuple[str, ...]
    fields: dict[str, str]
    polygons: tuple[KmlPolygon, ...]
    points: Ring = ()


@dataclass(frozen=True)
class KmlDocument:
    """What was read.

    Attributes:
        placemarks: those with a polygon.
        report: what was left out on purpose, one line each.
        places: those with a point and no polygon.
    """

    placemarks: tuple[Placemark, ...]
    report: tuple[str, ...]
    places: tuple[Placemark, ...] = ()


def read_kml(path: Path) -> KmlDocument:
    """Read the polygons of a KML or KMZ file (told apart by content, not by name).

    Args:
        path: the file.

    Returns:
        Its placemarks with polygons, in document order.

    Raises:
        MissingFileError: no such file.
        FormatError: not KML, or broken.
        GeometryError: coordinates that are no longitude and latitude.
        UnsafeFileError: a DTD or entities, an archive bomb, a path that leaves the archive.
    """
    source = str(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            data = file.read(MAX_KML_BYTES + 1)
    except OSError as exc:
        raise MissingFileError(f"{source}: cannot be read ({exc.strerror or exc}).") from exc
    if data[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        if size > MAX_KML_BYTES:
            raise UnsafeFileError(f"{source}: larger than {MAX_KML_BYTES >> 20} MiB.")
        data = _unpack(data, source)
    return parse_kml(data, source)


def parse_kml(data: bytes, source: str) -> KmlDocument:
    """Parse a KML document held in memory; see ``read_kml``.

    Args:
        data: the document in any encoding that expat knows.
        source: name for messages.
    """
    root = _parse(data, source)
    placemarks: list[Placemark] = []
    places: list[Placemark] = []
    without, links = 0, 0
    for element, folders in _walk(root, source):
        if _tag(element) == "NetworkLink":
            links += 1
            continue
        placemark = _placemark(element, folders, source)
        if placemark.polygons:
            placemarks.append(placemark)
        else:
            without += 1
            places += [placemark] if placemark.points else []
    report = []
    if without:
        report.append(f"{source}: {without} placemark(s) without a polygon left out.")
    if links:
        report.append(f"{source}: {links} network link(s) not followed.")
    return KmlDocument(tuple(placemarks), tuple(report), tuple(places))


def _parse(data: bytes, source: str) -> Element:
    if len(data) > MAX_KML_BYTES:
        raise UnsafeFileError(f"{source}: the KML document is over {MAX_KML_BYTES >> 20} MiB.")
    if data.count(b"<") > MAX_KML_TAGS:
        raise UnsafeFileError(f"{source}: the KML document has over {MAX_KML_TAGS:,} tags.")
    try:
        root: Element = fromstring(data, forbid_dtd=True)
    except DefusedXmlException as exc:
        raise UnsafeFileError(
            f"{source}: has a DTD or entities ({type(exc).__name__}), which KML never needs. "
            "Remove the DOCTYPE if you trust the file."
        ) from exc
    except (ParseError, ValueError, LookupError) as exc:
        raise FormatError(f"{source}: not a readable KML document ({exc}).") from exc
    if _tag(root) not in ("kml", "Document", "Folder", "Placemark"):
        raise FormatError(f"{source}: not KML, the document element is <{_tag(root)}>.")
    return root


def _walk(root: Element, source: str) -> Iterator[tuple[Element, tuple[str, ...]]]:
    """Placemarks and network links in document order, with the folders around them."""
    stack: list[tuple[Element, tuple[str, ...], int]] = [(root, (), 0)]
    while stack:
        element, folders, depth = stack.pop()
        tag = _tag(element)
        if tag in ("Placemark", "NetworkLink"):
            yield element, folders
            continue
        if depth > MAX_DEPTH:
            raise UnsafeFileError(f"{source}: folders are nested over {MAX_DEPTH} deep.")
        inside = (*folders, _text(element, "name")) if tag == "Folder" else folders
        for child in reversed(element):
            if _tag(child) in ("kml", "Document", "Folder", "Placemark", "NetworkLink"):
                stack.append((child, inside, depth + 1))


def _placemark(element: Element, folders: tuple[str, ...], source: str) -> Placemark:
    name = _text(element, "name")
    where = f"{source}: placemark {name!r}"
    polygons = tuple(_polygon(e, where) for e in _shapes(element, "Polygon", where))
    points = tuple(
        point
        for e in _shapes(element, "Point", where)
        for point in _ring(_text(e, "coordinates"), where)
    )
    inside = tuple(f for f in folders if f)
    return Placemark(name, inside, _fields(element), polygons, points)


def _shapes(placemark: Element, kind: str, where: str) -> Iterator[Element]:
    stack = [(child, 0) for child in reversed(placemark)]
    while stack:
        element, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise UnsafeFileError(f"{where}: geometries are nested over {MAX_DEPTH} deep.")
        if _tag(element) == kind:
            yield element
        elif _tag(element) == "MultiGeometry":
            stack.extend((child, depth + 1) for child in reversed(element))


def _polygon(element: Element, where: str) -> KmlPolygon:
    outer: list[Ring] = []
    inner: list[Ring] = []
    for boundary in element:
        rings = {"outerBoundaryIs": outer, "innerBoundaryIs": inner}.get(_tag(boundary))
        if rings is None:
            continue
        for ring in boundary:  # some writers put several holes into one innerBoundaryIs
            if _tag(ring) == "LinearRing":
                rings.append(_ring(_text(ring, "coordinates"), where))
    if len(outer) != 1:
        raise FormatError(f"{where}: a polygon has {len(outer)} outer boundaries instead of 1.")
    return KmlPolygon(outer[0], tuple(inner))


def _ring(text: str, where: str) -> Ring:
    points = []
    for token in text.split():
        parts = token.split(",")
        try:
            lon, lat = float(parts[0]), float(parts[1])
        except (ValueError, IndexError):
            raise FormatError(
                f"{where}: coordinates {token[:40]!r} are not 'longitude,latitude[,height]'."
            ) from None
        if not (abs(lon) <= 360.0 and abs(lat) <= 90.0):  # also catches NaN
            raise GeometryError(
                f"{where}: ({lon:g}, {lat:g}) is no longitude and latitude in degrees; "
                "KML is always EPSG:4326, longitude first."
            )
        points.append((lon, lat))
    if points and points[0] != points[-1]:
        points.append(points[0])
    return tuple(points)


def _fields(placemark: Element) -> dict[str, str]:
    fields: dict[str, str] = {}
    for extended in placemark:
        if _tag(extended) != "ExtendedData":
            continue
        for child in extended:
            if _tag(child) == "Data":
                fields.setdefault(child.get("name", ""), _text(child, "value"))
            elif _tag(child) == "SchemaData":
                for simple in child:
                    if _tag(simple) == "SimpleData":
                        fields.setdefault(simple.get("name", ""), (simple.text or "").strip())
    fields.pop("", None)
    return fields


def _unpack(data: bytes, source: str) -> bytes:
    """Read the main document of a KMZ: ``doc.kml``, else the first KML, the shallowest first."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check_archive(entries, source)
            documents = [e for e in entries if e.filename.lower().endswith(".kml")]
            if not documents:
                raise FormatError(f"{source}: the KMZ archive holds no .kml document.")
            entry = min(documents, key=lambda e: (e.filename != "doc.kml", e.filename.count("/")))
            if entry.flag_bits & 1:
                raise FormatError(f"{source}: {entry.filename} is encrypted.")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise FormatError(f"{source}: {entry.filename} is packed in an unusual way.")
            with archive.open(entry) as file:
                return file.read(MAX_KML_BYTES + 1)
    except InputError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError) as exc:
        raise FormatError(f"{source}: not a readable KMZ archive ({exc}).") from exc


def _check_archive(entries: list[zipfile.ZipInfo], source: str) -> None:
    if len(entries) > MAX_KMZ_ENTRIES:
        raise UnsafeFileError(
            f"{source}: the archive has {len(entries)} entries, over {MAX_KMZ_ENTRIES}."
        )
    for entry in entries:
        name = entry.filename.replace("\\", "/")
        if name.startswith("/") or ":" in name or ".." in PurePosixPath(name).parts:
            raise UnsafeFileError(f"{source}: entry {entry.filename!r} leaves the archive.")
        if entry.file_size > MAX_KMZ_RATIO * max(entry.compress_size, 1024):
            raise UnsafeFileError(
                f"{source}: {entry.filename} unpacks {entry.compress_size} bytes to "
                f"{entry.file_size}, over {MAX_KMZ_RATIO} times: an archive bomb?"
            )
    total = sum(entry.file_size for entry in entries)
    if total > MAX_KMZ_BYTES:
        raise UnsafeFileError(
            f"{source}: unpacks to {total >> 20} MiB, over {MAX_KMZ_BYTES >> 20} MiB."
        )


def _tag(element: Element) -> str:
    """Local name: KML 2.0, 2.1, 2.2 and files without a namespace are read alike."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _text(element: Element, tag: str) -> str:
    for child in element:
        if _tag(child) == tag:
            return (child.text or "").strip()
    return ""
