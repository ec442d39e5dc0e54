"""What `label` writes beside the chips: ``filename_mapping.csv`` and ``dataset.json``."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from pyproj import Geod

from headframe import __version__
from headframe.core.errors import DatasetError
from headframe.datasets.layout import SPLITS
from headframe.datasets.manifest import Manifest, SplitRecord
from headframe.datasets.provenance import PolygonRecord, count_provenance
from headframe.io.burn import footprint
from headframe.io.channels import tagged_sensor
from headframe.io.files import write_text
from headframe.surface.label_chip import ChipRecord, classes_of
from headframe.surface.label_inputs import LabelOptions
from headframe.surface.label_plan import LabelPlan
from headframe.surface.label_presets import get_preset

MAPPING_NAME = "filename_mapping.csv"


@dataclass(frozen=True)
class Outcome:
    """Counts kept in a manifest's ``sources``; fields as in ``labelling.LabelReport``."""

    chips: dict[str, int]
    pixels: dict[str, int]
    nodata: int
    skipped: tuple[str, ...]
    provenance: dict[str, int] | None = None


def read_record(path: Path) -> ChipRecord:
    """Read what ``label_chip.make_chip`` noted of a chip.

    Raises:
        DatasetError: it is damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        pixels = tuple(int(n) for n in value["pixels"])
        return ChipRecord(bool(value["written"]), pixels, int(value["nodata"]))
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise DatasetError(f"{path}: damaged ({exc}). Delete it and run again.") from exc


def write_mapping(path: Path, plan: LabelPlan, records: Sequence[ChipRecord]) -> None:
    """Write old and new name of every chip, both relative with forward slashes, one a line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("old_name", "new_name"))
    for index, record in enumerate(records):
        if record.written:
            new = plan.place(index, "images", ".tif").as_posix()
            writer.writerow((plan.chips[index].old_name, new))
    write_text(path, text.getvalue())


def build_manifest(
    plan: LabelPlan,
    records: Sequence[ChipRecord],
    *,
    polygons: Path | None,
    mark: str,
    options: LabelOptions,
    burned: Sequence[PolygonRecord] | None = None,
) -> Manifest:
    """Describe the data set; the same inputs give the same manifest."""
    preset = get_preset(options.preset)
    splits: dict[str, dict[str, None]] = {split: {} for split in SPLITS}
    chips = dict.fromkeys(SPLITS, 0)
    for chip, record in zip(plan.chips, records, strict=True):
        split = plan.split_of[chip.key]
        if record.written:
            splits[split][chip.folder] = None
            chips[split] += 1
    classes = classes_of(preset, options.target)
    totals = np.sum([record.pixels for record in records], axis=0)
    skipped = [c.old_name for c, r in zip(plan.chips, records, strict=True) if not r.written]
    sources: dict[str, Any] = {
        "fingerprint": mark,
        "polygons": None if polygons is None else polygons.name,
        "images": len(plan.chips),
        "chips": chips,
        "pixels": {name: int(n) for name, n in zip(classes.names, totals, strict=True)},
        "nodata": sum(record.nodata for record in records),
        "skipped": skipped,
        "site_field": options.site_field,
        "cloud_threshold": options.cloud_threshold,
    }
    if options.class_map is not None:
        sources |= {"class_field": options.class_field, "class_map": options.class_map.name}
    if options.reviewed is not None and burned is not None:
        sources |= {"reviewed": options.reviewed.name, "provenance": count_provenance(burned)}
    scale, offset = options.scaling or (None, None)
    return Manifest(
        sensor=options.sensor or tagged_sensor(plan.chips[0].header.tags) or preset.sensor,
        bands=plan.chips[0].bands.names,
        gsd_m=_gsd_m(plan.chips[0].header.geobox),
        classes=classes,
        labels="bits" if preset.components else "index",
        scale=scale,
        offset=offset,
        preset=options.preset,
        splits={split: tuple(sites) for split, sites in splits.items()},
        split=SplitRecord(
            fractions=options.fractions, seed=options.seed, stratify=options.stratify
        ),
        sites={chip.folder: dict(plan.facts[chip.key]) for chip in plan.chips},
        sources=sources,
        versions={"headframe": __version__, "gdal": rasterio.__gdal_version__},
    )


def outcome_of(manifest: Manifest) -> Outcome:
    """Read the counts back from a manifest that ``build_manifest`` made."""
    sources: dict[str, Any] = dict(manifest.sources)
    return Outcome(
        chips=dict(sources.get("chips", {})),
        pixels=dict(sources.get("pixels", {})),
        nodata=int(sources.get("nodata", 0)),
        skipped=tuple(sources.get("skipped", ())),
        provenance=sources.get("provenance"),
    )


def _gsd_m(geobox: GeoBox) -> float:
    """Side of the square as large as the central pixel, metres on the ellipsoid."""
    height, width = geobox.shape.yx
    pixel = geobox[height // 2 : height // 2 + 1, width // 2 : width // 2 + 1]
    area, _ = Geod(ellps="WGS84").geometry_area_perimeter(footprint(pixel))
    return round(math.sqrt(abs(area)), 4)
