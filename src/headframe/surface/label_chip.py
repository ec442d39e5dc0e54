"""One chip of a labelled data set: read, label, write. Runs in worker processes."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from headframe.core.classmap import ClassMap, label_class_map
from headframe.core.components import component_class_map
from headframe.io.bitmask import BitMask, write_bits
from headframe.io.burn import burn_polygons
from headframe.io.files import write_json
from headframe.io.labels import write_label_png, write_rgb_png, write_valid_png
from headframe.io.stored import StoredChip, read_stored, select_bands, write_stored
from headframe.surface.label_components import burn_components, count_components
from headframe.surface.label_presets import BandPlan, Preset, get_preset, plan_bands
from headframe.surface.label_rules import (
    SCL_NODATA,
    BoolArray,
    cloud_of_band,
    cloud_of_scl,
    label_index,
    ndvi,
)

STRETCH = (2.0, 98.0)
"""Percentiles of the valid pixels that the preview shows as black and white."""


@dataclass(frozen=True)
class ChipTask:
    """What a worker needs to know of one chip.

    Attributes:
        source: image to label.
        image: where the image goes.
        label: where the label goes.
        rgb: where the preview goes.
        valid: where the sidecar goes, if some pixels have no data.
        record: where the result is noted, last of all: its existence means the chip is done.
        polygons: WKB in EPSG:4326, and mask of components, of the site's polygons near the image.
        preset: name in ``PRESETS``.
        sensor: replaces the preset's sensor.
        cloud_threshold: see ``label_rules.cloud_of_band``.
        scaling: (scale, offset) stated by the user, instead of the file's own tags.
    """

    source: Path
    image: Path
    label: Path
    rgb: Path
    valid: Path
    record: Path
    polygons: tuple[tuple[bytes, int], ...]
    preset: str
    sensor: str | None
    cloud_threshold: float | None
    scaling: tuple[float, float] | None


@dataclass(frozen=True)
class ChipRecord:
    """What became of one chip.

    Attributes:
        written: False where it holds no data at all and was skipped.
        pixels: pixels that have data of class 0, 1 and 2; with the preset ``components`` of none
            and of each component, where one pixel may count several times.
        nodata: pixels without data.
    """

    written: bool
    pixels: tuple[int, ...]
    nodata: int

    def to_json(self) -> dict[str, Any]:
        """Give plain JSON values."""
        return asdict(self)


def make_chip(task: ChipTask) -> ChipRecord:
    """Label one image and write its files, each all or nothing, the record last.

    Raises:
        FormatError: the image cannot be read.
        BandError: see ``label_presets.plan_bands`` and ``label_rules.cloud_of_band``.
        OutputError: a file cannot be written.
    """
    preset = get_preset(task.preset)
    chip = read_stored(task.source)
    bands = plan_bands(chip.header, preset, sensor=task.sensor, source=str(task.source))
    valid = _valid(chip, bands, preset)
    if not valid.any():
        nothing = (0,) * len(classes_of(preset, "target"))
        record = ChipRecord(written=False, pixels=nothing, nodata=int(valid.size))
        write_json(task.record, record.to_json())
        return record
    if not valid.all():
        write_valid_png(task.valid, valid)
    write_rgb_png(task.rgb, preview(chip.values[list(bands.rgb)], valid))
    write_stored(task.image, _named(select_bands(chip, bands.kept), bands.names))
    label = write_components if preset.components else write_classes
    pixels = label(chip, bands, task, valid)
    record = ChipRecord(written=True, pixels=pixels, nodata=int(valid.size - valid.sum()))
    write_json(task.record, record.to_json())
    return record


def classes_of(preset: Preset, target: str) -> ClassMap:
    """Classes of a preset's labels; ``target`` names class 2 where it is not ``components``."""
    return component_class_map() if preset.components else label_class_map(target)


def write_classes(
    chip: StoredChip, bands: BandPlan, task: ChipTask, valid: BoolArray
) -> tuple[int, ...]:
    """Write the label PNG of a chip; pixels of each class among those with data."""
    label = render_label(chip, bands, task)
    write_label_png(task.label, label, label_class_map())
    return tuple(int(n) for n in np.bincount(label[valid], minlength=3))


def write_components(
    chip: StoredChip, bands: BandPlan, task: ChipTask, valid: BoolArray
) -> tuple[int, ...]:
    """Write the bit mask of a chip; pixels of no component and of each among those with data."""
    shapes = [shapely.from_wkb(data) for data, _ in task.polygons]
    geobox = chip.header.geobox
    mask = burn_components(shapes, [bits for _, bits in task.polygons], geobox)
    write_bits(task.label, BitMask(mask, geobox))
    return count_components(mask, valid)


def render_label(chip: StoredChip, bands: BandPlan, task: ChipTask) -> npt.NDArray[np.uint8]:
    """Apply equations (1) to (4) to one chip; (H, W) uint8 of 0, 1, 2."""
    preset = get_preset(task.preset)
    polygons = [shapely.from_wkb(data) for data, _ in task.polygons]
    inside = burn_polygons(polygons, chip.header.geobox)
    index = None
    if preset.vegetation and bands.red is not None and bands.nir is not None:
        index = ndvi(
            _unshifted(chip, bands.red, task.scaling),
            _unshifted(chip, bands.nir, task.scaling),
            valid=chip.valid[bands.red] & chip.valid[bands.nir],
        )
    return label_index(inside, ndvi=index, cloud=_cloud(chip, bands, task))


def preview(values: npt.NDArray[Any], valid: BoolArray) -> npt.NDArray[np.uint8]:
    """Stretch one or three bands (C, H, W) to an 8-bit picture (H, W, 3); black without data.

    All bands share one stretch, so that colours keep their balance.
    """
    pixels = values.astype(np.float64)
    low, high = np.percentile(pixels[:, valid], STRETCH)
    span = max(high - low, np.finfo(np.float64).tiny)
    shown = np.clip((pixels - low) / span, 0.0, 1.0)
    shown = np.where(valid, np.nan_to_num(shown), 0.0)
    picture = np.rint(shown * 255.0).astype(np.uint8).transpose(1, 2, 0)  # (H, W, C)
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture


def _named(chip: StoredChip, names: tuple[str, ...]) -> StoredChip:
    """Describe bands that have no description by their common names."""
    header = chip.header
    texts = tuple(own or name for own, name in zip(header.descriptions, names, strict=True))
    return replace(chip, header=replace(header, descriptions=texts))


def _valid(chip: StoredChip, bands: BandPlan, preset: Preset) -> BoolArray:
    """True where every band that is kept has data (and the classification does not deny it)."""
    valid = np.asarray(chip.valid[list(bands.kept)].all(axis=0))
    if preset.cloud == "scl" and bands.cloud is not None:
        valid &= chip.values[bands.cloud] != SCL_NODATA
    return valid


def _cloud(chip: StoredChip, bands: BandPlan, task: ChipTask) -> BoolArray | None:
    if bands.cloud is None:
        return None
    values = chip.values[bands.cloud]
    if get_preset(task.preset).cloud == "scl":
        return cloud_of_scl(values)
    return cloud_of_band(
        values,
        nodata=chip.header.nodata,
        threshold=task.cloud_threshold,
        source=str(task.source),
    )


def _unshifted(
    chip: StoredChip, band: int, scaling: tuple[float, float] | None
) -> npt.NDArray[np.float64]:
    """Stored numbers moved so that 0 is physically 0: NDVI does not depend on the factor.

    Without a scaling the stored numbers are left as they are, to the last bit.
    """
    scale, offset = scaling or (chip.header.scales[band], chip.header.offsets[band])
    values: npt.NDArray[np.float64] = chip.values[band].astype(np.float64)
    return values if offset == 0.0 or scale == 0.0 else values + offset / scale
