"""What each part of a long job takes: seconds on the wall, seconds of processors, frames."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class Taken:
    """What one part took.

    Attributes:
        seconds: on the wall.
        cpu_seconds: of processors, all threads of the process.
        frames: how many went through it.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    frames: int = 0

    def to_json(self) -> dict[str, Any]:
        """Give plain values, with frames a second of the part alone; None where it took none."""
        rate = round(self.frames / self.seconds, 3) if self.seconds else None
        cpu = round(self.frames / self.cpu_seconds, 3) if self.cpu_seconds else None
        return {
            "frames": self.frames,
            "seconds": round(self.seconds, 4),
            "cpu_seconds": round(self.cpu_seconds, 4),
            "frames_per_second": rate,
            "frames_per_cpu_second": cpu,
        }


class Meter:
    """Adds up what parts take; what none of them takes of a frame is the rest.

    Attributes:
        parts: what each took.
    """

    def __init__(self, parts: tuple[str, ...], *, rest: str) -> None:
        """Start at nothing.

        Args:
            parts: all names, ``rest`` among them.
            rest: the part that is given what the others leave.
        """
        self.parts = {name: Taken() for name in parts}
        self._rest = rest

    @contextmanager
    def of(self, part: str, *, frames: int = 1) -> Iterator[None]:
        """Count what the block takes, also where it raises."""
        began = _now()
        try:
            yield
        finally:
            self._add(part, _since(began), frames)

    def add(self, seconds: Mapping[str, float], cpu_seconds: Mapping[str, float]) -> None:
        """Add one frame of parts that were measured elsewhere; those of no time did not run."""
        for part, taken in seconds.items():
            if taken > 0:
                self._add(part, (taken, cpu_seconds.get(part, 0.0)), part != self._rest)

    @contextmanager
    def frame(self) -> Iterator[None]:
        """Count a frame: what no part takes within the block goes to the rest."""
        began, before = _now(), self._sums()
        try:
            yield
        finally:
            whole, after = _since(began), self._sums()
            left = [max(w - (a - b), 0.0) for w, a, b in zip(whole, after, before, strict=True)]
            self._add(self._rest, (left[0], left[1]), 1)

    def _add(self, part: str, taken: tuple[float, float], frames: int) -> None:
        told = self.parts[part]
        told.seconds += taken[0]
        told.cpu_seconds += taken[1]
        told.frames += frames

    def _sums(self) -> tuple[float, float]:
        told = self.parts.values()
        return sum(t.seconds for t in told), sum(t.cpu_seconds for t in told)


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(began: tuple[float, float]) -> tuple[float, float]:
    now = _now()
    return now[0] - began[0], now[1] - began[1]
