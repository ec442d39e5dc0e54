"""Polygons before and after they were refined: areas, agreement with the truth, pictures."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pyproj import CRS
from rasterio.features import rasterize
from shapely.affinity import affine_transform
from shapely.geometry.base import BaseGeometry

from headframe.core.errors import InputError
from headframe.core.progress import SILENT, Progress
from headframe.engine.panels import stretch
from headframe.engine.prompting.prompter import Prompter
from headframe.geo.coarsen import local_crs, reprojected
from headframe.io.feature_table import read_features
from headframe.io.files import replacing
from headframe.io.vector import repaired
from headframe.metrics.boundary import boundary_iou
from headframe.surface.refine import RefineResult
from headframe.surface.refine_journal import Row
from headframe.surface.refine_outline import OutlineFrame, RefineOptions, read_frame

BOUNDARY_M = 30.0
"""Width of the boundary that boundary IoU compares, metres: three pixels of Sentinel-2."""
_BOUNDARY_PX = 3
_LONGEST_PX = 3000
_SCORES = ("iou_before", "iou_after", "boundary_iou_before", "boundary_iou_after")
_LONLAT = CRS.from_epsg(4326)
_COLOURS = {"before": "#e69f00", "after": "#56b4e9", "truth": "#ffffff"}
"""Of Okabe and Ito."""
_PICTURES, _FRAME_PX = 12, 256


@dataclass(frozen=True)
class ComparedRow:
    """One polygon before and after; areas in hectares, scores 0-1, NaN without a truth."""

    row: int
    status: str
    scene: str
    score: float
    area_before_ha: float
    area_after_ha: float
    iou_before: float = float("nan")
    iou_after: float = float("nan")
    boundary_iou_before: float = float("nan")
    boundary_iou_after: float = float("nan")


@dataclass(frozen=True)
class Comparison:
    """All polygons before and after.

    Attributes:
        rows: in the order of the table; what is no polygon has areas of 0.
        truths: what each is compared with, in the table's CRS; None without.
    """

    rows: tuple[ComparedRow, ...]
    truths: tuple[BaseGeometry | None, ...]

    def summary(self) -> list[tuple[str, float, float]]:
        """Figures before and after: (name, before, after)."""
        compared = [row for row in self.rows if not math.isnan(row.iou_before)]
        found = [
            (
                "area, ha",
                sum(row.area_before_ha for row in self.rows),
                sum(row.area_after_ha for row in self.rows),
            )
        ]
        for name, before, after in (
            ("IoU", "iou_before", "iou_after"),
            (f"boundary IoU ({BOUNDARY_M:g} m)", "boundary_iou_before", "boundary_iou_after"),
        ):
            pairs = [(getattr(row, before), getattr(row, after)) for row in compared]
            if pairs:
                for word, figure in (("mean", np.nanmean), ("median", np.nanmedian)):
                    old, new = (float(figure(values)) for values in zip(*pairs, strict=True))
                    found.append((f"{word} {name}", old, new))
        return found

    @property
    def compared(self) -> int:
        """Number of polygons that have a truth."""
        return sum(not math.isnan(row.iou_before) for row in self.rows)


def compare(result: RefineResult, truth: Path | None = None) -> Comparison:
    """Compare polygons before and after, and both with the truth where there is one.

    The truth of a polygon is what mostly lies inside its outline before, together; else the one
    true polygon with which it shares most. Polygons without any are not compared.

    Args:
        result: of ``refine_polygons``.
        truth: polygons in any CRS.

    Raises:
        InputError: ``truth`` cannot be read.
    """
    crs = CRS.from_user_input(result.before.crs)
    true = [] if truth is None else _true_shapes(truth, crs)
    tree = shapely.STRtree(true)
    rows, truths = [], []
    pairs = zip(result.rows, result.before.geometry, result.after.geometry, strict=True)
    for number, (row, before, after) in enumerate(pairs):
        there = _truth_of(before, true, tree)
        rows.append(_compared(number, before, after, there, crs=crs, facts=row))
        truths.append(there)
    return Comparison(tuple(rows), tuple(truths))


def write_table(rows: Iterable[ComparedRow], path: Path) -> None:
    """Write one CSV line a polygon, rows counted from 0, a score that is not defined empty.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    names = list(ComparedRow.__dataclass_fields__)
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for row in rows:
            writer.writerow([_cell(getattr(row, name)) for name in names])


def draw_before_after(
    result: RefineResult,
    comparison: Comparison,
    path: Path,
    *,
    prompter: Prompter,
    options: RefineOptions,
    progress: Progress = SILENT,
) -> int:
    """Draw up to twelve polygons before and after on their scenes, spread evenly over the table.

    Args:
        result: of ``refine_polygons``.
        comparison: of it.
        path: PNG.
        prompter: that it was refined with, which opens the scenes.
        options: that it was refined with.
        progress: told of pictures.

    Returns:
        Number of pictures; with 0 there is no file.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    places = [n for n, row in enumerate(result.rows) if row.shape is not None]
    places = places or [n for n, row in enumerate(result.rows) if row.scene]
    if not places:
        return 0
    count = min(_PICTURES, len(places))
    shown = [places[i] for i in np.linspace(0, len(places) - 1, count).round().astype(int)]
    columns = min(4, count)
    figure_rows = -(-count // columns)
    figure = Figure(figsize=(3.2 * columns, 3.4 * figure_rows + 0.5), dpi=100, layout="constrained")
    axes = figure.subplots(figure_rows, columns, squeeze=False).ravel()
    progress.start("Drawing", count)
    for axis in axes:
        axis.set_axis_off()
    for axis, place in zip(axes, shown, strict=False):
        _draw_one(axis, result, comparison, place, prompter=prompter, options=options)
        progress.advance()
    progress.finish()
    names = [n for n in _COLOURS if n != "truth" or comparison.compared]
    handles = [Line2D([], [], color=_COLOURS[n], label=n, linewidth=3) for n in names]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=3, fontsize=9, facecolor="#888888"
    )
    with replacing(path) as part:
        figure.savefig(part, format="png")
    return count


def _true_shapes(path: Path, crs: CRS) -> list[BaseGeometry]:
    frame = read_features(path)
    source = CRS.from_user_input(frame.crs)
    whole = [repaired(shape)[0] for shape in frame.geometry if _is_polygon(shape)]
    return [reprojected(shape, source, crs) for shape in whole if shape is not None]


def _is_polygon(shape: BaseGeometry | None) -> bool:
    if shape is None or shape.is_empty:
        return False
    return shape.geom_type in ("Polygon", "MultiPolygon")


def _truth_of(
    before: BaseGeometry | None, true: Sequence[BaseGeometry], tree: shapely.STRtree
) -> BaseGeometry | None:
    whole = repaired(before)[0] if before is not None and _is_polygon(before) else None
    if whole is None:
        return None
    near = [true[i] for i in sorted(tree.query(whole, predicate="intersects").tolist())]
    shared = [shape.intersection(whole).area for shape in near]
    inside = [s for s, part in zip(near, shared, strict=True) if part > 0.5 * s.area]
    if inside:
        return shapely.union_all(inside)
    return near[int(np.argmax(shared))] if near else None


def _compared(
    number: int,
    before: BaseGeometry | None,
    after: BaseGeometry | None,
    truth: BaseGeometry | None,
    *,
    crs: CRS,
    facts: Row,
) -> ComparedRow:
    base = (number, facts.status, facts.scene, facts.score)
    if before is None or after is None or not _is_polygon(before):
        return ComparedRow(*base, 0.0, 0.0)
    try:
        metric = local_crs(reprojected(before, crs, _LONLAT))
        old, new = (_metric(shape, crs, metric) for shape in (before, after))
        true = None if truth is None else _metric(truth, crs, metric)
    except InputError:
        return ComparedRow(*base, 0.0, 0.0)
    areas = (old.area / 1e4, new.area / 1e4)
    if true is None:
        return ComparedRow(*base, *areas)
    scores = (iou(old, true), iou(new, true), _boundary(old, true), _boundary(new, true))
    return ComparedRow(*base, *areas, *scores)


def _metric(shape: BaseGeometry, crs: CRS, metric: CRS) -> BaseGeometry:
    whole, _ = repaired(reprojected(shape, crs, metric))
    return shapely.Polygon() if whole is None else whole


def iou(one: BaseGeometry, other: BaseGeometry) -> float:
    """Shared area over joint area, 0-1; NaN of two empty shapes."""
    union = shapely.union(one, other).area
    return float(shapely.intersection(one, other).area / union) if union else float("nan")


def _boundary(one: BaseGeometry, other: BaseGeometry) -> float:
    """Boundary IoU of two shapes in metres, on pixels of a third of the boundary's width."""
    west, south, east, north = shapely.union(one, other).bounds
    longest = max(east - west, north - south)
    pixel = max(BOUNDARY_M / _BOUNDARY_PX, longest / _LONGEST_PX)
    width, height = (int(np.ceil(span / pixel)) + 2 for span in (east - west, north - south))
    burnt = []
    for shape in (one, other):
        there = affine_transform(
            shape, [1 / pixel, 0, 0, -1 / pixel, 1 - west / pixel, 1 + north / pixel]
        )
        kept = [(there, 1)] if not there.is_empty else [(shapely.Point(-9, -9), 1)]
        burnt.append(rasterize(kept, out_shape=(height, width), dtype="uint8"))
    distance = max(1, round(BOUNDARY_M / pixel))
    return boundary_iou(burnt[0], burnt[1], distance_px=distance, frame_edge=True)


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else round(value, 6)
    return value


def _draw_one(
    axis: Axes,
    result: RefineResult,
    comparison: Comparison,
    place: int,
    *,
    prompter: Prompter,
    options: RefineOptions,
) -> None:
    crs = CRS.from_user_input(result.before.crs)
    before, after = (t.geometry.iloc[place] for t in (result.before, result.after))
    with prompter.open(result.sources[place], options.scene) as scene:
        frame = OutlineFrame(scene, crs)
        window = frame.window(frame.to_pixels(before), options.context)
        values = read_frame(scene, window, _FRAME_PX)
        picture = stretch(values, scene.channels.wanted)
    extent = (
        window.col, window.col + window.width, window.row + window.height, window.row,
    )  # fmt: skip
    axis.imshow(picture, extent=extent, interpolation="nearest", aspect="auto")
    shapes = {"truth": comparison.truths[place], "before": before, "after": after}
    for name, shape in shapes.items():
        if shape is not None:
            _draw_rings(axis, frame.to_pixels(shape), _COLOURS[name], dashed=name == "before")
    axis.set_xlim(extent[:2])
    axis.set_ylim(extent[2:])
    row = comparison.rows[place]
    scores = "" if math.isnan(row.iou_before) else f"{row.iou_before:.2f} to {row.iou_after:.2f}"
    title = f"IoU {scores}" if scores else f"{row.area_before_ha:.1f} to {row.area_after_ha:.1f} ha"
    axis.set_title(f"row {place}: {title}", fontsize=9)


def _draw_rings(axis: Axes, shape: BaseGeometry, colour: str, *, dashed: bool) -> None:
    for ring in shapely.get_rings(shapely.get_parts(shape)):
        xy = shapely.get_coordinates(ring)
        axis.plot(*xy.T, color="black", linewidth=2.4, alpha=0.5)
        axis.plot(*xy.T, color=colour, linewidth=1.3, linestyle="--" if dashed else "-")
