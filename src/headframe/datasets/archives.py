"""What is fetched: known collections, the papers' rules, and which image of a period is taken."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal, get_args

import pystac
import shapely
from shapely.geometry.base import BaseGeometry

from headframe.core.errors import DatasetError, UnknownNameError
from headframe.core.sensors import Sensor, get_sensor
from headframe.io.stac_search import cloud_cover, taken

OnePer = Literal["year", "month"]

_TM = ("blue", "green", "red", "nir", "swir16", "swir22")
_LANDSAT_BANDS: dict[str, tuple[str, ...]] = {
    "landsat-tm": _TM,
    "landsat-etm": _TM,
    "landsat-oli": ("coastal", "blue", "green", "red", "nir08", "swir16", "swir22"),
}
_LANDSATS = {"4": "landsat-tm", "5": "landsat-tm", "7": "landsat-etm"}


@dataclass(frozen=True)
class Collection:
    """A collection as STAC catalogues call it.

    Attributes:
        name: its id.
        sensor: name of its sensor, or ``landsat`` where each item says which.
        cloud: whether its items state cloud cover.
        licence: its terms, where the items state none.
    """

    name: str
    sensor: str
    cloud: bool
    licence: str

    def sensor_of(self, properties: Mapping[str, object]) -> Sensor:
        """Tell the sensor of an item."""
        if self.sensor != "landsat":
            return get_sensor(self.sensor)
        number = str(properties.get("platform") or "")[-1:]
        return get_sensor(_LANDSATS.get(number, "landsat-oli"))

    def bands_of(self, sensor: Sensor) -> tuple[str, ...]:
        """Name the bands that are fetched where none are asked for: all of reflectance or radar."""
        if self.sensor == "landsat":
            return _LANDSAT_BANDS[sensor.name]
        if self.sensor == "sentinel-1-grd":
            return ("vv", "vh")
        return tuple(band.common_name for band in sensor.bands)


_COPERNICUS = "Copernicus Sentinel data: free, full and open, with attribution"
COLLECTIONS: dict[str, Collection] = {
    found.name: found
    for found in (
        Collection("sentinel-2-l2a", "sentinel-2-l2a", True, _COPERNICUS),
        Collection("sentinel-1-grd", "sentinel-1-grd", False, _COPERNICUS),
        Collection("sentinel-1-rtc", "sentinel-1-grd", False, _COPERNICUS),
        Collection("landsat-c2-l2", "landsat", True, "public domain (USGS)"),
    )
}


@dataclass(frozen=True)
class Rule:
    """Which images are wanted.

    Attributes:
        start: first day.
        end: last day, included.
        max_cloud: percent of the whole item.
        one_per: one image of every calendar year or month between ``start`` and ``end``.
        size_m: side of the square around a site, metres; None: see ``fetch.FetchOptions``.
    """

    start: date
    end: date
    max_cloud: float = 5.0
    one_per: OnePer = "year"
    size_m: float | None = None

    def __post_init__(self) -> None:
        """Check that there is a time between start and end, and a share of cloud."""
        if self.start > self.end:
            raise DatasetError(f"--start {self.start} lies after --end {self.end}. Swap them.")
        if not 0 <= self.max_cloud <= 100:
            raise DatasetError(f"--max-cloud {self.max_cloud:g} is no percentage from 0 to 100.")


RULES: dict[str, Rule] = {
    "minecam": Rule(date(2016, 1, 1), date(2022, 12, 31), 1.0, "year", 5120.0),
    "minesegsat": Rule(date(2021, 4, 1), date(2021, 9, 1), 1.0, "year", 7680.0),
}
"""The papers' rules: papers/002 §2.2 takes one "cloudless" image a year from 2016 to 2022 (its
models see 512 pixels of 10 m; that cloudless means at most 1 % is ours); papers/004 takes scenes
from 1 April to 1 September 2021 with at most 1 % cloud, cut to 7,680 m."""


@dataclass(frozen=True)
class Period:
    """A calendar year or month, as far as it lies in the time wanted.

    Attributes:
        name: ``2019`` or ``2019-07``.
        start: its first moment.
        end: its last second.
    """

    name: str
    start: datetime
    end: datetime

    @property
    def middle(self) -> datetime:
        """The moment half-way."""
        return self.start + (self.end - self.start) / 2


def get_collection(name: str) -> Collection:
    """Look a collection up.

    Raises:
        UnknownNameError: no such collection.
    """
    if name not in COLLECTIONS:
        raise UnknownNameError.of("collection", name, COLLECTIONS)
    return COLLECTIONS[name]


def get_rule(name: str) -> Rule:
    """Look a paper's rule up.

    Raises:
        UnknownNameError: no such preset.
    """
    if name not in RULES:
        raise UnknownNameError.of("preset", name, RULES)
    return RULES[name]


def make_rule(
    preset: str | None,
    *,
    start: str | None = None,
    end: str | None = None,
    max_cloud: float | None = None,
    one_per: str | None = None,
    size_m: float | None = None,
) -> Rule:
    """Make a rule of a preset, or of the defaults, and what is said otherwise.

    Args:
        preset: name in ``RULES``, or None.
        start: day as text; needed without a preset.
        end: likewise.
        max_cloud: percent.
        one_per: ``year`` or ``month``.
        size_m: metres.

    Raises:
        UnknownNameError: no such preset, or another word than year or month.
        DatasetError: a day that is none or is lacking, an end before the start, a wrong share.
    """
    changes: dict[str, Any] = {"max_cloud": max_cloud, "size_m": size_m}
    for name, text in (("start", start), ("end", end)):
        changes[name] = None if text is None else parse_day(text, f"--{name}")
        if changes[name] is None and preset is None:
            raise DatasetError(f"--{name} is needed, e.g. --{name} 2021-04-01, or a --preset.")
    if one_per is not None:
        if one_per not in get_args(OnePer):
            raise UnknownNameError.of("--one-per", one_per, get_args(OnePer))
        changes["one_per"] = one_per
    stated = {name: value for name, value in changes.items() if value is not None}
    return Rule(**stated) if preset is None else replace(get_rule(preset), **stated)


def parse_day(text: str, option: str) -> date:
    """Read a day, ``2021-04-01``.

    Raises:
        DatasetError: it is none; the message names ``option``.
    """
    try:
        return date.fromisoformat(text.strip())
    except ValueError as exc:
        raise DatasetError(f"{option} {text}: is no date. Write it as 2021-04-01.") from exc


def periods(rule: Rule) -> tuple[Period, ...]:
    """Divide the time wanted into calendar years or months, in order."""
    found = []
    first = rule.start
    while first <= rule.end:
        if rule.one_per == "year":
            following = date(first.year + 1, 1, 1)
            name = f"{first.year}"
        else:
            following = (first.replace(day=1) + timedelta(days=31)).replace(day=1)
            name = f"{first.year}-{first.month:02d}"
        last = min(following - timedelta(days=1), rule.end)
        found.append(Period(name, _moment(first, time.min), _moment(last, time(23, 59, 59))))
        first = following
    return tuple(found)


def ranked(
    items: Iterable[pystac.Item],
    period: Period,
    *,
    collection: Collection,
    rule: Rule,
    area: BaseGeometry,
) -> Sequence[pystac.Item]:
    """Order the items of a period, the one to take first.

    Left out: items of another time, with more cloud than the rule allows, or that state no cloud
    cover although their collection does. Then: items whose footprint covers the whole area before
    those it cuts; less cloud first; of equal cloud the nearest to the middle of the period; of
    equal distance by name. Cloud is that of the whole scene, as in both papers, not of the window.

    Args:
        items: what a search found.
        period: whose image is wanted.
        collection: whose items they are.
        rule: what is wanted.
        area: window of the site, EPSG:4326.
    """
    keys: dict[str, tuple[tuple[bool, float, timedelta, str], pystac.Item]] = {}
    for item in items:
        moment, cloud = taken(item), cloud_cover(item)
        outside = not period.start <= moment <= period.end + timedelta(seconds=1)
        if outside or item.geometry is None:
            continue
        if collection.cloud and (cloud is None or cloud > rule.max_cloud):
            continue
        footprint = shapely.geometry.shape(item.geometry)
        cut = not bool(shapely.make_valid(footprint).covers(area))
        away = abs(moment - period.middle)
        keys[item.id] = ((cut, cloud if collection.cloud and cloud else 0.0, away, item.id), item)
    return [item for _, item in sorted(keys.values(), key=lambda pair: pair[0])]


def licence_of(item: pystac.Item, collection: Collection) -> str:
    """Tell an item's licence: its own, else a link to it, else what the collection is under."""
    stated = item.properties.get("license")
    if isinstance(stated, str) and stated:
        return stated
    link = item.get_single_link("license")
    return collection.licence if link is None else str(link.href)


def _moment(day: date, at: time) -> datetime:
    return datetime.combine(day, at, tzinfo=UTC)
