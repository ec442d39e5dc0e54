"""Where the polygons behind a data set's labels come from: ``polygons.csv``."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from headframe.core.errors import DatasetError
from headframe.io.files import write_text

POLYGONS_NAME = "polygons.csv"
PROVENANCES = ("manual", "assisted", "automatic")
"""Drawn by a person; proposed by a model and changed by a person; proposed and accepted as is."""


@dataclass(frozen=True)
class PolygonRecord:
    """One polygon that labels were burned from.

    Attributes:
        id: as its file names it; may be empty.
        provenance: one of ``PROVENANCES``.
        site: as its file names it; may be empty.
        kind: its class, as its file names it; may be empty.
        area_ha: on the ellipsoid, hectares.
        longitude: of a point inside, degrees.
        latitude: likewise.
        score: what the model that proposed it gave it, 0-1; None without one.
        model: that model; empty without one.
        sam: network that drew its outline after the model; empty without one.
        source: name of the file it was read from.
    """

    id: str
    provenance: str
    site: str
    kind: str
    area_ha: float
    longitude: float
    latitude: float
    score: float | None
    model: str
    sam: str
    source: str


def write_provenance(root: Path, records: Sequence[PolygonRecord]) -> None:
    """Write ``root/polygons.csv``, a row a polygon, all or nothing.

    Raises:
        OutputError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(), lineterminator="\n")
    writer.writeheader()
    for record in records:
        values = asdict(record)
        values["score"] = "" if record.score is None else record.score
        writer.writerow(values)
    write_text(root / POLYGONS_NAME, text.getvalue())


def read_provenance(root: Path) -> tuple[PolygonRecord, ...] | None:
    """Read ``root/polygons.csv``; None where a data set has none.

    Raises:
        DatasetError: a column is missing, or a value is none of those allowed.
    """
    path = root / POLYGONS_NAME
    if not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.DictReader(file)
        missing = [name for name in _columns() if name not in (reader.fieldnames or ())]
        if missing:
            raise DatasetError(f"{path}: has no column {missing[0]}. Label again.")
        return tuple(_record(path, number, row) for number, row in enumerate(reader, start=2))


def count_provenance(records: Iterable[PolygonRecord]) -> dict[str, int]:
    """Count polygons by provenance, in the order of ``PROVENANCES``; kinds without any are 0."""
    counts = Counter(record.provenance for record in records)
    return {name: counts[name] for name in PROVENANCES}


def told(counts: dict[str, int]) -> str:
    """Say the counts in a few words."""
    return ", ".join(f"{n} {name}" for name, n in counts.items())


def _columns() -> list[str]:
    return [field.name for field in fields(PolygonRecord)]


def _record(path: Path, number: int, row: dict[str, str | None]) -> PolygonRecord:
    text = {name: (row[name] or "") for name in _columns()}
    if text["provenance"] not in PROVENANCES:
        raise DatasetError(
            f"{path}: row {number} has provenance {text['provenance']!r}; it must be one of "
            f"{', '.join(PROVENANCES)}."
        )
    try:
        return PolygonRecord(
            id=text["id"],
            provenance=text["provenance"],
            site=text["site"],
            kind=text["kind"],
            area_ha=float(text["area_ha"]),
            longitude=float(text["longitude"]),
            latitude=float(text["latitude"]),
            score=float(text["score"]) if text["score"] else None,
            model=text["model"],
            sam=text["sam"],
            source=text["source"],
        )
    except ValueError as exc:
        raise DatasetError(f"{path}: row {number}: {exc}. Label again.") from exc
