"""Rows of a table that are finished, kept beside the output for a call that is made again."""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from headframe.core.errors import OutputError
from headframe.io.files import write_text


@dataclass(frozen=True)
class Row:
    """What became of one polygon.

    Attributes:
        shape: its new outline in the file's CRS; None where it stays.
        status: ``refined``, or ``unchanged: `` and why.
        score: IoU that the network predicts, 0-1; NaN without an answer.
        scene: name of the scene; empty without one.
    """

    shape: BaseGeometry | None
    status: str
    score: float
    scene: str


class RowJournal:
    """One JSON line a finished row, in a hidden file beside the output.

    A call with another mark begins it anew; a line that a kill has cut short counts as not there.
    """

    def __init__(self, out: Path, mark: str) -> None:
        """Keep rows beside ``out``, of a call that ``mark`` stands for."""
        self._path = out.with_name(f".{out.name}.rows")
        self._mark = mark

    def known(self) -> dict[int, Row]:
        """Give the rows of an earlier call with the same mark, and make ready for more.

        Raises:
            OutputError: the file cannot be written.
        """
        rows = self._read()
        lines = [json.dumps({"mark": self._mark}), *(_line(n, row) for n, row in rows.items())]
        write_text(self._path, "\n".join(lines) + "\n")
        return rows

    def add(self, number: int, row: Row) -> None:
        """Keep one row.

        Raises:
            OutputError: the file cannot be written.
        """
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_line(number, row) + "\n")
        except OSError as exc:
            raise OutputError(
                f"{self._path}: cannot be written ({exc.strerror or exc}). Choose another --out."
            ) from exc

    def close(self) -> None:
        """Remove the file: the output is whole."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> dict[int, Row]:
        rows: dict[int, Row] = {}
        with suppress(OSError, ValueError, KeyError, TypeError, shapely.errors.GEOSException):
            lines = self._path.read_text(encoding="utf-8").splitlines()
            if not lines or json.loads(lines[0]) != {"mark": self._mark}:
                return {}
            for line in lines[1:]:
                value = json.loads(line)
                rows[int(value["row"])] = _row_of(value)
        return rows


def _line(number: int, row: Row) -> str:
    shape = None if row.shape is None else shapely.to_wkb(row.shape, hex=True)
    score = row.score if math.isfinite(row.score) else None
    return json.dumps(
        {"row": number, "status": row.status, "score": score, "scene": row.scene, "shape": shape}
    )


def _row_of(value: Mapping[str, Any]) -> Row:
    shape = None if value["shape"] is None else shapely.from_wkb(value["shape"])
    score = float("nan") if value["score"] is None else float(value["score"])
    return Row(shape, str(value["status"]), score, str(value["scene"]))
