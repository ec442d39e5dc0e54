"""Whether two scenes of one call, or a scene and an earlier map, would write one file.

Several models write ``<scene>.<model>.classes.tif``, so scene ``a`` with model ``b.c`` and scene
``a.b`` with model ``c`` mean the same file.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from headframe.core.errors import InputError
from headframe.engine.mapping.products import ITEM, SUFFIXES
from headframe.io.sources import scene_stem
from headframe.io.stac import COMPONENTS_SUFFIX, OWN_SUFFIXES


def check_clashes(placed: Sequence[tuple[str, Path]], out: Path, *, models: Sequence[str]) -> None:
    """Look at the names of all outputs before work begins.

    Args:
        placed: scenes and their folders below ``out``.
        out: folder of the call.
        models: names of several models in file names; empty for an only model.

    Raises:
        InputError: two scenes would write one file, or one would overwrite another scene's map.
    """
    owners: dict[Path, str] = {}
    for source, below in placed:
        folder, stem = out / below, scene_stem(source)
        for name in _names(stem, models):
            path = folder / name
            first = owners.setdefault(path, source)
            if first != source:
                raise InputError(
                    f"{first} and {source} would both be mapped to {path}. Map them into "
                    "different --out folders, or rename one of the scenes."
                )
            if path.exists() and (other := _owner(path, stem)) is not None:
                raise InputError(
                    f"{source} would be mapped to {path}, which belongs to {other}. Choose "
                    "another --out, or rename the scene."
                )


def _names(stem: str, models: Sequence[str]) -> Iterator[str]:
    own = [*OWN_SUFFIXES, COMPONENTS_SUFFIX] if models else []
    for suffix in dict.fromkeys([ITEM, *SUFFIXES, *own]):
        yield f"{stem}{suffix}"
    for model in models:
        for suffix in OWN_SUFFIXES:
            yield f"{stem}.{model}{suffix}"


def _owner(path: Path, stem: str) -> Path | None:
    """Find the item of a scene of another name that lists a file among its own."""
    parts = path.name.split(".")
    for count in range(1, len(parts)):
        other = ".".join(parts[:count])
        item = path.with_name(f"{other}{ITEM}")
        if other == stem or not item.is_file():
            continue
        try:
            assets = json.loads(item.read_text(encoding="utf-8"))["assets"].values()
            files = {asset["href"].removeprefix("./") for asset in assets}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if path.name in files:
            return item
    return None
