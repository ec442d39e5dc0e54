"""The rules a data set must keep, and what breaks them."""

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import shapely

from headframe.core.classmap import IGNORE_INDEX, label_class_map
from headframe.core.errors import DatasetError, FormatError, MissingFileError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.chips import DEFAULT_SENSOR, Chip
from headframe.datasets.component_check import ComponentTally
from headframe.datasets.images import image_stored
from headframe.datasets.inventory import Inventory, compare, get_inventory, recognise
from headframe.datasets.labels import read_label
from headframe.datasets.layout import (
    JOURNAL_NAME,
    Files,
    Layout,
    base_site,
    find_files,
    find_layout,
    sidecar,
)
from headframe.datasets.lookalikes import same_ground
from headframe.datasets.manifest import MANIFEST_NAME, Manifest, read_manifest
from headframe.datasets.pixels import ChipHeader
from headframe.datasets.provenance import (
    POLYGONS_NAME,
    count_provenance,
    read_provenance,
    told,
)
from headframe.datasets.sen1floods11 import BANDS as FLOOD_BANDS
from headframe.datasets.sen1floods11 import flood_manifest
from headframe.datasets.splits import overlapping

MAPPING_NAME = "filename_mapping.csv"
Level = Literal["error", "warning"]
_MOST_LOOKED_AT = 2000
"""More chips without coordinates are not compared by their looks: ten minutes and more."""


@dataclass(frozen=True)
class Finding:
    """One broken rule.

    Attributes:
        rule: pairs, bands, size, labels, slopes, overlaps, pixels, name, footprint, looks,
            identical, mapping, manifest, inventory, provenance.
        level: ``error`` fails the check; ``warning`` is worth knowing.
        where: file or site.
        message: what is wrong.
    """

    rule: str
    level: Level
    where: str
    message: str


@dataclass(frozen=True)
class CheckReport:
    """What the check found.

    Attributes:
        chips: images looked at.
        sites: folders of sites.
        findings: in the order of the rules; empty where all is well.
        inventory: published data set that it was compared with, a name in
            ``inventory.INVENTORIES``; None where it is none of them.
        polygons: polygons behind the labels by where they come from; None where nobody noted it.
    """

    chips: int
    sites: int
    findings: tuple[Finding, ...]
    inventory: str | None = None
    polygons: dict[str, int] | None = None

    @property
    def passed(self) -> bool:
        """Whether no finding is an error."""
        return all(finding.level != "error" for finding in self.findings)


@dataclass
class _Seen:
    """What one pass over the files has gathered."""

    bands: dict[str, int] = field(default_factory=dict)
    outlines: list[tuple[Files, shapely.Geometry]] = field(default_factory=list)
    placeless: list[tuple[Files, Path]] = field(default_factory=list)
    digests: dict[str, list[Files]] = field(default_factory=lambda: defaultdict(list))
    components: ComponentTally = field(default_factory=ComponentTally)


def check_dataset(
    root: Path, *, expect: str | None = None, progress: Progress = SILENT
) -> CheckReport:
    """Check every rule: pairs, bands, sizes, label values, components, splits, mapping, leakage.

    Chips leak when one base site, one piece of ground or one array of pixels is in two splits;
    the same pixels under two sites' names are an error wherever they lie. What looks like a
    published data set is compared with that one's table too; where it differs, that is a warning.

    Args:
        root: the data set, either layout.
        expect: name of a published data set that this must be: every difference is an error,
            and training and validation may not share sites.
        progress: told of every chip.

    Raises:
        MissingFileError: no such folder.
        DatasetError: no data set, or a dataset.json that cannot be read.
        UnknownNameError: no published data set is called ``expect``.
    """
    expected = None if expect is None else get_inventory(expect)
    layout = find_layout(root)
    manifest = read_manifest(root) if (root / MANIFEST_NAME).is_file() else None
    if manifest is None and layout.kind == "floods":
        manifest = flood_manifest(root, layout.parts[0].root)
    files = [files for part in layout.parts for files in find_files(part)]
    seen = _Seen()
    findings = list(_journal(root))
    progress.start("Checking chips", len(files))
    for one in files:
        findings += _check_pair(one, root)
        if one.image is not None:
            findings += _check_image(one, one.image, _rules(manifest, one), root, seen)
        progress.advance()
    progress.finish()
    splits = _split_lookup(layout, manifest)
    shared = manifest is not None and manifest.split is not None and manifest.split.as_paper
    shared = shared and expected is None
    inventory = expected or recognise(files)
    findings += _check_bands(seen, manifest)
    findings += [Finding(rule, "warning", *found) for rule, *found in seen.components.broken()]
    findings += _leaks_by_name(files, splits, as_paper=shared)
    findings += _leaks_by_ground(seen, splits, as_paper=shared)
    findings += _leaks_by_looks(seen, splits, root, progress)
    findings += _leaks_by_pixels(seen, splits, root)
    findings += _check_mapping(root, layout, files)
    findings += _check_manifest(layout, manifest, files)
    findings += _check_inventory(root, inventory, files, seen, strict=expected is not None)
    polygons, broken = _check_provenance(root, manifest)
    findings += broken
    images = [one for one in files if one.image is not None]
    return CheckReport(
        chips=len(images),
        sites=len({one.site for one in images}),
        findings=tuple(dict.fromkeys(findings)),
        inventory=None if inventory is None else inventory.name,
        polygons=polygons,
    )


def identical_chips(
    chips: Sequence[Chip], *, progress: Progress = SILENT
) -> list[tuple[Chip, ...]]:
    """Find chips with equal pixels; unreadable ones and those of one value are left out."""
    found: dict[str, list[Chip]] = defaultdict(list)
    progress.start("Comparing chips", len(chips))
    for chip in chips:
        try:
            _, raw, valid = image_stored(chip.image)
        except (FormatError, MissingFileError):
            continue
        digest = _digest(raw, valid)
        if digest is not None:
            found[digest].append(chip)
        progress.advance()
    progress.finish()
    return [tuple(group) for group in found.values() if len(group) > 1]


def _rules(manifest: Manifest | None, files: Files) -> Manifest:
    """The manifest, or one that fits a folder without: only its classes are used."""
    if manifest is not None:
        return manifest
    masks = files.label is not None and files.label.suffix.lower() != ".png"
    return Manifest(
        sensor=DEFAULT_SENSOR,
        bands=("unknown",),
        gsd_m=1,
        classes=label_class_map(),
        labels="mask" if masks else "index",
    )


def _digest(raw: np.typing.NDArray[np.generic], valid: np.typing.NDArray[np.bool_]) -> str | None:
    if not valid.any() or bool((raw == raw[:, :1, :1]).all()):
        return None
    shape = str(raw.shape).encode()
    return hashlib.sha256(shape + np.ascontiguousarray(raw, np.float32).tobytes()).hexdigest()


def _journal(root: Path) -> Iterator[Finding]:
    if (root / JOURNAL_NAME).exists():
        text = "moving chips was interrupted; run `headframe dataset split` again"
        yield Finding("manifest", "error", JOURNAL_NAME, text)


def _check_pair(files: Files, root: Path) -> Iterator[Finding]:
    if files.image is None or files.label is None:
        lone, lacks = (files.image, "label") if files.image else (files.label, "image")
        yield Finding("pairs", "error", _short(lone, root), f"has no {lacks}")
    elif (files.part.root / "rgb").is_dir() and sidecar(files.part, "rgb", files.image) is None:
        yield Finding("pairs", "error", _short(files.image, root), "has no rgb picture")


def _check_image(
    files: Files, image: Path, manifest: Manifest, root: Path, seen: _Seen
) -> Iterator[Finding]:
    where = _short(image, root)
    try:
        header, raw, valid = image_stored(image)
    except (FormatError, MissingFileError) as exc:
        yield Finding("pixels", "error", where, str(exc))
        return
    seen.bands[where] = header.shape[0]
    if header.outline is not None:
        seen.outlines.append((files, header.outline))
    elif valid.any():
        seen.placeless.append((files, image))
    if not valid.any():
        yield Finding("pixels", "warning", where, "every pixel is nodata; readers skip it")
    digest = _digest(raw, valid)
    if digest is not None:
        seen.digests[digest].append(files)
    if files.label is not None:
        yield from _check_label(files.label, header, manifest, root, seen)


def _check_label(
    path: Path, header: ChipHeader, manifest: Manifest, root: Path, seen: _Seen
) -> Iterator[Finding]:
    where = _short(path, root)
    try:
        label = read_label(path, manifest)
    except (FormatError, MissingFileError) as exc:
        yield Finding("labels", "error", where, str(exc))
        return
    if label.shape != header.shape[1:]:
        text = f"label is {label.shape[0]} x {label.shape[1]}, image {header.shape[1:]}"
        yield Finding("size", "error", _short(header.path, root), text)
    if manifest.labels == "bits":
        seen.components.add(label.astype(np.uint16, copy=False), where)
    elif bool((label == IGNORE_INDEX).all()):
        text = "every pixel is ignored; the chip counts nowhere"
        yield Finding("labels", "warning", where, text)
    if manifest.labels == "index" and bool((label == IGNORE_INDEX).any()):
        text = "holds 255; nodata belongs into a sidecar under valid/"
        yield Finding("labels", "error", where, text)


def _check_bands(seen: _Seen, manifest: Manifest | None) -> Iterator[Finding]:
    if not seen.bands:
        return
    usual = Counter(seen.bands.values()).most_common(1)[0][0]
    wanted = usual if manifest is None else len(manifest.bands)
    for where, count in seen.bands.items():
        own = len(FLOOD_BANDS.get(Path(where).parent.name, ())) or wanted
        if count != own:
            yield Finding("bands", "error", where, f"has {count} bands, not {own}")


def _split_lookup(layout: Layout, manifest: Manifest | None) -> "_Splits":
    named = manifest.splits if manifest is not None and layout.names_splits else {}
    return _Splits({name: split for split, names in named.items() for name in names})


@dataclass(frozen=True)
class _Splits:
    """Split of a chip: its folder's, or for a raw folder what dataset.json says."""

    named: dict[str, str]

    def of(self, files: Files) -> str | None:
        key = f"{files.site}/{files.stem}"
        return files.part.split or self.named.get(key, self.named.get(files.site))


def _level(splits: Iterable[str], *, as_paper: bool) -> Level:
    return "warning" if as_paper and set(splits) <= {"train", "val"} else "error"


def _leaks_by_name(files: Sequence[Files], splits: _Splits, *, as_paper: bool) -> Iterator[Finding]:
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for one in files:
        split = splits.of(one)
        if split is not None:
            found[base_site(one.site)][split] = None
    for site, where in sorted(found.items()):
        if len(where) > 1:
            text = f"site is in {' and '.join(where)}"
            if as_paper:
                text += "; split --as-paper shares sites"
            yield Finding("name", _level(where, as_paper=as_paper), site, text)


def _leaks_by_ground(seen: _Seen, splits: _Splits, *, as_paper: bool) -> Iterator[Finding]:
    """One finding for every two sites that share ground, of different names."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for a, b in overlapping([outline for _, outline in seen.outlines]).tolist():
        one, other = seen.outlines[a][0], seen.outlines[b][0]
        if base_site(one.site) != base_site(other.site):
            ends = sorted([(one.site, splits.of(one) or ""), (other.site, splits.of(other) or "")])
            counts[(*ends[0], *ends[1])] += 1
    for (site, split, other_site, other_split), n in sorted(counts.items()):
        leak = split != other_split
        level = _level((split, other_split), as_paper=as_paper) if leak else "warning"
        text = f"overlaps {other_site} ({other_split or 'no split'}) in {n} pairs of chips"
        if not leak:
            text += "; splits and folds keep them together"
        yield Finding("footprint", level, f"{site} ({split or 'no split'})", text)


def _leaks_by_looks(
    seen: _Seen, splits: _Splits, root: Path, progress: Progress
) -> Iterator[Finding]:
    """One finding for all chips without coordinates that show ground of another one's."""
    chips = seen.placeless
    if not 1 < len(chips) <= _MOST_LOOKED_AT:
        return
    pairs = same_ground((_values(image) for _, image in chips), count=len(chips), progress=progress)
    apart = [(a, b) for a, b in pairs if base_site(chips[a][0].site) != base_site(chips[b][0].site)]
    if not apart:
        return
    parted = [(a, b) for a, b in apart if splits.of(chips[a][0]) != splits.of(chips[b][0])]
    one, other = (_short(chips[place][1], root) for place in (parted or apart)[0])
    text = f"{len({i for pair in apart for i in pair})} of {len(chips)} chips without coordinates "
    text += f"look like the ground of another one, as this one like {other}"
    text += f", {len(parted)} pairs of them in two splits" if parted else ""
    yield Finding("looks", "warning", one, f"{text}; for folds set data.same_ground: looks")


def _values(image: Path) -> np.typing.NDArray[np.float32]:
    _, raw, valid = image_stored(image)
    return np.where(valid, raw, np.nan).astype(np.float32)


def _leaks_by_pixels(seen: _Seen, splits: _Splits, root: Path) -> Iterator[Finding]:
    for group in seen.digests.values():
        first = group[0]
        for other in group[1:]:
            elsewhere = splits.of(first) != splits.of(other)
            alien = base_site(first.site) != base_site(other.site)
            text = f"has the same pixels as {_short(first.image, root)}"
            level: Level = "error" if elsewhere or alien else "warning"
            yield Finding("identical", level, _short(other.image, root), text)


def _check_mapping(root: Path, layout: Layout, files: Sequence[Files]) -> Iterator[Finding]:
    """Old and new names are a bijection, and the new ones are exactly the images."""
    path = _mapping(root)
    if path is None:
        return
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = [row for row in csv.reader(file) if row]
    pairs = [(row[0], row[-1]) for row in rows[1:]]
    for column, name in ((0, "old"), (1, "new")):
        counts = Counter(pair[column] for pair in pairs)
        for value, n in counts.items():
            if n > 1:
                text = f"{name} name is in {n} rows; names must be one to one"
                yield Finding("mapping", "error", value, text)
    images = {_short(one.image, root) for one in files if one.image is not None}
    new = {pair[1] for pair in pairs}
    for value in sorted(new - images):
        yield Finding("mapping", "error", value, f"is in {path.name} but is no image")
    for value in sorted(images - new):
        yield Finding("mapping", "error", value, f"is not in {path.name}")


def _mapping(root: Path) -> Path | None:
    places = [root / MAPPING_NAME, root / "train" / MAPPING_NAME]
    return next((place for place in places if place.is_file()), None)


def _check_inventory(
    root: Path, inventory: Inventory | None, files: Sequence[Files], seen: _Seen, *, strict: bool
) -> Iterator[Finding]:
    """Compare with a published data set."""
    if inventory is None:
        return
    level: Level = "error" if strict else "warning"
    mapped = _mapping(root) is not None
    for found in compare(inventory, files, seen.bands, mapped=mapped):
        yield Finding("inventory", level, found.where, found.message)


def _check_provenance(
    root: Path, manifest: Manifest | None
) -> tuple[dict[str, int] | None, list[Finding]]:
    """Count the polygons by where they come from; the manifest says the same."""
    said = None if manifest is None else manifest.sources.get("provenance")
    try:
        records = read_provenance(root)
    except DatasetError as exc:
        return None, [Finding("provenance", "error", POLYGONS_NAME, str(exc))]
    found = None if records is None else count_provenance(records)
    if said is not None and said != found:
        text = "is missing" if found is None else f"has {told(found)}"
        text += f", but {MANIFEST_NAME} says otherwise"
        return found, [Finding("provenance", "error", POLYGONS_NAME, text)]
    return found, []


def _check_manifest(
    layout: Layout, manifest: Manifest | None, files: Sequence[Files]
) -> Iterator[Finding]:
    """The splits that dataset.json names are those of the folders."""
    if manifest is None or not manifest.splits or layout.names_splits:
        return
    for split in sorted({p.split for p in layout.parts if p.split} | manifest.splits.keys()):
        have = {one.site for one in files if one.part.split == split}
        said = {name.partition("/")[0] for name in manifest.splits.get(split, ())}
        for site in sorted(have ^ said):
            text = "is there" if site in have else "is not there"
            text = f"site {text}, but {MANIFEST_NAME} says otherwise"
            yield Finding("manifest", "error", f"{split}/{site}", text)


def _short(path: Path | None, root: Path) -> str:
    return "" if path is None else path.relative_to(root).as_posix()
