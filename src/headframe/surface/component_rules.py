"""Rules that a map of mining components must keep, as papers/002 proposes them.

Section 5.5 suggests "limiting the area prediction to the preparatory works adjacent to the
excavation or considering a dam as a polygon adjacent to the TSF", "integrating our models with
conventional land use and land cover (LULC) models"; section 4.1 blames a failed site on snow, and
Table 1 puts slopes inside excavations. What counts as adjacent, and in which order rules apply, is
ours.

Rules rewrite bit masks in place, strip by strip, and the result is that of the whole scene however
it is cut: a rule sees no tile borders. A pixel without data is no component, so it satisfies no
rule and no rule changes it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from headframe.core.classmap import IGNORE_INDEX, ClassMap
from headframe.core.components import COMPONENTS, NODATA_BITS, SLOPES, BitArray
from headframe.core.errors import CrsError, InputError
from headframe.engine.mapping.resume import file_facts
from headframe.geo.adjacency import ObjectScan, grow
from headframe.geo.window import Window
from headframe.io.aligned import aligned_classes
from headframe.io.bitrows import ArrayRows, BitRows

Mask = NDArray[np.bool_]

COMPONENT_BITS: Mapping[str, int] = {info.name: info.index for info in COMPONENTS}
"""Component to the position of its bit, as in the label stacks of data sets."""

TRANSFORMED = "transformed_area"
"""The class of the paper's model 4."""


@dataclass(frozen=True)
class Removed:
    """What one rule took away.

    Attributes:
        rule: its name.
        pixels: component to pixels that lost it.
        objects: component to 4-connected objects of which nothing is left.
    """

    rule: str
    pixels: Mapping[str, int] = field(default_factory=dict)
    objects: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {"rule": self.rule, "pixels": dict(self.pixels), "objects": dict(self.objects)}


class Rule(Protocol):
    """A rule on bit masks."""

    @property
    def name(self) -> str:
        """What it is called."""

    def lacks(self, bit_of: Mapping[str, int]) -> str | None:
        """Say which component must be there for the rule to mean anything; None if all are."""

    def facts(self) -> dict[str, Any]:
        """Give plain values of all that decides what the rule does."""

    def __call__(
        self, rows: BitRows, bit_of: Mapping[str, int], *, geobox: GeoBox | None = None
    ) -> Removed:
        """Rewrite ``rows``.

        Args:
            rows: bit masks of the scene, ``NODATA_BITS`` for no data.
            bit_of: component to the position of its bit.
            geobox: where the scene lies; None without a CRS.
        """


@dataclass(frozen=True)
class Touching:
    """An object of one component stays only where it touches another component.

    Touching is overlap, or a pixel of the other within ``reach_px`` steps. With ``corners`` a step
    may go across a corner, so two objects that share one corner touch. Both are ours: the paper
    says "adjacent" only.

    Attributes:
        name: what the rule is called.
        of: component of the objects, 4-connected.
        to: component that they must touch.
        reach_px: steps, >= 1; more bridge a gap of ``reach_px - 1`` pixels.
        corners: whether steps across corners count.
    """

    name: str
    of: str
    to: str
    reach_px: int = 1
    corners: bool = True

    def lacks(self, bit_of: Mapping[str, int]) -> str | None:
        """Say which of the two is not there."""
        return next((name for name in (self.of, self.to) if name not in bit_of), None)

    def facts(self) -> dict[str, Any]:
        """Give the rule's values."""
        return dict(vars(self))

    def __call__(
        self, rows: BitRows, bit_of: Mapping[str, int], *, geobox: GeoBox | None = None
    ) -> Removed:
        """Remove objects of ``of`` that do not touch ``to``."""
        of, to = bit_of[self.of], bit_of[self.to]
        scan = ObjectScan()
        for first, stop in pairwise(rows.cuts):
            scan.add(_carries(rows.read(first, stop), of), self._near(rows, first, stop, bit=to))
        scan.close()
        if not scan.unmet:
            return Removed(self.name)
        pixels = 0
        for strip, (first, stop) in enumerate(pairwise(rows.cuts)):
            bits = rows.read(first, stop)
            gone = scan.of_unmet(strip, _carries(bits, of))
            if gone.any():
                bits[gone] &= _without(of)
                rows.write(first, bits)
                pixels += int(gone.sum())
        return Removed(self.name, {self.of: pixels}, {self.of: scan.unmet})

    def _near(self, rows: BitRows, first: int, stop: int, *, bit: int) -> Mask:
        """Show what lies within reach of ``to``, looking beyond the strip's ends."""
        top = max(0, first - self.reach_px)
        bottom = min(rows.shape[0], stop + self.reach_px)
        there = _carries(rows.read(top, bottom), bit)
        near = grow(there, reach_px=self.reach_px, corners=self.corners)
        return near[first - top : stop - top]


@dataclass(frozen=True)
class Inside:
    """Components stay only at pixels that carry another component too.

    Attributes:
        name: what the rule is called.
        within: component that must be there.
        of: components that are cut; empty for all others.
    """

    name: str
    within: str
    of: tuple[str, ...] = ()

    def lacks(self, bit_of: Mapping[str, int]) -> str | None:
        """Say what is not there: ``within``, or every component that could be cut."""
        if self.within not in bit_of:
            return self.within
        return None if self._cut(bit_of) else " and ".join(self.of or ("any other component",))

    def facts(self) -> dict[str, Any]:
        """Give the rule's values."""
        return dict(vars(self))

    def __call__(
        self, rows: BitRows, bit_of: Mapping[str, int], *, geobox: GeoBox | None = None
    ) -> Removed:
        """Remove the components of ``of`` outside ``within``."""
        cut = self._cut(bit_of)
        place = bit_of[self.within]
        return _cut(
            rows,
            {name: bit_of[name] for name in cut},
            name=self.name,
            outside=lambda bits, _: ~_carries(bits, place),
        )

    def _cut(self, bit_of: Mapping[str, int]) -> tuple[str, ...]:
        names = self.of or tuple(bit_of)
        return tuple(name for name in names if name in bit_of and name != self.within)


@dataclass(frozen=True)
class LandCover:
    """No component lies where a land-cover map shows certain classes.

    The map is laid over the scene by nearest pixel. Where it has no data, or does not reach, it
    excludes nothing.

    Attributes:
        source: raster of classes, in any CRS and resolution; band 1 counts.
        excluded: its classes that are never part of a mine.
        name: what the rule is called.
    """

    source: str
    excluded: tuple[int, ...]
    name: str = "land-cover"

    def __post_init__(self) -> None:
        """Check that something is excluded."""
        if not self.excluded:
            raise InputError(
                f"{self.source}: no class of it is excluded. Name some with "
                "--land-cover-exclude, e.g. 10,40 for tree cover and cropland of ESA WorldCover."
            )

    def lacks(self, bit_of: Mapping[str, int]) -> str | None:
        """Find nothing missing: every component can be cut."""
        return None

    def facts(self) -> dict[str, Any]:
        """Give the rule's values and the file's version."""
        return {"file": file_facts(self.source), "excluded": sorted(set(self.excluded))}

    def __call__(
        self, rows: BitRows, bit_of: Mapping[str, int], *, geobox: GeoBox | None = None
    ) -> Removed:
        """Remove every component where the land cover is excluded."""
        if geobox is None:
            raise CrsError(f"{self.source}: cannot be laid over a scene that has no CRS.")
        with aligned_classes(self.source, geobox) as cover:

            def outside(bits: BitArray, first: int) -> Mask:
                values, known = cover.read(Window(first, 0, *bits.shape))
                return np.asarray(known & np.isin(values, self.excluded))

            return _cut(rows, bit_of, name=self.name, outside=outside)


GATE = Inside("inside-transformed-area", TRANSFORMED)
SLOPES_IN_EXCAVATION = Inside("slopes-in-excavation", "excavation", SLOPES)
PREPARATION_AT_EXCAVATION = Touching(
    "preparation-at-excavation", "preparatory_work_area", "excavation"
)
DAM_AT_TAILINGS = Touching("dam-at-tailings", "dam", "tailings_storage_facility")

RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (GATE, SLOPES_IN_EXCAVATION, PREPARATION_AT_EXCAVATION, DAM_AT_TAILINGS)
}
"""Rules that need nothing but the components, in the order in which they apply: pixels are cut
first, so that an object must touch what is left."""


def apply_rules(
    bits: BitArray,
    rules: Sequence[Rule],
    *,
    bit_of: Mapping[str, int] = COMPONENT_BITS,
    geobox: GeoBox | None = None,
) -> tuple[BitArray, list[Removed]]:
    """Apply rules to a bit mask in memory: a merged map, or a label of a data set.

    Args:
        bits: (H, W), uint16, ``NODATA_BITS`` for no data; stays as it is.
        rules: in the order given; those that ``lacks`` something do nothing.
        bit_of: component to the position of its bit.
        geobox: where it lies, for rules that need a place.

    Returns:
        The mask that is left, and what each rule removed. On labels the second says how far they
        keep the rules.
    """
    rows = ArrayRows(bits.copy())
    removed = [
        Removed(rule.name) if rule.lacks(bit_of) else rule(rows, bit_of, geobox=geobox)
        for rule in rules
    ]
    return rows.bits, removed


def apply_to_classes(
    classes: NDArray[np.uint8],
    class_map: ClassMap,
    rules: Sequence[Rule],
    *,
    geobox: GeoBox | None = None,
) -> tuple[NDArray[np.uint8], list[Removed]]:
    """Apply rules to exclusive classes, those of one model; what is removed becomes background.

    Args:
        classes: (H, W), indices of ``class_map``, 255 for no data.
        class_map: at most 16 classes, background included.
        rules: in the order given.
        geobox: where it lies, for rules that need a place.
    """
    if len(class_map) > 16:
        raise InputError(f"{len(class_map)} classes do not fit a bit mask; it holds 15.")
    known = classes != IGNORE_INDEX
    shifts = np.where(known, classes, 1).astype(np.uint16) - np.uint16(1)
    bits = np.where(classes == 0, 0, np.uint16(1) << np.minimum(shifts, 15)).astype(np.uint16)
    bits[~known] = NODATA_BITS
    bit_of = {info.name: info.index - 1 for info in class_map.classes[1:]}
    left, removed = apply_rules(bits, rules, bit_of=bit_of, geobox=geobox)
    return np.where(left == 0, 0, classes).astype(np.uint8), removed


def _cut(
    rows: BitRows,
    bit_of: Mapping[str, int],
    *,
    name: str,
    outside: Callable[[BitArray, int], Mask],
) -> Removed:
    """Remove components where ``outside`` of (bits, first row) holds; count what is gone."""
    scans = {component: ObjectScan() for component in bit_of}
    pixels = dict.fromkeys(bit_of, 0)
    for first, bits in _strips(rows):
        gone = outside(bits, first) & (bits != NODATA_BITS)
        changed = False
        for component, bit in bit_of.items():
            there = _carries(bits, bit)
            lost = there & gone
            scans[component].add(there, ~gone)
            pixels[component] += int(lost.sum())
            changed = changed or bool(lost.any())
        if changed:
            left = ~np.uint16(sum(1 << bit for bit in bit_of.values()))
            bits[gone] &= left
            rows.write(first, bits)
    for scan in scans.values():
        scan.close()
    return Removed(
        name,
        {component: count for component, count in pixels.items() if count},
        {component: scan.unmet for component, scan in scans.items() if scan.unmet},
    )


def _strips(rows: BitRows) -> Iterator[tuple[int, BitArray]]:
    for first, stop in pairwise(rows.cuts):
        yield first, rows.read(first, stop)


def _carries(bits: BitArray, bit: int) -> Mask:
    return np.asarray((bits >> np.uint16(bit) & np.uint16(1)).astype(bool) & (bits != NODATA_BITS))


def _without(bit: int) -> np.uint16:
    return ~np.uint16(1 << bit)
