"""Reading a scene: the bands a model needs, in its physical unit, window by window."""

import math
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from headframe.core.bands import match_bands
from headframe.core.errors import BandError, CrsError, FormatError
from headframe.core.modelspec import InputSpec
from headframe.core.radar import RadarUnit
from headframe.core.sensors import Sensor, get_sensor
from headframe.core.units import Scaling, check_unit
from headframe.geo.window import Window
from headframe.io.channels import Channels, plan_channels, tagged_unit
from headframe.io.layers import (
    Layer,
    band_descriptions,
    data_bands,
    finest,
    gdal_reading,
    has_alpha,
    is_remote,
    open_raster,
    same_grid,
    shown,
)
from headframe.io.product import SceneOptions, known_product, scaling_of, untagged_nodata
from headframe.io.sources import scene_sources, scene_stem
from headframe.io.stac_read import AssetBand, StacItem, choose_bands, is_item_source, read_item

FloatArray = npt.NDArray[np.float32]

__all__ = ["Scene", "SceneOptions", "open_scene", "scene_sources", "scene_stem"]

_SAMPLE_SIDE_PX = 32
_SAMPLE_PX = 64 * _SAMPLE_SIDE_PX**2
_REMOTE_SAMPLE_PX = _SAMPLE_PX // 4
_SCAN_PX = 1024


class Scene:
    """The bands a model needs of one scene, open for windowed reading.

    ``read`` may be called from one thread while others work on what it gave; calls from several
    threads wait for each other.

    Attributes:
        source: path or URL it was opened from.
        name: file name without suffix, or the STAC item's id.
        shape: rows and columns, pixels.
        geobox: CRS, transform and shape as in the file, rotated and non-square pixels kept;
            None where the file has no CRS or no transform.
        dtype: numpy name of the stored numbers.
        scaling: per band read, how stored numbers become the physical unit.
        channels: which bands are read, and how they become the model's channels.
        radar_unit: unit of radar bands once scaled; they are given in decibels.
        radar_tagged: whether the file's tags say that radar is in decibels.
    """

    def __init__(
        self,
        source: str,
        *,
        name: str,
        layers: tuple[Layer, ...],
        scaling: tuple[Scaling, ...],
        channels: Channels,
        closing: ExitStack,
    ) -> None:
        self.source = source
        self.name = name
        self.scaling = scaling
        self.channels = channels
        self.radar_unit: RadarUnit = "db"
        self.radar_tagged = False
        self._layers = layers
        self._closing = closing
        self._lock = threading.Lock()
        grid = layers[0].dataset
        self.shape: tuple[int, int] = (int(grid.height), int(grid.width))
        self.geobox: GeoBox | None = _geobox(grid, source)
        self.dtype: str = str(grid.dtypes[layers[0].indexes[0] - 1])
        self._scale = np.array([s.scale for s in scaling], dtype=np.float32)[:, None, None]
        self._offset = np.array([s.offset for s in scaling], dtype=np.float32)[:, None, None]

    def __enter__(self) -> Self:
        """Return the scene itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files."""
        self.close()

    def close(self) -> None:
        """Close the files; reading is over."""
        with self._lock:
            self._closing.close()

    def files(self) -> tuple[str, ...]:
        """Name every file that is read: sidecars, and what a virtual raster is made of."""
        with self._lock:
            parts = [name for layer in self._layers for name in layer.dataset.files]
        named = [self.source, *(layer.source for layer in self._layers)]
        return tuple(dict.fromkeys([*named, *parts]))

    def read(self, window: Window) -> FloatArray:
        """Read one window in the physical unit.

        Args:
            window: pixels of the scene; may reach beyond it.

        Returns:
            (C, h, w) float32, channels in the model's order, reflectance 0-1 (or dB); NaN in
            every channel where any needed band is nodata, and outside the scene. Two windows
            give the same values where they overlap.

        Raises:
            FormatError: the file is damaged there.
        """
        return self._within(window, each=False)

    def read_each(self, window: Window) -> FloatArray:
        """Read one window as ``read`` does, NaN only in the channels that have no data."""
        return self._within(window, each=True)

    def _within(self, window: Window, *, each: bool) -> FloatArray:
        height, width = self.shape
        count = len(self.channels.wanted)
        out = np.full((count, window.height, window.width), np.nan, dtype=np.float32)
        top, left = max(window.row, 0), max(window.col, 0)
        bottom = min(window.row + window.height, height)
        right = min(window.col + window.width, width)
        if top >= bottom or left >= right:
            return out
        raw, valid = self._stored(Window(top, left, bottom - top, right - left), each=each)
        raw *= self._scale
        raw += self._offset
        if each:
            raw[~valid] = np.nan
        else:
            raw[:, ~valid] = np.nan
        rows = slice(top - window.row, bottom - window.row)
        cols = slice(left - window.col, right - window.col)
        out[:, rows, cols] = self.channels.finish(raw, self.radar_unit)
        return out

    def sample(self, n: int = _SAMPLE_PX) -> FloatArray:
        """Take about ``n`` pixels as stored, from small windows spread evenly over the scene.

        Returns:
            (K, N) float32, stored numbers of the bands read (``channels.stored``) before scaling,
            without nodata; N is 0 only where the whole scene is nodata.
        """
        height, width = self.shape
        if height * width <= n:
            return self._data(Window(0, 0, height, width))
        side = _SAMPLE_SIDE_PX
        per_axis = max(1, math.isqrt(n // side**2))
        parts = [
            self._data(Window(row, col, min(side, height), min(side, width)))
            for row in _spread(height, side, per_axis)
            for col in _spread(width, side, per_axis)
        ]
        found = np.concatenate(parts, axis=1)
        return found if found.shape[1] else self._first_data()

    def _first_data(self) -> FloatArray:
        """Search the whole scene for data, up to the first window that has some."""
        height, width = self.shape
        found = np.empty((len(self.scaling), 0), dtype=np.float32)
        for row in range(0, height, _SCAN_PX):
            for col in range(0, width, _SCAN_PX):
                rows, cols = min(_SCAN_PX, height - row), min(_SCAN_PX, width - col)
                found = self._data(Window(row, col, rows, cols))
                if found.shape[1]:
                    return found
        return found

    def _data(self, window: Window) -> FloatArray:
        raw, valid = self._stored(window)
        return raw[:, valid]

    def _stored(
        self, window: Window, *, each: bool = False
    ) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Stored numbers (K, h, w), and where all of them are data (h, w), or each (K, h, w)."""
        shape = (len(self.scaling), window.height, window.width)
        raw = np.empty(shape, dtype=np.float32)
        valid: npt.NDArray[np.bool_] = np.ones(shape if each else shape[1:], dtype=np.bool_)
        with self._lock:
            for layer in self._layers:
                rows = list(layer.channels)
                if each:
                    raw[rows], valid[rows] = layer.read_each(window)
                else:
                    raw[rows], known = layer.read(window)
                    valid &= known
        return raw, valid


def open_scene(
    source: str | Path, *, inputs: InputSpec, options: SceneOptions, check: bool = True
) -> Scene:
    """Open a raster or a STAC item for a model.

    Args:
        source: path, URL, ``/vsi`` path or STAC item (JSON, local or http(s)).
        inputs: what the model needs; its ``bands`` are the channels, in order.
        options: what the caller states about bands and unit.
        check: look whether there is data and whether its unit can be right; False where other
            bands of the same scene, of light, were looked at already.

    Raises:
        MissingFileError: it is not there.
        FormatError: it cannot be read, or has no data at all.
        BandError: a needed band is missing or cannot be told.
        UnitError: its values cannot be in the unit the model was trained on.
        CrsError: its CRS cannot be understood.
    """
    text = str(source)
    sensor = get_sensor(inputs.sensor)
    with ExitStack() as closing:
        if is_item_source(text):
            scene = _open_item(read_item(text), inputs.bands, sensor, options, closing=closing)
        else:
            scene = _open_file(text, inputs.bands, sensor, options, closing=closing)
        if check:
            _check(scene, inputs, options)
        scene._closing = closing.pop_all()
    return scene


def _check(scene: Scene, inputs: InputSpec, options: SceneOptions) -> None:
    sensor = get_sensor(inputs.sensor)
    sample = scene.sample(_REMOTE_SAMPLE_PX if is_remote(scene.source) else _SAMPLE_PX)
    if sample.shape[1] == 0:
        raise FormatError(
            f"{shown(scene.source)}: every pixel is nodata or NaN in the needed bands "
            f"({', '.join(inputs.bands)}); there is nothing to map."
        )
    scene.radar_unit = _radar_unit(scene, sample, sensor, options)
    if options.states_unit:
        return
    channels = scene.channels  # radar was judged above; light against its own training
    places = {
        place: channels.stored.index(name)
        for place, name in enumerate(channels.wanted)
        if sensor.part(name).quantity == "reflectance"
    }
    if places:
        rows = list(places.values())
        check_unit(
            sample[rows],
            scene.dtype,
            spec=_only(inputs, list(places)),
            scaling=[scene.scaling[row] for row in rows],
            source=shown(scene.source),
        )


def _only(inputs: InputSpec, places: list[int]) -> InputSpec:
    """Keep some of the model's bands, by 0-based place."""
    return replace(
        inputs,
        bands=tuple(inputs.bands[i] for i in places),
        mean=tuple(inputs.mean[i] for i in places),
        std=tuple(inputs.std[i] for i in places),
        percentiles=tuple(inputs.percentiles[i] for i in places if i < len(inputs.percentiles)),
    )


def _radar_unit(
    scene: Scene, sample: FloatArray, sensor: Sensor, options: SceneOptions
) -> RadarUnit:
    """Tell the unit of radar bands: stated, else by the file's tags, else by the values."""
    if options.s1_unit is not None:
        return options.s1_unit
    if (options.states_unit and sensor.quantity == "db") or scene.radar_tagged:
        return "db"
    return scene.channels.unit_of(_scaled(scene, sample), source=shown(scene.source))


def _scaled(scene: Scene, sample: FloatArray) -> FloatArray:
    scale = np.array([s.scale for s in scene.scaling], dtype=np.float32)[:, None]
    offset = np.array([s.offset for s in scene.scaling], dtype=np.float32)[:, None]
    return np.asarray(sample * scale + offset, dtype=np.float32)


def _open_file(
    source: str,
    wanted: tuple[str, ...],
    sensor: Sensor,
    options: SceneOptions,
    *,
    closing: ExitStack,
) -> Scene:
    dataset = closing.enter_context(open_raster(source))
    with gdal_reading(source):
        names = band_descriptions(dataset)
        usable = data_bands(dataset)
        tags = {**dataset.tags(), **dataset.tags(ns="IMAGERY")}
    if options.bands is not None and len(options.bands) == dataset.count:
        usable = tuple(dataset.indexes)
    texts = [names[index - 1] for index in usable]
    channels = plan_channels(options.bands or texts, wanted, sensor)
    found = match_bands(
        texts, channels.stored, sensor=sensor, source=shown(source), override=options.bands
    )
    indexes = tuple(usable[i] for i in found)
    product = known_product(source, tags, sensor)
    units = [tagged_unit(dataset, index) for index in indexes]
    parts = [sensor.part(name) for name in channels.stored]
    scaling = tuple(
        scaling_of(
            dataset.scales[index - 1],
            dataset.offsets[index - 1],
            part,
            product,
            options.of_part(part, sensor),
            in_unit=unit is not None,
        )
        for index, part, unit in zip(indexes, parts, units, strict=True)
    )
    layers = []
    for part in dict.fromkeys(parts):
        rows = tuple(i for i, owner in enumerate(parts) if owner is part)
        own = tuple(indexes[i] for i in rows)
        nodata = _nodata(str(dataset.dtypes[own[0] - 1]), part, len(own), options)
        layers.append(Layer(dataset, own, rows, nodata, source))
    scene = Scene(
        source,
        name=scene_stem(source),
        layers=tuple(layers),
        scaling=scaling,
        channels=channels,
        closing=closing,
    )
    scene.radar_tagged = bool(channels.radar) and all(units[i] == "db" for i in channels.radar)
    return scene


def _open_item(
    item: StacItem,
    wanted: tuple[str, ...],
    sensor: Sensor,
    options: SceneOptions,
    *,
    closing: ExitStack,
) -> Scene:
    if options.bands is not None:
        raise BandError(
            f"{shown(item.source)}: a STAC item names its own bands; leave --bands out."
        )
    channels = plan_channels([band.description for band in item.bands], wanted, sensor)
    chosen = choose_bands(item, channels.stored, sensor=sensor)
    parts = [sensor.part(name) for name in channels.stored]
    opened = {
        href: closing.enter_context(open_raster(href))
        for href in dict.fromkeys(band.href for band in chosen)
    }
    grid = finest(list(opened.values()))
    product = known_product(item.source, item.properties, sensor)
    layers = []
    for channel, band in enumerate(chosen):
        dataset = _aligned(opened[band.href], grid, band, closing)
        if band.index not in dataset.indexes:
            raise FormatError(f"{shown(band.href)}: has no band {band.index}, as its item says.")
        part = parts[channel]
        alike = parts.count(part) if part.quantity == "reflectance" else 1
        nodata = _nodata(str(dataset.dtypes[band.index - 1]), part, alike, options)
        nodata = nodata if band.nodata is None else band.nodata
        layers.append(Layer(dataset, (band.index,), (channel,), nodata, band.href))
    scaling = tuple(
        scaling_of(
            band.scale if band.scale is not None else opened[band.href].scales[band.index - 1],
            band.offset if band.offset is not None else opened[band.href].offsets[band.index - 1],
            part,
            product,
            options.of_part(part, sensor),
        )
        for band, part in zip(chosen, parts, strict=True)
    )
    layers.sort(key=lambda layer: layer.dataset is not grid)
    return Scene(
        item.source,
        name=item.name,
        layers=tuple(layers),
        scaling=scaling,
        channels=channels,
        closing=closing,
    )


def _nodata(dtype: str, part: Sensor, bands: int, options: SceneOptions) -> float | None:
    """Untagged nodata; 0 dB in one radar band is a value, in two at once it is an edge."""
    if part.quantity == "db" and bands < 2:
        return None
    return untagged_nodata(dtype, part, options)


def _aligned(dataset: Any, grid: Any, band: AssetBand, closing: ExitStack) -> Any:  # noqa: ANN401 - rasterio is untyped
    """Give ``dataset`` on the grid of ``grid``: as it is, or by nearest pixel."""
    if same_grid(dataset, grid):
        return dataset
    if dataset.crs is None or grid.crs is None:
        raise CrsError(
            f"{shown(band.href)}: has no CRS, so it cannot be laid over its item's grid."
        )
    nodata = dataset.nodatavals[band.index - 1]
    nodata = band.nodata if nodata is None else nodata
    with gdal_reading(band.href):
        return closing.enter_context(
            WarpedVRT(
                dataset,
                crs=grid.crs,
                transform=grid.transform,
                width=grid.width,
                height=grid.height,
                resampling=Resampling.nearest,
                nodata=nodata,
                src_nodata=nodata,
                add_alpha=nodata is None and not has_alpha(dataset),
            )
        )


def _geobox(dataset: Any, source: str) -> GeoBox | None:  # noqa: ANN401 - rasterio has no types
    if dataset.crs is None or dataset.transform.is_identity:
        return None
    try:
        return GeoBox(dataset.shape, dataset.transform, dataset.crs.to_wkt())
    except (ValueError, RuntimeError) as exc:  # pyproj's CRSError is a RuntimeError
        raise CrsError(
            f"{shown(source)}: its CRS cannot be understood ({' '.join(str(exc).split())}). "
            "Write it anew with gdal_translate -a_srs."
        ) from exc


def _spread(length: int, side: int, count: int) -> list[int]:
    """Place ``count`` starts of ``side`` pixels evenly on an axis, both ends included."""
    last = max(length - side, 0)
    return sorted({round(i * last / max(count - 1, 1)) for i in range(count)})
