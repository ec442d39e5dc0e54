"""Instances on photographs, whatever file they came from: VIA, COCO or YOLO."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_coco_eval.core import mask as rle_tools

from headframe.core.errors import DatasetError

Ring = tuple[tuple[float, float], ...]
"""Corners (x, y) in pixels, x to the right and y down, not closed."""

SURROUNDING = "road+wall+roof=surrounding"
"""The paper's merge of structural classes (Table III)."""


@dataclass(frozen=True)
class Region:
    """One object, or one line or point that someone drew.

    Attributes:
        category: its class.
        rings: outlines, all of them parts of the object; empty for lines, points and masks.
        rle: a mask in COCO's run lengths, where there are no outlines.
        box_only: the outline is a box drawn around the object, not the object.
        crowd: a group that was not told apart (COCO's ``iscrowd``).
        score: of a detection, 0-1; None for a label.
        via: ``shape_attributes`` and ``region_attributes`` as VIA had them.
        provenance: who drew it, and how sure that is, as plain values; COCO files keep it.
    """

    category: str
    rings: tuple[Ring, ...] = ()
    rle: Mapping[str, Any] | None = None
    box_only: bool = False
    crowd: bool = False
    score: float | None = None
    via: Mapping[str, Any] | None = None
    provenance: Mapping[str, Any] | None = None

    @property
    def has_area(self) -> bool:
        """Whether it covers pixels."""
        return bool(self.rings) or self.rle is not None


@dataclass(frozen=True)
class LabelledImage:
    """One photograph and its regions.

    Attributes:
        file_name: relative to the folder of photographs, with forward slashes.
        height: pixels; 0 where it is not known.
        width: pixels; 0 where it is not known.
        regions: in the file's order.
        via: ``size`` and ``file_attributes`` as VIA had them.
    """

    file_name: str
    height: int
    width: int
    regions: tuple[Region, ...] = ()
    via: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class InstanceSet:
    """Labelled photographs.

    Attributes:
        images: each file once.
        categories: class to number, 1 and up; every region's class is there.
    """

    images: tuple[LabelledImage, ...]
    categories: Mapping[str, int] = field(default_factory=dict)

    def count(self) -> dict[str, int]:
        """Count the regions of each class, absent classes with 0."""
        found = dict.fromkeys(self.categories, 0)
        for image in self.images:
            for region in image.regions:
                found[region.category] += 1
        return found


@dataclass(frozen=True)
class Problem:
    """One error in a file of labels.

    Attributes:
        file: the file.
        image: the photograph's name or key; empty where the file itself is wrong.
        region: its place in the photograph's list, from 0, or its key; empty for the whole.
        message: what is wrong and what to do.
    """

    file: str
    image: str
    region: str
    message: str


def numbered(names: Iterable[str]) -> dict[str, int]:
    """Number classes from 1 in the order of their first mention."""
    return {name: number for number, name in enumerate(dict.fromkeys(names), start=1)}


def merge_classes(labels: InstanceSet, rules: Sequence[str]) -> InstanceSet:
    """Rename classes into common ones, e.g. ``road+wall+roof=surrounding``.

    Args:
        labels: what to rename; nothing else of it changes.
        rules: ``a+b=c``; ``a+b->c`` is understood too. Later rules see what earlier ones did.

    Returns:
        The new set: classes keep their order, a merged one stands where the first of its parts was.

    Raises:
        DatasetError: a rule is not of that form, or names a class that is not there.
    """
    for rule in rules:
        old, mark, new = rule.replace("->", "=").partition("=")
        parts = {part.strip() for part in old.split("+")}
        new = new.strip()
        if not mark or not new or "" in parts:
            raise DatasetError(f"--merge {rule!r}: write it as road+wall+roof=surrounding.")
        absent = sorted(parts - set(labels.categories))
        if absent:
            known = ", ".join(labels.categories)
            raise DatasetError(f"--merge {rule!r}: no class {absent[0]!r} there; it has {known}.")
        names = {name: new if name in parts else name for name in labels.categories}
        images = tuple(
            replace(
                image,
                regions=tuple(replace(r, category=names[r.category]) for r in image.regions),
            )
            for image in labels.images
        )
        labels = InstanceSet(images, numbered(names.values()))
    return labels


def combine(sets: Iterable[InstanceSet]) -> InstanceSet:
    """Join sets of different photographs; classes of one name are one class.

    Raises:
        DatasetError: a photograph is in two of them.
    """
    images: dict[str, LabelledImage] = {}
    names: list[str] = []
    for labels in sets:
        names.extend(labels.categories)
        for image in labels.images:
            if image.file_name in images:
                raise DatasetError(f"{image.file_name}: is labelled twice. Remove one of them.")
            images[image.file_name] = image
    return InstanceSet(tuple(images.values()), numbered(names))


def region_mask(region: Region, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Burn a region as COCO's tools do.

    Returns:
        (height, width) bool; all False for lines and points.
    """
    if region.rings:
        flat = [flat_ring(ring) for ring in region.rings if len(ring) >= 3]
        coded = rle_tools.merge(rle_tools.frPyObjects(flat, height, width))
    elif region.rle is not None:
        coded = dict(region.rle)
        if isinstance(coded["counts"], list):
            coded = rle_tools.frPyObjects(coded, height, width)
    else:
        return np.zeros((height, width), np.bool_)
    return np.asarray(rle_tools.decode(coded), np.bool_)


def region_box(region: Region) -> tuple[float, float, float, float]:
    """Give the box around a region: x, y, width, height in pixels; zeros without an area."""
    if region.rings:
        corners = np.array([corner for ring in region.rings for corner in ring])
        (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
        return float(left), float(top), float(right - left), float(bottom - top)
    if region.rle is not None:
        x, y, wide, tall = rle_tools.toBbox(_coded(region.rle)).ravel()
        return float(x), float(y), float(wide), float(tall)
    return 0.0, 0.0, 0.0, 0.0


def region_area(region: Region) -> float:
    """Give the area in pixels: of outlines by their corners, of a mask by counting."""
    if region.rle is not None and not region.rings:
        return float(rle_tools.area(_coded(region.rle)))
    return sum(_ring_area(ring) for ring in region.rings)


def flat_ring(ring: Ring) -> list[float]:
    """Give a ring as COCO has it: x1, y1, x2, y2, ..."""
    return [value for corner in ring for value in corner]


def _coded(rle: Mapping[str, Any]) -> Any:  # noqa: ANN401 - the library's own form
    coded = dict(rle)
    if isinstance(coded["counts"], list):
        coded = rle_tools.frPyObjects(coded, *coded["size"])
    return coded


def _ring_area(ring: Ring) -> float:
    x, y = np.array(ring).T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)
