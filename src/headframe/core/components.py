"""The ten components of a mining area, the class sets made of them, and the labels they share.

A pixel may carry several components at once (slopes lie inside excavations, a dumping ground may
cover a whole tailings storage facility), so a label is a bit mask: component k is bit ``1 << k``.
A network of exclusive classes learns one class set at a time. Source: papers/002, sections 2.2 and
2.3 and Table 1; order and bit positions are ours, and so is the order of overlaps.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from headframe.core.classmap import IGNORE_INDEX, ClassInfo, ClassMap
from headframe.core.errors import FormatError, UnknownNameError

BitArray = npt.NDArray[np.uint16]

COMPONENTS: tuple[ClassInfo, ...] = (
    ClassInfo(0, "excavation", (217, 95, 2)),
    ClassInfo(1, "dumping_ground", (166, 118, 29)),
    ClassInfo(2, "stockpile", (102, 102, 102)),
    ClassInfo(3, "settling_pond", (69, 205, 216)),
    ClassInfo(4, "infrastructure", (228, 26, 28)),
    ClassInfo(5, "preparatory_work_area", (247, 217, 92)),
    ClassInfo(6, "exploitation_slope", (152, 78, 163)),
    ClassInfo(7, "transportation_slope", (247, 129, 191)),
    ClassInfo(8, "dam", (51, 160, 44)),
    ClassInfo(9, "tailings_storage_facility", (31, 96, 180)),
)
"""In the paper's order. ``index`` is the position of the bit, not a class of a label raster."""

COMPONENT_NAMES = tuple(info.name for info in COMPONENTS)
NODATA_BITS = 0xFFFF
"""Bit mask of a pixel that nobody labelled; it becomes 255 in every target."""
ALL_BITS = (1 << len(COMPONENTS)) - 1
SLOPES = ("exploitation_slope", "transportation_slope")
"""Components that always lie within an excavation (papers/002, Table 1)."""

ClassSetName = Literal["components-1", "components-2", "components-3", "components-4"]

_BACKGROUND = ("background", (68, 1, 84))
_UNION = ("transformed_area", (230, 85, 13))
_ALIASES = {
    "tsf": "tailings_storage_facility",
    "tailing_storage_facility": "tailings_storage_facility",
    "tailing_storage_facilities": "tailings_storage_facility",
    "tailings_storage_facilities": "tailings_storage_facility",
    "transport_slope": "transportation_slope",
}
_EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


@dataclass(frozen=True)
class ClassSet:
    """Components that one model tells apart.

    Attributes:
        name: key in ``CLASS_SETS``.
        members: components, in the order of ``COMPONENTS``.
        union: True where the members are one class, ``transformed_area``.
    """

    name: str
    members: tuple[str, ...]
    union: bool = False

    @property
    def class_map(self) -> ClassMap:
        """Background and one class a member, or background and ``transformed_area``."""
        named = [_UNION] if self.union else [(m, COMPONENTS[_place(m)].color) for m in self.members]
        pairs = enumerate([_BACKGROUND, *named])
        return ClassMap(tuple(ClassInfo(i, name, color) for i, (name, color) in pairs))

    @property
    def bits(self) -> int:
        """All members' bits."""
        return bits_of(self.members)


CLASS_SETS: dict[str, ClassSet] = {
    entry.name: entry
    for entry in (
        ClassSet("components-1", ("excavation", "preparatory_work_area")),
        ClassSet("components-2", ("dumping_ground",)),
        ClassSet(
            "components-3",
            (
                "stockpile",
                "settling_pond",
                "infrastructure",
                "exploitation_slope",
                "transportation_slope",
                "dam",
                "tailings_storage_facility",
            ),
        ),
        ClassSet("components-4", COMPONENT_NAMES, union=True),
    )
}
"""Models 1 to 4 of the paper. Members of one set exclude each other, but for set 4, their union."""

FULL = ClassSet("full", COMPONENT_NAMES)
"""All ten as exclusive classes, for pictures: overlaps are common here and no error."""


def component_class_map() -> ClassMap:
    """Classes of a data set of bit masks: background, then the ten; class k + 1 is bit k."""
    return FULL.class_map


def get_class_set(name: str) -> ClassSet:
    """Look a class set up.

    Raises:
        UnknownNameError: no such set.
    """
    if name not in CLASS_SETS:
        raise UnknownNameError.of("class set", name, CLASS_SETS)
    return CLASS_SETS[name]


def class_set_of(names: Iterable[str]) -> ClassSet | None:
    """Tell which class set a model's class names are, background included; None: none."""
    wanted = tuple(names)
    return next((s for s in CLASS_SETS.values() if s.class_map.names == wanted), None)


def is_class_set(name: str) -> bool:
    """Whether a target is the name of a class set."""
    return name in get_args(ClassSetName)


def component(name: str) -> ClassInfo:
    """Find a component by its name; case, spaces and hyphens do not matter, ``tsf`` will do.

    Raises:
        UnknownNameError: no such component.
    """
    key = "_".join(name.casefold().replace("-", " ").replace("_", " ").split())
    key = _ALIASES.get(key, key)
    if key not in COMPONENT_NAMES:
        raise UnknownNameError.of("component", name, COMPONENT_NAMES)
    return COMPONENTS[_place(key)]


def bits_of(names: Iterable[str]) -> int:
    """Bit mask of some components, by their exact names."""
    return sum(1 << _place(name) for name in set(names))


def check_bits(bits: npt.NDArray[np.integer], *, source: str) -> None:
    """Check that a mask holds the ten bits and ``NODATA_BITS`` only.

    Raises:
        FormatError: another bit is set.
    """
    labelled = bits[bits != NODATA_BITS]
    top = int(labelled.max(initial=0))
    low = int(labelled.min(initial=0))
    if top > ALL_BITS or low < 0:
        value = top if top > ALL_BITS else low
        raise FormatError(
            f"{source}: value {value} is no mask of ten components (0 to {ALL_BITS}, "
            f"{NODATA_BITS} where nobody labelled). Is it a raster of classes?"
        )


def layers_of(bits: BitArray) -> npt.NDArray[np.uint8]:
    """Spread a mask (H, W) into ten layers (10, H, W): 1 there, 0 not, 255 unlabelled."""
    places = np.arange(len(COMPONENTS), dtype=np.uint16)[:, None, None]
    layers = (bits[None] >> places & 1).astype(np.uint8)
    layers[:, bits == NODATA_BITS] = IGNORE_INDEX
    return layers


def bits_of_layers(layers: npt.NDArray[np.uint8]) -> BitArray:
    """Gather ten layers (10, H, W) of 0 and 1 into a mask (H, W); 255 in any is unlabelled."""
    places = np.arange(len(COMPONENTS), dtype=np.uint16)[:, None, None]
    bits = np.bitwise_or.reduce((layers == 1).astype(np.uint16) << places, axis=0)
    bits[(layers == IGNORE_INDEX).any(axis=0)] = NODATA_BITS
    return np.asarray(bits)


def overlaps(bits: BitArray, class_set: ClassSet) -> npt.NDArray[np.bool_]:
    """Tell where a pixel (H, W) carries two members of a set; nowhere for a union."""
    if class_set.union:
        return np.zeros(bits.shape, bool)
    kept = np.where(bits == NODATA_BITS, 0, bits) & np.uint16(class_set.bits)
    return np.asarray((kept & (kept - np.uint16(1))) != 0)  # more bits than the lowest


def stray_slopes(bits: BitArray, name: str) -> npt.NDArray[np.bool_]:
    """Tell where a component of ``SLOPES`` lies outside every excavation, (H, W)."""
    slope = _carries(bits, name)
    return np.asarray(slope & ~_carries(bits, "excavation"))


def build_target(bits: BitArray, class_set: ClassSet) -> npt.NDArray[np.uint8]:
    """Turn a mask into the exclusive classes of a set.

    Members of a set exclude each other by definition; where outlines drawn by hand overlap all
    the same, the smaller object wins: of the objects (8-connected areas of one component in this
    array) that cover a pixel, the one of the fewest pixels, so that a dam on the rim of a pond
    stays whole. Between equals the paper's order decides. ``overlaps`` says where that happens.

    Args:
        bits: (H, W), uint16.
        class_set: one of ``CLASS_SETS``, or ``FULL``.

    Returns:
        (H, W), uint8: indices of ``class_set.class_map``; 255 where unlabelled. A union is 1
        where any of its members is.
    """
    labelled = bits != NODATA_BITS
    kept = np.where(labelled, bits, 0) & np.uint16(class_set.bits)
    if class_set.union:
        target = (kept > 0).astype(np.uint8)
    else:
        target = np.zeros(bits.shape, np.uint8)
        for index, name in enumerate(class_set.members, start=1):
            target[_carries(kept, name)] = index
        shared = overlaps(kept, class_set)
        if shared.any():
            target[shared] = _smallest(kept, class_set, shared)
    target[~labelled] = IGNORE_INDEX
    return target


def _smallest(
    bits: BitArray, class_set: ClassSet, shared: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    """Class of the smallest object at each of the shared pixels, in their order."""
    sizes = np.full((len(class_set.members), int(shared.sum())), np.iinfo(np.int64).max)
    for row, name in enumerate(class_set.members):
        objects, count = ndimage.label(_carries(bits, name), structure=_EIGHT_NEIGHBOURS)
        if count:
            pixels = np.bincount(objects.ravel())
            pixels[0] = np.iinfo(np.int64).max  # no object of this component here
            sizes[row] = pixels[objects[shared]]
    return np.asarray(sizes.argmin(axis=0) + 1, np.uint8)


def _carries(bits: BitArray, name: str) -> npt.NDArray[np.bool_]:
    return np.asarray((bits >> np.uint16(_place(name)) & 1).astype(bool) & (bits != NODATA_BITS))


def _place(name: str) -> int:
    return COMPONENT_NAMES.index(name)
