"""Dates of chips, and which of them a held site is judged by."""

import csv
import re
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from headframe.core.errors import DatasetError
from headframe.datasets.chips import Chip, ChipDataset
from headframe.io.layers import gdal_reading
from headframe.io.vector import named

MAPPING_NAME = "filename_mapping.csv"

_DAY = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_]?(0[1-9]|1[0-2])[-_]?(0[1-9]|[12]\d|3[01])(?!\d)")
_YEAR = re.compile(r"(?<!\d)((?:19|20)\d\d)(?!\d)")
_TAGS = ("DATE", "TIFFTAG_DATETIME", "DATETIME", "ACQUISITION_DATE")


def chip_dates(dataset: ChipDataset) -> dict[Path, str | None]:
    """Tell when the images of a data set were taken.

    A date is looked for in the chip's own name, then in the name it had before it was labelled
    (``filename_mapping.csv``), then in the image's tags (``DATE``, as ``dataset fetch`` writes).

    Returns:
        By image: ``2021-07-15``, or ``2021`` where a name holds no more, or None.
    """
    old = _old_names(dataset.root)
    return {
        chip.image: date_in(chip.image.stem)
        or date_in(old.get(chip.image.relative_to(dataset.root).as_posix(), ""))
        or _tagged(chip.image)
        for chip in dataset.chips()
    }


def date_in(name: str) -> str | None:
    """Find a date in a file's name: ``2021-07-15``, ``20210715``, or a year alone."""
    found = _DAY.search(name)
    if found:
        return "-".join(found.groups())
    year = _YEAR.search(name)
    return year.group(1) if year else None


def spare_dates(
    chips: Sequence[Chip], dates: Mapping[Path, str | None], *, seed: int, source: object
) -> frozenset[Path]:
    """Choose one date of every site and give the images of all its others.

    The date is drawn evenly among the site's; the draw depends on the seed and the site's name
    only, so that it is the same whatever other sites there are.

    Args:
        chips: chips of held sites.
        dates: by image.
        seed: seed of the draw.
        source: the data set, for messages.

    Raises:
        DatasetError: a site of several chips has one without a date.
    """
    sites: dict[str, list[Chip]] = defaultdict(list)
    for chip in chips:
        sites[chip.site].append(chip)
    lacking = [
        site
        for site, own in sites.items()
        if len(own) > 1 and any(not dates[chip.image] for chip in own)
    ]
    if lacking:
        raise DatasetError(
            f"{source}: {len(lacking)} sites have chips without a date ({named(lacking)}). Name "
            "images by date (2021-07-15.tif) before labelling, or split without --dates."
        )
    spare: set[Path] = set()
    for site, own in sites.items():
        days = sorted({str(dates[chip.image]) for chip in own})
        rng = np.random.default_rng([seed, zlib.crc32(site.encode())])
        kept = days[int(rng.integers(len(days)))]
        spare |= {chip.image for chip in own if str(dates[chip.image]) != kept}
    return frozenset(spare)


def _old_names(root: Path) -> dict[str, str]:
    """New to old name, without folders and suffix, as labelling has noted them."""
    places = (root / MAPPING_NAME, root / "train" / MAPPING_NAME)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return {row[-1]: PurePosixPath(row[0]).stem for row in csv.reader(file) if row}


def _tagged(image: Path) -> str | None:
    try:
        with gdal_reading(str(image)), rasterio.open(image) as source:
            tags = source.tags()
    except (RasterioError, ValueError):
        return None
    found = (date_in(str(tags[name]).replace(":", "-")) for name in _TAGS if name in tags)
    return next((date for date in found if date), None)
