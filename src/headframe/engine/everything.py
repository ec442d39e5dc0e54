"""Automatic masks: a grid of prompts over every tile, and what is left of the answers.

After SAM's "everything" mode (Kirillov et al. 2023, appendix B): points in a regular grid, masks
kept by predicted IoU and by stability, none that touch an inner edge of their frame, duplicates
suppressed. Different here: a point is prompted only in the one tile of whose middle it lies in;
networks trained with boxes alone get boxes around each point, and then the bounds of each mask
that this gives, for a box that fits no object shows none; larger objects come from the scene
averaged to coarser levels rather than from crops of a shrunk one; duplicates are told by the IoU
of masks, and over tiles by that of outlines.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.features
import shapely
import torch
from numpy.typing import NDArray
from scipy import ndimage
from shapely import Polygon
from torch import Tensor
from torch.nn import functional
from torchvision.ops import batched_nms, masks_to_boxes, nms

from headframe.core.errors import CrsError, InputError
from headframe.core.progress import SILENT, Progress
from headframe.engine.prompting.embeddings import SceneEmbeddings, SceneTile, TileEmbedding
from headframe.geo.area import GridMeasure
from headframe.io.files import write_json
from headframe.models.sam.network import Prompts

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

BOX_SHARES = (0.125, 0.25, 0.5)
"""Sides of the boxes around a point, in shares of a frame, for networks not trained with points."""
_SAME_BOX = 0.8
"""Boxes that overlap more than this mean the same object."""


@dataclass(frozen=True)
class EverythingOptions:
    """Which prompts are tried and which masks are kept.

    Attributes:
        points_per_side: points along a side of a frame, >= 1.
        levels: levels of the scene looked at, >= 1; each further one has pixels twice as wide.
        min_iou: least IoU that the network predicts of a mask, 0-1.
        min_stability: least IoU of a mask with itself at shifted thresholds, 0-1.
        stability_offset: by how much the threshold is shifted up and down, logits, > 0.
        nms_iou: masks that overlap more than this are one object, 0-1.
        min_area_ha: smaller ones are left out, hectares, >= 0.
        max_area_ha: larger ones are left out; None keeps all.
        batch: prompts decoded at once, >= 1.
    """

    points_per_side: int = 8
    levels: int = 1
    min_iou: float = 0.7
    min_stability: float = 0.7
    stability_offset: float = 1.0
    nms_iou: float = 0.5
    min_area_ha: float = 0.0
    max_area_ha: float | None = None
    batch: int = 32

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("min_iou", "min_stability", "nms_iou"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise InputError(f"--{name.replace('_', '-')} {value:g} is not between 0 and 1.")
        for name in ("points_per_side", "levels", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} must be 1 or more.")
        most = self.max_area_ha
        if self.min_area_ha < 0 or (most is not None and not most > self.min_area_ha):
            raise InputError(
                f"--min-area-ha {self.min_area_ha:g} must be 0 or more"
                + ("." if most is None else f", and below --max-area-ha {most:g}.")
            )


@dataclass(frozen=True)
class AutoMask:
    """One object that was found.

    Attributes:
        polygon: its outline along pixel edges, in pixels of the scene (x = column, y = row).
        area_ha: on the ellipsoid, hectares.
        predicted_iou: what the network makes of its own mask, 0-1.
        stability: IoU of the mask with itself at shifted thresholds, 0-1.
        level: level of the scene it was found on.
    """

    polygon: Polygon
    area_ha: float
    predicted_iou: float
    stability: float
    level: int

    @property
    def score(self) -> float:
        """Product of predicted IoU and stability, 0-1, by which duplicates are settled."""
        return self.predicted_iou * self.stability


@dataclass(frozen=True)
class _Found:
    """Masks of one tile.

    Attributes:
        masks: (N, S, S) bool, on the tile.
        quality: (N,) predicted IoU.
        stability: (N,).
        kinds: (N,) which of a prompt's masks: two kinds at one place may be a whole and its part.
    """

    masks: Tensor
    quality: Tensor
    stability: Tensor
    kinds: Tensor

    def pick(self, rows: Tensor) -> "_Found":
        return _Found(self.masks[rows], self.quality[rows], self.stability[rows], self.kinds[rows])


def find_everything(
    scene: SceneEmbeddings,
    *,
    options: EverythingOptions | None = None,
    work: Path | None = None,
    progress: Progress = SILENT,
) -> list[AutoMask]:
    """Find every object on a scene.

    Args:
        scene: an open scene and a network.
        options: which prompts, and which masks are kept.
        work: folder in which each finished tile is noted, so that a stopped run goes on with the
            next; its caller sees to it that scene, network and options are those of the notes.
        progress: told of every tile.

    Returns:
        Objects by falling score; no two overlap by more than ``options.nms_iou``.

    Raises:
        CrsError: the scene has no CRS, so that nothing has an area.
    """
    options = options or EverythingOptions()
    if scene.scene.geobox is None:
        raise CrsError(
            f"{scene.scene.source}: has no CRS, so objects have no place and no area. "
            "Set one with gdal_edit.py -a_srs."
        )
    measure = GridMeasure(scene.scene.geobox)
    tiles = [t for level in range(min(options.levels, scene.levels)) for t in scene.tiles(level)]
    found: list[AutoMask] = []
    progress.start(f"{scene.scene.name}: proposals", len(tiles))
    try:
        for tile in tiles:
            note = None if work is None else work / f"{tile.name}.json"
            if note is not None and note.is_file():
                found += _read_note(note)
            else:
                new = _objects_of(scene, tile, measure, options)
                if note is not None:
                    write_json(note, [_noted(mask) for mask in new])
                found += new
            progress.advance()
    finally:
        progress.finish()
    return suppress(found, iou=options.nms_iou)


def suppress(masks: Sequence[AutoMask], *, iou: float) -> list[AutoMask]:
    """Keep of objects that overlap by more than ``iou`` the one of the highest score.

    Returns:
        What is kept, by falling score; equal scores in the order given.
    """
    ranked = sorted(masks, key=lambda mask: -mask.score)
    shapes = np.array([mask.polygon for mask in ranked], dtype=object)
    if not len(shapes):
        return []
    areas = shapely.area(shapes)
    tree = shapely.STRtree(shapes)
    gone = np.zeros(len(shapes), dtype=bool)
    for place in range(len(shapes)):
        if gone[place]:
            continue
        near = tree.query(shapes[place], predicate="intersects")
        near = near[near > place]
        shared = shapely.area(shapely.intersection(shapes[place], shapes[near]))
        gone[near[shared > iou * (areas[place] + areas[near] - shared)]] = True
    return [mask for mask, lost in zip(ranked, gone, strict=True) if not lost]


def grid_points(scene: SceneEmbeddings, tile: SceneTile, *, points_per_side: int) -> FloatArray:
    """List the points prompted in a tile: those of the level's grid that lie in its own block.

    Blocks of the tiles of a level cover it once, so that no point is prompted twice.

    Returns:
        (P, 2) x and y in pixels of the tile, (0, 0) the corner of its first pixel.
    """
    axes = scene.axes(tile.level)
    spacing = scene.size_px / points_per_side
    places = []
    for axis, number, first in zip(
        axes, (tile.row, tile.col), (tile.window.row, tile.window.col), strict=True
    ):
        low, high = axis.cuts[number], axis.cuts[number + 1]
        steps = np.arange(np.ceil(low / spacing - 0.5), np.ceil(high / spacing - 0.5))
        places.append((steps + 0.5) * spacing - first)
    ys, xs = np.meshgrid(*places, indexing="ij")
    return np.column_stack([xs.ravel(), ys.ravel()])


def stability_score(logits: Tensor, *, offset: float) -> Tensor:
    """IoU of each mask at threshold +offset with itself at -offset (SAM, appendix B).

    Args:
        logits: (N, h, w).
        offset: > 0.

    Returns:
        (N,) float32 in [0, 1]; 0 where even the larger mask is empty.
    """
    inner = (logits > offset).sum(dim=(1, 2))
    outer = (logits > -offset).sum(dim=(1, 2))
    return inner / outer.clamp(min=1)


def mask_nms(masks: Tensor, scores: Tensor, *, iou: float) -> Tensor:
    """Suppress masks that overlap one of a higher score by more than ``iou``.

    Args:
        masks: (N, h, w) bool.
        scores: (N,).
        iou: 0-1.

    Returns:
        Rows that are kept, by falling score.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    flat = masks[order].flatten(1).float()
    shared = flat @ flat.T
    areas = shared.diagonal()
    overlaps = shared > iou * (areas[:, None] + areas[None] - shared)
    kept: list[int] = []
    gone = torch.zeros(len(order), dtype=torch.bool)
    for place in range(len(order)):
        if not gone[place]:
            kept.append(place)
            gone |= overlaps[place].cpu()
    return order[kept]


def _objects_of(
    scene: SceneEmbeddings, tile: SceneTile, measure: GridMeasure, options: EverythingOptions
) -> list[AutoMask]:
    embedded = scene.at(tile)
    points = grid_points(scene, tile, points_per_side=options.points_per_side)
    there = embedded.valid[points[:, 1].astype(int), points[:, 0].astype(int)]
    if embedded.embedding is None or not there.any():
        return []
    found = _masks(scene, embedded, points[there], options)
    found = found.pick(torch.from_numpy(~_cut_off(scene, embedded, found.masks)))
    if not len(found.masks):
        return []
    ranks = found.quality * found.stability
    boxes = masks_to_boxes(found.masks)
    found = found.pick(batched_nms(boxes, ranks, found.kinds, options.nms_iou))
    found = found.pick(mask_nms(found.masks, found.quality * found.stability, iou=options.nms_iou))
    return list(_measured(found, tile, measure, options))


@torch.inference_mode()
def _masks(
    scene: SceneEmbeddings,
    embedded: TileEmbedding,
    points: FloatArray,
    options: EverythingOptions,
) -> _Found:
    """Decode the prompts of a tile and keep what predicted IoU and stability vouch for."""
    prompter, size = scene.prompter, scene.size_px
    assert embedded.embedding is not None  # the caller's condition
    device = embedded.embedding.device
    valid = torch.from_numpy(embedded.valid).to(device)
    kept: list[_Found] = []
    asked = _prompts(points, size, options.batch)
    if not prompter.takes_points:
        bounds = _bounds(scene, embedded, points, options)
        asked = ((Prompts(boxes=part), torch.zeros(len(part)).long()) for part in bounds)
    for prompts, kinds in asked:
        logits, quality = prompter.sam.decode(
            embedded.embedding, _on(prompts, device), multimask=prompter.multimask
        )
        count = logits.shape[1]
        slots = kinds.repeat_interleave(count) * count + torch.arange(count).repeat(len(kinds))
        logits, quality = logits.flatten(0, 1), quality.flatten().clamp(0, 1)
        stability = stability_score(logits, offset=options.stability_offset)
        good = (quality >= options.min_iou) & (stability >= options.min_stability)
        if good.any():
            fine = functional.interpolate(
                logits[good][:, None], size=(size, size), mode="bilinear", align_corners=False
            )[:, 0]
            masks = (fine > 0) & valid
            kept.append(
                _Found(masks.cpu(), quality[good].cpu(), stability[good].cpu(), slots[good.cpu()])
            )
    if not kept:
        nothing = torch.zeros(0)
        return _Found(torch.zeros(0, size, size, dtype=torch.bool), nothing, nothing, nothing)
    joined = _Found(
        torch.cat([part.masks for part in kept]),
        torch.cat([part.quality for part in kept]),
        torch.cat([part.stability for part in kept]),
        torch.cat([part.kinds for part in kept]),
    )
    return joined.pick(joined.masks.flatten(1).any(dim=1))


def _prompts(points: FloatArray, size: int, batch: int) -> Iterator[tuple[Prompts, Tensor]]:
    """Give batches of points (P, 2) as prompts, and the kind of each."""
    # SAM takes positions by the centres of pixels: (0, 0) is that of the first one.
    centres = torch.from_numpy(points).float() - 0.5
    for first in range(0, len(centres), batch):
        part = centres[first : first + batch]
        labels = torch.ones(len(part), 1, dtype=torch.int64)
        yield Prompts(points=part[:, None], labels=labels), torch.zeros(len(part)).long()


def _bounds(
    scene: SceneEmbeddings,
    embedded: TileEmbedding,
    points: FloatArray,
    options: EverythingOptions,
) -> list[Tensor]:
    """Try boxes of several sizes around points; give the bounds of what they show, in batches."""
    assert embedded.embedding is not None  # the caller's condition
    size, sam = scene.size_px, scene.prompter.sam
    centres = torch.from_numpy(points).float() - 0.5
    halves = [share * size / 2 for share in BOX_SHARES]
    tried = torch.cat([torch.cat([centres - half, centres + half], dim=1) for half in halves])
    found, scores = [], []
    for first in range(0, len(tried), options.batch):
        boxes = tried[first : first + options.batch].clamp(-0.5, size - 0.5)
        logits, quality = sam.decode(
            embedded.embedding, _on(Prompts(boxes=boxes), embedded.embedding.device)
        )
        there = (logits[:, 0] > 0).cpu()
        some = there.flatten(1).any(dim=1)
        if some.any():
            bounds = masks_to_boxes(there[some])
            bounds[:, 2:] += 1
            found.append(bounds * (size / there.shape[-1]) - 0.5)
            scores.append(quality[:, 0].cpu()[some])
    if not found:
        return []
    joined = torch.cat(found)
    kept = joined[nms(joined, torch.cat(scores), _SAME_BOX)]
    return [kept[first : first + options.batch] for first in range(0, len(kept), options.batch)]


def _on(prompts: Prompts, device: torch.device) -> Prompts:
    parts = (prompts.points, prompts.labels, prompts.boxes, prompts.masks)
    return Prompts(*(None if part is None else part.to(device) for part in parts))


def _cut_off(scene: SceneEmbeddings, embedded: TileEmbedding, masks: Tensor) -> BoolArray:
    """Tell which masks (N, S, S) reach an edge of their frame that is no edge of the scene."""
    tile = embedded.tile
    height, width = scene.shape(tile.level)
    window = tile.window
    edges = {
        "top": (window.row > 0, masks[:, 0]),
        "left": (window.col > 0, masks[:, :, 0]),
        "bottom": (window.row + window.height < height, masks[:, -1]),
        "right": (window.col + window.width < width, masks[:, :, -1]),
    }
    cut = np.zeros(len(masks), dtype=bool)
    for inner, line in edges.values():
        if inner:
            cut |= line.any(dim=1).numpy()
    return cut


def _measured(
    found: _Found, tile: SceneTile, measure: GridMeasure, options: EverythingOptions
) -> Iterator[AutoMask]:
    """Turn masks into outlines on the scene, and leave out what is too small or too large."""
    x0, y0, _, _ = tile.bounds
    rows = [(_outline(mask.numpy()), place) for place, mask in enumerate(found.masks)]
    shapes = [
        shapely.transform(outline, lambda xy: xy * tile.scale + (x0, y0)) for outline, _ in rows
    ]
    areas, _ = measure.measures(shapes)
    most = np.inf if options.max_area_ha is None else options.max_area_ha
    for shape, area, (_, place) in zip(shapes, areas / 1e4, rows, strict=True):
        if options.min_area_ha <= area <= most:
            yield AutoMask(
                polygon=shape,
                area_ha=float(area),
                predicted_iou=float(found.quality[place]),
                stability=float(found.stability[place]),
                level=tile.level,
            )


def _outline(mask: BoolArray) -> Polygon:
    """Outline the largest connected part of a mask (h, w), in its pixels; holes are kept."""
    parts, count = ndimage.label(mask)
    if count > 1:
        mask = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    outlines = rasterio.features.shapes(mask.astype(np.uint8), mask=mask, connectivity=4)
    rings = next(outlines)[0]["coordinates"]
    return Polygon(rings[0], rings[1:])


def _noted(mask: AutoMask) -> dict[str, Any]:
    return {
        "wkb": shapely.to_wkb(mask.polygon, hex=True),
        "area_ha": mask.area_ha,
        "predicted_iou": mask.predicted_iou,
        "stability": mask.stability,
        "level": mask.level,
    }


def _read_note(path: Path) -> list[AutoMask]:
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [AutoMask(shapely.from_wkb(row.pop("wkb")), **row) for row in rows]
