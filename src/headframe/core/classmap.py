"""Class maps: which number in a label means what, and its colour."""

from dataclasses import dataclass

IGNORE_INDEX = 255
"""Label value that no loss and no metric counts: nodata, uncertain or cloud."""


@dataclass(frozen=True)
class ClassInfo:
    """One class of a label map.

    Attributes:
        index: value in the label raster, 0..254.
        name: lower-case name, unique within a class map.
        color: sRGB, each 0..255.
    """

    index: int
    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True)
class ClassMap:
    """The classes of a label map in ascending index, 0 being the background."""

    classes: tuple[ClassInfo, ...]

    def __post_init__(self) -> None:
        """Check that indices are 0..n-1 and names unique."""
        if [c.index for c in self.classes] != list(range(len(self.classes))):
            raise ValueError("class indices must be 0..n-1 in order")
        if len({c.name for c in self.classes}) != len(self.classes):
            raise ValueError("class names must be unique")

    @property
    def names(self) -> tuple[str, ...]:
        """Names in index order."""
        return tuple(c.name for c in self.classes)

    def __len__(self) -> int:
        """Number of classes, background included."""
        return len(self.classes)


def label_class_map(target: str = "mining") -> ClassMap:
    """Classes of label PNGs: 0 background, 1 cloud, 2 ``target``.

    The colours are viridis at 0, 0.5 and 1 (papers/001, section 1.4).
    """
    return ClassMap(
        (
            ClassInfo(0, "background", (68, 1, 84)),
            ClassInfo(1, "cloud", (33, 145, 140)),
            ClassInfo(2, target, (253, 231, 37)),
        )
    )


def binary_class_map(target: str = "mining") -> ClassMap:
    """Classes that binary models learn and write: 0 background, 1 ``target``."""
    return ClassMap((ClassInfo(0, "background", (68, 1, 84)), ClassInfo(1, target, (230, 85, 13))))
