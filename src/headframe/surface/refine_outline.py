"""One coarse outline on one scene: the frame around it, the prompt, the answer, the new outline."""

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import shapely
import torch
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.features import shapes
from scipy import ndimage
from shapely.geometry import shape as of_mapping
from shapely.geometry.base import BaseGeometry
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

from headframe.core.errors import CrsError, InputError
from headframe.engine.prompt_samples import Said, draw_planes, filled, place_within
from headframe.engine.prompting.prompter import Prompter, Range
from headframe.geo.area import GridMeasure
from headframe.geo.window import Window
from headframe.io.scene import Scene, SceneOptions
from headframe.models.sam.prompted import prompts_of

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Prompt = Literal["auto", "box", "mask", "both"]

_LEAST_PX = 32
"""Smallest side of a window, pixels of the scene."""
_MOST_OVER = 4
"""A window of more than this many pixels to one of the frame is averaged while it is read."""
_FINE_PX = 512
"""Least side of the grid on which outlines are traced."""
_SMALLEST = 0.05
"""Parts of the answer under this share of its largest are noise, and so are smaller holes."""
_HOLE = 0.01
_ROOM = 1.15
"""Least side of a window over that of the outline, where the scene ends close to it."""
_STEPS = 64
"""Into how many parts the longer side of an outline is divided before it is reprojected."""


@dataclass(frozen=True)
class RefineOptions:
    """How outlines are refined.

    Attributes:
        prompt: what the network is told: the ``box`` around the outline, the outline as a
            ``mask``, ``both``, or ``auto``: both where it was trained with masks, else the box.
        context: side of the frame over the longer side of the outline, above 1.
        threshold: score from which a pixel is the object, 0-1.
        min_overlap: an answer whose IoU with the outline is lower is not believed, 0-1.
        min_cover: least share of an outline that a scene must cover, 0-1.
        simplify_px: tolerance by which the outline is smoothed, pixels of the frame.
        views: dihedral views averaged: 1, 2, 4 or 8.
        scene: bands and unit as the caller states them.
    """

    prompt: Prompt = "auto"
    context: float = 2.0
    threshold: float = 0.5
    min_overlap: float = 0.15
    min_cover: float = 0.5
    simplify_px: float = 0.4
    views: int = 1
    scene: SceneOptions = field(default_factory=SceneOptions)

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not self.context > 1:
            raise InputError(f"--context {self.context:g}: must be above 1, e.g. 2.")
        if not 0 < self.threshold < 1:
            raise InputError(f"--threshold {self.threshold:g}: must lie between 0 and 1.")
        for name in ("min_overlap", "min_cover"):
            if not 0 <= getattr(self, name) <= 1:
                option = name.replace("_", "-")
                raise InputError(f"--{option} {getattr(self, name):g}: must be from 0 to 1.")
        if self.views not in (1, 2, 4, 8):
            raise InputError(f"--views {self.views}: choose 1, 2, 4 or 8.")
        if not self.simplify_px >= 0:
            raise InputError(f"--simplify-px {self.simplify_px:g}: must be 0 or more.")


def parse_prompt(text: str) -> Prompt:
    """Read the name of a prompt.

    Raises:
        InputError: none of ``Prompt``.
    """
    known = {name: name for name in get_args(Prompt)}
    if text not in known:
        raise InputError(f"--prompt {text}: choose {', '.join(known)}.")
    chosen: Prompt = known[text]
    return chosen


@dataclass(frozen=True)
class Refined:
    """What became of one outline on one scene.

    Attributes:
        shape: the new outline in the outline's own CRS; None where it stays as it was.
        reason: why it stays; empty where it does not.
        score: IoU that the network predicts for its answer, 0-1; NaN without one.
        overlap: IoU of answer and outline on the frame; NaN without an answer.
    """

    shape: BaseGeometry | None
    reason: str
    score: float = float("nan")
    overlap: float = float("nan")


class OutlineFrame:
    """Brings outlines of one CRS into the pixels of one scene, and back."""

    def __init__(self, scene: Scene, crs: CRS) -> None:
        """Take a scene and the CRS of outlines, x before y.

        Raises:
            CrsError: the scene has none.
        """
        if scene.geobox is None:
            raise CrsError(
                f"{scene.source}: has no CRS, so outlines have no place on it. Set one with "
                "gdal_edit.py -a_srs."
            )
        self.measure = GridMeasure(scene.geobox)
        self._affine = scene.geobox.affine
        self._shape = scene.shape
        self._there = Transformer.from_crs(crs, self.measure.crs, always_xy=True)
        self._back = Transformer.from_crs(self.measure.crs, crs, always_xy=True)

    def to_pixels(self, outline: BaseGeometry) -> BaseGeometry:
        """Give an outline in pixels, x = column, y = row; its long edges get corners first."""
        x0, y0, x1, y1 = outline.bounds
        dense = shapely.segmentize(outline, max(x1 - x0, y1 - y0) / _STEPS)
        a, b, c, d, e, f = tuple(~self._affine)[:6]

        def move(xy: NDArray[np.float64]) -> NDArray[np.float64]:
            x, y = self._there.transform(xy[:, 0], xy[:, 1])
            return np.column_stack([a * x + b * y + c, d * x + e * y + f])

        return shapely.transform(dense, move)

    def to_outline_crs(self, pixels: BaseGeometry) -> BaseGeometry:
        """Bring a shape in pixels to the CRS of outlines."""

        def move(xy: NDArray[np.float64]) -> NDArray[np.float64]:
            there = self.measure.to_crs(xy)
            return np.column_stack(self._back.transform(there[:, 0], there[:, 1]))

        return shapely.transform(pixels, move)

    def window(self, pixels: BaseGeometry, context: float) -> Window:
        """Choose what is shown around an outline in pixels: a square on the ground.

        It lies within the scene as far as the outline does; where the scene is too small for it,
        the square is as large as the scene, or as the outline with a little room.
        """
        x0, y0, x1, y1 = pixels.bounds
        wide_m, high_m = self.measure.pixel_size_m((x0 + x1) / 2, (y0 + y1) / 2)
        longest_m = max((x1 - x0) * wide_m, (y1 - y0) * high_m)
        there_m = max(self._shape[1] * wide_m, self._shape[0] * high_m)
        side_m = min(context * longest_m, max(min(context, _ROOM) * longest_m, there_m))
        width = max(_LEAST_PX, int(np.ceil(side_m / wide_m)))
        height = max(_LEAST_PX, int(np.ceil(side_m / high_m)))
        col = place_within(x0, x1, width, self._shape[1])
        return Window(place_within(y0, y1, height, self._shape[0]), col, height, width)


def refine_outline(
    outline: BaseGeometry,
    scene: Scene,
    frame: OutlineFrame,
    *,
    prompter: Prompter,
    stretch: Range | None,
    options: RefineOptions,
) -> Refined:
    """Ask a network for the object that an outline means, and outline that.

    Pixels without data, and what lies beyond the scene, keep what the outline says of them. Parts
    of the answer that do not touch the outline are not meant.

    Args:
        outline: valid, in the CRS of ``frame``.
        scene: open, of ``prompter.open``.
        frame: between them.
        prompter: the network.
        stretch: of ``prompter.stretch_of(scene)``.
        options: how.
    """
    pixels = frame.to_pixels(outline)
    if not np.isfinite(shapely.get_coordinates(pixels)).all():
        return Refined(None, "cannot be brought to the scene's CRS")
    window = frame.window(pixels, options.context)
    size = prompter.trained_px or prompter.sam.size_px
    values = read_frame(scene, window, size)
    known = ~np.isnan(values).any(axis=0)
    given = filled(pixels, window, size).astype(np.bool_)
    if not (given & known).any():
        return Refined(None, "no data there")
    logits, score = ask(prompter, values, pixels, window, stretch=stretch, options=options)
    finer = max(1, _FINE_PX // size)  # between the network's pixels its logits are interpolated
    given = filled(pixels, window, finer * size).astype(np.bool_)
    likely = _finer(logits, finer) > np.log(options.threshold / (1 - options.threshold))
    found = tidy(np.where(np.kron(known, np.ones((finer, finer), np.bool_)), likely, given), given)
    overlap = float((found & given).sum() / max((found | given).sum(), 1))
    if not found.any():
        return Refined(None, "nothing found", score, overlap)
    if overlap < options.min_overlap:
        reason = f"the answer is unlike it (IoU under {options.min_overlap:g})"
        return Refined(None, reason, score, overlap)
    traced = trace(found, window, options.simplify_px * finer)
    return Refined(frame.to_outline_crs(traced), "", score, overlap)


@torch.inference_mode()
def ask(
    prompter: Prompter,
    values: FloatArray,
    outline: BaseGeometry,
    window: Window,
    *,
    stretch: Range | None,
    options: RefineOptions,
) -> tuple[FloatArray, float]:
    """Ask for the object that an outline means.

    Args:
        prompter: the network.
        values: (C, s, s) of the frame, in the scene's unit, NaN for nodata.
        outline: in pixels of the scene.
        window: what the frame shows.
        stretch: of the scene.
        options: prompt and views.

    Returns:
        Logits (s, s), and the IoU that the network predicts for them, 0-1.
    """
    kind = options.prompt
    if kind == "auto":
        kind = "both" if prompter.takes_masks else "box"
    said = Said(
        box=outline.bounds if kind in ("box", "both") else None,
        mask=outline if kind in ("mask", "both") else None,
    )
    size = values.shape[-1]
    planes = torch.from_numpy(draw_planes(said, window, size))[None].to(prompter.device)
    pixels = prompter.prepare(values, stretch)
    total = torch.zeros((1, 1, size, size), device=prompter.device)
    quality = 0.0
    for view in range(options.views):
        embedding = prompter.sam.encode(_turned(pixels, view))
        prompts = prompts_of(_turned(planes, view), prompter.sam.stride)
        logits, predicted = prompter.sam.decode(embedding, prompts)
        full = tvf.resize(logits.float(), [size, size], antialias=False)
        total += _turned_back(full, view)
        quality += float(predicted.clamp(0, 1))
    return (total[0, 0] / options.views).cpu().numpy(), quality / options.views


def read_frame(scene: Scene, window: Window, size_px: int) -> FloatArray:
    """Read a window of a scene and resize it to a frame.

    Where the window has many more pixels than the frame, they are averaged strip by strip while
    they are read, so that memory stays small.

    Args:
        scene: open.
        window: may reach beyond the scene.
        size_px: side of the frame.

    Returns:
        (C, s, s) float32, NaN where there is no data.
    """
    factor = max(1, min(window.height, window.width) // (_MOST_OVER * size_px))
    if factor == 1:
        values = scene.read(window)
    else:
        rows = -(-window.height // factor)
        step = max(1, size_px // factor)
        strips = [
            _averaged(scene, window, first, min(step, rows - first), factor)
            for first in range(0, rows, step)
        ]
        values = np.concatenate(strips, axis=1)
    missing = np.isnan(values).any(axis=0)
    known = values[:, ~missing]
    level = known.mean(axis=1) if known.size else np.zeros(len(values), np.float32)
    full = torch.from_numpy(np.where(missing, level[:, None, None], values).astype(np.float32))
    resized = tvf.resize(full, [size_px, size_px], antialias=True).numpy()
    gaps = tvf.resize(
        torch.from_numpy(missing.astype(np.uint8))[None],
        [size_px, size_px],
        interpolation=InterpolationMode.NEAREST_EXACT,
    )[0].numpy()
    return np.where(gaps > 0, np.float32(np.nan), resized).astype(np.float32)


def _averaged(scene: Scene, window: Window, first: int, rows: int, factor: int) -> FloatArray:
    """Read some rows of means of ``factor`` x ``factor`` pixels, NaN where any is missing."""
    width = -(-window.width // factor)
    strip = Window(window.row + first * factor, window.col, rows * factor, width * factor)
    values = scene.read(strip)
    blocks = values.reshape(len(values), rows, factor, width, factor)
    return np.asarray(blocks.mean(axis=(2, 4)), np.float32)


def tidy(found: BoolArray, given: BoolArray) -> BoolArray:
    """Keep the parts of an answer that are meant, and fill its small holes.

    Args:
        found: (s, s), the answer.
        given: (s, s), the outline.
    """
    labels, count = ndimage.label(found)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    meant = np.zeros(count + 1, np.bool_)
    meant[np.unique(labels[given])] = True
    meant[0] = False
    meant &= sizes >= _SMALLEST * np.where(meant, sizes, 0).max(initial=0)
    kept = meant[labels]
    holes, number = ndimage.label(~kept)
    small = np.bincount(holes.ravel(), minlength=number + 1) < _HOLE * kept.sum()
    small[0] = False
    return np.asarray(kept | small[holes], np.bool_)


def trace(found: BoolArray, window: Window, simplify_px: float) -> BaseGeometry:
    """Draw the outline of a mask, in pixels of the scene.

    Args:
        found: (s, s), not empty.
        window: what the mask shows.
        simplify_px: tolerance in pixels of the mask.

    Returns:
        A valid Polygon or MultiPolygon.
    """
    height, width = found.shape
    pixels = shapely.union_all(
        [
            of_mapping(ring).simplify(simplify_px)
            for ring, _ in shapes(found.astype(np.uint8), mask=found, connectivity=4)
        ]
    )
    to_scene = Affine(window.width / width, 0, window.col, 0, window.height / height, window.row)
    a, b, c, d, e, f = tuple(to_scene)[:6]
    return shapely.transform(
        pixels,
        lambda xy: np.column_stack(
            [a * xy[:, 0] + b * xy[:, 1] + c, d * xy[:, 0] + e * xy[:, 1] + f]
        ),
    )


def _finer(logits: FloatArray, factor: int) -> FloatArray:
    """Interpolate logits (s, s) between pixels; (s * factor, s * factor)."""
    size = factor * logits.shape[0]
    return np.asarray(
        tvf.resize(torch.from_numpy(logits)[None], [size, size], antialias=False)[0].numpy()
    )


def _turned(values: Tensor, view: int) -> Tensor:
    """One of the eight views of a square (N, C, s, s): mirrored where odd, then turned."""
    mirrored = values.flip(3) if view % 2 else values
    return torch.rot90(mirrored, (0, 2, 1, 3)[view // 2], (2, 3))


def _turned_back(values: Tensor, view: int) -> Tensor:
    turned = torch.rot90(values, -(0, 2, 1, 3)[view // 2], (2, 3))
    return turned.flip(3) if view % 2 else turned
