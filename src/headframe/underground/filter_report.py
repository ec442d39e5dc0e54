"""What was decided of frames, written down: tables, contact sheets, copies without faces."""

import csv
import io
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO

from headframe.io.files import make_folder, replacing, write_text
from headframe.io.images import read_image, write_image
from headframe.underground.contact_sheet import Cell, thumbnail, write_sheets
from headframe.underground.faces import hide_faces
from headframe.underground.frame_filter import Decision, FilterOptions

_MEASURES = (
    "height", "width", "mean_luma", "p95_luma", "levels", "sharpness", "lit_share", "dhash",
)  # fmt: skip
_COMPARED = ("faces", "hash_distance", "ssim", "like", "targets")


def write_decisions(
    decisions: Sequence[Decision], out: Path, *, options: FilterOptions, copy: bool = False
) -> list[Path]:
    """Write what was decided: tables, sheets, and the kept frames if asked for.

    ``filter.csv`` has every score and decision, ``review.csv`` the frames a person should look
    at, ``kept.txt`` one path a line; ``kept.png`` and ``rejected.png`` are contact sheets, faces
    hidden unless ``options.faces`` is off. ``kept/`` holds copies where ``copy`` is set or faces
    are blurred; there they are hidden.

    Returns:
        The files, ``kept/`` as one.
    """
    make_folder(out)
    write_text(out / "filter.csv", _table(decisions))
    write_text(out / "review.csv", _review_table(decisions))
    kept = [decision for decision in decisions if decision.kept]
    write_text(out / "kept.txt", "".join(f"{decision.file}\n" for decision in kept))
    written = [out / "filter.csv", out / "review.csv", out / "kept.txt"]
    for name, some in (("kept", kept), ("rejected", [d for d in decisions if not d.kept])):
        cells = (_cell(d, options) for d in some if d.scores is not None)
        written += write_sheets(cells, out / f"{name}.png", title=f"{name}: {len(some)} frames")
    if copy or options.faces == "blur":
        _copy(kept, out / "kept", blur=options.faces == "blur")
        written.append(out / "kept")
    return written


def _copy(kept: Sequence[Decision], folder: Path, *, blur: bool) -> None:
    make_folder(folder)
    for decision in kept:
        faces = decision.scores.found if blur and decision.scores is not None else ()
        target = folder / decision.file.name
        if target.exists() and target.resolve() != decision.file.resolve():
            target = folder / f"{decision.file.parent.name}-{decision.file.name}"
        if faces:
            write_image(target, hide_faces(read_image(decision.file), faces), quality=95)
        else:
            with replacing(target) as part:
                shutil.copyfile(decision.file, part)


def _cell(decision: Decision, options: FilterOptions) -> Cell:
    pixels = read_image(decision.file)
    scores = decision.scores
    if scores is not None and options.faces != "off":
        pixels = hide_faces(pixels, scores.found)
    note = ", ".join(decision.reasons)
    if scores is not None:
        facts = f"luma {scores.mean_luma:.0f}, sharp {scores.sharpness:.0f}"
        note = f"{note}; {facts}" if note else facts
    return Cell(thumbnail(pixels), decision.file.name, note)


class DecisionTable:
    """Writes ``filter.csv`` line by line: every score and decision."""

    def __init__(self, out: IO[str]) -> None:
        """Write the head.

        Args:
            out: a text file, opened with ``newline=""``.
        """
        self._writer = csv.writer(out, lineterminator="\n")
        self._writer.writerow(["file", "decision", "reasons", "review", *_MEASURES, *_COMPARED])

    def add(self, d: Decision) -> None:
        """Write one frame."""
        values = {} if d.scores is None else asdict(d.scores)
        row = [_cut(values.get(name)) for name in _MEASURES]
        faces = "" if d.scores is None else len(d.scores.faces)
        compared = [_cut(d.distance), _cut(d.ssim), d.like, _cut(d.targets)]
        state = "kept" if d.kept else "rejected"
        told = [str(d.file), state, "; ".join(d.reasons), "; ".join(d.review)]
        self._writer.writerow([*told, *row, faces, *compared])


def _table(decisions: Iterable[Decision]) -> str:
    text = io.StringIO()
    table = DecisionTable(text)
    for decision in decisions:
        table.add(decision)
    return text.getvalue()


def _review_table(decisions: Iterable[Decision]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "decision", "why"])
    for d in decisions:
        if d.review:
            writer.writerow([d.file, "kept" if d.kept else "rejected", "; ".join(d.review)])
    return text.getvalue()


def _cut(value: object) -> object:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else value
