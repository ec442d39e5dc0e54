"""Two aligned class maps on disk, cleaned of small patches, in memory that stays flat."""

from collections.abc import Iterator, Sequence
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
from headframe.monitor.kinds import ByteArray, Values, carries, changed_to, nodata_of, plane

_STRIP_PX = 2**21
_ROWS = 64
_MOST_BITS = 15


def strip_windows(shape: tuple[int, int]) -> list[Window]:
    """Cut a grid into strips of 64 to 256 whole rows."""
    height, width = shape
    rows = int(np.clip(_STRIP_PX // width // _ROWS, 1, 4)) * _ROWS
    return [Window(top, 0, min(rows, height - top), width) for top in range(0, height, rows)]


class PairStack:
    """Classes or masks before and after on one grid, three layers on disk.

    Layers: before, after as mapped, after with changes of too small patches taken back. All three
    are no data where either date is; see ``monitor.kinds`` for the two types of values.
    """

    def __init__(self, folder: Path, shape: tuple[int, int]) -> None:
        """Prepare to keep them in ``folder``."""
        self.shape = shape
        self.windows = strip_windows(shape)
        self._dtype = "uint8"
        self._pair = folder / "pair.tif"
        self._clean = folder / "clean.tif"

    @property
    def overlapping(self) -> bool:
        """Whether a pixel may carry several classes, as masks of components say."""
        return self._dtype == "uint16"

    def fill(self, before: AlignedClasses, after: AlignedClasses, progress: Progress) -> set[int]:
        """Read both dates; gives the classes that occur, background left out.

        Raises:
            GridMismatchError: nowhere have both dates data.
        """
        found = np.zeros(2**16, dtype=np.bool_)
        self._dtype = before.dtype
        progress.start("aligning", len(self.windows))
        with StripWriter(self._pair, (2, *self.shape), self._dtype) as file:
            for window in self.windows:
                pair: Values = np.array([before.read(window), after.read(window)])
                lost = nodata_of(pair)
                pair[:, (pair == lost).any(axis=0)] = lost
                found |= np.bincount(pair.ravel(), minlength=2**16) > 0
                file.write(pair, window)
                progress.advance()
        progress.finish()
        values = np.flatnonzero(found).astype(self._dtype)
        values = values[values != nodata_of(values)]
        if not values.size:
            raise GridMismatchError(
                "BEFORE and AFTER have no pixel with data on both dates: one is nodata or cloud "
                "wherever the other has data."
            )
        highest = _MOST_BITS if self.overlapping else IGNORE_INDEX - 1
        return {index for index in range(1, highest + 1) if carries(values, index).any()}

    def clean(
        self,
        least: float,
        *,
        shown: Sequence[int],
        thread_px: int,
        areas: CellAreas | None,
        progress: Progress,
    ) -> None:
        """Take back changes that are too thin or lie in patches that are too small.

        Components that may overlap are cleaned each for itself.

        Args:
            least: size below which patches are taken back, pixels or square metres.
            shown: classes that occur.
            thread_px: side of the square that a change must have room for; 1 for any.
            areas: what sizes are measured in; None counts pixels.
            progress: told of strips.
        """
        planes: list[int | None] = list(shown) if self.overlapping else [None]
        sieves = [PatchSieve(least) for _ in planes]
        progress.start("patches", 2 * len(self.windows))
        with _Rows(self._pair) as pair:
            for window in self.windows:
                strip = _Changes(pair, window, thread_px)
                weights = np.ones(strip.before.shape) if areas is None else areas.pixels(window)
                for sieve, index in zip(sieves, planes, strict=True):
                    sieve.add(strip.codes(index), weights)
                progress.advance()
            for sieve in sieves:
                sieve.finish()
            with StripWriter(self._clean, (1, *self.shape), self._dtype) as file:
                for number, window in enumerate(self.windows):
                    strip = _Changes(pair, window, thread_px)
                    cleaned = strip.before.copy()
                    for sieve, index in zip(sieves, planes, strict=True):
                        codes = strip.codes(index)
                        stays = (codes > 0) & ~sieve.too_small(number, codes)
                        strip.take(cleaned, stays, index)
                    file.write(cleaned[None], window)
                    progress.advance()
        progress.finish()

    def strips(self, *, halo: int = 0) -> Iterator[tuple[Window, tuple[int, int], Values]]:
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
                yield window, (above, below), _joined(parts)


def _joined(parts: list[Values]) -> Values:
    layers: Values = np.array([layer for part in parts for layer in part])
    return layers


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

    def read(self, window: Window, *, above: int = 0, below: int = 0) -> Values:
        """Read (C, h, W), with rows above and below as far as there are some."""
        top = max(0, window.row - above)
        bottom = min(self._file.height, window.row + window.height + below)
        with gdal_reading(self._path):
            values = self._file.read(window=((top, bottom), (0, self._file.width)))
        return np.asarray(values)


class _Changes:
    """What changed in a strip.

    Attributes:
        before: values (h, W).
    """

    def __init__(self, pair: _Rows, window: Window, thread_px: int) -> None:
        halo = 2 * thread_px
        self._pair = pair.read(window, above=halo, below=halo)
        first = min(halo, window.row)
        self._rows = slice(first, first + window.height)
        self._thread_px = thread_px
        self.before: Values = self._pair[0, self._rows]

    def codes(self, index: int | None) -> ByteArray:
        """Number changes that are wide enough, of one component or of exclusive classes."""
        before, after = self._pair if index is None else plane(self._pair, index)
        return without_threads(changed_to(before, after), self._thread_px)[self._rows]

    def take(self, values: Values, where: NDArray[np.bool_], index: int | None) -> None:
        """Put what is there after into ``values`` (h, W), of one component or whole."""
        after = self._pair[1, self._rows]
        if index is None:
            values[where] = after[where]
        else:
            bit = np.uint16(1 << (index - 1))
            values[where] = (values[where] & ~bit) | (after[where] & bit)
