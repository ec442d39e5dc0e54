"""COCO instance files, read and written; what came from VIA survives the way there and back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headframe.core.errors import FormatError, MissingFileError
from headframe.datasets.instances import (
    InstanceSet,
    LabelledImage,
    Region,
    flat_ring,
    region_area,
    region_box,
)
from headframe.io.files import write_json


def read_coco(path: Path) -> InstanceSet:
    """Read a COCO instance file, polygons and run lengths.

    An annotation without a segmentation is taken for its box, and says so (``box_only``).

    Args:
        path: JSON with ``images``, ``annotations`` and ``categories``.

    Raises:
        MissingFileError: there is no such file.
        FormatError: it is no COCO file, or an annotation of it cannot be used.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file. Check the path.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = {int(c["id"]): str(c["name"]) for c in content["categories"]}
        regions: dict[int, list[tuple[int, Region]]] = {int(i["id"]): [] for i in content["images"]}
    except (ValueError, KeyError, TypeError) as exc:
        raise FormatError(f"{path}: is no COCO instance file ({exc!r}). Export it again.") from exc
    for annotation in content.get("annotations", []):
        try:
            at = annotation.get("via", {}).get("index", len(regions[int(annotation["image_id"])]))
            region = _region(annotation, names)
        except (ValueError, KeyError, TypeError, IndexError) as exc:
            number = annotation.get("id") if isinstance(annotation, dict) else annotation
            raise FormatError(
                f"{path}: annotation {number} cannot be used ({exc!r}). Mend or remove it."
            ) from exc
        regions[int(annotation["image_id"])].append((at, region))
    images = tuple(_image(entry, regions[int(entry["id"])]) for entry in content["images"])
    return InstanceSet(images, {name: number for number, name in names.items()})


def _image(entry: Mapping[str, Any], regions: list[tuple[int, Region]]) -> LabelledImage:
    via = entry.get("via")
    for kept in (via or {}).get("regions", []):
        drawn = {key: kept[key] for key in ("shape_attributes", "region_attributes")}
        regions.append((kept["index"], Region(kept["category"], via=drawn)))
    ordered = tuple(region for _, region in sorted(regions, key=lambda pair: pair[0]))
    rest = None if via is None else {k: v for k, v in via.items() if k != "regions"}
    return LabelledImage(
        str(entry["file_name"]), int(entry["height"]), int(entry["width"]), ordered, rest
    )


def _region(annotation: Mapping[str, Any], names: Mapping[int, str]) -> Region:
    category = names[int(annotation["category_id"])]
    crowd = bool(annotation.get("iscrowd", 0))
    via = {k: v for k, v in annotation.get("via", {}).items() if k != "index"} or None
    outline = annotation.get("segmentation")
    score, told = annotation.get("score"), annotation.get("provenance")
    if isinstance(outline, dict):
        if not {"size", "counts"} <= set(outline):
            raise ValueError("run lengths need size and counts")
        return Region(category, (), outline, False, crowd, score, via, told)
    if outline:
        rings = tuple(
            tuple((float(x), float(y)) for x, y in zip(flat[::2], flat[1::2], strict=True))
            for flat in outline
        )
        if min(len(ring) for ring in rings) < 3:
            raise ValueError("an outline has fewer than three corners")
        return Region(category, rings, None, False, crowd, score, via, told)
    x, y, wide, tall = (float(value) for value in annotation["bbox"])
    box = ((x, y), (x + wide, y), (x + wide, y + tall), (x, y + tall))
    return Region(category, (box,), None, True, crowd, score, via, told)


def write_coco(labels: InstanceSet, path: Path) -> int:
    """Write a COCO instance file that the usual tools read.

    Lines and points have no place among COCO's annotations; those of VIA are kept under the
    image's ``via``, and ``read_coco`` puts them back.

    Returns:
        How many annotations were written.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(labels.images, start=1):
        entry: dict[str, Any] = {
            "id": number,
            "file_name": image.file_name,
            "width": image.width,
            "height": image.height,
        }
        kept = [
            {"index": at, "category": region.category, **(region.via or {})}
            for at, region in enumerate(image.regions)
            if not region.has_area
        ]
        if image.via is not None:
            entry["via"] = {**image.via, "regions": kept}
        images.append(entry)
        for at, region in enumerate(image.regions):
            if region.has_area:
                told = _annotation(region, at)
                category = labels.categories[region.category]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": category,
                        **told,
                    }
                )
    categories = [{"id": number, "name": name} for name, number in labels.categories.items()]
    write_json(path, {"images": images, "annotations": annotations, "categories": categories})
    return len(annotations)


def _annotation(region: Region, at: int) -> dict[str, Any]:
    outline: Any = [flat_ring(ring) for ring in region.rings]
    if region.rle is not None:
        outline = dict(region.rle)
    told: dict[str, Any] = {
        "segmentation": [] if region.box_only else outline,
        "bbox": list(region_box(region)),
        "area": region_area(region),
        "iscrowd": int(region.crowd),
    }
    if region.score is not None:
        told["score"] = region.score
    if region.provenance is not None:
        told["provenance"] = dict(region.provenance)
    if region.via is not None:
        told["via"] = {"index": at, **region.via}
    return told
