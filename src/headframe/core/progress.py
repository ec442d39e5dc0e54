"""How long work tells how far it is, without knowing who listens."""

from typing import Protocol


class Progress(Protocol):
    """A listener for one job at a time."""

    def start(self, label: str, total: int) -> None:
        """Begin a job of ``total`` steps under ``label``."""

    def advance(self, n: int = 1) -> None:
        """Report ``n`` more steps done."""

    def finish(self) -> None:
        """End the job."""


class _Silent:
    """Listens and says nothing."""

    def start(self, label: str, total: int) -> None:
        """Ignore the start of a job."""

    def advance(self, n: int = 1) -> None:
        """Ignore a step."""

    def finish(self) -> None:
        """Ignore the end of a job."""


SILENT: Progress = _Silent()
