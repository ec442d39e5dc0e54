"""Presets of ``label``: which bands mean what, and how chips are named."""

from collections.abc import Sequence
from dataclasses import dataclass

from headframe.core.bands import identify_band, match_bands
from headframe.core.errors import BandError, UnknownNameError
from headframe.core.sensors import Sensor, get_sensor
from headframe.io.channels import tagged_sensor
from headframe.io.stored import StoredHeader

LANDSAT_BANDS = 8


@dataclass(frozen=True)
class Preset:
    """How chips of one kind are labelled.

    Attributes:
        name: key in ``PRESETS``.
        sensor: default sensor, a name in ``core.sensors.SENSORS``.
        vegetation: True where NDVI removes the target.
        cloud: where cloud comes from: the last band, the scene classification, or nowhere.
        regions: True where chips lie in folders ``<site>_agm_region_<k>``.
        components: True where labels are masks of mine components.
    """

    name: str
    sensor: str
    vegetation: bool
    cloud: str | None
    regions: bool
    components: bool = False


PRESETS: dict[str, Preset] = {
    "landsat-8band": Preset("landsat-8band", "landsat-tm", True, "last", True),
    "s2-scl": Preset("s2-scl", "sentinel-2-l2a", True, "scl", False),
    "plain": Preset("plain", "sentinel-2-l1c", False, None, False),
    "components": Preset("components", "sentinel-2-l2a", False, None, False, components=True),
}


@dataclass(frozen=True)
class BandPlan:
    """Which band of a file does what; 0-based indices into the header's bands.

    Attributes:
        kept: bands that the data set's image keeps, in file order.
        red: red band, where NDVI is wanted.
        nir: near-infrared band, likewise.
        cloud: cloud or classification band.
        rgb: bands of the preview: three, or one where no colours are known.
        names: common name of each kept band, or its description, or ``band_<n>``.
    """

    kept: tuple[int, ...]
    red: int | None
    nir: int | None
    cloud: int | None
    rgb: tuple[int, ...]
    names: tuple[str, ...]


def get_preset(name: str) -> Preset:
    """Look a preset up.

    Raises:
        UnknownNameError: no such preset.
    """
    if name not in PRESETS:
        raise UnknownNameError.of("preset", name, PRESETS)
    return PRESETS[name]


def plan_bands(
    header: StoredHeader, preset: Preset, *, sensor: str | None, source: str
) -> BandPlan:
    """Say which bands of a file the preset uses.

    ``landsat-8band`` goes by position, as that paper's files do (bands 1-7 of TM or ETM+, so red
    is 3 and near infrared 4, and cloud 8), and refuses descriptions that say otherwise; the
    others go by description alone.

    Args:
        header: of the file.
        preset: see ``PRESETS``.
        sensor: replaces the preset's sensor, and what the file's tags say.
        source: file name, for messages.

    Raises:
        BandError: too many or too few bands, or one that is needed is not there.
    """
    instrument = get_sensor(sensor or tagged_sensor(header.tags) or preset.sensor)
    count = len(header.descriptions)
    if preset.cloud == "last":
        return _landsat(header, instrument, source)
    if preset.cloud == "scl":
        scl = _scl_band(header.descriptions, source)
        red, nir = match_bands(
            header.descriptions, ("red", "nir"), sensor=instrument, source=source
        )
        kept = tuple(i for i in range(count) if i != scl)
    else:
        red, nir, scl, kept = None, None, None, tuple(range(count))
    names = _names(header.descriptions, kept, instrument, source)
    return BandPlan(kept, red, nir, scl, _rgb(names, kept), names)


def _landsat(header: StoredHeader, sensor: Sensor, source: str) -> BandPlan:
    count = len(header.descriptions)
    if count != LANDSAT_BANDS:
        raise BandError(
            f"{source} has {count} bands; preset landsat-8band needs {LANDSAT_BANDS} "
            "(1-7 Landsat, 8 cloud). Choose --preset s2-scl or plain."
        )
    for index, wanted in ((2, "red"), (3, "nir")):
        band = identify_band(header.descriptions[index], sensor)
        if band is not None and band != sensor.band(wanted):
            raise BandError(
                f"{source}: band {index + 1} is described as {header.descriptions[index]!r}, but "
                f"preset landsat-8band takes it as {wanted}. Reorder the bands as TM has them."
            )
    kept = tuple(range(LANDSAT_BANDS - 1))
    order = ("B1", "B2", "B3", "B4", "B5", "B6", "B7")
    names = tuple(sensor.band(name).common_name for name in order)
    return BandPlan(kept, 2, 3, LANDSAT_BANDS - 1, (2, 1, 0), names)


def _scl_band(descriptions: Sequence[str | None], source: str) -> int:
    found = [i for i, text in enumerate(descriptions) if "scl" in (text or "").lower().split()]
    if len(found) != 1:
        has = ", ".join(text or "unnamed" for text in descriptions)
        raise BandError(
            f"{source}: {len(found)} bands are described as SCL (it has {has}); preset s2-scl "
            "needs exactly one. Describe it, or choose --preset plain."
        )
    return found[0]


def _names(
    descriptions: Sequence[str | None], kept: Sequence[int], sensor: Sensor, source: str
) -> tuple[str, ...]:
    names = []
    for index in kept:
        text = (descriptions[index] or "").strip()
        band = identify_band(text, sensor)
        names.append(band.common_name if band else text or f"band_{index + 1}")
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise BandError(f"{source}: several bands are {', '.join(doubled)}; describe each apart.")
    return tuple(names)


def _rgb(names: Sequence[str], kept: Sequence[int]) -> tuple[int, ...]:
    """Bands of the preview: red, green, blue where named, else the first one as grey."""
    if all(names.count(color) == 1 for color in ("red", "green", "blue")):
        return tuple(kept[names.index(color)] for color in ("red", "green", "blue"))
    return tuple(kept[:1])
