import http.server
import json
import threading
from functools import partial

import numpy as np
import pytest
import rasterio
from affine import Affine

from headframe.core.errors import BandError, CrsError, FormatError, MissingFileError, UnitError
from headframe.core.modelspec import InputSpec
from headframe.core.sensors import SENSORS
from headframe.core.units import Scaling
from headframe.geo.window import Window
from headframe.io.scene import SceneOptions, open_scene
from headframe.io.stac_read import choose_bands, is_item_source, read_item

S2 = SENSORS["sentinel-2-l2a"]
INPUTS = InputSpec(
    sensor="sentinel-2-l2a",
    bands=("swir16", "red"),
    gsd_m=10,
    mean=(0.2, 0.1),
    std=(0.1, 0.1),
    percentiles=((0.02, 0.2, 0.4), (0.01, 0.07, 0.3)),
)
FREE = SceneOptions()


def write(path, values, *, gsd=10, origin=(300_000, 7_000_000), **profile):
    profile = {"crs": "EPSG:32723", **profile}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=1,
        dtype=values.dtype,
        height=values.shape[0],
        width=values.shape[1],
        transform=Affine(gsd, 0, origin[0], 0, -gsd, origin[1]),
        **profile,
    ) as file:
        file.write(values, 1)


def numbers(height, width, start):
    row, col = np.mgrid[:height, :width]
    return (start + 5 * row + 9 * col).astype(np.uint16)


def item(**assets):
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "S2B_23KPQ_20230101",
        "collection": "sentinel-2-l2a",
        "properties": {"s2:processing_baseline": "03.01"},
        "assets": assets,
    }


def asset(href, name=None, common=None, **fields):
    bands = [{"name": name, "common_name": common}] if name else []
    return {
        "href": href,
        "type": "image/tiff; profile=cloud-optimized",
        "eo:bands": bands,
        **fields,
    }


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "B04.tif", numbers(36, 52, 600))
    write(tmp_path / "B11.tif", numbers(18, 26, 1500), gsd=20)
    return tmp_path


def save(folder, content, name="item.json"):
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def pair(**fields):
    return item(
        B11=asset("./B11.tif", "B11", "swir16", **fields),
        B04=asset("B04.tif", "B04", "red", **fields),
    )


def read(path, options=FREE, inputs=INPUTS):
    with open_scene(path, inputs=inputs, options=options) as scene:
        return scene.read(Window(0, 0, *scene.shape))


def doubled(values):
    return values.repeat(2, axis=0).repeat(2, axis=1)


def test_bands_meet_on_the_finest_grid_by_nearest_pixel(folder):
    with open_scene(save(folder, pair()), inputs=INPUTS, options=FREE) as scene:
        assert scene.name == "S2B_23KPQ_20230101"
        assert scene.shape == (36, 52)
        assert scene.geobox.resolution.x == 10
        got = scene.read(Window(0, 0, 36, 52))
    np.testing.assert_allclose(got[0], doubled(numbers(18, 26, 1500)) * 1e-4, rtol=1e-6)
    np.testing.assert_allclose(got[1], numbers(36, 52, 600) * 1e-4, rtol=1e-6)


def test_coarse_band_that_covers_less_leaves_nodata(folder):
    write(folder / "B11.tif", numbers(12, 26, 1500), gsd=20)
    got = read(save(folder, pair()))
    assert np.isnan(got[:, 24:]).all()
    assert np.isfinite(got[:, :24]).all()


def test_nodata_of_item_and_of_file(folder):
    coarse = numbers(18, 26, 1500)
    coarse[3, 4] = 7
    write(folder / "B11.tif", coarse, gsd=20)
    got = read(save(folder, pair(**{"raster:bands": [{"nodata": 7}]})))
    assert np.argwhere(np.isnan(got[0])).tolist() == [[6, 8], [6, 9], [7, 8], [7, 9]]
    write(folder / "B11.tif", coarse, gsd=20, nodata=7)
    np.testing.assert_array_equal(read(save(folder, pair())), got)


def test_stac_1_1_bands(folder):
    content = item(
        one={"href": "B11.tif", "bands": [{"name": "x", "eo:common_name": "swir16"}]},
        two={
            "href": "B04.tif",
            "raster:scale": 2e-4,
            "bands": [{"name": "B04", "raster:offset": -0.05}],
        },
    )
    with open_scene(save(folder, content), inputs=INPUTS, options=FREE) as scene:
        assert scene.scaling == (Scaling(1e-4, 0.0), Scaling(2e-4, -0.05))


def test_asset_keys_name_bands_where_nothing_else_does(folder):
    content = item(swir16={"href": "B11.tif"}, red={"href": "B04.tif"})
    np.testing.assert_array_equal(read(save(folder, content)), read(save(folder, pair(), "b.json")))


@pytest.mark.parametrize(
    ("properties", "raster", "offset"),
    [
        ({"s2:processing_baseline": "05.10"}, None, -0.1),
        ({"s2:processing_baseline": "03.01"}, None, 0.0),
        ({"processing:version": "05.11"}, None, -0.1),
        ({"s2:product_uri": "S2B_MSIL2A_20230101T1_N0509_R0_T23KPQ.SAFE"}, None, -0.1),
        ({}, {"scale": 1e-4, "offset": -0.1}, -0.1),
        (
            {"s2:processing_baseline": "05.10", "earthsearch:boa_offset_applied": True},
            {"scale": 1e-4, "offset": -0.1},
            0.0,
        ),
    ],
)
def test_offset_follows_the_item(folder, properties, raster, offset):
    content = pair(**({"raster:bands": [raster]} if raster else {}))
    content["properties"] = properties
    with open_scene(save(folder, content), inputs=INPUTS, options=FREE) as scene:
        assert scene.scaling == (Scaling(1e-4, offset),) * 2
        assert scene.read(Window(0, 0, 1, 1))[1, 0, 0] == pytest.approx(0.06 + offset)


def test_l1c_model_is_told_of_l2a(folder, caplog):
    inputs = InputSpec("sentinel-2-l1c", *list(vars(INPUTS).values())[1:])
    read(save(folder, pair()), inputs=inputs)
    (record,) = caplog.records
    assert "item.json is Sentinel-2 L2A and the model was trained on Sentinel-2 L1C" in (
        record.getMessage()
    )


def test_data_assets_go_before_pictures_jpeg_2000_and_coarse_ones(folder):
    names = [{"name": n} for n in ("B04", "B03", "B02")]
    content = item(
        preview={"href": "p.png", "type": "image/png", "eo:bands": names},
        visual=asset("v.tif", roles=["visual"]) | {"eo:bands": names},
        red_jp2=asset("r.jp2", "B04", type="image/jp2"),
        B04_60m=asset("r60.tif", "B04", gsd=60),
        B04_10m=asset("/data/r10.tif", "B04", gsd=10),
        notes={"href": "n.xml", "type": "application/xml"},
        broken=None,
    )
    found = choose_bands(read_item(str(save(folder, content))), ("red", "green"), sensor=S2)
    assert [(band.key, band.index) for band in found] == [("B04_10m", 1), ("visual", 2)]
    assert found[0].href == "/data/r10.tif"
    assert found[1].href == str(folder / "v.tif")


def test_missing_band(folder):
    with pytest.raises(
        BandError,
        match=r"item\.json: this STAC item has B04 red, B11 swir16, and none is known to ",
    ):
        read_item_for(folder, ("red", "blue"))


def read_item_for(folder, wanted):
    return choose_bands(read_item(str(save(folder, pair()))), wanted, sensor=S2)


def test_bands_option_is_for_files_only(folder):
    with pytest.raises(BandError, match="leave --bands out"):
        read(save(folder, pair()), SceneOptions(bands=("B11", "B04")))


def test_unit_guard(folder):
    content = pair(**{"raster:bands": [{"scale": 1.0, "offset": 0.5}]})
    with pytest.raises(UnitError, match=r"item\.json looks scaled to 0\.\.65535"):
        read(save(folder, content))
    assert read(save(folder, content), SceneOptions(scale=1e-4)).max() < 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"type": "FeatureCollection", "features": []}', "is JSON but not a STAC item"),
        ('{"type": "Feature", "geometry": null}', "is JSON but not a STAC item"),
        ("\xff", "is not JSON"),
    ],
)
def test_other_json(tmp_path, text, said):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError, match=rf"a\.json: {said}"):
        read(path)


def test_missing_item_and_missing_asset(folder, tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.json: no such STAC item"):
        read(tmp_path / "none.json")
    content = pair()
    content["assets"]["B04"]["href"] = "gone.tif"
    with pytest.raises(MissingFileError, match=r"gone\.tif: no such file"):
        read(save(folder, content))
    with pytest.raises(FormatError, match="cannot be read"):
        read_item(str(folder))


def test_item_in_a_bucket(tmp_path):
    with pytest.raises(FormatError, match="Download the JSON first"):
        read("s3://bucket/item.json")


def test_item_that_is_too_large(folder, monkeypatch):
    monkeypatch.setattr("headframe.io.stac_read._MAX_BYTES", 10)
    with pytest.raises(FormatError, match="larger than any STAC item"):
        read(save(folder, pair()))


def test_band_number_beyond_the_file(folder):
    content = pair()
    content["assets"]["B04"]["eo:bands"].insert(0, {"name": "B03"})
    with pytest.raises(FormatError, match=r"B04\.tif: has no band 2"):
        read(save(folder, content))


def test_grids_without_crs_cannot_meet(folder):
    write(folder / "B11.tif", numbers(18, 26, 1500), gsd=20, crs=None)
    with pytest.raises(CrsError, match=r"B11\.tif: has no CRS"):
        read(save(folder, pair()))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a/item.json", True),
        ("https://x.org/collections/c/items/S2A", True),
        ("https://x.org/a.tif?items/", False),
        ("https://x.org/item.JSON?token=1", True),
        ("scene.tif", False),
    ],
)
def test_items_are_told_by_name(source, expected):
    assert is_item_source(source) is expected


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if "forbidden" in self.path:
            self.send_error(403)
        else:
            super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def address(folder):
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(_Quiet, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_item_and_assets_over_http(folder, address):
    path = save(folder, pair())
    np.testing.assert_array_equal(read(f"{address}/item.json"), read(path))
    one = InputSpec("sentinel-2-l2a", ("red",), 10, (0.1,), (0.1,), ((0.01, 0.07, 0.3),))
    named = SceneOptions(bands=("B04",))
    for source in (f"{address}/B04.tif?sig=secret", f"/vsicurl/{address}/B04.tif"):
        np.testing.assert_array_equal(read(source, named, one)[0], read(path)[1])


def test_missing_over_http_without_showing_the_signature(address):
    for name in ("none.json", "none.tif"):
        with pytest.raises(MissingFileError, match=rf"{name}: ") as caught:
            read(f"{address}/{name}?sig=secret")
        assert "secret" not in str(caught.value)


def test_forbidden_item(address):
    with pytest.raises(FormatError, match=r"forbidden\.json: cannot be read \(HTTP Error 403"):
        read(f"{address}/forbidden.json")
