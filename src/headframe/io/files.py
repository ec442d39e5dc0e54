"""Writing files so that a reader never sees half of one."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from headframe.core.errors import OutputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that takes its place on success.

    The temporary name keeps the suffix (drivers choose by it) and ends up either renamed or
    removed. What a killed run left behind is overwritten by the next one.

    Args:
        path: the final file or folder; its parent is made if need be.

    Yields:
        A path in the same folder to write to.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    part = path.with_name(f".part-{path.name}")
    make_folder(path.parent)
    try:
        _remove(part)
        yield part
        os.replace(part, path)
    except OutputError:
        _remove(part)
        raise
    except OSError as exc:
        _remove(part)
        if isinstance(exc, FileNotFoundError) and exc.filename != str(part):
            raise
        raise OutputError(
            f"{path}: cannot be written ({exc.strerror or exc}). "
            "Free some space or choose another --out."
        ) from exc
    except BaseException:
        _remove(part)
        raise


def make_folder(path: Path, *, option: str = "--out") -> None:
    """Make a folder and those above it, where they are not there.

    Args:
        path: the folder.
        option: what to choose otherwise, for the message.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(
            f"{path}: cannot be made ({exc.strerror or exc}). Choose another {option}."
        ) from exc


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Turn what the system says about writing in ``folder`` into one line.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        yield
    except OutputError:
        raise
    except OSError as exc:
        raise OutputError(
            f"{folder}: cannot be written ({exc.strerror or exc}). Choose another --out."
        ) from exc


def write_json(path: Path, value: Any, *, indent: int | None = 2) -> None:  # noqa: ANN401 - any JSON value
    """Write ``value`` as UTF-8 JSON, all or nothing; on one line where ``indent`` is None."""
    told = json.dumps(value, indent=indent, ensure_ascii=False)
    with replacing(path) as part:
        part.write_text(told + "\n", encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, all or nothing."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):  # what stands in the way is reported by whoever writes next
            path.unlink(missing_ok=True)
