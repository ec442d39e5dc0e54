"""Enhancing photographs of any size: KinD in bounded memory, and what it is measured against."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from headframe.core.errors import InputError, RecipeError
from headframe.models.iat import LOCAL_REACH_PX, Iat
from headframe.models.kind import KinDEnhancer
from headframe.models.kind.enhancer import DEFAULT_RATIO, RECEPTIVE_PX, STRIDE_PX

FloatPixels = npt.NDArray[np.float32]

_LOOK_PX = 512
_GLOBAL_PX = 1024
_IAT_CORE_PX = 512
_LEAST_PX = 4
_GUARD = 1e-3
_EPS = 1e-4
_MEAN_AFTER_GAMMA = 0.45
_CLAHE_CLIP = 2.0
_CLAHE_GRID = 8


class Enhancer(Protocol):
    """Makes a dark photograph bright."""

    @property
    def name(self) -> str:
        """What it is called in tables and logs."""
        ...

    def __call__(self, pixels: FloatPixels) -> FloatPixels:
        """Enhance (3, H, W), float32 in [0, 1], any H and W; a new array of the same kind."""


@dataclass(frozen=True)
class EnhanceOptions:
    """How a network is used.

    Attributes:
        ratio: wanted over present light. None: ``target_light`` over the mean illumination that
            the network sees in the photograph (reduced to 512 px), at least 1.
        target_light: mean illumination to aim at without a ratio, in (0, 1].
        stretch: stretch values to 0-1 between the photograph's least and largest first, as the
            training pairs of the authors are. Their published figures come without.
        guard: post-process, see ``models.kind.light_up``.
        core_px: side of the blocks that large photographs are worked in, a multiple of 16.
    """

    ratio: float | None = DEFAULT_RATIO
    target_light: float = 0.5
    stretch: bool = False
    guard: bool = False
    core_px: int = 512

    def __post_init__(self) -> None:
        if self.ratio is not None and not (math.isfinite(self.ratio) and self.ratio > 0):
            raise RecipeError(f"ratio is {self.ratio}; give a number above 0, or auto.")
        if not 0 < self.target_light <= 1:
            raise RecipeError(f"target_light is {self.target_light}; give above 0, at most 1.")
        if self.core_px <= 0 or self.core_px % STRIDE_PX:
            raise RecipeError(f"core_px is {self.core_px}; give a multiple of {STRIDE_PX}.")


class NetworkEnhancer:
    """KinD over blocks that each see ``RECEPTIVE_PX`` pixels around them.

    Nothing outside reaches a block, so the result is that of the whole photograph at once, to
    rounding, and memory beyond the photograph's own does not grow with it.
    """

    def __init__(
        self,
        network: KinDEnhancer,
        options: EnhanceOptions,
        *,
        name: str = "kind",
        device: str = "cpu",
        fast: bool = False,
    ) -> None:
        """Take a network.

        Args:
            network: KinD.
            options: how it is used.
            name: what it is called in tables and logs.
            device: where it runs.
            fast: compute in bfloat16 where the device multiplies matrices in it: a third of the
                time on a processor with AMX, values within 0.02 and mostly within 0.002.
        """
        self.name = name
        self.options = options
        self._device = torch.device(device)
        self._half = fast and _has_bfloat16(self._device)
        network.to(self._device).to(memory_format=torch.channels_last)
        self._network = network.eval().requires_grad_(False)

    def __call__(self, pixels: FloatPixels) -> FloatPixels:
        """Enhance one photograph; see ``Enhancer``."""
        image = torch.from_numpy(pixels)[None]
        if self.options.stretch:
            least, most = image.min(), image.max()
            image = (image - least) / (most - least).clamp(min=_GUARD)
        out = torch.empty_like(image)
        half = torch.autocast(self._device.type, torch.bfloat16, enabled=self._half)
        with torch.inference_mode(), half:
            ratio = self._ratio(image)
            for rows, cols in _blocks(image, self.options.core_px, reach=RECEPTIVE_PX):
                seen = image[:, :, rows.seen, cols.seen].to(self._device)
                lit = self._network(seen, ratio=ratio, guard=self.options.guard).image
                out[:, :, rows.core, cols.core] = lit[:, :, rows.within, cols.within]
        enhanced: FloatPixels = out[0].clamp_(0, 1).numpy()
        return enhanced

    def _ratio(self, image: Tensor) -> float:
        if self.options.ratio is not None:
            return self.options.ratio
        small = _shrunk(image, _LOOK_PX, least=1)
        light = self._network.decomposition(small.to(self._device)).illumination.mean()
        return max(1.0, self.options.target_light / (float(light) + _EPS))


def _has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster there than float32: units for matrices, not only the type."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    told: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # newer torch alone
    return device.type == "cpu" and bool(told.get("amx_bf16"))


class IatEnhancer:
    """IAT over blocks; gamma and colours are read from the photograph at 1,024 px at most.

    Up to that size the result is that of the whole photograph at once, to rounding.
    """

    def __init__(self, network: Iat, *, name: str = "iat", device: str = "cpu") -> None:
        self.name = name
        self._device = torch.device(device)
        self._network = network.to(self._device).eval().requires_grad_(False)

    def __call__(self, pixels: FloatPixels) -> FloatPixels:
        """Enhance one photograph; see ``Enhancer``."""
        image = torch.from_numpy(pixels)[None]
        out = torch.empty_like(image)
        with torch.inference_mode():
            small = _shrunk(image, _GLOBAL_PX, least=_LEAST_PX)
            whole = self._network.whole(small.to(self._device))
            for rows, cols in _blocks(image, _IAT_CORE_PX, reach=LOCAL_REACH_PX):
                seen = image[:, :, rows.seen, cols.seen].to(self._device)
                lit = self._network.adjust(self._network.local(seen), *whole)
                out[:, :, rows.core, cols.core] = lit[:, :, rows.within, cols.within]
        enhanced: FloatPixels = out[0].clamp_(0, 1).numpy()
        return enhanced


def _shrunk(image: Tensor, most_px: int, *, least: int) -> Tensor:
    """Average (N, 3, H, W) down to a long side of ``most_px``; small ones stay as they are."""
    shrink = max(image.shape[-2:]) / most_px
    if shrink <= 1:
        return image
    sides = [max(least, round(side / shrink)) for side in image.shape[-2:]]
    return F.interpolate(image, sides, mode="area")


@dataclass(frozen=True)
class _Block:
    """One block along one axis: where it lies, what is seen, where it lies in what is seen."""

    core: slice
    seen: slice
    within: slice


def _blocks(image: Tensor, core: int, *, reach: int) -> Iterator[tuple[_Block, _Block]]:
    """Rows and columns of the blocks of (N, 3, H, W)."""
    height, width = image.shape[-2:]
    return product(_cuts(height, core, reach), _cuts(width, core, reach))


def _cuts(length: int, core: int, reach: int) -> list[_Block]:
    blocks = []
    for start in range(0, length, core):
        end = min(start + core, length)
        first = max(0, start - reach)
        seen = slice(first, min(length, end + reach))
        blocks.append(_Block(slice(start, end), seen, slice(start - first, end - first)))
    return blocks


@dataclass(frozen=True)
class _Plain:
    """A baseline that is one function."""

    name: str
    work: Callable[[FloatPixels], FloatPixels]

    def __call__(self, pixels: FloatPixels) -> FloatPixels:
        return self.work(pixels)


def enhance_gamma(pixels: FloatPixels) -> FloatPixels:
    """Raise all values to the one power that brings their mean near 0.45, never darkening.

    The power is log 0.45 / log mean, at most 1: the mean of powers is not the power of the mean,
    so the result's mean is only near.
    """
    mean = min(max(float(pixels.mean()), 1e-4), 0.999)
    power = min(1.0, math.log(_MEAN_AFTER_GAMMA) / math.log(mean))
    return (pixels.clip(0, 1) ** np.float32(power)).astype(np.float32)


def enhance_clahe(pixels: FloatPixels) -> FloatPixels:
    """Equalise the lightness of CIE Lab in 8 x 8 fields, contrast limited to 2, at 8 bits."""
    rgb = np.rint(pixels.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    lab = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2LAB)
    equaliser = cv2.createCLAHE(_CLAHE_CLIP, (_CLAHE_GRID, _CLAHE_GRID))
    lab[..., 0] = equaliser.apply(np.ascontiguousarray(lab[..., 0]))
    out = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).transpose(2, 0, 1)
    return np.ascontiguousarray(out, dtype=np.float32) / np.float32(255)


BASELINES: dict[str, Enhancer] = {
    "clahe": _Plain("clahe", enhance_clahe),
    "gamma": _Plain("gamma", enhance_gamma),
}
"""Enhancers without a network, by the name that ``headframe enhance --model`` takes."""


def with_ratio(options: EnhanceOptions, text: str | None) -> EnhanceOptions:
    """Set the ratio a person gave: a number, ``auto``, or nothing to leave it.

    Raises:
        RecipeError: neither.
    """
    if text is None:
        return options
    if text == "auto":
        return replace(options, ratio=None)
    try:
        return replace(options, ratio=float(text))
    except InputError:
        raise
    except ValueError as exc:
        raise RecipeError(f"--ratio is {text!r}; give a number above 0, or auto.") from exc
