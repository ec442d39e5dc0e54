"""From what was typed to a list of scenes, each with its place below the output folder."""

import glob
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from headframe.core.errors import FormatError, MissingFileError
from headframe.io.layers import is_remote, is_subdataset
from headframe.io.stac_read import is_item

RASTER_SUFFIXES = (".tif", ".tiff", ".vrt", ".jp2")
_OWN_OUTPUTS = (".classes.tif", ".scores.tif", ".components.tif")


def scene_stem(source: str) -> str:
    """Name a scene after its file, without folder, query and suffix."""
    path = urlsplit(source).path if "://" in source else source.split("?", 1)[0]
    name = PurePosixPath(path.replace("\\", "/")).name
    stem = name[: -len(suffix)] if (suffix := PurePosixPath(name).suffix) else name
    return stem or "scene"


def scene_sources(inputs: Sequence[str]) -> list[tuple[str, Path]]:
    """Expand files, folders, globs and URLs into scenes.

    A folder gives every GeoTIFF, VRT, JPEG 2000 and STAC item in it, at any depth, but hidden
    files and maps written by headframe. No two scenes get the same place: where folder and stem
    are equal, the file's full name becomes one more folder.

    Args:
        inputs: what was typed.

    Returns:
        (source, folder) in the order typed, folders sorted within, each file once; ``folder`` is
        relative: the scene's folder below the inputs' common parent, without its name.

    Raises:
        MissingFileError: a file, folder or glob that is not there.
        FormatError: a folder without scenes.
    """
    local: list[str] = []
    roots: list[str] = []
    remote: list[str] = []
    for text in inputs:
        if is_remote(text) or text.startswith("/vsi"):
            remote.append(text)
            continue
        files, root = _expand(text)
        local += files
        roots += root
    local, remote = _distinct(local, os.path.realpath), _distinct(remote, str)
    placed = _below(local, roots) + _below_remote(remote, apart=bool(local))
    return _apart(placed)


def _expand(text: str) -> tuple[list[str], list[str]]:
    """Give the files that ``text`` stands for and the folders they are seen from."""
    if os.path.isdir(text):
        return _in_folder(text), [os.path.abspath(text)]
    if os.path.exists(text) or is_subdataset(text):
        return [text], [os.path.dirname(os.path.abspath(text))]
    if not glob.has_magic(text):
        raise MissingFileError(f"{text}: no such file or folder.")
    files: list[str] = []
    for path in sorted(glob.glob(text, recursive=True)):
        files += [path] if os.path.isfile(path) else _in_folder(path)
    if not files:
        raise MissingFileError(f"{text}: no file matches.")
    return files, [os.path.dirname(os.path.abspath(path)) for path in files]


def _in_folder(folder: str) -> list[str]:
    files = sorted(
        path.as_posix()
        for path in Path(folder).rglob("*")
        if path.is_file() and not path.name.startswith(".") and _is_scene(path)
    )
    if not files:
        raise FormatError(
            f"{folder}: holds no scenes ({', '.join(RASTER_SUFFIXES)} or STAC item .json)."
        )
    return files


def _is_scene(path: Path) -> bool:
    name = path.name.lower()
    if name.endswith(RASTER_SUFFIXES):
        return not name.endswith(_OWN_OUTPUTS)
    return name.endswith(".json") and _is_scene_item(path)


def _is_scene_item(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    if not is_item(content):
        return False
    return not any(str(key).startswith("mlm:") for key in content.get("properties") or {})


def _distinct(sources: Iterable[str], key: Callable[[str], str]) -> list[str]:
    first: dict[str, str] = {}
    for source in sources:
        first.setdefault(key(source), source)
    return list(first.values())


def _below(sources: Sequence[str], roots: Sequence[str]) -> list[tuple[str, Path]]:
    if not sources:
        return []
    base = os.path.commonpath(roots)
    return [
        (source, Path(os.path.relpath(os.path.dirname(os.path.abspath(source)), base)))
        for source in sources
    ]


def _below_remote(sources: Sequence[str], *, apart: bool) -> list[tuple[str, Path]]:
    folders = [
        "/" + "/".join(re.findall(r"[^/:]+", source.split("?", 1)[0].rpartition("/")[0]))
        for source in sources
    ]
    base = os.path.commonpath(folders) if folders else "/"
    first = Path("remote") if apart else Path()
    return [
        (source, first / _harmless(os.path.relpath(folder, base)))
        for source, folder in zip(sources, folders, strict=True)
    ]


def _harmless(folder: str) -> Path:
    return Path(*(part for part in folder.split("/") if part not in (".", "..")))


def _apart(placed: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """Give scenes that would write the same files a folder each."""
    keys = [(folder, scene_stem(source)) for source, folder in placed]
    count = Counter(keys)
    taken = {key for key in keys if count[key] == 1}
    result = []
    for (source, folder), (_, stem) in zip(placed, keys, strict=True):
        place = folder
        if count[folder, stem] > 1:
            name = PurePosixPath(source.split("?", 1)[0]).name
            place, number = folder / name, 2
            while (place, stem) in taken:
                place, number = folder / f"{name}-{number}", number + 1
            taken.add((place, stem))
        result.append((source, place))
    return result
