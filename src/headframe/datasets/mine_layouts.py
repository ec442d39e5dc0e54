"""Folder layouts of the data sets that DIS-Mine is measured on: LIS, DsLMF+ and ImageMine."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from headframe.core.errors import DatasetError, FormatError, MissingFileError, UnknownNameError
from headframe.datasets.coco import read_coco
from headframe.datasets.instances import InstanceSet, combine
from headframe.datasets.via import read_via, require_sound
from headframe.datasets.yolo_seg import read_yolo
from headframe.io.images import SUFFIXES


def read_lis(root: Path, *, light: str = "dark", split: str = "train") -> InstanceSet:
    """Read LIS in the layout its authors print.

    ``annotations/lis_coco_{JPG,png}_<split>[+1].json``, where ``+1`` stands for the dark
    photographs, and ``RGB-dark/JPEGImages``, ``RGB-normal/JPEGImages``. Photographs are found by
    the stem of their name in either ending, since the files of labels differ in it.

    Args:
        root: folder that holds ``annotations``.
        light: dark or normal.
        split: train, test or traintest.

    Returns:
        Labels; ``file_name`` relative to ``root``.

    Raises:
        UnknownNameError: no such light.
        DatasetError: the file of labels is not there.
    """
    folders = {"dark": ("RGB-dark", "+1"), "normal": ("RGB-normal", "")}
    if light not in folders:
        raise UnknownNameError.of("light", light, folders)
    folder, mark = folders[light]
    kinds = ("JPG", "png") if light == "dark" else ("png", "JPG")
    tried = [root / "annotations" / f"lis_coco_{kind}_{split}{mark}.json" for kind in kinds]
    path = next((path for path in tried if path.is_file()), None)
    if path is None:
        raise DatasetError(
            f"{tried[0]}: no such file. Give the folder of LIS with its annotations."
        )
    inside = f"{folder}/JPEGImages"
    stems = {p.stem: p.name for p in (root / inside).glob("*") if p.suffix.lower() in SUFFIXES}
    labels = read_coco(path)
    return _renamed(labels, lambda name: f"{inside}/{stems.get(Path(name).stem, Path(name).name)}")


def read_dslmf(root: Path) -> InstanceSet:
    """Read DsLMF+, whose labels its authors publish in COCO's and YOLO's format.

    The exact folders are not printed in the paper; this is inferred: COCO files anywhere below
    ``root`` are taken where there are any, otherwise every folder with ``labels`` (one for each
    of the six subjects) as YOLO. Many labels are boxes: see ``Region.box_only``.

    Args:
        root: folder of the whole set, or of one subject.

    Raises:
        DatasetError: neither kind of labels is there.
    """
    _there(root)
    sets = [_below(root, path, read_coco(path)) for path in _json_with(root, "annotations")]
    if not sets:
        folders = sorted({path.parent for path in root.rglob("labels") if path.is_dir()})
        sets = [
            _renamed(read_yolo(folder), lambda name, f=folder: _posix(root, f / name))  # type: ignore[misc] # the default binds the loop's folder
            for folder in folders
        ]
    if not sets:
        raise DatasetError(
            f"{root}: no COCO files and no folder labels there. Unpack DsLMF+ there."
        )
    return combine(sets)


def read_imagemine(root: Path, *, class_key: str | None = None, which: str = "all") -> InstanceSet:
    """Read ImageMine, which is not published; the layout is ours.

    VIA files anywhere below ``root``, each beside its photographs or beside a folder ``images``
    of them. Files with ``auto`` in their name hold automatic labels, all others manual ones: the
    paper trains on both, and evaluation belongs on manual labels only.

    Args:
        root: folder.
        class_key: as ``via.read_via``.
        which: all, manual or auto.

    Raises:
        DatasetError: there is no such VIA file, or one of them has errors.
    """
    _there(root)
    if which not in {"all", "manual", "auto"}:
        raise UnknownNameError.of("kind of labels", which, ("all", "manual", "auto"))
    sets = []
    for path in _json_with(root, "shape_attributes"):
        if which == "all" or ("auto" in path.stem.lower()) == (which == "auto"):
            inside = path.parent / "images"
            images = inside if inside.is_dir() else path.parent
            labels = require_sound(read_via(path, images=images, class_key=class_key))
            sets.append(_renamed(labels, lambda name, f=images: _posix(root, f / name)))  # type: ignore[misc] # as above
    if not sets:
        raise DatasetError(f"{root}: no VIA files with {which} labels there.")
    return combine(sets)


def _there(root: Path) -> None:
    if not root.is_dir():
        raise MissingFileError(f"{root}: no such folder. Check the path.")


def _json_with(root: Path, word: str) -> Iterator[Path]:
    """Find JSON files that speak of ``word``; what is no JSON is passed over."""
    for path in sorted(root.rglob("*.json")):
        text = path.read_text(encoding="utf-8", errors="replace")
        if f'"{word}"' not in text:
            continue
        try:
            json.loads(text)
        except json.JSONDecodeError as exc:
            raise FormatError(f"{path}: is no JSON ({exc}). Mend or remove it.") from exc
        yield path


def _below(root: Path, path: Path, labels: InstanceSet) -> InstanceSet:
    """Make names of a COCO file relative to ``root``: photographs lie beside it or near it."""
    base = path.parent.parent if path.parent.name == "annotations" else path.parent
    by_name = {p.name: p for p in base.rglob("*") if p.suffix.lower() in SUFFIXES}

    def place(name: str) -> str:
        return _posix(root, by_name.get(Path(name).name, base / name))

    return _renamed(labels, place)


def _posix(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _renamed(labels: InstanceSet, name: Callable[[str], str]) -> InstanceSet:
    images = tuple(replace(image, file_name=name(image.file_name)) for image in labels.images)
    return replace(labels, images=images)
