"""A STAC item for a map that several models made together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac
import shapely
from odc.geo.geobox import GeoBox

from headframe.core.classmap import ClassInfo
from headframe.core.modelspec import ModelSpec
from headframe.io.files import write_json
from headframe.io.stac import (
    CLASSIFICATION,
    MEDIA,
    PROJECTION,
    class_facts,
    color_hint,
    footprint,
    model_facts,
    projection_facts,
)

COMPONENTS_SUFFIX = ".components.tif"


@dataclass(frozen=True)
class ComponentRecord:
    """What there is to say about one merged map.

    Attributes:
        name: the map's stem.
        source: where the scene came from.
        shape: (H, W), pixels.
        geobox: where it lies; None without a CRS.
        date: when the scene was taken, or else when its file was written.
        models: name of a model in file names to (description, SHA-256).
        bits: components; ``index`` is the position of the bit.
        outputs: suffix to file, in the order written; a model's own files end with
            ``.<name>.classes.tif`` and ``.<name>.scores.tif``.
        facts: further properties.
    """

    name: str
    source: str
    shape: tuple[int, int]
    geobox: GeoBox | None
    date: datetime
    models: Mapping[str, tuple[ModelSpec, str]]
    bits: Sequence[ClassInfo]
    outputs: Mapping[str, Path]
    facts: Mapping[str, Any]


def write_component_item(path: Path, record: ComponentRecord) -> None:
    """Write the item as JSON, all or nothing, with hrefs relative to it.

    The mask's bits are described by the classification extension's bit fields. The MLM extension
    knows one model an item, so each model's fields stand in an entry of ``headframe:models``.

    Raises:
        OutputError: it cannot be written.
    """
    outline = None if record.geobox is None else footprint(record.geobox)
    models = [
        {"name": name, **model_facts(spec, digest)}
        for name, (spec, digest) in record.models.items()
    ]
    item = pystac.Item(
        id=record.name,
        geometry=None if outline is None else shapely.geometry.mapping(outline),
        bbox=None if outline is None else list(outline.bounds),
        datetime=record.date.astimezone(UTC),
        properties={
            **projection_facts(record.shape, record.geobox),
            "headframe:models": models,
            **record.facts,
        },
        stac_extensions=[PROJECTION, CLASSIFICATION],
    )
    for suffix, file in record.outputs.items():
        key, asset = _asset(suffix, file, record)
        item.add_asset(key, asset)
    item.add_link(pystac.Link("derived_from", record.source))
    write_json(path, item.to_dict(include_self_link=False, transform_hrefs=False))


def _asset(suffix: str, file: Path, record: ComponentRecord) -> tuple[str, pystac.Asset]:
    if suffix == COMPONENTS_SUFFIX:
        extra = {"classification:bitfields": [_bitfield(info) for info in record.bits]}
        title, roles = "Components, a bit each", ["data"]
        return "components", pystac.Asset(
            file.name, title, media_type=pystac.MediaType.COG, roles=roles, extra_fields=extra
        )
    own = (".classes.tif", ".scores.tif")
    owner = next((n for n in record.models if suffix in [f".{n}{end}" for end in own]), None)
    general = suffix if owner is None else suffix.removeprefix(f".{owner}")
    media, title, roles = MEDIA[general]
    key = general.strip(".").split(".")[0]
    asset = pystac.Asset(
        file.name,
        title if owner is None else f"{title} of {owner}",
        media_type=media,
        roles=roles,
    )
    if owner is not None and general == ".classes.tif":
        asset.extra_fields["classification:classes"] = class_facts(record.models[owner][0])
    return (key if owner is None else f"{key}-{owner}"), asset


def _bitfield(info: ClassInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "offset": info.index,
        "length": 1,
        "classes": [
            {"value": 0, "name": f"no_{info.name}"},
            {"value": 1, "name": info.name, "color_hint": color_hint(info)},
        ],
    }
