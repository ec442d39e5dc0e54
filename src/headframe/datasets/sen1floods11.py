"""Sen1Floods11 in its own layout: hand-labelled floods in Sentinel-1 and Sentinel-2 (methods 5.3).

``S1Hand/Ghana_53713_S1Hand.tif`` has VV and VH in decibels, ``S2Hand/Ghana_53713_S2Hand.tif`` the
thirteen bands of L1C, ``LabelHand/Ghana_53713_LabelHand.tif`` -1 for no data, 0, and 1 for water.
The first word is the flood, which is the site here: folds and splits keep floods together. The
published splits are tables of two columns without a header; Bolivia has one of its own and is held
out of the other three (Bonafilia et al. 2020).

Folders that ``dataset pseudo-label`` makes of other scenes are read too: their files have all the
bands of L1C in this order, those that the scene lacks described as ``absent``.
"""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from headframe.core.classmap import label_class_map
from headframe.core.errors import (
    BandError,
    DatasetError,
    FormatError,
    GridMismatchError,
    MissingFileError,
    UnknownNameError,
)
from headframe.core.sensors import JOINT, get_sensor
from headframe.datasets.manifest import Manifest
from headframe.datasets.pixels import (
    ChipHeader,
    ChipPixels,
    PixelRules,
    read_header,
    read_pixels,
)

RADAR, LIGHT, LABEL = "S1Hand", "S2Hand", "LabelHand"
FOLDERS = {RADAR: "sentinel-1-grd", LIGHT: "sentinel-2-l1c"}
"""Folders of images, and the sensor of each."""

BANDS = {
    RADAR: ("vv", "vh"),
    LIGHT: tuple(band.common_name for band in get_sensor(FOLDERS[LIGHT]).bands),
}
"""Bands in the order of the files."""

SENSORS = (*FOLDERS.values(), JOINT.join((FOLDERS[LIGHT], FOLDERS[RADAR])))
HELD_OUT = "Bolivia"
ABSENT = "absent"
"""Description of a band that stands in its place only."""
PIXEL_M = 10.0
_MAP_SCALE = 0.02
"""A projection stretches lengths by less, where its own pixel size can be believed."""
_HOMES = (".", "data/flood_events/HandLabeled", "v1.1/data/flood_events/HandLabeled")
TABLES = {
    "train": "flood_train_data.csv",
    "val": "flood_valid_data.csv",
    "test": "flood_test_data.csv",
    "unused": "flood_bolivia_data.csv",
}
_TABLE_HOMES = (".", "splits/flood_handlabeled", "v1.1/splits/flood_handlabeled")


@dataclass(frozen=True)
class FloodChip:
    """Files of one chip.

    Attributes:
        name: flood and number, ``Ghana_53713``.
        images: by folder; a chip may lack one of them.
        label: None where it has none.
    """

    name: str
    images: Mapping[str, Path]
    label: Path | None

    @property
    def event(self) -> str:
        """The flood."""
        return self.name.rpartition("_")[0]

    def image(self, sensor: str) -> Path | None:
        """File that stands for the chip as ``sensor`` sees it; None where it lacks one.

        Of both sensors together it is the file of light; ``read_flood`` finds the other.
        """
        folders = [folder for folder, name in FOLDERS.items() if name in sensor.split(JOINT)]
        if any(folder not in self.images for folder in folders):
            return None
        return self.images[folders[-1]]


def hand_folder(root: Path) -> Path | None:
    """Folder that holds ``LabelHand`` and the images: ``root``, or where a full copy has it."""
    for home in _HOMES:
        folder = root / home
        if (folder / LABEL).is_dir() and any((folder / name).is_dir() for name in FOLDERS):
            return folder
    return None


def flood_chips(hand: Path) -> tuple[FloodChip, ...]:
    """List the chips of a folder of ``hand_folder``, by name; those without a label too."""
    found: dict[str, dict[str, Path]] = {}
    for folder in (*FOLDERS, LABEL):
        for path in sorted((hand / folder).glob(f"[!.]*_{folder}.tif")):
            found.setdefault(path.name.removesuffix(f"_{folder}.tif"), {})[folder] = path
    return tuple(
        FloodChip(name, {k: v for k, v in files.items() if k != LABEL}, files.get(LABEL))
        for name, files in sorted(found.items())
    )


def flood_sensor(chips: tuple[FloodChip, ...], hand: Path, wanted: str | None) -> str:
    """Tell which images to read.

    Args:
        chips: from ``flood_chips``.
        hand: for messages.
        wanted: one of ``SENSORS``; None: all that every labelled chip has.

    Raises:
        DatasetError: no labelled chip has the images wanted, or no image is common to all.
        UnknownNameError: ``wanted`` is none of ``SENSORS``.
    """
    labelled = [chip for chip in chips if chip.label is not None]
    if wanted is not None:
        sensor = get_sensor(wanted).name
        if sensor not in SENSORS:
            raise UnknownNameError.of("sensor of Sen1Floods11", sensor, SENSORS)
        if not any(chip.image(sensor) for chip in labelled):
            raise DatasetError(f"{hand}: no labelled chip has images of {sensor}.")
        return sensor
    common = [
        sensor
        for sensor in reversed(SENSORS)
        if labelled and all(chip.image(sensor) for chip in labelled)
    ]
    if not common:
        raise DatasetError(
            f"{hand}: some chips lack {RADAR}, others {LIGHT}. Choose one with --sensor, or "
            f"data.sensor of a recipe: {', '.join(SENSORS)}."
        )
    return common[0]


def flood_manifest(root: Path, hand: Path, sensor: str = SENSORS[0]) -> Manifest:
    """Describe the set as ``dataset.json`` would.

    Bands are those that one image of every flood has, ``absent`` ones left out. Pixels are of 10 m,
    as published, or, where those images are in a projected CRS, as large as the smallest of theirs.

    Args:
        root: the data set; the split tables are looked for in it.
        hand: from ``hand_folder``.
        sensor: from ``flood_sensor``.

    Raises:
        DatasetError: a split table names a chip twice, or has a row that is none; the floods have
            no band in common.
    """
    splits = _read_splits(root, hand)
    chips = flood_chips(hand)
    bands, gsd_m = _common(chips, hand, sensor)
    of: dict[str, list[str]] = {}
    for chip in chips:
        image = chip.image(sensor)
        if image is not None and chip.name in splits:
            of.setdefault(splits[chip.name], []).append(f"{chip.event}/{image.stem}")
    return Manifest(
        sensor=sensor,
        bands=bands,
        gsd_m=gsd_m,
        classes=label_class_map("water"),
        labels="signed-mask",
        splits={split: tuple(names) for split, names in of.items() if split != "unused"},
        unused=tuple(of.get("unused", ())),
    )


def _common(chips: Iterable[FloodChip], hand: Path, sensor: str) -> tuple[tuple[str, ...], float]:
    """Bands that the images of all floods have, and the side of the smallest pixel, metres.

    One image of a flood is looked at, so that a data set opens at once; its others are alike.
    """
    of = {name: folder for folder, name in FOLDERS.items()}
    found: list[str] = []
    sides: list[float] = []
    for folder in (of[name] for name in sensor.split(JOINT)):
        headers = list(_one_a_flood(chips, folder))
        known = [_own_bands(header, folder) for header in headers]
        found += [band for band in BANDS[folder] if all(band in own for own in known)]
        sides += [_pixel_m(header) for header in headers]
    if not found:
        raise DatasetError(
            f"{hand}: no band is there in the images of every flood. Keep floods of different "
            "bands in data sets of their own."
        )
    return tuple(found), min(sides, default=PIXEL_M)


def _one_a_flood(chips: Iterable[FloodChip], folder: str) -> Iterator[ChipHeader]:
    """Read the header of each flood's first image in a folder that can be read."""
    seen: set[str] = set()
    for chip in chips:
        path = chip.images.get(folder)
        if path is None or chip.event in seen:
            continue
        try:
            header = read_header(path)
        except (FormatError, MissingFileError):  # told of when its pixels are asked for
            continue
        seen.add(chip.event)
        yield header


def _own_bands(header: ChipHeader, folder: str) -> tuple[str, ...]:
    """Bands of a file in file order, without the absent."""
    if header.shape[0] != len(BANDS[folder]):
        return BANDS[folder]  # a file that breaks the rules; its reader says so
    named = zip(BANDS[folder], header.descriptions, strict=True)
    return tuple(band for band, text in named if text != ABSENT)


def _pixel_m(header: ChipHeader) -> float:
    """Side of a pixel: 10 m in degrees, else the file's own unless its CRS stretches lengths."""
    box = header.geobox
    if box is None or box.crs is None or header.pixel_m is None or not box.crs.projected:
        return PIXEL_M
    unit_m = float(box.crs.proj.axis_info[0].unit_conversion_factor)
    side = math.sqrt(abs(box.transform.determinant)) * unit_m
    stretched = abs(header.pixel_m / side - 1) > _MAP_SCALE
    return round(header.pixel_m, 2) if stretched else round(side, 4)


def is_flood_image(path: Path) -> bool:
    """Tell an image of this layout by its folder and name."""
    folder = path.parent.name
    return folder in FOLDERS and path.stem.endswith(f"_{folder}")


def read_flood(path: Path, rules: PixelRules) -> ChipPixels:
    """Read a chip: (C, H, W), bands of the manifest, reflectance and decibels.

    A pixel of light is nodata where all thirteen bands are 0, not where one is: the cirrus band
    is 0 over much of a clear chip. Radar is nodata where a channel is NaN.

    Args:
        path: as ``FloodChip.image`` gives it.
        rules: of the data set.

    Raises:
        FormatError: not a raster, or another number of bands.
        BandError: a band of the data set is absent.
        MissingFileError: the other sensor's file is gone.
        GridMismatchError: the two images differ in size.
    """
    parts = [path]
    if rules.sensor.parts:
        folder = path.parent.parent / RADAR
        parts.append(folder / f"{path.stem.removesuffix(LIGHT)}{RADAR}{path.suffix}")
    found = [_read_one(part, rules) for part in parts]
    if len({pixels.values.shape[1:] for pixels, _ in found}) > 1:
        raise GridMismatchError(f"{parts[1]}: differs in size from {path.name}. Replace it.")
    bands = [band for _, names in found for band in names]
    values = np.concatenate([pixels.values for pixels, _ in found])
    lacking = [band for band in rules.manifest.bands if band not in bands]
    if lacking:
        raise BandError(
            f"{path}: has {', '.join(bands)} and no {lacking[0]}, which the data set has. Take the "
            "chip out, or name the bands that all chips have in dataset.json."
        )
    order = [bands.index(band) for band in rules.manifest.bands]
    return ChipPixels(values[order], found[0][0].geobox)


def _read_one(path: Path, rules: PixelRules) -> tuple[ChipPixels, tuple[str, ...]]:
    """Read all bands of one file but the absent, and their names."""
    folder = path.parent.name
    bands = _own_bands(read_header(path), folder) if folder == LIGHT else BANDS[folder]
    own = rules.manifest.model_copy(update={"bands": bands, "sensor": FOLDERS[folder]})
    sensor = get_sensor(FOLDERS[folder])
    one = replace(rules, sensor=sensor, manifest=own, blank=folder == LIGHT)
    return read_pixels(path, one), bands


def _read_splits(root: Path, hand: Path) -> dict[str, str]:
    """Split by chip, from what tables there are."""
    splits: dict[str, str] = {}
    for split, name in TABLES.items():
        homes = [*(root / home for home in _TABLE_HOMES), hand, hand.parent]
        table = next((home / name for home in homes if (home / name).is_file()), None)
        for chip in () if table is None else _read_table(table):
            if splits.setdefault(chip, split) != split:
                raise DatasetError(
                    f"{table}: {chip} is in {splits[chip]} already. Take it out of one table."
                )
    return splits


def _read_table(path: Path) -> list[str]:
    chips = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                if not any(cell.strip() for cell in row):
                    continue
                names = [Path(cell.strip()).stem.rpartition("_") for cell in row]
                if len(row) < 2 or len({chip for chip, _, _ in names}) > 1 or not names[0][0]:
                    raise DatasetError(
                        f"{path}: row {number} is {','.join(row)!r}; it must name an image and "
                        "the label of the same chip, Ghana_53713_S1Hand.tif,"
                        "Ghana_53713_LabelHand.tif for one."
                    )
                chips.append(names[0][0])
    except UnicodeDecodeError as exc:
        raise FormatError(f"{path}: is no text. Replace it.") from exc
    return chips
