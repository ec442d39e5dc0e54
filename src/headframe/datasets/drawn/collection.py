"""A whole data set of drawn mines: sites by dates, split by location, with facts of the sites."""

from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
import rasterio

from headframe import __version__
from headframe.core.bandsets import BAND_SETS
from headframe.core.components import component_class_map
from headframe.core.errors import DatasetError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.chips import Chip
from headframe.datasets.dates import spare_dates
from headframe.datasets.drawn.components import MIN_PX, SENSOR, draw_mine, nature_of
from headframe.datasets.drawn.files import write_mine
from headframe.datasets.layout import SPLITS
from headframe.datasets.manifest import MANIFEST_NAME, Manifest, SplitRecord, write_manifest
from headframe.datasets.splits import split_sites
from headframe.io.bitmask import BitMask, write_bits
from headframe.io.claimed import begin, held

REQUEST_NAME = "draw.json"
"""What was asked for; there from the first file on, so that a rerun can tell."""
YEARS = (2016, 2022)
"""First and last year of the paper's images."""
MAX_SITES = 1000
MAX_PX = 1200
"""Side of the square that every site has to itself, pixels."""

_LOCK_NAME = ".draw.lock"
_FRACTIONS = (0.70, 0.15, 0.15)


@dataclass(frozen=True)
class CollectionOptions:
    """How much is drawn.

    Attributes:
        sites: places, 3 to ``MAX_SITES``.
        dates: images a place, one a year, 1 to 7; years are spread evenly over ``YEARS``.
        size_px: side of an image, ``components.MIN_PX`` to ``MAX_PX``.
        seed: which places, >= 0.
        every: all ten components at every place.
    """

    sites: int = 24
    dates: int = 3
    size_px: int = 192
    seed: int = 0
    every: bool = False

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            DatasetError: a number out of range.
        """
        years = YEARS[1] - YEARS[0] + 1
        for name, value, low, high in (
            ("--sites", self.sites, 3, MAX_SITES),
            ("--dates", self.dates, 1, years),
            ("--size-px", self.size_px, MIN_PX, MAX_PX),
            ("--seed", self.seed, 0, 10**6),
        ):
            if not low <= value <= high:
                raise DatasetError(f"{name} {value}: must be {low} to {high}. Choose another.")

    @property
    def years(self) -> tuple[int, ...]:
        """Years of the images, ascending."""
        return tuple(int(y) for y in np.linspace(*YEARS, self.dates).round())


@dataclass(frozen=True)
class CollectionReport:
    """What a data set of drawn mines holds.

    Attributes:
        out: its folder.
        sites: sites by split.
        chips: chips by split, those that are used.
        unused: further dates of held sites.
        drawn: chips that this call drew; the others were there.
    """

    out: Path
    sites: dict[str, int]
    chips: dict[str, int]
    unused: int
    drawn: int


def draw_collection(
    out: Path, options: CollectionOptions, *, progress: Progress = SILENT
) -> CollectionReport:
    """Draw a data set that ``open_dataset`` reads: images of fifteen bands, masks of components.

    Sites are dealt 70:15:15 by location; all dates of a training site are used, and one date of
    each held site (methods 3.3). A killed run goes on where it stopped: ``dataset.json`` is
    written last, and every file at once or not at all. Equal options give equal pixels.

    Args:
        out: folder, new or left by a run with the same options.
        options: how much.
        progress: told of every image.

    Raises:
        OutputError: ``out`` holds something else, is in use, or cannot be written.
    """
    seeds = {f"mine_{seed:04d}": seed for seed in _seeds(options)}
    names = {site: nature_of(seed) for site, seed in seeds.items()}
    split_of = split_sites(
        {site: site for site in seeds},
        chips=dict.fromkeys(seeds, options.dates),
        fractions=_FRACTIONS,
        seed=options.seed,
        strata={site: material for site, (material, _) in names.items()},
    )
    chips = _chips(out, options, split_of)
    drawn = 0
    with held(out, lock=_LOCK_NAME, busy="another run is drawing into it. Wait for it to end."):
        begin(
            out / REQUEST_NAME,
            asdict(options),
            key="options",
            foreign=(*SPLITS, MANIFEST_NAME),
            kind="a data set",
        )
        progress.start("Drawing mines", len(chips))
        for chip, day in chips.items():
            if not (chip.image.is_file() and chip.label.is_file()):
                _draw(chip, seeds[chip.site], day, options)
                drawn += 1
            progress.advance()
        progress.finish()
        spare = _spare(chips, options)
        facts = {s: {"material": material, "type": kind} for s, (material, kind) in names.items()}
        write_manifest(out, _manifest(options, split_of, facts, spare))
    used = [chip for chip in chips if chip.image not in spare]
    return CollectionReport(
        out=out,
        sites={name: list(split_of.values()).count(name) for name in SPLITS},
        chips={name: sum(chip.split == name for chip in used) for name in SPLITS},
        unused=len(spare),
        drawn=drawn,
    )


def _seeds(options: CollectionOptions) -> range:
    """Seeds of the places: those of different ``options.seed`` share none."""
    return range(options.seed * MAX_SITES, options.seed * MAX_SITES + options.sites)


def _chips(out: Path, options: CollectionOptions, split_of: dict[str, str]) -> dict[Chip, date]:
    """Every chip, by site and date, and its day: one of the paper's months, April to September."""
    found = {}
    for site in sorted(split_of):
        split = split_of[site]
        for year in options.years:
            rng = np.random.default_rng([options.seed, year, int(site.rpartition("_")[2])])
            day = date.fromordinal(date(year, 4, 1).toordinal() + int(rng.integers(183)))
            name = f"{site}/{day:%Y%m%d}.tif"
            image, label = (out / split / kind / name for kind in ("images", "labels"))
            found[Chip(site, split, image, label, None)] = day
    return found


def _draw(chip: Chip, seed: int, day: date, options: CollectionOptions) -> None:
    size = (options.size_px, options.size_px)
    scene = draw_mine(seed, size=size, date=day, every=options.every)
    write_mine(scene, chip.image)
    write_bits(chip.label, BitMask(scene.bits, scene.geobox))


def _spare(chips: dict[Chip, date], options: CollectionOptions) -> frozenset[Path]:
    held = [chip for chip in chips if chip.split != "train"]
    days = {chip.image: day.isoformat() for chip, day in chips.items()}
    return spare_dates(held, days, seed=options.seed, source=REQUEST_NAME)


def _manifest(
    options: CollectionOptions,
    split_of: dict[str, str],
    facts: dict[str, dict[str, str]],
    spare: frozenset[Path],
) -> Manifest:
    return Manifest.model_validate(
        {
            "sensor": SENSOR,
            "bands": BAND_SETS["m+s"].bands,
            "gsd_m": 10.0,
            "classes": component_class_map(),
            "labels": "bits",
            "preset": "components",
            "splits": {
                name: tuple(site for site in sorted(split_of) if split_of[site] == name)
                for name in SPLITS
            },
            "split": SplitRecord(
                fractions=_FRACTIONS,
                seed=options.seed,
                stratify="material",
                dates="all-train-one-held",
            ),
            "unused": tuple(sorted(f"{path.parent.name}/{path.stem}" for path in spare)),
            "sites": facts,
            "sources": {"drawn": True, "options": asdict(options)},
            "versions": {"headframe": __version__, "gdal": rasterio.__gdal_version__},
        }
    )
