"""From the bands a file stores to the channels a reader gives: decibels and the radar ratio."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headframe.core.bands import identify_band
from headframe.core.radar import (
    RATIO_BAND,
    RATIO_PARENTS,
    RadarUnit,
    radar_unit,
    ratio_db,
    to_db,
)
from headframe.core.sensors import Sensor

FloatArray = npt.NDArray[np.float32]

SENSOR_TAG = "HEADFRAME_SENSOR"
"""Tag of a file and of a band that names its sensor."""
UNIT_TAG = "HEADFRAME_UNIT"
"""Tag of a band whose numbers are in a unit already: ``reflectance`` or ``db``."""


@dataclass(frozen=True)
class Channels:
    """How the channels wanted come from stored bands.

    Attributes:
        wanted: common names of the channels, in order.
        stored: common names of the bands to read, each once.
        radar: which of ``stored`` are radar, 0-based.
    """

    wanted: tuple[str, ...]
    stored: tuple[str, ...]
    radar: tuple[int, ...]

    @property
    def plain(self) -> bool:
        """Whether the channels are the stored bands, one by one."""
        return self.wanted == self.stored

    def finish(self, values: FloatArray, unit: RadarUnit) -> FloatArray:
        """Turn radar into decibels and form the ratio.

        Args:
            values: (K, ...) float32, the bands of ``stored`` in their physical unit; radar is
                changed in place.
            unit: unit of the radar bands.

        Returns:
            (C, ...) float32, the channels of ``wanted``; ``values`` itself where ``plain``.
        """
        if unit == "power":
            for row in self.radar:
                values[row] = to_db(values[row])
        if self.plain:
            return values
        out = np.empty((len(self.wanted), *values.shape[1:]), dtype=np.float32)
        for channel, name in enumerate(self.wanted):
            if name in self.stored:
                out[channel] = values[self.stored.index(name)]
            else:
                vv, vh = (values[self.stored.index(parent)] for parent in RATIO_PARENTS)
                out[channel] = ratio_db(vv, vh)
        return out

    def unit_of(self, values: FloatArray, *, source: str) -> RadarUnit:
        """Tell decibels from linear power by the values; see ``core.radar.radar_unit``.

        Args:
            values: (K, ...), the bands of ``stored``.
            source: the file, for the message.

        Raises:
            UnitError: neither can be.
        """
        return radar_unit(values[list(self.radar)], source=source) if self.radar else "db"


def plan_channels(
    descriptions: Sequence[str | None], wanted: Sequence[str], sensor: Sensor
) -> Channels:
    """Say which bands to read for the channels wanted.

    The ratio ``vv_vh`` is always formed from VV and VH where the file has both, whatever ratio it
    stores: files differ in how they form theirs.

    Args:
        descriptions: per band of the file, or the names that replace them.
        wanted: band names in any spelling of the sensor.
        sensor: whose names apply.

    Raises:
        BandError: the sensor has no such band.
    """
    names = tuple(sensor.band(name).common_name for name in wanted)
    bands = [identify_band(text, sensor) for text in descriptions]
    present = {band.common_name for band in bands if band is not None}
    stored = list(names)
    if RATIO_BAND in names and present >= set(RATIO_PARENTS):
        stored.remove(RATIO_BAND)
        stored += [parent for parent in RATIO_PARENTS if parent not in stored]
    radar = [i for i, name in enumerate(stored) if sensor.part(name).quantity == "db"]
    return Channels(names, tuple(stored), tuple(radar))


def tagged_unit(dataset: Any, index: int) -> str | None:  # noqa: ANN401 - rasterio has no types
    """Read what a band's tag says of its unit, if the file was made by ``dataset fuse``."""
    text = dataset.tags(index).get(UNIT_TAG)
    return str(text) if text in ("reflectance", "db") else None


def tagged_sensor(tags: dict[str, str]) -> str | None:
    """Read which sensor a file's tags name, if it was made by ``dataset fuse``."""
    return tags.get(SENSOR_TAG) or None
