"""Drawing the splits of a data set anew, and moving its chips there so that a kill does no harm."""

import csv
import io
import json
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headframe.core.errors import DatasetError, OutputError, UnknownNameError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.check import identical_chips
from headframe.datasets.chips import Chip, ChipDataset, open_dataset
from headframe.datasets.dates import MAPPING_NAME, chip_dates, spare_dates
from headframe.datasets.labels import as_target, read_label
from headframe.datasets.layout import JOURNAL_NAME, SPLITS, rewrite_splits, sidecar
from headframe.datasets.manifest import Manifest, SplitRecord, write_manifest
from headframe.datasets.splits import check_fractions, group_sites, split_chips, split_sites
from headframe.io.files import write_json, write_text

DATES = ("all", "all-train-one-held")
BUILT_IN_FIELD = "target"
"""Stratum that every data set has: the share of target pixels of a site, in thirds."""


@dataclass(frozen=True)
class SplitOptions:
    """How to split.

    Attributes:
        fractions: shares of chips of train, val and test, together 1.
        seed: seed of the draw.
        stratify: field of ``sites`` in dataset.json, or ``target``.
        as_paper: let training and validation share sites, as the Landsat paper does.
        dates: ``all``: every chip of a site goes where the site goes. ``all-train-one-held``
            (papers/002): training sites with all their dates, validation and test sites with one
            each, drawn by ``dates.spare_dates``; the chips of their other dates lie beside it,
            listed as unused. Fractions then count sites, not chips.
    """

    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    seed: int = 0
    stratify: str | None = None
    as_paper: bool = False
    dates: str = DATES[0]


@dataclass(frozen=True)
class SplitReport:
    """What came of it.

    Attributes:
        chips: chips by split.
        sites: sites by split.
        moved: chips whose files were moved; 0 for a raw folder, whose splits are only noted.
        unused: chips of held sites that are in no split.
    """

    chips: dict[str, int]
    sites: dict[str, int]
    moved: int
    unused: int = 0


def resplit(root: Path, options: SplitOptions, *, progress: Progress = SILENT) -> SplitReport:
    """Split a data set by ground and move its chips; finish an interrupted move first.

    Which chip goes where depends on the chips and the options only, not on where they lie. The
    moves are written down before the first file is touched: after a kill, the next call carries
    them out to the end. A raw folder keeps its files; its dataset.json names the splits. A list of
    tiles gets new splits in its table; its band metadata stay those of the first split.

    Args:
        root: the data set.
        options: how.
        progress: told of every chip read.

    Raises:
        DatasetError: no data set, fractions that are none, or dates of tiles.
        UnknownNameError: no such field to stratify by.
        OutputError: a file cannot be moved or written.
    """
    check_options(options)
    finish_moves(root)
    dataset = open_dataset(root)
    place = _assign(dataset, options, progress)
    spare = _spare(dataset, place, options)
    stems = _new_stems(dataset, place)
    manifest = _manifest(dataset, place, stems, options)
    unused = tuple(f"{c.site}/{stems[c.image]}" for c in dataset.chips() if c.image in spare)
    manifest = manifest.model_copy(update={"unused": tuple(sorted(unused))})
    moves: dict[str, str] = {}
    if dataset.layout.names_splits:
        write_manifest(root, manifest)
    elif dataset.layout.kind == "tiles":
        _retable(dataset, place, spare)
        write_manifest(root, manifest)
    else:
        moves = _moves(dataset, place, stems)
        _start_moves(root, moves, manifest)
    moved = {c.key for c in dataset.chips() if str(c.image.relative_to(root)) in moves}
    chips = Counter(split for image, split in place.items() if image not in spare)
    sites: dict[str, set[str]] = defaultdict(set)
    for chip in dataset.chips():
        sites[place[chip.image]].add(chip.site)
    return SplitReport(
        chips={split: chips[split] for split in SPLITS},
        sites={split: len(sites[split]) for split in SPLITS},
        moved=len(moved),
        unused=len(spare),
    )


def check_options(options: SplitOptions) -> None:
    """Check that options make sense together.

    Raises:
        DatasetError: fractions that are none, or dates dealt while sites are shared.
        UnknownNameError: no such way with dates.
    """
    check_fractions(options.fractions)
    if options.dates not in DATES:
        raise UnknownNameError.of("--dates", options.dates, DATES)
    if options.dates != DATES[0] and options.as_paper:
        raise DatasetError("--as-paper shares sites, so --dates has no held sites. Drop one.")


def finish_moves(root: Path) -> bool:
    """Carry out the moves that an interrupted split wrote down; True if there were any.

    Raises:
        DatasetError: the journal is damaged, or a file is in neither of its two places.
        OutputError: a file cannot be moved.
    """
    journal = root / JOURNAL_NAME
    if not journal.is_file():
        return False
    try:
        content = json.loads(journal.read_text(encoding="utf-8"))
        moves: dict[str, str] = content["moves"]
        manifest = Manifest.model_validate(content["manifest"])
    except (ValueError, KeyError, TypeError) as exc:
        raise DatasetError(f"{journal}: damaged; restore the data set from a copy.") from exc
    for old, new in moves.items():
        _move(root, old, new)
    _rename_in_mapping(root, moves)
    write_manifest(root, manifest)
    journal.unlink()
    _drop_empty(root)
    return True


def _start_moves(root: Path, moves: Mapping[str, str], manifest: Manifest) -> None:
    content = {"moves": moves, "manifest": manifest.model_dump(mode="json", exclude_none=True)}
    write_json(root / JOURNAL_NAME, content)
    finish_moves(root)


def _assign(dataset: ChipDataset, options: SplitOptions, progress: Progress) -> dict[Path, str]:
    """Split of every chip, by its image."""
    chips = dataset.chips()
    same = identical_chips(chips, progress=progress)
    links = [(group[0].site, other.site) for group in same for other in group[1:]]
    outlines = dataset.outlines()
    groups = group_sites(outlines, same=links)
    strata = None if options.stratify is None else _strata(dataset, options.stratify)
    sizes = Counter(chip.site for chip in chips)
    split_of = split_sites(
        groups,
        chips=sizes if options.dates == DATES[0] else dict.fromkeys(sizes, 1),
        fractions=options.fractions,
        seed=options.seed,
        strata=strata,
    )
    place = {chip.image: split_of[chip.site] for chip in chips}
    if options.as_paper:
        shared = {c.image: f"{c.key} {i}" for i, c in enumerate(_fixed_order(chips))}
        free = {c.image: shared[c.image] for c in chips if place[c.image] != "test"}
        dealt = split_chips(list(free.values()), fractions=options.fractions[:2], seed=options.seed)
        place |= {image: dealt[key] for image, key in free.items()}
    return place


def _spare(
    dataset: ChipDataset, place: Mapping[Path, str], options: SplitOptions
) -> frozenset[Path]:
    """Images of held sites that are left out, since another date of their site is used."""
    if options.dates == DATES[0]:
        return frozenset()
    held = [chip for chip in dataset.chips() if place[chip.image] != "train"]
    return spare_dates(held, chip_dates(dataset), seed=options.seed, source=dataset.root)


def _fixed_order(chips: Sequence[Chip]) -> list[Chip]:
    """Chips in an order that does not depend on their splits, as long as keys are unique."""
    return sorted(chips, key=lambda c: (c.key, c.split or ""))


def _strata(dataset: ChipDataset, field: str) -> dict[str, str]:
    facts = dataset.manifest.sites
    if any(field in fact for fact in facts.values()):
        return {site: str(fact.get(field, "")) for site, fact in facts.items()}
    if field != BUILT_IN_FIELD:
        known = {BUILT_IN_FIELD, *(name for fact in facts.values() for name in fact)}
        raise UnknownNameError.of("field to stratify by", field, known)
    hits: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for chip in dataset.chips():
        stored = read_label(chip.label, dataset.manifest)
        label = as_target(stored, dataset.manifest, "binary")
        hits[chip.site] += int((label == 1).sum())
        sizes[chip.site] += label.size
    ranked = sorted(sizes, key=lambda site: (hits[site] / sizes[site], site))
    return {site: str(3 * rank // len(ranked)) for rank, site in enumerate(ranked)}


def _new_stems(dataset: ChipDataset, place: Mapping[Path, str]) -> dict[Path, str]:
    """Stem of every chip after the move: its own, unless another chip of that name comes too."""
    used: dict[str, set[str]] = defaultdict(set)
    for chip in dataset.chips():
        used[chip.site].add(chip.image.stem)
    taken: set[tuple[str, str, str]] = set()
    stems = {}
    for chip in _fixed_order(dataset.chips()):
        stem = chip.image.stem
        if (place[chip.image], chip.site, stem) in taken:
            numbers = (f"{n:05d}" for n in range(10**5))
            stem = next(name for name in numbers if name not in used[chip.site])
            used[chip.site].add(stem)
        taken.add((place[chip.image], chip.site, stem))
        stems[chip.image] = stem
    return stems


def _moves(
    dataset: ChipDataset, place: Mapping[Path, str], stems: Mapping[Path, str]
) -> dict[str, str]:
    """Old to new path of every file that moves, relative to the data set."""
    homes = {part.root: part for part in dataset.layout.parts}
    moves = {}
    for chip in dataset.chips():
        part = next(homes[folder] for folder in chip.image.parents if folder in homes)
        home = dataset.layout.home(place[chip.image])
        sides = [sidecar(part, kind, chip.image) for kind in ("rgb", "valid")]
        for path in [chip.image, chip.label, *(side for side in sides if side)]:
            inside = path.relative_to(part.root).with_name(stems[chip.image] + path.suffix)
            old, new = (p.relative_to(dataset.root) for p in (path, home / inside))
            if old != new:
                moves[old.as_posix()] = new.as_posix()
    return moves


def _retable(dataset: ChipDataset, place: Mapping[Path, str], spare: frozenset[Path]) -> None:
    """Write the splits of tiles into their table."""
    if spare:
        raise DatasetError(
            f"{dataset.root}: a list of tiles cannot leave dates out. Split it without --dates."
        )
    split_of = {image.relative_to(dataset.root): split for image, split in place.items()}
    rewrite_splits(dataset.root, split_of)


def _manifest(
    dataset: ChipDataset,
    place: Mapping[Path, str],
    stems: Mapping[Path, str],
    options: SplitOptions,
) -> Manifest:
    splits: dict[str, dict[str, None]] = {split: {} for split in SPLITS}
    by_chip = dataset.layout.names_splits and options.as_paper
    for chip in _fixed_order(dataset.chips()):
        name = f"{chip.site}/{stems[chip.image]}" if by_chip else chip.site
        splits[place[chip.image]][name] = None
    record = SplitRecord(
        fractions=options.fractions,
        seed=options.seed,
        stratify=options.stratify,
        as_paper=options.as_paper,
        dates=None if options.dates == DATES[0] else options.dates,
    )
    change = {
        "splits": {split: tuple(names) for split, names in splits.items()},
        "split": record,
        "statistics": None,
    }
    return dataset.manifest.model_copy(update=change)


def _move(root: Path, old: str, new: str) -> None:
    """Move one file unless it has been moved; never onto another, never out of ``root``."""
    source, goal = root / old, root / new
    if not all(path.resolve().is_relative_to(root.resolve()) for path in (source, goal)):
        raise DatasetError(f"{root / JOURNAL_NAME}: leads out of the data set. Remove it.")
    if not source.exists() and goal.exists():
        return
    if goal.exists() or not source.exists():
        problem = "exists already" if goal.exists() else f"has lost its source {source}"
        raise DatasetError(f"{goal}: {problem}. Restore the data set from a copy.")
    try:
        goal.parent.mkdir(parents=True, exist_ok=True)
        os.rename(source, goal)
    except OSError as exc:
        raise OutputError(f"{goal}: cannot be written ({exc.strerror}). Check the folder.") from exc


def _rename_in_mapping(root: Path, moves: Mapping[str, str]) -> None:
    """Carry moves of images over into ``filename_mapping.csv``; a second time changes nothing."""
    for path in (root / MAPPING_NAME, root / "train" / MAPPING_NAME):
        if not path.is_file():
            continue
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([*row[:-1], moves.get(row[-1], row[-1])] for row in rows)
        write_text(path, text.getvalue())


def _drop_empty(root: Path) -> None:
    """Remove folders of sites that the moves left empty."""
    for split in SPLITS:
        for home in (root / split, root / "train" / split):
            for folder in sorted(home.glob("*/*"), reverse=True):
                if folder.is_dir():
                    _remove_if_empty(folder)


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()
