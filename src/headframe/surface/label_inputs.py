"""What `label` is given: options and images."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from headframe import __version__
from headframe.core.errors import MissingFileError

IMAGE_SUFFIXES = (".tif", ".tiff")
ENDS_BYTES = 65_536
"""An image is told apart from another of its name by its size and this much of either end."""
_SIDE_FILES = (".dbf", ".prj", ".shx", ".cpg")


@dataclass(frozen=True)
class LabelOptions:
    """How to label.

    Attributes:
        preset: name in ``label_presets.PRESETS``.
        site_field: field of the polygons that holds the site; see ``io.vector.read_polygons``.
        layer: layer of a GeoPackage.
        target: name of class 2.
        allow_empty: sites of images that may have no polygon.
        cloud_threshold: value from which the last band means cloud; None: it holds 0 and 1 only.
        sensor: replaces the preset's sensor.
        scaling: (scale, offset) of stored numbers; None: the file's own tags.
        fractions: shares of sites in train, val and test.
        seed: seed of the split.
        stratify: field of the polygons whose values are balanced over the splits.
        workers: processes; does not change the output.
        class_field: preset ``components``: field of the polygons that holds their class.
        class_map: likewise: file that says which class is which component.
        reviewed: review file (``surface.review``) whose accepted polygons become labels.
        skip_todo: leave out what nobody has judged in it, rather than refuse it.
    """

    preset: str = "plain"
    site_field: str | None = None
    layer: str | None = None
    target: str = "mining"
    allow_empty: tuple[str, ...] = ()
    cloud_threshold: float | None = None
    sensor: str | None = None
    scaling: tuple[float, float] | None = None
    fractions: tuple[float, float, float] = (0.70, 0.15, 0.15)
    seed: int = 0
    stratify: str | None = None
    workers: int = 1
    class_field: str | None = None
    class_map: Path | None = None
    reviewed: Path | None = None
    skip_todo: bool = False

    @property
    def by_place(self) -> bool:
        """Whether polygons belong to whatever image they lie on, and no site's name is compared.

        What a person draws in a review file has no site.
        """
        placeless = self.class_field is not None and self.site_field is None
        return placeless or self.reviewed is not None


def find_images(given: Sequence[Path], out: Path) -> list[tuple[Path, str, bool]]:
    """List GeoTIFFs in sorted order.

    Args:
        given: files, or folders that are searched through; hidden files are left out.
        out: folder left out of the search.

    Returns:
        (path, name below the folder given, whether it lies right in that folder), by name.

    Raises:
        MissingFileError: a path that does not exist, or no image at all.
    """
    found: dict[Path, tuple[Path, str, bool]] = {}
    for root in given:
        if root.is_dir():
            paths = [p for p in sorted(root.rglob("*")) if p.suffix.lower() in IMAGE_SUFFIXES]
            base = root
        elif root.is_file():
            paths, base = [root], root.parent
        else:
            raise MissingFileError(f"{root}: no such image or folder of images.")
        for path in paths:
            hidden = any(part.startswith(".") for part in path.relative_to(base).parts)
            inside_out = out.resolve() in path.resolve().parents
            if not hidden and not inside_out and path.is_file():
                entry = (path, path.relative_to(base).as_posix(), path.parent == root)
                found.setdefault(path.resolve(), entry)
    if not found:
        raise MissingFileError(
            f"{', '.join(map(str, given))}: no image ({' or '.join(IMAGE_SUFFIXES)}) in it."
        )
    names = [name for _, name, _ in found.values()]
    unique = len(set(names)) == len(names)
    entries = [
        (path, name if unique else path.as_posix(), top) for path, name, top in found.values()
    ]
    return sorted(entries, key=lambda entry: entry[1])


def fingerprint(
    images: Iterable[tuple[Path, str]], polygons: Path | None, options: LabelOptions
) -> str:
    """Digest of everything the output depends on: images, polygons, options, version.

    Args:
        images: (path, name below the folder given).
        polygons: file of drawn polygons, if there is one.
        options: all of which count but ``workers``; of files their content.
    """
    apart = ("workers", "class_map", "reviewed")
    settings = {k: v for k, v in asdict(options).items() if k not in apart}
    if options.class_field is None:
        del settings["class_field"]  # what was begun before there were classes can be gone on with
    if options.reviewed is None:
        del settings["skip_todo"]  # likewise
    digest = hashlib.sha256()
    digest.update(json.dumps([__version__, settings], sort_keys=True, default=str).encode())
    for main in (polygons, options.reviewed):
        if main is None:
            continue
        for path in (main, *(main.with_suffix(suffix) for suffix in _SIDE_FILES)):
            if path.is_file() and (path == main or main.suffix.lower() == ".shp"):
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    if options.class_map is not None:
        digest.update(hashlib.sha256(options.class_map.read_bytes()).digest())
    for source, name in images:
        size = source.stat().st_size
        digest.update(f"\0{name}\0{size}\0".encode())
        with source.open("rb") as file:
            digest.update(file.read(ENDS_BYTES))
            file.seek(max(0, size - ENDS_BYTES))
            digest.update(file.read(ENDS_BYTES))
    return digest.hexdigest()
