"""Component labels as files: one band of bit masks, or ten layers of 0 and 1, and conversions.

The bit mask is what data sets store: single-band uint16, component k is ``1 << k``, 65535 where
nobody labelled. The ten-layer form is what other tools draw and edit: uint8 bands described by the
components' names, 1 there, 0 not, 255 unlabelled.
"""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from headframe.core.classmap import IGNORE_INDEX
from headframe.core.components import (
    COMPONENT_NAMES,
    NODATA_BITS,
    BitArray,
    bits_of_layers,
    check_bits,
    component,
    layers_of,
)
from headframe.core.errors import FormatError, UnknownNameError
from headframe.io.cog import gdal_writing
from headframe.io.files import replacing
from headframe.io.geotiff import open_geotiff, unreadable

BITS_DESCRIPTION = "component bits"
_KIND = "file of component labels"
_BIT_TAG = "BIT_{}"
_BLOCK_PX = 512
_STRIP_PX = 512
"""Rows converted at a time: a whole Sentinel-2 tile of ten layers takes 56 MB."""


_BIT_KEY = re.compile(r"BIT_(\d{1,2})")
_MOST_BITS = 15
"""Beside ``NODATA_BITS``, as many bits of 16 can be told from it."""


@dataclass(frozen=True)
class BitMask:
    """A bit mask and its grid.

    Attributes:
        values: (H, W), uint16; ``NODATA_BITS`` where unlabelled.
        geobox: its grid, or None without a CRS.
    """

    values: BitArray
    geobox: GeoBox | None


def write_bits(path: Path, mask: BitMask) -> None:
    """Write a bit mask as a deflated GeoTIFF, all or nothing; its tags name the bits.

    Raises:
        FormatError: a value that is no mask of ten components.
        OutputError: the file cannot be written.
    """
    check_bits(mask.values, source=str(path))
    height, width = mask.values.shape
    with gdal_writing(path), _create(path, _profile(mask.geobox, height, width), 1) as sink:
        sink.write(mask.values, 1)


def read_bits(path: Path) -> BitMask:
    """Read a bit mask.

    Raises:
        MissingFileError: no such file.
        FormatError: no GeoTIFF of one whole-number band, bits of other names, or other values.
    """
    with open_geotiff(path, kind=_KIND) as source:
        _check_one_band(source, path)
        values = _bits(source, None, path)
        geobox = None if source.crs is None else GeoBox.from_rio(source)
    return BitMask(values, geobox)


def bits_to_layers(path: Path, out: Path) -> None:
    """Write ten layers from a bit mask, on the same grid, strip by strip.

    Raises:
        MissingFileError: no such file.
        FormatError: see ``read_bits``.
        OutputError: ``out`` cannot be written.
    """
    with open_geotiff(path, kind=_KIND) as source:
        _check_one_band(source, path)
        with gdal_writing(out), _create(out, _profile_of(source), len(COMPONENT_NAMES)) as sink:
            for window in _strips(source):
                sink.write(layers_of(_bits(source, window, path)), window=window)


def layers_to_bits(path: Path, out: Path) -> None:
    """Write a bit mask from ten layers, on the same grid, strip by strip.

    Layers are found by their descriptions, in any order; a file that describes none of ten bands
    is taken in the order of ``COMPONENTS``.

    Raises:
        MissingFileError: no such file.
        FormatError: no GeoTIFF, a layer missing, doubled or unknown, or values but 0, 1 and 255.
        OutputError: ``out`` cannot be written.
    """
    with open_geotiff(path, kind=_KIND) as source:
        order = _layer_order(source.descriptions, path)
        with gdal_writing(out), _create(out, _profile_of(source), 1) as sink:
            for window in _strips(source):
                bits = bits_of_layers(_layers(source, order, window, path))
                sink.write(bits, 1, window=window)


def is_bit_mask(dataset: Any) -> bool:  # noqa: ANN401 - rasterio is untyped
    """Tell whether an open raster says itself that it is a mask: by its tags or its only band."""
    if dataset.count != 1 or dataset.dtypes[0] != "uint16":
        return False
    tagged = any(_BIT_KEY.fullmatch(key) for key in dataset.tags())
    return tagged or dataset.descriptions[0] == BITS_DESCRIPTION


def bit_names(tags: Mapping[str, str], source: str) -> dict[int, str]:
    """Read from a mask's tags which bits it may hold; the ten components where it has none.

    A map of some models names the bits of what they look for only, and gives bits from 10 on to
    classes that are no components.

    Args:
        tags: of the raster.
        source: for messages.

    Returns:
        Position of the bit to its name, ascending.

    Raises:
        FormatError: one of the first ten bits has another name than usual, or a bit is too high.
    """
    found = {int(m.group(1)): tags[key] for key in tags if (m := _BIT_KEY.fullmatch(key))}
    for place, said in found.items():
        usual = COMPONENT_NAMES[place] if place < len(COMPONENT_NAMES) else said
        if said != usual or place >= _MOST_BITS:
            raise FormatError(
                f"{source}: its tags say that bit {place} is {said!r}"
                f"{f', not {usual!r}' if said != usual else ''}. "
                "Write it anew with the bits in the usual order."
            )
    return dict(sorted(found.items())) or dict(enumerate(COMPONENT_NAMES))


@contextmanager
def _create(path: Path, profile: dict[str, Any], count: int) -> Iterator[Any]:
    dtype, nodata = ("uint16", NODATA_BITS) if count == 1 else ("uint8", IGNORE_INDEX)
    with replacing(path) as part, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(part, "w", **profile, count=count, dtype=dtype, nodata=nodata) as sink:
            if count == 1:
                sink.descriptions = (BITS_DESCRIPTION,)
                sink.update_tags(**{_BIT_TAG.format(i): n for i, n in enumerate(COMPONENT_NAMES)})
            else:
                sink.descriptions = COMPONENT_NAMES
            yield sink
        with rasterio.open(part) as written:  # GDAL may not say that a disk was full at the end
            for window in _strips(written):
                written.read(window=window)


def _profile(geobox: GeoBox | None, height: int, width: int) -> dict[str, Any]:
    place: dict[str, Any] = {}
    if geobox is not None:
        place = {"crs": str(geobox.crs), "transform": geobox.transform}
    return {**_plain_profile(height, width), **place}


def _profile_of(source: Any) -> dict[str, Any]:  # noqa: ANN401 - rasterio is untyped
    place = {"transform": source.transform, "crs": source.crs}
    return {**_plain_profile(source.height, source.width), **place}


def _plain_profile(height: int, width: int) -> dict[str, Any]:
    profile: dict[str, Any] = {"driver": "GTiff", "height": height, "width": width}
    profile |= {"compress": "deflate", "predictor": 1, "interleave": "band"}
    if min(height, width) >= _BLOCK_PX:
        profile |= {"tiled": True, "blockxsize": _BLOCK_PX, "blockysize": _BLOCK_PX}
    return profile


def _strips(source: Any) -> Iterator[Window]:  # noqa: ANN401 - rasterio is untyped
    for row in range(0, source.height, _STRIP_PX):
        yield Window(0, row, source.width, min(_STRIP_PX, source.height - row))


def _check_one_band(source: Any, path: Path) -> None:  # noqa: ANN401 - rasterio is untyped
    if source.count != 1 or np.dtype(source.dtypes[0]).kind not in "iu":
        raise FormatError(
            f"{path}: has {source.count} band(s) of {source.dtypes[0]}; a mask of components has "
            "one of whole numbers. Ten layers become one with `headframe dataset bits`."
        )
    bit_names(source.tags(), str(path))


def _bits(source: Any, window: Window | None, path: Path) -> BitArray:  # noqa: ANN401 - untyped
    values = _read(source, 1, window, path)
    if source.nodata is not None and source.nodata != NODATA_BITS:
        values = np.where(values == source.nodata, NODATA_BITS, values)
    check_bits(values, source=str(path))
    return np.asarray(values, np.uint16)


def _read(
    source: Any,  # noqa: ANN401 - rasterio is untyped
    bands: int | list[int],
    window: Window | None,
    path: Path,
) -> npt.NDArray[Any]:
    try:
        return np.asarray(source.read(bands, window=window))
    except RasterioError as exc:
        raise unreadable(path, exc) from exc


def _layers(
    source: Any,  # noqa: ANN401 - rasterio is untyped
    order: Sequence[int],
    window: Window,
    path: Path,
) -> npt.NDArray[np.uint8]:
    values = _read(source, list(order), window, path)
    if source.nodata not in (None, 0, 1):
        values = np.where(values == source.nodata, IGNORE_INDEX, values)
    alien = np.setdiff1d(values, (0, 1, IGNORE_INDEX))
    if alien.size:
        place = int(np.argwhere(values == alien[0])[0][0])
        raise FormatError(
            f"{path}: layer {COMPONENT_NAMES[place]} holds {alien[0]}; layers hold 1 where the "
            f"component is, 0 where not and {IGNORE_INDEX} where nobody labelled."
        )
    return values.astype(np.uint8)


def _layer_order(descriptions: Sequence[str | None], path: Path) -> list[int]:
    """1-based index of each component's band."""
    count = len(COMPONENT_NAMES)
    if not any(descriptions) and len(descriptions) == count:
        return list(range(1, count + 1))
    try:
        found = [component(text or "").name for text in descriptions]
    except UnknownNameError as exc:
        raise FormatError(f"{path}: a band is described wrongly: {exc}") from exc
    missing = [name for name in COMPONENT_NAMES if name not in found]
    if missing or len(found) != count:
        raise FormatError(
            f"{path}: has {len(found)} layers ({', '.join(found)}); each of the {count} components "
            f"must be there once{', missing: ' + ', '.join(missing) if missing else ''}."
        )
    return [found.index(name) + 1 for name in COMPONENT_NAMES]
