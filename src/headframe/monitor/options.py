"""What a caller chooses about a comparison, and what comes of it."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from headframe.core.errors import InputError
from headframe.io.classraster import CloudMask


@dataclass(frozen=True)
class ChangeOptions:
    """How to compare.

    Attributes:
        min_patch_px: smallest patch of change that counts, pixels of the finer map, >= 0.
        min_area_ha: the same in hectares; replaces ``min_patch_px`` where it is given.
        sites: polygons of sites, or None for the whole overlap only.
        site_field: the field that names a site.
        cloud_before: raster that tells where BEFORE is under cloud, or None.
        cloud_after: likewise for AFTER.
        cloud_values: numbers that mean cloud in both; None finds out, see ``io.classraster``.
    """

    min_patch_px: int = 25
    min_area_ha: float | None = None
    sites: Path | None = None
    site_field: str | None = None
    cloud_before: str | None = None
    cloud_after: str | None = None
    cloud_values: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.min_patch_px < 0:
            raise InputError(f"--min-patch-px {self.min_patch_px} is not 0 or more.")
        if self.min_area_ha is not None and self.min_area_ha < 0:
            raise InputError(f"--min-area-ha {self.min_area_ha} is not 0 or more.")


@dataclass(frozen=True)
class Dated:
    """One date.

    Attributes:
        classes: its class map.
        scene: the image it was mapped from, for the picture; None where there is none.
        clouds: where it is under cloud, where something but the caller tells.
    """

    classes: str
    scene: str | None = None
    clouds: CloudMask | None = None


@dataclass(frozen=True)
class ChangeResult:
    """What was found.

    Attributes:
        before: class map of the earlier date.
        after: class map of the later date.
        outputs: kind of output to its file.
        grid: the common grid: crs, shape, pixel_m, parts, same_lattice, follows.
        classes: names of the classes.
        rows: one for each site and class: areas in hectares with ``pm`` and ``se``.
        transitions: hectares from one class to another over the whole overlap.
        polygons: number of polygons.
        seconds: wall time.
    """

    before: str
    after: str
    outputs: dict[str, str]
    grid: dict[str, Any]
    classes: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    transitions: tuple[dict[str, Any], ...]
    polygons: int
    seconds: float = field(compare=False, default=0.0)

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return asdict(self)
