"""Bright photographs made dark: DIS-Mine's low light, a dim camera, and ISD's noise of sensors.

Everything is a pure function of its arguments and a seed. Images are (H, W, 3) RGB, uint8 in and
out, since what a camera stores is rounded to 8 bits; the arithmetic is float64 on values / 255.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from headframe.core.errors import FormatError, RecipeError

Photograph = npt.NDArray[np.uint8]
FloatImage = npt.NDArray[np.float64]
Range = tuple[float, float]

LIGHTS = (0.10, 0.03, 0.01)
"""Shares of the light that the low-light chain is measured at."""


@dataclass(frozen=True)
class PaperDarkness:
    """DIS-Mine's recipe: Gaussian noise, less brightness, more contrast (methods 1.6).

    Ranges are (from, to), drawn evenly, one value an image.

    Attributes:
        brightness: b, factor on the values.
        gamma: exponent on the values before that; (1, 1) leaves it out, 1.5 to 3 is usual.
        contrast: c, factor on the distance from the mean. The paper raises contrast; real
            darkness lowers it, so values below 1 are allowed.
        noise: standard deviation of the Gaussian noise, of a range of values 0-1.
    """

    brightness: Range = (0.08, 0.4)
    gamma: Range = (1.0, 1.0)
    contrast: Range = (1.0, 1.4)
    noise: Range = (0.01, 0.05)

    def __post_init__(self) -> None:
        check_ranges(vars(self))


@dataclass(frozen=True)
class DimCamera:
    """A camera in a share of the light: shot noise, read noise, 8 bits.

    Attributes:
        light: share of the light left, above 0 and at most 1.
        full_scale_electrons: electrons at the value 1.
        read_noise: standard deviation of the read noise, of a range of values 0-1.
        gamma: exponent on the values before all else, > 0; above 1 shadows lose more light than
            the rest, as the toe of a tone curve has it.
    """

    light: float = 0.03
    full_scale_electrons: float = 4000.0
    read_noise: float = 0.006
    gamma: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.light <= 1:
            raise RecipeError(f"light is {self.light}; give a share above 0 and at most 1.")
        if not self.gamma > 0:
            raise RecipeError(f"gamma is {self.gamma}; give a number above 0.")
        if self.full_scale_electrons <= 0 or self.read_noise < 0:
            raise RecipeError(
                f"full_scale_electrons is {self.full_scale_electrons}, read_noise "
                f"{self.read_noise}; give above 0, and 0 or more."
            )


def seed_of(name: str, seed: int) -> int:
    """Give an image a seed of its own, the same in whatever order images come."""
    return int.from_bytes(blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(), "big")


def darken_as_paper(
    image: Photograph, *, seed: int, darkness: PaperDarkness | None = None
) -> Photograph:
    """Darken as DIS-Mine's section III-C says.

    In this order: x = value / 255; y = b x^gamma; m = the mean of y over all pixels and
    channels; z = c (y - m) + m + n, n normal noise of deviation sigma, drawn for each value;
    clipped to 0-1; times 255, rounded half to even. From ``seed`` are drawn, in this order, b,
    gamma, c, sigma, then the noise.

    Args:
        image: (H, W, 3), uint8, RGB.
        seed: any integer >= 0.
        darkness: ranges.

    Returns:
        (H, W, 3), uint8.

    Raises:
        FormatError: the image is not (H, W, 3) uint8.
    """
    x = unit_values(image)
    ranges = darkness or PaperDarkness()
    rng = np.random.default_rng(seed)
    b, gamma, c, sigma = (
        rng.uniform(*r) for r in (ranges.brightness, ranges.gamma, ranges.contrast, ranges.noise)
    )
    y = b * x**gamma
    mean = y.mean()
    return stored_values(c * (y - mean) + mean + rng.normal(0.0, sigma, y.shape))


def darken_as_camera(
    image: Photograph, *, seed: int, camera: DimCamera | None = None
) -> Photograph:
    """Photograph an image again in a share of its light.

    In this order: x = (value / 255)^gamma, taken as proportional to light (with gamma 1 the stored
    values, not their linear form); electrons ~ Poisson(light x full_scale); y = electrons /
    full_scale; plus normal read noise; clipped to 0-1; times 255, rounded half to even. From
    ``seed`` are drawn the electrons of all values, then the read noise. Before clipping and
    rounding the mean is light x and the variance light x / full_scale + read_noise^2.

    Args, returns and errors as ``darken_as_paper``.
    """
    dim = camera or DimCamera()
    x = unit_values(image) ** dim.gamma
    rng = np.random.default_rng(seed)
    electrons = rng.poisson(dim.light * x * dim.full_scale_electrons)
    read = rng.normal(0.0, dim.read_noise, x.shape)
    return stored_values(electrons / dim.full_scale_electrons + read)


def unit_values(image: Photograph) -> FloatImage:
    """Give stored values / 255.

    Raises:
        FormatError: the image is not (H, W, 3) uint8, or empty.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise FormatError(
            f"an image to darken is (H, W, 3) of uint8, not {image.shape} of {image.dtype}."
        )
    return image.astype(np.float64) / 255


def stored_values(values: FloatImage) -> Photograph:
    """Clip to 0-1 and round to 8 bits, halves to even."""
    stored: Photograph = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    return stored


def check_ranges(ranges: Mapping[str, Range]) -> None:
    """Refuse ranges that are not (from, to) with 0 <= from <= to.

    Raises:
        RecipeError: names the range.
    """
    for name, value in ranges.items():
        low, high = value
        if not 0 <= low <= high:
            raise RecipeError(f"{name} is {value}; give (from, to), 0 <= from <= to.")
