"""What stored numbers mean: which product a file holds, and how its numbers are scaled."""

import logging
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from headframe.core.errors import UnitError
from headframe.core.radar import RadarUnit, parse_radar_unit
from headframe.core.sensors import SENSORS, Sensor, l2a_scaling
from headframe.core.units import Scaling
from headframe.io.layers import shown

_log = logging.getLogger("headframe")

_LEVEL_IN_NAME = re.compile(r"(?:MSIL|(?<![A-Za-z0-9])L)(1C|2A)(?![A-Za-z0-9])", re.IGNORECASE)
_LEVEL_IN_TAG = re.compile(r"(?:MSIL|S2MSI|LEVEL[-_ ]?|(?<![A-Z0-9])L)(1C|2A)(?![A-Z0-9])")
_BASELINE_IN_NAME = re.compile(r"_N(\d{4})_")
_LEVEL_KEYS = (
    "processing_level",
    "processing:level",
    "product_type",
    "s2:product_type",
    "product_uri",
    "s2:product_uri",
    "collection",
    "headframe_sensor",
)
_BASELINE_KEYS = (
    "processing_baseline",
    "s2:processing_baseline",
    "sentinel:processing_baseline",
    "processing:version",
)
_APPLIED_KEYS = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")


@dataclass(frozen=True)
class SceneOptions:
    """What the caller knows better than the file.

    Attributes:
        bands: the file's bands in file order (``--bands``), ``-`` for one to skip; None to find
            them by description.
        scale: physical unit per stored number; with ``offset`` it states the unit, so that no
            check of the unit is made. With a composite sensor both mean its bands of light.
        offset: physical value of stored number 0.
        s1_unit: ``db`` or ``power``, the unit of radar bands; None to tell by the values.
    """

    bands: tuple[str, ...] | None = None
    scale: float | None = None
    offset: float | None = None
    s1_unit: RadarUnit | None = None

    def __post_init__(self) -> None:
        """Check that scale and offset are numbers, scale is not 0 and the radar unit is known."""
        parse_radar_unit(self.s1_unit)
        if self.scale is not None and not (math.isfinite(self.scale) and self.scale != 0):
            raise UnitError(f"--scale {self.scale} is not a number other than 0.")
        if self.offset is not None and not math.isfinite(self.offset):
            raise UnitError(f"--offset {self.offset} is not a number.")

    @property
    def states_unit(self) -> bool:
        """Whether the caller states the unit."""
        return self.scale is not None or self.offset is not None

    def of_part(self, part: Sensor, sensor: Sensor) -> "SceneOptions":
        """Give what is stated of one part of ``sensor``: radar beside light has its own unit."""
        if sensor.quantity == "mixed" and part.quantity != "reflectance":
            return replace(self, scale=None, offset=None)
        return self


@dataclass(frozen=True)
class Product:
    """What a file says about its making.

    Attributes:
        sensor: ``sentinel-2-l1c`` or ``sentinel-2-l2a``; None where nothing tells.
        baseline: processing baseline as written, e.g. ``05.10``; None where nothing tells.
        offset_applied: whether its publisher already took Sentinel-2's +1000 off.
    """

    sensor: str | None = None
    baseline: str | None = None
    offset_applied: bool = False


def product_of(source: str, tags: Mapping[str, object]) -> Product:
    """Read product level and baseline from tags (or STAC properties) first, then from the name.

    Args:
        source: path or URL; only the file's own name and ``.SAFE``-like folders are looked at.
        tags: GDAL tags or STAC properties, keys in any case; ``collection`` counts.
    """
    lower = {key.lower(): value for key, value in tags.items()}
    names = " ".join(_telling_parts(source))
    level = _first(_LEVEL_IN_TAG, (str(lower.get(key, "")).upper() for key in _LEVEL_KEYS))
    level = level or _first(_LEVEL_IN_NAME, [names])
    baseline = next((str(lower[key]) for key in _BASELINE_KEYS if lower.get(key)), None)
    if baseline is None:
        uri = str(lower.get("s2:product_uri") or lower.get("product_uri") or "")
        baseline = _first(_BASELINE_IN_NAME, [uri, names])
    return Product(
        sensor=f"sentinel-2-l{level.lower()}" if level else None,
        baseline=baseline,
        offset_applied=any(str(lower.get(key)).lower() == "true" for key in _APPLIED_KEYS),
    )


def known_product(source: str, tags: Mapping[str, object], sensor: Sensor) -> Product:
    """Tell the Sentinel-2 product and warn where the model was trained on the other one."""
    part = next((p for p in sensor.simple if p.name.startswith("sentinel-2")), None)
    if part is None:
        return Product()
    product = product_of(source, tags)
    if product.sensor is not None and product.sensor != part.name:
        darker = "darker" if product.sensor == "sentinel-2-l2a" else "brighter"
        _log.warning(
            "%s is %s and the model was trained on %s: accepted with caution. Surface "
            "and top-of-atmosphere reflectance differ by the haze: this one is %s, by about 0.05 "
            "in blue.",
            shown(source),
            SENSORS[product.sensor].title,
            part.title,
            darker,
        )
    return product


def scaling_of(
    scale: float,
    offset: float,
    sensor: Sensor,
    product: Product,
    options: SceneOptions,
    *,
    in_unit: bool = False,
) -> Scaling:
    """Choose how to scale: what the caller states, else the file's tags, else the product.

    ``in_unit`` says that the file's numbers, scaled by its tags alone, are in the unit already.
    """
    if in_unit and options.scale is None:
        return Scaling(scale, offset if options.offset is None else options.offset)
    tagged = scale != 1 or offset != 0
    if not tagged:
        scale, offset = sensor.scale, sensor.offset
        if sensor.name.startswith("sentinel-2"):
            scale, offset = l2a_scaling(product.baseline)
    if product.offset_applied:
        offset = 0.0
    if options.scale is not None:
        return Scaling(options.scale, options.offset or 0.0)
    return Scaling(scale, offset if options.offset is None else options.offset)


def untagged_nodata(dtype: str, sensor: Sensor, options: SceneOptions) -> float | None:
    """Give the product's own nodata number, unless the numbers are not the product's.

    Radar has 0 at its edges in any type of number, decibels too.
    """
    kind = np.dtype(dtype)
    if sensor.quantity == "db":
        return sensor.nodata
    if options.states_unit or kind.kind not in "iu" or kind.itemsize == 1:
        return None
    return sensor.nodata


def _telling_parts(source: str) -> list[str]:
    parts = re.split(r"[\\/]+", source.split("?", 1)[0])
    return [part for part in parts[:-1] if "MSIL" in part.upper()] + parts[-1:]


def _first(pattern: re.Pattern[str], texts: Iterable[str]) -> str | None:
    for text in texts:
        found = pattern.search(text)
        if found:
            return found.group(1)
    return None
