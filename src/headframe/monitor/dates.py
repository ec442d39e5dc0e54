"""The two dates of a comparison: class maps as they are, scenes mapped first."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headframe.core.errors import FormatError, InputError
from headframe.core.progress import SILENT, Progress
from headframe.engine.bundle import load_bundle
from headframe.engine.mapping import MapOptions, map_scenes
from headframe.io.classraster import carries_classes, own_cloud_mask
from headframe.io.layers import shown
from headframe.io.stac_read import is_item_source
from headframe.monitor.options import Dated


@dataclass(frozen=True)
class Mapper:
    """How scenes become class maps.

    Attributes:
        model: bundle folder, shipped name or hub address.
        options: of the map; polygons are not needed.
    """

    model: str
    options: MapOptions


def prepare_dates(
    sources: Sequence[str], *, out: Path, mapper: Mapper | None, progress: Progress = SILENT
) -> tuple[Dated, Dated]:
    """Turn two files into two class maps.

    A raster that names classes in its tags is a class map. Without a model, so is every other
    one; with a model, others are scenes and are mapped into ``out/before`` and ``out/after``,
    where a later run finds them done or goes on with them. A band described as SCL in a scene's
    own file masks its clouds.

    Args:
        sources: before and after.
        out: folder of the comparison.
        mapper: the model, or None.
        progress: told of tiles.

    Raises:
        InputError: a file is missing, is no map and there is no model, or cannot be mapped.
    """
    are_maps = [not is_item_source(s) and carries_classes(s) for s in sources]
    if mapper is None:
        for source in sources:
            if is_item_source(source):
                raise FormatError(
                    f"{shown(source)}: is a STAC item, not a class map. Name a model with --model "
                    "to map it first."
                )
        return Dated(sources[0]), Dated(sources[1])
    if all(are_maps):
        raise InputError(
            f"{shown(sources[0])} and {shown(sources[1])} are class maps already. Leave --model "
            "out."
        )
    bundle = load_bundle(mapper.model)
    dates = []
    for source, is_map, name in zip(sources, are_maps, ("before", "after"), strict=True):
        if is_map:
            dates.append(Dated(source))
            continue
        (mapped,) = map_scenes(
            [source], bundle=bundle, out=out / name, options=mapper.options, progress=progress
        )
        clouds = own_cloud_mask(source)
        dates.append(Dated(mapped.outputs["classes"], scene=source, clouds=clouds))
    return dates[0], dates[1]
