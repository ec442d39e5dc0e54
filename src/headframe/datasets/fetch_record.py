"""What a fetch remembers: its request, a record a site, and the summary at the end."""

import csv
import io
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shapely.geometry.base import BaseGeometry

from headframe import __version__
from headframe.io.claimed import begin, held
from headframe.io.files import write_json, write_text

RECORD_NAME = "fetch.json"
TABLE_NAME = "sites.csv"
IMAGES = "images"
RECORDS = "records"
LOCK_NAME = ".fetch.lock"

_OWN = ("site", "lon", "lat", "images", "first", "last", "missing")

_log = logging.getLogger("headframe")


@dataclass
class SiteRecord:
    """What is known of one site's images; lies in ``records/<site>.json``.

    Attributes:
        site: its name as the user wrote it.
        longitude: of the middle of its bounds, degrees.
        latitude: likewise.
        facts: other fields of the user's table.
        images: by period, what is known of its image; ``file`` is relative to the folder.
        missing: by period without an image, why there is none.
    """

    site: str
    longitude: float
    latitude: float
    facts: dict[str, Any]
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @classmethod
    def begun(cls, site: str, area: BaseGeometry, facts: Mapping[str, Any]) -> "SiteRecord":
        """Begin the record of a site, ``area`` in EPSG:4326."""
        middle = area.envelope.centroid
        return cls(site, round(middle.x, 6), round(middle.y, 6), dict(facts))

    def keep(self, before: "SiteRecord", out: Path) -> None:
        """Take over the images of an earlier record whose files are there."""
        for period, entry in before.images.items():
            if (out / str(entry["file"])).is_file():
                self.images[period] = entry

    @property
    def days(self) -> list[str]:
        """Days of the images, ``2021-07-15``, in order."""
        return sorted(Path(str(entry["file"])).stem for entry in self.images.values())


@contextmanager
def working(out: Path, request: dict[str, Any]) -> Iterator[None]:
    """Take hold of a folder for one request, one process at a time.

    Raises:
        OutputError: it cannot be written, is in use, or holds something else.
    """
    with held(out, lock=LOCK_NAME, busy="another run is fetching into it. Wait for it to end."):
        begin(out / RECORD_NAME, request, key="request", foreign=(IMAGES,), kind="images")
        yield


def read_record(path: Path) -> SiteRecord | None:
    """Read a site's record; None where there is none, or a damaged one."""
    if not path.is_file():
        return None
    try:
        return SiteRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        _log.warning("%s: damaged; the site is looked for anew.", path)
        return None


def write_summary(out: Path, request: dict[str, Any], records: Mapping[str, SiteRecord]) -> None:
    """Write ``fetch.json`` and ``sites.csv``; ``records`` by folder of the site."""
    sites = {folder: asdict(record) for folder, record in records.items()}
    version = {"headframe": __version__}
    write_json(out / RECORD_NAME, {"request": request, "versions": version, "sites": sites})
    facts = dict.fromkeys(key for record in records.values() for key in record.facts)
    extra = [key for key in facts if key.lower() not in _OWN]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_OWN[:3], *extra, *_OWN[3:]])
    for record in records.values():
        days = record.days
        writer.writerow(
            [
                record.site,
                record.longitude,
                record.latitude,
                *(record.facts.get(key) for key in extra),
                len(days),
                *((days[0], days[-1]) if days else ("", "")),
                " ".join(record.missing),
            ]
        )
    write_text(out / TABLE_NAME, text.getvalue())
