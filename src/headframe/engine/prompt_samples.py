"""Prompted objects of chips as training samples: crop, prompt planes, and the object's own mask.

The prompts are those of the work ahead: outlines that a hurried hand or an old register has drawn
too wide, too simple and a little beside the object (``geo.coarsen``). Like other crops, sample
``n`` is a pure function of seed, epoch and index.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.features import rasterize, shapes
from scipy import ndimage
from shapely import box as box_of
from shapely import union_all
from shapely.affinity import affine_transform, scale
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

from headframe.core.classmap import IGNORE_INDEX
from headframe.core.errors import DatasetError, RecipeError
from headframe.core.progress import SILENT, Progress
from headframe.engine.recipe import AugmentSection, PromptSection
from headframe.engine.sampling import CropPlan, CropStream, Sample, one_of_eight, recolour
from headframe.geo.coarsen import Coarseness, coarsen_metric
from headframe.geo.window import Window
from headframe.models.sam.prompted import draw_points

Rng = np.random.Generator

_TARGET = 1
_LEAST_PX = 32
"""Smallest side of a crop, pixels of the chip."""
_JITTER, _JITTER_PX = 0.1, 20.0
"""Noise on the sides of a box: a tenth of its side, at most 20 px (Kirillov et al.
2023, appendix A, training); here of the chip."""
_ROOM = 1.15
"""Least side of a crop over that of the outline, where the chip ends close to it."""
_STRAY = 0.1
"""How far the middle of a crop may lie from that of its box, over the box's longer side."""
_MOST_INSIDE, _MOST_OUTSIDE = 3, 2


@dataclass(frozen=True)
class Prompted:
    """One object of a chip.

    Attributes:
        chip: place of its chip.
        number: its number in the chip's numbered objects.
        outline: along pixel edges, x = column, y = row of the chip, the corner of the first pixel
            being (0, 0).
    """

    chip: int
    number: int
    outline: BaseGeometry


@dataclass(frozen=True)
class Said:
    """A prompt for one object, in pixels of the chip; what is None or empty is not said."""

    box: tuple[float, float, float, float] | None = None
    mask: BaseGeometry | None = None
    points: int = 0
    """Number of points inside; they are drawn in the frame."""


class PromptStore(Sequence[Sample]):
    """Objects of chips: connected parts of the target that are large enough."""

    def __init__(
        self,
        chips: Sequence[Sample],
        prompts: PromptSection,
        *,
        gsd_m: float,
        progress: Progress = SILENT,
    ) -> None:
        """Find the objects.

        Args:
            chips: standardised chips, labels 0, 1 = target, 255.
            prompts: how they are prompted.
            gsd_m: side of a pixel of the chips, metres.
            progress: told of every chip.

        Raises:
            DatasetError: no object is large enough.
        """
        self.chips = chips
        self.prompts = prompts
        self.gsd_m = gsd_m
        self.objects: list[Prompted] = []
        progress.start("Finding objects", len(chips))
        for place, chip in enumerate(chips):
            self.objects += _objects(chip.label, place, prompts.min_area_px)
            progress.advance()
        progress.finish()
        if not self.objects:
            raise DatasetError(
                f"no object of {prompts.min_area_px} px or more in {len(chips)} chips. "
                "Lower data.prompts.min_area_px."
            )

    def __len__(self) -> int:
        """Objects."""
        return len(self.objects)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # no slices
        """Chip of object ``index``, labelled with that object only."""
        found = self.objects[index]
        chip = self.chips[found.chip]
        numbers, _ = _numbered(chip.label)
        label = np.where(chip.label == IGNORE_INDEX, np.uint8(IGNORE_INDEX), np.uint8(0))
        label[numbers == found.number] = 1
        return replace(chip, label=label)

    def stream(self, plan: CropPlan) -> "PromptStream":
        """Samples for training."""
        return PromptStream(self, plan)


class PromptStream(CropStream):
    """Sample ``n`` of an endless run: bands and planes (C + 3, s, s) float32, label (s, s) int64.

    The label is 1 on the prompted object, 0 elsewhere (on other objects, too), 255 where nothing
    is known. Every epoch is a permutation of all objects.
    """

    def __init__(self, store: PromptStore, plan: CropPlan) -> None:
        """Keep the objects and the plan.

        Raises:
            RecipeError: a change of crops that planes of prompts cannot follow.
        """
        super().__init__(store, plan)
        check_augment(plan.augment)
        self._store = store

    def __getitem__(self, n: int) -> tuple[Tensor, Tensor]:
        """Draw the prompt, cut and change sample ``n``."""
        place = self.chip_of(n)
        epoch, index = divmod(n, len(self._store))
        rng = np.random.default_rng([self._plan.seed, 2, epoch, index])
        return draw_sample(self._store, place, self._plan, rng)


def check_augment(augment: AugmentSection) -> None:
    """Refuse changes of crops that planes of prompts cannot follow.

    Raises:
        RecipeError: one is asked for.
    """
    fields = ("hflip", "vflip", "rotate90", "rotate", "channel_shuffle", "grid_shuffle", "calm")
    asked = next((name for name in fields if getattr(augment, name) > 0), None)
    if asked or augment.scale > 1:
        raise RecipeError(
            f"augment.{asked or 'scale'} does not go with data.prompts: prompts are drawn with "
            "the crop. Use dihedral and colour; data.prompts.context zooms."
        )


def draw_sample(store: PromptStore, place: int, plan: CropPlan, rng: Rng) -> tuple[Tensor, Tensor]:
    """Draw one sample of object ``place``; see ``PromptStream``."""
    found, prompts = store.objects[place], store.prompts
    coarse = _coarse(found.outline, prompts, store.gsd_m, rng)
    low, high = np.log(prompts.context)
    sample = store[place]
    context = float(np.exp(rng.uniform(low, high)))
    window = crop_window(coarse, sample.label.shape, context=context, stray=_STRAY, rng=rng)
    pixels, label = cut(sample, window, plan.crop_px)
    said = _say(found.outline, coarse, prompts, rng)
    points = _points(label.numpy(), said.points, rng) if said.points else []
    planes = draw_planes(said, window, plan.crop_px, points=points)
    pixels = torch.cat(
        [recolour(pixels, plan.augment, rng, haze=sample.haze), torch.from_numpy(planes)]
    )
    if plan.augment.dihedral:
        pixels, label = one_of_eight(pixels, label, rng)
    missing = torch.isnan(pixels).any(dim=0)
    label = torch.where(missing, IGNORE_INDEX, label)
    return torch.nan_to_num(pixels, nan=0.0), label


def crop_window(
    outline: BaseGeometry,
    shape: tuple[int, int],
    *,
    context: float,
    stray: float = 0.0,
    rng: Rng | None = None,
) -> Window:
    """Choose the square around an outline.

    Args:
        outline: in pixels of a chip.
        shape: (H, W) of the chip, within which the square lies as far as the outline does.
        context: side of the square over the longer side of the outline's bounds, above 1.
        stray: how far its middle may lie from theirs, over their longer side.
        rng: draws that; None leaves the square in the middle.

    Returns:
        Pixels, at least 32 a side and no more than the chip's longer side, unless the outline
        itself is longer.
    """
    west, north, east, south = outline.bounds
    longest = max(east - west, south - north)
    side = min(context * longest, max(min(context, _ROOM) * longest, *shape))
    side = max(_LEAST_PX, int(np.ceil(side)))
    room = min(stray * longest, (side - longest) / 2)
    off_x, off_y = np.zeros(2) if rng is None else rng.uniform(-room, room, 2)
    col = place_within(west, east, side, shape[1], off=float(off_x))
    row = place_within(north, south, side, shape[0], off=float(off_y))
    return Window(row, col, side, side)


def place_within(low: float, high: float, length: int, limit: int, *, off: float = 0.0) -> int:
    """Place a stretch of pixels around another.

    Args:
        low: where the other begins.
        high: where it ends; it is shorter than ``length``.
        length: pixels of the stretch.
        limit: the stretch should lie between 0 and this; but it holds the other in any case.
        off: how far its middle lies from the other's.

    Returns:
        Its first pixel.
    """
    start = (low + high) / 2 + off - length / 2
    if length <= limit:
        start = min(max(start, 0), limit - length)
    start = min(max(start, high - length), low)
    return int(np.floor(start + 0.5))


def cut(sample: Sample, window: Window, size_px: int) -> tuple[Tensor, Tensor]:
    """Cut a square out of a chip and resize it.

    Args:
        sample: the chip.
        window: a square; what lies beyond the chip is nodata.
        size_px: side of the result.

    Returns:
        Pixels (C, s, s) with NaN where there is no data, label (s, s) int64.
    """
    side = window.height
    pixels = np.full((len(sample.pixels), side, side), np.nan, np.float32)
    label = np.full((side, side), IGNORE_INDEX, np.int64)
    height, width = sample.label.shape
    top, left = max(window.row, 0), max(window.col, 0)
    bottom, right = min(window.row + side, height), min(window.col + side, width)
    if top < bottom and left < right:
        rows = slice(top - window.row, bottom - window.row)
        cols = slice(left - window.col, right - window.col)
        pixels[:, rows, cols] = sample.pixels[:, top:bottom, left:right]
        label[rows, cols] = sample.label[top:bottom, left:right]
    resized = tvf.resize(torch.from_numpy(pixels), [size_px, size_px], antialias=True)
    nearest = tvf.resize(
        torch.from_numpy(label)[None],
        [size_px, size_px],
        interpolation=InterpolationMode.NEAREST_EXACT,
    )
    return resized, nearest[0]


def draw_planes(
    said: Said,
    window: Window,
    size_px: int,
    *,
    points: Sequence[tuple[float, float, int]] = (),
) -> NDArray[np.float32]:
    """Draw the planes of a prompt on a frame.

    Args:
        said: what is said, in pixels of the chip.
        window: the chip's pixels that the frame shows, a square.
        size_px: side of the frame.
        points: (x, y, label) in pixels of the frame, see ``prompted.draw_points``.

    Returns:
        (3, s, s): box, mask, points; see ``prompted.PLANES``.
    """
    planes = np.zeros((3, size_px, size_px), np.float32)
    if said.box is not None:
        planes[0] = filled(box_of(*said.box), window, size_px)
    if said.mask is not None:
        planes[1] = filled(said.mask, window, size_px)
    planes[2] = draw_points((size_px, size_px), points)
    return planes


def filled(outline: BaseGeometry, window: Window, size_px: int) -> NDArray[np.uint8]:
    """Fill an outline on the frame that shows a window.

    Args:
        outline: in pixels of the chip or scene.
        window: its pixels that the frame shows, square or not.
        size_px: side of the frame.

    Returns:
        (s, s), 1 inside; where nothing would be, every pixel that the outline touches.
    """
    x, y = size_px / window.width, size_px / window.height
    there = affine_transform(outline, [x, 0, 0, y, -window.col * x, -window.row * y])
    burnt: NDArray[np.uint8] = rasterize(
        [(there, 1)], out_shape=(size_px, size_px), all_touched=there.area < 1, dtype="uint8"
    )
    return burnt


def _numbered(label: NDArray[np.uint8]) -> tuple[NDArray[np.int32], int]:
    """Number the connected parts (4 neighbours) of the target from 1."""
    numbers, count = ndimage.label(label == _TARGET)
    return numbers.astype(np.int32), int(count)


def _objects(label: NDArray[np.uint8], chip: int, min_area_px: int) -> list[Prompted]:
    numbers, count = _numbered(label)
    large = np.bincount(numbers.ravel(), minlength=count + 1) >= min_area_px
    large[0] = False
    parts: dict[int, list[BaseGeometry]] = {}
    for outline, number in shapes(numbers, mask=large[numbers], connectivity=4):
        parts.setdefault(int(number), []).append(shape(outline))
    return [Prompted(chip, number, union_all(found)) for number, found in sorted(parts.items())]


def _coarse(outline: BaseGeometry, prompts: PromptSection, gsd_m: float, rng: Rng) -> BaseGeometry:
    """Draw a coarse outline of an object; itself where coarsening leaves nothing."""
    coarseness = Coarseness(
        simplify_m=float(rng.uniform(*prompts.simplify_m)),
        buffer_m=float(rng.uniform(*prompts.buffer_m)),
        shift_m=float(rng.uniform(*prompts.shift_m)),
    )
    metric = scale(outline, gsd_m, gsd_m, origin=(0, 0))
    moved = coarsen_metric(metric, coarseness, direction=float(rng.uniform(0, 2 * np.pi)))
    return scale(moved, 1 / gsd_m, 1 / gsd_m, origin=(0, 0)) if not moved.is_empty else outline


def _say(outline: BaseGeometry, coarse: BaseGeometry, prompts: PromptSection, rng: Rng) -> Said:
    """Draw which prompt is given, and its box."""
    kinds = ("box", "mask", "points", "box_mask")
    weights = np.array([getattr(prompts, kind) for kind in kinds])
    kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
    if kind == "box":
        exact = bool(rng.random() < 0.5)
        return Said(box=_jittered(outline.bounds, rng) if exact else coarse.bounds)
    if kind == "mask":
        return Said(mask=coarse)
    if kind == "points":
        return Said(points=int(rng.integers(1, _MOST_INSIDE + 1)))
    return Said(box=coarse.bounds, mask=coarse)


def _jittered(
    bounds: tuple[float, float, float, float], rng: Rng
) -> tuple[float, float, float, float]:
    west, north, east, south = bounds
    sides = np.array([east - west, south - north] * 2)
    noise = rng.normal(0, 1, 4) * np.minimum(_JITTER * sides, _JITTER_PX)
    x0, y0, x1, y1 = np.asarray(bounds) + np.clip(noise, -0.4 * sides, 0.4 * sides)
    return float(x0), float(y0), float(x1), float(y1)


def _points(label: NDArray[np.int64], inside: int, rng: Rng) -> list[tuple[float, float, int]]:
    """Draw points inside the object and up to two outside it, by pixels of the frame."""
    found: list[tuple[float, float, int]] = []
    for value, count in ((1, inside), (0, int(rng.integers(_MOST_OUTSIDE + 1)))):
        places = np.argwhere(label == value)
        for place in rng.integers(len(places), size=count) if len(places) else ():
            row, col = places[place]
            found.append((float(col), float(row), value))
    return found
