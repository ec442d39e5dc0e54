"""A bit mask of a whole scene, read and rewritten a few rows at a time."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from headframe.core.components import BitArray
from headframe.core.errors import OutputError


class BitRows(Protocol):
    """Rows of a bit mask, wherever they are kept.

    Attributes:
        shape: (H, W), pixels.
        cuts: first row of each strip, then H: how to go through it in pieces that fit memory.
    """

    shape: tuple[int, int]
    cuts: Sequence[int]

    def read(self, first: int, stop: int) -> BitArray:
        """Copy rows [first, stop) out, (n, W)."""

    def write(self, first: int, bits: BitArray) -> None:
        """Put rows (n, W) in place from row ``first`` on."""


class ArrayRows:
    """Rows of an array in memory, which is changed in place."""

    def __init__(self, bits: BitArray, cuts: Sequence[int] = ()) -> None:
        """Go through ``bits`` (H, W) in one piece, or in strips that end at ``cuts``."""
        self.bits = bits
        height, width = bits.shape
        self.shape = (int(height), int(width))
        self.cuts: Sequence[int] = (0, *cuts, int(height))

    def read(self, first: int, stop: int) -> BitArray:
        """Copy rows [first, stop) out, (n, W)."""
        return self.bits[first:stop].copy()

    def write(self, first: int, bits: BitArray) -> None:
        """Put rows (n, W) in place from row ``first`` on."""
        self.bits[first : first + len(bits)] = bits


class FileRows:
    """Rows of a scratch file of plain numbers; use it in a ``with`` statement.

    No memory map: a disk that fills while one is written kills the process.
    """

    def __init__(self, path: Path, shape: tuple[int, int], cuts: Sequence[int]) -> None:
        """Make a new file for (H, W) pixels, in strips that begin at ``cuts`` and end with H."""
        self.shape = shape
        self.cuts = cuts
        self._path = path

    def __enter__(self) -> Self:
        """Create the file.

        Raises:
            OutputError: it cannot be made.
        """
        try:
            self._file = self._path.open("w+b", buffering=0)
        except OSError as exc:
            raise self._failed(exc) from exc
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file and remove it."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def read(self, first: int, stop: int) -> BitArray:
        """Copy rows [first, stop) out, (n, W); they must have been written before."""
        bits = np.empty((stop - first, self.shape[1]), dtype=np.uint16)
        self._file.seek(first * self.shape[1] * bits.itemsize)
        view = bits.data.cast("B")
        done = 0
        while done < len(view):
            got = self._file.readinto(view[done:])
            if not got:
                raise EOFError(f"{self._path}: rows {first} to {stop} were never written.")
            done += got
        return bits

    def write(self, first: int, bits: BitArray) -> None:
        """Put rows (n, W) in place from row ``first`` on.

        Raises:
            OutputError: the disk is full.
        """
        plain = np.ascontiguousarray(bits, dtype=np.uint16)
        view = plain.data.cast("B")
        try:
            self._file.seek(first * self.shape[1] * plain.itemsize)
            while view:
                view = view[self._file.write(view) :]
        except OSError as exc:
            raise self._failed(exc) from exc

    def _failed(self, exc: OSError) -> OutputError:
        return OutputError(
            f"{self._path}: cannot be written ({exc.strerror or exc}). "
            "Free some space or choose another --out."
        )
