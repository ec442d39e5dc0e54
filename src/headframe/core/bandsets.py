"""Band sets by name: RGB, R+N, R+N+S, M and M+S of the components paper (methods 3.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

from headframe.core.errors import UnknownNameError
from headframe.core.sensors import SENSORS


@dataclass(frozen=True)
class BandSet:
    """Bands that are used together.

    Attributes:
        name: key in ``BAND_SETS``.
        bands: common names in the order of a model's channels.
        sensor: what the paper took them from, a name ``core.sensors.get_sensor`` knows.
    """

    name: str
    bands: tuple[str, ...]
    sensor: str


_OPTICAL, _RADAR = "sentinel-2-l2a", "sentinel-1-grd"
_BOTH = f"{_OPTICAL}+{_RADAR}"
_RGB = ("red", "green", "blue")
_S = ("vv", "vh", "vv_vh")
_M = tuple(band.common_name for band in SENSORS[_OPTICAL].bands)

BAND_SETS: dict[str, BandSet] = {
    each.name: each
    for each in (
        BandSet("rgb", _RGB, _OPTICAL),
        BandSet("r+n", (*_RGB, "nir"), _OPTICAL),
        BandSet("r+n+s", (*_RGB, "nir", *_S), _BOTH),
        BandSet("m", _M, _OPTICAL),
        BandSet("m+s", (*_M, *_S), _BOTH),
    )
}
"""``m`` is the twelve bands of Sentinel-2 L2A (no B10), ``s`` is VV, VH and VV/(10 VH).

The names are those of L1C's bands too: on an L1C data set ``m`` reads the same twelve bands and
leaves B10 (cirrus) out."""


def resolve_bands(bands: str | Sequence[str]) -> tuple[str, ...]:
    """Turn the name of a band set, or a list of bands, into common names.

    Args:
        bands: ``"m+s"``, ``"red,green,blue"``, or a sequence; a sequence of one name that is a
            band set counts as that set.

    Returns:
        Names in order. Those that are no band set are passed on as they are: only a sensor knows
        its bands.

    Raises:
        UnknownNameError: a text with ``+`` that is no band set.
    """
    names = bands.split(",") if isinstance(bands, str) else list(bands)
    names = [name.strip() for name in names]
    if len(names) != 1:
        return tuple(names)
    key = names[0].lower()
    if key in BAND_SETS:
        return BAND_SETS[key].bands
    if "+" in key:
        raise UnknownNameError.of("band set", names[0], BAND_SETS)
    return (names[0],)
