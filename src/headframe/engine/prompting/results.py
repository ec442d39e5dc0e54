"""Results of prompts as files: polygons, a mask, a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.windows import Window as RasterWindow
from shapely.geometry.base import BaseGeometry

from headframe.core.errors import OutputError
from headframe.engine.panels import stretch
from headframe.engine.prompting.embeddings import SceneEmbeddings, SceneTile
from headframe.engine.prompting.outlines import PromptedMask
from headframe.engine.prompting.prompts import PixelPrompt
from headframe.engine.prompting.session import facts_of
from headframe.geo.window import Window
from headframe.io.cog import gdal_writing
from headframe.io.files import replacing
from headframe.io.gpkg import LayerWriter
from headframe.io.scene import Scene

_COLUMNS = {
    "prompt_id": "object",
    "prompt": "object",
    "area_ha": "float64",
    "score": "float64",
    "stability": "float64",
    "tiles": "int32",
    "level": "int32",
    "cut": "bool",
}
_MOST = 65_535
_COLOURS = ("#e69f00", "#56b4e9", "#f0e442", "#cc79a7", "#009e73", "#d55e00", "#0072b2")
"""Of Okabe and Ito, told apart by colour-blind readers; objects take them in turn."""
_LONGEST_PX = 1000
_ROOM = 0.25
_LEAST_PX = 160


def write_polygons(path: Path, found: Sequence[PromptedMask], crs: CRS) -> int:
    """Write a GeoPackage, layer ``prompts``, one row an object; those not found are left out.

    Args:
        path: ``.gpkg``.
        found: objects.
        crs: the scene's.

    Returns:
        Number of rows.

    Raises:
        OutputError: it cannot be written.
    """
    rows = [mask for mask in found if mask.shape is not None]
    facts = [facts_of(mask) for mask in rows]
    columns = {name: [row[name] for row in facts] for name in _COLUMNS}
    layer = LayerWriter(
        path, layer="prompts", columns=_COLUMNS, crs=crs, geometry_type="MultiPolygon"
    )
    with layer:
        layer.write([mask.shape for mask in rows if mask.shape is not None], columns)
    return len(rows)


def write_mask(path: Path, found: Sequence[PromptedMask], scene: Scene) -> None:
    """Write a GeoTIFF on the scene's grid: the number of the object from 1, 0 elsewhere.

    Where objects overlap, the later one shows. Blocks without objects take no space.

    Args:
        path: ``.tif``, uint16.
        found: objects, at most 65,535.
        scene: whose grid it is.

    Raises:
        OutputError: it cannot be written, or there are too many objects.
    """
    if len(found) > _MOST:
        raise OutputError(f"{path}: {len(found)} objects do not fit a mask; leave --mask out.")
    height, width = scene.shape
    grid = (
        {"crs": str(scene.geobox.crs), "transform": scene.geobox.transform} if scene.geobox else {}
    )
    with (
        replacing(path) as part,
        gdal_writing(path),
        rasterio.open(
            part, "w+", driver="GTiff", dtype="uint16", count=1, height=height, width=width,
            compress="deflate", tiled=True, sparse_ok=True, bigtiff="if_safer", **grid,
        ) as file,
    ):  # fmt: skip
        file.set_band_description(1, "object")
        for number, one in enumerate(found, start=1):
            rows, cols = _within(one.window, scene.shape)
            if not one.mask.any() or rows.stop <= rows.start or cols.stop <= cols.start:
                continue
            there = RasterWindow(
                cols.start, rows.start, cols.stop - cols.start, rows.stop - rows.start
            )
            kept = file.read(1, window=there)
            w = one.window
            new = one.mask[
                rows.start - w.row : rows.stop - w.row, cols.start - w.col : cols.stop - w.col
            ]
            kept[new] = number
            file.write(kept, 1, window=there)


def _within(window: Window, shape: tuple[int, int]) -> tuple[slice, slice]:
    rows = slice(max(window.row, 0), min(window.row + window.height, shape[0]))
    cols = slice(max(window.col, 0), min(window.col + window.width, shape[1]))
    return rows, cols


def write_picture(
    path: Path,
    found: Sequence[PromptedMask],
    prompts: Sequence[PixelPrompt],
    embeddings: SceneEmbeddings,
) -> None:
    """Draw the part of the scene that was asked about, with prompts and outlines.

    Points inside are filled circles, points outside crosses, boxes and rough outlines dashed;
    what was found has a solid line and its area in hectares. North of a north-up scene is up.

    Args:
        path: PNG.
        found: objects.
        prompts: their prompts, in the same order.
        embeddings: the scene.

    Raises:
        OutputError: it cannot be written.
    """
    region = _region(found, prompts, embeddings.scene.shape)
    level = 0
    while max(region.height, region.width) / 2**level > _LONGEST_PX:
        level += 1
    scale = 2**level
    small = Window(
        region.row // scale, region.col // scale,
        -(-region.height // scale), -(-region.width // scale),
    )  # fmt: skip
    image = embeddings.read(SceneTile(level, 0, 0, small))
    picture = stretch(image, embeddings.scene.channels.wanted)
    left, top = small.col * scale, small.row * scale
    right, bottom = left + small.width * scale, top + small.height * scale
    longest = max(small.height, small.width)
    inches = (9 * small.width / longest + 0.6, 9 * small.height / longest + 0.6)
    figure = Figure(figsize=inches, dpi=110, layout="constrained")
    axis = figure.subplots()
    axis.imshow(picture, extent=(left, right, bottom, top), interpolation="nearest")
    for number, (one, prompt) in enumerate(zip(found, prompts, strict=True)):
        colour = _COLOURS[number % len(_COLOURS)]
        _draw_prompt(axis, prompt, colour)
        _draw_found(axis, one, embeddings, colour)
    axis.set_xlim(left, right)
    axis.set_ylim(bottom, top)
    axis.set_xlabel("column")
    axis.set_ylabel("row")
    with replacing(path) as part:
        figure.savefig(part, format="png")


def _region(
    found: Sequence[PromptedMask], prompts: Sequence[PixelPrompt], shape: tuple[int, int]
) -> Window:
    """Choose the pixels shown: all prompts and objects, with room around."""
    corners = [prompt.extent for prompt in prompts]
    for one in found:
        rows, cols = np.flatnonzero(one.mask.any(axis=1)), np.flatnonzero(one.mask.any(axis=0))
        if len(rows):
            x, y = one.window.col, one.window.row
            corners.append(np.array([x + cols[0], y + rows[0], x + cols[-1], y + rows[-1]]))
    bounds = np.array(corners)
    low, high = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
    room = np.maximum(_ROOM * (high - low).max(), (_LEAST_PX - (high - low)) / 2)
    x0, y0 = np.maximum(np.floor(low - room), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(high + room), (shape[1], shape[0])).astype(int)
    return Window(int(y0), int(x0), max(int(y1 - y0), 1), max(int(x1 - x0), 1))


def _draw_prompt(axis: Any, prompt: PixelPrompt, colour: str) -> None:  # noqa: ANN401 - matplotlib is untyped
    dashed = {"color": colour, "linestyle": "--", "linewidth": 1.2}
    if prompt.shape is not None:
        _draw_rings(axis, prompt.shape, dashed)
    elif prompt.box is not None:
        _draw_rings(axis, shapely.box(*prompt.box), dashed)
    inside = {"marker": "o", "s": 42, "color": colour, "edgecolors": "black", "zorder": 5}
    outside = {"marker": "X", "s": 42, "color": "white", "edgecolors": "black", "zorder": 5}
    axis.scatter(prompt.inside[:, 0], prompt.inside[:, 1], **inside)
    axis.scatter(prompt.outside[:, 0], prompt.outside[:, 1], **outside)


def _draw_found(axis: Any, one: PromptedMask, embeddings: SceneEmbeddings, colour: str) -> None:  # noqa: ANN401 - matplotlib is untyped
    if one.shape is None or embeddings.scene.geobox is None:
        return
    a, b, c, d, e, f = tuple(~embeddings.scene.geobox.affine)[:6]

    def to_pixels(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = xy[:, 0], xy[:, 1]
        return np.column_stack([a * x + b * y + c, d * x + e * y + f])

    pixels = shapely.transform(one.shape, to_pixels)
    _draw_rings(axis, pixels, {"color": "black", "linewidth": 2.6})
    _draw_rings(axis, pixels, {"color": colour, "linewidth": 1.5})
    x0, _, _, y1 = pixels.bounds
    axis.annotate(
        f"{one.id}: {one.area_ha:,.1f} ha",
        (x0, y1), xytext=(0, -3), textcoords="offset points", va="top", fontsize=8, color="white",
        bbox={"facecolor": "black", "alpha": 0.6, "pad": 1.5, "linewidth": 0}, zorder=6,
    )  # fmt: skip


def _draw_rings(axis: Any, shape: BaseGeometry, style: dict[str, Any]) -> None:  # noqa: ANN401 - matplotlib is untyped
    for ring in shapely.get_rings(shapely.get_parts(shape)):
        xy = shapely.get_coordinates(ring)
        axis.plot(xy[:, 0], xy[:, 1], **style)
