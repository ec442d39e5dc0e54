"""A rectangle of pixels."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A rectangle of whole pixels in a raster, row 0 and column 0 being its top left pixel.

    It may reach beyond the raster: row and col may be negative.

    Attributes:
        row: first row, pixels.
        col: first column, pixels.
        height: number of rows, > 0.
        width: number of columns, > 0.
    """

    row: int
    col: int
    height: int
    width: int

    def __post_init__(self) -> None:
        """Check that the rectangle is not empty."""
        if self.height <= 0 or self.width <= 0:
            raise ValueError(f"a window needs a positive size, not {self.height} x {self.width}")
