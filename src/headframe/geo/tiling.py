"""Covering a scene with overlapping tiles whose shares of it fit together exactly.

Along one axis, tile ``i`` covers pixels ``[starts[i], starts[i] + size)``. Its first and last
``margin`` pixels get no weight, because a network sees nothing beyond a tile's edge; between two
neighbours lies a ramp of ``fade`` pixels over which one takes over from the other; elsewhere one
tile alone counts. Tiles end at the scene's borders, where a tile's edge is the scene's own edge.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from headframe.core.errors import GridMismatchError
from headframe.geo.window import Window


@dataclass(frozen=True)
class TileAxis:
    """Tiles along one axis.

    Attributes:
        length: pixels covered; a multiple of what the network needs.
        size: pixels in every tile.
        starts: first pixel of each tile, ascending, the first 0 and the last ``length - size``.
        cuts: ``len(starts) + 1`` ascending pixels from 0 to ``length``; tile ``i`` carries weight
            from ``cuts[i]`` and shares ``[cuts[i], cuts[i] + fade)`` with tile ``i - 1``.
        fade: pixels of each ramp.
    """

    length: int
    size: int
    starts: tuple[int, ...]
    cuts: tuple[int, ...]
    fade: int

    def __len__(self) -> int:
        """Count the tiles."""
        return len(self.starts)

    def end(self, index: int) -> int:
        """Find the pixel after the last one where tile ``index`` carries weight."""
        last = index == len(self.starts) - 1
        return self.cuts[index + 1] + (0 if last else self.fade)


def tile_axis(
    length: int,
    *,
    tile_px: int,
    margin_px: int,
    fade_px: int,
    align_px: int = 1,
    needed_px: int | None = None,
) -> TileAxis:
    """Plan the tiles along one axis.

    Every tile but the last starts at a multiple of ``align_px``, so that a network that halves
    its grid sees each object on the same phase in all of them.

    Args:
        length: pixels to cover, > 0.
        tile_px: pixels of a tile; a shorter axis gets one tile of its own length.
        margin_px: pixels without weight at each inner edge of a tile, >= 0.
        fade_px: pixels of a ramp, >= 0.
        align_px: wanted divisor of the starts, >= 1; given up where tiles are too small for it.
        needed_px: pixels that hold anything, at most ``length``, which they are where it is not
            given; a tile whose block lies beyond them is left out, and ``length`` shrinks.

    Raises:
        GridMismatchError: tiles smaller than ``2 * margin_px + 3 * fade_px``, or not positive.
    """
    if length <= 0 or tile_px <= 0 or margin_px < 0 or fade_px < 0:
        raise GridMismatchError(
            f"tiles of {tile_px} px with a margin of {margin_px} px cannot cover {length} px."
        )
    if length <= tile_px:
        return TileAxis(length, length, (0,), (0, length), fade_px)
    step = tile_px - 2 * margin_px - fade_px
    step = step // align_px * align_px or step
    if step < max(2 * fade_px, 1):
        raise GridMismatchError(
            f"tiles of {tile_px} px are too small for a margin of {margin_px} px and a fade of "
            f"{fade_px} px. Give --tile-px {2 * margin_px + 3 * fade_px + align_px} or more, or a "
            "smaller --margin-px."
        )
    starts = (*range(0, length - tile_px, step), length - tile_px)
    inner = tuple((after + before + tile_px - fade_px) // 2 for before, after in pairwise(starts))
    kept = sum(cut < (needed_px or length) for cut in inner) + 1
    starts, inner = starts[:kept], inner[: kept - 1]
    return TileAxis(
        starts[-1] + tile_px, tile_px, starts, (0, *inner, starts[-1] + tile_px), fade_px
    )


@dataclass(frozen=True)
class Tiling:
    """Tiles over a scene; blocks of the two axes' cuts cover each pixel once.

    Attributes:
        rows: tiles down the scene.
        cols: tiles across it.
    """

    rows: TileAxis
    cols: TileAxis

    def __len__(self) -> int:
        """Count the tiles."""
        return len(self.rows) * len(self.cols)

    def tile(self, row: int, col: int) -> Window:
        """Give the pixels that the network sees for tile ``(row, col)``."""
        return Window(self.rows.starts[row], self.cols.starts[col], self.rows.size, self.cols.size)

    def block(self, row: int, col: int) -> Window:
        """Give the pixels that are finished once tile ``(row, col)`` is added in row order."""
        top, bottom = self.rows.cuts[row : row + 2]
        left, right = self.cols.cuts[col : col + 2]
        return Window(top, left, bottom - top, right - left)

    def tiles(self) -> Iterator[tuple[int, int]]:
        """Give (row, col) of every tile, row by row."""
        for row in range(len(self.rows)):
            for col in range(len(self.cols)):
                yield row, col


def plan_tiling(
    shape: tuple[int, int], *, tile_px: int, margin_px: int, multiple_px: int = 1
) -> Tiling:
    """Cover a scene with square tiles.

    Args:
        shape: scene (H, W), pixels.
        tile_px: side of a tile, a multiple of ``multiple_px``.
        margin_px: pixels without weight at a tile's inner edges, and the width of its ramps.
        multiple_px: what a side the network takes must be a multiple of; the covered extent is
            ``shape`` rounded up to it, so the last tiles may reach below and right of the scene.

    Raises:
        GridMismatchError: tiles that do not fit the margin or the multiple.
    """
    if tile_px % multiple_px:
        raise GridMismatchError(
            f"--tile-px {tile_px} is not a multiple of {multiple_px}, which this model needs. "
            f"Give {-(-tile_px // multiple_px) * multiple_px}."
        )
    align_px = 32
    axes = [
        tile_axis(
            -(-side // multiple_px) * multiple_px,
            tile_px=tile_px,
            margin_px=margin_px,
            fade_px=margin_px,
            align_px=align_px,
            needed_px=side,
        )
        for side in shape
    ]
    return Tiling(axes[0], axes[1])
