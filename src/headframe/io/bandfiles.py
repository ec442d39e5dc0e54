"""Scenes that come as one file a band: SAFE folders, folders of ``B04.tif``, STAC items."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headframe.core.errors import BandError, FormatError, MissingFileError
from headframe.core.sensors import get_sensor
from headframe.io.layers import is_remote, shown
from headframe.io.sources import scene_stem
from headframe.io.stac_read import choose_bands, is_item_source, read_item

BAND_METRES = {
    "B04": 10,
    "B03": 10,
    "B02": 10,
    "B08": 10,
    "B05": 20,
    "B06": 20,
    "B07": 20,
    "B8A": 20,
    "B11": 20,
    "B12": 20,
    "B01": 60,
    "B09": 60,
}
"""Bands of Sentinel-2 L2A and their own pixel sides, metres; B10 shows the air, not the ground."""

_FILE = re.compile(
    r"^(?P<prefix>(?:.*[^A-Za-z0-9])?)(?P<band>B(?:0[1-9]|1[0-2]|8A))"
    r"(?:_(?P<metres>10|20|60)m)?\.(?P<suffix>tif|tiff|jp2|vrt)$",
    re.IGNORECASE,
)
_RESOLUTION_FOLDERS = ("R10m", "R20m", "R60m")
_NOT_IMAGES = ("QI_DATA", "AUX_DATA")
_SENSOR = "sentinel-2-l2a"


@dataclass(frozen=True)
class BandScene:
    """One scene of separate band files.

    Attributes:
        name: of the SAFE folder, of what stands before the band in the file names, or of the
            folder.
        files: path or URL by band, in the order of ``BAND_METRES``.
        properties: of a STAC item; empty for files.
    """

    name: str
    files: Mapping[str, str]
    properties: Mapping[str, object]


@dataclass(frozen=True)
class _Candidate:
    path: Path
    band: str
    metres: int | None
    home: Path
    prefix: str

    @property
    def rank(self) -> tuple[bool, bool, str]:
        """Lowest first: says the right resolution, is a TIFF, comes first by name."""
        return self.metres is None, self.path.suffix.lower() == ".jp2", str(self.path)


def find_band_scenes(inputs: Sequence[str]) -> tuple[BandScene, ...]:
    """Find scenes in folders, and read STAC items, in the order typed.

    A file belongs to a band when its name is the band's (``B04.tif``) or ends in it, with or
    without a resolution (``…_B04_10m.jp2``). Files of a band at another than its own resolution
    are passed over. Scenes found in one folder come in the order of their names.

    Args:
        inputs: SAFE folders, folders of band files, folders of such folders, or STAC items.

    Raises:
        MissingFileError: no such file or folder.
        FormatError: a folder without band files, or a file that is no STAC item.
        BandError: a scene lacks a band.
    """
    scenes: list[BandScene] = []
    for text in inputs:
        scenes += _scenes_of(text)
    return tuple(_named_apart(scenes))


def _scenes_of(text: str) -> list[BandScene]:
    if is_item_source(text):
        return [_of_item(text)]
    folder = Path(text)
    if not folder.exists():
        raise MissingFileError(f"{text}: no such file or folder.")
    if not folder.is_dir():
        raise FormatError(
            f"{text}: is one file; name the folder that holds the scene's band files."
        )
    groups: dict[tuple[Path, str], list[_Candidate]] = {}
    for candidate in _candidates(folder):
        groups.setdefault((candidate.home, candidate.prefix), []).append(candidate)
    if not groups:
        raise FormatError(
            f"{text}: holds no band files such as B04.tif or …_B04_10m.jp2. "
            "Name a SAFE folder or a folder of band files."
        )
    return [_of_files(home, prefix, found) for (home, prefix), found in sorted(groups.items())]


def _candidates(folder: Path) -> Iterable[_Candidate]:
    for path in sorted(folder.rglob("*")):
        match = _FILE.match(path.name)
        if match is None or path.name.startswith(".") or not path.is_file():
            continue
        if any(part in _NOT_IMAGES for part in path.parts):
            continue
        band = match["band"].upper()
        metres = int(match["metres"]) if match["metres"] else None
        if band not in BAND_METRES or metres not in (None, BAND_METRES[band]):
            continue
        safe = next((p for p in path.parents if p.suffix.upper() == ".SAFE"), None)
        if safe is not None:
            yield _Candidate(path, band, metres, safe, "")
        else:
            nested = path.parent.name in _RESOLUTION_FOLDERS
            home = path.parent.parent if nested else path.parent
            yield _Candidate(path, band, metres, home, match["prefix"].strip("_-. "))


def _of_files(home: Path, prefix: str, found: Sequence[_Candidate]) -> BandScene:
    best: dict[str, str] = {}
    for candidate in sorted(found, key=lambda c: c.rank):
        best.setdefault(candidate.band, str(candidate.path))
    name = prefix or (home.stem if home.suffix.upper() == ".SAFE" else home.resolve().name)
    missing = [band for band in BAND_METRES if band not in best]
    if missing:
        raise BandError(
            f"{home / prefix if prefix else home}: has no file of {', '.join(missing)}; a scene "
            f"needs {', '.join(BAND_METRES)}, each at its own resolution. Fetch the rest."
        )
    return BandScene(name, {band: best[band] for band in BAND_METRES}, {})


def _of_item(source: str) -> BandScene:
    if not is_remote(source) and not Path(source).is_file():
        raise MissingFileError(f"{shown(source)}: no such STAC item.")
    item = read_item(source)
    chosen = choose_bands(item, tuple(BAND_METRES), sensor=get_sensor(_SENSOR))
    for band in chosen:
        if band.index != 1:
            raise FormatError(
                f"{shown(source)}: keeps several bands in {shown(band.href)}. "
                "Give an item with one file a band."
            )
    files = dict(zip(BAND_METRES, (band.href for band in chosen), strict=True))
    return BandScene(item.name or scene_stem(source), files, item.properties)


def _named_apart(scenes: Sequence[BandScene]) -> Iterable[BandScene]:
    taken: set[str] = set()
    for scene in scenes:
        name, number = scene.name, 2
        while name in taken:
            name, number = f"{scene.name}-{number}", number + 1
        taken.add(name)
        yield BandScene(name, scene.files, scene.properties)
