"""Folders of long work: one process at a time, one purpose, taken up again after a kill."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from headframe import __version__
from headframe.core.errors import OutputError
from headframe.io.files import write_json, writing_into
from headframe.io.vector import named

PLAN_NAME = "plan.json"
_LOCK_NAME = "lock"
_MARK = "fingerprint"


@contextmanager
def held(
    folder: Path,
    *,
    out: Path | None = None,
    lock: str = _LOCK_NAME,
    busy: str = "another run is writing here. Wait for it to end.",
) -> Iterator[None]:
    """Keep other processes out of a folder while the ``with`` block runs; it is made if need be.

    Args:
        folder: what is held.
        out: the folder that messages name; None for ``folder``.
        lock: name of the lock's file in it.
        busy: what to say where another process holds it.

    Raises:
        OutputError: it cannot be written, or another process holds it.
    """
    out = folder if out is None else out
    guard = FileLock(folder / lock, timeout=0)
    with writing_into(out):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            guard.acquire()
        except Timeout as exc:
            raise OutputError(f"{out}: {busy}") from exc
    try:
        yield
    finally:
        guard.release()


@contextmanager
def working(out: Path, name: str, mark: str, *, made_from: str) -> Iterator[Path]:
    """Take hold of an unfinished data set's folder: one process at a time, one plan.

    Args:
        out: folder of the data set: new, empty, or left by an unfinished call with this mark.
        name: folder inside it for a lock, the plan's fingerprint and the caller's records.
        mark: fingerprint of all that decides what is written.
        made_from: what that is, ``scenes, polygons or options``.

    Yields:
        The inner folder.

    Raises:
        OutputError: ``out`` cannot be written, is in use, or holds something else.
    """
    work = out / name
    plan = work / PLAN_NAME
    with writing_into(out):
        others = sorted(p.name for p in out.iterdir() if p.name != name) if out.exists() else []
        if others and not plan.exists():
            raise OutputError(f"{out}: is not empty ({named(others)}). Choose another --out.")
    with held(work, out=out):
        if not plan.exists():
            write_mark(plan, mark)
        elif read_mark(plan) != mark:
            raise OutputError(
                f"{out}: holds an unfinished data set made from other {made_from}. "
                "Delete it, or choose another --out."
            )
        yield work


def write_mark(path: Path, mark: str) -> None:
    """Note the fingerprint of what is begun."""
    write_json(path, {_MARK: mark})


def read_mark(path: Path) -> str | None:
    """Read what ``write_mark`` noted; None where there is nothing, or something damaged."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))[_MARK])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def begin(
    path: Path, request: Mapping[str, Any], *, key: str, foreign: Sequence[str], kind: str
) -> None:
    """Note what a folder is begun with; where that is noted already, it must be the same.

    Args:
        path: the note, a JSON file in the folder.
        request: plain values.
        key: where the request stands in the note; the version of this package stands beside it.
        foreign: names in the folder that cannot be there without a note.
        kind: what they are, ``images``.

    Raises:
        OutputError: the folder was begun with another request or holds ``foreign``; the note is
            damaged or cannot be written.
    """
    out = path.parent
    if not path.is_file():
        if any((out / name).exists() for name in foreign):
            raise OutputError(f"{out}: holds {kind} of another making. Choose another --out.")
        write_json(path, {key: dict(request), "versions": {"headframe": __version__}})
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))[key]
        changed = [name for name, value in request.items() if before.get(name) != value]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise OutputError(f"{path}: damaged ({exc}). Choose another --out.") from exc
    if changed:
        name = changed[0]
        raise OutputError(
            f"{out}: was begun with {name} {before.get(name)}, now {request[name]}. "
            "Ask for the same again, or choose another --out."
        )
