"""A folder beside an output in which long work is kept until the output is there."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from headframe.core.errors import InputError
from headframe.io.claimed import held, read_mark, write_mark

_MARK = "job.json"


@contextmanager
def scratch(out: Path, mark: str) -> Iterator[Path]:
    """Hold the folder ``.<name>-work`` beside ``out`` while the ``with`` block runs.

    What an earlier run with the same ``mark`` left there is found again; what another one left is
    removed. The folder goes when the block ends well, and where it fails for bad input, which
    would fail again.

    Args:
        out: the file that is made.
        mark: fingerprint of all that decides its content.

    Yields:
        The inner folder, which exists.

    Raises:
        OutputError: it cannot be written, or another run holds it.
    """
    work = out.with_name(f".{out.name}-work")
    inner = work / "kept"
    busy = "another run is writing it. Wait for it or choose another --out."
    with ExitStack() as hold:
        hold.enter_context(held(work, out=out, busy=busy))
        if read_mark(work / _MARK) != mark:
            shutil.rmtree(inner, ignore_errors=True)
            write_mark(work / _MARK, mark)
        inner.mkdir(exist_ok=True)
        try:
            yield inner
        except InputError:
            hold.close()
            shutil.rmtree(work, ignore_errors=True)
            raise
    shutil.rmtree(work, ignore_errors=True)
