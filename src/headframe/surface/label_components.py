"""Polygons with classes of their own to the ten components: class map files and what they say."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from headframe.core.components import COMPONENT_NAMES, COMPONENTS, BitArray, bits_of, component
from headframe.core.errors import DatasetError, FormatError, MissingFileError, UnknownNameError
from headframe.io.burn import burn_polygons
from headframe.io.vector import named

IGNORE = "ignore"
"""Word of a class map file: polygons of that class are left out without a word."""
_CSV_HEADS = ("class", "source", "source class", "source_class")


@dataclass(frozen=True)
class ClassTable:
    """What a class map file says.

    Attributes:
        bits: mask of components by source class (case folded); 0 where it is to be ignored.
        source: the file, for messages.
    """

    bits: Mapping[str, int]
    source: Path


def read_class_map(path: Path) -> ClassTable:
    """Read which source class is which component.

    YAML holds one mapping, source class to component, to ``ignore``, or to a list of components
    (a dumping ground that is a tailings storage facility too). CSV holds two columns, source class
    and component, with or without a heading; a source class of several components has several
    rows. Source classes are told apart without regard to case; components are named as in
    ``core.components.component``.

    Raises:
        MissingFileError: no such file.
        FormatError: neither YAML nor CSV, or not of that form.
        UnknownNameError: no such component; the message names the closest.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as exc:
        raise MissingFileError(f"{path}: no such class map file.") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise FormatError(f"{path}: cannot be read as text ({exc}).") from exc
    if path.suffix.lower() == ".csv":
        pairs = _from_csv(text, path)
    elif path.suffix.lower() in (".yaml", ".yml"):
        pairs = _from_yaml(text, path)
    else:
        suffix = path.suffix or "a file without suffix"
        raise FormatError(f"{path}: a class map file is .yaml or .csv, not {suffix}.")
    words: dict[str, list[str]] = {}
    for source, word in pairs:
        words.setdefault(source.strip().casefold(), []).append(word.strip())
    if not words:
        raise FormatError(f"{path}: maps no class. Write one line a class, e.g. 'pit: excavation'.")
    return ClassTable({source: _bits(source, found, path) for source, found in words.items()}, path)


def assign(classes: Sequence[str], table: ClassTable) -> tuple[list[int], list[str]]:
    """Give every polygon its components.

    Args:
        classes: source class of each polygon.
        table: see ``read_class_map``.

    Returns:
        A mask of components a polygon, 0 where it is left out; and lines for a person: classes
        that the table does not know, by name and count, and those of the table that no polygon has.

    Raises:
        DatasetError: no polygon is of a component.
    """
    bits = [table.bits.get(name.casefold(), 0) for name in classes]
    lines = []
    unknown = Counter(n or "(empty)" for n in classes if n.casefold() not in table.bits)
    if unknown:
        counts = ", ".join(f"{name} ({n})" for name, n in sorted(unknown.items()))
        lines.append(
            f"{sum(unknown.values())} polygon(s) of {len(unknown)} unmapped class(es) left out: "
            f"{counts}. Map them in {table.source}, or to {IGNORE!r}."
        )
    idle = sorted(set(table.bits) - {name.casefold() for name in classes})
    if idle:
        lines.append(f"{table.source}: no polygon is of class {named(idle)}.")
    if not any(bits):
        raise DatasetError(
            f"{table.source}: none of {len(classes)} polygons is of a class it maps to a "
            f"component; they are of {named(sorted(set(classes)))}. Correct the file or choose "
            "another --class-field."
        )
    return bits, lines


def burn_components(
    polygons: Sequence[BaseGeometry], bits: Sequence[int], geobox: GeoBox
) -> BitArray:
    """Burn polygons into a mask of components.

    Args:
        polygons: as ``io.burn.burn_polygons`` takes them.
        bits: mask of components of each.
        geobox: the grid.

    Returns:
        (H, W), uint16; a pixel carries every component whose polygon its centre lies in.

    Raises:
        GeometryError: a polygon cannot be reprojected to the grid's CRS.
    """
    mask = np.zeros(geobox.shape.yx, np.uint16)
    for info in COMPONENTS:
        one = np.uint16(1 << info.index)
        shapes = [p for p, b in zip(polygons, bits, strict=True) if b & int(one)]
        if shapes:
            mask[burn_polygons(shapes, geobox)] |= one
    return mask


def count_components(mask: BitArray, valid: np.typing.NDArray[np.bool_]) -> tuple[int, ...]:
    """Count pixels with data: without any component, then with each of the ten."""
    known = mask[valid]
    each = (int((known >> info.index & 1).sum()) for info in COMPONENTS)
    return (int((known == 0).sum()), *each)


def _bits(source: str, words: Iterable[str], path: Path) -> int:
    found = list(words)
    if any(word.casefold() == IGNORE for word in found):
        if len(found) > 1:
            raise FormatError(f"{path}: class {source!r} is to be ignored and mapped as well.")
        return 0
    try:
        return bits_of(component(word).name for word in found)
    except UnknownNameError as exc:
        raise UnknownNameError(
            f"{path}: class {source!r}: {exc} Components are {', '.join(COMPONENT_NAMES)}, "
            f"or {IGNORE!r}."
        ) from exc


def _from_yaml(text: str, path: Path) -> list[tuple[str, str]]:
    try:
        # BaseLoader makes strings of everything: class 4 is "4", and no is not false.
        value = yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as exc:
        raise FormatError(f"{path}: not valid YAML ({' '.join(str(exc).split())}).") from exc
    if not isinstance(value, dict):
        raise FormatError(f"{path}: a class map is a mapping, source class to component.")
    pairs = []
    for source, words in value.items():
        listed = words if isinstance(words, list) else [words]
        if not listed or not all(isinstance(part, str) for part in (source, *listed)):
            raise FormatError(
                f"{path}: class {source!r} is mapped to {words!r}; expected a component or a list "
                "of components."
            )
        pairs += [(source, word) for word in listed]
    return pairs


def _from_csv(text: str, path: Path) -> list[tuple[str, str]]:
    rows = [row for row in csv.reader(io.StringIO(text)) if any(cell.strip() for cell in row)]
    for number, row in enumerate(rows, start=1):
        if len(row) != 2:
            raise FormatError(
                f"{path}: row {number} has {len(row)} column(s); a class map has two, source class "
                "and component."
            )
    if rows and rows[0][0].strip().casefold() in _CSV_HEADS:
        rows = rows[1:]
    return [(source, word) for source, word in rows]
