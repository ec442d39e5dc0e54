"""Whole chips as they are stored: raw numbers in, raw numbers out, nothing scaled."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile

from headframe.core.errors import CrsError
from headframe.io.files import replacing
from headframe.io.geotiff import open_geotiff

_PREDICTOR = {"i": 2, "u": 2, "f": 3}


@dataclass(frozen=True)
class StoredHeader:
    """What a GeoTIFF says about its pixels.

    Attributes:
        descriptions: per band, alpha bands left out; None where it has none.
        bands: 1-based index in the file of each of those bands.
        geobox: grid with its CRS.
        dtype: NumPy name of the stored type.
        nodata: stored number that means no data, or None; may be NaN.
        scales: factor per band from the file's own tags, 1 where it has none.
        offsets: physical value of stored 0 per band, likewise, 0 where it has none.
        tags: the file's metadata.
        band_tags: metadata per band; empty where it was not read from a file.
    """

    descriptions: tuple[str | None, ...]
    bands: tuple[int, ...]
    geobox: GeoBox
    dtype: str
    nodata: float | None
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    tags: dict[str, str] = field(default_factory=dict)
    band_tags: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class StoredChip:
    """Pixels of one chip.

    Attributes:
        header: its description.
        values: stored numbers (C, H, W) in the stored type.
        valid: (C, H, W) bool; False where the file says no data (nodata value, mask or alpha
            band) or the value is NaN.
    """

    header: StoredHeader
    values: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]


def read_header(path: Path) -> StoredHeader:
    """Read the header of a GeoTIFF with a place on Earth.

    Raises:
        MissingFileError: no such file.
        FormatError: no GeoTIFF.
        CrsError: no CRS, or no geotransform.
    """
    with open_geotiff(path, kind="image") as dataset:
        return _header(dataset, path)


def read_stored(path: Path) -> StoredChip:
    """Read all of a GeoTIFF; alpha bands turn into validity. Errors as ``read_header``."""
    with open_geotiff(path, kind="image") as dataset:
        header = _header(dataset, path)
        values = dataset.read(list(header.bands))
        valid = dataset.read_masks(list(header.bands)) > 0
    if values.dtype.kind == "f":
        valid &= ~np.isnan(values)
    return StoredChip(header, values, valid)


def write_stored(path: Path, chip: StoredChip) -> None:
    """Write a chip as a deflated GeoTIFF with the same grid, type, nodata and descriptions.

    It is put together in memory, so that a full disk is noticed when it is written out.

    Raises:
        OutputError: the file cannot be written.
    """
    header, values = chip.header, chip.values
    height, width = values.shape[1:]
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            dtype=values.dtype.name,
            count=len(values),
            height=height,
            width=width,
            crs=str(header.geobox.crs),
            transform=header.geobox.transform,
            nodata=header.nodata,
            compress="deflate",
            predictor=_PREDICTOR.get(values.dtype.kind, 1),
            interleave="pixel",
            bigtiff="if_safer",
        ) as dataset:
            dataset.write(values)
            dataset.descriptions = header.descriptions
            dataset.scales, dataset.offsets = header.scales, header.offsets
            dataset.update_tags(**header.tags)
            for index, tags in enumerate(header.band_tags, start=1):
                dataset.update_tags(index, **tags)
        content = bytes(memory.getbuffer())
    with replacing(path) as part:
        part.write_bytes(content)


def select_bands(chip: StoredChip, indices: tuple[int, ...]) -> StoredChip:
    """Keep some bands, by 0-based index, in the order given."""
    header = chip.header
    kept = StoredHeader(
        descriptions=tuple(header.descriptions[i] for i in indices),
        bands=tuple(range(1, len(indices) + 1)),
        geobox=header.geobox,
        dtype=header.dtype,
        nodata=header.nodata,
        scales=tuple(header.scales[i] for i in indices),
        offsets=tuple(header.offsets[i] for i in indices),
        tags=header.tags,
        band_tags=tuple(header.band_tags[i] for i in indices) if header.band_tags else (),
    )
    return StoredChip(kept, chip.values[list(indices)], chip.valid[list(indices)])


def _header(dataset: Any, path: Path) -> StoredHeader:  # noqa: ANN401 - rasterio is untyped
    if dataset.crs is None:
        raise CrsError(
            f"{path}: has no coordinate reference system, so that no polygon can be placed on it. "
            "Set one, e.g. with gdal_edit.py -a_srs."
        )
    if dataset.transform == Affine.identity():
        raise CrsError(f"{path}: has a CRS but no geotransform; georeference it first.")
    bands = [
        i
        for i, c in zip(dataset.indexes, dataset.colorinterp, strict=True)
        if c != ColorInterp.alpha
    ]
    return StoredHeader(
        descriptions=tuple(dataset.descriptions[i - 1] for i in bands),
        bands=tuple(bands),
        geobox=GeoBox(dataset.shape, dataset.transform, dataset.crs),
        dtype=str(dataset.dtypes[0]),
        nodata=dataset.nodata,
        scales=tuple(dataset.scales[i - 1] for i in bands),
        offsets=tuple(dataset.offsets[i - 1] for i in bands),
        tags=dict(dataset.tags()),
        band_tags=tuple(dict(dataset.tags(i)) for i in bands),
    )
