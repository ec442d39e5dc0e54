"""The numbers of a run, step by step, as a CSV that never gets ahead of its checkpoint."""

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

from headframe.io.files import write_text

COLUMNS = ("step", "loss", "lr", "batch", "validation_iou")


@dataclass(frozen=True)
class Entry:
    """One step.

    Attributes:
        step: counted from 1.
        loss: training loss of its batch.
        lr: learning rate of the last parameter group.
        batch: CRC-32 of the batch's pixels and labels, hexadecimal.
        validation_iou: pooled IoU of the target class, where it was measured.
    """

    step: int
    loss: float
    lr: float
    batch: str
    validation_iou: float | None = None


@dataclass
class RunLog:
    """``metrics.csv`` of a run folder, held in memory between checkpoints."""

    folder: Path
    entries: list[Entry] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """Where the CSV lies."""
        return self.folder / "metrics.csv"

    def add(self, *, step: int, loss: float, lr: float, batch: str) -> None:
        """Note one step."""
        self.entries.append(Entry(step, loss, lr, batch))

    def annotate(self, step: int, validation_iou: float) -> None:
        """Add a validation to the last entry, which must be that of ``step``."""
        last = self.entries.pop()
        self.entries.append(Entry(step, last.loss, last.lr, last.batch, validation_iou))

    def last_loss(self) -> float | None:
        """Loss of the last step."""
        return self.entries[-1].loss if self.entries else None

    def flush(self) -> None:
        """Write the CSV, all or nothing."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for e in self.entries:
            iou = "" if e.validation_iou is None else f"{e.validation_iou:.6f}"
            writer.writerow([e.step, f"{e.loss:.8g}", f"{e.lr:.8g}", e.batch, iou])
        write_text(self.path, text.getvalue())

    def rewind(self, step: int) -> None:
        """Read the CSV and forget what lies beyond ``step``."""
        self.entries.clear()
        with self.path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if int(row["step"]) <= step:
                    iou = float(row["validation_iou"]) if row["validation_iou"] else None
                    self.entries.append(
                        Entry(
                            int(row["step"]),
                            float(row["loss"]),
                            float(row["lr"]),
                            row["batch"],
                            iou,
                        )
                    )
