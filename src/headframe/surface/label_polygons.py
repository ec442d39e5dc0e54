"""The polygons that `label` burns: drawn, reviewed, or both; and where each comes from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from headframe.core.components import COMPONENTS
from headframe.core.errors import DatasetError
from headframe.datasets.provenance import PolygonRecord
from headframe.io.vector import PolygonLayer, read_polygons
from headframe.surface.label_components import ClassTable, assign, read_class_map
from headframe.surface.label_inputs import LabelOptions
from headframe.surface.label_plan import LabelPlan
from headframe.surface.label_presets import get_preset
from headframe.surface.review import manual_records, read_review

_CLASS = "class"


@dataclass(frozen=True)
class LabelPolygons:
    """What labels are burned from.

    Attributes:
        layer: polygons in EPSG:4326.
        bits: mask of components of each; None without the preset ``components``.
        records: where each comes from; None where none of them was reviewed.
    """

    layer: PolygonLayer
    bits: tuple[int, ...] | None
    records: tuple[PolygonRecord, ...] | None

    def burned(self, plan: LabelPlan, written: Sequence[bool]) -> tuple[PolygonRecord, ...] | None:
        """Choose the records of polygons that lie on a chip; None where none was reviewed.

        Args:
            plan: with polygons by place.
            written: for each chip of the plan, whether it is in the data set.
        """
        if self.records is None:
            return None
        rows = [i for i in range(len(self.records)) if self.bits is None or self.bits[i]]
        known = plan.polygons[""]
        met = {
            rows[place]
            for chip, there in zip(plan.chips, written, strict=True)
            if there
            for place in known.on(chip.outline)
        }
        return tuple(self.records[row] for row in sorted(met))


def check_options(options: LabelOptions, polygons: Path | None) -> None:
    """Refuse options that do not go together.

    Raises:
        DatasetError: naming one of them.
    """
    if options.target.strip() in ("", "background", "cloud"):
        raise DatasetError(f"class 2 cannot be called {options.target!r}. Choose another --class.")
    if polygons is None and options.reviewed is None:
        raise DatasetError("nothing to label by. Give --polygons, or --reviewed, or both.")
    if options.reviewed is None and options.skip_todo:
        raise DatasetError("--skip-todo has no meaning without --reviewed.")
    given = (options.class_field is not None, options.class_map is not None)
    components = get_preset(options.preset).components
    if components and not all(given) and options.reviewed is None:
        raise DatasetError(
            "preset components needs --class-field (the polygons' field with their class) and "
            "--class-map (a file that says which class is which component)."
        )
    if not components and any(given):
        raise DatasetError(
            f"--class-field and --class-map are for preset components, not {options.preset}."
        )
    if options.by_place and options.stratify:
        remedy = "" if options.reviewed else "Add --site-field, or "
        raise DatasetError(
            "polygons without a site cannot be balanced by their --stratify field. "
            f"{remedy}{'stratify' if remedy else 'Stratify'} later with `headframe dataset split`."
        )


def read_label_polygons(polygons: Path | None, options: LabelOptions) -> LabelPolygons:
    """Read drawn and reviewed polygons into one layer.

    Args:
        polygons: file of drawn polygons, if there are any.
        options: with the review file, if there is one.

    Raises:
        InputError: see ``io.vector.read_polygons`` and ``review.read_review``.
    """
    components = get_preset(options.preset).components
    layers: list[PolygonLayer] = []
    records: list[PolygonRecord] = []
    if polygons is not None:
        drawn = read_polygons(
            polygons,
            site_field=options.site_field,
            layer=options.layer,
            stratum_field=options.stratify,
            class_field=(options.class_field or _CLASS) if components else None,
            need_site=options.reviewed is None,
        )
        layers.append(drawn)
        if options.reviewed is not None:
            records += manual_records(drawn, polygons)
    if options.reviewed is not None:
        alone = options.layer if polygons is None else None
        found = read_review(options.reviewed, layer=alone, skip_todo=options.skip_todo)
        layers.append(found.layer)
        records += found.records
    layer = layers[0] if len(layers) == 1 else _joined(layers)
    bits = None
    if components:
        masks, lines = assign(list(layer.frame[_CLASS]), _table(options))
        bits = tuple(masks)
        layer = replace(layer, report=(*layer.report, *lines))
    return LabelPolygons(layer, bits, tuple(records) if options.reviewed is not None else None)


def _joined(layers: Sequence[PolygonLayer]) -> PolygonLayer:
    frames = [layer.frame for layer in layers]
    frame = pd.concat(frames, ignore_index=True)
    text = [column for column in frame.columns if column != frame.geometry.name]
    frame[text] = frame[text].fillna("")
    report = tuple(line for layer in layers for line in layer.report)
    return PolygonLayer(frame, report)


def _table(options: LabelOptions) -> ClassTable:
    """Read the class map; what was reviewed has components' own names too."""
    if options.reviewed is None:
        assert options.class_map is not None  # check_options
        return read_class_map(options.class_map)
    own = {info.name: 1 << info.index for info in COMPONENTS}
    if options.class_map is None:
        return ClassTable(own, options.reviewed)
    given = read_class_map(options.class_map)
    return ClassTable({**own, **given.bits}, given.source)
