"""Chips of a data set and their pixels, from either layout."""

import hashlib
import json
import logging
from collections.abc import Collection, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import shapely
from odc.geo.geobox import GeoBox

from headframe.core.classmap import IGNORE_INDEX, label_class_map
from headframe.core.components import BitArray
from headframe.core.errors import (
    DatasetError,
    FormatError,
    GridMismatchError,
    MissingFileError,
)
from headframe.core.progress import SILENT, Progress
from headframe.core.radar import RATIO_BAND, RATIO_PARENTS
from headframe.core.sensors import Sensor, get_sensor
from headframe.datasets.images import image_bytes, image_header, image_pixels
from headframe.datasets.labels import Target, as_target, read_label
from headframe.datasets.layout import (
    JOURNAL_NAME,
    Layout,
    find_files,
    find_layout,
    sidecar,
)
from headframe.datasets.lookalikes import same_ground
from headframe.datasets.manifest import MANIFEST_NAME, Manifest, read_manifest
from headframe.datasets.minesegsat import TILE_SENSOR, tile_manifest
from headframe.datasets.pixels import ChipHeader, PixelRules, name_bands, read_mask
from headframe.datasets.sen1floods11 import flood_chips, flood_manifest, flood_sensor
from headframe.datasets.splits import group_sites

UNUSED = "unused"
"""Split of chips that are kept, but neither trained on nor judged by."""
DEFAULT_SENSOR = "sentinel-2-l1c"
_LOG = logging.getLogger("headframe")
_LOOKALIKES: dict[tuple[Path, str], tuple[tuple[str, str], ...]] = {}


@dataclass(frozen=True)
class Chip:
    """One labelled image.

    Attributes:
        site: name of its folder.
        split: ``train``, ``val``, ``test``, or ``unused`` for further dates of held sites; None
            where the data set has no splits.
        image: the raster, or the folder of a tile's band files.
        label: PNG of classes, or raster of {0, 1} or of component masks.
        valid: PNG, 0 where the image has no data; None where nodata is in the image alone.
    """

    site: str
    split: str | None
    image: Path
    label: Path
    valid: Path | None

    @property
    def key(self) -> str:
        """Name within the data set: ``site/00000``."""
        return f"{self.site}/{self.image.stem}"


@dataclass(frozen=True)
class ChipArrays:
    """Pixels of one chip.

    Attributes:
        image: (C, H, W), float32, physical unit of the sensor; NaN in every band where there is
            no data in any.
        label: (H, W), uint8; ``binary``: 0, 1 = target, 255 = cloud or nodata; ``full``: classes
            of the class map, 255 = nodata; a class set's name: its classes, 255 = nodata.
        geobox: grid of the chip, or None without a CRS.
        bits: (H, W), uint16 masks of components (see ``core.components``), nodata included; None
            where the labels are no component masks.
    """

    image: npt.NDArray[np.float32]
    label: npt.NDArray[np.uint8]
    geobox: GeoBox | None
    bits: BitArray | None = None

    @property
    def empty(self) -> bool:
        """Whether no pixel has data."""
        return bool(np.isnan(self.image).all())


class ChipDataset:
    """A data set on disk. Made by ``open_dataset``; nothing but names is read until asked for."""

    def __init__(self, layout: Layout, chips: tuple[Chip, ...], manifest: Manifest) -> None:
        self.layout = layout
        self.manifest = manifest
        self._chips = chips
        self._told: set[Path] = set()
        self._rules = PixelRules(get_sensor(manifest.sensor), manifest)

    @property
    def root(self) -> Path:
        """The data set's folder."""
        return self.layout.root

    @property
    def bands(self) -> tuple[str, ...]:
        """Common names in the order of ``ChipArrays.image``."""
        return self.manifest.bands

    def chips(self, split: str | None = None) -> tuple[Chip, ...]:
        """Chips of one split, or all, sorted by split, site and number."""
        return tuple(c for c in self._chips if split is None or c.split == split)

    @cached_property
    def identifier(self) -> str:
        """16 hex digits that change with the chips, their sizes and their splits."""
        facts = sorted((c.split or "", c.key, image_bytes(c.image)) for c in self._chips)
        text = json.dumps([self.bands, facts])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def of_sites(self, sites: Collection[str]) -> "ChipDataset":
        """Give the same data set, identifier included, with the chips of some sites only."""
        view = copy(self)
        view._chips = tuple(chip for chip in self._chips if chip.site in sites)
        view.__dict__["identifier"] = self.identifier
        return view

    def site_groups(self, *, by_looks: bool = False) -> dict[str, str]:
        """Group of every site by name and by footprint (see ``splits.group_sites``).

        Args:
            by_looks: also by what chips without a CRS look like (see ``lookalikes``). Reads them.
        """
        return group_sites(self.outlines(), same=self.lookalikes() if by_looks else ())

    def lookalikes(self, progress: Progress = SILENT) -> tuple[tuple[str, str], ...]:
        """Pairs of sites whose chips, without a CRS, show the same ground by their looks.

        Remembered for the rest of the process.
        """
        key = (self.root, self.identifier)
        if key not in _LOOKALIKES:
            chips = [chip for chip in self._chips if not self._has_place(chip)]
            images = (self.read(chip).image for chip in chips)
            pairs = same_ground(images, count=len(chips), progress=progress)
            _LOOKALIKES[key] = tuple((chips[a].site, chips[b].site) for a, b in pairs)
        return _LOOKALIKES[key]

    def _has_place(self, chip: Chip) -> bool:
        header = self.header(chip)
        return header is None or header.outline is not None

    def outlines(self) -> dict[str, list[shapely.Geometry]]:
        """Footprints in EPSG:4326 of the chips of every site.

        Chips without a CRS, and those whose headers cannot be read, have none.
        """
        outlines: dict[str, list[shapely.Geometry]] = {c.site: [] for c in self._chips}
        for chip in self._chips:
            header = self.header(chip)
            if header is not None and header.outline is not None:
                outlines[chip.site].append(header.outline)
        return outlines

    def header(self, chip: Chip) -> ChipHeader | None:
        """Size, grid and outline of a chip; None, with a warning, where it cannot be read."""
        try:
            return image_header(chip.image)
        except (FormatError, MissingFileError) as exc:
            self._tell(chip, str(exc))
            return None

    def read(self, chip: Chip, *, target: Target = "binary") -> ChipArrays:
        """Read one chip.

        An image that cannot be read, or has no data at all, is reported once and comes back as
        nodata only, labels ignored, so that it counts nowhere.

        Args:
            chip: one of ``chips()``.
            target: ``binary``, ``full`` or a class set, see ``ChipArrays.label``.

        Raises:
            BandError: a band of the data set is missing.
            UnitError: float reflectance with a scale for integers.
            FormatError: the label cannot be read or holds unknown values.
            MissingFileError: the label is gone.
            DatasetError: a class set is asked for, and the labels are no component masks.
            GridMismatchError: label and image differ in size.
        """
        stored = read_label(chip.label, self.manifest)
        try:
            pixels = image_pixels(chip.image, self._rules)
            image, geobox = pixels.values, pixels.geobox
        except (FormatError, MissingFileError) as exc:
            self._tell(chip, str(exc))
            image = np.full((len(self.bands), *stored.shape), np.nan, np.float32)
            geobox = None
        _same_size(chip.label, stored.shape, chip.image, image.shape[1:])
        if chip.valid is not None:
            valid = read_mask(chip.valid)
            _same_size(chip.valid, valid.shape, chip.image, image.shape[1:])
            image[:, valid == 0] = np.nan
        missing = np.isnan(image).any(axis=0)
        image[:, missing] = np.nan
        if missing.all():
            self._tell(chip, f"{chip.image}: every pixel is nodata.")
        label = as_target(stored, self.manifest, target)
        if bool((label == IGNORE_INDEX).all()) and not missing.all():
            self._tell(chip, f"{chip.label}: every pixel is ignored.")
        label[missing] = IGNORE_INDEX
        components = self.manifest.labels == "bits"
        bits = stored.astype(np.uint16, copy=False) if components else None
        return ChipArrays(image, label, geobox, bits)

    def readable(
        self,
        split: str | None = None,
        *,
        target: Target = "binary",
        progress: Progress = SILENT,
    ) -> Iterator[tuple[Chip, ChipArrays]]:
        """Read chip after chip, leaving out those without any data (each is reported)."""
        chips = self.chips(split)
        progress.start("Reading chips", len(chips))
        for chip in chips:
            arrays = self.read(chip, target=target)
            if not arrays.empty:
                yield chip, arrays
            progress.advance()
        progress.finish()

    def _tell(self, chip: Chip, reason: str) -> None:
        if chip.image not in self._told:
            self._told.add(chip.image)
            _LOG.warning("%s Chip %s is skipped.", reason, chip.key)


def open_dataset(
    path: Path | str,
    *,
    sensor: str | None = None,
    bands: Sequence[str] | None = None,
    class_name: str | None = None,
) -> ChipDataset:
    """Open a data set made by ``headframe label``, or a raw folder of images and masks.

    Args:
        path: folder with ``<split>/images/<site>/``, ``val`` and ``test`` beside ``train`` or
            inside it; or with ``images/<site>/*.tif`` and ``masks|labels/<site>/*.tif|png``; or
            with ``dataset_splits.csv`` as MineSegSAT has it (see ``datasets.minesegsat``); or
            Sen1Floods11 (see ``datasets.sen1floods11``).
        sensor: sensor of a folder without ``dataset.json``; sentinel-2-l1c if not said, of a
            MineSegSAT set sentinel-2-l2a, of Sen1Floods11 all that every chip has.
        bands: bands in file order, for such a folder whose files do not name theirs.
        class_name: what 1 means in the masks of such a folder; mining if not said.

    Raises:
        MissingFileError: no such folder.
        DatasetError: not a data set, no complete pair, or a split was interrupted.
        BandError: the bands cannot be told.
    """
    layout = find_layout(Path(path))
    if (layout.root / JOURNAL_NAME).exists():
        raise DatasetError(
            f"{layout.root}: moving chips between splits was interrupted. "
            f"Finish it by running `headframe dataset split {layout.root}` again."
        )
    if layout.kind == "floods":
        return _open_floods(layout, sensor)
    chips = _pairs(layout)
    if (layout.root / MANIFEST_NAME).is_file():
        manifest = read_manifest(layout.root)
    elif layout.kind == "tiles":
        manifest = tile_manifest(sensor=sensor or TILE_SENSOR)
    else:
        manifest = _guess_manifest(chips, sensor, bands, class_name)
    if layout.kind == "raw":
        chips = _with_splits(chips, manifest)
    return ChipDataset(layout, _unused(chips, manifest), manifest)


def _open_floods(layout: Layout, sensor: str | None) -> ChipDataset:
    """Open Sen1Floods11, for the sensor that is wanted, that dataset.json names, or for all."""
    hand = layout.parts[0].root
    found = flood_chips(hand)
    known = (layout.root / MANIFEST_NAME).is_file()
    own = read_manifest(layout.root) if known else None
    chosen = flood_sensor(found, hand, sensor or (None if own is None else own.sensor))
    manifest = own
    if manifest is None or manifest.sensor != chosen:
        manifest = flood_manifest(layout.root, hand, chosen)
    pairs = [(chip, chip.image(chosen)) for chip in found]
    chips = tuple(
        Chip(chip.event, None, image, chip.label, None)
        for chip, image in pairs
        if image is not None and chip.label is not None
    )
    if len(chips) < len(found):
        _LOG.warning(
            "%s: %d of %d chips lack a label or an image of %s and are skipped.",
            hand,
            len(found) - len(chips),
            len(found),
            chosen,
        )
    return ChipDataset(layout, _unused(_with_splits(chips, manifest), manifest), manifest)


def _unused(chips: tuple[Chip, ...], manifest: Manifest) -> tuple[Chip, ...]:
    """Mark the chips that the manifest keeps out of every split."""
    spare = set(manifest.unused)
    return tuple(replace(c, split=UNUSED) if c.key in spare else c for c in chips)


def _pairs(layout: Layout) -> tuple[Chip, ...]:
    chips, lonely = [], []
    for part in layout.parts:
        for files in find_files(part):
            if files.image is None or files.label is None:
                lonely.append(files.image or files.label)
                continue
            valid = sidecar(part, "valid", files.image)
            chips.append(Chip(files.site, part.split, files.image, files.label, valid))
    if lonely:
        _LOG.warning(
            "%s: %d files have no partner and are skipped, the first is %s.",
            layout.root,
            len(lonely),
            lonely[0],
        )
    if not chips:
        raise DatasetError(f"{layout.root}: no image has a label. Names must agree but for suffix.")
    return tuple(chips)


def _with_splits(chips: tuple[Chip, ...], manifest: Manifest) -> tuple[Chip, ...]:
    """Take the splits of a raw folder from its manifest, by chip or by site."""
    of = {name: split for split, names in manifest.splits.items() for name in names}
    placed = [Chip(c.site, of.get(c.key, of.get(c.site)), c.image, c.label, c.valid) for c in chips]
    order = {"train": 0, "val": 1, "test": 2}
    return tuple(sorted(placed, key=lambda c: (order.get(c.split or "", 3), c.site, c.image)))


def _guess_manifest(
    chips: tuple[Chip, ...],
    sensor_name: str | None,
    bands: Sequence[str] | None,
    class_name: str | None,
) -> Manifest:
    """Describe a folder without ``dataset.json`` from its first readable image."""
    header = _first_header(chips)
    sensor = get_sensor(sensor_name or header.sensor or DEFAULT_SENSOR)
    named = name_bands(header, sensor, bands)
    if set(RATIO_PARENTS) <= set(named) and RATIO_BAND not in named:
        named = (*named, RATIO_BAND)  # the reader forms it
    masks = chips[0].label.suffix.lower() != ".png"
    return Manifest(
        sensor=sensor.name,
        bands=named,
        gsd_m=_gsd_m(header, sensor, named),
        classes=label_class_map(class_name or "mining"),
        labels="mask" if masks else "index",
    )


def _first_header(chips: tuple[Chip, ...]) -> ChipHeader:
    for chip in chips:
        try:
            return image_header(chip.image)
        except (FormatError, MissingFileError):
            continue
    raise DatasetError(f"{chips[0].image}: neither it nor any other image can be read.")


def _gsd_m(header: ChipHeader, sensor: Sensor, bands: tuple[str, ...]) -> float:
    """Pixel size: the sensor's own where the file agrees to a fifth or does not say."""
    own = min(sensor.band(name).gsd_m for name in bands)
    if header.pixel_m is None or abs(header.pixel_m / own - 1) < 0.2:
        return own
    return round(header.pixel_m, 2)


def _same_size(path: Path, shape: tuple[int, ...], image: Path, expected: tuple[int, ...]) -> None:
    if tuple(shape) != tuple(expected):
        raise GridMismatchError(
            f"{path}: is {shape[0]} x {shape[1]} pixels; {image.name} is "
            f"{expected[0]} x {expected[1]}. Make the label anew from this image."
        )
