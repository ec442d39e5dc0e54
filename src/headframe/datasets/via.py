"""Labels of the VGG Image Annotator, version 2: annotation files and projects, read and written."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headframe.core.errors import DatasetError, FormatError, InputError, MissingFileError
from headframe.datasets.instances import (
    InstanceSet,
    LabelledImage,
    Problem,
    Region,
    flat_ring,
    numbered,
    region_box,
)
from headframe.datasets.via_shapes import shape_extent, shape_problem, shape_rings
from headframe.io.files import write_json
from headframe.io.images import image_size

CLASS_KEYS = ("class", "label", "category", "name", "type", "object")
"""Where the class is looked for in ``region_attributes`` if nothing is said, in this order."""


@dataclass(frozen=True)
class ViaReading:
    """What a VIA file held.

    Attributes:
        labels: all sound regions.
        problems: one for each region, photograph or file that is not sound.
        class_key: where the classes were found.
    """

    labels: InstanceSet
    problems: tuple[Problem, ...]
    class_key: str


def read_via(path: Path, *, images: Path | None = None, class_key: str | None = None) -> ViaReading:
    """Read a VIA 2 file, annotations or project, with regions as a list or as a dict.

    Every error is collected with its photograph and region, so that a file edited by hand can be
    mended in one go.

    Args:
        path: JSON.
        images: folder of the photographs, for their sizes; None: the file's own.
        class_key: key of ``region_attributes`` that holds the class; None looks through
            ``CLASS_KEYS`` and takes a key that is the only one.

    Raises:
        MissingFileError: there is no such file.
        FormatError: it is no JSON, or no VIA file at all.
    """
    reader = _Reader(path, images or path.parent, class_key)
    entries = _entries(path, reader)
    reader.class_key = class_key or _find_key(entries)
    found = [image for key, entry in entries.items() if (image := reader.image(key, entry))]
    names = numbered(region.category for image in found for region in image.regions)
    return ViaReading(InstanceSet(tuple(found), names), tuple(reader.problems), reader.class_key)


def require_sound(reading: ViaReading) -> InstanceSet:
    """Give the labels, or raise DatasetError with the first problem and how many there are."""
    if reading.problems:
        first = reading.problems[0]
        where = f"{first.file}: {first.image}" + (f" region {first.region}" if first.region else "")
        more = f" ({len(reading.problems)} problems in all)" if len(reading.problems) > 1 else ""
        raise DatasetError(f"{where}: {first.message}{more}.")
    return reading.labels


def write_via(
    labels: InstanceSet,
    path: Path,
    *,
    class_key: str = "class",
    regions_as: str = "list",
    indent: int | None = 2,
) -> int:
    """Write an annotation file that VIA 2 imports.

    What came from VIA is written as it was: shape, attributes and size in bytes. An object of
    several outlines becomes as many regions that share ``object_id``; a mask in run lengths becomes
    its box.

    Args:
        labels: what to write.
        path: JSON.
        class_key: key that holds the class of regions that did not come from VIA.
        regions_as: ``list`` (VIA 2) or ``dict`` (VIA 1 and early 2).
        indent: of the JSON; None writes one line, for sets of many corners.

    Returns:
        How many regions were written.
    """
    out: dict[str, Any] = {}
    count = 0
    for image in labels.images:
        regions = [r for n, region in enumerate(image.regions) for r in _told(region, n, class_key)]
        count += len(regions)
        via = image.via or {}
        size = via.get("size", -1)
        listed: Any = regions if regions_as == "list" else dict(enumerate(regions))
        out[f"{image.file_name}{size}"] = {
            "filename": image.file_name,
            "size": size,
            "regions": listed,
            "file_attributes": via.get("file_attributes", {}),
        }
    write_json(path, out, indent=indent)
    return count


def _told(region: Region, number: int, class_key: str) -> Iterator[dict[str, Any]]:
    via = region.via or {}
    attributes = dict(via.get("region_attributes", {}))
    if attributes.get(class_key) != region.category and not _holds(attributes, region.category):
        attributes[class_key] = region.category
    shape = via.get("shape_attributes")
    if shape is not None and shape_rings(shape) == region.rings:
        yield {"shape_attributes": shape, "region_attributes": attributes}
        return
    if region.rle is not None and not region.rings:
        x, y, wide, tall = region_box(region)
        box = {"name": "rect", "x": x, "y": y, "width": wide, "height": tall}
        yield {"shape_attributes": box, "region_attributes": attributes}
    if len(region.rings) > 1:
        attributes["object_id"] = str(number)
    for ring in region.rings:
        flat = flat_ring(ring)
        drawn = {"name": "polygon", "all_points_x": flat[::2], "all_points_y": flat[1::2]}
        yield {"shape_attributes": drawn, "region_attributes": dict(attributes)}


def _holds(attributes: Mapping[str, Any], category: str) -> bool:
    return any(_class_of(value) == category for value in attributes.values())


def _entries(path: Path, reader: "_Reader") -> dict[str, Any]:
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file. Check the path.")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=reader.pairs)
    except json.JSONDecodeError as exc:
        raise FormatError(
            f"{path}: is no JSON; {exc.msg} in line {exc.lineno}, column {exc.colno}. Mend it."
        ) from exc
    except UnicodeDecodeError as exc:
        raise FormatError(f"{path}: is no UTF-8 text. Export it from VIA again.") from exc
    if isinstance(content, dict) and "_via_img_metadata" in content:
        content = content["_via_img_metadata"]
    if not isinstance(content, dict) or "annotations" in content:
        raise FormatError(f"{path}: is no VIA 2 annotation file or project. Export one from VIA.")
    return content


def _regions(entry: Mapping[str, Any]) -> list[tuple[str, Any]] | None:
    regions = entry.get("regions", [])
    if isinstance(regions, dict):
        return [(str(key), region) for key, region in regions.items()]
    if isinstance(regions, list):
        return [(str(number), region) for number, region in enumerate(regions)]
    return None


def _find_key(entries: Mapping[str, Any]) -> str:
    keys: dict[str, int] = {}
    for entry in entries.values():
        for _, region in (_regions(entry) or []) if isinstance(entry, dict) else []:
            attributes = region.get("region_attributes") if isinstance(region, dict) else None
            for key in attributes if isinstance(attributes, dict) else ():
                keys[key] = keys.get(key, 0) + 1
    known = [key for key in CLASS_KEYS if key in keys]
    if known:
        return max(known, key=lambda key: keys[key])
    return max(keys, key=lambda key: keys[key]) if keys else CLASS_KEYS[0]


def _class_of(value: object) -> str | None:
    """Give the class that an attribute's value names: text, or the one box that is ticked."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, dict):
        ticked = [str(name) for name, on in value.items() if on]
        return ticked[0] if len(ticked) == 1 else None
    return None


class _Reader:
    """Reads entries and remembers what was wrong."""

    def __init__(self, path: Path, images: Path, class_key: str | None) -> None:
        self.path, self.images = path, images
        self.class_key = class_key or ""
        self.problems: list[Problem] = []
        self._seen: set[str] = set()

    def pairs(self, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        """Build a JSON object; a key that stands twice would silently lose the first."""
        out = dict(pairs)
        if len(out) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            self._wrong(twice, "", f"the key {twice!r} stands twice; rename or remove one")
        return out

    def image(self, key: str, entry: Any) -> LabelledImage | None:  # noqa: ANN401 - JSON
        """Read one photograph; None where nothing of it can be used."""
        if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str):
            self._wrong(key, "", "has no filename")
            return None
        name = entry["filename"]
        if name in self._seen:
            self._wrong(name, "", "is listed twice; join the two entries")
            return None
        self._seen.add(name)
        regions = _regions(entry)
        if regions is None:
            self._wrong(name, "", "regions is neither a list nor a dict")
            return None
        try:
            height, width = image_size(self.images / name)
        except InputError as exc:
            self._wrong(name, "", f"its photograph cannot be read: {exc}")
            height = width = 0
        read = [self._region(name, at, region, (height, width)) for at, region in regions]
        return LabelledImage(
            name,
            height,
            width,
            tuple(region for region in read if region is not None),
            {"size": entry.get("size", -1), "file_attributes": entry.get("file_attributes", {})},
        )

    def _region(self, name: str, at: str, region: Any, size: tuple[int, int]) -> Region | None:  # noqa: ANN401 - JSON
        if not isinstance(region, dict):
            self._wrong(name, at, "is not an object")
            return None
        shape: Any = region.get("shape_attributes")
        problem = shape_problem(shape)
        attributes = region.get("region_attributes")
        attributes = attributes if isinstance(attributes, dict) else {}
        category = _class_of(attributes.get(self.class_key))
        if problem is None and category is None:
            problem = f"{self.class_key!r} names no class; its attributes are {attributes}"
        if problem is None and 0 not in size:
            left, top, right, bottom = shape_extent(shape)
            if left >= size[1] or top >= size[0] or right <= 0 or bottom <= 0:
                problem = f"lies outside the photograph of {size[1]} x {size[0]}"
        if problem is not None or category is None:
            self._wrong(name, at, problem or "")
            return None
        via = {"shape_attributes": shape, "region_attributes": attributes}
        return Region(category, shape_rings(shape), via=via)

    def _wrong(self, image: str, region: str, message: str) -> None:
        self.problems.append(Problem(str(self.path), image, region, message))
