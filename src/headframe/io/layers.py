"""Open rasters as layers: chosen bands of one file, with what is nodata in them."""

import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.windows
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from headframe.core.errors import FormatError, MissingFileError
from headframe.geo.window import Window

BLOCK_CACHE = 32 * 2**20
"""Cap of GDAL's block cache, bytes: memory must not grow with the scene."""

_COLOURS = ("red", "green", "blue", "nir", "coastal", "rededge", "pan")


def is_remote(source: str) -> bool:
    """Tell whether GDAL reaches ``source`` over the network."""
    return "://" in source or source.startswith(
        (
            "/vsicurl",
            "/vsis3",
            "/vsigs",
            "/vsiaz",
            "/vsiadls",
            "/vsioss",
            "/vsiswift",
            "/vsiwebhdfs",
        )
    )


def is_subdataset(source: str) -> bool:
    """Tell whether ``source`` is GDAL's name for a raster in a file, like ``GPKG:file:table``."""
    return re.match(r"[A-Za-z0-9_]{2,}:", source) is not None


def shown(source: str) -> str:
    """Name ``source`` in a message, without a URL's query (it may hold a signature)."""
    return source.split("?", 1)[0] if is_remote(source) else source


@contextmanager
def gdal_reading(source: str) -> Iterator[None]:
    """Run GDAL reads of ``source`` with sensible settings and our errors.

    Raises:
        MissingFileError: the remote file is not there.
        FormatError: GDAL cannot read it, or not to the end.
    """
    settings: dict[str, Any] = {"GDAL_CACHEMAX": BLOCK_CACHE}
    if is_remote(source):
        settings |= {
            "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
            "GDAL_HTTP_MAX_RETRY": 3,
            "GDAL_HTTP_RETRY_DELAY": 1,
            "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": True,
            "VSI_CACHE": True,
            "VSI_CACHE_SIZE": 32 * 2**20,
        }
    try:
        with rasterio.Env(**settings):
            yield
    except (RasterioError, CPLE_BaseError) as exc:
        raise _mapped(source, exc) from exc


def _mapped(source: str, exc: Exception) -> FormatError | MissingFileError:
    cause: BaseException = exc
    while cause.__cause__ is not None:
        cause = cause.__cause__
    said = " ".join(str(cause).split()).replace(source, shown(source))
    if is_remote(source):
        said = said.split("?", 1)[0]
        if any(word in said for word in ("404", "NoSuchKey", "does not exist", "NoSuchBucket")):
            return MissingFileError(f"{shown(source)}: not found ({said}). Check the address.")
    return FormatError(
        f"{shown(source)}: cannot be read as a raster ({said}). "
        "It may be cut short, damaged or not an image; fetch or export it again."
    )


def open_raster(source: str) -> Any:  # noqa: ANN401 - rasterio has no types
    """Open a raster file, local or remote.

    Raises:
        MissingFileError: no such file.
        FormatError: not a raster, or a container of several.
    """
    if not is_remote(source) and not source.startswith("/vsi"):
        path = Path(source)
        if path.is_dir():
            raise FormatError(f"{source}: is a folder; name the scene files in it.")
        if not path.exists() and not is_subdataset(source):
            raise MissingFileError(f"{source}: no such file.")
    with gdal_reading(source), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = rasterio.open(source)
    if dataset.count == 0:
        inside = ", ".join(dataset.subdatasets[:4]) or "none"
        dataset.close()
        raise FormatError(f"{shown(source)}: holds no bands itself; its rasters: {inside}.")
    if any("complex" in str(dtype) for dtype in dataset.dtypes):
        dataset.close()
        raise FormatError(
            f"{shown(source)}: holds complex numbers. Convert them to amplitude or decibels first."
        )
    return dataset


def band_descriptions(dataset: Any) -> list[str | None]:  # noqa: ANN401 - rasterio has no types
    """Say for each band what the file calls it: description, name tag, or colour; else None."""
    return [_description(dataset, index) for index in dataset.indexes]


def _description(dataset: Any, index: int) -> str | None:  # noqa: ANN401 - rasterio has no types
    tags = {key.upper(): value for key, value in dataset.tags(index).items()}
    for text in (dataset.descriptions[index - 1], tags.get("BANDNAME"), tags.get("COMMON_NAME")):
        if text and text.strip():
            return str(text)
    colour = dataset.colorinterp[index - 1].name.lower()
    return colour if colour in _COLOURS else None


def data_bands(dataset: Any) -> tuple[int, ...]:  # noqa: ANN401 - rasterio has no types
    """List the 1-based bands that hold data: all but an undescribed alpha band."""
    return tuple(
        index
        for index in dataset.indexes
        if dataset.colorinterp[index - 1] != ColorInterp.alpha
        or _description(dataset, index) is not None
    )


def has_alpha(dataset: Any) -> bool:  # noqa: ANN401 - rasterio has no types
    """Tell whether some band is transparency, not data."""
    return len(data_bands(dataset)) < int(dataset.count)


@dataclass(frozen=True)
class Layer:
    """Some bands of one open raster.

    Attributes:
        dataset: open rasterio dataset or WarpedVRT.
        indexes: 1-based bands to read.
        channels: where they go among the scene's channels, 0-based.
        default_nodata: stored number that is nodata where the file says nothing and all its
            bands hold it; None for none.
        source: the file, for messages.
    """

    dataset: Any
    indexes: tuple[int, ...]
    channels: tuple[int, ...]
    default_nodata: float | None
    source: str

    def read(self, window: Window) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Read stored numbers (C, h, w) and where all of them are data (h, w).

        Args:
            window: within the raster, pixels.

        Raises:
            FormatError: the file cannot be read there.
        """
        raw, valid = self.read_each(window)
        return raw, np.asarray(valid.all(axis=0))

    def read_each(self, window: Window) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Read stored numbers and, band by band, where they are data; both (C, h, w).

        Args:
            window: within the raster, pixels.

        Raises:
            FormatError: the file cannot be read there.
        """
        part = rasterio.windows.Window(window.col, window.row, window.width, window.height)
        with gdal_reading(self.source):
            stored = self.dataset.read(self.indexes, window=part)
            valid = self._valid(stored, part)
        with np.errstate(over="ignore", invalid="ignore"):
            raw = stored.astype(np.float32)
        if raw.dtype != stored.dtype or stored.dtype.kind == "f":
            valid &= np.isfinite(raw)
        return raw, valid

    def _valid(
        self, stored: npt.NDArray[Any], part: rasterio.windows.Window
    ) -> npt.NDArray[np.bool_]:
        valid: npt.NDArray[np.bool_] = np.ones(stored.shape, dtype=np.bool_)
        known = self._has_mask()
        if known:
            valid &= self.dataset.read_masks(self.indexes[0], window=part) > 0
        for band, (values, index) in enumerate(zip(stored, self.indexes, strict=True)):
            nodata = self.dataset.nodatavals[index - 1]
            if nodata is not None:
                known = True
                valid[band] &= _differs(values, nodata)
        if not known and self.default_nodata is not None:
            valid &= (stored != self.default_nodata).any(axis=0)
        return valid

    def _has_mask(self) -> bool:
        flags = self.dataset.mask_flag_enums[self.indexes[0] - 1]
        if MaskFlags.per_dataset not in flags:
            return False
        return MaskFlags.alpha not in flags or has_alpha(self.dataset)


def _differs(values: npt.NDArray[Any], nodata: float) -> npt.NDArray[np.bool_]:
    if math.isnan(nodata):
        return np.asarray(~np.isnan(values))
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.asarray(values != values.dtype.type(nodata))
    return np.asarray(values != nodata)


def same_grid(one: Any, other: Any) -> bool:  # noqa: ANN401 - rasterio has no types
    """Tell whether two open rasters share CRS, transform and shape."""
    return bool(
        one.crs == other.crs
        and one.shape == other.shape
        and one.transform.almost_equals(other.transform, precision=1e-9)
    )


def finest(datasets: Sequence[Any]) -> Any:  # noqa: ANN401 - rasterio has no types
    """Pick the raster with the smallest pixels, the first of equals."""
    return min(datasets, key=lambda dataset: abs(dataset.transform.determinant))
