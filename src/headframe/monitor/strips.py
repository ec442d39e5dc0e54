"""Two aligned class maps on disk, cleaned of small patches, in memory that stays flat."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headframe.core.classmap import IGNORE_INDEX
from headframe.core.errors import GridMismatchError
from headframe.core.progress import Progress
from headframe.geo.alignment import CellAreas
from headframe.geo.patches import PatchSieve, without_threads
from headframe.geo.window import Window
from headframe.io.classraster import AlignedClasses
from headframe.io.cog import StripWriter
from headframe.io.layers import gdal_reading, open_raster
from headframe.monitor.kinds import ByteArray, changed_to

_STRIP_PX = 2**21
_ROWS = 64


def strip_windows(shape: tuple[int, int]) -> list[Window]:
    """Cut a grid into strips of 64 to 256 whole rows."""
    height, width = shape
    rows = int(np.clip(_STRIP_PX // width // _ROWS, 1, 4)) * _ROWS
    return [Window(top, 0, min(rows, height - top), width) for top in range(0, height, rows)]


class PairStack:
    """Classes before and after on one grid, three layers on disk.

    Layers: before, after as mapped, after with changes of too small patches taken back. All three
    are 255 where either date has no data.
    """

    def __init__(self, folder: Path, shape: tuple[int, int]) -> None:
        """Prepare to keep them in ``folder``."""
        self.shape = shape
        self.windows = strip_windows(shape)
        self._pair = folder / "pair.tif"
        self._clean = folder / "clean.tif"

    def fill(self, before: AlignedClasses, after: AlignedClasses, progress: Progress) -> set[int]:
        """Read both dates; gives the classes that occur, background left out.

        Raises:
            GridMismatchError: nowhere have both dates data.
        """
        found = np.zeros(256, dtype=np.int64)
        progress.start("aligning", len(self.windows))
        with StripWriter(self._pair, (2, *self.shape), "uint8") as file:
            for window in self.windows:
                pair = np.stack([before.read(window), after.read(window)])
                pair[:, (pair == IGNORE_INDEX).any(axis=0)] = IGNORE_INDEX
                found += np.bincount(pair.ravel(), minlength=256)
                file.write(pair, window)
                progress.advance()
        progress.finish()
        if not found[:IGNORE_INDEX].any():
            raise GridMismatchError(
                "BEFORE and AFTER have no pixel with data on both dates: one is nodata or cloud "
                "wherever the other has data."
            )
        return {int(value) for value in np.flatnonzero(found[:IGNORE_INDEX]) if value}

    def clean(
        self,
        sieve: PatchSieve,
        *,
        thread_px: int,
        areas: CellAreas | None,
        progress: Progress,
    ) -> None:
        """Take back changes that are too thin or lie in patches that are too small.

        Args:
            sieve: new.
            thread_px: side of the square that a change must have room for; 1 for any.
            areas: what sizes are measured in; None counts pixels.
            progress: told of strips.
        """
        progress.start("patches", 2 * len(self.windows))
        with _Rows(self._pair) as pair:
            for window in self.windows:
                codes = _changes(pair, window, thread_px)
                weights = np.ones(codes.shape) if areas is None else areas.pixels(window)
                sieve.add(codes, weights)
                progress.advance()
            sieve.finish()
            with StripWriter(self._clean, (1, *self.shape), "uint8") as file:
                for number, window in enumerate(self.windows):
                    before, mapped = pair.read(window)
                    codes = _changes(pair, window, thread_px)
                    stays = (codes > 0) & ~sieve.too_small(number, codes)
                    file.write(np.where(stays, mapped, before)[None], window)
                    progress.advance()
        progress.finish()

    def strips(
        self, *, halo: int = 0
    ) -> Iterator[tuple[Window, tuple[int, int], NDArray[np.uint8]]]:
        """Give the layers strip by strip.

        Args:
            halo: further rows wanted above and below.

        Yields:
            The strip's window, (rows above, rows below) added to it, and the layers (3, h, W).
        """
        with _Rows(self._pair) as pair, _Rows(self._clean) as clean:
            for window in self.windows:
                above = min(halo, window.row)
                below = min(halo, self.shape[0] - window.row - window.height)
                parts = [file.read(window, above=above, below=below) for file in (pair, clean)]
                yield window, (above, below), np.concatenate(parts)


class _Rows:
    """Reads whole rows of a raster."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._stack = ExitStack()

    def __enter__(self) -> "_Rows":
        self._file: Any = self._stack.enter_context(open_raster(self._path))
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._stack.close()

    def read(self, window: Window, *, above: int = 0, below: int = 0) -> ByteArray:
        """Read (C, h, W), with rows above and below as far as there are some."""
        top = max(0, window.row - above)
        bottom = min(self._file.height, window.row + window.height + below)
        with gdal_reading(self._path):
            values = self._file.read(window=((top, bottom), (0, self._file.width)))
        return np.asarray(values, dtype=np.uint8)


def _changes(pair: _Rows, window: Window, thread_px: int) -> ByteArray:
    """Number the changes of a strip that are wide enough."""
    halo = 2 * thread_px
    codes = changed_to(*pair.read(window, above=halo, below=halo))
    first = min(halo, window.row)
    return without_threads(codes, thread_px)[first : first + window.height]
