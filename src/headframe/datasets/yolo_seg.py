"""YOLO's text labels: outlines (segmentation) and boxes, read and written."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from headframe.core.errors import FormatError, MissingFileError, UnsafeFileError
from headframe.datasets.instances import (
    InstanceSet,
    LabelledImage,
    Region,
    Ring,
    numbered,
    region_box,
)
from headframe.io.files import make_folder, replacing, write_text
from headframe.io.images import find_images, image_size


def read_yolo(root: Path, *, names: Sequence[str] | None = None) -> InstanceSet:
    """Read a folder of YOLO labels.

    Each photograph's labels lie in a text file of its name: beside it, or where the last folder
    called ``images`` of its path is called ``labels``. A line of four numbers after the class
    is a box (centre, size), one of six and more an outline; all are shares of the sides. A
    photograph without a file has no objects.

    Args:
        root: folder with ``data.yaml`` or ``classes.txt`` for the names of classes.
        names: names of classes in order, where neither file is there; else they are called
            ``class-0`` and so on.

    Raises:
        MissingFileError: there is no such folder.
        FormatError: a line of a file cannot be used; it is named.
    """
    if not root.is_dir():
        raise MissingFileError(f"{root}: no such folder. Check the path.")
    known = list(names or _names(root))
    images = []
    highest = -1
    for path in find_images([root]):
        size = image_size(path)
        label = _label_file(root, path)
        found = _lines(label, size, known) if label.is_file() else ()
        highest = max([highest, *(number for number, _ in found)])
        regions = tuple(region for _, region in found)
        images.append(LabelledImage(path.relative_to(root).as_posix(), *size, regions))
    every = known or [f"class-{number}" for number in range(highest + 1)]
    return InstanceSet(tuple(images), numbered(every))


def _label_file(root: Path, image: Path) -> Path:
    parts = list(image.relative_to(root).with_suffix(".txt").parts)
    folders = [n for n, part in enumerate(parts[:-1]) if part == "images"]
    if folders:
        parts[folders[-1]] = "labels"
    return root.joinpath(*parts)


def _names(root: Path) -> list[str]:
    for name in ("data.yaml", "data.yml", "dataset.yaml"):
        if (root / name).is_file():
            try:
                names = yaml.safe_load((root / name).read_text(encoding="utf-8"))["names"]
                listed = [names[key] for key in sorted(names)] if isinstance(names, dict) else names
                return [str(item) for item in listed]
            except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as exc:
                raise FormatError(
                    f"{root / name}: its names of classes cannot be read ({exc!r}). Mend it."
                ) from exc
    listing = root / "classes.txt"
    if listing.is_file():
        return [line.strip() for line in listing.read_text(encoding="utf-8").splitlines() if line]
    return []


def _lines(path: Path, size: tuple[int, int], names: Sequence[str]) -> list[tuple[int, Region]]:
    found = []
    for at, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found.append(_region(line.split(), size, names))
        except (ValueError, IndexError) as exc:
            raise FormatError(f"{path}: line {at} cannot be used ({exc}). Mend it.") from exc
    return found


def _region(
    words: Sequence[str], size: tuple[int, int], names: Sequence[str]
) -> tuple[int, Region]:
    number, values = int(words[0]), [float(word) for word in words[1:]]
    if number < 0 or (names and number >= len(names)):
        raise ValueError(f"class {number}, but there are {len(names)}")
    if not all(map(math.isfinite, values)):
        raise ValueError("a number is not finite")
    name = names[number] if names else f"class-{number}"
    height, width = size
    if len(values) == 4:
        x, y, wide, tall = (v * side for v, side in zip(values, (width, height) * 2, strict=True))
        left, top = x - wide / 2, y - tall / 2
        right, low = left + wide, top + tall
        box = ((left, top), (right, top), (right, low), (left, low))
        return number, Region(name, (box,), box_only=True)
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f"{len(values)} numbers; a box has 4, an outline 6, 8, 10 ...")
    ring = tuple((x * width, y * height) for x, y in zip(values[::2], values[1::2], strict=True))
    return number, Region(name, (ring,))


def write_yolo(labels: InstanceSet, out: Path, *, images: Path | None = None) -> int:
    """Write labels as YOLO-seg wants them: ``labels/….txt`` and ``data.yaml``.

    An object of several outlines becomes one, its parts joined by lines of no width, as YOLO has
    one outline an object. Masks in run lengths become their boxes' outlines; lines and points are
    left out. Corners beyond the photograph are moved to its edge.

    Args:
        labels: every photograph's size must be known.
        out: folder.
        images: folder of the photographs, to copy them to ``out/images``.

    Returns:
        How many objects were written.

    Raises:
        FormatError: a photograph's size is not known.
        UnsafeFileError: a photograph's name leads out of the folder.
    """
    order = sorted(labels.categories, key=lambda name: labels.categories[name])
    count = 0
    for image in labels.images:
        if image.height == 0 or image.width == 0:
            raise FormatError(f"{image.file_name}: its size is not known. Give --images.")
        if Path(image.file_name).is_absolute() or ".." in Path(image.file_name).parts:
            raise UnsafeFileError(
                f"{image.file_name}: leads out of {out}. Rename it in the labels."
            )
        lines = []
        for region in image.regions:
            if region.has_area:
                line = _line(region, image.height, image.width)
                lines.append(f"{order.index(region.category)} {line}\n")
        count += len(lines)
        write_text(out / "labels" / Path(image.file_name).with_suffix(".txt"), "".join(lines))
        if images is not None:
            make_folder((out / "images" / image.file_name).parent)
            with replacing(out / "images" / image.file_name) as part:
                shutil.copyfile(images / image.file_name, part)
    data = {"path": ".", "train": "images", "val": "images", "names": dict(enumerate(order))}
    write_text(out / "data.yaml", yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    return count


def _line(region: Region, height: int, width: int) -> str:
    x, y, wide, tall = region_box(region)
    rings = region.rings or (((x, y), (x + wide, y), (x + wide, y + tall), (x, y + tall)),)
    if region.box_only:
        values = [(x + wide / 2) / width, (y + tall / 2) / height, wide / width, tall / height]
    else:
        joined = np.array(_joined(rings)) / (width, height)
        values = list(np.clip(joined, 0, 1).ravel())
    return " ".join(f"{value:.7g}" for value in values)


def _joined(rings: Sequence[Ring]) -> list[tuple[float, float]]:
    """Join outlines into one that runs to each further part and back along the same line."""
    first = list(rings[0])
    for ring in rings[1:]:
        gaps = np.linalg.norm(np.array(first)[:, None] - np.array(ring)[None], axis=2)
        here, there = np.unravel_index(int(gaps.argmin()), gaps.shape)
        turned = [*ring[there:], *ring[:there]]
        first = [*first[: here + 1], *turned, turned[0], *first[here:]]
    return first
