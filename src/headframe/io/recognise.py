"""Tell by name, tags and bands which sensor a file is from."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headframe.core.bands import identify_band
from headframe.core.errors import BandError
from headframe.core.sensors import SENSORS, Sensor, get_sensor
from headframe.io.channels import tagged_sensor
from headframe.io.layers import band_descriptions, data_bands, gdal_reading, open_raster, shown
from headframe.io.product import product_of
from headframe.io.sources import scene_stem
from headframe.io.stac_read import is_item_source, read_item

_LANDSAT = re.compile(r"(?:landsat[-_ ]?|(?<![a-z0-9])l[cotem]0?)([4-9])(?![0-9])", re.IGNORECASE)
_LANDSATS = {"4": "landsat-tm", "5": "landsat-tm", "7": "landsat-etm"}
_SENTINEL_1 = re.compile(r"sentinel[-_ ]?1|(?<![a-z0-9])s1[abc]?(?![0-9])", re.IGNORECASE)
_SENTINEL_2 = re.compile(r"sentinel[-_ ]?2|(?<![a-z0-9])s2[abc]?(?![0-9])", re.IGNORECASE)
_ONLY_SENTINEL_2 = re.compile(r"(?<![a-z0-9])(b8a|b0[1-9]|rededge\w*)(?![a-z0-9])", re.IGNORECASE)
_PLATFORM_KEYS = ("spacecraft_id", "platform", "constellation", "collection", "mission")


@dataclass(frozen=True)
class FileFacts:
    """What a file says of itself.

    Attributes:
        source: path or URL.
        names: what its data bands are called, in file order; a single band without a description
            goes by the file's name.
        tags: GDAL tags, or properties of a STAC item.
        item: whether it is a STAC item.
        named: whether ``names`` are the file's own descriptions.
    """

    source: str
    names: tuple[str | None, ...]
    tags: Mapping[str, object]
    item: bool
    named: bool


def read_facts(source: str) -> FileFacts:
    """Read descriptions and tags of a raster or a STAC item, no pixels.

    Raises:
        MissingFileError: it is not there.
        FormatError: it cannot be read.
    """
    if is_item_source(source):
        item = read_item(source)
        assets = tuple(band.description for band in item.bands)
        return FileFacts(source, assets, item.properties, item=True, named=True)
    with open_raster(source) as dataset, gdal_reading(source):
        texts = band_descriptions(dataset)
        names: tuple[str | None, ...] = tuple(texts[index - 1] for index in data_bands(dataset))
        tags = {**dataset.tags(), **dataset.tags(ns="IMAGERY")}
    if names == (None,):
        return FileFacts(source, (scene_stem(source),), tags, item=False, named=False)
    return FileFacts(source, names, tags, item=False, named=True)


def recognise(facts: FileFacts) -> str | None:
    """Tell the sensor of a file.

    Tags of ``dataset fuse`` come first, then Sentinel-2's product level, the mission in tags or
    name, and bands that only one sensor has.

    Returns:
        A name for ``core.sensors.get_sensor``; ``sentinel-2`` where L1C or L2A is not told; None
        where nothing tells.
    """
    tags = {str(key).lower(): str(value) for key, value in facts.tags.items()}
    own = tagged_sensor({key.upper(): value for key, value in tags.items()})
    product = product_of(facts.source, facts.tags)
    if own or product.sensor:
        return own or product.sensor
    platform = " ".join(tags.get(key, "") for key in _PLATFORM_KEYS)
    file_name = re.split(r"[/\\]", facts.source.split("?", 1)[0])[-1]
    hint = f"{platform} {file_name}"
    landsat = _LANDSAT.search(hint)
    if landsat:
        return _LANDSATS.get(landsat.group(1), "landsat-oli")
    if _known(facts.names, SENSORS["sentinel-1-grd"]) or _SENTINEL_1.search(hint):
        return "sentinel-1-grd"
    return _sentinel_2(facts.names, hint)


def sensor_of(facts: FileFacts, others: Sequence[str | None]) -> Sensor:
    """Tell the sensor of one of several files, or say what to do.

    Args:
        facts: the file.
        others: what ``recognise`` says of all the files; a Sentinel-2 file that does not tell its
            level is taken to have that of the others.

    Raises:
        BandError: it cannot be told.
    """
    found = recognise(facts)
    if found == "sentinel-2":
        levels = {name for name in others if name and name.startswith("sentinel-2-")}
        found = levels.pop() if len(levels) == 1 else None
        choice = "sentinel-2-l1c or sentinel-2-l2a"
    else:
        choice = ", ".join(SENSORS)
    if found is None:
        names = ", ".join(name or "unnamed" for name in facts.names)
        raise BandError(
            f"{shown(facts.source)}: neither its name, its tags nor its bands ({names}) tell its "
            f"sensor. State it with --sensor, one a file: {choice}."
        )
    return get_sensor(found)


def _known(names: Sequence[str | None], sensor: Sensor) -> bool:
    return any(identify_band(name, sensor) is not None for name in names)


def _sentinel_2(names: Sequence[str | None], hint: str) -> str | None:
    bands = {identify_band(name, SENSORS["sentinel-2-l1c"]) for name in names}
    has = {band.name for band in bands if band is not None}
    if {"B8A", "B10"} <= has:
        return "sentinel-2-l1c"
    told = any(_ONLY_SENTINEL_2.search(name or "") for name in names)
    return "sentinel-2" if told or _SENTINEL_2.search(hint) else None
