"""Training crops as a pure function of seed, epoch and index.

Lightning replays an epoch's first batches when a run is resumed in its middle. Here a run is one
endless stream: sample ``n`` belongs to epoch ``n // chips``, and both the order of an epoch and
the augmentation of a sample come from counters, never from the state of a generator. A resumed
run therefore goes on with exactly the next batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

from headframe.core.classmap import IGNORE_INDEX
from headframe.engine.recipe import AugmentSection

_CALM = {"scale": 1.0, "gain": 0.0, "band_gain": 0.0, "offset": 0.0, "haze": 0.0, "noise": 0.0}


@dataclass(frozen=True)
class Sample:
    """One chip in memory.

    Attributes:
        pixels: (C, H, W), float32, standardised by the training statistics, NaN for nodata.
        label: (H, W), uint8, 255 where it does not count.
        site: name of its site.
        haze: per band what haze of reflectance 1 at 490 nm adds, in the unit of ``pixels``; empty:
            nothing.
    """

    pixels: NDArray[np.float32]
    label: NDArray[np.uint8]
    site: str
    haze: tuple[float, ...] = ()


@dataclass(frozen=True)
class CropPlan:
    """How crops are drawn.

    Attributes:
        crop_px: side of a crop.
        seed: seed of order and augmentation.
        augment: the random changes.
    """

    crop_px: int
    seed: int
    augment: AugmentSection


class CropStream(Dataset[tuple[Tensor, Tensor]]):
    """Sample ``n`` of an endless run of epochs: pixels (C, s, s) float32, label (s, s) int64."""

    def __init__(self, samples: Sequence[Sample], plan: CropPlan) -> None:
        """Keep ``samples`` (at least one) and the plan."""
        self._samples = samples
        self._plan = plan
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        """Chips in an epoch."""
        return len(self._samples)

    def chip_of(self, n: int) -> int:
        """Which chip sample ``n`` is cut from: every epoch is a permutation of all chips."""
        epoch, index = divmod(n, len(self._samples))
        if self._order[0] != epoch:
            self._order = (epoch, self.order_of(epoch))
        return int(self._order[1][index])

    def order_of(self, epoch: int) -> NDArray[np.int64]:
        """Chips in the order of one epoch."""
        rng = np.random.default_rng([self._plan.seed, 0, epoch])
        return rng.permutation(len(self._samples))

    def __getitem__(self, n: int) -> tuple[Tensor, Tensor]:
        """Cut and change sample ``n``."""
        sample = self._samples[self.chip_of(n)]
        epoch, index = divmod(n, len(self._samples))
        rng = np.random.default_rng([self._plan.seed, 1, epoch, index])
        plan = self._plan
        if plan.augment.calm > 0 and rng.random() < plan.augment.calm:
            plan = replace(plan, augment=plan.augment.model_copy(update=_CALM))
        pixels, label = _crop(sample, plan, rng)
        pixels = recolour(pixels, plan.augment, rng, haze=sample.haze)
        if plan.augment.dihedral:
            pixels, label = one_of_eight(pixels, label, rng)
        pixels, label = _move(pixels, label, plan.augment, rng)
        missing = torch.isnan(pixels).any(dim=0)
        label = torch.where(missing, IGNORE_INDEX, label)
        return torch.nan_to_num(pixels, nan=0.0), label


def _crop(sample: Sample, plan: CropPlan, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Cut a square, its side drawn around ``crop_px``, and resize it to ``crop_px``."""
    size = plan.crop_px
    spread = float(np.log(plan.augment.scale))
    zoom = float(np.exp(rng.uniform(-spread, spread))) if spread > 0 else 1.0
    height, width = sample.label.shape
    side = min(max(32, round(size * zoom)), height, width)
    if min(height, width) < size and spread == 0:
        return _pad(sample, size)
    row, col = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    rows, cols = slice(row, row + side), slice(col, col + side)
    pixels = torch.from_numpy(sample.pixels[:, rows, cols].copy())
    label = torch.from_numpy(sample.label[rows, cols].astype(np.int64))
    if side == size:
        return pixels, label
    resized = tvf.resize(pixels, [size, size], antialias=True)
    nearest = tvf.resize(label[None], [size, size], interpolation=InterpolationMode.NEAREST)
    return resized, nearest[0]


def _pad(sample: Sample, size: int) -> tuple[Tensor, Tensor]:
    """Cut from the corner and fill up a chip that is smaller than the crop with nodata."""
    pixels = np.full((sample.pixels.shape[0], size, size), np.nan, np.float32)
    label = np.full((size, size), IGNORE_INDEX, np.int64)
    height, width = min(size, sample.label.shape[0]), min(size, sample.label.shape[1])
    pixels[:, :height, :width] = sample.pixels[:, :height, :width]
    label[:height, :width] = sample.label[:height, :width]
    return torch.from_numpy(pixels), torch.from_numpy(label)


def recolour(
    pixels: Tensor, augment: AugmentSection, rng: np.random.Generator, *, haze: Sequence[float] = ()
) -> Tensor:
    """Change brightness, band balance, offset, haze and noise of standardised pixels (C, s, s).

    ``haze`` is that of ``Sample``.
    """
    bands = pixels.shape[0]
    gain = np.exp(rng.normal(0, augment.gain) + rng.normal(0, augment.band_gain, bands))
    offset = rng.normal(0, augment.offset) + rng.normal(0, augment.offset / 2, bands)
    changed = pixels * _column(gain) + _column(offset)
    if augment.haze > 0 and haze:
        thickness = rng.uniform(0, augment.haze)
        changed = changed + _column(thickness * np.asarray(haze))
    if augment.noise > 0:
        grain = rng.normal(0, augment.noise, tuple(pixels.shape)).astype(np.float32)
        changed = changed + torch.from_numpy(grain)
    return changed


def one_of_eight(pixels: Tensor, label: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw one of the eight views of a square; pixels (C, s, s), label (s, s)."""
    turns = int(rng.integers(4))
    pixels, label = torch.rot90(pixels, turns, (1, 2)), torch.rot90(label, turns, (0, 1))
    if rng.random() < 0.5:
        pixels, label = pixels.flip(2), label.flip(1)
    return pixels, label


def _move(
    pixels: Tensor, label: Tensor, augment: AugmentSection, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mirror, turn and shuffle with the probabilities of a recipe.

    A change of probability 0 takes no random number, so recipes from before these fields draw
    what they always drew.

    Args:
        pixels: (C, s, s), NaN for nodata.
        label: (s, s).
        augment: probabilities; ``rotate`` is MineSegSAT's turn by up to 90 degrees either way
            with a reflected border (methods 6.3), bilinear for pixels, nearest for labels.
        rng: of this sample alone.
    """
    if _drawn(augment.hflip, rng):
        pixels, label = pixels.flip(2), label.flip(1)
    if _drawn(augment.vflip, rng):
        pixels, label = pixels.flip(1), label.flip(0)
    if _drawn(augment.rotate90, rng):
        turns = int(rng.integers(1, 4))
        pixels, label = torch.rot90(pixels, turns, (1, 2)), torch.rot90(label, turns, (0, 1))
    if _drawn(augment.rotate, rng):
        degrees = float(rng.uniform(-90, 90))
        pixels = _turn(pixels.numpy(), degrees, order=1)
        label = _turn(label.numpy(), degrees, order=0)
    if _drawn(augment.channel_shuffle, rng):
        pixels = pixels[torch.from_numpy(rng.permutation(pixels.shape[0]))]
    if _drawn(augment.grid_shuffle, rng):
        pixels, label = _shuffle_cells(pixels, label, rng)
    return pixels, label


def _shuffle_cells(
    pixels: Tensor, label: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Permute the cells of a grid of 2 x 2 or 4 x 4 in pixels (C, s, s) and label (s, s)."""
    side = int(rng.choice((2, 4)))
    order = torch.from_numpy(rng.permutation(side * side))

    def shuffled(values: Tensor) -> Tensor:
        size = values.shape[-1]
        cells = values.reshape(-1, side, size // side, side, size // side).movedim(3, 2)
        moved = cells.flatten(1, 2)[:, order].reshape(cells.shape)
        return moved.movedim(2, 3).reshape(values.shape)

    return shuffled(pixels), shuffled(label)


def _drawn(probability: float, rng: np.random.Generator) -> bool:
    return probability > 0 and rng.random() < probability


def _turn(values: NDArray[Any], degrees: float, *, order: Literal[0, 1]) -> Tensor:
    """Turn the last two axes about their centre, the outside filled by reflection."""
    axes = (values.ndim - 2, values.ndim - 1)
    turned = ndimage.rotate(values, degrees, axes=axes, reshape=False, order=order, mode="mirror")
    return torch.from_numpy(turned)


def _column(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[:, None, None]


class StreamSampler(Sampler[int]):
    """Indices of the samples that one process reads, from a step onwards.

    Step ``t`` of ``world`` processes reads the ``batch * world`` samples from
    ``t * batch * world``; process ``rank`` takes its own ``batch`` of them.
    """

    def __init__(
        self, *, start: int, steps: int, batch: int, rank: int = 0, world: int = 1
    ) -> None:
        """Read steps ``start`` to ``steps`` (exclusive)."""
        self._steps = range(start, steps)
        self._batch = batch
        self._rank = rank
        self._world = world

    def __len__(self) -> int:
        """Samples left."""
        return len(self._steps) * self._batch

    def __iter__(self) -> Iterator[int]:
        """Yield sample numbers in order."""
        for step in self._steps:
            first = (step * self._world + self._rank) * self._batch
            yield from range(first, first + self._batch)
