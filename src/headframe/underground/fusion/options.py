"""What fusion does, step by step."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from headframe.core.errors import RecipeError, UnknownNameError
from headframe.underground.fusion.align import Guard
from headframe.underground.fusion.gate import Gate
from headframe.underground.fusion.grid import GridRule

Method = Literal["detector", "sam", "intersection", "weighted", "boundary", "gate"]
METHODS: tuple[str, ...] = get_args(Method)


@dataclass(frozen=True)
class FusionOptions:
    """Steps of fusion; the defaults are the paper's chain as methods.md, section 1.5, reads it.

    One step is not among them: the rule of the bottom row made road of every second wall when it
    was measured (docs/decisions/012).

    Attributes:
        method: ``intersection`` is the paper's; ``detector`` and ``sam`` take one network's masks;
            ``weighted``, ``boundary`` and ``gate`` are ours.
        align: look for a transform of SAM's masks by ORB.
        guard: when that transform is believed.
        align_px: ORB sees masks reduced to this long side; as the paper's pictures are.
        min_overlap: where the masks share less than this part of the smaller one, Mask R-CNN's is
            kept and flagged; also where they share nothing. None: no such rule.
        close: fill gaps.
        open_: remove specks.
        kernel_px: side of the ellipse of both on a photograph of 1024 pixels, scaled to others.
        grid: the rule of the bottom row.
        weight: of SAM in ``weighted``, 0-1.
        band: half-width in ``boundary``, as a share of the root of the mask's area.
        gate: parameters for ``gate``.
        rescore: part of SAM's expected IoU in the score: score^(1 - rescore) x IoU^rescore; 0
            keeps Mask R-CNN's.
    """

    method: Method = "intersection"
    align: bool = True
    guard: Guard = field(default_factory=Guard)
    align_px: int = 1024
    min_overlap: float | None = 0.1
    close: bool = True
    open_: bool = True
    kernel_px: int = 5
    grid: GridRule = "off"
    weight: float = 0.5
    band: float = 0.1
    gate: Gate | None = None
    rescore: float = 0.0

    def __post_init__(self) -> None:
        """Check the values; raises RecipeError or UnknownNameError."""
        if self.method not in METHODS:
            raise UnknownNameError.of("fusion", self.method, METHODS)
        if self.grid not in get_args(GridRule):
            raise UnknownNameError.of("grid rule", self.grid, get_args(GridRule))
        if self.method == "gate" and self.gate is None:
            raise RecipeError("fusion 'gate' needs the gate's numbers; load or fit them first.")
        shares = {"weight": self.weight, "rescore": self.rescore}
        if self.min_overlap is not None:
            shares["min_overlap"] = self.min_overlap
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise RecipeError(f"fusion: {name} is {value}; give a number from 0 to 1.")
        if self.band < 0 or self.kernel_px < 1 or self.align_px < 1:
            raise RecipeError(
                f"fusion: band is {self.band}, kernel_px {self.kernel_px}, align_px "
                f"{self.align_px}; the band must be 0 or more, the others 1 or more."
            )
