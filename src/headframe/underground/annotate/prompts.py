"""Boxes and points that a person gives for photographs without labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headframe.core.errors import DatasetError
from headframe.datasets.instances import InstanceSet, Region, region_box

_POINT = "point"


@dataclass(frozen=True)
class Hint:
    """One object that a person pointed at, in pixels of the photograph.

    Attributes:
        category: its class.
        box: x0, y0, x1, y1; a point has no width and no height.
    """

    category: str
    box: tuple[float, float, float, float]

    @property
    def is_point(self) -> bool:
        """Whether only a place in the object was given."""
        return self.box[0] == self.box[2] and self.box[1] == self.box[3]


Hints = Mapping[str, tuple[Hint, ...]]
"""File name of a photograph to what was given for it."""


def read_hints(labels: InstanceSet) -> Hints:
    """Take boxes and points out of labels.

    Boxes are those around annotations, whatever their outline. Points are VIA's, as ``underground
    import`` keeps them, or boxes without width and height. Crowds are left out.

    Returns:
        Photographs with at least one box or point; what was given for each.
    """
    found = {
        image.file_name: tuple(hint for region in image.regions for hint in _of_region(region))
        for image in labels.images
    }
    return {name: hints for name, hints in found.items() if hints}


def require_known(hints: Hints, path: Path, *, names: set[str], categories: Sequence[str]) -> None:
    """Raise DatasetError for a photograph that is not there, or a class that is not learnt."""
    for name, some in hints.items():
        if name not in names:
            raise DatasetError(
                f"{path}: {name} is not among the photographs. Give its name relative to --images."
            )
        strange = [hint.category for hint in some if hint.category not in categories]
        if strange:
            raise DatasetError(
                f"{path}: {name} has a {strange[0]!r}; the plan's recipes know "
                f"{', '.join(categories)}."
            )


def _of_region(region: Region) -> list[Hint]:
    if region.has_area and not region.crowd:
        x, y, wide, tall = region_box(region)
        return [Hint(region.category, (x, y, x + wide, y + tall))]
    shape = (region.via or {}).get("shape_attributes", {})
    if shape.get("name") == _POINT:
        x, y = float(shape["cx"]), float(shape["cy"])
        return [Hint(region.category, (x, y, x, y))]
    return []
