"""Lay rasters of several sensors over each other: one file that every reader understands."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox
from odc.geo.overlap import compute_reproject_roi
from odc.geo.warp import rio_reproject
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from headframe.core.bandsets import resolve_bands
from headframe.core.errors import BandError, CrsError, OutputError
from headframe.core.progress import SILENT, Progress
from headframe.core.radar import RATIO_BAND, RATIO_PARENTS, ratio_db, to_db, to_power
from headframe.core.sensors import JOINT, Sensor, get_sensor, narrow_sensor
from headframe.geo.common_grid import check_overlap, common_grid, pixel_side_m
from headframe.geo.window import Window
from headframe.io.channels import SENSOR_TAG, UNIT_TAG
from headframe.io.files import replacing
from headframe.io.fusion_inputs import FusionInput, FusionPart, no_crs, open_inputs
from headframe.io.layers import BLOCK_CACHE, open_raster, shown

__all__ = ["FusionPart", "FusionReport", "fuse", "grid_of"]

Resample = Literal["nearest", "bilinear", "cubic", "average"]

FloatArray = npt.NDArray[np.float32]

RESAMPLINGS: tuple[Resample, ...] = ("nearest", "bilinear", "cubic", "average")
SOURCES_TAG = "HEADFRAME_SOURCES"
_BLOCK_PX = 256
_TILE_PX = 1024
_PADDING_PX = 4
_TOLERANCE_PX = 0.01
"""How far from its true place a pixel may be looked up, in pixels of the file."""


@dataclass(frozen=True)
class FusionReport:
    """What was written.

    Attributes:
        out: the file.
        sensor: its sensor, joint where it has several.
        bands: common names in file order.
        sources: file that each band came from, by band.
        data_share: share of pixels with data, 0-1, by band.
        shape: rows and columns.
        crs: of the grid.
        gsd_m: side of a pixel, metres.
        notes: what a person should know, one line each.
    """

    out: Path
    sensor: str
    bands: tuple[str, ...]
    sources: dict[str, str]
    data_share: dict[str, float]
    shape: tuple[int, int]
    crs: str
    gsd_m: float
    notes: tuple[str, ...]


def fuse(
    sources: Sequence[FusionPart],
    *,
    out: Path,
    geobox: GeoBox | None = None,
    gsd_m: float | None = None,
    keep: str | Sequence[str] | None = None,
    resampling: Resample = "nearest",
    progress: Progress = SILENT,
) -> FusionReport:
    """Write files of different sensors, resolutions, extents and CRS as one GeoTIFF.

    Bands are float32 in their unit, reflectance or decibels, NaN where the file they came from
    has no data. Their descriptions are common names, their tags name sensor and unit, so that
    ``open_scene``, ``label`` and ``open_dataset`` need no option. Where VV and VH are there,
    VV/(10 VH) is formed from them. A band that several files have comes from the finest.
    The work goes tile by tile: memory does not grow with the scene. Co-registration by nearest
    pixel is the paper's (methods 3.2); the joint file is ours.

    Args:
        sources: at least one.
        out: GeoTIFF to write, all or nothing.
        geobox: grid to use; None for ``geo.common_grid.common_grid`` of the files.
        gsd_m: see there; without meaning where ``geobox`` is given.
        keep: bands to write, a band set or common names; all by default.
        resampling: radar is averaged in linear power, not in decibels.
        progress: told of every tile.

    Raises:
        MissingFileError: a file is not there.
        FormatError: a file cannot be read, or has no data at all.
        CrsError: a file has no CRS.
        BandError: a file's sensor or bands cannot be told, or a band wanted is in none.
        UnitError: numbers cannot be in the unit of their sensor.
        GridMismatchError: files without common ground.
        OutputError: ``out`` is one of the files, or cannot be written.
    """
    _check_out(sources, out)
    with ExitStack() as closing:
        inputs, notes = open_inputs(sources, closing)
        boxes = {shown(each.source): each.geobox for each in inputs}
        if geobox is None:
            geobox = common_grid(boxes, gsd_m=gsd_m)
        else:
            check_overlap(boxes, geobox, grid_name="the grid given")
        sensor = get_sensor(JOINT.join(dict.fromkeys(_part_names(inputs))))
        bands = _bands_out(inputs, sensor, keep)
        shares = _write(inputs, out, geobox, bands=bands, resampling=resampling, progress=progress)
    of = {band: shown(each.source) for each in inputs for band in each.bands}
    return FusionReport(
        out=out,
        sensor=narrow_sensor(sensor, bands).name,
        bands=bands,
        sources={band: of.get(band, of.get(RATIO_PARENTS[0], "")) for band in bands},
        data_share=shares,
        shape=(geobox.shape.y, geobox.shape.x),
        crs=_crs_name(geobox),
        gsd_m=round(pixel_side_m(geobox), 3),
        notes=tuple(notes),
    )


def _crs_name(geobox: GeoBox) -> str:
    code = geobox.crs.epsg if geobox.crs is not None else None
    return f"EPSG:{code}" if code else str(geobox.crs)


def grid_of(source: str) -> GeoBox:
    """Read the grid of a raster, for ``--like``.

    Raises:
        MissingFileError: it is not there.
        FormatError: it is no raster.
        CrsError: it has no CRS.
    """
    with open_raster(source) as dataset:
        if dataset.crs is None or dataset.transform.is_identity:
            raise CrsError(no_crs(source))
        return GeoBox(dataset.shape, dataset.transform, dataset.crs.to_wkt())


def _check_out(sources: Sequence[FusionPart], out: Path) -> None:
    for part in sources:
        if Path(part.source).resolve() == out.resolve():
            raise OutputError(f"{out}: is one of the files to read. Choose another --out.")


def _part_names(inputs: list[FusionInput]) -> Iterator[str]:
    for each in inputs:
        for band in each.bands:
            yield each.sensor.part(band).name


def _bands_out(
    inputs: list[FusionInput], sensor: Sensor, keep: str | Sequence[str] | None
) -> tuple[str, ...]:
    has = {band for each in inputs for band in each.bands}
    if has >= set(RATIO_PARENTS):
        has.add(RATIO_BAND)
    order = tuple(band.common_name for band in sensor.bands if band.common_name in has)
    if keep is None:
        return order
    wanted = tuple(sensor.band(name).common_name for name in resolve_bands(keep))
    missing = [name for name in wanted if name not in has]
    if missing:
        raise BandError(
            f"{', '.join(shown(each.source) for each in inputs)}: no file has "
            f"{', '.join(missing)}; together they have {', '.join(order)}. Add the file or "
            "choose other bands with --keep."
        )
    return wanted


def _write(
    inputs: list[FusionInput],
    out: Path,
    geobox: GeoBox,
    *,
    bands: tuple[str, ...],
    resampling: Resample,
    progress: Progress,
) -> dict[str, float]:
    height, width = geobox.shape.yx
    tiles = list(_tiles(height, width, _tile_side(inputs, geobox)))
    counts = np.zeros(len(bands), dtype=np.int64)
    progress.start("Fusing", len(tiles))
    try:
        with (
            rasterio.Env(GDAL_CACHEMAX=BLOCK_CACHE),
            replacing(out) as part,
            rasterio.open(part, "w", **_profile(geobox, len(bands))) as sink,
        ):
            _describe(sink, inputs, bands)
            for window in tiles:
                values = _tile(inputs, geobox, window, bands=bands, resampling=resampling)
                counts += np.isfinite(values).sum(axis=(1, 2))
                rows, cols = _slices(window)
                sink.write(values, window=((rows.start, rows.stop), (cols.start, cols.stop)))
                progress.advance()
    except (RasterioError, CPLE_BaseError) as exc:  # reading has errors of its own
        reason = " ".join(str(exc.__cause__ or exc).split())
        raise OutputError(
            f"{out}: cannot be written ({reason}). Free some space or choose another --out."
        ) from exc
    progress.finish()
    total = height * width
    return {band: float(n) / total for band, n in zip(bands, counts.tolist(), strict=True)}


def _tile(
    inputs: list[FusionInput],
    geobox: GeoBox,
    window: Window,
    *,
    bands: tuple[str, ...],
    resampling: Resample,
) -> FloatArray:
    """One tile of the output, (C, h, w) float32, NaN where a band has no data."""
    target = geobox[_slices(window)]
    found: dict[str, FloatArray] = {}
    for each in inputs:
        found.update(zip(each.bands, _placed(each, target, resampling), strict=True))
    if RATIO_BAND in bands and RATIO_BAND not in found:
        found[RATIO_BAND] = ratio_db(*(found[parent] for parent in RATIO_PARENTS))
    return np.stack([found[band] for band in bands])


def _placed(each: FusionInput, target: GeoBox, resampling: Resample) -> FloatArray:
    """Bring one file's bands onto a tile, (C, h, w)."""
    out = np.full((len(each.bands), *target.shape.yx), np.nan, dtype=np.float32)
    padding = None if resampling == "nearest" else _PADDING_PX
    info = compute_reproject_roi(each.geobox, target, padding=padding)
    rows, cols = info.roi_src
    if rows.stop <= rows.start or cols.stop <= cols.start:
        return out
    window = Window(rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)
    values = _bands_in_order(each, each.scene.read_each(window))
    down, across = (slice(part.start, part.stop) for part in info.roi_dst)
    place = out[:, down, across]
    if info.paste_ok and info.read_shrink == 1 and place.shape == values.shape:
        place[:] = values
        return out
    radar = [i for i, b in enumerate(each.bands) if each.sensor.part(b).quantity == "db"]
    if resampling != "nearest":
        values[radar] = to_power(values[radar])
    rio_reproject(
        values,
        out,
        each.geobox[info.roi_src],
        target,
        resampling,
        src_nodata=math.nan,
        dst_nodata=math.nan,
        tolerance=_TOLERANCE_PX,
    )
    if resampling != "nearest":
        out[radar] = to_db(out[radar])
    return out


def _bands_in_order(each: FusionInput, values: FloatArray) -> FloatArray:
    """Keep the channels of a scene that are this input's, in its order."""
    channels = each.scene.channels.wanted
    return values[[channels.index(band) for band in each.bands]]


def _tile_side(inputs: list[FusionInput], geobox: GeoBox) -> int:
    """Side of a tile: smaller where a file's pixels are finer, so that reads stay as large."""
    finest = min(pixel_side_m(each.geobox) for each in inputs)
    factor = max(1.0, pixel_side_m(geobox) / finest)
    return max(_BLOCK_PX, int(_TILE_PX / factor) // _BLOCK_PX * _BLOCK_PX)


def _tiles(height: int, width: int, side: int) -> Iterator[Window]:
    for row in range(0, height, side):
        for col in range(0, width, side):
            yield Window(row, col, min(side, height - row), min(side, width - col))


def _slices(window: Window) -> tuple[slice, slice]:
    return (
        slice(window.row, window.row + window.height),
        slice(window.col, window.col + window.width),
    )


def _profile(geobox: GeoBox, count: int) -> dict[str, Any]:
    return {
        "driver": "GTiff",
        "dtype": "float32",
        "count": count,
        "height": geobox.shape.y,
        "width": geobox.shape.x,
        "crs": geobox.crs.to_wkt() if geobox.crs is not None else None,
        "transform": geobox.transform,
        "nodata": math.nan,
        "tiled": True,
        "blockxsize": _BLOCK_PX,
        "blockysize": _BLOCK_PX,
        "compress": "deflate",
        "predictor": 3,
        "zlevel": 1,  # noise, which no higher level makes smaller, takes most of the time
        "interleave": "band",
        "bigtiff": "if_safer",
    }


def _describe(sink: Any, inputs: list[FusionInput], bands: tuple[str, ...]) -> None:  # noqa: ANN401 - rasterio has no types
    owner = {band: each.sensor.part(band) for each in inputs for band in each.bands}
    if RATIO_BAND in bands:
        owner.setdefault(RATIO_BAND, owner[RATIO_PARENTS[0]])
    sensor = get_sensor(JOINT.join(dict.fromkeys(owner[band].name for band in bands)))
    sink.descriptions = bands
    sink.units = tuple("dB" if owner[band].quantity == "db" else "1" for band in bands)
    for index, band in enumerate(bands, start=1):
        quantity = owner[band].quantity
        sink.update_tags(index, **{SENSOR_TAG: owner[band].name, UNIT_TAG: quantity})
    names = ", ".join(dict.fromkeys(Path(shown(each.source)).name for each in inputs))
    sink.update_tags(**{SENSOR_TAG: sensor.name, SOURCES_TAG: names})
