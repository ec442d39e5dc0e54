"""The physical noise of ISD: back to a sensor's electrons, darkness and noise there, and forth.

Chen et al. 2023 (ISD, LIS) after Brooks et al. 2019 (unprocessing) and Wei et al. 2020 (noise).
What differs: no mosaic of colours is made and undone, so that noise is not spread over
neighbours; and their tables of one camera's calibration are replaced by ranges around published
ones, since the tables were not to be had.
"""

from dataclasses import dataclass

import numpy as np

from headframe.core.errors import RecipeError
from headframe.datasets.darken import (
    FloatImage,
    Photograph,
    Range,
    check_ranges,
    stored_values,
    unit_values,
)

_GAMMA = 2.2
_TINY = 1e-8
_CAMERA_OF_RGB = np.array(
    [[0.60, 0.30, 0.10], [0.15, 0.70, 0.15], [0.05, 0.25, 0.70]]
)  # rows sum to 1, so that grey stays grey; colours mix as in a common camera
_RGB_OF_CAMERA = np.linalg.inv(_CAMERA_OF_RGB)


@dataclass(frozen=True)
class SensorNoise:
    """Ranges that one image's sensor is drawn from.

    Attributes:
        ratio: by what the light is divided, drawn evenly (ISD: 10 to 100).
        gain: levels an electron, drawn evenly in its logarithm.
        read: standard deviation of read noise in electrons, drawn evenly.
        row: the same of the noise that all values of a row share.
        red_gain: white balance of red against green, drawn evenly.
        blue_gain: of blue.
        bits: of the converter; 2^bits - 1 is the full scale.
    """

    ratio: Range = (10.0, 100.0)
    gain: Range = (0.5, 8.0)
    read: Range = (2.0, 8.0)
    row: Range = (0.2, 1.5)
    red_gain: Range = (1.9, 2.4)
    blue_gain: Range = (1.5, 1.9)
    bits: int = 14

    def __post_init__(self) -> None:
        check_ranges({k: v for k, v in vars(self).items() if k != "bits"})
        if self.ratio[0] < 1 or min(self.gain[0], self.red_gain[0], self.blue_gain[0]) <= 0:
            raise RecipeError("ratio is 1 or more; gain, red_gain and blue_gain are above 0.")
        if not 8 <= self.bits <= 16:
            raise RecipeError(f"bits is {self.bits}; give 8 to 16.")


@dataclass(frozen=True)
class Sensor:
    """One sensor, one exposure; fields as ``SensorNoise``, drawn."""

    ratio: float
    gain: float
    read: float
    row: float
    balance: tuple[float, float, float]
    levels: int


def draw_sensor(rng: np.random.Generator, noise: SensorNoise) -> Sensor:
    """Draw ratio, gain, read, row, red and blue gain, in this order."""
    return Sensor(
        ratio=rng.uniform(*noise.ratio),
        gain=float(np.exp(rng.uniform(*np.log(noise.gain)))),
        read=rng.uniform(*noise.read),
        row=rng.uniform(*noise.row),
        balance=(rng.uniform(*noise.red_gain), 1.0, rng.uniform(*noise.blue_gain)),
        levels=2**noise.bits - 1,
    )


def unprocess(image: FloatImage, sensor: Sensor) -> FloatImage:
    """Undo what a camera does to its colours.

    The tone curve 3x² - 2x³ backwards, gamma 2.2 backwards, colours to the camera's, white
    balance backwards.

    Args:
        image: (H, W, 3), RGB as stored, in [0, 1].
        sensor: whose white balance counts.

    Returns:
        (H, W, 3), linear, in [0, 1], proportional to light.
    """
    toned = 0.5 - np.sin(np.arcsin(1 - 2 * image) / 3)
    linear = np.maximum(toned, _TINY) ** _GAMMA
    raw: FloatImage = linear @ _CAMERA_OF_RGB.T / np.asarray(sensor.balance)
    return raw


def process(raw: FloatImage, sensor: Sensor) -> FloatImage:
    """Do what ``unprocess`` undoes; values are clipped to 0-1 after each step that needs it."""
    balanced = (raw * np.asarray(sensor.balance)).clip(0, 1)
    linear = (balanced @ _RGB_OF_CAMERA.T).clip(_TINY, 1)
    toned = linear ** (1 / _GAMMA)
    image: FloatImage = 3 * toned**2 - 2 * toned**3
    return image


def expose(raw: FloatImage, sensor: Sensor, rng: np.random.Generator) -> FloatImage:
    """Expose a sensor to a share of the light.

    levels = gain (Poisson(raw full_scale / gain / ratio) + read noise) + gain row noise, rounded,
    held between 0 and the full scale, and divided by it. Before that the mean is raw / ratio and
    the variance, in levels², gain² (electrons + read² + row²).

    Args:
        raw: (H, W, 3), linear, in [0, 1].
        sensor: its noise.
        rng: electrons, read noise and row noise (one value a row and colour) are drawn in this
            order.

    Returns:
        (H, W, 3), in [0, 1], still dark.
    """
    electrons = rng.poisson(raw * (sensor.levels / sensor.gain / sensor.ratio)).astype(np.float64)
    read = rng.normal(0.0, sensor.read, raw.shape)
    row = rng.normal(0.0, sensor.row, (raw.shape[0], 1, raw.shape[2]))
    levels = np.rint(sensor.gain * (electrons + read + row))
    exposed: FloatImage = levels.clip(0, sensor.levels) / sensor.levels
    return exposed


def darken_as_sensor(
    image: Photograph, *, seed: int, noise: SensorNoise | None = None, amplify: bool = False
) -> Photograph:
    """Photograph an image again with a drawn sensor in a tenth to a hundredth of its light.

    In this order: value / 255; ``unprocess``; ``expose``; with ``amplify`` times the ratio, as
    one who knows how dark it was would do; ``process``; times 255, rounded half to even.

    Args:
        image: (H, W, 3), uint8, RGB.
        seed: any integer >= 0.
        noise: ranges.
        amplify: give the noise at the brightness of the original.

    Returns:
        (H, W, 3), uint8.

    Raises:
        FormatError: the image is not (H, W, 3) uint8.
    """
    rng = np.random.default_rng(seed)
    sensor = draw_sensor(rng, noise or SensorNoise())
    exposed = expose(unprocess(unit_values(image), sensor), sensor, rng)
    return stored_values(process(exposed * (sensor.ratio if amplify else 1.0), sensor))
