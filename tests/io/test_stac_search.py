"""Searching a local STAC API, and walking a static catalogue behind the same server."""

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pystac
import pytest
import shapely
from urllib3 import Retry

from headframe.core.errors import JobError
from headframe.io import stac_search
from headframe.io.stac_search import Query, item_content, open_catalogue, taken

AREA = shapely.box(10, 50, 11, 51)
CORE = "https://api.stacspec.org/v1.0.0/core"
SEARCH = "https://api.stacspec.org/v1.0.0/item-search"


def item(name, *, cloud=1.0, day="2021-06-01", area=AREA, collection="s2"):
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": collection,
        "geometry": None if area is None else shapely.geometry.mapping(area),
        "bbox": [10, 50, 11, 51],
        "links": [],
        "properties": {"datetime": f"{day}T10:00:00Z", "eo:cloud_cover": cloud},
        "assets": {},
    }


def query(**changes):
    start, end = datetime(2021, 1, 1, tzinfo=UTC), datetime(2021, 12, 31, tzinfo=UTC)
    return Query(**{"collection": "s2", "area": AREA, "start": start, "end": end, **changes})


class Server:
    """What the API answers, and what it was asked."""

    def __init__(self):
        self.conforms = [CORE, SEARCH, f"{SEARCH}#query"]
        self.items = [item("a")]
        self.failures = []
        self.asked = []

    def root(self, url):
        catalogue = {"type": "Catalog", "id": "fake", "stac_version": "1.0.0", "description": "x"}
        links = [
            {"rel": "self", "href": url},
            {
                "rel": "search",
                "href": f"{url}/search",
                "method": "POST",
                "type": "application/geo+json",
            },
            *({"rel": "item", "href": f"{url}/items/{i['id']}"} for i in self.items),
        ]
        conforms = {"conformsTo": self.conforms} if self.conforms else {}
        return {**catalogue, "links": links, **conforms}


@pytest.fixture
def api():
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def _reply(self, value, status=200):
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            named = [i for i in state.items if self.path == f"/items/{i['id']}"]
            url = f"http://127.0.0.1:{self.server.server_port}"
            self._reply(named[0] if named else state.root(url))

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.asked.append(json.loads(body))
            if state.failures:
                self._reply({}, state.failures.pop())
                return
            found = {"type": "FeatureCollection", "features": state.items, "links": []}
            self._reply(found)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_api_is_asked_for_what_is_wanted(api):
    found = open_catalogue(api.url).search(query(max_cloud=2.0))
    assert [i.id for i in found] == ["a"]
    (asked,) = api.asked
    assert asked["collections"] == ["s2"]
    assert asked["datetime"] == "2021-01-01T00:00:00Z/2021-12-31T00:00:00Z"
    assert asked["query"] == {"eo:cloud_cover": {"lte": 2.0}}
    assert asked["intersects"]["type"] == "Polygon"


def test_what_an_api_does_not_filter_is_filtered_here(api):
    api.conforms = [CORE, SEARCH]
    api.items = [
        item("good"),
        item("cloudy", cloud=3.0),
        item("late", day="2022-01-01"),
        item("far", area=shapely.box(0, 0, 1, 1)),
        item("nowhere", area=None),
        item("other", collection="s1"),
    ]
    found = open_catalogue(api.url).search(query(max_cloud=2.0))
    assert [i.id for i in found] == ["good"]
    assert "query" not in api.asked[0]
    assert [i.id for i in open_catalogue(api.url).search(query())] == ["good", "cloudy"]


def test_a_static_catalogue_on_a_server(api):
    api.conforms = []
    api.items = [item("a"), item("b", cloud=9.0)]
    found = open_catalogue(api.url).search(query(max_cloud=2.0))
    assert [i.id for i in found] == ["a"]
    assert api.asked == []


def test_an_answer_that_does_not_come_is_asked_for_again(api, monkeypatch):
    forced = {"status_forcelist": (503,), "allowed_methods": None}
    monkeypatch.setattr(stac_search, "RETRIES", Retry(total=2, backoff_factor=0.01, **forced))
    api.failures = [503, 503]
    assert len(open_catalogue(api.url).search(query())) == 1
    assert len(api.asked) == 3
    api.failures = [503] * 5
    with pytest.raises(JobError, match="the STAC API gives no answer") as caught:
        open_catalogue(api.url).search(query())
    assert "\n" not in str(caught.value)
    api.failures = [400]
    with pytest.raises(JobError, match="gives no answer"):
        open_catalogue(api.url).search(query())


def test_an_answer_that_is_no_stac(api):
    api.items = []
    api.root = lambda url: ["no", "catalogue"]
    with pytest.raises(JobError, match="no answer"):
        open_catalogue(api.url)


def test_facts_of_an_item():
    value = item("range")
    value["properties"] = {
        "datetime": None,
        "start_datetime": "2021-06-01T00:00:00Z",
        "end_datetime": "2021-06-02T00:00:00Z",
        "eo:cloud_cover": "low",
    }
    one = pystac.Item.from_dict(value)
    assert taken(one) == datetime(2021, 6, 1, tzinfo=UTC)
    assert stac_search.cloud_cover(one) is None
    assert item_content(one)["id"] == "range"
