"""Pairs of a dark and a bright crop, each a pure function of a seed and a number."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from headframe.core.errors import DatasetError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.darken import (
    DimCamera,
    PaperDarkness,
    Photograph,
    darken_as_camera,
    darken_as_paper,
)
from headframe.datasets.sensor_noise import SensorNoise, darken_as_sensor
from headframe.io.images import find_images, read_image

FloatPair = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
WAYS = ("camera", "paper", "sensor")
_GUARD = 1e-3


@dataclass(frozen=True)
class PairPlan:
    """How pairs are made.

    Attributes:
        seed: of all draws.
        crop_px: side of the crops.
        weights: of the ways ``camera``, ``paper`` and ``sensor``, not all 0.
        light: share of the light for ``camera``, drawn evenly in its logarithm.
        gamma: exponent before ``camera`` takes the light, drawn evenly.
        stretch: stretch each image of a pair to 0-1 by its least and largest value.
    """

    seed: int
    crop_px: int
    weights: tuple[float, float, float] = (1.0, 0.0, 0.0)
    light: tuple[float, float] = (0.01, 0.3)
    gamma: tuple[float, float] = (1.0, 1.0)
    stretch: bool = True


def read_bright(
    sources: Sequence[Path],
    *,
    short_side_px: int,
    brightest: float = 1.0,
    progress: Progress = SILENT,
) -> list[Photograph]:
    """Read photographs, the brighter ones of them, reduced to a short side.

    Reducing averages their own noise away, which a net would else learn to keep.

    Args:
        sources: files and folders.
        short_side_px: larger photographs are reduced to this; smaller ones are left.
        brightest: share of them kept, by mean value, ties by name; at least one.
        progress: told of every file.

    Returns:
        (H, W, 3), uint8, in order of name.

    Raises:
        MissingFileError: a source is not there.
        FormatError: there is no photograph, or one cannot be read.
    """
    paths = find_images(sources)
    progress.start("Reading photographs", len(paths))
    photographs = []
    for path in paths:
        photographs.append(reduced(read_image(path), short_side_px))
        progress.advance()
    progress.finish()
    means = np.array([photograph.mean() for photograph in photographs])
    keep = max(1, round(brightest * len(paths)))
    chosen = sorted(np.argsort(-means, kind="stable")[:keep].tolist())
    return [photographs[index] for index in chosen]


def reduced(photograph: Photograph, short_side_px: int) -> Photograph:
    """Average a photograph down to a short side; a smaller one stays as it is."""
    height, width = photograph.shape[:2]
    scale = short_side_px / min(height, width)
    if scale >= 1:
        return photograph
    size = (round(width * scale), round(height * scale))
    return np.asarray(Image.fromarray(photograph).resize(size, Image.Resampling.BOX))


def light_pair(photographs: Sequence[Photograph], number: int, plan: PairPlan) -> FloatPair:
    """Make pair ``number``: a photograph, a crop of it, one of eight views, darkened.

    Args:
        photographs: each at least ``crop_px`` a side.
        number: any integer >= 0; the same number gives the same pair.
        plan: how.

    Returns:
        Dark and bright, (3, crop, crop), float32 in [0, 1].

    Raises:
        DatasetError: the photograph is smaller than the crop.
    """
    rng = np.random.default_rng([plan.seed, number])
    photograph = photographs[int(rng.integers(len(photographs)))]
    size = plan.crop_px
    height, width = photograph.shape[:2]
    if min(height, width) < size:
        raise DatasetError(
            f"a photograph is {width} x {height} px, crops are {size} px. Leave it out, or give a "
            "smaller crop_px."
        )
    top, left = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
    crop = np.rot90(photograph[top : top + size, left : left + size], int(rng.integers(4)))
    bright = np.ascontiguousarray(crop[:, ::-1] if rng.integers(2) else crop)
    dark = _darkened(bright, rng, plan)
    return _unit(dark, stretch=plan.stretch), _unit(bright, stretch=plan.stretch)


def _darkened(bright: Photograph, rng: np.random.Generator, plan: PairPlan) -> Photograph:
    weights = np.asarray(plan.weights, dtype=np.float64)
    way = WAYS[int(rng.choice(len(WAYS), p=weights / weights.sum()))]
    seed = int(rng.integers(2**63))
    if way == "camera":
        light = float(np.exp(rng.uniform(*np.log(plan.light))))
        low, high = plan.gamma
        gamma = float(rng.uniform(low, high)) if low < high else low
        return darken_as_camera(bright, seed=seed, camera=DimCamera(light=light, gamma=gamma))
    if way == "paper":
        return darken_as_paper(bright, seed=seed, darkness=PaperDarkness())
    return darken_as_sensor(bright, seed=seed, noise=SensorNoise())


def _unit(image: Photograph, *, stretch: bool) -> npt.NDArray[np.float32]:
    values = image.astype(np.float32) / np.float32(255)
    if stretch:
        least, most = values.min(), values.max()
        values = (values - least) / max(most - least, np.float32(_GUARD))
    return np.ascontiguousarray(values.transpose(2, 0, 1))  # (H, W, 3) -> (3, H, W)
