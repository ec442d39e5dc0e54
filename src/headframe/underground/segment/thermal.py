"""A thermal frame beside a photograph: found on both, on one, on the other.

What the paper leaves as future work. Both frames must show the same view, pixel by pixel but for
their sizes, as PST900's do.
"""

from pathlib import Path

import cv2
import numpy as np
from faster_coco_eval.core import mask as rle_tools
from scipy.optimize import linear_sum_assignment

from headframe.core.detections import Detections
from headframe.core.errors import FormatError, InputError, MissingFileError
from headframe.io.images import SUFFIXES, Deep, find_images, read_float
from headframe.metrics.matching import encode
from headframe.underground.chain import Chain, Looked

SAME = 0.4
"""Masks of one class that overlap at least this much (IoU) are one object."""
_SHAPE = 0.02


def find_thermal(name: str, root: Path) -> Path:
    """Find the thermal frame of a photograph.

    Args:
        name: of the photograph, relative to its folder.
        root: a thermal frame; or a folder of them, of the same names but for the endings.

    Raises:
        MissingFileError: there is none.
        FormatError: there are several.
    """
    if root.is_file():
        return root
    if not root.is_dir():
        raise MissingFileError(f"--thermal {root}: no such file or folder. Check the path.")
    place = root / name
    if place.is_file():
        return place
    around = place.parent.glob(f"{place.stem}.*") if place.parent.is_dir() else ()
    found = sorted(path for path in around if path.suffix.lower() in SUFFIXES)
    if not found:
        raise MissingFileError(f"--thermal {root}: no thermal frame of {name} in it.")
    if len(found) > 1:
        raise FormatError(f"--thermal {root}: {found[0].name} and {found[1].name} for {name}.")
    return found[0]


def check_thermal(root: Path | None, photographs: int) -> None:
    """Raise InputError unless ``root`` can hold the thermal frames of so many photographs."""
    if root is None:
        return
    if root.is_file() and photographs != 1:
        raise InputError(
            f"--thermal {root}: is one frame, for {photographs} photographs. Give a folder."
        )
    find_images([root])


def look_at_both(chain: Chain, levels: Deep, thermal: Path) -> tuple[Looked, tuple[str, ...]]:
    """Look at a photograph and at its thermal frame.

    Args:
        chain: looks at both.
        levels: (H, W, 3) uint8 or uint16, the photograph.
        thermal: the file of its thermal frame.

    Returns:
        What was found on both, on the photograph's reduced pixels, the surest first, times added;
        and of each object ``rgb``, ``thermal`` or ``both``.

    Raises:
        FormatError: the frames have different shapes.
    """
    first = chain.look_at(levels)
    heat = read_float(thermal)
    wanted, given = (side[0] / side[1] for side in (first.size, heat.shape[1:]))
    if abs(wanted / given - 1) > _SHAPE:
        raise FormatError(
            f"{thermal}: is {heat.shape[2]} x {heat.shape[1]} px, the photograph {first.size[1]} x "
            f"{first.size[0]}. Cut both to the same view."
        )
    height, width = first.shown.shape[1:]
    planes = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA) for plane in heat]
    second = chain.look(np.stack(planes).astype(np.float32, copy=False))
    joined, sources = fuse_thermal(first.detections, second.detections)
    seconds, cpu = (
        {part: value + more[part] for part, value in told.items()}
        for told, more in (
            (first.seconds, second.seconds),
            (first.cpu_seconds, second.cpu_seconds),
        )
    )
    looked = Looked(joined, first.stages, seconds, first.shown, first.size, first.fused, cpu)
    return looked, sources


def fuse_thermal(rgb: Detections, thermal: Detections) -> tuple[Detections, tuple[str, ...]]:
    """Join objects of two views.

    Objects of one class whose masks overlap by ``SAME`` are one: the surer's box and mask, and the
    score 1 - (1 - a)(1 - b), as if both views erred independently. All others stay as they are.

    Args:
        rgb: of the photograph.
        thermal: of the thermal frame, on the same pixels.

    Returns:
        Objects, the surest first; and where each was seen.
    """
    pairs = _pairs(rgb, thermal)
    seen_twice = {column for _, column in pairs}
    rest = [column for column in range(len(thermal)) if column not in seen_twice]
    scores, sources = rgb.scores.copy(), ["rgb"] * len(rgb)
    boxes, masks = rgb.boxes.copy(), rgb.masks.copy()
    for row, column in pairs:
        one, other = float(rgb.scores[row]), float(thermal.scores[column])
        if other > one:
            boxes[row], masks[row] = thermal.boxes[column], thermal.masks[column]
        scores[row] = 1 - (1 - one) * (1 - other)
        sources[row] = "both"
    joined = Detections(
        np.concatenate([boxes, thermal.boxes[rest]]),
        np.concatenate([rgb.labels, thermal.labels[rest]]),
        np.concatenate([scores, thermal.scores[rest]]),
        np.concatenate([masks, thermal.masks[rest]]),
    )
    sources += ["thermal"] * len(rest)
    order = np.argsort(-joined.scores, kind="stable")
    return joined.select(order), tuple(sources[place] for place in order)


def _pairs(rgb: Detections, thermal: Detections) -> list[tuple[int, int]]:
    if not len(rgb) or not len(thermal):
        return []
    crowds = [0] * len(thermal)
    ious = np.asarray(rle_tools.iou(encode(rgb.masks), encode(thermal.masks), crowds))
    ious = ious.reshape(len(rgb), len(thermal)) * (rgb.labels[:, None] == thermal.labels[None])
    rows, columns = linear_sum_assignment(-ious)
    chosen = zip(rows, columns, strict=True)
    return [(int(row), int(column)) for row, column in chosen if ious[row, column] >= SAME]
