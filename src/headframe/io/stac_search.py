"""Finding items: a STAC API is asked, a static catalogue or item collection is walked through."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac
import pystac_client
import shapely
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import FallbackToPystac, NoConformsTo
from requests.exceptions import RequestException
from shapely.geometry.base import BaseGeometry
from urllib3 import Retry

from headframe.core.errors import FormatError, JobError, MissingFileError

EARTH_SEARCH = "https://earth-search.aws.element84.com/v1"
"""Element84's public STAC API, which needs no account."""

TIMEOUT_S = 30
RETRIES = Retry(
    total=4, backoff_factor=0.25, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None
)
"""What the HTTP library does about an answer that does not come."""

_NO_STAC = (pystac.STACError, pystac.STACTypeError)
_PAGE = 200
_MESSAGE_CHARS = 160
_SIGNED_HOST = "planetarycomputer.microsoft.com"


@dataclass(frozen=True)
class Query:
    """What items are looked for.

    Attributes:
        collection: its id.
        area: ground that an item must touch, EPSG:4326.
        start: first moment, with time zone.
        end: last moment, included.
        max_cloud: percent of the whole item; items that state no cloud cover pass; None for any.
    """

    collection: str
    area: BaseGeometry
    start: datetime
    end: datetime
    max_cloud: float | None = None


class Catalogue:
    """A place to look for items. Made by ``open_catalogue``."""

    def __init__(
        self, source: str, *, client: pystac_client.Client | None, items: Iterable[pystac.Item]
    ) -> None:
        self.source = source
        self._client = client
        self._items = tuple(items)

    def search(self, query: Query) -> tuple[pystac.Item, ...]:
        """Find the items that meet ``query``, in the catalogue's order.

        Raises:
            JobError: the API gives no answer.
        """
        items = self._items if self._client is None else self._ask(self._client, query)
        return tuple(item for item in items if _meets(item, query))

    def _ask(self, client: pystac_client.Client, query: Query) -> list[pystac.Item]:
        less_cloud = None
        if query.max_cloud is not None and client.conforms_to("QUERY"):
            less_cloud = {"eo:cloud_cover": {"lte": query.max_cloud}}
        try:
            found = client.search(
                collections=[query.collection],
                intersects=shapely.geometry.mapping(query.area),
                datetime=[query.start, query.end],
                query=less_cloud,
                limit=_PAGE,
            )
            return list(found.items())
        except (APIError, RequestException, pystac.STACError, NotImplementedError) as exc:
            raise _no_answer(self.source, exc) from exc


def open_catalogue(source: str) -> Catalogue:
    """Open a STAC API, a static catalogue or a file of items.

    Args:
        source: root of an API or a catalogue, as URL or path; or a GeoJSON file of items, as an
            API answers a search.

    Raises:
        MissingFileError: no such file.
        FormatError: a file that is no STAC.
        JobError: a URL that cannot be reached, or answers with no STAC.
    """
    remote = source.startswith(("http://", "https://"))
    if not remote and not Path(source).is_file():
        raise MissingFileError(f"{source}: no such STAC catalogue. Give its file or its URL.")
    reader = StacApiIO(max_retries=RETRIES, timeout=TIMEOUT_S)
    try:
        content = reader.read_json(source)
        if not isinstance(content, dict):
            raise pystac.STACError("it is no JSON object")
        if "conformsTo" in content:
            client = pystac_client.Client.open(source, stac_io=reader)
            if client.conforms_to("ITEM_SEARCH"):
                return Catalogue(source, client=client, items=())
        return Catalogue(source, client=None, items=_walk(source, content, reader))
    except (APIError, RequestException) as exc:
        raise _no_answer(source, exc) from exc
    except (*_NO_STAC, OSError, ValueError, KeyError, TypeError, RecursionError) as exc:
        if remote:
            raise _no_answer(source, exc) from exc
        raise FormatError(
            f"{source}: cannot be read as a STAC catalogue ({_line(exc)}). "
            "Give a catalogue, a collection or a GeoJSON file of items."
        ) from exc


def item_content(item: pystac.Item) -> dict[str, Any]:
    """Give an item as JSON values, its files signed where their host asks for that.

    Raises:
        JobError: the host does not sign.
    """
    if _SIGNED_HOST in (item.get_self_href() or ""):
        import planetary_computer  # noqa: PLC0415 - its import warns of pydantic; one host needs it

        try:
            item = planetary_computer.sign(item)
        except RequestException as exc:
            raise _no_answer(_SIGNED_HOST, exc) from exc
    content: dict[str, Any] = item.to_dict(transform_hrefs=False)
    return content


def taken(item: pystac.Item) -> datetime:
    """Tell when an item was taken: its moment, or the first of a range; UTC."""
    moment = item.datetime or item.common_metadata.start_datetime
    return datetime.min.replace(tzinfo=UTC) if moment is None else moment.astimezone(UTC)


def cloud_cover(item: pystac.Item) -> float | None:
    """Tell the cloud cover that an item states, percent; None where it states none."""
    value = item.properties.get("eo:cloud_cover")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return None


def _walk(source: str, content: dict[str, Any], reader: StacApiIO) -> list[pystac.Item]:
    if content.get("type") == "FeatureCollection":
        items = list(pystac.ItemCollection.from_dict(content))
        for item in items:
            if item.get_self_href() is None:
                item.set_self_href(_beside(source))
        return items
    with warnings.catch_warnings():  # that a static catalogue is no API is known here
        warnings.simplefilter("ignore", FallbackToPystac)
        warnings.simplefilter("ignore", NoConformsTo)
        found = pystac.read_file(source, stac_io=reader)
        if isinstance(found, pystac.Item):
            return [found]
        if not isinstance(found, pystac.Catalog):
            raise pystac.STACError(f"it is a {type(found).__name__}")
        return list(found.get_items(recursive=True))


def _beside(source: str) -> str:
    """Where items in a file count as lying, for the paths of their own files."""
    return source if "://" in source else str(Path(source).absolute())


def _meets(item: pystac.Item, query: Query) -> bool:
    cloud = cloud_cover(item)
    if item.collection_id != query.collection or not query.start <= taken(item) <= query.end:
        return False
    if cloud is not None and query.max_cloud is not None and cloud > query.max_cloud:
        return False
    if item.geometry is None:
        return False
    return bool(shapely.geometry.shape(item.geometry).intersects(query.area))


def _no_answer(source: str, exc: Exception) -> JobError:
    return JobError(
        f"{source}: the STAC API gives no answer ({_line(exc)}). "
        "Check the network, or name another one."
    )


def _line(exc: Exception) -> str:
    return " ".join(str(exc).split())[:_MESSAGE_CHARS]
