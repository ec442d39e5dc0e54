"""Class maps and cloud masks, read on another raster's grid."""

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterWindow

from headframe.core.classmap import IGNORE_INDEX, ClassInfo, ClassMap
from headframe.core.components import NODATA_BITS, BitArray, component_class_map
from headframe.core.errors import CrsError, FormatError
from headframe.geo.window import Window
from headframe.io.bitmask import bit_names, is_bit_mask
from headframe.io.layers import gdal_reading, has_alpha, open_raster, shown

ByteArray = NDArray[np.uint8]

SCL_CLOUDS = (3, 8, 9, 10)
"""Sentinel-2 scene classification: cloud shadow, cloud of medium and high probability, cirrus."""

_EXACT_PX = 1e-6
_CLASS_TAG = re.compile(r"class_(\d{1,3})")
_SCL_NAME = re.compile(r"(?<![a-z])scl(?![a-z])", re.IGNORECASE)
_COLORS = (
    (230, 85, 13), (49, 130, 189), (117, 107, 177), (49, 163, 84), (252, 197, 66),
    (166, 54, 3), (99, 99, 99), (228, 26, 132), (0, 150, 150), (140, 86, 75),
)  # fmt: skip


@dataclass(frozen=True)
class ClassFile:
    """What a raster of classes says about itself.

    Attributes:
        source: path or URL.
        geobox: its grid, with a CRS.
        names: class index to name, as far as its tags say.
        colors: class index to sRGB, as far as its palette says.
        bits: of a mask of components, the bits to read, class k + 1 being bit k; 0 for classes
            that exclude each other.
    """

    source: str
    geobox: GeoBox
    names: dict[int, str]
    colors: dict[int, tuple[int, int, int]]
    bits: int = 0


def carries_classes(source: str) -> bool:
    """Tell whether a raster says itself that it holds classes.

    It has one band, and tags ``class_N`` or the marks of a mask of components.
    """
    with open_raster(source) as dataset:
        named = _class_names(dataset.tags()) or is_bit_mask(dataset)
        return dataset.count == 1 and bool(named)


def read_class_file(source: str) -> ClassFile:
    """Read what a class map, or a mask of components, says about itself.

    Raises:
        MissingFileError: it is not there.
        FormatError: several bands, no whole numbers, nodata 0, which is the background, or bits
            named other than usual.
        CrsError: no CRS or no place.
    """
    with open_raster(source) as dataset, gdal_reading(source):
        if dataset.count != 1 or np.dtype(dataset.dtypes[0]).kind not in "iu":
            raise FormatError(
                f"{shown(source)}: is no class map (one band of whole numbers) but "
                f"{dataset.count} band(s) of {dataset.dtypes[0]}. Name a model with --model to map "
                "it first."
            )
        if dataset.nodata == 0:
            raise FormatError(
                f"{shown(source)}: its nodata is 0, which is the background's number. Run "
                "gdal_edit.py -a_nodata 255 on it."
            )
        place = _placed(dataset, source)
        if is_bit_mask(dataset):
            named = bit_names(dataset.tags(), shown(source))
            names = {0: "background"} | {bit + 1: name for bit, name in named.items()}
            return ClassFile(source, place, names, {}, bits=sum(1 << bit for bit in named))
        return ClassFile(source, place, _class_names(dataset.tags()), _palette(dataset))


def common_classes(before: ClassFile, after: ClassFile, highest: int) -> ClassMap:
    """Name the classes of two maps that must mean the same by the same number.

    Args:
        before: the earlier map.
        after: the later one; where only one of them names its classes, those names count.
        highest: highest class that occurs in either.

    Raises:
        FormatError: they name one number differently.
    """
    if before.names and after.names and before.names != after.names:
        raise FormatError(
            f"{shown(before.source)} has classes {_told(before.names)} and {shown(after.source)} "
            f"{_told(after.names)}: they cannot be compared. Map both with one model."
        )
    names = before.names or after.names
    colors = before.colors if before.names or not after.names else after.colors
    top = max(highest, *names, 1) if names else max(highest, 1)
    plain = "mine" if top == 1 else "class {}"
    infos = [ClassInfo(0, names.get(0, "background"), (242, 242, 236))]
    for index in range(1, top + 1):
        color = colors.get(index, _COLORS[(index - 1) % len(_COLORS)])
        infos.append(ClassInfo(index, names.get(index, plain.format(index)), color))
    return ClassMap(tuple(infos))


def common_bits(before: ClassFile, after: ClassFile) -> int:
    """Find the bits that both of two masks may hold under one name.

    Raises:
        FormatError: one is a class map, or they have no component in common.
    """
    for mask, other in ((before, after), (after, before)):
        if mask.bits and not other.bits:
            raise FormatError(
                f"{shown(mask.source)} is a mask of components and {shown(other.source)} a class "
                "map: they cannot be compared. Name two masks (*.components.tif) or two class "
                "maps of one model."
            )
    both = set(before.names.items()) & set(after.names.items())
    bits = sum(1 << (index - 1) for index, _ in both if index)
    if not bits:
        raise FormatError(
            f"{shown(before.source)} has components {_told(before.names)} and "
            f"{shown(after.source)} {_told(after.names)}: none is in both. Map both with the same "
            "models."
        )
    return bits


def component_classes(mask: ClassFile) -> ClassMap:
    """Name the classes of a mask, class ``k + 1`` being bit ``k``; bits in between are numbered."""
    infos = list(component_class_map().classes)
    for index in range(len(infos), max(mask.names) + 1):
        name = mask.names.get(index, f"bit {index - 1}")
        infos.append(ClassInfo(index, name, _COLORS[(index - 1) % len(_COLORS)]))
    return ClassMap(tuple(infos))


def _told(names: dict[int, str]) -> str:
    return ", ".join(f"{i} {name}" for i, name in sorted(names.items()))


@dataclass(frozen=True)
class CloudMask:
    """Where a date is under cloud.

    Attributes:
        source: path or URL of a raster.
        band: 1-based band of it.
        values: numbers that mean cloud; empty for a mask: anything but 0 is cloud.
    """

    source: str
    band: int = 1
    values: tuple[int, ...] = ()


def cloud_mask(source: str, values: Sequence[int] | None) -> CloudMask:
    """Read how a raster tells cloud.

    A band described as SCL, or a file with SCL as a word of its name, is Sentinel-2's scene
    classification: 3, 8, 9, 10 are cloud or its shadow. Any other file is a mask.

    Args:
        source: path or URL.
        values: numbers that mean cloud, where the caller states them.

    Raises:
        MissingFileError: it is not there.
        CrsError: no CRS or no place.
    """
    with open_raster(source) as dataset:
        _placed(dataset, source)
        band = _scl_band(dataset)
        named = band is not None or _SCL_NAME.search(Path(source.split("?", 1)[0]).name)
    if values is not None:
        return CloudMask(source, band or 1, tuple(values))
    return CloudMask(source, band or 1, SCL_CLOUDS if named else ())


def own_cloud_mask(source: str) -> CloudMask | None:
    """Find a band described as SCL in a scene's own file."""
    if source.lower().endswith(".json"):
        return None
    with open_raster(source) as dataset:
        band = _scl_band(dataset)
    return None if band is None else CloudMask(source, band, SCL_CLOUDS)


def _scl_band(dataset: Any) -> int | None:  # noqa: ANN401 - rasterio is untyped
    found = [i for i, d in zip(dataset.indexes, dataset.descriptions, strict=True) if d]
    return next((i for i in found if _SCL_NAME.search(dataset.descriptions[i - 1])), None)


class AlignedClasses:
    """Classes of one date on a grid that is not theirs; nearest pixel, without approximation.

    Attributes:
        dtype: ``uint8`` for classes, 255 being no data; ``uint16`` for masks of components,
            65535 being no data.
    """

    def __init__(
        self, file: ClassFile, geobox: GeoBox, *, clouds: CloudMask | None, ignored: Sequence[int]
    ) -> None:
        """Prepare to read.

        Args:
            file: the class map.
            geobox: the grid to read on.
            clouds: where the date is under cloud; what it does not cover is not known either.
            ignored: classes that are no data: cloud.
        """
        self.dtype = "uint16" if file.bits else "uint8"
        self._file = file
        self._geobox = geobox
        self._clouds = clouds
        self._ignored = ignored
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Open the files."""
        with ExitStack() as closing:
            self._classes = _warped(self._file.source, self._geobox, closing)
            self._masked: Any = None
            if self._clouds is not None:
                self._masked = _warped(self._clouds.source, self._geobox, closing)
            self._stack = closing.pop_all()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Close the files."""
        self._stack.close()

    def read(self, window: Window) -> ByteArray | BitArray:
        """Read classes or masks (h, w); no data outside the file, at nodata and under cloud.

        Raises:
            FormatError: a number above 254 that is not nodata, a bit without a name, or a
                damaged file.
        """
        where = RasterWindow(window.col, window.row, window.width, window.height)
        with gdal_reading(self._file.source):
            values = self._classes.read(1, window=where)
            known = self._classes.read_masks(1, window=where) > 0
        if self._file.bits:
            unsure = np.uint16(sum(1 << (index - 1) for index in self._ignored))
            lost = ~known | (values == NODATA_BITS)
            lost |= (values & unsure) != 0
        else:
            lost = ~known | np.isin(values, [*self._ignored, IGNORE_INDEX])
        self._check(values[~lost])
        if self._clouds is not None:
            lost |= self._under_cloud(where, self._clouds)
        if self._file.bits:
            return np.where(lost, NODATA_BITS, values & self._file.bits).astype(np.uint16)
        return np.where(lost, IGNORE_INDEX, values).astype(np.uint8)

    def _check(self, values: NDArray[np.integer]) -> None:
        named = sum(1 << (index - 1) for index in self._file.names if index)
        wrong = values[(values < 0) | (values > IGNORE_INDEX)]
        if self._file.bits:
            wrong = values[(values & ~np.int64(named)) != 0]
        if not wrong.size:
            return
        if self._file.bits:
            raise FormatError(
                f"{shown(self._file.source)}: value {wrong[0]} has bits that no tag names. Add "
                "tags BIT_10 and so on, or write the mask anew."
            )
        raise FormatError(
            f"{shown(self._file.source)}: value {wrong[0]} is no class (0 to 254; 255 is no "
            "data). Name a model with --model if it is a scene; a mask of components has tags "
            "BIT_0=excavation and so on."
        )

    def _under_cloud(self, where: RasterWindow, clouds: CloudMask) -> NDArray[np.bool_]:
        with gdal_reading(clouds.source):
            values = self._masked.read(clouds.band, window=where)
            known = self._masked.read_masks(clouds.band, window=where) > 0
        if clouds.values:
            return np.asarray(np.isin(values, clouds.values) | ~known)
        strange = values[known & ~np.isin(values, (0, 1, 255))]
        if strange.size:
            raise FormatError(
                f"{shown(clouds.source)}: value {strange[0]} in a cloud mask, which has 0 and 1. "
                "If it is a scene classification, name its clouds: --cloud-values 3,8,9,10."
            )
        return np.asarray((values != 0) | ~known)


def _warped(source: str, geobox: GeoBox, closing: ExitStack) -> Any:  # noqa: ANN401 - rasterio is untyped
    """Open a raster on another grid; its mask says where it has data."""
    dataset = closing.enter_context(open_raster(source))
    with gdal_reading(source):
        return closing.enter_context(
            WarpedVRT(
                dataset,
                crs=str(geobox.crs),
                transform=geobox.transform,
                width=geobox.shape[1],
                height=geobox.shape[0],
                resampling=Resampling.nearest,
                tolerance=_EXACT_PX,
                add_alpha=dataset.nodata is None and not has_alpha(dataset),
            )
        )


def _placed(dataset: Any, source: str) -> GeoBox:  # noqa: ANN401 - rasterio is untyped
    if dataset.crs is None or dataset.transform.is_identity:
        raise CrsError(
            f"{shown(source)}: has no coordinate reference system or no place in it, so it "
            "cannot be compared with another date. Set them with gdal_edit.py -a_srs -a_ullr."
        )
    return GeoBox(dataset.shape, dataset.transform, dataset.crs.to_wkt())


def _class_names(tags: dict[str, str]) -> dict[int, str]:
    found = {_CLASS_TAG.fullmatch(key.lower()): value for key, value in tags.items()}
    names = {int(match.group(1)): value for match, value in found.items() if match}
    return dict(sorted(names.items()))


def _palette(dataset: Any) -> dict[int, tuple[int, int, int]]:  # noqa: ANN401 - rasterio is untyped
    try:
        entries = dataset.colormap(1)
    except ValueError:  # rasterio's word for no palette
        return {}
    return {i: (r, g, b) for i, (r, g, b, alpha) in entries.items() if alpha}


def class_window(geobox: GeoBox, *, longest_px: int) -> GeoBox:
    """Shrink a grid to a picture's, no side longer than ``longest_px``."""
    step = max(1.0, max(geobox.shape) / longest_px)
    return geobox if step == 1.0 else geobox.zoom_out(step)
