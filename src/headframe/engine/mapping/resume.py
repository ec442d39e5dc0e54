"""What a map keeps on disk while it is unfinished, so that a killed run can go on."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from headframe.core.errors import InputError
from headframe.io.claimed import held, read_mark, write_mark
from headframe.io.files import replacing, write_json

_JOB = "job.json"
_LOCK = "lock"


def fingerprint_of(facts: Mapping[str, Any]) -> str:
    """Condense everything that decides a map's content into one SHA-256."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def file_facts(source: str) -> list[Any]:
    """Tell versions of a file apart: its path, size and time, or just an address."""
    try:
        status = os.stat(source)
    except OSError:
        return [source]
    return [os.path.realpath(source), status.st_size, status.st_mtime_ns]


class Checkpoint:
    """The folder of an unfinished map: strips that are done, and rows carried to the next.

    A strip counts as done once its ``strip-NNNN.json`` is there, which is written last. A folder
    left by another scene version, model or choice of options is emptied first.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        """Prepare to use ``folder``, which need not exist."""
        self.folder = folder
        self._fingerprint = fingerprint
        self._hold = ExitStack()

    def __enter__(self) -> Self:
        """Lock the folder.

        Raises:
            OutputError: it cannot be made, or another run holds it.
        """
        busy = "another run is writing this map. Wait for it or choose another --out."
        with ExitStack() as hold:
            hold.enter_context(held(self.folder, lock=_LOCK, busy=busy))
            if read_mark(self.folder / _JOB) != self._fingerprint:
                self._empty()
                write_mark(self.folder / _JOB, self._fingerprint)
            self._hold = hold.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the folder; remove it where nothing in it is worth keeping.

        A run that was stopped may go on later; bad input or a full disk would fail again.
        """
        bad = kind is not None and issubclass(kind, InputError)
        worthless = bad or self.done() == 0
        self._hold.close()
        if worthless:
            shutil.rmtree(self.folder, ignore_errors=True)

    def done(self) -> int:
        """Count the strips that are done, from the top."""
        row = 0
        while self.file("strip", row, "json").is_file():
            row += 1
        return row

    def file(self, kind: str, row: int, suffix: str) -> Path:
        """Name a file of strip ``row``."""
        return self.folder / f"{kind}-{row:05d}.{suffix}"

    def commit(self, row: int, facts: Mapping[str, Any], *, carry: NDArray[np.float32]) -> None:
        """Note that strip ``row`` is done, with the scores it carries to the next."""
        with replacing(self.file("carry", row, "npy")) as part, part.open("wb") as file:
            np.save(file, carry, allow_pickle=False)
        write_json(self.file("strip", row, "json"), dict(facts))
        if row > 0:
            self.file("carry", row - 1, "npy").unlink(missing_ok=True)

    def carry(self, row: int) -> NDArray[np.float32]:
        """Load what strip ``row`` carries to the next."""
        return np.asarray(
            np.load(self.file("carry", row, "npy"), allow_pickle=False), dtype=np.float32
        )

    def facts(self, row: int) -> dict[str, Any]:
        """Load the facts of strip ``row``."""
        return dict(json.loads(self.file("strip", row, "json").read_text(encoding="utf-8")))

    def remove(self) -> None:
        """Remove the folder; the map is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _empty(self) -> None:
        for path in self.folder.iterdir():
            if path.name != _LOCK:
                path.unlink() if path.is_file() else shutil.rmtree(path)
