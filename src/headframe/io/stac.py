"""A STAC item that says what a map is, where it lies and which model or models made it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import shapely
from odc.geo.geobox import GeoBox
from shapely import Polygon

from headframe.core.classmap import ClassInfo
from headframe.core.modelspec import ModelSpec
from headframe.geo.area import GridMeasure
from headframe.io.files import write_json

PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
MLM = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
CLASSIFICATION = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"
CLASSES_SUFFIX = ".classes.tif"
SCORES_SUFFIX = ".scores.tif"
COMPONENTS_SUFFIX = ".components.tif"
OWN_SUFFIXES = (CLASSES_SUFFIX, SCORES_SUFFIX)
"""Files that each model of a map has for itself."""
MEDIA = {
    COMPONENTS_SUFFIX: (pystac.MediaType.COG, "Components, a bit each", ["data"]),
    CLASSES_SUFFIX: (pystac.MediaType.COG, "Classes", ["data"]),
    SCORES_SUFFIX: (pystac.MediaType.COG, "Scores", ["data"]),
    ".gpkg": (pystac.MediaType.GEOPACKAGE, "Polygons", ["data"]),
    ".parquet": (pystac.MediaType.PARQUET, "Polygons", ["data"]),
    ".png": (pystac.MediaType.PNG, "Quick look", ["overview", "thumbnail"]),
}


@dataclass(frozen=True)
class MapRecord:
    """What there is to say about one map.

    Attributes:
        name: the map's stem.
        source: where the scene came from.
        shape: (H, W), pixels.
        geobox: where it lies; None without a CRS.
        date: when the scene was taken, or else when its file was written.
        models: name of a model in file names to (description, SHA-256); an only model's is empty.
        outputs: suffix to file, in the order written; of several models each has its own files,
            ``.<name>.classes.tif`` and ``.<name>.scores.tif``.
        facts: further properties.
        bits: components of a merged map; ``index`` is the position of the bit.
    """

    name: str
    source: str
    shape: tuple[int, int]
    geobox: GeoBox | None
    date: datetime
    models: Mapping[str, tuple[ModelSpec, str]]
    outputs: Mapping[str, Path]
    facts: Mapping[str, Any]
    bits: Sequence[ClassInfo] = ()


def write_item(path: Path, record: MapRecord) -> None:
    """Write the item as JSON, all or nothing, with hrefs relative to it.

    The MLM extension knows one model an item, so the fields of several models stand in entries of
    ``headframe:models``. A merged mask's bits are described by the classification extension's bit
    fields.

    Raises:
        OutputError: it cannot be written.
    """
    outline = None if record.geobox is None else footprint(record.geobox)
    only = record.models.get("")
    models = {"headframe:models": _named_models(record)} if only is None else model_facts(*only)
    item = pystac.Item(
        id=record.name,
        geometry=None if outline is None else shapely.geometry.mapping(outline),
        bbox=None if outline is None else list(outline.bounds),
        datetime=record.date.astimezone(UTC),
        properties={**projection_facts(record.shape, record.geobox), **models, **record.facts},
        stac_extensions=[PROJECTION, *([] if only is None else [MLM]), CLASSIFICATION],
    )
    for suffix, file in record.outputs.items():
        key, asset = _asset(suffix, file, record)
        item.add_asset(key, asset)
    item.add_link(pystac.Link("derived_from", record.source))
    write_json(path, item.to_dict(include_self_link=False, transform_hrefs=False))


def _named_models(record: MapRecord) -> list[dict[str, Any]]:
    return [
        {"name": name, **model_facts(spec, digest)}
        for name, (spec, digest) in record.models.items()
    ]


def _asset(suffix: str, file: Path, record: MapRecord) -> tuple[str, pystac.Asset]:
    own = {f".{n}{end}" if n else end: (n, end) for n in record.models for end in OWN_SUFFIXES}
    owner, general = own.get(suffix, ("", suffix))
    media, title, roles = MEDIA[general]
    key = general.strip(".").split(".")[0]
    extra: dict[str, Any] = {}
    if general == COMPONENTS_SUFFIX:
        extra["classification:bitfields"] = [_bitfield(info) for info in record.bits]
    elif general == CLASSES_SUFFIX:
        extra["classification:classes"] = class_facts(record.models[owner][0])
    if owner:
        key, title = f"{key}-{owner}", f"{title} of {owner}"
    return key, pystac.Asset(file.name, title, media_type=media, roles=roles, extra_fields=extra)


def footprint(geobox: GeoBox) -> Polygon:
    """Outline a grid in longitude and latitude, its sides followed at 16 points each."""
    height, width = geobox.shape
    fine = shapely.segmentize(shapely.box(0, 0, width, height), max(height, width) / 16)
    outline = shapely.transform(fine, GridMeasure(geobox).to_lonlat)
    return Polygon(np.round(shapely.get_coordinates(outline), 7))


def projection_facts(shape: tuple[int, int], geobox: GeoBox | None) -> dict[str, Any]:
    """Describe a grid by the projection extension's fields."""
    facts: dict[str, Any] = {"proj:shape": list(shape)}
    if geobox is None:
        return {**facts, "proj:code": None}
    facts["proj:transform"] = [float(v) for v in tuple(geobox.affine)[:6]]
    measure = GridMeasure(geobox)
    authority = measure.crs.to_authority()
    if authority is None:
        return {**facts, "proj:code": None, "proj:wkt2": measure.crs.to_wkt()}
    return {**facts, "proj:code": ":".join(authority)}


def class_facts(spec: ModelSpec) -> list[dict[str, Any]]:
    """Describe a model's classes by the classification extension's fields."""
    return [
        {"value": c.index, "name": c.name, "color_hint": color_hint(c)}
        for c in spec.classes.classes
    ]


def color_hint(info: ClassInfo) -> str:
    """Write a colour as the classification extension does: RRGGBB."""
    return "{:02X}{:02X}{:02X}".format(*info.color)


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


def model_facts(spec: ModelSpec, digest: str) -> dict[str, Any]:
    """Describe a model by the MLM extension's fields."""
    layers = 1 if len(spec.classes) == 2 else len(spec.classes)
    side = spec.patch_px
    return {
        "mlm:name": spec.name,
        "mlm:architecture": spec.architecture,
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:framework": "PyTorch",
        "mlm:input": [
            {
                "name": f"{spec.inputs.sensor} {', '.join(spec.inputs.bands)}",
                "bands": list(spec.inputs.bands),
                "input": {
                    "shape": [-1, len(spec.inputs.bands), side, side],
                    "dim_order": ["batch", "bands", "height", "width"],
                    "data_type": "float32",
                },
                "value_scaling": [
                    {"type": "z-score", "mean": mean, "stddev": std}
                    for mean, std in zip(spec.inputs.mean, spec.inputs.std, strict=True)
                ],
                "resize_type": None,
                "pre_processing_function": None,
            }
        ],
        "mlm:output": [
            {
                "name": "classes",
                "tasks": ["semantic-segmentation"],
                "result": {
                    "shape": [-1, layers, side, side],
                    "dim_order": ["batch", "channel", "height", "width"],
                    "data_type": "float32",
                },
                "classification:classes": class_facts(spec),
                "post_processing_function": None,
            }
        ],
        "headframe:model_sha256": digest,
    }
