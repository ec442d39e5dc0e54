"""Catching pixel values that cannot be in the unit a model was trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headframe.core.errors import UnitError
from headframe.core.modelspec import InputSpec
from headframe.core.sensors import Sensor, get_sensor

Sample = npt.NDArray[np.float64]

_SCALED_MAX = 2.0
"""Stored numbers that stay within +-2 cannot be reflectance times 10,000."""
_IMPOSSIBLE_MEDIAN = 1.6
_IMPOSSIBLE_P99 = 2.0
"""Reflectance above 1 is real over snow, cloud and low sun; half a scene above 1.6 is not."""
_SATURATED_SHARE = 1e-3
_OFFSET = 0.1
"""What Sentinel-2 products since baseline 04.00 add to reflectance."""
_TWICE_MEDIAN = -0.05


@dataclass(frozen=True)
class Scaling:
    """How stored numbers become the physical unit: value = number * scale + offset.

    Attributes:
        scale: physical unit per stored number, not 0.
        offset: physical value of stored number 0.
    """

    scale: float
    offset: float


@dataclass(frozen=True)
class _Case:
    """One sample with what the checks need to know.

    Attributes:
        raw: stored numbers (C, N), finite.
        value: the same in the physical unit.
        p01: 1st percentile of ``value`` per band, (C,).
        p50: median of ``value`` per band, (C,).
        p99: 99th percentile of ``value`` per band, (C,).
        trained: training percentiles (C, 3).
        scaling: how ``value`` was made.
        eight_bit: whether the file's type holds 8 bits.
        visible: channels of visible light, by rising wavelength.
        sensor: what the model was trained on; of a composite, the part judged.
    """

    raw: Sample
    value: Sample
    p01: Sample
    p50: Sample
    p99: Sample
    trained: Sample
    scaling: Scaling
    eight_bit: bool
    visible: tuple[int, ...]
    sensor: Sensor


def check_unit(
    values: npt.NDArray[np.generic],
    dtype: npt.DTypeLike,
    *,
    spec: InputSpec,
    scaling: Scaling | Sequence[Scaling],
    source: str,
) -> None:
    """Refuse a scene whose values cannot be in the unit the model was trained on.

    Negative values (dark water after atmospheric correction), very dark scenes and scenes of
    snow or cloud are valid and pass: only what no scene can be is refused. Bands of a composite
    sensor are judged part by part: reflectance by the checks of light, radar by its own, each
    band against its own training percentiles.

    Args:
        values: sample of stored numbers (C, N) without nodata, bands in the order of
            ``spec.bands``; non-finite columns are left out.
        dtype: type of the file's numbers.
        spec: what the model was trained on.
        scaling: how the reader would make the physical unit of ``values``; one for all bands, or
            one a band.
        source: the file, for the message.

    Raises:
        UnitError: the values look already scaled, 8-bit, shifted by Sentinel-2's +1000, shifted
            twice, or scaled to 0..65535; for radar, linear power or uncalibrated numbers.
    """
    sensor = get_sensor(spec.sensor)
    raw = np.asarray(values, dtype=np.float64)
    raw = raw[:, np.isfinite(raw).all(axis=0)]
    if raw.shape[1] == 0:
        return
    each = [scaling] * len(raw) if isinstance(scaling, Scaling) else list(scaling)
    owners = [sensor.part(band) for band in spec.bands]
    for part in dict.fromkeys(owners):
        rows = [i for i, owner in enumerate(owners) if owner is part]
        case = _case(raw, np.dtype(dtype), rows=rows, spec=spec, scalings=each)
        for find in _RADAR_CHECKS if part.quantity != "reflectance" else _OPTICAL_CHECKS:
            finding = find(case)
            if finding is not None:
                raise UnitError(_message(source, finding, case.raw, part.title))


def _case(
    raw: Sample,
    dtype: np.dtype[np.generic],
    *,
    rows: list[int],
    spec: InputSpec,
    scalings: list[Scaling],
) -> _Case:
    """Take the bands of one part, as if all were stored like the first of them."""
    first, part = scalings[rows[0]], get_sensor(spec.sensor).part(spec.bands[rows[0]])
    own = raw[rows]
    for row, place in zip(own, rows, strict=True):
        if scalings[place] != first:
            row[:] = (row * scalings[place].scale + scalings[place].offset - first.offset) / (
                first.scale
            )
    physical = own * first.scale + first.offset
    low, middle, high = np.percentile(physical, [1, 50, 99], axis=1)
    trained = np.asarray(spec.percentiles, dtype=np.float64)
    return _Case(
        raw=own,
        value=physical,
        p01=low,
        p50=middle,
        p99=high,
        trained=trained[rows] if len(trained) == len(spec.bands) else trained,
        scaling=first,
        eight_bit=dtype.itemsize == 1,
        visible=_visible(part, [spec.bands[i] for i in rows]),
        sensor=part,
    )


def _message(source: str, finding: tuple[str, str], raw: Sample, sensor: str) -> str:
    looks, remedy = finding
    shown = " / ".join(f"{p:g}" for p in np.percentile(raw, [1, 50, 99]).round(4))
    return (
        f"{source} {looks} (stored numbers at 1 / 50 / 99 %: {shown}), not like what the model "
        f"was trained on ({sensor}). State the unit with {remedy}."
    )


def _eight_bit(case: _Case) -> tuple[str, str] | None:
    if not case.eight_bit and not _saturates_at(case.raw, 255):
        return None
    if 255 * case.scaling.scale + case.scaling.offset >= 0.2:
        return None  # the file's own tags make reflectance of it
    return "looks 8-bit (0-255)", "--scale REFLECTANCE_PER_NUMBER (and --offset)"


def _saturates_at(raw: Sample, top: int) -> bool:
    """Tell whether values pile up at ``top`` and go no further, as clipping does."""
    if raw.max() != top or raw.min() < 0:
        return False
    return float(np.mean(raw == top)) >= _SATURATED_SHARE and int(np.sum(raw == top)) >= 3


def _already_scaled(case: _Case) -> tuple[str, str] | None:
    if abs(case.scaling.scale) > 0.01 or not case.raw.any():
        return None
    if np.percentile(np.abs(case.raw), 99) > _SCALED_MAX:
        return None
    return "looks already scaled to reflectance 0-1", "--scale 1 --offset 0"


def _full_range(case: _Case) -> tuple[str, str] | None:
    middle, top = float(case.p50.max()), float(case.p99.max())
    clipped = _saturates_at(case.raw, 65535) and middle > 0.3
    too_bright = middle > _IMPOSSIBLE_MEDIAN or top > _IMPOSSIBLE_P99
    visible = case.p50[list(case.visible)]
    if not (clipped or too_bright or _too_colourful(visible) or _multiplied(case, visible)):
        return None
    looks = (
        f"looks scaled to 0..65535 or otherwise wrongly scaled: reflectance {middle:.2f} at the "
        f"median and {top:.2f} at 99 % is brighter or more coloured than snow, cloud and sand"
    )
    return looks, f"--scale {1 / 65535:.8f} --offset 0 (or what its maker says)"


def _too_colourful(visible: Sample) -> bool:
    """Tell whether medians of visible bands are bright as snow or cloud yet far from white.

    Blue above red happens in haze over dark ground, red above blue in deserts; both stay below
    the brightness asked for here. The limits were set on Sentinel-2 chips of Brazil and India.
    """
    if len(visible) < 2:
        return False
    top = float(visible.max())
    brightest, chroma = (0.4, 0.2) if visible[0] > visible[-1] else (0.6, 0.3)
    return top > brightest and top - float(visible.min()) > chroma * top


def _multiplied(case: _Case, visible: Sample) -> bool:
    """Tell whether every percentile is several times that of training, and not white.

    Reflectance times 65535 read as times 10000 is 6.55 times too much, in the dark as in the
    bright; snow and cloud raise dark pixels more than bright ones and are white.
    """
    percentiles = np.stack([case.p01, case.p50, case.p99], axis=1)
    known = case.trained.shape == percentiles.shape and bool((case.trained > 0).all())
    if not known or len(visible) < 2 or bool((case.p01 <= 0).any()):
        return False
    ratio = np.log(percentiles / case.trained)
    same = bool(np.log(4.5) < ratio.mean() < np.log(11)) and bool(ratio.std() < 0.35)
    bright = bool(case.p99.max() > 1)
    return same and bright and bool(visible.max() - visible.min() > 0.12 * visible.max())


def _visible(sensor: Sensor, bands: Sequence[str]) -> tuple[int, ...]:
    waves = [sensor.band(name).wavelength_nm or 0.0 for name in bands]
    return tuple(i for i in np.argsort(waves).tolist() if 430 < waves[i] < 700)


def _offset_forgotten(case: _Case) -> tuple[str, str] | None:
    if case.scaling.offset != 0 or not case.sensor.name.startswith("sentinel-2"):
        return None
    if case.trained.shape != (len(case.p01), 3):
        return None
    floor = np.percentile(case.value, 0.5, axis=1)
    darkest = case.p01 - case.trained[:, 0]
    middle = case.p50 - case.trained[:, 1]
    # Every band is lifted by about 0.1, dark pixels included; snow and cloud lift by far more.
    lifted = (floor >= 0.095) & (darkest > 0.04) & (darkest < 0.16) & (middle > 0.03)
    lifted &= case.p50 < case.trained[:, 2] + _OFFSET
    if not lifted.all():
        return None
    return (
        "looks like Sentinel-2 with its +1000 offset still in (processing baseline 04.00 or later)",
        f"--scale {case.scaling.scale:g} --offset {-_OFFSET:g}, or --scale "
        f"{case.scaling.scale:g} --offset 0 if it really is this bright",
    )


def _offset_twice(case: _Case) -> tuple[str, str] | None:
    if case.scaling.offset >= 0 or bool((case.p50 > _TWICE_MEDIAN).any()):
        return None
    return (
        f"has a negative median reflectance ({case.p50.max():.3f}) in every band once the offset "
        f"{case.scaling.offset:g} is added, so that looks taken off already",
        "--scale 0.0001 --offset 0",
    )


def _linear_power(case: _Case) -> tuple[str, str] | None:
    if bool((case.value < 0).any()) or not case.value.any():
        return None
    looks = "linear power" if case.p99.max() <= 100 else "uncalibrated amplitude"
    return (
        f"looks like {looks}, not decibels (radar backscatter in dB is mostly negative)",
        "--scale 1 --offset 0 if it is decibels, or convert it with 10 log10 first",
    )


_OPTICAL_CHECKS: tuple[Callable[[_Case], tuple[str, str] | None], ...] = (
    _eight_bit,
    _already_scaled,
    _full_range,
    _offset_forgotten,
    _offset_twice,
)
_RADAR_CHECKS: tuple[Callable[[_Case], tuple[str, str] | None], ...] = (_linear_power,)
