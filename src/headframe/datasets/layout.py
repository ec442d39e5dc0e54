"""Where the files of a data set lie: splits, sites, and pairs by stem."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headframe.core.errors import DatasetError, MissingFileError, UnsafeFileError
from headframe.datasets.sen1floods11 import flood_chips, hand_folder
from headframe.io.files import write_text

SPLITS = ("train", "val", "test")
JOURNAL_NAME = ".split-moves.json"
"""Beside ``dataset.json`` while ``dataset split`` moves files; left behind by a killed run."""

IMAGE_SUFFIXES = (".tif", ".tiff")
LABEL_SUFFIXES = (".png", ".tif", ".tiff")
IMAGES = "images"
LABEL_FOLDERS = ("labels", "masks")
TILE_TABLE = "dataset_splits.csv"
"""MineSegSAT's list of tiles: folders of band files and of masks, and their splits."""
TILE_COLUMNS = ("data_path", "mask_path", "split")
TILE_MASK = "mask.tif"
_FLAT = "."

_AGM_SUFFIX = re.compile(r"(?:_agm_region_\d+(?:_\d+)?)+$")


@dataclass(frozen=True)
class Part:
    """One split of a data set, or the whole of a raw folder.

    Attributes:
        split: ``train``, ``val``, ``test``; None for a raw folder.
        root: folder that holds ``images`` and ``labels`` or ``masks``.
    """

    split: str | None
    root: Path

    @property
    def images(self) -> Path:
        """Folder of the images."""
        return self.root / IMAGES

    @property
    def labels(self) -> Path | None:
        """Folder of the labels, or None where there is none."""
        folders = [self.root / name for name in LABEL_FOLDERS if (self.root / name).is_dir()]
        return folders[0] if folders else None


@dataclass(frozen=True)
class Layout:
    """Parts of a data set as they lie on disk.

    Attributes:
        root: the data set's folder.
        kind: ``split`` (``<split>/images/<site>/``), ``raw`` (``images/<site>/``), ``tiles``
            (folders of band files, listed in ``dataset_splits.csv``) or ``floods`` (as
            Sen1Floods11 has it).
        parts: non-empty; splits in the order train, val, test.
    """

    root: Path
    kind: Literal["split", "raw", "tiles", "floods"]
    parts: tuple[Part, ...]

    @property
    def names_splits(self) -> bool:
        """Whether splits are named in ``dataset.json``, not told by where files lie."""
        return self.kind in ("raw", "floods")

    def home(self, split: str) -> Path:
        """Folder of ``split``, also where it does not exist yet.

        Both trees drawn for the 8-band Landsat set are kept as they are found: ``val`` and
        ``test`` beside ``train`` or inside it.
        """
        for part in self.parts:
            if part.split == split:
                return part.root
        nested = any(part.root.parent.name == "train" for part in self.parts)
        if nested and split != "train":
            return self.root / "train" / split
        return self.root / split


@dataclass(frozen=True)
class Files:
    """The files found for one stem of one site; a pair is complete with both.

    Attributes:
        part: split or raw folder they lie in.
        site: name of the folder above the files.
        stem: file name without suffix.
        image: the image (of a tile, its folder of band files), or None for a label without one.
        label: the label, or None for an image without one.
    """

    part: Part
    site: str
    stem: str
    image: Path | None
    label: Path | None


def base_site(name: str) -> str:
    """Site behind a folder name: no case, accents, punctuation or trailing ``_agm_region_<k>``.

    Numbers that belong to the name stay: ``brazil_001`` and ``brazil_002`` are two sites.
    """
    letters = unicodedata.normalize("NFKD", name.casefold())
    letters = "".join(c for c in letters if not unicodedata.combining(c))
    plain = re.sub(r"[\W_]+", "_", letters).strip("_")
    return _AGM_SUFFIX.sub("", plain) or plain


def find_layout(root: Path) -> Layout:
    """Tell how a data set lies on disk.

    Raises:
        MissingFileError: no such folder.
        DatasetError: neither ``<split>/images`` nor ``images`` with ``masks`` or ``labels``, nor
            a list of tiles, nor Sen1Floods11's folders.
        UnsafeFileError: as ``tile_rows``.
    """
    if not root.is_dir():
        raise MissingFileError(f"{root}: no such folder. Give the folder of a data set.")
    if (root / TILE_TABLE).is_file():
        used = {row.split for row in tile_rows(root)}
        return Layout(root, "tiles", tuple(Part(split, root) for split in SPLITS if split in used))
    parts = []
    for split in SPLITS:
        homes = [root / split] if split == "train" else [root / split, root / "train" / split]
        parts += [Part(split, home) for home in homes if (home / IMAGES).is_dir()]
    if parts:
        return Layout(root, "split", tuple(parts))
    if (root / IMAGES).is_dir() and Part(None, root).labels is not None:
        return Layout(root, "raw", (Part(None, root),))
    hand = hand_folder(root)
    if hand is not None:
        return Layout(root, "floods", (Part(None, hand),))
    raise DatasetError(
        f"{root}: no data set here; expected train/images/<site>/ and train/labels/<site>/, or "
        "images/<site>/ and masks/<site>/. Make one with `headframe label`."
    )


def find_files(part: Part) -> Iterator[Files]:
    """List what lies in one part, by site and stem in sorted order.

    A chip of Sen1Floods11 comes once for every image that it has. Files straight under ``images``
    are their own sites, named by their stems.
    """
    if (part.root / TILE_TABLE).is_file():
        yield from _tiles_of(part)
        return
    if hand_folder(part.root) == part.root:
        for chip in flood_chips(part.root):
            for image in chip.images.values() or (None,):
                stem = chip.name if image is None else image.stem
                yield Files(part, chip.event, stem, image, chip.label)
        return
    images = _by_stem(part.images, IMAGE_SUFFIXES)
    labels = _by_stem(part.labels, LABEL_SUFFIXES) if part.labels else {}
    for site, stem in sorted(images.keys() | labels.keys()):
        key = (site, stem)
        yield Files(
            part=part,
            site=stem if site == _FLAT else site,
            stem=stem,
            image=images.get(key),
            label=labels.get(key),
        )


def sidecar(part: Part, kind: str, image: Path) -> Path | None:
    """File of ``kind`` (``valid`` or ``rgb``) that belongs to ``image``, if there is one."""
    if not image.is_relative_to(part.images):
        return None
    base = part.root / kind / image.relative_to(part.images)
    found = [base.with_suffix(suffix) for suffix in LABEL_SUFFIXES]
    return next((path for path in found if path.is_file()), None)


@dataclass(frozen=True)
class TileRow:
    """One row of ``dataset_splits.csv``.

    Attributes:
        data_path: folder of the band files, relative to the data set.
        mask_path: folder of ``mask.tif``; may be the same.
        split: ``train``, ``val``, ``test``.
        site: column ``site``, where our tiler wrote one; else the tile is its own site.
    """

    data_path: str
    mask_path: str
    split: str
    site: str


def tile_rows(root: Path) -> tuple[TileRow, ...]:
    """Read ``dataset_splits.csv`` of a set in MineSegSAT's layout; further columns are ignored.

    Raises:
        DatasetError: a column is missing, a split is unknown, or there is no row.
        UnsafeFileError: a path that leads out of the data set.
    """
    path = root / TILE_TABLE
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.DictReader(file)
        missing = [name for name in TILE_COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise DatasetError(
                f"{path}: has no column {missing[0]}; it needs {', '.join(TILE_COLUMNS)}."
            )
        rows = tuple(_tile_row(path, number, row) for number, row in enumerate(reader, start=2))
    if not rows:
        raise DatasetError(f"{path}: lists no tile. Make one with `headframe dataset tile`.")
    return rows


def rewrite_splits(root: Path, split_of: Mapping[Path, str]) -> None:
    """Change the splits in ``dataset_splits.csv``, all or nothing; all else in it is kept.

    Args:
        root: the data set.
        split_of: split by ``data_path``; tiles that are not in it keep theirs.
    """
    with (root / TILE_TABLE).open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.DictReader(file)
        columns, rows = list(reader.fieldnames or ()), list(reader)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        split = split_of.get(Path((row["data_path"] or "").strip()), row["split"])
        writer.writerow({**row, "split": split})
    write_text(root / TILE_TABLE, text.getvalue())


def _tile_row(path: Path, number: int, row: dict[str, str | None]) -> TileRow:
    data, mask, split = ((row[name] or "").strip() for name in TILE_COLUMNS)
    if split not in SPLITS:
        raise DatasetError(
            f"{path}: row {number} has split {split!r}; it must be one of {', '.join(SPLITS)}."
        )
    for text in (data, mask):
        if not text or Path(text).is_absolute() or ".." in Path(text).parts:
            raise UnsafeFileError(
                f"{path}: row {number} names {text!r}; paths must lie within the data set."
            )
    site = (row.get("site") or "").strip() or "_".join(Path(data).parts)
    return TileRow(data, mask, split, site)


def _tiles_of(part: Part) -> Iterator[Files]:
    rows = [row for row in tile_rows(part.root) if part.split in (None, row.split)]
    for row in sorted(rows, key=lambda row: (row.site, row.data_path)):
        image, label = part.root / row.data_path, part.root / row.mask_path / TILE_MASK
        yield Files(
            part=Part(row.split, part.root),
            site=row.site,
            stem=image.name,
            image=image if image.is_dir() else None,
            label=label if label.is_file() else None,
        )


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[tuple[str, str], Path]:
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file():
            found.setdefault((path.parent.relative_to(folder).as_posix(), path.stem), path)
    return found
