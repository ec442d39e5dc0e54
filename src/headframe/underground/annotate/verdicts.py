"""What a person wrote into the review list, kept mask by mask through all further runs."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from headframe.core.errors import FormatError, OutputError
from headframe.datasets.instances import numbered
from headframe.io.files import write_json
from headframe.underground.annotate.candidates import Rle, read_note
from headframe.underground.annotate.gates import Kept

REVIEW, VERDICTS = "review.csv", "verdicts.json"
KEEP, DROP = "keep", "drop"
COLUMNS = (
    "file_name", "mask", "decision", "why", "category", "score", "predicted_iou", "stability",
    "x", "y", "width", "height", "verdict",
)  # fmt: skip
Row = Mapping[str, str]
Decided = Mapping[str, tuple[Kept, ...]]
"""File name of a photograph to what a person decided on it."""


class _Verdict(BaseModel):
    """One mask in ``verdicts.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    file_name: str
    category: str
    keep: bool
    mask: dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Read a review list as a person left it; empty without one.

    Semicolons between columns, as some spreadsheets save them, are understood.

    Raises:
        FormatError: columns are missing, or a verdict is neither ``keep`` nor ``drop``.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    if not lines:
        return []
    mark = ";" if lines[0].count(";") > lines[0].count(",") else ","
    rows: list[Row] = []
    for number, row in enumerate(csv.DictReader(lines, delimiter=mark), start=2):
        told = {key: (row.get(key) or "").strip() for key in ("file_name", "mask", "verdict")}
        if "verdict" not in row or "mask" not in row or "file_name" not in row:
            raise FormatError(
                f"{path}: has no column file_name, mask or verdict. Restore the first line, or "
                "delete the file."
            )
        verdict = told["verdict"].lower()
        if verdict not in ("", KEEP, DROP):
            raise FormatError(
                f"{path}: line {number}: verdict is {told['verdict']!r}. Write {KEEP} or {DROP}, "
                "or nothing."
            )
        if verdict and not told["mask"]:
            raise FormatError(
                f"{path}: line {number}: {told['file_name']} has no mask to {verdict}. Label it by "
                "hand and give it with --reviewed."
            )
        rows.append({**{k: row.get(k) or "" for k in COLUMNS}, **told, "verdict": verdict})
    return rows


def gather(out: Path, looks: Path, classes: tuple[str, ...]) -> Decided:
    """Take over what a person wrote since the last run.

    Each mask that was decided on is kept in ``verdicts.json``, so that it outlives networks that
    would draw it differently. A verdict that was taken back is forgotten.

    Args:
        out: folder of the output.
        looks: folder of folders of notes, where masks are found by their keys.
        classes: names of the networks' classes 1, 2, ….

    Raises:
        FormatError: the list, or ``verdicts.json``, cannot be used.
        OutputError: a mask that is listed is nowhere to be found, or the file cannot be written.
    """
    known = dict(_read(out / VERDICTS))
    numbers = numbered(classes)
    for row in read_rows(out / REVIEW):
        key, keep = row["mask"], row["verdict"] == KEEP
        if not row["verdict"]:
            known.pop(key, None)
        elif key in known:
            known[key] = known[key].model_copy(update={"keep": keep})
        else:
            category, mask = _find(looks, row)
            name = classes[category - 1]
            known[key] = _Verdict(
                file_name=row["file_name"], category=name, keep=keep, mask=dict(mask)
            )
    if known or (out / VERDICTS).is_file():
        write_json(out / VERDICTS, {key: v.model_dump() for key, v in known.items()})
    decided: dict[str, tuple[Kept, ...]] = {}
    for key, verdict in known.items():
        if verdict.category in numbers:
            kept = Kept(key, numbers[verdict.category], verdict.mask, verdict.keep)
            decided[verdict.file_name] = (*decided.get(verdict.file_name, ()), kept)
    return decided


def _read(path: Path) -> dict[str, _Verdict]:
    if not path.is_file():
        return {}
    try:
        return TypeAdapter(dict[str, _Verdict]).validate_json(path.read_bytes())
    except ValidationError as exc:
        raise FormatError(f"{path}: damaged ({exc.errors()[0]['msg']}). Restore it.") from exc


def _find(looks: Path, row: Row) -> tuple[int, Rle]:
    """Find a listed mask among all that was noted of its photograph."""
    for folder in _folders(looks):
        if (folder / f"{row['file_name']}.json").is_file():
            for candidate in read_note(folder, row["file_name"]).candidates:
                if candidate.key(row["file_name"]) == row["mask"]:
                    return candidate.category, dict(candidate.mask)
    raise OutputError(
        f"{REVIEW}: mask {row['mask']} of {row['file_name']} is not known here. Remove its line."
    )


def _folders(looks: Path) -> Iterator[Path]:
    if looks.is_dir():
        yield from sorted(path for path in looks.iterdir() if path.is_dir())
