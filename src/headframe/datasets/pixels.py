"""Reading one chip's raster: header, physical values, masks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from odc.geo.geobox import GeoBox
from PIL import Image, UnidentifiedImageError
from pyproj import Geod
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.warp import transform as warp_points

from headframe.core.bands import identify_band, match_bands
from headframe.core.classmap import IGNORE_INDEX
from headframe.core.errors import BandError, FormatError, MissingFileError, UnitError
from headframe.core.sensors import Sensor
from headframe.datasets.manifest import Manifest
from headframe.io.channels import Channels, plan_channels, tagged_sensor, tagged_unit

_EDGE_POINTS = 9
_SCALED_MAX = 2.0
_INTEGER_SCALE = 0.01
_COLORS = {ColorInterp.red: "red", ColorInterp.green: "green", ColorInterp.blue: "blue"}


@dataclass(frozen=True)
class ChipHeader:
    """What a raster says of itself.

    Attributes:
        path: the file.
        shape: (bands, H, W).
        descriptions: per band; a colour interpretation stands in for a missing one.
        geobox: its grid, or None without a CRS.
        outline: its footprint in EPSG:4326 (longitude, latitude), or None without a CRS.
        pixel_m: side of a pixel at the centre, metres, or None without a CRS.
        sensor: what a file made by ``dataset fuse`` says it holds, or None.
    """

    path: Path
    shape: tuple[int, int, int]
    descriptions: tuple[str | None, ...]
    geobox: GeoBox | None
    outline: shapely.Geometry | None
    pixel_m: float | None
    sensor: str | None = None


@dataclass(frozen=True)
class PixelRules:
    """How stored numbers of a data set are read.

    Attributes:
        sensor: whose bands, scale and nodata number apply.
        manifest: bands in order, and a scale or offset of its own.
        blank: the file's nodata number in one band is data; only in all of them it is none.
    """

    sensor: Sensor
    manifest: Manifest
    blank: bool = False


@dataclass(frozen=True)
class ChipPixels:
    """Values (C, H, W), float32, NaN = nodata, and their grid."""

    values: npt.NDArray[np.float32]
    geobox: GeoBox | None


def read_header(path: Path) -> ChipHeader:
    """Read what a raster says of itself, no pixels.

    Raises:
        MissingFileError: no such file.
        FormatError: not a raster.
    """
    with _Opened(path) as source:
        return _header(source, path)


def name_bands(
    header: ChipHeader, sensor: Sensor, override: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Tell the common names of a file's bands in file order.

    Raises:
        BandError: a band has no name that the sensor knows, or two have the same.
    """
    names = list(override) if override else list(header.descriptions)
    found = [identify_band(name, sensor) for name in names]
    unknown = [i + 1 for i, band in enumerate(found) if band is None]
    if unknown:
        raise BandError(
            f"{header.path}: band {unknown[0]} of {len(names)} "
            f"({names[unknown[0] - 1] or 'unnamed'}) is no known band of {sensor.title}. "
            "Name all bands with --bands, in file order, or choose another --sensor."
        )
    wanted = tuple(band.common_name for band in found if band is not None)
    match_bands(
        header.descriptions, wanted, sensor=sensor, source=str(header.path), override=override
    )
    return wanted


def read_pixels(path: Path, rules: PixelRules) -> ChipPixels:
    """Read the bands of the data set in its order, in the sensor's physical unit.

    A pixel is nodata where any of its bands is: by the file's nodata number or mask, by NaN, or,
    in integer files that state neither, where every band holds the sensor's nodata number.

    Raises:
        MissingFileError: no such file.
        FormatError: not a raster, or one cut short.
        BandError: a band is missing.
        UnitError: float reflectance together with a scale for integers.
    """
    with _Opened(path) as source:
        header = _header(source, path)
        channels, places = _order(header, rules)
        indexes = [i + 1 for i in places]
        raw = source.read(indexes)
        masks = source.read_masks(indexes) > 0
        valid = masks.any(axis=0) if rules.blank else masks.all(axis=0)
        flags = [source.mask_flag_enums[i - 1] for i in indexes]
        tags = [
            _Tags(source.scales[i - 1], source.offsets[i - 1], tagged_unit(source, i))
            for i in indexes
        ]
    parts = [rules.sensor.part(name) for name in channels.stored]
    bare = all(MaskFlags.all_valid in flag for flag in flags)
    for part in dict.fromkeys(parts) if bare else ():
        own = raw[[i for i, owner in enumerate(parts) if owner is part]]
        if own.dtype.kind in "iu" and part.nodata is not None:
            valid &= ~(own == part.nodata).all(axis=0)
    valid &= np.isfinite(raw).all(axis=0)
    scale, offset = _scaling(tags, parts, rules.manifest)
    light = [i for i, part in enumerate(parts) if part.quantity == "reflectance"]
    _check_unit(raw[light][:, valid], scale[light], path)
    values = (raw * scale[:, None, None] + offset[:, None, None]).astype(np.float32)
    tagged = all(tags[i].unit == "db" for i in channels.radar)
    unit = "db" if tagged else channels.unit_of(values[:, valid], source=str(path))
    values = channels.finish(values, unit)
    values[:, ~valid] = np.nan
    return ChipPixels(values, header.geobox)


def read_stored(
    path: Path, *, blank: bool = False
) -> tuple[ChipHeader, npt.NDArray[np.generic], npt.NDArray[np.bool_]]:
    """Read every band as stored.

    Args:
        path: the file.
        blank: as in ``PixelRules``.

    Returns:
        Header, stored numbers (C, H, W) and a mask (H, W), True where all bands have data.

    Raises:
        MissingFileError: no such file.
        FormatError: not a raster, or one cut short.
    """
    with _Opened(path) as source:
        raw = source.read()
        masks = source.read_masks() > 0
        valid = masks.any(axis=0) if blank else masks.all(axis=0)
        valid &= np.isfinite(raw).all(axis=0)
        return _header(source, path), raw, valid


def read_mask(path: Path, *, signed: bool = False) -> npt.NDArray[np.uint8]:
    """Read a one-band mask, raster or grey PNG, as (H, W) uint8.

    Args:
        path: the file.
        signed: -1 is stored where a pixel is ignored; it comes back as 255.

    Raises:
        MissingFileError: no such file.
        FormatError: not readable, or with values beyond 0-255.
    """
    if path.suffix.lower() == ".png":
        return _read_png(path)
    with _Opened(path) as source:
        values = source.read(1)
    if signed:
        values = np.where(values == -1, IGNORE_INDEX, values)
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.uint8)
    if not np.array_equal(whole, values):
        raise FormatError(f"{path}: masks hold whole numbers from 0 to 255. Make it anew.")
    return np.asarray(whole)


class _Opened:
    """Open a raster and turn what GDAL throws meanwhile into our errors."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._source: Any = None

    def __enter__(self) -> Any:  # noqa: ANN401 - rasterio has no types
        if not self._path.is_file():
            raise MissingFileError(f"{self._path}: no such file.")
        try:
            self._source = rasterio.open(self._path)
        except RasterioError as exc:
            raise self._error(exc) from exc
        return self._source

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._source.close()
        if isinstance(error, RasterioError):
            raise self._error(error) from error

    def _error(self, exc: BaseException) -> FormatError:
        reason = " ".join(str(exc).split())[:160]
        return FormatError(f"{self._path}: cannot be read as a raster ({reason}). Replace it.")


def _read_png(path: Path) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            if image.mode not in ("1", "L", "P"):
                raise FormatError(f"{path}: a mask has one channel, this one is {image.mode}.")
            return np.asarray(image.convert("L") if image.mode == "1" else image).astype(np.uint8)
    except FileNotFoundError as exc:
        raise MissingFileError(f"{path}: no such file.") from exc
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as exc:
        raise FormatError(f"{path}: not a readable PNG ({exc}). Make it anew.") from exc


def _header(source: Any, path: Path) -> ChipHeader:  # noqa: ANN401 - rasterio has no types
    geobox = GeoBox.from_rio(source) if source.crs is not None else None
    outline = None if geobox is None else _outline(geobox)
    descriptions = tuple(
        text or _COLORS.get(color)
        for text, color in zip(source.descriptions, source.colorinterp, strict=True)
    )
    return ChipHeader(
        path=path,
        shape=(source.count, source.height, source.width),
        descriptions=descriptions,
        geobox=geobox,
        outline=outline,
        pixel_m=None if outline is None or geobox is None else _pixel_m(outline, geobox),
        sensor=tagged_sensor(source.tags()),
    )


def _outline(geobox: GeoBox) -> shapely.Geometry | None:
    """Footprint in EPSG:4326, cut in two where it crosses the antimeridian."""
    t = np.linspace(0, 1, _EDGE_POINTS)[:-1]
    zero, one = np.zeros_like(t), np.ones_like(t)
    col = np.concatenate([t, one, 1 - t, zero]) * geobox.shape.x
    row = np.concatenate([zero, t, one, 1 - t]) * geobox.shape.y
    affine = geobox.transform
    x = affine.a * col + affine.b * row + affine.c
    y = affine.d * col + affine.e * row + affine.f
    lon, lat = (np.asarray(v) for v in warp_points(str(geobox.crs), "EPSG:4326", x, y))
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return None
    if lon.max() - lon.min() <= 180:
        return shapely.Polygon(np.stack([lon, lat], axis=1))
    whole = shapely.Polygon(np.stack([np.where(lon < 0, lon + 360, lon), lat], axis=1))
    east = shapely.intersection(whole, shapely.box(0, -90, 180, 90))
    west = shapely.intersection(whole, shapely.box(180, -90, 360, 90))
    moved = shapely.transform(west, lambda points: points - [360, 0])
    return shapely.union(east, moved)


def _pixel_m(outline: shapely.Geometry, geobox: GeoBox) -> float:
    area_m2, _ = Geod(ellps="WGS84").geometry_area_perimeter(outline)
    return math.sqrt(abs(area_m2) / (geobox.shape.x * geobox.shape.y))


def _order(header: ChipHeader, rules: PixelRules) -> tuple[Channels, tuple[int, ...]]:
    """Bands of a file to read for those of the data set, and their indices.

    The manifest names bands that are unnamed.
    """
    bands = rules.manifest.bands
    unnamed = not any(header.descriptions)
    override = bands if unnamed and header.shape[0] == len(bands) else None
    known = {word for band in rules.sensor.bands for word in band.spellings}
    if header.descriptions == bands and not set(bands) <= known:
        return Channels(bands, bands, ()), tuple(range(len(bands)))
    channels = plan_channels(override or header.descriptions, bands, rules.sensor)
    places = match_bands(
        header.descriptions,
        channels.stored,
        sensor=rules.sensor,
        source=str(header.path),
        override=override,
    )
    return channels, places


@dataclass(frozen=True)
class _Tags:
    """What a file says of one band: scale, offset, and a unit its numbers are in already."""

    scale: float
    offset: float
    unit: str | None


def _scaling(
    tags: list[_Tags], parts: list[Sensor], manifest: Manifest
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Scale and offset per band: the file's tags, else the manifest's, else the sensor's."""
    pairs = [
        (tag.scale, tag.offset)
        if tag.unit is not None or (tag.scale, tag.offset) != (1.0, 0.0)
        else manifest.scaling_of(part)
        for tag, part in zip(tags, parts, strict=True)
    ]
    both = np.array(pairs, np.float64)
    return both[:, 0], both[:, 1]


def _check_unit(raw: npt.NDArray[np.generic], scale: npt.NDArray[np.float64], path: Path) -> None:
    """Refuse float reflectance that would be scaled a second time."""
    if raw.dtype.kind != "f" or raw.size == 0 or float(np.abs(scale).max()) > _INTEGER_SCALE:
        return
    top = float(np.percentile(np.abs(raw), 99))
    if 0 < top <= _SCALED_MAX:
        raise UnitError(
            f"{path}: holds reflectance already (99 % below {top:.3g}) but would be multiplied by "
            f'{scale.max():g}. Write "scale": 1, "offset": 0 into dataset.json.'
        )
