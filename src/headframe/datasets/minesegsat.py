"""Data sets in the layout of MineSegSAT: a folder of band files a tile, at three resolutions.

One TIFF per band: 768 x 768 pixels at 10 m, 384 x 384 at 20 m and 128 x 128 at 60 m, beside (or
apart from) a folder with ``mask.tif``, listed in ``dataset_splits.csv``, with each band's extremes
in ``metadata/<band>_metadata.json`` (papers/004, section 3; methods.md 6.1). Any side that is a
multiple of six pixels at 10 m is read, so that tests and other areas may use smaller tiles.
"""

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy import ndimage

from headframe.core.classmap import label_class_map
from headframe.core.errors import BandError, FormatError, GridMismatchError, MissingFileError
from headframe.core.sensors import get_sensor
from headframe.datasets.manifest import Manifest
from headframe.datasets.pixels import (
    ChipHeader,
    ChipPixels,
    PixelRules,
    read_header,
    read_pixels,
)

FloatArray = npt.NDArray[np.float32]

TILE_BANDS = {
    "B04": 1,
    "B03": 1,
    "B02": 1,
    "B08": 1,
    "B05": 2,
    "B06": 2,
    "B07": 2,
    "B8A": 2,
    "B11": 2,
    "B12": 2,
    "B01": 6,
    "B09": 6,
}
"""Bands in the published order, and the side of their pixels in pixels of 10 m."""

TILE_SENSOR = "sentinel-2-l2a"
PIXEL_M = 10.0
METADATA = "metadata"
MIN_SIDE_PX = 12
_CUBIC = -0.75
_KEYS = ("min", "max", "mean", "std")


def tile_manifest(target: str = "mining", *, sensor: str = TILE_SENSOR) -> Manifest:
    """Describe a set that has no ``dataset.json``: twelve bands, masks of {0, 1}."""
    known = get_sensor(sensor)
    return Manifest(
        sensor=sensor,
        bands=tuple(known.band(name).common_name for name in TILE_BANDS),
        gsd_m=PIXEL_M,
        classes=label_class_map(target),
        labels="mask",
    )


def band_file(folder: Path, band: str) -> Path:
    """File of one band of a tile, ``.tif`` or ``.tiff``."""
    other = folder / f"{band}.tiff"
    return other if other.is_file() else folder / f"{band}.tif"


def read_tile_header(folder: Path) -> ChipHeader:
    """Read what a tile's first 10 m band says of the whole tile.

    Raises:
        MissingFileError: the folder has no such band.
        FormatError: it is no raster.
    """
    header = read_header(band_file(folder, next(iter(TILE_BANDS))))
    sensor = get_sensor(TILE_SENSOR)
    names = tuple(sensor.band(name).common_name for name in TILE_BANDS)
    return replace(header, path=folder, shape=(len(names), *header.shape[1:]), descriptions=names)


def tile_bytes(folder: Path) -> int:
    """Bytes of all band files of a tile."""
    return sum(path.stat().st_size for path in folder.glob("B*.tif*"))


def read_tile(folder: Path, rules: PixelRules) -> ChipPixels:
    """Read a tile at 10 m: (C, H, W), bands in the manifest's order, in the physical unit.

    Bands of 20 m and 60 m are resampled by the cubic kernel with a = -0.75 about pixel centres, as
    the paper's code has it; gaps are filled with the nearest pixel first, so that they do not
    ring, and are nodata afterwards. A pixel is nodata where any of its bands says so, or where
    every band holds the sensor's nodata number.

    Raises:
        MissingFileError: a band file is missing.
        FormatError: not a raster, more than one band, or sides that do not fit 6 : 3 : 1.
        GridMismatchError: bands that do not cover the same ground.
        BandError: the file's description names another band.
        UnitError: as ``read_pixels``.
    """
    bands = rules.manifest.bands
    first = _read_band(folder, next(iter(TILE_BANDS)), rules)
    side = _check_side(folder, first.values.shape[1:])
    out = np.empty((len(bands), *side), np.float32)
    missing = np.zeros(side, np.bool_)
    blank = np.ones(side, np.bool_)
    for channel, common in enumerate(bands):
        name = rules.sensor.band(common).name
        factor = TILE_BANDS[name]
        pixels = _read_band(folder, name, rules)
        _check_ground(folder, name, pixels, first)
        values = pixels.values[0]
        gap = np.isnan(values)
        missing |= _enlarged(gap, factor)
        blank &= _enlarged(values == np.float32(_blank_value(rules)), factor)
        out[channel] = cubic(_filled(values, gap), factor)
    out[:, missing | blank] = np.nan
    return ChipPixels(out, first.geobox)


def read_tile_stored(folder: Path) -> tuple[ChipHeader, FloatArray, npt.NDArray[np.bool_]]:
    """Read a tile for checks: header, stored numbers (12, H, W) and where they are data (H, W).

    Raises:
        MissingFileError: as ``read_tile``.
        FormatError: as ``read_tile``, and where bands do not cover the same ground or a
            description names another band.
    """
    manifest = tile_manifest().model_copy(update={"scale": 1.0, "offset": 0.0})
    try:
        pixels = read_tile(folder, PixelRules(get_sensor(manifest.sensor), manifest))
    except (BandError, GridMismatchError) as exc:
        raise FormatError(str(exc)) from exc
    return read_tile_header(folder), pixels.values, ~np.isnan(pixels.values[0])


def cubic(values: FloatArray, factor: int) -> FloatArray:
    """Enlarge (H, W) to (H * factor, W * factor) by cubic convolution, borders repeated.

    Pixel centres stay: the mean of a constant image is that constant. The kernel is Keys' with
    a = -0.75, which is what OpenCV's ``INTER_CUBIC`` and torch's ``bicubic`` use; Pillow, GDAL
    and scikit-image use others.
    """
    if factor == 1:
        return values
    rows, cols = (_cubic_weights(n, factor) for n in values.shape)
    return np.asarray(rows @ values @ cols.T, np.float32)


@lru_cache(maxsize=8)
def _cubic_weights(n: int, factor: int) -> FloatArray:
    """Weights (n * factor, n) of one axis."""
    place = (np.arange(n * factor) + 0.5) / factor - 0.5
    below = np.floor(place).astype(np.int64)
    weights = np.zeros((n * factor, n))
    for step in (-1, 0, 1, 2):
        x = np.abs(place - (below + step))
        near = (_CUBIC + 2) * x**3 - (_CUBIC + 3) * x**2 + 1
        far = _CUBIC * (x**3 - 5 * x**2 + 8 * x - 4)
        source = np.clip(below + step, 0, n - 1)
        np.add.at(weights, (np.arange(n * factor), source), np.where(x <= 1, near, far))
    return weights.astype(np.float32)


def metadata_file(root: Path, band: str) -> Path:
    """File with a band's extremes and moments, in stored numbers."""
    return root / METADATA / f"{band}_metadata.json"


def read_metadata(root: Path, band: str) -> dict[str, float] | None:
    """Read ``min``, ``max``, ``mean`` and ``std`` of a band, in stored numbers.

    Returns:
        What is there of the four; None where there is no file.

    Raises:
        FormatError: not JSON, or values that are no numbers.
    """
    path = metadata_file(root, band)
    if not path.is_file():
        return None
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        found = {key: float(content[key]) for key in _KEYS if key in content}
    except (OSError, ValueError, TypeError) as exc:
        raise FormatError(f"{path}: is no band metadata ({exc}). Make it anew.") from exc
    if "max" not in found:
        raise FormatError(f"{path}: has no 'max'. Make it anew, or delete the file.")
    return found


def band_maxima(root: Path, manifest: Manifest) -> dict[str, float]:
    """Maxima by common name, in the physical unit, of the bands that have a metadata file.

    Raises:
        FormatError: as ``read_metadata``.
    """
    if not (root / METADATA).is_dir():
        return {}
    sensor = get_sensor(manifest.sensor)
    scale, offset = manifest.scaling_of(sensor)
    found = {}
    for common in manifest.bands:
        measured = read_metadata(root, sensor.band(common).name)
        if measured is not None:
            found[common] = measured["max"] * scale + offset
    return found


def _read_band(folder: Path, name: str, rules: PixelRules) -> ChipPixels:
    path = band_file(folder, name)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; a tile has {', '.join(TILE_BANDS)}.")
    common = rules.sensor.band(name).common_name
    manifest = rules.manifest.model_copy(update={"bands": (common,)})
    return read_pixels(path, PixelRules(replace(rules.sensor, nodata=None), manifest))


def _blank_value(rules: PixelRules) -> float:
    """Physical value of the sensor's nodata number."""
    manifest, sensor = rules.manifest, rules.sensor
    if sensor.nodata is None:
        return float("nan")
    scale, offset = manifest.scaling_of(sensor)
    return sensor.nodata * scale + offset


def _check_side(folder: Path, side: tuple[int, ...]) -> tuple[int, int]:
    height, width = side
    coarsest = max(TILE_BANDS.values())
    if height % coarsest or width % coarsest or min(side) < MIN_SIDE_PX:
        raise FormatError(
            f"{folder}: its 10 m bands are {height} x {width} pixels; both must be multiples of "
            f"{coarsest}, at least {MIN_SIDE_PX} (768 in the published set). Tile it again."
        )
    return height, width


def _check_ground(folder: Path, name: str, pixels: ChipPixels, first: ChipPixels) -> None:
    """A band covers the ground of the first band: its size, and its transform if it has one."""
    factor = TILE_BANDS[name]
    height, width = first.values.shape[1:]
    found = pixels.values.shape[1:]
    if found != (height // factor, width // factor):
        raise FormatError(
            f"{band_file(folder, name)}: is {found[0]} x {found[1]} pixels, not "
            f"{height // factor} x {width // factor} as B04 asks. Tile it again."
        )
    if pixels.geobox is None or first.geobox is None:
        return
    if pixels.geobox.crs != first.geobox.crs or not _agree(pixels.geobox, first.geobox, factor):
        raise GridMismatchError(
            f"{band_file(folder, name)}: does not cover the ground of B04. Tile it again."
        )


def _agree(coarse: GeoBox, fine: GeoBox, factor: int) -> bool:
    """Whether the upper left corner and the pixel sides agree to a tenth of a fine pixel."""
    moved = ~fine.affine * coarse.affine
    wanted = Affine.scale(factor)
    return all(abs(a - b) < 0.1 for a, b in zip(moved[:6], wanted[:6], strict=True))


def _enlarged(mask: npt.NDArray[np.bool_], factor: int) -> npt.NDArray[np.bool_]:
    return mask if factor == 1 else np.kron(mask, np.ones((factor, factor), np.bool_))


def _filled(values: FloatArray, gap: npt.NDArray[np.bool_]) -> FloatArray:
    """Put the nearest value into gaps; 0 where there is none at all."""
    if not gap.any() or gap.all():
        return np.nan_to_num(values)
    place = ndimage.distance_transform_edt(gap, return_distances=False, return_indices=True)
    return np.asarray(values[tuple(place)])
