"""What a run took, part by part, in ``report.json``, ``report.md`` and ``parts.png``."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import psutil
import torch
from matplotlib.figure import Figure

from headframe.io.files import replacing, write_json, write_text
from headframe.underground.chain import FUSE, GLUE, NETWORKS, Chain
from headframe.underground.meter import Meter
from headframe.underground.run.pass_through import Counts

mpl.use("Agg")
REELS, REPORT, REPORT_TEXT, PICTURE = "reels.json", "report.json", "report.md", "parts.png"
LIMIT = 0.1
"""Fusion and glue take no more than this share of the networks' time (issue 5)."""
_CLOCKS = ("seconds", "cpu_seconds")


class Done:
    """Reels that are done, kept in ``reels.json``.

    Attributes:
        reels: name to what became of its frames.
    """

    def __init__(self, out: Path) -> None:
        """Read what a run before left; a damaged file counts as none."""
        self._path = out / REELS
        self.reels: dict[str, dict[str, Any]] = {}
        if self._path.is_file():
            try:
                told = json.loads(self._path.read_text(encoding="utf-8"))
                self.reels = {name: dict(counts) for name, counts in told.items()}
            except (ValueError, TypeError, AttributeError):
                self.reels = {}

    def add(self, name: str, counts: Counts, troubles: Sequence[tuple[Path, str]]) -> None:
        """Note a reel."""
        failed = [[str(path), why] for path, why in troubles]
        self.reels[name] = counts.to_json() | {"failed": failed}
        write_json(self._path, self.reels)

    def troubles(self, name: str) -> list[tuple[Path, str]] | None:
        """Give what could not be read of a reel that is done; None of one that is not."""
        if name not in self.reels:
            return None
        return [(Path(path), why) for path, why in self.reels[name]["failed"]]


class Machine:
    """The machine, and how busy it is."""

    def __init__(self) -> None:
        """Note the load at the beginning."""
        self._load = os.getloadavg()[0]

    def to_json(self) -> dict[str, Any]:
        """Give plain values, the load at the end with them."""
        return {
            "system": platform.system(),
            "processors": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "load_before": round(self._load, 2),
            "load_after": round(os.getloadavg()[0], 2),
            "memory_mb": round(psutil.Process().memory_info().rss / 1e6),
        }


def write_report(
    out: Path, *, meter: Meter, machine: Machine, done: Done, chain: Chain
) -> dict[str, Any]:
    """Write what every part took of the frames that this call looked at.

    A call that had nothing left to look at keeps the figures of the call before.

    Returns:
        What ``report.json`` holds.
    """
    parts = {name: taken.to_json() for name, taken in meter.parts.items()}
    report = {
        "model": chain.name,
        "frames": _totals(done),
        "measured_frames": meter.parts[NETWORKS[1]].frames,
        "parts": parts,
        "overhead": {clock: overhead(parts, clock) for clock in _CLOCKS},
        "overhead_limit": LIMIT,
        "machine": machine.to_json(),
        "reels": done.reels,
    }
    before = _before(out)
    if not report["measured_frames"] and before is not None:
        kept = ("measured_frames", "parts", "overhead", "machine")
        report |= {name: before[name] for name in kept if name in before}
    write_json(out / REPORT, report)
    write_text(out / REPORT_TEXT, _text(report))
    _draw(report, out / PICTURE)
    return report


def overhead(parts: Mapping[str, Mapping[str, Any]], clock: str = "seconds") -> float | None:
    """Give the share of fusion and glue in the time of the networks; None where these had none."""
    networks = sum(parts[name][clock] for name in NETWORKS)
    rest = parts[FUSE][clock] + parts[GLUE][clock]
    return round(rest / networks, 4) if networks else None


def _totals(done: Done) -> dict[str, Any]:
    told: dict[str, Any] = {"frames": 0, "looked_at": 0, "left_out": {}}
    for counts in done.reels.values():
        told["frames"] += counts["frames"]
        told["looked_at"] += counts["looked_at"]
        for why, number in counts["left_out"].items():
            told["left_out"][why] = told["left_out"].get(why, 0) + number
    return told


def _before(out: Path) -> dict[str, Any] | None:
    try:
        told: dict[str, Any] = json.loads((out / REPORT).read_text(encoding="utf-8"))
        told["parts"]["decode"]["seconds"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return told


def _text(report: Mapping[str, Any]) -> str:
    frames, machine = report["frames"], report["machine"]
    left = ", ".join(f"{number} {why}" for why, number in frames["left_out"].items())
    lines = [
        f"# {report['model']}",
        "",
        f"{frames['frames']} frames, {frames['looked_at']} looked at"
        + (f"; left out: {left}." if left else "."),
        "",
        "| part | frames | seconds | frames a second | processor seconds | frames a processor second |",  # noqa: E501 - a line of a table
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, taken in report["parts"].items():
        cells = [taken[key] for key in ("frames", "seconds", "frames_per_second", "cpu_seconds")]
        cells.append(taken["frames_per_cpu_second"])
        told = ("" if cell is None else f"{cell:.3g}" for cell in cells[1:])
        lines.append(f"| {name} | {cells[0]} | " + " | ".join(told) + " |")
    shares = [report["overhead"][clock] for clock in _CLOCKS]
    if shares[0] is not None:
        told_shares = " ".join(f"{share:.1%}" for share in shares[:1])
        lines += [
            "",
            f"Fusion and glue take {told_shares} of the networks' time (wanted: at most "
            f"{report['overhead_limit']:.0%}).",
        ]
    lines += [
        "",
        f"{machine['processors']} processors, {machine['threads']} threads, load "
        f"{machine['load_before']} to {machine['load_after']}, {machine['memory_mb']} MB at the "
        f"end. Measured on {report['measured_frames']} frames.",
        "",
    ]
    return "\n".join(lines)


def _draw(report: Mapping[str, Any], path: Path) -> None:
    """Draw milliseconds a frame of every part, of those frames that went through it."""
    names = [name for name, taken in report["parts"].items() if taken["frames"]]
    taken = [report["parts"][name] for name in names]
    wall, cpu = ([1e3 * t[clock] / t["frames"] for t in taken] for clock in _CLOCKS)
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    rows = range(len(names))
    axes.barh([row - 0.2 for row in rows], wall, 0.4, label="on the wall", color="C0")
    axes.barh([row + 0.2 for row in rows], cpu, 0.4, label="of processors", color="C1")
    axes.set_yticks(list(rows), names)
    axes.invert_yaxis()
    axes.set(xlabel="milliseconds a frame", title=report["model"])
    axes.grid(axis="x", alpha=0.3)
    axes.legend()
    with replacing(path) as part:
        figure.savefig(part, dpi=120)
