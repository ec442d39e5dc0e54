"""Radar backscatter: decibels, linear power, and the ratio of polarisations."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from headframe.core.errors import UnitError, UnknownNameError

RadarUnit = Literal["db", "power"]

FloatArray = npt.NDArray[np.float32]

RADAR_UNITS: tuple[RadarUnit, ...] = ("db", "power")
RATIO_BAND = "vv_vh"
RATIO_PARENTS = ("vv", "vh")
FLOOR_POWER = 1e-6
"""Power below this is taken as this before the logarithm: -60 dB, far below what a sensor sees."""
RATIO_FACTOR_DB = 10.0
"""The paper divides VV by ten times VH, which is 10 dB."""
RATIO_FORM = "VV/(10 VH) in dB"

_MOST_POWER = 100.0
_CLOSE = 1e-3


def parse_radar_unit(text: str | None) -> RadarUnit | None:
    """Check a unit that a person wrote; None passes.

    Raises:
        UnknownNameError: neither ``db`` nor ``power``.
    """
    for unit in RADAR_UNITS:
        if text == unit:
            return unit
    if text is not None:
        raise UnknownNameError.of("--s1-unit", text, RADAR_UNITS)
    return None


def to_db(power: FloatArray) -> FloatArray:
    """Turn linear power into decibels, 10 log10 of it, with a floor of -60 dB; NaN stays NaN.

    Source: MineCam paper, section on Sentinel-1 (methods 3.2). The floor is ours: noise removal
    leaves zeros and small negative numbers, which have no logarithm.
    """
    return np.asarray(10.0 * np.log10(np.maximum(power, FLOOR_POWER)), dtype=np.float32)


def to_power(db: FloatArray) -> FloatArray:
    """Turn decibels into linear power; NaN stays NaN."""
    return np.asarray(10.0 ** (db / np.float32(10.0)), dtype=np.float32)


def ratio_db(vv_db: FloatArray, vh_db: FloatArray) -> FloatArray:
    """Form VV / (10 VH) in linear power, and give it in decibels: VV - VH - 10.

    Args:
        vv_db: decibels, any shape.
        vh_db: decibels, the same shape.

    Returns:
        Decibels, float32; NaN where either is.
    """
    return np.asarray(vv_db - vh_db - np.float32(RATIO_FACTOR_DB), dtype=np.float32)


def radar_unit(values: npt.NDArray[np.generic], *, source: str) -> RadarUnit:
    """Tell decibels from linear power: a negative median is decibels.

    Backscatter of land and water in VV and VH is far below 1, so that its decibels are negative
    nearly everywhere; linear power never is but for noise.

    Args:
        values: numbers of VV, VH (HH, HV) pooled, any shape, without nodata; NaN and zeros, which
            fill the edges of many products, are left out.
        source: the file, for the message.

    Returns:
        ``db`` or ``power``; ``db`` where no number is left.

    Raises:
        UnitError: neither: numbers far above 1 are amplitude that was never calibrated.
    """
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite) & (finite != 0)]
    if finite.size == 0:
        return "db"
    middle, top = (float(v) for v in np.percentile(finite, [50, 99]))
    if middle < 0:
        return "db"
    if top > _MOST_POWER:
        raise UnitError(
            f"{source}: looks like uncalibrated amplitude (median {middle:g}, 99 % below {top:g}): "
            "radar is decibels, with a negative median, or linear power, mostly below 1. "
            "Calibrate and terrain-correct it, or state the unit with --s1-unit db or power."
        )
    return "power"


def name_ratio(band: FloatArray, *, vv_db: FloatArray, vh_db: FloatArray) -> str | None:
    """Tell which ratio of VV and VH a band holds, by its values.

    Args:
        band: values as stored, any shape.
        vv_db: decibels, the same shape.
        vh_db: decibels, the same shape.

    Returns:
        How it was formed, e.g. ``VV - VH in dB``; None where it is none of the usual forms.
    """
    with np.errstate(all="ignore"):
        difference = vv_db - vh_db
        forms = {
            RATIO_FORM: difference - np.float32(RATIO_FACTOR_DB),
            "VV/VH in dB": difference,
            "VV/VH in linear power": to_power(difference),
            "VV/(10 VH) in linear power": to_power(difference) / 10,
            "the decibels of VV divided by those of VH": vv_db / vh_db,
        }
    for name, form in forms.items():
        both = np.isfinite(form) & np.isfinite(band)
        if both.any():
            error = np.abs(form[both] - band[both])
            if float(np.median(error)) <= _CLOSE * max(1.0, float(np.abs(form[both]).max())):
                return name
    return None
