"""What the verbs print: results on stdout, progress on stderr."""

import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichBar
from rich.table import Table

PIPE_WIDTH = 10_000
"""Columns assumed where stdout is no terminal, so that nothing is wrapped or cut."""


class RichProgress:
    """One progress bar on stderr; silent where stderr is no terminal.

    Implements ``headframe.core.progress.Progress`` and is a context manager. Finished jobs stay
    on the screen; a job that fails leaves its bar where it stood.
    """

    def __init__(self, console: Console) -> None:
        self._bar = RichBar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "RichProgress":
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar down, whatever happened."""
        self._bar.stop()

    def start(self, label: str, total: int) -> None:
        """Begin a job of ``total`` steps under ``label``, ending the one before."""
        self.finish()
        self._task = self._bar.add_task(label, total=total)

    def advance(self, n: int = 1) -> None:
        """Report ``n`` more steps done; without a job, nothing happens."""
        if self._task is not None:
            self._bar.advance(self._task, n)

    def finish(self) -> None:
        """End the job; a second call does nothing."""
        if self._task is not None:
            self._bar.stop_task(self._task)
            self._task = None


def error_console() -> Console:
    """Console on the present stderr; lines are never wrapped, so one message is one line."""
    return Console(stderr=True, soft_wrap=True, highlight=False)


def progress() -> RichProgress:
    """Make the bar of one verb; use it in a ``with`` statement."""
    return RichProgress(Console(stderr=True, highlight=False))


def say(text: str) -> None:
    """Print one result for a person on stdout; leave it out where ``--json`` was asked for."""
    Console(soft_wrap=True, highlight=False).print(text, markup=False)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on stdout.

    Args:
        title: printed above the table.
        columns: headings.
        rows: cells; floats are written with four digits after the point, None as a dash.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    grid = Table(title=title, title_justify="left")
    for column in columns:
        grid.add_column(column)
    for row in rows:
        grid.add_row(*(_cell(value) for value in row))
    console.print(grid, markup=False)


def emit_json(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write ``value`` as indented JSON and nothing else on stdout.

    Dataclasses, paths, tuples and NumPy scalars become plain JSON; NaN and infinities, which
    JSON does not have, become null.
    """
    sys.stdout.write(json.dumps(_plain(value), indent=2, ensure_ascii=False) + "\n")


def _cell(value: object) -> str:
    if value is None:
        return "–"  # noqa: RUF001 - an en dash for "no value"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Turn ``value`` into what ``json.dumps`` takes without extensions."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if not isinstance(value, str | bytes) and hasattr(value, "tolist"):
        return _plain(value.tolist())  # NumPy scalars and arrays
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
