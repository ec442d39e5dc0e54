"""Scenes to be labelled by a water index: their bands in Sen1Floods11's order, their threshold."""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from headframe.core.bands import identify_band
from headframe.core.errors import (
    BandError,
    CrsError,
    DatasetError,
    FormatError,
    UnitError,
    UnknownNameError,
)
from headframe.core.indices import INDICES, normalized_difference
from headframe.core.modelspec import InputSpec
from headframe.core.sensors import Sensor, get_sensor
from headframe.datasets.sen1floods11 import BANDS, FOLDERS, LIGHT
from headframe.geo.tiling import Tiling, tile_axis
from headframe.geo.window import Window
from headframe.io.layers import shown
from headframe.io.recognise import FileFacts, read_facts, recognise
from headframe.io.scene import Scene, SceneOptions, open_scene

WATER_INDICES = ("ndwi", "mndwi")
OTSU: Literal["otsu"] = "otsu"
SCALE = 10_000
"""Stored number of reflectance 1."""

MAY_LACK = ("coastal", "nir09", "cirrus")
"""Bands at 60 m that look at the air: 0 over clear ground, so that a pixel may lack them."""

_SAMPLE_PX = 2**20
_MIN_TILE_PX = 16
_NUMBER = re.compile(r"b(and)?[ _-]?\d+a?", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")

Reflectance = npt.NDArray[np.float32]
Stored = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class PseudoOptions:
    """How scenes become labelled tiles.

    Attributes:
        index: one of ``WATER_INDICES``.
        threshold: index from which on a pixel is water, -1 to 1; or ``otsu``, Otsu's threshold of
            each scene by itself.
        tile_px: side of a tile, pixels.
        event: name of the flood that all tiles belong to; None for one a scene, after its name.
        min_valid: share of a tile's pixels that must have data.
        sensor: what the scenes are from; None to tell by the files.
        scene: bands in file order, and the unit, where files do not tell.
    """

    index: str = "ndwi"
    threshold: float | Literal["otsu"] = 0.0
    tile_px: int = 512
    event: str | None = None
    min_valid: float = 0.5
    sensor: str | None = None
    scene: SceneOptions = field(default_factory=SceneOptions)

    def __post_init__(self) -> None:
        """Check every value; raises UnknownNameError or DatasetError."""
        if self.index not in WATER_INDICES:
            raise UnknownNameError.of("--index", self.index, WATER_INDICES)
        if self.threshold != OTSU and not -1 <= self.threshold <= 1:
            raise DatasetError(
                f"--threshold {self.threshold}: an index is between -1 and 1. "
                "Give such a number, e.g. 0, or otsu."
            )
        if self.tile_px < _MIN_TILE_PX:
            raise DatasetError(f"--tile-px {self.tile_px}: give {_MIN_TILE_PX} or more, e.g. 512.")
        if not 0 <= self.min_valid <= 1:
            raise DatasetError(f"--min-valid {self.min_valid}: is a share; give 0 to 1, e.g. 0.5.")
        if self.event is not None and not _NAME.fullmatch(self.event):
            raise DatasetError(
                f"--event {self.event!r}: file names begin with it. Use letters, digits and "
                "hyphens only."
            )


def parse_threshold(text: str) -> float | Literal["otsu"]:
    """Read what ``--threshold`` holds.

    Raises:
        DatasetError: neither a number nor ``otsu``.
    """
    if text.strip().lower() == OTSU:
        return OTSU
    try:
        return float(text)
    except ValueError:
        raise DatasetError(
            f"--threshold {text!r}: is neither a number nor otsu. Give one of them, e.g. 0."
        ) from None


@dataclass(frozen=True)
class PseudoScene:
    """A scene that was looked at, closed again.

    Attributes:
        source: path, URL or STAC item.
        name: its file's name without suffix, or the item's id.
        event: name of its flood.
        sensor: whose names and scale its bands have.
        slots: band of L1C to the scene's own name of it, in L1C's order.
        geobox: its grid.
        tiling: tiles that cover it.
        threshold: index from which on a pixel is water.
    """

    source: str
    name: str
    event: str
    sensor: str
    slots: Mapping[str, str]
    geobox: GeoBox
    tiling: Tiling
    threshold: float

    def open(self, options: PseudoOptions) -> Scene:
        """Open all its bands that have a place in L1C, in L1C's order."""
        inputs = _inputs(self.sensor, tuple(self.slots.values()))
        return open_scene(self.source, inputs=inputs, options=options.scene, check=False)


def look_at_scene(source: str, options: PseudoOptions) -> PseudoScene:
    """Tell a scene's sensor, bands, grid and threshold.

    Raises:
        MissingFileError: it is not there.
        FormatError: it cannot be read, or has no data at all in the bands of the index.
        BandError: the sensor or the bands cannot be told, or one that the index needs is missing.
        UnitError: the numbers cannot be reflectance, or are radar.
        CrsError: no CRS or no geotransform.
    """
    facts = read_facts(source)
    sensor = _sensor(facts, options)
    slots = _slots(facts, sensor, options)
    needed = tuple(slots[band] for band in _needed(slots, facts, options))
    with open_scene(source, inputs=_inputs(sensor.name, needed), options=options.scene) as scene:
        if scene.geobox is None:
            raise CrsError(
                f"{shown(source)}: has no CRS or no geotransform, so its tiles would lie nowhere. "
                "Georeference it (gdal_translate -a_srs)."
            )
        axes = [
            tile_axis(side, tile_px=options.tile_px, margin_px=0, fade_px=0) for side in scene.shape
        ]
        return PseudoScene(
            source=source,
            name=scene.name,
            event=options.event or event_of(scene.name),
            sensor=sensor.name,
            slots=slots,
            geobox=scene.geobox,
            tiling=Tiling(axes[0], axes[1]),
            threshold=_threshold(scene, options),
        )


def event_of(name: str) -> str:
    """Make a flood's name of a scene's: letters and digits of ASCII only."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]", "", plain) or "Scene"


def stored(
    values: Reflectance, *, bands: Sequence[str], index: str, top: Sequence[float] | None = None
) -> Stored:
    """Turn reflectance into the numbers of the files, times 10,000 in uint16.

    A pixel has data where every band has some, those of ``MAY_LACK`` aside, and the bands of the
    index are neither both 0 or less nor both at their top, where nothing was measured. Its numbers
    are 1 or more, because 0 stands for no data; reflectance below 1e-4, as atmospheric correction
    leaves it over water, becomes 1e-4.

    Args:
        values: (C, H, W), NaN where a band has no data.
        bands: common names of L1C, one a channel.
        index: one of ``WATER_INDICES``; both its bands are there.
        top: of each channel, reflectance of the largest number that the scene's type holds; None
            where its type has no such limit.

    Returns:
        (C, H, W); 0 in every band of a pixel without data, and in a band of ``MAY_LACK`` where
        that one has none.
    """
    places = [bands.index(band) for band in INDICES[index]]
    pair = values[places]
    ground = [place for place, band in enumerate(bands) if band not in MAY_LACK]
    data = np.isfinite(values[ground]).all(axis=0)
    with np.errstate(invalid="ignore"):
        data &= (pair > 0).any(axis=0)
        if top is not None:
            data &= (pair < np.array(top, np.float32)[places, None, None]).any(axis=0)
    known = np.isfinite(values) & data
    numbers = np.rint(np.where(known, values, 0).astype(np.float64) * SCALE)
    numbers = numbers.clip(1, np.iinfo(np.uint16).max)
    return np.where(known, numbers, 0).astype(np.uint16)


def index_of(numbers: Stored, *, bands: Sequence[str], index: str) -> npt.NDArray[np.float64]:
    """Give the index (H, W) of what ``stored`` gave; NaN where there is no data."""
    first, second = (numbers[bands.index(band)] for band in INDICES[index])
    return normalized_difference(first, second)


def read_tile(scene: Scene, window: Window, *, bands: Sequence[str], index: str) -> Stored:
    """Read a window of a scene of ``PseudoScene.open`` as ``stored`` gives it."""
    return stored(scene.read_each(window), bands=bands, index=index, top=_top(scene))


def _top(scene: Scene) -> list[float] | None:
    """Reflectance of the largest number of the scene's type, by channel, computed as it reads."""
    kind = np.dtype(scene.dtype)
    if kind.kind not in "iu":
        return None
    largest = np.float32(np.iinfo(kind).max)
    return [
        float(largest * np.float32(s.scale) + np.float32(s.offset)) if s.scale > 0 else math.inf
        for s in scene.scaling
    ]


def _inputs(sensor: str, bands: tuple[str, ...]) -> InputSpec:
    zeros, ones = (0.0,) * len(bands), (1.0,) * len(bands)
    return InputSpec(sensor=sensor, bands=bands, gsd_m=1.0, mean=zeros, std=ones, percentiles=())


def _names(facts: FileFacts, options: PseudoOptions) -> Sequence[str | None]:
    return options.scene.bands or facts.names


def _sensor(facts: FileFacts, options: PseudoOptions) -> Sensor:
    """Tell whose bands they are: those of L1C where nothing tells and names are colours."""
    told = options.sensor or recognise(facts)
    if told is None:
        number = next((n for n in _names(facts, options) if n and _NUMBER.fullmatch(n)), None)
        if number is not None:
            raise BandError(
                f"{shown(facts.source)}: nothing tells its sensor, and band {number} is another "
                "colour in each. State --sensor, or --bands by colour, e.g. blue,green,red,nir."
            )
    sensor = get_sensor(FOLDERS[LIGHT] if told in (None, "sentinel-2") else told)
    light = [part for part in sensor.simple if part.quantity == "reflectance"]
    if not light:
        raise UnitError(
            f"{shown(facts.source)}: is {sensor.title}; an index of water needs light. "
            "Give optical scenes, or another --sensor."
        )
    return light[0]


def _slots(facts: FileFacts, sensor: Sensor, options: PseudoOptions) -> dict[str, str]:
    """Find the place of each band of the scene in L1C; none has two (Landsat's one NIR)."""
    found = [identify_band(name, sensor) for name in _names(facts, options)]
    free = {band.common_name: band for band in found if band is not None}
    slots: dict[str, str] = {}
    for band in BANDS[LIGHT]:
        own = next((name for name, b in free.items() if band in (name, *b.aliases)), None)
        if own is not None:
            slots[band] = own
            del free[own]
    return slots


def _needed(slots: Mapping[str, str], facts: FileFacts, options: PseudoOptions) -> tuple[str, str]:
    needed = INDICES[options.index]
    missing = [band for band in needed if band not in slots]
    if missing:
        has = ", ".join(name or "unnamed" for name in _names(facts, options))
        raise BandError(
            f"{shown(facts.source)}: has the bands {has}; {options.index} needs {needed[0]} and "
            f"{needed[1]}, and none is known to be {missing[0]}. Name the bands in file order with "
            "--bands, or choose another --index."
        )
    return needed


def _threshold(scene: Scene, options: PseudoOptions) -> float:
    """Take the threshold as it is, or Otsu's of windows spread evenly over the scene."""
    if options.threshold != OTSU:
        return float(options.threshold)
    from headframe.datasets.thresholds import otsu  # noqa: PLC0415 - a fixed one needs no extra

    scale = np.array([[s.scale] for s in scene.scaling], np.float32)
    offset = np.array([[s.offset] for s in scene.scaling], np.float32)
    values = (scene.sample(_SAMPLE_PX) * scale + offset)[:, :, None]  # (2, N, 1)
    bands = INDICES[options.index]
    numbers = stored(values, bands=bands, index=options.index, top=_top(scene))
    index = index_of(numbers, bands=bands, index=options.index)
    if not np.isfinite(index).any():
        raise FormatError(
            f"{shown(scene.source)}: no pixel has an index for Otsu's threshold: "
            "its bands are 0 or at their top throughout. State --scale and --offset, or replace it."
        )
    return otsu(index)
