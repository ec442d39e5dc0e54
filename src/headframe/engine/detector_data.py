"""What a detector learns from: photographs in many lights, each sample a function of its number."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from headframe.core.errors import DatasetError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.photographs import InstancePhotograph
from headframe.engine.detector_recipe import DetectorAugmentSection, LightSection
from headframe.engine.enhancer_bundle import load_enhancer
from headframe.models.detector import InstanceTarget

FloatPixels = npt.NDArray[np.float32]
Prepare = Callable[[FloatPixels], FloatPixels]
"""(3, H, W) float32 in [0, 1] to the same: what a detector is shown of a photograph."""

_PERCENTILES = (1.0, 99.0)
_GUARD = 1e-3
_NUMBERS = 2**20


def stretched(pixels: FloatPixels) -> FloatPixels:
    """Stretch (3, H, W) to 0-1 from its 1st to its 99th percentile over all values, clipped."""
    low, high = np.percentile(pixels, _PERCENTILES)
    values: FloatPixels = ((pixels - low) / max(high - low, _GUARD)).clip(0, 1)
    return values.astype(np.float32)


def as_it_is(pixels: FloatPixels) -> FloatPixels:
    """Show a photograph unchanged."""
    return pixels


def build_prepare(name: str, *, device: str = "auto") -> Prepare:
    """Give what a recipe calls ``prepare``.

    Args:
        name: ``none``, ``stretch``, or an enhancer (``enhancer_bundle.load_enhancer``).
        device: where an enhancer's network runs.

    Raises:
        UnknownNameError, MissingFileError, BundleError: no such enhancer, or a damaged one.
    """
    if name == "none":
        return as_it_is
    if name == "stretch":
        return stretched
    return load_enhancer(name, device=device, fast=True)


def shown(photograph: InstancePhotograph, prepare: Prepare) -> FloatPixels:
    """Give a photograph as a detector sees it, (3, H, W) float32 in [0, 1]."""
    values = photograph.image.astype(np.float32) / np.float32(255)
    return prepare(np.ascontiguousarray(values.transpose(2, 0, 1)))


@dataclass(frozen=True, eq=False)
class Sample:
    """One photograph to learn from.

    Attributes:
        image: (3, H, W) float32.
        target: its objects.
        clean: the bright photograph, changed alike; None where it is not asked for.
    """

    image: Tensor
    target: InstanceTarget
    clean: Tensor | None


class DetectorSamples:
    """Photographs in every light, prepared once and kept in fp16, in an endless row of epochs."""

    def __init__(
        self,
        photographs: Sequence[InstancePhotograph],
        *,
        light: LightSection,
        augment: DetectorAugmentSection,
        prepare: Prepare,
        seed: int,
        progress: Progress = SILENT,
    ) -> None:
        """Darken and prepare.

        Args:
            photographs: without crowds among their objects.
            light: lights, and how often each photograph is darkened.
            augment: random changes.
            prepare: what the network sees of a photograph.
            seed: of noise, order and changes.
            progress: told of every photograph.

        Raises:
            DatasetError: no photograph with an object on it.
        """
        if not any(len(photograph.labels) for photograph in photographs):
            raise DatasetError("no photograph to learn from has an object on it.")
        self._photographs = photographs
        self._light = light
        self._augment = augment
        self._seed = seed
        self._shown: list[list[Tensor]] = []
        self._clean: list[Tensor] = []
        progress.start("Preparing photographs", len(photographs))
        for number, photograph in enumerate(photographs):
            views = [
                photograph.darkened(self._light_of(number, variant), seed=seed * 101 + variant)
                for variant in range(light.variants)
            ]
            self._shown.append([_half(shown(view, prepare)) for view in views])
            if light.pairs:
                self._clean.append(_half(shown(photograph, prepare)))
            progress.advance()
        progress.finish()

    def __len__(self) -> int:
        """Samples in an epoch: photographs times variants."""
        return len(self._photographs) * self._light.variants

    def __getitem__(self, number: int) -> Sample:
        """Give sample ``number`` of all epochs, >= 0; the same number gives the same sample."""
        epoch, place = divmod(number, len(self))
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self))
        index, variant = divmod(int(order[place]), self._light.variants)
        rng = np.random.default_rng([self._seed, _NUMBERS, number])
        photograph = self._photographs[index]
        images = [self._shown[index][variant].float()]
        if self._clean:
            images.append(self._clean[index].float())
        masks = torch.from_numpy(photograph.masks)
        if self._augment.mirror and rng.random() < 0.5:
            images = [image.flip(-1) for image in images]
            masks = masks.flip(-1)
        images, masks = _cut(images, masks, self._augment.zoom, rng)
        gain = 1 + float(rng.uniform(-1, 1)) * self._augment.gain
        images = [(image * gain).clamp(0, 1) for image in images]
        target = InstanceTarget.of_masks(masks, torch.from_numpy(photograph.labels))
        return Sample(images[0], target, images[1] if self._clean else None)

    def _light_of(self, number: int, variant: int) -> float:
        """Lights take turns, so that each is met equally often."""
        lights = self._light.train
        return lights[(number + variant) % len(lights)]


def without_crowds(photograph: InstancePhotograph) -> InstancePhotograph:
    """Leave out groups that were not told apart."""
    if not photograph.crowd.any():
        return photograph
    kept = ~photograph.crowd
    return replace(
        photograph,
        masks=photograph.masks[kept],
        labels=photograph.labels[kept],
        crowd=photograph.crowd[kept],
    )


def views_in_light(
    photographs: Sequence[InstancePhotograph], light: LightSection
) -> dict[float, list[InstancePhotograph]]:
    """Give photographs in every light they are tested in, with noise that depends on its seed."""
    return {
        share: [photograph.darkened(share, seed=light.seed) for photograph in photographs]
        for share in light.test
    }


def _half(pixels: FloatPixels) -> Tensor:
    return torch.from_numpy(pixels).half()


def _cut(
    images: list[Tensor], masks: Tensor, zoom: float, rng: np.random.Generator
) -> tuple[list[Tensor], Tensor]:
    """Cut one window out of images (3, H, W) and masks (n, H, W)."""
    height, width = images[0].shape[1:]
    share = 1 / float(rng.uniform(1, zoom))
    tall, wide = max(1, round(height * share)), max(1, round(width * share))
    top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
    rows, cols = slice(top, top + tall), slice(left, left + wide)
    return [image[:, rows, cols] for image in images], masks[:, rows, cols]
