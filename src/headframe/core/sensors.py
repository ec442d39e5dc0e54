"""Sensors: their bands, and what their stored numbers mean."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal

from headframe.core.errors import BandError, UnknownNameError

Quantity = Literal["reflectance", "db", "power", "mixed"]

JOINT = "+"
"""Between the names of the sensors that make a composite: ``sentinel-2-l2a+sentinel-1-grd``."""

S2_OFFSET_BASELINE = (4, 0)
"""First Sentinel-2 processing baseline, of 25 January 2022, that stores reflectance + 0.1."""


@dataclass(frozen=True)
class Band:
    """One band of a sensor.

    Attributes:
        name: the operator's name, e.g. ``B02`` or ``SR_B4``'s ``B4``.
        common_name: name in the STAC ``eo`` extension, e.g. ``blue``; unique within a sensor.
        wavelength_nm: centre wavelength, nanometres (radar: the carrier's).
        gsd_m: ground sample distance, metres.
        aliases: other common names in use, lower case, e.g. ``nir`` for OLI's ``nir08``.
    """

    name: str
    common_name: str
    wavelength_nm: float | None
    gsd_m: float
    aliases: tuple[str, ...] = ()

    @property
    def spellings(self) -> frozenset[str]:
        """Every lower-case name the band goes by: ``b02``, ``b2``, ``blue``."""
        name = self.name.lower()
        return frozenset((name, _short(name), self.common_name, *self.aliases))


@dataclass(frozen=True)
class Sensor:
    """One product of one instrument: physical value = stored number * scale + offset.

    A composite of several (``get_sensor("a+b")``) has the bands of all, and ``part`` tells whose
    scale, offset, nodata and quantity a band has; its own are 1, 0, None and ``mixed``.

    Attributes:
        name: key in ``SENSORS``, or such keys joined by ``+``.
        title: name for people.
        bands: in the operator's order.
        scale: physical unit per stored number.
        offset: physical value of stored number 0.
        nodata: stored number that means "no data", or None.
        quantity: reflectance (0-1, above 1 over snow and cloud), decibel or linear power; mixed
            for a composite of both.
        parts: the sensors of a composite, empty for a simple one.
    """

    name: str
    title: str
    bands: tuple[Band, ...]
    scale: float
    offset: float
    nodata: float | None
    quantity: Quantity
    parts: tuple["Sensor", ...] = ()

    @property
    def simple(self) -> tuple["Sensor", ...]:
        """The parts of a composite, or the sensor itself."""
        return self.parts or (self,)

    def part(self, name: str) -> "Sensor":
        """Tell which simple sensor a band belongs to; a simple one has all its bands itself.

        Args:
            name: as in ``band``.

        Raises:
            BandError: the composite has no such band.
        """
        if not self.parts:
            return self
        band = self.band(name)
        return next(part for part in self.parts if band in part.bands)

    def band(self, name: str) -> Band:
        """Find a band by its common name or its own name, in any case.

        Raises:
            BandError: the sensor has no such band.
        """
        key = name.strip().lower()
        for band in self.bands:
            if key in band.spellings:
                return band
        known = ", ".join(f"{b.common_name} ({b.name})" for b in self.bands)
        raise BandError(f"{self.title} has no band {name!r}; it has {known}.")


def _short(name: str) -> str:
    return name[0] + name[2:] if len(name) == 3 and name[1] == "0" else name


_SENTINEL_2 = (
    Band("B01", "coastal", 442.7, 60),
    Band("B02", "blue", 492.7, 10),
    Band("B03", "green", 559.8, 10),
    Band("B04", "red", 664.6, 10),
    Band("B05", "rededge071", 704.1, 20),
    Band("B06", "rededge075", 740.5, 20),
    Band("B07", "rededge078", 782.8, 20),
    Band("B08", "nir", 832.8, 10),
    Band("B8A", "nir08", 864.7, 20),
    Band("B09", "nir09", 945.1, 60),
    Band("B10", "cirrus", 1373.5, 60),
    Band("B11", "swir16", 1613.7, 20),
    Band("B12", "swir22", 2202.4, 20),
)
_SENTINEL_1 = (
    *(Band(name, name.lower(), 5.5466e7, 10) for name in ("VV", "VH", "HH", "HV")),
    Band("VV_VH", "vv_vh", 5.5466e7, 10, ("vvvh",)),  # VV / (10 VH): see core.radar
)
_LANDSAT_TM = (
    Band("B1", "blue", 485, 30),
    Band("B2", "green", 560, 30),
    Band("B3", "red", 660, 30),
    Band("B4", "nir", 830, 30, ("nir08",)),
    Band("B5", "swir16", 1650, 30),
    Band("B6", "lwir", 11450, 120),
    Band("B7", "swir22", 2215, 30),
)
_LANDSAT_ETM = (
    Band("B1", "blue", 483, 30),
    Band("B2", "green", 560, 30),
    Band("B3", "red", 662, 30),
    Band("B4", "nir", 835, 30, ("nir08",)),
    Band("B5", "swir16", 1648, 30),
    Band("B6", "lwir", 11335, 60),
    Band("B7", "swir22", 2206, 30),
    Band("B8", "pan", 720, 15),
)
_LANDSAT_OLI = (
    Band("B1", "coastal", 443, 30),
    Band("B2", "blue", 482, 30),
    Band("B3", "green", 561.5, 30),
    Band("B4", "red", 654.5, 30),
    Band("B5", "nir08", 865, 30, ("nir",)),
    Band("B6", "swir16", 1608.5, 30),
    Band("B7", "swir22", 2200.5, 30),
    Band("B8", "pan", 589.5, 15),
    Band("B9", "cirrus", 1373.5, 30),
)
_PLANETSCOPE = (
    Band("B1", "blue", 485, 3),
    Band("B2", "green", 545, 3),
    Band("B3", "red", 630, 3),
    Band("B4", "nir", 820, 3),
)

SENSORS: dict[str, Sensor] = {
    sensor.name: sensor
    for sensor in (
        Sensor("sentinel-2-l1c", "Sentinel-2 L1C", _SENTINEL_2, 1e-4, 0.0, 0.0, "reflectance"),
        Sensor(
            "sentinel-2-l2a",
            "Sentinel-2 L2A",
            tuple(b for b in _SENTINEL_2 if b.name != "B10"),
            1e-4,
            0.0,
            0.0,
            "reflectance",
        ),
        Sensor("sentinel-1-grd", "Sentinel-1 GRD", _SENTINEL_1, 1.0, 0.0, 0.0, "db"),
        # Landsat: Collection 2 Level-2 surface reflectance (USGS LSDS-1328, LSDS-1618).
        Sensor("landsat-tm", "Landsat 4-5 TM", _LANDSAT_TM, 2.75e-5, -0.2, 0.0, "reflectance"),
        Sensor("landsat-etm", "Landsat 7 ETM+", _LANDSAT_ETM, 2.75e-5, -0.2, 0.0, "reflectance"),
        Sensor("landsat-oli", "Landsat 8-9 OLI", _LANDSAT_OLI, 2.75e-5, -0.2, 0.0, "reflectance"),
        Sensor("planetscope-4b", "PlanetScope 4-band", _PLANETSCOPE, 1e-4, 0.0, 0.0, "reflectance"),
    )
}
"""Every sensor by name. The offset of Sentinel-2 depends on the file: ``l2a_scaling``."""


def get_sensor(name: str) -> Sensor:
    """Look a sensor up; ``a+b`` gives the composite of both.

    A composite's name comes back in one spelling: sensors of reflectance first, each in the order
    given. No band name may be common to two parts.

    Raises:
        UnknownNameError: no such sensor.
        BandError: two parts of a composite share a band.
    """
    parts = [_simple(part.strip()) for part in name.split(JOINT)]
    if len(parts) == 1:
        return parts[0]
    return _composite(tuple(sorted(parts, key=lambda part: part.quantity != "reflectance")))


def narrow_sensor(sensor: Sensor, bands: Iterable[str]) -> Sensor:
    """Leave out the parts of a composite that none of ``bands`` needs.

    Raises:
        BandError: the composite has no such band.
    """
    if not sensor.parts:
        return sensor
    needed = {sensor.part(band).name for band in bands}
    return get_sensor(JOINT.join(part.name for part in sensor.parts if part.name in needed))


def _simple(name: str) -> Sensor:
    try:
        return SENSORS[name]
    except KeyError:
        raise UnknownNameError.of("sensor", name, SENSORS) from None


@cache
def _composite(parts: tuple[Sensor, ...]) -> Sensor:
    bands: dict[str, Sensor] = {}
    for part in parts:
        for band in part.bands:
            other = bands.setdefault(band.common_name, part)
            if other is not part:
                raise BandError(
                    f"{JOINT.join(p.name for p in parts)}: {other.name} and {part.name} both have "
                    f"the band {band.common_name}. Put them into two files."
                )
    if len(set(parts)) < len(parts):
        raise BandError(f"{JOINT.join(p.name for p in parts)}: names a sensor twice. Name it once.")
    quantities = {part.quantity for part in parts}
    return Sensor(
        name=JOINT.join(part.name for part in parts),
        title=" + ".join(part.title for part in parts),
        bands=tuple(band for part in parts for band in part.bands),
        scale=1.0,
        offset=0.0,
        nodata=None,
        quantity=parts[0].quantity if len(quantities) == 1 else "mixed",
        parts=parts,
    )


def l2a_scaling(baseline: str | None) -> tuple[float, float]:
    """Scale and offset of Sentinel-2 reflectance by processing baseline.

    From baseline 04.00 on, ESA stores (reflectance + 0.1) * 10000 so that dark targets are not
    cut at 0 (BOA_ADD_OFFSET = -1000; L1C has RADIO_ADD_OFFSET with the same value).

    Args:
        baseline: e.g. ``"04.00"``, ``"0510"``, ``"N0400"`` or ``"2.14"``; None where unknown.

    Returns:
        (scale, offset) so that reflectance = stored number * scale + offset; offset 0 where the
        baseline is unknown or unreadable.
    """
    number = _baseline_number(baseline)
    return 1e-4, (-0.1 if number is not None and number >= S2_OFFSET_BASELINE else 0.0)


def _baseline_number(baseline: str | None) -> tuple[int, int] | None:
    text = (baseline or "").strip().lstrip("Nn")
    major, dot, minor = text.partition(".")
    if not dot:
        if len(text) != 4:
            return None
        major, minor = text[:2], text[2:]
    if not (major.isdecimal() and minor.isdecimal()):
        return None
    return int(major), int(minor)
