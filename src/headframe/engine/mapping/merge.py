"""From the finished strips of several models to one map of components."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from headframe.core.components import COMPONENTS, NODATA_BITS, BitArray
from headframe.engine.mapping.ensemble import BitLegend, Ensemble, Member
from headframe.engine.mapping.options import MapOptions
from headframe.engine.mapping.products import (
    ITEM,
    Drawing,
    FinishedScene,
    areas_of,
    change_date,
    join_strips,
    move_out,
    rasters,
)
from headframe.engine.mapping.resume import Checkpoint
from headframe.engine.mapping.rules import MapRules
from headframe.engine.mapping.strips import keep_regions, read_look
from headframe.geo.area import GridMeasure
from headframe.geo.window import Window
from headframe.io.bitrows import FileRows
from headframe.io.cog import StripWriter, bits_style
from headframe.io.layers import gdal_reading
from headframe.io.polygons import PolygonWriter
from headframe.io.quicklook import assemble, look_step, shrink_bits, write_bits_quicklook
from headframe.io.stac import COMPONENTS_SUFFIX, MapRecord, write_item


class ComponentMerger:
    """Merges one scene; starting over gives the same files, so nothing of it is kept on a kill."""

    def __init__(
        self,
        scene: FinishedScene,
        checkpoint: Checkpoint,
        *,
        ensemble: Ensemble,
        legend: BitLegend,
        options: MapOptions,
    ) -> None:
        """Prepare to merge the strips in ``checkpoint``."""
        self._scene = scene
        self._checkpoint = checkpoint
        self._members = ensemble.members
        self._legend = legend
        self._options = options
        self._strips = [checkpoint.facts(row) for row in range(scene.rows)]
        self._polygons = options.polygons and scene.geobox is not None
        self._small = self._empty_picture()

    def write(self, rules: MapRules | None) -> dict[str, Any]:
        """Write all outputs in the checkpoint's folder, then move them out; the item last.

        The models' own classes are what they said; rules change the merged mask, the polygons and
        the picture only.

        Returns:
            The facts noted in the item.

        Raises:
            OutputError: something cannot be written; final names are then untouched.
        """
        scene, name = self._scene, self._scene.name
        work = self._checkpoint.folder / "out"
        work.mkdir(exist_ok=True)
        facts: dict[str, Any] = {"headframe:fingerprint": scene.fingerprint}
        facts |= self._merge(rules)
        join_strips(
            scene,
            self._checkpoint,
            self._strips,
            kinds=("bits", "components"),
            style=bits_style(self._legend.bits),
        )
        made = [COMPONENTS_SUFFIX, *self._own_rasters()]
        if scene.geobox is not None:
            facts["headframe:area_ha"] = areas_of(self._strips, scene, self._legend.bits)
        if self._polygons:
            facts["headframe:polygons"] = self._write_polygons(work)
            made += [".gpkg", ".parquet"]
        self._write_picture(work / f"{name}.png")
        made.append(".png")
        record = MapRecord(
            name=name,
            source=scene.source,
            shape=scene.shape,
            geobox=scene.geobox,
            date=scene.date,
            models={member.name: (member.spec, member.digest) for member in self._members},
            bits=self._legend.bits,
            outputs=move_out(scene, work, made),
            facts=facts,
        )
        write_item(scene.folder / f"{name}{ITEM}", record)
        return facts

    def _merge(self, rules: MapRules | None) -> dict[str, Any]:
        """Merge classes to bits, apply rules, and cut the result into strips again."""
        cuts = [*(strip["first_row"] for strip in self._strips), self._scene.shape[0]]
        path = self._checkpoint.folder / "bits.raw"
        with FileRows(path, self._scene.shape, cuts) as rows:
            for row, first in enumerate(cuts[:-1]):
                rows.write(first, self._bits(row))
            report: dict[str, Any] = {}
            if rules is not None:
                report["headframe:rules"] = rules.apply(
                    rows,
                    self._legend.bit_of,
                    geobox=self._scene.geobox,
                    guarded_px=sum(strip.get("guarded", 0) for strip in self._strips),
                )
            for row, first in enumerate(cuts[:-1]):
                self._keep(row, rows.read(first, cuts[row + 1]))
        return report

    def _bits(self, row: int) -> BitArray:
        """Merge one strip's classes; a pixel that any model does not know is nodata."""
        bits: BitArray | None = None
        for member, table in zip(self._members, self._legend.tables, strict=True):
            own = table[self._strip("classes", member, row)]
            bits = own if bits is None else bits | own
        assert bits is not None  # an ensemble has members
        return bits

    def _keep(self, row: int, bits: BitArray) -> None:
        """Keep what the products need of one strip's final bits."""
        first = self._strips[row]["first_row"]
        height, width = bits.shape
        path = self._checkpoint.file("bits", row, "tif")
        with StripWriter(path, (1, height, width), "uint16") as file:
            file.write(bits[None], Window(0, 0, height, width))
        known = bits != NODATA_BITS
        self._strips[row]["counts"] = {
            str(info.index): int((bits >> np.uint16(info.index) & known).sum())
            for info in self._legend.bits
        }
        start, small = shrink_bits(bits, first_row=first, step=look_step(self._scene.shape))
        self._small[start : start + len(small)] |= small
        if self._polygons:
            for member, table in zip(self._members, self._legend.tables, strict=True):
                classes = self._strip("classes", member, row)
                classes[known & (table[classes] & bits == 0)] = 0
                best = self._strip("best", member, row)
                path = self._checkpoint.file(f"regions-{member.name}", row, "arrow")
                keep_regions(path, classes, best, first_row=first)

    def _own_rasters(self) -> Iterator[str]:
        for member in self._members:
            for kind, style in rasters(member.spec, self._options):
                kinds = (f"{kind}-{member.name}", f"{member.name}.{kind}")
                join_strips(self._scene, self._checkpoint, self._strips, kinds=kinds, style=style)
                yield f".{kinds[1]}.tif"

    def _write_polygons(self, work: Path) -> int:
        """Draw each model's regions; within a model neighbours fit, between models they overlap."""
        assert self._scene.geobox is not None  # the caller's condition
        measure = GridMeasure(self._scene.geobox)
        with PolygonWriter(
            work / f"{self._scene.name}.gpkg",
            work / f"{self._scene.name}.parquet",
            crs=measure.crs,
            date=change_date(self._scene),
            with_model=True,
        ) as writer:
            for number, member in enumerate(self._members):
                drawing = Drawing(
                    measure,
                    self._scene.shape,
                    self._options,
                    legend=self._names_of(number, member),
                    model=member.name,
                )
                files = [
                    self._checkpoint.file(f"regions-{member.name}", row, "arrow")
                    for row in range(self._scene.rows)
                ]
                for batch in drawing.batches(files):
                    writer.write(batch)
        return writer.count

    def _names_of(self, number: int, member: Member) -> dict[int, tuple[int, str]]:
        """Class index of a member to the bit's position and the component's name."""
        infos = {
            c.index: self._legend.info(number, c.index) for c in member.spec.classes.classes[1:]
        }
        return {index: (info.index, info.name) for index, info in infos.items()}

    def _write_picture(self, path: Path) -> None:
        looks = [
            read_look(self._checkpoint.file("look", row, "npz")) for row in range(self._scene.rows)
        ]
        # Classes that are not of the ten hold most ground, like transformed_area: they go below.
        order = sorted(self._legend.bits, key=lambda i: (i.index < len(COMPONENTS), i.index))
        bands = assemble(looks, self._scene.shape).bands
        write_bits_quicklook(path, bands, self._small, order)

    def _empty_picture(self) -> BitArray:
        step = look_step(self._scene.shape)
        height, width = (-(-side // step) for side in self._scene.shape)
        return np.zeros((height, width), dtype=np.uint16)

    def _strip(self, kind: str, member: Member, row: int) -> NDArray[Any]:
        path = self._checkpoint.file(f"{kind}-{member.name}", row, "tif")
        with gdal_reading(str(path)), rasterio.open(path) as file:
            return np.asarray(file.read(1))
