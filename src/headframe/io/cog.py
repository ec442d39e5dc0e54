"""Rasters on the way out: strips as they are finished, one cloud-optimised GeoTIFF at the end."""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterWindow
from rio_cogeo.cogeo import cog_validate

from headframe.core.classmap import IGNORE_INDEX, ClassInfo, ClassMap
from headframe.core.components import NODATA_BITS
from headframe.core.errors import OutputError
from headframe.geo.window import Window
from headframe.io.files import replacing
from headframe.io.layers import BLOCK_CACHE

_BLOCK_PX = 512
_VRT_TYPES = {"uint8": "Byte", "uint16": "UInt16", "float32": "Float32"}
# Strips stand for rows of pixels, not for places; any transform but the identity says so quietly.
_NOWHERE = Affine(1.0, 0.0, 1.0, 0.0, 1.0, 1.0)


@contextmanager
def gdal_writing(path: Path) -> Iterator[None]:
    """Turn what GDAL says about writing ``path`` into ``OutputError``.

    Raises:
        OutputError: with GDAL's own words.
    """
    try:
        with rasterio.Env(GDAL_CACHEMAX=BLOCK_CACHE):
            yield
    except (RasterioError, CPLE_BaseError, OSError) as exc:
        if isinstance(exc, OutputError):
            raise
        reason = " ".join(str(exc).split()) or type(exc).__name__
        raise OutputError(
            f"{path}: cannot be written ({reason}). Free some space or choose another --out."
        ) from exc


class StripWriter:
    """Writes one strip of a scene to a small GeoTIFF of its own, block by block.

    Leaving the ``with`` block closes the file and reads it back: GDAL does not always report a
    disk that fills while a file is closed.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int], dtype: str) -> None:
        """Prepare to write (bands, height, width) of ``dtype``: uint8, uint16 or float32."""
        self._path = path
        self._shape = shape
        self._dtype = dtype
        self._sums = np.zeros(shape[1], dtype=np.uint64)

    def __enter__(self) -> "StripWriter":
        """Create the file."""
        bands, height, width = self._shape
        with gdal_writing(self._path):
            self._file = rasterio.open(
                self._path,
                "w",
                driver="GTiff",
                count=bands,
                height=height,
                width=width,
                dtype=self._dtype,
                transform=_NOWHERE,
                tiled=True,
                blockxsize=256,
                blockysize=256,
                compress="deflate",
                zlevel=1,
                interleave="band",
                bigtiff="IF_SAFER",
            )
        return self

    def write(self, values: NDArray[Any], window: Window) -> None:
        """Write (bands, h, w) at ``window``, whose row counts from the strip's first."""
        where = RasterWindow(window.col, window.row, window.width, window.height)
        with gdal_writing(self._path):
            self._file.write(values, window=where)
        rows = slice(window.row, window.row + window.height)
        self._sums[rows] += _row_sums(values)

    def abandon(self) -> None:
        """Close the file as it is; it will be written anew."""
        with suppress(RasterioError, CPLE_BaseError):
            self._file.close()

    def __exit__(self, kind: type[BaseException] | None, exc: Any, trace: Any) -> None:  # noqa: ANN401 - the protocol of context managers
        """Close the file and read it back."""
        if kind is not None:
            self.abandon()
            return
        with gdal_writing(self._path):
            self._file.close()
            with rasterio.open(self._path) as file:
                width = max(1, 2**20 // (self._shape[1] * self._shape[0]))
                found = np.zeros_like(self._sums)
                for col in range(0, file.width, width):
                    part = RasterWindow(col, 0, min(width, file.width - col), file.height)
                    found += _row_sums(file.read(window=part))
        if not np.array_equal(found, self._sums):
            raise OutputError(
                f"{self._path}: reads back other values than were written. "
                "Free some space or choose another --out."
            )


def _row_sums(values: NDArray[Any]) -> NDArray[np.uint64]:
    """Sum the bits of each row of (bands, h, w) as whole numbers, so that order is no matter."""
    kind = {1: np.uint8, 2: np.uint16, 4: np.uint32}[values.dtype.itemsize]
    bits = np.ascontiguousarray(values).view(kind)
    return np.asarray(bits.sum(axis=(0, 2), dtype=np.uint64))


@dataclass(frozen=True)
class RasterStyle:
    """How a map is written.

    Attributes:
        dtype: ``uint8``, ``uint16`` or ``float32``.
        nodata: value of pixels without data.
        names: one description for each band.
        palette: index to (red, green, blue), 0-255; empty for none.
        overview: resampling of overviews, ``nearest`` or ``average``.
        tags: metadata items.
    """

    dtype: str
    nodata: float
    names: tuple[str, ...]
    palette: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)
    overview: str = "nearest"
    tags: Mapping[str, str] = field(default_factory=dict)


def class_style(classes: ClassMap) -> RasterStyle:
    """Style a raster of class indices: palette, 255 for nodata, overviews by nearest pixel."""
    return RasterStyle(
        dtype="uint8",
        nodata=IGNORE_INDEX,
        names=("class",),
        palette={c.index: c.color for c in classes.classes},
        tags={f"class_{c.index}": c.name for c in classes.classes},
    )


def bits_style(bits: Sequence[ClassInfo]) -> RasterStyle:
    """Style a bit mask: 65535 for nodata, tags that name the bits, overviews by nearest pixel."""
    return RasterStyle(
        dtype="uint16",
        nodata=NODATA_BITS,
        names=("component bits",),
        tags={f"BIT_{info.index}": info.name for info in bits},
    )


def write_cog(
    path: Path,
    strips: Sequence[tuple[Path, int]],
    *,
    shape: tuple[int, int],
    geobox: GeoBox | None,
    style: RasterStyle,
) -> None:
    """Join strips into a cloud-optimised GeoTIFF, check it, and only then give it its name.

    Memory stays flat: GDAL copies block by block from the strips and keeps overviews in files.

    Args:
        path: the final file.
        strips: (file, first row in the scene) from top to bottom, as from ``StripWriter``.
        shape: the scene's (H, W), pixels.
        geobox: where the scene lies; None writes a plain pixel grid.
        style: data type, nodata, palette.

    Raises:
        OutputError: it cannot be written, or what was written is not right.
    """
    with replacing(path) as part, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        mosaic = _mosaic(strips, shape, geobox, style)
        with gdal_writing(path), rasterio.open(mosaic) as source:
            rasterio.shutil.copy(
                source,
                part,
                driver="COG",
                BLOCKSIZE=_BLOCK_PX,
                COMPRESS="DEFLATE",
                PREDICTOR="YES" if style.dtype == "float32" else "NO",
                OVERVIEW_RESAMPLING=style.overview.upper(),
                BIGTIFF="IF_SAFER",
            )
            _verify(path, part, source)


def _verify(path: Path, part: Path, source: Any) -> None:  # noqa: ANN401 - rasterio has no types
    valid, problems, _ = cog_validate(part, quiet=True)
    with rasterio.open(part) as written:
        same = written.shape == source.shape and written.count == source.count
        for row in range(0, source.height if same else 0, _BLOCK_PX):
            window = RasterWindow(0, row, source.width, min(_BLOCK_PX, source.height - row))
            for band in source.indexes:
                ours, theirs = (file.read(band, window=window) for file in (written, source))
                same = same and np.array_equal(ours, theirs, equal_nan=True)
    if not valid or not same:
        reason = "; ".join(problems) or "reads back other values than were written"
        raise OutputError(f"{path}: {reason}. Free some space or choose another --out.")


def _mosaic(
    strips: Sequence[tuple[Path, int]],
    shape: tuple[int, int],
    geobox: GeoBox | None,
    style: RasterStyle,
) -> str:
    """Describe the strips as one raster in GDAL's VRT format."""
    height, width = shape
    parts = [f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">']
    if geobox is not None and geobox.crs is not None:
        a, b, c, d, e, f = tuple(geobox.affine)[:6]
        numbers = ", ".join(repr(float(v)) for v in (c, a, b, f, d, e))
        parts.append(f'<SRS dataAxisToSRSAxisMapping="1,2">{escape(geobox.crs.to_wkt())}</SRS>')
        parts.append(f"<GeoTransform>{numbers}</GeoTransform>")
    items = (f"<MDI key={quoteattr(k)}>{escape(v)}</MDI>" for k, v in style.tags.items())
    parts.append(f"<Metadata>{''.join(items)}</Metadata>")
    for band, name in enumerate(style.names, start=1):
        parts.append(f'<VRTRasterBand dataType="{_VRT_TYPES[style.dtype]}" band="{band}">')
        parts.append(f"<Description>{escape(name)}</Description>")
        parts.append(f"<NoDataValue>{style.nodata}</NoDataValue>")
        if style.palette:
            parts.append("<ColorInterp>Palette</ColorInterp>")
            parts.append(f"<ColorTable>{_entries(style.palette)}</ColorTable>")
        for (file, row), end in zip(strips, [r for _, r in strips[1:]] + [height], strict=True):
            size = f'xSize="{width}" ySize="{end - row}"'
            parts.append(
                f"<SimpleSource><SourceFilename>{escape(os.path.abspath(file))}</SourceFilename>"
                f'<SourceBand>{band}</SourceBand><SrcRect xOff="0" yOff="0" {size}/>'
                f'<DstRect xOff="0" yOff="{row}" {size}/></SimpleSource>'
            )
        parts.append("</VRTRasterBand>")
    return "".join([*parts, "</VRTDataset>"])


def _entries(palette: Mapping[int, tuple[int, int, int]]) -> str:
    colors = [palette.get(i, (0, 0, 0)) for i in range(256)]
    return "".join(
        f'<Entry c1="{red}" c2="{green}" c3="{blue}" c4="{255 if i in palette else 0}"/>'
        for i, (red, green, blue) in enumerate(colors)
    )
