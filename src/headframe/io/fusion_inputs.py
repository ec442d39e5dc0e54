"""Files to lay over each other: their sensors, their bands, and who gives which band."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np
from odc.geo.geobox import GeoBox

from headframe.core.bands import identify_band
from headframe.core.errors import BandError, CrsError
from headframe.core.modelspec import InputSpec
from headframe.core.radar import RATIO_BAND, RATIO_FORM, RATIO_PARENTS, name_ratio
from headframe.core.sensors import Sensor, get_sensor
from headframe.geo.common_grid import pixel_side_m
from headframe.geo.window import Window
from headframe.io.layers import open_raster, shown
from headframe.io.product import SceneOptions
from headframe.io.recognise import FileFacts, read_facts, recognise, sensor_of
from headframe.io.scene import Scene, open_scene

_GSD_SAME = 1.01
_LOOK_PX = 256


@dataclass(frozen=True)
class FusionPart:
    """One file to lay over the others.

    Attributes:
        source: raster (path or URL) or STAC item.
        sensor: what it is from; None to tell by its tags, name and bands.
        options: bands in file order, and its unit where the file and the sensor do not tell.
    """

    source: str
    sensor: str | None = None
    options: SceneOptions = field(default_factory=SceneOptions)


@dataclass(frozen=True)
class FusionInput:
    """A file that is open: its scene gives ``bands`` in their unit, on ``geobox``."""

    source: str
    sensor: Sensor
    bands: tuple[str, ...]
    scene: Scene
    geobox: GeoBox


@dataclass(frozen=True)
class _Known:
    """A file not yet open: its sensor, and its bands with what the reader is told of them."""

    part: FusionPart
    facts: FileFacts
    sensor: Sensor
    bands: tuple[str, ...]
    options: SceneOptions
    unknown: tuple[str, ...]


def open_inputs(
    sources: Sequence[FusionPart], closing: ExitStack
) -> tuple[list[FusionInput], list[str]]:
    """Open files, tell sensors and bands, and leave each band to the file with finest pixels.

    Args:
        sources: at least one.
        closing: closes the files.

    Returns:
        The files that give some band, and notes on what was left out, one line each.

    Raises:
        MissingFileError: a file is not there.
        FormatError: a file cannot be read, or has no data at all.
        CrsError: a file has no CRS.
        BandError: a file's sensor or bands cannot be told, or two files equally fine share one.
        UnitError: numbers cannot be in the unit of their sensor.
    """
    known = _identify(sources)
    notes = [f"{shown(k.part.source)}: {text} left out." for k in known for text in k.unknown]
    opened = [_open(each, closing) for each in known]
    for each, facts in zip(opened, known, strict=True):
        notes += _ratio_notes(each, facts)
    return _without_doubles(opened), notes


def no_crs(source: str) -> str:
    """Say what to do with a file that lies nowhere on Earth."""
    return (
        f"{shown(source)}: has no CRS or no geotransform, so it cannot be laid over other files. "
        "Georeference it (gdal_translate -a_srs); raw radar must be terrain-corrected first."
    )


def _identify(sources: Sequence[FusionPart]) -> list[_Known]:
    facts = [read_facts(part.source) for part in sources]
    told = [part.sensor or recognise(each) for part, each in zip(sources, facts, strict=True)]
    known = []
    for part, each in zip(sources, facts, strict=True):
        sensor = get_sensor(part.sensor) if part.sensor else sensor_of(each, told)
        known.append(_bands_of(part, each, sensor))
    return known


def _bands_of(part: FusionPart, facts: FileFacts, sensor: Sensor) -> _Known:
    """Name a file's bands; those that the sensor does not know are left out."""
    names = part.options.bands or facts.names
    found = [identify_band(name, sensor) for name in names]
    bands = tuple(dict.fromkeys(band.common_name for band in found if band is not None))
    if not bands:
        has = ", ".join(name or "unnamed" for name in names)
        raise BandError(
            f"{shown(part.source)}: none of its bands ({has}) is a known band of {sensor.title}. "
            "Name them with --bands, in file order, or state another --sensor."
        )
    lost = [
        f"band {place} ({name or 'unnamed'})"
        for place, (name, band) in enumerate(zip(names, found, strict=True), start=1)
        if band is None
    ]
    options = part.options
    if not facts.named and options.bands is None:
        options = replace(options, bands=bands)
    if sensor.quantity == "db":
        options = replace(options, scale=None, offset=None)  # they mean light
    if set(RATIO_PARENTS) <= set(bands):
        bands = tuple(band for band in bands if band != RATIO_BAND)  # formed anew
    return _Known(part, facts, sensor, bands, options, () if facts.item else tuple(lost))


def _open(known: _Known, closing: ExitStack) -> FusionInput:
    source, bands = known.part.source, known.bands
    spec = InputSpec(
        sensor=known.sensor.name,
        bands=bands,
        gsd_m=min(known.sensor.band(band).gsd_m for band in bands),
        mean=(0.0,) * len(bands),
        std=(1.0,) * len(bands),
        percentiles=(),
    )
    scene = closing.enter_context(open_scene(source, inputs=spec, options=known.options))
    if scene.geobox is None:
        raise CrsError(no_crs(source))
    return FusionInput(source, known.sensor, bands, scene, scene.geobox)


def _without_doubles(inputs: list[FusionInput]) -> list[FusionInput]:
    """Leave each band to the file with the smallest pixels."""
    owner: dict[tuple[str, str], FusionInput] = {}
    for each in sorted(inputs, key=lambda i: pixel_side_m(i.geobox)):
        for band in each.bands:
            other = owner.setdefault((each.sensor.part(band).name, band), each)
            if other is each:
                continue
            if pixel_side_m(each.geobox) < _GSD_SAME * pixel_side_m(other.geobox):
                raise BandError(
                    f"{shown(other.source)} and {shown(each.source)} both have {band} with pixels "
                    "of one size. Leave one out, or merge them first."
                )
    kept = []
    for each in inputs:
        own = tuple(b for b in each.bands if owner[each.sensor.part(b).name, b] is each)
        if own:
            kept.append(replace(each, bands=own))
    return kept


def _ratio_notes(opened: FusionInput, known: _Known) -> Iterator[str]:
    """Say which ratio of VV and VH a file holds that is not taken over."""
    if not set(RATIO_PARENTS) <= set(opened.bands) or known.facts.item:
        return
    height, width = (min(_LOOK_PX, side) for side in opened.scene.shape)
    values = opened.scene.read(Window(0, 0, height, width))
    vv, vh = (values[opened.bands.index(parent)] for parent in RATIO_PARENTS)
    with open_raster(opened.source) as dataset:
        stored = dataset.read(window=((0, height), (0, width))).astype(np.float32)
    for index, band in enumerate(stored, start=1):
        form = name_ratio(band, vv_db=vv, vh_db=vh)
        if form not in (None, RATIO_FORM):
            yield (
                f"{shown(opened.source)}: band {index} holds {form}; vv_vh is formed anew, "
                f"{RATIO_FORM}."
            )
