"""The live map against a local STAC API: only the server is fake."""

import json
import threading
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import rasterio
from pyproj import Transformer

from headframe.core.classmap import binary_class_map
from headframe.core.errors import InputError, JobError
from headframe.core.modelspec import InputSpec, ModelSpec
from headframe.datasets.drawn import draw_landscape, write_scene
from headframe.engine.bundle import Bundle, save_bundle
from headframe.models.registry import build_network
from headframe.surface import live

COMMON = {"B02": "blue", "B03": "green", "B04": "red"}


@pytest.fixture(scope="module")
def scene():
    return draw_landscape(3, size=(192, 240), date=date(2023, 8, 1), cloudy=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    bands = ("red", "green", "blue")
    inputs = InputSpec(
        "sentinel-2-l1c", bands, 10.0, (0.08, 0.09, 0.11), (0.05, 0.04, 0.03),
        ((0.03, 0.08, 0.3),) * 3,
    )  # fmt: skip
    options = {"encoder": "tf_efficientnet_lite0"}
    network = build_network("unet", bands, 1, options)
    spec = ModelSpec("tiny", "unet", options, inputs, binary_class_map("tailings"), 64)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save_bundle(Bundle(spec, network), folder)
    return str(folder)


def _item(name, href, *, cloud, days_ago):
    taken = datetime.now(UTC) - timedelta(days=days_ago)
    assets = {
        common: {
            "href": href,
            "type": "image/tiff; application=geotiff",
            "roles": ["data"],
            "eo:bands": [{"name": n, "common_name": COMMON.get(n)} for n in BANDS],
        }
        for common in ("image",)
    }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": "sentinel-2-l2a",
        "geometry": {"type": "Point", "coordinates": [0, 0]},
        "bbox": [0, 0, 0, 0],
        "links": [],
        "properties": {
            "datetime": taken.isoformat().replace("+00:00", "Z"),
            "eo:cloud_cover": cloud,
            "s2:processing_baseline": "02.14",
        },
        "assets": assets,
    }


BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")


@pytest.fixture
def api(tmp_path, scene):
    """Serve three items over one drawn scene; gives (url, items, requests seen)."""
    path = tmp_path / "scene.tif"
    write_scene(scene, path)
    items = [
        _item("older", str(path), cloud=1.0, days_ago=40),
        _item("newest-clear", str(path), cloud=4.0, days_ago=12),
        _item("newest-cloudy", str(path), cloud=88.0, days_ago=2),
    ]
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def _reply(self, value):
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            root = f"http://127.0.0.1:{self.server.server_port}"
            self._reply(
                {
                    "type": "Catalog",
                    "id": "fake",
                    "stac_version": "1.0.0",
                    "description": "fake",
                    "conformsTo": [
                        "https://api.stacspec.org/v1.0.0/core",
                        "https://api.stacspec.org/v1.0.0/item-search",
                    ],
                    "links": [
                        {"rel": "self", "href": root},
                        {
                            "rel": "search",
                            "href": f"{root}/search",
                            "type": "application/geo+json",
                            "method": "POST",
                        },
                    ],
                }
            )

        def do_POST(self):
            size = int(self.headers["Content-Length"])
            seen.append(json.loads(self.rfile.read(size)))
            self._reply({"type": "FeatureCollection", "features": items, "links": []})

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", items, seen
    server.shutdown()
    server.server_close()
    thread.join()


def _centre(scene):
    box = scene.geobox.boundingbox
    there = Transformer.from_crs(str(scene.geobox.crs), "EPSG:4326", always_xy=True)
    return there.transform((box.left + box.right) / 2 + 180, (box.top + box.bottom) / 2)


def test_maps_the_newest_clear_scene(api, scene, model, tmp_path):
    url, _, seen = api
    lon, lat = _centre(scene)
    out = tmp_path / "live"
    options = live.LiveOptions(stac_url=url, model=model, side_m=960)
    result = live.map_live(lon, lat, out=out, options=options)
    assert result.item == "newest-clear"
    assert result.cloud_percent == 4.0
    assert seen[0]["intersects"]["coordinates"] == [lon, lat]
    assert seen[0]["collections"] == ["sentinel-2-l2a"]
    assert set(result.area_ha) == {"tailings"}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "newest-clear" in page
    assert "Copernicus" in page


def test_clip_is_the_square_around_the_place(api, scene, model, tmp_path):
    url, _, _ = api
    lon, lat = _centre(scene)
    options = live.LiveOptions(stac_url=url, model=model, side_m=640)
    result = live.map_live(lon, lat, out=tmp_path / "live", options=options)
    with rasterio.open(result.outputs["scene"]) as clip:
        assert clip.shape == (64, 64)
        assert clip.descriptions == ("red", "green", "blue")
        row, col = (96 - 32, 120 + 18 - 32)
        there = (scene.geobox.transform.c + 10 * col, scene.geobox.transform.f - 10 * row)
        assert (clip.transform.c, clip.transform.f) == pytest.approx(there, abs=10.1)
        top = round((scene.geobox.transform.f - clip.transform.f) / 10)
        left = round((clip.transform.c - scene.geobox.transform.c) / 10)
        drawn = scene.bands[3, top : top + 64, left : left + 64].astype(int)
        assert np.abs(clip.read(1).astype(int) - drawn).max() <= 1


def test_nothing_clear(api, model, scene, tmp_path):
    url, items, _ = api
    for item in items:
        item["properties"]["eo:cloud_cover"] = 71.0
    options = live.LiveOptions(stac_url=url, model=model)
    with pytest.raises(JobError, match=r"none of 3 scenes.*the clearest has 71 %"):
        live.map_live(*_centre(scene), out=tmp_path / "live", options=options)


def test_no_network(model, tmp_path):
    options = live.LiveOptions(stac_url="http://127.0.0.1:9/", model=model)
    with pytest.raises(JobError, match=r"127\.0\.0\.1:9/: the STAC API gives no answer") as caught:
        live.map_live(10.0, 50.0, out=tmp_path / "live", options=options)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_no_such_place(tmp_path):
    with pytest.raises(InputError, match="give longitude"):
        live.map_live(-20.2, -143.4, out=tmp_path)
