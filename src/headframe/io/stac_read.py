"""Reading a STAC item: which file holds which band, and how its numbers are scaled."""

import http.client
import json
import os.path
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from headframe.core.bands import identify_band
from headframe.core.errors import BandError, FormatError, MissingFileError
from headframe.core.sensors import Band, Sensor
from headframe.io.layers import is_remote, shown

_MAX_BYTES = 16 * 2**20
_TIMEOUT_S = 30
_PICTURES = frozenset({"visual", "thumbnail", "overview", "metadata"})


@dataclass(frozen=True)
class AssetBand:
    """One band of one asset.

    Attributes:
        key: the asset's key in the item.
        href: absolute path or URL of its file.
        index: 1-based band in the file.
        description: everything the item calls the band: name and common name, or the key.
        scale: physical unit per stored number, None where not stated.
        offset: physical value of stored number 0, None where not stated.
        nodata: stored number that means no data, None where not stated.
        rank: which of several assets of one band to prefer, lowest first.
    """

    key: str
    href: str
    index: int
    description: str
    scale: float | None
    offset: float | None
    nodata: float | None
    rank: tuple[bool, bool, bool, float]


@dataclass(frozen=True)
class StacItem:
    """The parts of an item that reading pixels needs.

    Attributes:
        name: the item's id.
        source: where it was read from.
        properties: its properties, with ``collection`` among them.
        bands: every band of every raster asset.
        tables: key to path or URL of every other asset.
    """

    name: str
    source: str
    properties: Mapping[str, object]
    bands: tuple[AssetBand, ...]
    tables: Mapping[str, str] = field(default_factory=dict)


def is_item_source(source: str) -> bool:
    """Tell by its name whether ``source`` is a STAC item rather than a raster."""
    path = source.split("?", 1)[0].lower()
    return path.endswith((".json", ".geojson")) or (
        path.startswith(("http://", "https://")) and path.rsplit("/", 2)[-2:-1] == ["items"]
    )


def read_item(source: str) -> StacItem:
    """Read a STAC item (1.0 or 1.1) from a local path or an http(s) URL.

    Raises:
        MissingFileError: there is none.
        FormatError: it is not a STAC item.
    """
    try:
        content = json.loads(read_text(source))
    except (ValueError, RecursionError) as exc:
        raise FormatError(f"{shown(source)}: is not JSON ({exc}).") from exc
    return parse_item(content, source)


def parse_item(content: Any, source: str) -> StacItem:  # noqa: ANN401 - parsed JSON
    """Take the parts of an item that reading pixels needs.

    Args:
        content: parsed JSON.
        source: path or URL it was read from; relative paths of its files start there.

    Raises:
        FormatError: it is not a STAC item.
    """
    if not is_item(content):
        raise FormatError(
            f"{shown(source)}: is JSON but not a STAC item (type Feature with assets). "
            "Name an item, not a collection or catalogue."
        )
    properties = content.get("properties")
    properties = dict(properties) if isinstance(properties, dict) else {}
    properties.setdefault("collection", content.get("collection"))
    bands: list[AssetBand] = []
    tables: dict[str, str] = {}
    for key, asset in content["assets"].items():
        if isinstance(asset, dict) and isinstance(asset.get("href"), str):
            href = _absolute(asset["href"], source)
            found = _asset_bands(key, asset, href, properties)
            bands += found
            if not found:
                tables[key] = href
    return StacItem(str(content.get("id") or "item"), source, properties, tuple(bands), tables)


def is_item(content: object) -> bool:
    """Tell whether parsed JSON is a STAC item."""
    return (
        isinstance(content, dict)
        and content.get("type") == "Feature"
        and "stac_version" in content
        and isinstance(content.get("assets"), dict)
    )


def choose_bands(item: StacItem, wanted: Sequence[str], *, sensor: Sensor) -> tuple[AssetBand, ...]:
    """Find the asset band for each wanted band.

    Of several assets with one band, data assets go before pictures, GeoTIFF before JPEG 2000 and
    finer pixels before coarser ones.

    Raises:
        BandError: no asset has one of them; names the item, what it has and what is missing.
    """
    known: dict[Band, AssetBand] = {}
    for candidate in sorted(item.bands, key=lambda band: band.rank):
        band = identify_band(candidate.description, sensor)
        if band is not None:
            known.setdefault(band, candidate)
    targets = [sensor.band(name) for name in wanted]
    missing = [f"{band.common_name} ({band.name})" for band in targets if band not in known]
    if missing:
        has = ", ".join(sorted({band.description for band in item.bands})) or "no raster bands"
        raise BandError(
            f"{shown(item.source)}: this STAC item has {has}, and none is known to be "
            f"{' and '.join(missing)}; the model needs {', '.join(wanted)}. Map the band files "
            "directly with --bands, or choose another model."
        )
    return tuple(known[band] for band in targets)


def read_text(source: str) -> str:
    """Read a small text file, at most 16 MiB, from a local path or an http(s) URL.

    Raises:
        MissingFileError: there is none.
        FormatError: it cannot be read.
    """
    try:
        if source.startswith(("http://", "https://")):
            with urllib.request.urlopen(source, timeout=_TIMEOUT_S) as reply:
                data = reply.read(_MAX_BYTES + 1)
        elif is_remote(source) or source.startswith("/vsi"):
            raise FormatError(
                f"{shown(source)}: a STAC item is read from a file or an http(s) address. "
                "Download the JSON first; its assets may stay where they are."
            )
        else:
            with Path(source).open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
    except (OSError, http.client.HTTPException) as exc:
        if isinstance(exc, FileNotFoundError) or getattr(exc, "code", None) in (404, 410):
            raise MissingFileError(f"{shown(source)}: no such STAC item ({exc}).") from exc
        raise FormatError(f"{shown(source)}: cannot be read ({exc}).") from exc
    if len(data) > _MAX_BYTES:
        raise FormatError(f"{shown(source)}: is larger than any STAC item (16 MiB).")
    return str(data, "utf-8")


def _absolute(href: str, source: str) -> str:
    if is_remote(href) or href.startswith("/vsi") or os.path.isabs(href):
        return href
    if is_remote(source):
        return urljoin(source, href)
    return os.path.normpath(Path(source).absolute().parent / href)


def _asset_bands(
    key: str, asset: dict[str, Any], href: str, properties: Mapping[str, object]
) -> list[AssetBand]:
    kind = str(asset.get("type") or "").lower()
    if not _is_raster(kind, href):
        return []
    named = _dicts(asset.get("bands")) or _dicts(asset.get("eo:bands"))
    stored = _dicts(asset.get("raster:bands"))
    picture = bool(_PICTURES & {str(role) for role in asset.get("roles") or ()})
    found = []
    for index in range(max(len(named), len(stored), 1)):
        name = named[index] if index < len(named) else {}
        raster = {**asset, **(stored[index] if index < len(stored) else {}), **name}
        gsd = _number(raster, "gsd", "raster:spatial_resolution", "spatial_resolution")
        gsd = gsd or _number(properties, "gsd") or 0.0
        words = [name.get("name"), name.get("common_name"), name.get("eo:common_name")]
        description = " ".join(str(word) for word in words if word)
        found.append(
            AssetBand(
                key=key,
                href=href,
                index=index + 1,
                description=description or (key if len(named) <= 1 else ""),
                scale=_number(raster, "raster:scale", "scale"),
                offset=_number(raster, "raster:offset", "offset"),
                nodata=_number(raster, "nodata"),
                rank=(picture, len(named) > 1, "jp2" in kind or "jp2" in href.lower(), gsd),
            )
        )
    return found


def _is_raster(kind: str, href: str) -> bool:
    if kind:
        return kind.startswith("image/") and not kind.startswith(("image/png", "image/jpeg"))
    return href.split("?", 1)[0].lower().endswith((".tif", ".tiff", ".vrt", ".jp2"))


def _dicts(value: object) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _number(fields: Mapping[str, object], *keys: str) -> float | None:
    for key in keys:
        value = fields.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if key == "nodata" and value == "nan":
            return float("nan")
    return None
