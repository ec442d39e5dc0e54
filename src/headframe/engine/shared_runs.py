"""Jobs that several processes share: each is done by one of them at a time.

Locks are the operating system's, so those of a killed process are free at once. File systems
without locks (some network mounts) need one process a folder.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from headframe.io.files import writing_into

Job = TypeVar("Job")

_FOLDER = ".locks"
_TABLES = "tables"
_POLL_S = 0.5
_LOG = logging.getLogger("headframe")


def share(jobs: Sequence[Job], *, out: Path, name: Callable[[Job], str]) -> Iterator[Job]:
    """Give jobs one after the other, each held against other processes until the next is asked for.

    Jobs that others hold come last: they are waited for, and then given like the rest, because
    whoever held one may have died. So the caller must look first whether a job is done already.

    Args:
        jobs: in the order wanted.
        out: folder that the processes share; locks lie in it.
        name: of a job, fit for a file's name and the same in every process.

    Raises:
        OutputError: ``out`` cannot be written.
    """
    left, wait = list(jobs), False
    while left:
        busy: list[Job] = []
        for job in left:
            if wait:
                _LOG.warning("%s: waiting for another process to end it.", out / name(job))
            with _locked(out, name(job), wait=wait) as mine:
                if mine:
                    yield job
                else:
                    busy.append(job)
            wait = False
        left, wait = busy, len(busy) == len(left)


@contextmanager
def writing_tables(out: Path) -> Iterator[None]:
    """Keep other processes from writing the tables in ``out`` while the ``with`` block does.

    Raises:
        OutputError: ``out`` cannot be written.
    """
    with _locked(out, _TABLES, wait=True):
        yield


@contextmanager
def holding(out: Path, name: str) -> Iterator[None]:
    """Hold a job of ``share`` while the ``with`` block runs; wait where another process holds it.

    Raises:
        OutputError: ``out`` cannot be written.
    """
    with _locked(out, name, wait=True):
        yield


@contextmanager
def _locked(out: Path, name: str, *, wait: bool) -> Iterator[bool]:
    """Take a lock, now or when it is free; yields whether it was taken."""
    guard = FileLock(out / _FOLDER / f"{name}.lock")
    with writing_into(out):
        (out / _FOLDER).mkdir(parents=True, exist_ok=True)
        try:
            guard.acquire(timeout=-1 if wait else 0, poll_interval=_POLL_S)
        except Timeout:
            taken = False
        else:
            taken = True
    try:
        yield taken
    finally:
        if taken:
            guard.release()
