"""Measures taken while a run trains: a CSV beside its log that never gets ahead of its checkpoint.

They choose nothing and change nothing: a watched run takes the same steps as one that is not.
"""

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headframe.io.files import write_text

VALIDATION = "validation.csv"
MEASURES = ("f1", "pixel_f1", "iou", "mask_ap50")
"""What is noted of each method: F1 of objects at IoU 0.5, F1 and mIoU of pixels, pooled, AP50."""


@dataclass(frozen=True, eq=False)
class Watch:
    """How a run is watched.

    Attributes:
        every: steps between measurements, >= 1; the last step is always measured.
        measure: gives method -> measure -> value of the network as it is, and leaves the network,
            its modes and gradients as they were.
    """

    every: int
    measure: Callable[[], Mapping[str, Mapping[str, float]]]

    def due(self, step: int, steps: int) -> bool:
        """Whether to measure after ``step`` of ``steps``."""
        return step % self.every == 0 or step == steps


@dataclass(frozen=True)
class Measured:
    """One method after one step; values by the names of ``MEASURES``, NaN where there is none."""

    step: int
    method: str
    values: Mapping[str, float]


@dataclass
class ValidationLog:
    """``validation.csv`` of a run folder."""

    folder: Path
    rows: list[Measured] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """Where the CSV lies."""
        return self.folder / VALIDATION

    def rewind(self, step: int) -> None:
        """Read the CSV, if there is one, and forget what lies beyond ``step``."""
        self.rows = [row for row in read_validation(self.folder) if row.step <= step]

    def add(self, step: int, measured: Mapping[str, Mapping[str, float]]) -> None:
        """Note all methods after a step, and write the CSV, all or nothing."""
        self.rows += [Measured(step, method, values) for method, values in measured.items()]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("step", "method", *MEASURES))
        for row in self.rows:
            writer.writerow([row.step, row.method, *(f"{row.values[n]:.6f}" for n in MEASURES)])
        write_text(self.path, text.getvalue())


def read_validation(folder: Path) -> list[Measured]:
    """Read a run's ``validation.csv``; without one there is nothing."""
    path = folder / VALIDATION
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Measured(int(row["step"]), row["method"], {n: float(row[n]) for n in MEASURES})
            for row in csv.DictReader(file)
        ]
