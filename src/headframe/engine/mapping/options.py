"""What a caller chooses about a map, and what is said about it afterwards."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headframe.core.errors import InputError
from headframe.io.scene import SceneOptions

Refine = Callable[[NDArray[np.float32], NDArray[np.uint8]], NDArray[np.uint8]]
"""Rule on one finished block: (scores (K, h, w), NaN for nodata; classes (h, w), 255 for nodata)
to classes (h, w). Blocks meet without overlap and have no fixed size, so a rule decides pixel by
pixel."""


@dataclass(frozen=True)
class MapOptions:
    """How to map.

    Attributes:
        scene: bands and unit as the caller states them.
        scores: also write scores, float32.
        polygons: also write polygons, where there is a CRS.
        min_area_ha: leave smaller polygons out, hectares, >= 0.
        simplify_m: tolerance of simplification, metres, 0 for exact pixel outlines.
        threshold: score from which a pixel is the target, 0-1; None takes the model's.
        tile_px: side of a tile; None takes the model's.
        margin_px: pixels at a tile's edge that do not count; None takes a sixteenth of a tile.
        device: ``auto``, ``cpu``, ``cuda`` or as torch names it.
        batch_tiles: tiles scored at once; None fits the device.
    """

    scene: SceneOptions = field(default_factory=SceneOptions)
    scores: bool = False
    polygons: bool = True
    min_area_ha: float = 0.0
    simplify_m: float = 0.0
    threshold: float | None = None
    tile_px: int | None = None
    margin_px: int | None = None
    device: str = "auto"
    batch_tiles: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.min_area_ha < 0 or self.simplify_m < 0:
            raise InputError("--min-area-ha and --simplify-m must be 0 or more.")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise InputError(f"--threshold {self.threshold} is not between 0 and 1.")
        for name in ("tile_px", "batch_tiles"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name.replace('_', '-')} {value} is not 1 or more.")
        if self.margin_px is not None and self.margin_px < 0:
            raise InputError(f"--margin-px {self.margin_px} is not 0 or more.")


@dataclass(frozen=True)
class MapResult:
    """One mapped scene.

    Attributes:
        source: the scene as it was named.
        outputs: kind of output to its file.
        shape: (H, W), pixels.
        tiles: tiles that cover it.
        scored: tiles that the network saw in this run; the others hold no data, or an earlier
            run had done them.
        seconds: wall time of this run.
        skipped: it had been finished before, and nothing was done.
        resumed_rows: rows of tiles taken over from an earlier run.
        polygons: number of polygons; None where none were asked for.
        area_ha: class name to area of its pixels, hectares; None without a CRS.
        rules: of a merged map, what each rule removed; None where none were asked for.
    """

    source: str
    outputs: dict[str, str]
    shape: tuple[int, int]
    tiles: int
    scored: int
    seconds: float
    skipped: bool = False
    resumed_rows: int = 0
    polygons: int | None = None
    area_ha: dict[str, float] | None = None
    rules: list[dict[str, Any]] | None = None

    def to_json(self) -> dict[str, Any]:
        """Give plain values; without ``rules`` where there are none."""
        values = asdict(self)
        return values if self.rules is not None else {k: values[k] for k in values if k != "rules"}
