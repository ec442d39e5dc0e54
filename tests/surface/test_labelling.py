import csv
import json
import shutil

import numpy as np
import pytest
import rasterio
from matplotlib.path import Path as Outline
from PIL import Image
from pyproj import Transformer
from rasterio.transform import Affine

from headframe.core.errors import (
    BandError,
    CrsError,
    DatasetError,
    FormatError,
    GeometryError,
    MissingFileError,
    OutputError,
    SiteError,
    UnknownNameError,
)
from headframe.surface import labelling
from headframe.surface.labelling import LabelOptions, label_images

SHELL = [(5.2, 4.3), (60.7, 8.1), (70.4, 50.2), (30.3, 54.6), (8.8, 33.9)]
HOLE = [(20.3, 15.2), (40.6, 18.4), (35.1, 30.7)]
ISLAND = [(72.2, 3.1), (81.4, 5.6), (77.3, 20.8)]
LATE = [(2.1, 45.3), (14.9, 44.2), (10.7, 55.1)]


def to_degrees(ring, transform, crs="EPSG:32733"):
    points = [transform * point for point in ring]
    transformer = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    return [transformer.transform(*point) for point in points]


def ring_xml(ring):
    text = " ".join(f"{x:.12f},{y:.12f},0" for x, y in [*ring, ring[0]])
    return f"<LinearRing><coordinates>{text}</coordinates></LinearRing>"


def polygon_xml(shell, *holes):
    inner = "".join(f"<innerBoundaryIs>{ring_xml(h)}</innerBoundaryIs>" for h in holes)
    outer = f"<outerBoundaryIs>{ring_xml(shell)}</outerBoundaryIs>"
    return f"<Polygon>{outer}{inner}</Polygon>"


def kml(path, placemarks):
    body = "".join(
        f"<Placemark><name>p{i}</name><ExtendedData><Data name='site'><value>{site}</value></Data>"
        f"</ExtendedData>{shape}</Placemark>"
        for i, (site, shape) in enumerate(placemarks)
    )
    path.write_text(
        f"<kml xmlns='http://www.opengis.net/kml/2.2'><Document>{body}</Document></kml>"
    )
    return path


def centres_inside(rings, shape, transform):
    """Even-odd membership of pixel centres by matplotlib, worked out in degrees."""
    rows, cols = np.mgrid[: shape[0], : shape[1]] + 0.5
    x, y = (
        transform.a * cols.ravel() + transform.b * rows.ravel() + transform.c,
        transform.d * cols.ravel() + transform.e * rows.ravel() + transform.f,
    )
    lon, lat = Transformer.from_crs("EPSG:32733", "EPSG:4326", always_xy=True).transform(x, y)
    points = np.stack([lon, lat], axis=1)
    inside = np.zeros(len(points), bool)
    for ring in rings:
        inside ^= Outline([*ring, ring[0]]).contains_points(points)
    return inside.reshape(shape)


@pytest.fixture
def drawn(tmp_path, write_chip, utm_grid, landsat_chip):
    """Two regions of one site, with a hole, a multi-polygon and an overlap, and their KML."""
    other = Affine.translation(40_000, 3_000) * utm_grid
    root = tmp_path / "images"
    write_chip(root / "Rio Alto_agm_region_1" / "b.tif", landsat_chip, transform=utm_grid)
    write_chip(root / "Rio Alto_agm_region_2" / "a.tif", landsat_chip[:, ::-1], transform=other)
    first = [to_degrees(r, utm_grid) for r in (SHELL, HOLE, ISLAND, LATE)]
    second = to_degrees(SHELL, other)
    multi = f"<MultiGeometry>{polygon_xml(*first[:2])}{polygon_xml(first[2])}</MultiGeometry>"
    path = kml(
        tmp_path / "mines.kml",
        [
            ("rio-alto", multi),
            ("rio-alto", polygon_xml(first[3])),
            ("Rio Alto", polygon_xml(second)),
        ],
    )
    return root, path, (first, second), (utm_grid, other)


def reference(values, rings_of_polygons, transform):
    """Equations (1) to (4) in plain NumPy, by cross-multiplication in integers."""
    shape = values.shape[1:]
    label = np.zeros(shape, np.uint8)
    for rings in rings_of_polygons:
        label[centres_inside(rings, shape, transform)] = 2
    red, nir = values[2].astype(np.int64), values[3].astype(np.int64)
    twice, total = 2 * (nir - red), nir + red
    label[((total > 0) & (twice > total)) | ((total < 0) & (twice < total))] = 0
    label[values[7] == 1] = 1
    return label


def test_landsat_preset_is_pixel_exact(drawn, tmp_path, landsat_chip):
    root, path, (first, second), (grid, other) = drawn
    out = tmp_path / "DS"
    report = label_images(
        [root], polygons=path, out=out, options=LabelOptions(preset="landsat-8band")
    )
    assert report.chips == {"train": 2, "val": 0, "test": 0}  # one base site, one split
    wanted = [
        reference(landsat_chip, [first[:2], [first[2]], [first[3]]], grid),
        reference(landsat_chip[:, ::-1], [[second]], other),
    ]
    for region, label in enumerate(wanted, start=1):
        assert set(np.unique(label)) == {0, 1, 2}
        name = f"rio_alto_agm_region_{region}/00000"
        with Image.open(out / "train" / "labels" / f"{name}.png") as image:
            assert image.mode == "P"
            assert image.getpalette()[:9] == [68, 1, 84, 33, 145, 140, 253, 231, 37]
            np.testing.assert_array_equal(np.asarray(image), label)
        with rasterio.open(out / "train" / "images" / f"{name}.tif") as image:
            assert image.count == 7
            assert image.crs.to_epsg() == 32733
            source = landsat_chip if region == 1 else landsat_chip[:, ::-1]
            np.testing.assert_array_equal(image.read(), source[:7])
        with Image.open(out / "train" / "rgb" / f"{name}.png") as image:
            assert image.mode == "RGB"
            assert image.size == (83, 57)
    assert not (out / "train" / "valid").exists()
    rows = list(csv.reader((out / "filename_mapping.csv").read_text().splitlines()))
    assert rows == [
        ["old_name", "new_name"],
        ["Rio Alto_agm_region_1/b.tif", "train/images/rio_alto_agm_region_1/00000.tif"],
        ["Rio Alto_agm_region_2/a.tif", "train/images/rio_alto_agm_region_2/00000.tif"],
    ]


def test_exactly_half_stays_and_zero_denominators_stay(drawn, tmp_path):
    root, path, _, _ = drawn
    options = LabelOptions(preset="landsat-8band")
    label_images([root], polygons=path, out=tmp_path / "DS", options=options)
    with rasterio.open(root / "Rio Alto_agm_region_1" / "b.tif") as source:
        red, nir, cloud = source.read((3, 4, 8)).astype(int)
    label = np.asarray(Image.open(tmp_path / "DS/train/labels/rio_alto_agm_region_1/00000.png"))
    half = (nir == 3000) & (red == 1000) & (cloud == 0)
    above = (nir == 3001) & (red == 1000)
    zero = (nir + red == 0) & (cloud == 0)
    assert (label[half] == 2).any()
    assert not (label[above] == 2).any()
    assert (label[zero] == 2).any()


@pytest.fixture
def plain(tmp_path, write_chip):
    """Six sites of one or two Sentinel-2 chips of three bands, far apart, one polygon each."""
    rng = np.random.default_rng(8)
    placemarks = []
    for number in range(6):
        transform = Affine(10.0, 0, 400_000 + 5_000 * number, 0, -10.0, 8_000_000)
        for chip in range(1 + number % 2):
            values = rng.integers(1, 3000, (3, 40, 52), dtype=np.uint16)
            if number == 1 and chip == 0:
                values[1, 3:9, 5:25] = 0
            write_chip(
                tmp_path / "images" / f"Site {number}" / f"c{chip}.tif", values,
                transform=transform, nodata=0, descriptions=("B02", "B03", "B04"),
            )  # fmt: skip
        ring = to_degrees([(5.3, 6.2), (30.6, 8.4), (20.1, 33.7)], transform)
        placemarks.append((f"site_{number}", polygon_xml(ring)))
    return tmp_path / "images", kml(tmp_path / "p.kml", placemarks)


def tree(root):
    return {p.relative_to(root): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_plain_tree_names_and_sidecar(plain, tmp_path):
    images, polygons = plain
    out = tmp_path / "DS"
    options = LabelOptions(target="tailings")
    report = label_images([images], polygons=polygons, out=out, options=options)
    assert sum(report.chips.values()) == 9
    assert sorted(s for sites in report.sites.values() for s in sites) == [
        f"Site {n}" for n in range(6)
    ]
    assert all(report.sites.values())  # every split has a site, none two
    valid = list(out.glob("*/valid/*/*.png"))
    assert [p.parent.name for p in valid] == ["Site 1"]
    pixels = np.asarray(Image.open(valid[0]))
    assert (pixels == 0).sum() == 6 * 20
    assert set(np.unique(pixels)) == {0, 255}
    manifest = json.loads((out / "dataset.json").read_text())
    assert [c["name"] for c in manifest["classes"]] == ["background", "cloud", "tailings"]
    assert manifest["bands"] == ["blue", "green", "red"]
    assert manifest["gsd_m"] == pytest.approx(10, rel=0.01)
    assert not list(out.glob(".*"))


def test_workers_do_not_change_the_output(plain, tmp_path):
    images, polygons = plain
    for workers in (1, 2):
        label_images(
            [images], polygons=polygons, out=tmp_path / f"{workers}",
            options=LabelOptions(workers=workers),
        )  # fmt: skip
    assert tree(tmp_path / "1") == tree(tmp_path / "2")


def test_resumes_and_a_finished_run_does_nothing(plain, tmp_path, monkeypatch):
    images, polygons = plain
    label_images([images], polygons=polygons, out=tmp_path / "whole")
    real, done = labelling.make_chip, []

    def dying(task):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(task)
        return real(task)

    monkeypatch.setattr(labelling, "make_chip", dying)
    with pytest.raises(KeyboardInterrupt):
        label_images([images], polygons=polygons, out=tmp_path / "DS")
    assert not (tmp_path / "DS" / "dataset.json").exists()
    done.clear()
    monkeypatch.setattr(labelling, "make_chip", lambda task: done.append(task) or real(task))
    first = label_images([images], polygons=polygons, out=tmp_path / "DS")
    assert len(done) == 5
    assert tree(tmp_path / "DS") == tree(tmp_path / "whole")
    assert label_images([images], polygons=polygons, out=tmp_path / "DS") == first
    assert len(done) == 5


def test_refuses_a_folder_that_holds_something_else(plain, tmp_path):
    images, polygons = plain
    out = tmp_path / "DS"
    out.mkdir()
    (out / "thesis.txt").write_text("x")
    with pytest.raises(OutputError, match=r"is not empty \(thesis.txt\)"):
        label_images([images], polygons=polygons, out=out)
    (out / "thesis.txt").unlink()
    label_images([images], polygons=polygons, out=out)
    with pytest.raises(OutputError, match="made from other images"):
        label_images([images], polygons=polygons, out=out, options=LabelOptions(seed=4))


def test_an_unfinished_folder_of_other_options(plain, tmp_path, monkeypatch):
    images, polygons = plain
    monkeypatch.setattr(labelling, "make_chip", lambda task: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        label_images([images], polygons=polygons, out=tmp_path / "DS")
    with pytest.raises(OutputError, match="unfinished data set made from other"):
        label_images([images], polygons=polygons, out=tmp_path / "DS", options=LabelOptions(seed=9))


def test_sites_that_do_not_meet_are_named(plain, tmp_path, caplog):
    images, polygons = plain
    shutil.move(images / "Site 3", images / "Lone Hill")
    with pytest.raises(SiteError, match=r"images: Lone Hill.*--allow-empty"):
        label_images([images], polygons=polygons, out=tmp_path / "DS")
    options = LabelOptions(allow_empty=("lone_hill",))
    label_images([images], polygons=polygons, out=tmp_path / "DS", options=options)
    assert "1 site(s) of polygons in no image: site_3." in caplog.text
    label = next((tmp_path / "DS").glob("*/labels/Lone Hill/00000.png"))
    assert not np.asarray(Image.open(label)).any()


def test_overlapping_sites_share_a_split(plain, tmp_path):
    images, polygons = plain
    copy = images / "Site 0"
    for number in (2, 4):
        shutil.copy(copy / "c0.tif", images / f"Site {number}" / "c9.tif")
    for seed in range(4):
        options = LabelOptions(seed=seed)
        report = label_images(
            [images], polygons=polygons, out=tmp_path / f"{seed}", options=options
        )
        home = next(s for s, sites in report.sites.items() if "Site 0" in sites)
        assert {"Site 2", "Site 4"} <= set(report.sites[home])
        assert any("Site 0 and Site 2 and Site 4" in note for note in report.notes)


def test_empty_chips_are_skipped_and_reported(plain, tmp_path, write_chip):
    images, polygons = plain
    options = LabelOptions()
    grid = Affine(10.0, 0, 400_000, 0, -10.0, 8_000_000)
    void = np.zeros((3, 40, 52), np.uint16)
    path = images / "Site 0" / "c0.tif"
    write_chip(path, void, transform=grid, nodata=0, descriptions=("B02", "B03", "B04"))
    report = label_images([images], polygons=polygons, out=tmp_path / "DS", options=options)
    assert report.skipped == ("Site 0/c0.tif",)
    assert sum(report.chips.values()) == 8
    with pytest.raises(DatasetError, match=r"none of 1 image\(s\) holds any data"):
        label_images([path], polygons=polygons, out=tmp_path / "DS2")


def test_s2_scl(tmp_path, write_chip):
    rng = np.random.default_rng(2)
    grid = Affine(10.0, 0, 400_000, 0, -10.0, 8_000_000)
    values = rng.integers(1000, 5000, (4, 30, 44), dtype=np.uint16)
    values[1] = rng.integers(1, 12, (30, 44))
    values[1, 0, :7] = 0
    names = ("B08", "SCL", "B04 (red)", "green")
    write_chip(tmp_path / "i" / "m" / "x.tif", values, transform=grid, descriptions=names)
    ring = to_degrees([(2.3, 2.2), (40.6, 3.4), (20.1, 28.7)], grid)
    path = kml(tmp_path / "p.kml", [("m", polygon_xml(ring))])
    for scaling, shift in ((None, 0.0), ((1e-4, -0.1), -1000.0)):
        out = tmp_path / f"DS{shift:g}"
        label_images(
            [tmp_path / "i"], polygons=path, out=out,
            options=LabelOptions(preset="s2-scl", scaling=scaling),
        )  # fmt: skip
        label = np.asarray(Image.open(out / "train/labels/m/00000.png"))
        wanted = np.where(centres_inside([ring], (30, 44), grid), 2, 0)
        nir, red = values[0] + shift, values[2] + shift
        total = np.where(nir + red == 0, 1, nir + red)
        wanted[((nir - red) / total > 0.5) & (nir + red != 0)] = 0
        wanted[np.isin(values[1], (3, 8, 9, 10))] = 1
        np.testing.assert_array_equal(label, wanted)
        with rasterio.open(out / "train/images/m/00000.tif") as image:
            assert image.descriptions == ("B08", "B04 (red)", "green")
        valid = np.asarray(Image.open(out / "train/valid/m/00000.png"))
        np.testing.assert_array_equal(valid == 0, values[1] == 0)


def test_bad_images(plain, tmp_path, write_chip):
    images, polygons = plain
    grid = Affine(10.0, 0, 400_000, 0, -10.0, 8_000_000)

    def attempt(**options):
        label_images(
            [images], polygons=polygons, out=tmp_path / "DS", options=LabelOptions(**options)
        )

    with pytest.raises(BandError, match=r"has 3 bands; preset landsat-8band needs 8"):
        attempt(preset="landsat-8band")
    with pytest.raises(BandError, match="0 bands are described as SCL"):
        attempt(preset="s2-scl")
    with pytest.raises(UnknownNameError, match="unknown preset 's3'"):
        attempt(preset="s3")
    with pytest.raises(DatasetError, match="cannot be called 'cloud'"):
        attempt(target="cloud")
    with pytest.raises(MissingFileError, match="no such image"):
        label_images([tmp_path / "none"], polygons=polygons, out=tmp_path / "DS")
    (tmp_path / "void").mkdir()
    with pytest.raises(MissingFileError, match="no image"):
        label_images([tmp_path / "void"], polygons=polygons, out=tmp_path / "DS")
    other = images / "Site 0" / "z.tif"
    other.write_text("not a picture")
    with pytest.raises(FormatError, match=r"z\.tif: cannot be read as a GeoTIFF"):
        attempt()
    write_chip(other, np.ones((3, 9, 7), np.uint8), transform=grid, crs=None)
    with pytest.raises(CrsError, match=r"z\.tif: has no coordinate reference system"):
        attempt()
    write_chip(other, np.ones((2, 9, 7), np.uint8), transform=grid, descriptions=("B02", "B03"))
    with pytest.raises(BandError, match=r"z\.tif has bands blue, green, but"):
        attempt()
    noise = np.random.default_rng(0).integers(1, 9999, (3, 90, 70), dtype=np.uint16)
    write_chip(other, noise, transform=grid, descriptions=("B02", "B03", "B04"))
    other.write_bytes(other.read_bytes()[:9000])
    with pytest.raises(FormatError, match=r"z\.tif: cannot be read as a GeoTIFF"):
        attempt()


def test_landsat_descriptions_may_not_contradict(tmp_path, write_chip, utm_grid, landsat_chip):
    names = ("coastal", "blue", "green", "red", "nir", "swir16", "swir22", "cloud")
    write_chip(tmp_path / "i/m/x.tif", landsat_chip, transform=utm_grid, descriptions=names)
    path = kml(tmp_path / "p.kml", [("m", polygon_xml(to_degrees(SHELL, utm_grid)))])
    with pytest.raises(BandError, match="band 3 is described as 'green'"):
        label_images(
            [tmp_path / "i"], polygons=path, out=tmp_path / "DS",
            options=LabelOptions(preset="landsat-8band"),
        )  # fmt: skip


def test_a_site_with_only_a_flat_polygon(plain, tmp_path):
    images, polygons = plain
    line = polygon_xml([(15.01, -18.01), (15.02, -18.02), (15.03, -18.03)])
    text = polygons.read_text()
    start = text.index("<Polygon>")
    end = text.index("</Polygon>") + len("</Polygon>")
    polygons.write_text(text[:start] + line + text[end:])
    with pytest.raises(GeometryError, match="site 'site_0': its only polygon has zero area"):
        label_images([images], polygons=polygons, out=tmp_path / "DS")


@pytest.mark.realdata
def test_tailings_labels_agree_with_the_masks(shared_data, tmp_path):
    data = shared_data / "tailings-brazil"
    report = label_images(
        [data / "images"], polygons=data / "tailings.kml", out=tmp_path / "DS",
        options=LabelOptions(workers=2, target="tailings"),
    )  # fmt: skip
    assert sum(report.chips.values()) == 86
    same = pixels = both = either = 0
    for path in (tmp_path / "DS").glob("*/labels/*/*.png"):
        with rasterio.open(data / "masks" / path.parent.name / f"{path.stem}.tif") as source:
            mask = source.read(1) == 1
        label = np.asarray(Image.open(path)) == 2
        same, pixels = same + (label == mask).sum(), pixels + mask.size
        both, either = both + (label & mask).sum(), either + (label | mask).sum()
    assert same / pixels >= 0.9999  # measured 1.0; the issue asks for 0.995
    assert both / either >= 0.9999  # measured 1.0; the issue asks for 0.97
