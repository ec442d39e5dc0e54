"""Scenes of one CRS laid over one another, the first on top.

The reverse painter's algorithm paints from the nearest surface to the farthest and never paints
over what is painted. For scenes: the first scene given is on top; a later one shows only where no
earlier one has data (papers/004, section 3). Each band is painted by itself, as the paper's merge
of band files does.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT

from headframe.core.errors import CrsError, FormatError, GridMismatchError, OutputError, UnitError
from headframe.core.progress import SILENT, Progress
from headframe.core.sensors import Sensor, get_sensor
from headframe.core.units import Scaling
from headframe.geo.window import Window
from headframe.io.bandfiles import BAND_METRES, BandScene
from headframe.io.files import replacing, write_json
from headframe.io.layers import Layer, gdal_reading, open_raster, shown
from headframe.io.product import SceneOptions, product_of, scaling_of, untagged_nodata

STORED_SCALE = 1e-4
"""Reflectance per stored number of what is read here and written, whatever the source's was."""
NODATA = 0
COARSEST_M = 60
FINEST_M = 10
RECORD = "mosaic.json"
_BLOCK = 512
_READ_PX = 1024
_FIRST = "B04"


@dataclass(frozen=True)
class _Band:
    """One band of one scene: its file, how its numbers are scaled, and its place.

    ``rows`` and ``cols`` are set once the mosaic's grid is known, in pixels of the band there.
    """

    source: str
    scaling: Scaling
    nodata: float | None
    bounds: tuple[float, float, float, float]  # left, bottom, right, top
    rows: range = range(0)
    cols: range = range(0)

    def meets(self, window: Window) -> bool:
        return (
            window.row < self.rows.stop
            and window.row + window.height > self.rows.start
            and window.col < self.cols.stop
            and window.col + window.width > self.cols.start
        )

    def read(
        self, window: Window, grid: GeoBox
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Stored numbers (h, w) and where they are data, by nearest pixel."""
        with open_raster(self.source) as dataset, gdal_reading(self.source):
            warped = WarpedVRT(
                dataset,
                crs=dataset.crs,
                transform=grid.affine,
                width=grid.shape.x,
                height=grid.shape.y,
                resampling=Resampling.nearest,
                nodata=self.nodata,
                src_nodata=self.nodata,
                add_alpha=self.nodata is None,
            )
            with warped:
                raw, valid = Layer(warped, (1,), (0,), None, self.source).read(window)
        return raw[0], valid


@dataclass(frozen=True)
class _Header:
    """What a scene's files say, and the ground that all its bands cover."""

    scene: BandScene
    bands: dict[str, _Band]
    crs: Any
    sensor: str
    bounds: tuple[float, float, float, float]


class Mosaic:
    """Scenes as one, read window by window, by any number of threads. Made by ``lay_scenes``.

    No file stays open: a read opens those of the scenes that it meets.

    Attributes:
        scenes: top one first.
        sensor: ``sentinel-2-l2a`` or ``sentinel-2-l1c``.
        geobox: its grid at 10 m: from the upper left of all scenes, on the first scene's lattice of
            60 m, whole cells of 60 m only.
        notes: scenes that had to be resampled, one line each.
    """

    def __init__(
        self,
        scenes: tuple[BandScene, ...],
        *,
        sensor: str,
        geobox: GeoBox,
        sources: dict[str, list[_Band]],
        notes: tuple[str, ...],
    ) -> None:
        self.scenes = scenes
        self.sensor = sensor
        self.geobox = geobox
        self.notes = notes
        self._sources = sources

    def grid(self, band: str) -> GeoBox:
        """Grid of one band: the same ground in pixels of its own side."""
        factor = BAND_METRES[band] // FINEST_M
        height, width = self.geobox.shape
        return GeoBox(
            (height // factor, width // factor),
            self.geobox.affine * Affine.scale(factor),
            self.geobox.crs,
        )

    def top(self, window: Window) -> str:
        """Name the first scene whose frame holds the centre of a window (10 m pixels)."""
        row, col = window.row + window.height // 2, window.col + window.width // 2
        for scene, source in zip(self.scenes, self._sources[_FIRST], strict=True):
            if row in source.rows and col in source.cols:
                return scene.name
        return self.scenes[0].name

    def read(self, band: str, window: Window) -> npt.NDArray[np.uint16]:
        """Read a window of one band.

        Args:
            band: e.g. ``B04``.
            window: pixels of ``grid(band)``, within it.

        Returns:
            (h, w), reflectance times 10,000, 0 = no data. Negative reflectance, which products
            from baseline 04.00 on can hold, becomes 0.0001.

        Raises:
            FormatError: a file is damaged there.
        """
        out = np.full((window.height, window.width), NODATA, np.uint16)
        open_ = np.ones(out.shape, np.bool_)
        for source in self._sources[band]:
            if not source.meets(window):
                continue
            raw, valid = source.read(window, self.grid(band))
            paint = valid & open_
            value = raw[paint].astype(np.float64) * source.scaling.scale + source.scaling.offset
            out[paint] = np.clip(np.rint(value / STORED_SCALE), NODATA + 1, 65_535)
            open_ &= ~paint
            if not open_.any():
                break
        return out


def lay_scenes(scenes: Sequence[BandScene]) -> Mosaic:
    """Lay scenes of one CRS over one another, the first on top.

    A scene that lies off the first one's lattice of 60 m is resampled to the nearest pixel, and
    ``notes`` says so.

    Args:
        scenes: at least one.

    Raises:
        MissingFileError: a band file is gone.
        FormatError: a band file is no raster, or not of the band's own resolution.
        CrsError: no CRS, a rotated grid, or two scenes of different CRS.
        GridMismatchError: bands of a scene that share no ground.
        UnitError: two kinds of products, or files of fractions that state no scale.
    """
    headers = [_header(scene) for scene in scenes]
    _same_kind(headers)
    geobox, notes = _union(headers)
    sources = {
        band: [_placed(header.bands[band], band, geobox) for header in headers]
        for band in BAND_METRES
    }
    return Mosaic(
        tuple(scenes),
        sensor=headers[0].sensor,
        geobox=geobox,
        sources=sources,
        notes=tuple(notes),
    )


def scene_crs(scene: BandScene) -> str:
    """CRS of a scene, as text that is equal for equal CRS.

    Raises:
        MissingFileError: the first band's file is gone.
        FormatError: it is no raster.
        CrsError: it has none.
    """
    with open_raster(scene.files[_FIRST]) as dataset:
        return _crs_name(_crs_of(dataset, scene.files[_FIRST]))


def write_mosaic(
    scenes: Sequence[BandScene], out: Path, *, progress: Progress = SILENT
) -> tuple[str, ...]:
    """Write scenes of one CRS as one scene: ``out/B04.tif`` and so on, each band at its resolution.

    Every file appears whole or not at all; a killed call goes on with the bands that are missing.

    Args:
        scenes: top one first.
        out: folder, new or left by a call with the same scenes.
        progress: told of every row of blocks.

    Returns:
        Notes, one line each.

    Raises:
        OutputError: ``out`` holds a mosaic of other scenes, or cannot be written.
        FormatError: and the others of ``lay_scenes``.
    """
    mosaic = lay_scenes(scenes)
    _claim(out, scenes)
    rows = {band: range(0, mosaic.grid(band).shape.y, _READ_PX) for band in BAND_METRES}
    progress.start("Painting bands", sum(len(r) for r in rows.values()))
    for band in BAND_METRES:
        path = out / f"{band}.tif"
        if path.exists():
            progress.advance(len(rows[band]))
        else:
            _write_band(mosaic, band, path, progress)
    progress.finish()
    return mosaic.notes


def _claim(out: Path, scenes: Sequence[BandScene]) -> None:
    """Note which scenes ``out`` is made of, or see that it is the same ones."""
    record = {"scenes": [[scene.name, scene.files[_FIRST]] for scene in scenes]}
    path = out / RECORD
    if path.is_file():
        if json.loads(path.read_text(encoding="utf-8")) != record:
            raise OutputError(f"{out}: holds a mosaic of other scenes. Choose another --out.")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: is not an empty folder. Choose another --out.")
    write_json(path, record)


def _write_band(mosaic: Mosaic, band: str, path: Path, progress: Progress) -> None:
    grid = mosaic.grid(band)
    height, width = grid.shape
    profile = {
        "driver": "GTiff",
        "count": 1,
        "height": height,
        "width": width,
        "dtype": "uint16",
        "crs": str(grid.crs),
        "transform": grid.affine,
        "nodata": NODATA,
        "compress": "deflate",
        "predictor": 2,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "BIGTIFF": "IF_SAFER",
    }
    try:
        with replacing(path) as part, rasterio.open(part, "w", **profile) as sink:
            sink.set_band_description(1, band)
            sink.scales, sink.offsets = (STORED_SCALE,), (0.0,)
            sink.update_tags(processing_level=mosaic.sensor[-3:].upper())
            for row in range(0, height, _READ_PX):
                for col in range(0, width, _READ_PX):
                    high, wide = min(_READ_PX, height - row), min(_READ_PX, width - col)
                    window = Window(row, col, high, wide)
                    sink.write(
                        mosaic.read(band, window),
                        1,
                        window=rasterio.windows.Window(col, row, window.width, window.height),
                    )
                progress.advance()
    except RasterioError as exc:
        raise OutputError(f"{path}: cannot be written ({exc}). Choose another --out.") from exc


def _header(scene: BandScene) -> _Header:
    with open_raster(scene.files[_FIRST]) as first:
        crs = _crs_of(first, scene.files[_FIRST])
        product = product_of(scene.files[_FIRST], {**first.tags(), **scene.properties})
    sensor = get_sensor(product.sensor or "sentinel-2-l2a")
    bands = {band: _band(scene, band, crs, sensor) for band in BAND_METRES}
    bounds = [band.bounds for band in bands.values()]
    ground = (
        max(b[0] for b in bounds),
        max(b[1] for b in bounds),
        min(b[2] for b in bounds),
        min(b[3] for b in bounds),
    )
    if ground[2] - ground[0] < COARSEST_M or ground[3] - ground[1] < COARSEST_M:
        raise GridMismatchError(f"{scene.name}: its bands share no ground. Check its files.")
    return _Header(scene, bands, crs, sensor.name, ground)


def _band(scene: BandScene, band: str, crs: Any, sensor: Sensor) -> _Band:  # noqa: ANN401 - rasterio
    source = scene.files[band]
    with open_raster(source) as dataset:
        _check_grid(dataset, band, source, crs)
        nodata = dataset.nodatavals[0]
        if nodata is None:
            nodata = untagged_nodata(dataset.dtypes[0], sensor, SceneOptions())
        scale, offset = dataset.scales[0], dataset.offsets[0]
        if np.dtype(dataset.dtypes[0]).kind == "f" and (scale, offset) == (1.0, 0.0):
            raise UnitError(
                f"{shown(source)}: holds fractions and states no scale. Store reflectance times "
                "10,000 as whole numbers, or set the band's scale."
            )
        product = product_of(source, {**dataset.tags(), **scene.properties})
        scaling = scaling_of(scale, offset, sensor, product, SceneOptions())
        return _Band(source, scaling, nodata, tuple(dataset.bounds))


def _crs_of(dataset: Any, source: str) -> Any:  # noqa: ANN401 - rasterio has no types
    if dataset.crs is None:
        raise CrsError(f"{shown(source)}: has no CRS. Set one with gdal_edit.py -a_srs.")
    return dataset.crs


def _crs_name(crs: Any) -> str:  # noqa: ANN401 - rasterio has no types
    epsg = crs.to_epsg()
    return f"EPSG:{epsg}" if epsg else str(crs.to_wkt())


def _check_grid(dataset: Any, band: str, source: str, crs: Any) -> None:  # noqa: ANN401 - as above
    if _crs_of(dataset, source) != crs:
        raise CrsError(f"{shown(source)}: is in {_crs_name(dataset.crs)}, B04 in {_crs_name(crs)}.")
    t, side = dataset.transform, BAND_METRES[band]
    if not crs.is_projected or abs(t.b) > 1e-9 or abs(t.d) > 1e-9 or t.a <= 0 or t.e >= 0:
        raise CrsError(
            f"{shown(source)}: its grid is not north-up in metres ({_crs_name(crs)}). "
            "Warp it to a UTM zone with gdalwarp first."
        )
    if abs(t.a - side) > 1e-3 * side or abs(t.e + side) > 1e-3 * side:
        raise FormatError(
            f"{shown(source)}: has pixels of {t.a:g} x {-t.e:g} m; {band} needs its own {side} m. "
            "Give the file of that resolution."
        )


def _same_kind(headers: Sequence[_Header]) -> None:
    first = headers[0]
    for other in headers[1:]:
        if other.crs != first.crs:
            raise CrsError(
                f"{other.scene.name} is in {_crs_name(other.crs)} and {first.scene.name} in "
                f"{_crs_name(first.crs)}: only scenes of one CRS make a mosaic. Make one each."
            )
        if other.sensor != first.sensor:
            raise UnitError(
                f"{other.scene.name} is {other.sensor} and {first.scene.name} {first.sensor}: "
                "surface and top-of-atmosphere reflectance do not mix. Give scenes of one level."
            )


def _union(headers: Sequence[_Header]) -> tuple[GeoBox, list[str]]:
    """Grid at 10 m over all scenes, whole cells of 60 m, and who is off it."""
    left, _, _, top = headers[0].bounds
    steps_left = min(_cells(h.bounds[0] - left, up=True) for h in headers)
    steps_top = min(_cells(top - h.bounds[3], up=True) for h in headers)
    steps_right = max(_cells(h.bounds[2] - left, up=False) for h in headers)
    steps_bottom = max(_cells(top - h.bounds[1], up=False) for h in headers)
    factor = COARSEST_M // FINEST_M
    shape = ((steps_bottom - steps_top) * factor, (steps_right - steps_left) * factor)
    origin = (left + steps_left * COARSEST_M, top - steps_top * COARSEST_M)
    transform = Affine.translation(*origin) * Affine.scale(FINEST_M, -FINEST_M)
    notes = []
    for header in headers:
        shift = [(header.bounds[0] - left) % COARSEST_M, (top - header.bounds[3]) % COARSEST_M]
        if any(min(s, COARSEST_M - s) > 0.01 for s in shift):
            notes.append(
                f"{header.scene.name}: lies off the grid of {headers[0].scene.name} by "
                f"{shift[0]:g} m and {shift[1]:g} m; moved to the nearest pixels."
            )
    return GeoBox(shape, transform, headers[0].crs.to_wkt()), notes


def _cells(metres: float, *, up: bool) -> int:
    """Whole cells of 60 m in a distance, with a centimetre of tolerance."""
    cells = metres / COARSEST_M
    slack = 0.01 / COARSEST_M
    return math.ceil(cells - slack) if up else math.floor(cells + slack)


def _placed(band: _Band, name: str, geobox: GeoBox) -> _Band:
    """Note where a band lies on the mosaic's grid of its resolution."""
    side = BAND_METRES[name]
    left, bottom, right, top = band.bounds
    x, y = geobox.affine.c, geobox.affine.f
    rows = range(math.floor((y - top) / side), math.ceil((y - bottom) / side))
    cols = range(math.floor((left - x) / side), math.ceil((right - x) / side))
    return replace(band, rows=rows, cols=cols)
