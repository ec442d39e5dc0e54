"""A STAC item that says what a map is, where it lies and which model made it."""

from collections.abc import Mapping
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
MEDIA = {
    ".classes.tif": (pystac.MediaType.COG, "Classes", ["data"]),
    ".scores.tif": (pystac.MediaType.COG, "Scores", ["data"]),
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
        spec: the model.
        model_digest: SHA-256 of the model.
        outputs: suffix to file, in the order written.
        facts: further properties.
    """

    name: str
    source: str
    shape: tuple[int, int]
    geobox: GeoBox | None
    date: datetime
    spec: ModelSpec
    model_digest: str
    outputs: Mapping[str, Path]
    facts: Mapping[str, Any]


def write_item(path: Path, record: MapRecord) -> None:
    """Write the item as JSON, all or nothing, with hrefs relative to it.

    Raises:
        OutputError: it cannot be written.
    """
    outline = None if record.geobox is None else footprint(record.geobox)
    item = pystac.Item(
        id=record.name,
        geometry=None if outline is None else shapely.geometry.mapping(outline),
        bbox=None if outline is None else list(outline.bounds),
        datetime=record.date.astimezone(UTC),
        properties={
            **projection_facts(record.shape, record.geobox),
            **model_facts(record.spec, record.model_digest),
            **record.facts,
        },
        stac_extensions=[PROJECTION, MLM, CLASSIFICATION],
    )
    for suffix, file in record.outputs.items():
        media, title, roles = MEDIA[suffix]
        key = suffix.strip(".").split(".")[0]
        extra: dict[str, Any] = {}
        if suffix == ".classes.tif":
            extra["classification:classes"] = class_facts(record.spec)
        asset = pystac.Asset(file.name, title, media_type=media, roles=roles, extra_fields=extra)
        item.add_asset(key, asset)
    item.add_link(pystac.Link("derived_from", record.source))
    write_json(path, item.to_dict(include_self_link=False, transform_hrefs=False))


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
