"""Outlines: from a smooth field to one polygon and its exact mask; lines on a grid."""

from dataclasses import dataclass

import contourpy
import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from rasterio.transform import Affine
from scipy import ndimage

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Outline:
    """One drawn area.

    Attributes:
        polygon: outline in pixel coordinates (x = column, y = row, corner-based), one polygon
            without holes, possibly empty.
        mask: pixels whose centre lies inside, (H, W), bool: exactly ``polygon`` rasterised.
        depth: distance to the outline, pixels, (H, W), float32, positive inside.
    """

    polygon: shapely.Polygon
    mask: BoolArray
    depth: FloatArray


def outline(field: FloatArray, *, smooth_px: float = 1.2, min_px: float = 30) -> Outline:
    """Take the largest connected area where ``field`` is positive, without its holes.

    Args:
        field: any smooth field, (H, W), positive inside.
        smooth_px: rounding of the outline, pixels.
        min_px: smaller areas give an empty polygon, square pixels.
    """
    inside = np.pad(field > 0, 1)
    labels, count = ndimage.label(inside)
    polygon = shapely.Polygon()
    if count:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        body = ndimage.binary_fill_holes(labels == sizes.argmax())
        soft = ndimage.gaussian_filter(np.asarray(body, dtype=np.float32), smooth_px)
        # Sample (row, col) of the padded grid lies at x = col - 1 + 0.5 of the unpadded one.
        side = np.arange(max(soft.shape), dtype=float) - 0.5
        lines = contourpy.contour_generator(
            side[: soft.shape[1]], side[: soft.shape[0]], soft
        ).lines(0.5)
        rings = [shapely.Polygon(np.asarray(line)) for line in lines if len(line) > 3]
        largest = max(rings, key=lambda ring: float(ring.area), default=polygon)
        frame = shapely.box(0, 0, field.shape[1], field.shape[0])
        clipped = shapely.intersection(shapely.simplify(largest, 0.15), frame)
        if isinstance(clipped, shapely.Polygon) and clipped.area >= min_px:
            polygon = shapely.Polygon(clipped.exterior)
    mask = rasterize(polygon, (field.shape[0], field.shape[1]))
    return Outline(polygon, mask, signed_depth(mask))


def rasterize(polygon: shapely.Polygon, shape: tuple[int, int]) -> BoolArray:
    """Pixels whose centre lies inside a polygon in pixel coordinates, (H, W), bool."""
    if polygon.is_empty:
        return np.zeros(shape, dtype=bool)
    mask = geometry_mask([polygon], shape, Affine.identity(), invert=True)
    return np.asarray(mask, dtype=bool)


def signed_depth(mask: BoolArray, *, reach_px: int = 12) -> FloatArray:
    """Distance to a mask's edge, pixels: positive inside, down to ``-reach_px`` outside."""
    depth = np.full(mask.shape, -reach_px, dtype=np.float32)
    rows, cols = np.nonzero(mask)
    if rows.size:
        box = (
            slice(max(int(rows.min()) - reach_px, 0), int(rows.max()) + reach_px + 1),
            slice(max(int(cols.min()) - reach_px, 0), int(cols.max()) + reach_px + 1),
        )
        part = mask[box]
        inner = ndimage.distance_transform_edt(np.pad(part, 1, mode="edge"))[1:-1, 1:-1]
        outer = ndimage.distance_transform_edt(~part)
        depth[box] = np.where(part, inner - 0.5, -np.minimum(outer - 0.5, reach_px))
    return depth


def soft_edge(depth: FloatArray, *, width_px: float = 1.0) -> FloatArray:
    """Share of each pixel inside an outline, from its signed depth, in [0, 1]."""
    return np.asarray(np.clip(depth / width_px + 0.5, 0, 1), dtype=np.float32)


def winding(
    rng: np.random.Generator, start: tuple[float, float], end: tuple[float, float], *, sway: float
) -> NDArray[np.float64]:
    """Draw a road between two pixels (row, col).

    Args:
        rng: source of randomness.
        start: (row, col).
        end: (row, col).
        sway: sideways swing as a share of the length; 0 is straight.

    Returns:
        Points (N, 2), (row, col), about three a pixel.
    """
    a, b = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    length = float(np.hypot(*(b - a)))
    t = np.linspace(0, 1, max(int(3 * length), 2))
    swing = sum(rng.normal(0, sway * length / n**1.3) * np.sin(np.pi * n * t) for n in range(1, 7))
    normal = np.array([-(b - a)[1], (b - a)[0]]) / max(length, 1e-6)
    return np.asarray(a + t[:, None] * (b - a) + np.asarray(swing)[:, None] * normal)


def stroke(
    lines: list[NDArray[np.float64]], shape: tuple[int, int], *, width_px: float
) -> FloatArray:
    """Share of each pixel covered by lines of one width, (H, W), float32 in [0, 1]."""
    points = np.concatenate(lines) if lines else np.zeros((0, 2))
    rows, cols = np.rint(points).astype(int).T
    inside = (rows >= 0) & (rows < shape[0]) & (cols >= 0) & (cols < shape[1])
    mask = np.zeros(shape, dtype=np.float32)
    mask[rows[inside], cols[inside]] = 1
    sigma = 0.42 * width_px
    blurred = ndimage.gaussian_filter(mask, sigma, mode="nearest")
    share = np.clip(blurred * np.float32(sigma * 2.5 * min(width_px, 1.3)), 0, 1)
    return np.asarray(share, dtype=np.float32)
