"""Finding the bands a model needs among the bands a file has, without guessing."""

import re
from collections.abc import Iterable, Sequence

from headframe.core.errors import BandError
from headframe.core.sensors import Band, Sensor

_PHRASES = (
    (re.compile(r"\bred[ _-]*edge"), "rededge"),
    (re.compile(r"\brededge[ _-]*1\b"), "rededge071"),
    (re.compile(r"\brededge[ _-]*2\b"), "rededge075"),
    (re.compile(r"\brededge[ _-]*3\b"), "rededge078"),
    (re.compile(r"\b(narrow[ _-]*(nir|near[ _-]*infra[ _-]*red)|nir[ _-]*narrow)\b"), "nir08"),
    (re.compile(r"\bnear[ _-]*infra[ _-]*red\b"), "nir"),
    (re.compile(r"\b(swir|short[ _-]*wave[ _-]*infra[ _-]*red)[ _-]*1(\.6)?\b"), "swir16"),
    (re.compile(r"\b(swir|short[ _-]*wave[ _-]*infra[ _-]*red)[ _-]*2(\.2)?\b"), "swir22"),
    (re.compile(r"\bb[ _-]?(?=\d)"), "b"),
    (
        re.compile(
            r"(?<![a-z0-9])vv\s*[-_/]\s*\(?\s*(?:10\s*[*.x\u00b7\u00d7]?\s*)?vh(?![a-z0-9])"
        ),
        "vvvh",
    ),
)
"""Long spellings that would fall apart (or read as another band) when cut into words."""


def match_bands(
    descriptions: Sequence[str | None],
    wanted: Sequence[str],
    *,
    sensor: Sensor,
    source: str,
    override: Sequence[str] | None = None,
) -> tuple[int, ...]:
    """Find each wanted band in a file by its description.

    A description names a band when one of its words is the band's name (``B02``, ``b2``) or its
    common name (``blue``), in any case: ``"B02 (blue)"``, ``"sr_blue"``. One whose words name two
    bands names none. The position of a band in the file is never used as evidence.

    Args:
        descriptions: per band of the file, None or empty where it has none.
        wanted: common names (or band names) in the order needed.
        sensor: whose band names apply.
        source: the file, for messages.
        override: names in file order from ``--bands``; replaces the descriptions; ``-`` skips one.

    Returns:
        0-based indices into the file, in the order of ``wanted``.

    Raises:
        BandError: a wanted band is missing, or two bands of the file claim to be it.
    """
    names = _override(override, descriptions, source) if override else list(descriptions)
    found = [identify_band(name, sensor) for name in names]
    targets = [sensor.band(name) for name in wanted]
    missing = [band for band in targets if band not in found]
    if missing:
        raise BandError(_missing_message(source, names, missing, targets))
    for band in targets:
        if found.count(band) > 1:
            places = ", ".join(str(i + 1) for i, other in enumerate(found) if other == band)
            raise BandError(
                f"{source}: bands {places} all claim to be {_label(band)}. "
                "Name the bands in file order with --bands, '-' for those to skip."
            )
    return tuple(found.index(band) for band in targets)


def identify_band(description: str | None, sensor: Sensor) -> Band | None:
    """Tell which band of ``sensor`` a description names, or None if none or several."""
    text = (description or "").lower()
    for pattern, word in _PHRASES:
        text = pattern.sub(word, text)
    words = set(re.split(r"[^a-z0-9]+", text))
    named = [band for band in sensor.bands if words & band.spellings]
    return named[0] if len(named) == 1 else None


def _override(
    override: Sequence[str], descriptions: Sequence[str | None], source: str
) -> list[str | None]:
    if len(override) != len(descriptions):
        raise BandError(
            f"{source} has {_count(len(descriptions))}, but --bands names {len(override)} "
            f"({', '.join(override)}). Name every band in file order, '-' for those to skip."
        )
    return list(override)


def _missing_message(
    source: str, names: Sequence[str | None], missing: Iterable[Band], needed: Sequence[Band]
) -> str:
    has = ", ".join(name.strip() if name and name.strip() else "unnamed" for name in names)
    lack = " and ".join(_label(band) for band in missing)
    all_of = ", ".join(band.common_name for band in needed)
    return (
        f"{source} has {_count(len(names))} ({has}) and none is known to be {lack}; "
        f"the model needs {all_of}. Name the bands in file order with --bands, "
        f"e.g. --bands {','.join(band.name for band in needed)}, or choose another model."
    )


def _label(band: Band) -> str:
    return f"{band.common_name} ({band.name})"


def _count(n: int) -> str:
    return f"{n} band" if n == 1 else f"{n} bands"
