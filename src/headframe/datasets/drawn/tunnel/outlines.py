"""Instances of a drawn picture as labels: run lengths and outlines that give the very pixels."""

import numpy as np
from faster_coco_eval.core import mask as rle_tools
from numpy.typing import NDArray
from rasterio.features import shapes

from headframe.datasets.drawn.tunnel.scene import Instance
from headframe.datasets.instances import Region, Ring

LEAST_PX = 16
"""An instance of which less is seen gets no label."""


def regions_of(labels: NDArray[np.int16], instances: tuple[Instance, ...]) -> tuple[Region, ...]:
    """Turn a map of instances into regions.

    Args:
        labels: index into ``instances`` of each pixel, (H, W).
        instances: what they are.

    Returns:
        A region for each instance of which ``LEAST_PX`` or more are seen, in their order: run
        lengths, and outlines along the edges of its pixels that burn into the same mask. Its
        name stands in ``region_attributes`` under ``instance``. No two regions share a pixel.
    """
    rings: dict[int, list[Ring]] = {}
    for shape, value in shapes(labels, connectivity=4):
        rings.setdefault(int(value), []).append(_one_ring(shape["coordinates"]))
    found = []
    for number, instance in enumerate(instances):
        mask = labels == number
        if int(mask.sum()) < LEAST_PX:
            continue
        coded = rle_tools.encode(np.asfortranarray(mask, np.uint8))
        rle = {"size": [int(v) for v in coded["size"]], "counts": coded["counts"].decode("ascii")}
        words = {"class": instance.category, "instance": instance.name}
        via = {"region_attributes": words}
        found.append(Region(instance.category, tuple(rings[number]), rle, via=via))
    return tuple(found)


def _one_ring(outline: list[list[tuple[float, float]]]) -> Ring:
    """Join an outline and its holes into one ring by slits of no width, walked both ways."""
    ring = [_corner(point) for point in outline[0][:-1]]
    for hole in outline[1:]:
        inner = [_corner(point) for point in hole[:-1]]
        gaps = np.abs(np.array(ring)[:, None] - np.array(inner)[None]).sum(axis=2)
        at, start = divmod(int(gaps.argmin()), len(inner))
        ring = [*ring[: at + 1], *inner[start:], *inner[: start + 1], *ring[at:]]
    return tuple(ring)


def _corner(point: tuple[float, float]) -> tuple[int, int]:
    return int(point[0]), int(point[1])
