"""Fetching against real catalogue files over scenes drawn in two UTM zones."""

import json
import logging
import warnings
from datetime import UTC, date, datetime

import numpy as np
import pystac
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import Transformer
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning

from headframe.core.errors import (
    BandError,
    DatasetError,
    FormatError,
    JobError,
    MissingFileError,
    OutputError,
    SiteError,
    UnknownNameError,
)
from headframe.core.modelspec import InputSpec
from headframe.datasets import fetch as module
from headframe.datasets.archives import Rule
from headframe.datasets.drawn import draw_landscape
from headframe.datasets.fetch import FetchOptions, fetch
from headframe.io import stac_search
from headframe.io.places import Place
from headframe.io.scene import SceneOptions, open_scene
from headframe.io.stored import read_header

GSD = {"B01": 60, "B05": 20, "B06": 20, "B07": 20, "B8A": 20, "B09": 60, "B11": 20, "B12": 20}
COMMON = {"B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B08": "nir"}
ZONES = {"west": ("EPSG:32723", 499_980.0), "east": ("EPSG:32724", 233_310.0)}
NORTH = 7_900_020.0
SHAPE = (180, 240)


@pytest.fixture(scope="module")
def scene():
    return draw_landscape(3, size=SHAPE, date=date(2021, 7, 1), cloudy=False)


def write(path, values, *, crs, transform, nodata=None, gcps=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    quiet = warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning)
    with (
        quiet,
        rasterio.open(
            path,
            "w",
            driver="GTiff",
            count=1,
            height=values.shape[0],
            width=values.shape[1],
            dtype=values.dtype,
            nodata=nodata,
            **({} if gcps else {"crs": crs, "transform": transform}),
        ) as sink,
    ):
        sink.write(values, 1)
        if gcps:
            sink.gcps = (gcps, rasterio.crs.CRS.from_epsg(4326))


def corners(zone):
    """Outline of the scene in a zone, longitude and latitude."""
    crs, east = ZONES[zone]
    back = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    height, width = SHAPE
    ring = [(0, 0), (width, 0), (width, height), (0, height)]
    return shapely.Polygon([back.transform(east + 10 * x, NORTH - 10 * y) for x, y in ring])


def place(zone, col, row, name=None, **facts):
    """A site at a pixel of the scene."""
    crs, east = ZONES[zone]
    back = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    lonlat = back.transform(east + 10 * col, NORTH - 10 * row)
    return Place(name or f"{zone} mine", shapely.Point(lonlat), facts)


def s2_item(root, scene, name, *, zone="west", day="2021-07-01", cloud=0.3, shift=0, baseline=None):
    """One item whose twelve band files lie beside it at their own resolutions."""
    crs, east = ZONES[zone]
    assets = {}
    for band, values in zip(scene.band_names, scene.bands, strict=True):
        gsd = GSD.get(band, 10)
        step = gsd // 10
        path = root / "pixels" / name / f"{band}.tif"
        stored = values[::step, ::step] + np.uint16(shift)
        write(path, stored, crs=crs, transform=Affine(gsd, 0, east, 0, -gsd, NORTH), nodata=0)
        assets[band] = str(path)
    moment = datetime.fromisoformat(day).replace(hour=13, tzinfo=UTC)
    outline = corners(zone)
    item = pystac.Item(
        name,
        shapely.geometry.mapping(outline),
        list(outline.bounds),
        moment,
        {"eo:cloud_cover": cloud, "s2:processing_baseline": baseline or "02.14"},
    )
    for band, href in assets.items():
        named = [{"name": band, "common_name": COMMON.get(band, band.lower())}]
        fields = {"eo:bands": [{"name": band}] if band not in COMMON else named}
        item.add_asset(
            band, pystac.Asset(href, media_type=pystac.MediaType.COG, extra_fields=fields)
        )
    return item


def catalogue(root, collection, items):
    """Write items as a static catalogue; returns its file."""
    top = pystac.Catalog("archive", "test")
    extent = pystac.Extent(
        pystac.SpatialExtent([[-180, -90, 180, 90]]),
        pystac.TemporalExtent([[datetime(2016, 1, 1, tzinfo=UTC), None]]),
    )
    child = pystac.Collection(collection, "test", extent)
    top.add_child(child)
    for item in items:
        child.add_item(item)
    top.normalize_hrefs(str(root / "stac"))
    top.make_all_asset_hrefs_relative()
    top.save(catalog_type=pystac.CatalogType.SELF_CONTAINED)
    return str(root / "stac" / "catalog.json")


def options(source, *, start="2019-01-01", end="2021-12-31", **changes):
    fields = {"max_cloud": 5.0, "one_per": "year", "size_m": 640.0}
    rule = {key: changes.pop(key, value) for key, value in fields.items()}
    whole = Rule(date.fromisoformat(start), date.fromisoformat(end), **rule)
    return FetchOptions(whole, catalog=source, **changes)


@pytest.fixture(scope="module")
def archive(tmp_path_factory, scene):
    """Three years of one zone, the newest year of the other; some items too cloudy."""
    root = tmp_path_factory.mktemp("archive")
    items = [
        s2_item(root, scene, "w2019", day="2019-06-20", cloud=0.4, shift=1),
        s2_item(root, scene, "w2020-far", day="2020-12-20", cloud=0.2, shift=2),
        s2_item(root, scene, "w2020-near", day="2020-06-28", cloud=0.2, shift=3),
        s2_item(root, scene, "w2020-less", day="2020-02-01", cloud=0.1, shift=4),
        s2_item(root, scene, "w2021-cloudy", day="2021-07-02", cloud=63.0, shift=5),
        s2_item(root, scene, "e2021", zone="east", day="2021-08-03", shift=6, baseline="04.00"),
    ]
    return catalogue(root, "sentinel-2-l2a", items)


def test_one_image_a_year_in_two_zones(archive, scene, tmp_path, caplog):
    places = [place("west", 100, 70, material="RR"), place("east", 140.4, 120.4, "East/Mine: 2")]
    with caplog.at_level(logging.WARNING, "headframe"):
        report = fetch(places, out=tmp_path, options=options(archive))
    assert report.images == {
        "west mine": ("images/west_mine/2019-06-20.tif", "images/west_mine/2020-02-01.tif"),
        "East/Mine: 2": ("images/East_Mine_2/2021-08-03.tif",),
    }
    assert report.fetched == 3
    assert report.missing == {"west mine": ("2021",), "East/Mine: 2": ("2019", "2020")}
    assert "site west mine: no image of 2021 (no item with at most 5 % cloud)." in caplog.text
    with rasterio.open(tmp_path / "images/west_mine/2019-06-20.tif") as file:
        assert file.shape == (64, 64)
        assert file.crs == "EPSG:32723"
        assert file.transform == Affine(10, 0, 499_980 + 680, 0, -10, NORTH - 380)
        assert file.descriptions[:4] == ("coastal", "blue", "green", "red")
        assert file.descriptions[8:] == ("nir08", "nir09", "swir16", "swir22")
        red, coastal, swir = file.read(4), file.read(1), file.read(12)
        assert file.nodata == 0
        assert file.scales == (1e-4,) * 12
        assert file.offsets == (0.0,) * 12
        assert file.tags()["STAC_ITEM"] == "w2019"
        assert file.tags()["DATE"] == "2019-06-20"
        assert file.tags()["HEADFRAME_SENSOR"] == "sentinel-2-l2a"
    rows, cols = np.arange(38, 102), np.arange(68, 132)
    assert np.array_equal(red, scene.bands[3][np.ix_(rows, cols)] + 1)
    coarse = scene.bands[0][np.ix_(rows // 6 * 6, cols // 6 * 6)] + 1
    assert np.array_equal(coastal, coarse)
    assert np.array_equal(swir, scene.bands[11][np.ix_(rows // 2 * 2, cols // 2 * 2)] + 1)
    with rasterio.open(tmp_path / "images/East_Mine_2/2021-08-03.tif") as file:
        assert file.crs == "EPSG:32724"
        assert file.offsets == (-0.1,) * 12
        assert file.tags()["PROCESSING_BASELINE"] == "04.00"


def test_what_is_fetched_is_read_as_reflectance(archive, scene, tmp_path):
    fetch([place("east", 120, 90)], out=tmp_path, options=options(archive, start="2021-01-01"))
    inputs = InputSpec(
        "sentinel-2-l2a", ("red", "swir16"), 10.0, (0.1,) * 2, (0.1,) * 2, ((0.02, 0.1, 0.4),) * 2
    )
    path = tmp_path / "images" / "east_mine" / "2021-08-03.tif"
    with rasterio.open(path) as file:
        red = file.read(4)
    # The drawn numbers carry no +1000, so that baseline 04.00 makes them negative.
    with open_scene(path, inputs=inputs, options=SceneOptions(scale=1e-4, offset=-0.1)) as opened:
        assert opened.scaling[0].offset == -0.1
    header = read_header(path)
    assert header.scales[3] * red[0, 0] + header.offsets[3] == pytest.approx(red[0, 0] / 1e4 - 0.1)


def test_records_say_what_was_taken(archive, tmp_path):
    fetch([place("west", 100, 70, material="RR")], out=tmp_path, options=options(archive))
    book = json.loads((tmp_path / "fetch.json").read_text())
    assert book["request"]["max_cloud"] == 5.0
    images = book["sites"]["west_mine"]["images"]
    assert list(images) == ["2019", "2020"]
    assert images["2020"]["item"] == "w2020-less"
    assert images["2020"]["cloud_cover"] == 0.1
    assert images["2020"]["licence"].startswith("Copernicus")
    header, row = (tmp_path / "sites.csv").read_text().splitlines()
    assert header == "site,lon,lat,material,images,first,last,missing"
    assert row.endswith(",RR,2,2019-06-20,2020-02-01,2021")


def test_a_second_call_fetches_nothing(archive, tmp_path, monkeypatch):
    fetch([place("west", 100, 70)], out=tmp_path, options=options(archive))
    before = (tmp_path / "fetch.json").read_bytes()
    monkeypatch.setattr(module, "write_stored", None)
    report = fetch([place("west", 100, 70)], out=tmp_path, options=options(archive))
    assert report.fetched == 0
    assert (tmp_path / "fetch.json").read_bytes() == before


@pytest.mark.parametrize("after", ["image", "write"])
def test_a_killed_fetch_goes_on(archive, tmp_path, monkeypatch, after):
    places = [place("west", 100, 70), place("east", 140, 120)]
    fetch(places, out=tmp_path / "calm", options=options(archive))
    real, done = module.write_stored, []

    def dies(path, chip):
        if after == "write" or not done:
            real(path, chip)
        done.append(path)
        if len(done) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_stored", dies)
    with pytest.raises(KeyboardInterrupt):
        fetch(places, out=tmp_path / "ds", options=options(archive))
    again = []
    monkeypatch.setattr(module, "write_stored", lambda p, c: (again.append(p.stem), real(p, c)))
    fetch(places, out=tmp_path / "ds", options=options(archive))
    assert again == (["2021-08-03"] if after == "write" else ["2020-02-01", "2021-08-03"])
    names = [
        sorted(p.relative_to(root).as_posix() for p in root.rglob("*.*"))
        for root in (tmp_path / "calm", tmp_path / "ds")
    ]
    assert names[0] == names[1]
    for name in names[0]:
        if (tmp_path / "calm" / name).is_file():
            assert (tmp_path / "calm" / name).read_bytes() == (tmp_path / "ds" / name).read_bytes()


def test_another_request_needs_another_folder(archive, tmp_path):
    fetch([place("west", 100, 70)], out=tmp_path, options=options(archive))
    with pytest.raises(OutputError, match=r"begun with max_cloud 5\.0, now 1\.0"):
        fetch([place("west", 1, 1)], out=tmp_path, options=options(archive, max_cloud=1.0))
    (tmp_path / "fetch.json").write_text("{}")
    with pytest.raises(OutputError, match="damaged"):
        fetch([place("west", 1, 1)], out=tmp_path, options=options(archive))
    (tmp_path / "fetch.json").unlink()
    with pytest.raises(OutputError, match="another making"):
        fetch([place("west", 1, 1)], out=tmp_path, options=options(archive))


def test_a_polygon_is_cut_with_its_margin(archive, scene, tmp_path):
    crs, east = ZONES["west"]
    back = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    box = shapely.box(east + 605, NORTH - 1005, east + 1195, NORTH - 695)
    shape = shapely.transform(box, lambda xy: np.column_stack(back.transform(*xy.T)))
    wanted = options(archive, size_m=None, margin_m=100.0, bands=("red", "nir"))
    fetch([Place("pit", shape, {})], out=tmp_path, options=wanted)
    with rasterio.open(tmp_path / "images/pit/2019-06-20.tif") as file:
        assert file.descriptions == ("red", "nir")
        left, top = round((file.transform.c - east) / 10), round((NORTH - file.transform.f) / 10)
        assert (left, top) == (50, 59)
        assert file.shape == (52, 80)
        assert np.array_equal(file.read(1), scene.bands[3][59:111, 50:130] + 1)


def test_a_window_beyond_the_scene_is_nodata_there(archive, tmp_path):
    fetch([place("west", 10, 90)], out=tmp_path, options=options(archive, bands=("red",)))
    with rasterio.open(tmp_path / "images/west_mine/2019-06-20.tif") as file:
        red = file.read(1)
    assert (red[:, :22] == 0).all()
    assert (red[:, 22:] > 0).all()


def test_an_item_that_cannot_be_read_is_passed_over(tmp_path, scene):
    good = s2_item(tmp_path, scene, "good", day="2021-03-01", cloud=1.0)
    broken = s2_item(tmp_path, scene, "broken", day="2021-07-01", cloud=0.0)
    lacking = s2_item(tmp_path, scene, "lacking", day="2021-07-01", cloud=0.1)
    del lacking.assets["B04"]
    source = catalogue(tmp_path, "sentinel-2-l2a", [good, broken, lacking])
    (tmp_path / "pixels" / "broken" / "B04.tif").write_bytes(b"no raster")
    report = fetch([place("west", 99, 70)], out=tmp_path / "ds", options=options(source))
    assert report.images["west mine"] == ("images/west_mine/2021-03-01.tif",)
    (tmp_path / "pixels" / "good" / "B08.tif").unlink()
    report = fetch([place("west", 99, 70)], out=tmp_path / "other", options=options(source))
    assert report.images["west mine"] == ()
    assert "B08.tif: no such file" in report.notes[0]


def test_one_image_a_month(tmp_path, scene):
    days = ["2021-04-30", "2021-05-01", "2021-05-20"]
    items = [s2_item(tmp_path, scene, f"i{n}", day=day) for n, day in enumerate(days)]
    source = catalogue(tmp_path, "sentinel-2-l2a", items)
    wanted = options(source, start="2021-04-10", end="2021-06-05", one_per="month")
    report = fetch([place("west", 99, 70)], out=tmp_path / "ds", options=wanted)
    stems = [name[-14:-4] for name in report.images["west mine"]]
    assert stems == ["2021-04-30", "2021-05-20"]
    assert report.missing == {"west mine": ("2021-06",)}


def s1_item(root, name, *, dtype="float32", gcps=False, day="2021-07-01", **bands):
    outline = corners("west")
    west, south, east, north = outline.bounds
    item = pystac.Item(
        name,
        shapely.geometry.mapping(outline),
        list(outline.bounds),
        datetime.fromisoformat(day).replace(tzinfo=UTC),
        {"sar:instrument_mode": "IW"},
    )
    for key, values in bands.items():
        path = root / "pixels" / name / f"{key}.tif"
        height, width = values.shape
        points = [
            GroundControlPoint(row, col, west + (east - west) * col / width, y)
            for row, y in ((0, north), (height, south))
            for col in (0, width)
        ]
        crs, left = ZONES["west"]
        write(
            path,
            values.astype(dtype),
            crs=crs,
            transform=Affine(10, 0, left, 0, -10, NORTH),
            gcps=points if gcps else None,
        )
        fields = {"eo:bands": [{"name": key.upper()}]}
        item.add_asset(
            key, pystac.Asset(str(path), media_type=pystac.MediaType.COG, extra_fields=fields)
        )
    return item


@pytest.mark.parametrize("gcps", [False, True])
def test_radar(tmp_path, gcps):
    row, col = np.mgrid[: SHAPE[0], : SHAPE[1]]
    vv = (0.01 + row / 1000).astype(np.float32)
    vv[80:90, 100:110] = np.nan
    far = s1_item(tmp_path, "far", gcps=gcps, day="2021-01-01", vv=vv, vh=vv / 5)
    near = s1_item(tmp_path, "near", gcps=gcps, vv=vv, vh=(0.001 + col / 1000))
    source = catalogue(tmp_path, "sentinel-1-grd", [far, near])
    wanted = options(source, start="2021-01-01", collection="sentinel-1-grd")
    report = fetch([place("west", 100, 80)], out=tmp_path / "ds", options=wanted)
    assert report.images["west mine"] == ("images/west_mine/2021-07-01.tif",)
    with rasterio.open(tmp_path / "ds/images/west_mine/2021-07-01.tif") as file:
        assert file.descriptions == ("vv", "vh")
        assert file.crs == "EPSG:32723"
        assert file.shape == (64, 64)
        assert np.isnan(file.nodata)
        values = file.read()
        assert file.tags()["HEADFRAME_SENSOR"] == "sentinel-1-grd"
    assert 80 <= np.isnan(values[0]).sum() <= 125
    slope = np.nanmean(np.diff(values[1].mean(axis=0)))
    assert slope == pytest.approx(0.001, rel=0.1)
    assert np.nanmean(np.diff(values[0][:, -5:].mean(axis=1))) == pytest.approx(0.001, rel=0.1)


def test_raw_radar_is_calibrated_by_its_table(tmp_path):
    numbers = np.full(SHAPE, 300)
    numbers[:60] = 0
    item = s1_item(tmp_path, "raw", dtype="uint16", gcps=True, vv=numbers, vh=2 * numbers)
    for name, gain in (("vv", 600), ("vh", 3000)):
        table = "".join(
            f"<calibrationVector><line>{line}</line><pixel>0 100 240</pixel>"
            f"<sigmaNought>{gain} {gain} {gain}</sigmaNought></calibrationVector>"
            for line in (0, 90, 180)
        )
        path = tmp_path / "pixels" / f"{name}.xml"
        path.write_text(f"<calibration><l>{table}</l></calibration>")
        asset = pystac.Asset(str(path), media_type="application/xml")
        item.add_asset(f"schema-calibration-{name}", asset)
    source = catalogue(tmp_path, "sentinel-1-grd", [item])
    wanted = options(source, collection="sentinel-1-grd", start="2021-01-01")
    fetch([place("west", 99, 70)], out=tmp_path / "ds", options=wanted)
    with rasterio.open(tmp_path / "ds/images/west_mine/2021-07-01.tif") as file:
        vv, vh = file.read()
    assert vv.dtype == "float32"
    assert np.isnan(vv[:20]).all()
    assert vv[30:] == pytest.approx(0.25)
    assert vh[30:] == pytest.approx(0.04)


def test_radar_without_calibration_is_refused(tmp_path):
    numbers = np.full(SHAPE, 300)
    item = s1_item(tmp_path, "raw", dtype="uint16", vv=numbers, vh=numbers)
    source = catalogue(tmp_path, "sentinel-1-grd", [item])
    wanted = options(source, collection="sentinel-1-grd", start="2021-01-01")
    report = fetch([place("west", 99, 70)], out=tmp_path / "ds", options=wanted)
    assert "uncalibrated whole numbers" in report.notes[0]


def test_landsat_knows_its_sensor_by_platform(tmp_path, scene):
    items = []
    for platform, nir, day in (
        ("landsat-8", "nir08", "2021-05-01"),
        ("landsat-5", "nir", "2010-05-01"),
    ):
        item = s2_item(tmp_path, scene, platform, day=day)
        item.properties = {
            "datetime": f"{day}T10:00:00Z",
            "eo:cloud_cover": 1,
            "platform": platform,
        }
        keep = {"coastal": "B01", "blue": "B02", "green": "B03", "red": "B04", nir: "B8A",
                "swir16": "B11", "swir22": "B12"}  # fmt: skip
        assets = {common: item.assets[name] for common, name in keep.items()}
        for common, asset in assets.items():
            asset.extra_fields = {
                "eo:bands": [{"name": common, "common_name": common}],
                "raster:bands": [{"scale": 2.75e-5, "offset": -0.2, "nodata": 0}],
            }
        item.assets = assets
        items.append(item)
    source = catalogue(tmp_path, "landsat-c2-l2", items)
    wanted = options(source, collection="landsat-c2-l2", start="2010-01-01")
    report = fetch([place("west", 99, 70)], out=tmp_path / "ds", options=wanted)
    assert len(report.images["west mine"]) == 2
    for day, sensor, count in (("2010-05-01", "landsat-tm", 6), ("2021-05-01", "landsat-oli", 7)):
        with rasterio.open(tmp_path / f"ds/images/west_mine/{day}.tif") as file:
            assert file.tags()["HEADFRAME_SENSOR"] == sensor
            assert file.count == count
            assert file.scales == pytest.approx((2.75e-5,) * count)
            assert file.offsets == (-0.2,) * count


def test_items_of_a_search_saved_as_one_file(tmp_path, scene):
    item = s2_item(tmp_path, scene, "one")
    item.collection_id = "sentinel-2-l2a"
    path = tmp_path / "found.json"
    found = pystac.ItemCollection([item]).to_dict()
    for asset in found["features"][0]["assets"].values():
        asset["href"] = asset["href"].replace(str(tmp_path), ".")
    path.write_text(json.dumps(found))
    report = fetch([place("west", 99, 70)], out=tmp_path / "ds", options=options(str(path)))
    assert report.fetched == 1


def test_bad_requests_are_told_in_one_line(archive, tmp_path, monkeypatch):
    west = place("west", 99, 70)
    with pytest.raises(UnknownNameError, match="collection 'sentinel-2'; closest: sentinel-2-l2a"):
        fetch([west], out=tmp_path, options=options(archive, collection="sentinel-2"))
    with pytest.raises(BandError, match="no band 'pink'"):
        fetch([west], out=tmp_path, options=options(archive, bands=("pink",)))
    with pytest.raises(SiteError, match="site 'a' has no place"):
        fetch([Place("a", None, {})], out=tmp_path, options=options(archive))
    with pytest.raises(DatasetError, match="would both lie in a_b"):
        fetch(
            [place("west", 1, 1, "a/b"), place("west", 1, 1, "a b")],
            out=tmp_path,
            options=options(archive),
        )
    with pytest.raises(DatasetError, match="no sites"):
        fetch([], out=tmp_path, options=options(archive))
    assert list(tmp_path.iterdir()) == []


def test_a_catalogue_that_is_none(tmp_path, monkeypatch):
    west = place("west", 99, 70)
    with pytest.raises(MissingFileError, match=r"none\.json: no such STAC catalogue"):
        fetch([west], out=tmp_path / "a", options=options(str(tmp_path / "none.json")))
    for text in ("no json", '{"type": "Nonsense"}', "[]"):
        path = tmp_path / "bad.json"
        path.write_text(text)
        with pytest.raises(FormatError, match="cannot be read as a STAC catalogue") as caught:
            fetch([west], out=tmp_path / "a", options=options(str(path)))
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(stac_search, "RETRIES", 0)
    with pytest.raises(JobError, match=r"127\.0\.0\.1:9/: the STAC API gives no answer"):
        fetch([west], out=tmp_path / "a", options=options("http://127.0.0.1:9/"))
