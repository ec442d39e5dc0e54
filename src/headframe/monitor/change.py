"""Comparing two dates: from two class maps to areas, rasters, polygons and a picture."""

import csv
import io
import logging
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headframe.core.classmap import ClassMap
from headframe.core.errors import GridMismatchError, InputError, OutputError
from headframe.core.progress import SILENT, Progress
from headframe.geo.alignment import Alignment, CellAreas, align_grids
from headframe.geo.window import Window
from headframe.io.classraster import (
    AlignedClasses,
    ClassFile,
    cloud_mask,
    common_bits,
    common_classes,
    component_classes,
    read_class_file,
)
from headframe.io.files import write_json, write_text
from headframe.io.layers import shown as shown_source
from headframe.monitor.count import count_change
from headframe.monitor.drawing import write_change_polygons, write_change_raster
from headframe.monitor.options import ChangeOptions, ChangeResult, Dated
from headframe.monitor.picture import Legend, write_change_picture, write_component_picture
from headframe.monitor.places import Place, read_places, whole_place
from headframe.monitor.strips import PairStack

_WORK = ".part-change"
_LOG = logging.getLogger("headframe")


def compare(
    before: Dated,
    after: Dated,
    *,
    out: Path,
    options: ChangeOptions | None = None,
    progress: Progress = SILENT,
) -> ChangeResult:
    """Compare two class maps, or two masks of components.

    Both are brought onto one grid (``geo.alignment.align_grids``), pixels without data or under
    cloud on either date are left out, and a pixel is stable, expansion, contraction or, where one
    class became another, converted. Changes in 4-connected patches of what they became that are
    smaller than the minimum are taken back; where the maps' pixels do not coincide, so are
    patches nowhere wider than a pixel of the coarser map, which two drawings of one unchanged
    outline leave. Components that may overlap in a pixel are compared each for itself, without
    regard to the others, where both masks may hold them.

    Writes ``change.tif`` (and ``change-<class>.tif`` where there are several), ``change.gpkg``,
    ``change.csv``, ``transitions.csv``, ``change.png`` and, last, ``change.json``.

    Args:
        before: earlier date.
        after: later date.
        out: folder for the outputs, made if need be.
        options: how to compare.
        progress: told of every step.

    Raises:
        InputError: the maps cannot be compared or the output not be written.
    """
    started = time.perf_counter()
    options = options or ChangeOptions()
    files = (read_class_file(before.classes), read_class_file(after.classes))
    if os.path.realpath(before.classes) == os.path.realpath(after.classes):
        raise InputError(
            f"{before.classes}: is named as BEFORE and as AFTER. Name two different dates."
        )
    if files[0].bits or files[1].bits:
        files = _of_both(*files)
    else:
        common_classes(*files, highest=0)
    alignment = _aligned(*files)
    places = [whole_place(alignment.geobox)]
    if options.sites is not None:
        sites = read_places(options.sites, alignment.geobox, site_field=options.site_field)
        places = [*sites, *places]
    job = _Job(files, alignment, options, places, progress)
    work = _empty_folder(out / _WORK)
    try:
        result = job.run(work, out, (before, after))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    result = replace(result, seconds=round(time.perf_counter() - started, 3))
    write_json(out / "change.json", result.to_json())
    return result


def _of_both(before: ClassFile, after: ClassFile) -> tuple[ClassFile, ClassFile]:
    """Have two masks read only what both may hold; what one of them never says is no change."""
    kept = common_bits(before, after)
    for own, other in ((before, after), (after, before)):
        left = [name for i, name in own.names.items() if i and not kept >> (i - 1) & 1]
        if left:
            _LOG.warning(
                "%s: leaving out %s, which %s does not name.",
                shown_source(own.source),
                ", ".join(left),
                shown_source(other.source),
            )
    return replace(before, bits=kept), replace(after, bits=kept)


def _aligned(before: ClassFile, after: ClassFile) -> Alignment:
    try:
        return align_grids(before.geobox, after.geobox)
    except GridMismatchError as exc:
        raise GridMismatchError(
            f"{before.source} and {after.source}: {exc} Choose two dates of one place."
        ) from exc


@dataclass
class _Job:
    """One comparison."""

    files: tuple[ClassFile, ClassFile]
    alignment: Alignment
    options: ChangeOptions
    places: Sequence[Place]
    progress: Progress

    def run(self, work: Path, out: Path, dates: tuple[Dated, Dated]) -> ChangeResult:
        geobox = self.alignment.geobox
        stack = PairStack(work, (geobox.shape[0], geobox.shape[1]))
        present = self._fill(stack, dates)
        classes = (
            component_classes(self.files[0])
            if stack.overlapping
            else common_classes(*self.files, highest=max(present, default=1))
        )
        shown = sorted(present) or [self._first()]
        self._clean(stack, shown)
        tables = count_change(
            stack,
            alignment=self.alignment,
            classes=classes,
            shown=shown,
            places=self.places,
            progress=self.progress,
        )
        made = ["change.tif", "change.gpkg", "change.csv", "transitions.csv", "change.png"]
        write_change_raster(work / "change.tif", stack, geobox=geobox, index=None)
        for index in shown if len(classes) > 2 else ():
            made.append(f"change-{_slug(classes.names[index])}.tif")
            write_change_raster(work / made[-1], stack, geobox=geobox, index=index)
        polygons = write_change_polygons(
            work / "change.gpkg",
            stack,
            geobox=geobox,
            names={index: classes.names[index] for index in [0, *shown]},
            places=self.places,
            progress=self.progress,
        )
        write_text(work / "change.csv", _csv(tables.areas))
        write_text(work / "transitions.csv", _csv(tables.transitions))
        self._draw(work / "change.png", stack, dates, classes=classes, rows=tables.areas)
        _move_out(work, out, made)
        return ChangeResult(
            before=self.files[0].source,
            after=self.files[1].source,
            outputs={name: str(out / name) for name in [*made, "change.json"]},
            grid=self._grid(),
            classes=classes.names,
            rows=tuple(tables.areas),
            transitions=tuple(tables.transitions),
            polygons=polygons,
        )

    def _first(self) -> int:
        """Give the lowest class that may occur, to be shown where none does."""
        bits = self.files[0].bits
        return (bits & -bits).bit_length() if bits else 1

    def _draw(
        self,
        path: Path,
        stack: PairStack,
        dates: tuple[Dated, Dated],
        *,
        classes: ClassMap,
        rows: Sequence[dict[str, Any]],
    ) -> None:
        titles = (_title(dates[0]), _title(dates[1]))
        if stack.overlapping:
            whole = [row for row in rows if row["site"] == rows[-1]["site"]]
            of = {name: index for index, name in enumerate(classes.names)}
            write_component_picture(
                path,
                stack,
                geobox=self.alignment.geobox,
                titles=titles,
                rows={of[row["class"]]: row for row in whole if row["class"] in of},
                names=classes.names,
            )
            return
        write_change_picture(
            path,
            stack,
            geobox=self.alignment.geobox,
            classes=classes,
            scenes=(dates[0].scene, dates[1].scene),
            legend=Legend(titles, _headline(rows)),
        )

    def _fill(self, stack: PairStack, dates: tuple[Dated, Dated]) -> set[int]:
        stated = (self.options.cloud_before, self.options.cloud_after)
        readers = []
        for file, date, source in zip(self.files, dates, stated, strict=True):
            clouds = date.clouds
            if source is not None:
                clouds = cloud_mask(source, self.options.cloud_values)
            cloudy = [i for i, name in file.names.items() if name.lower().startswith("cloud")]
            readers.append(
                AlignedClasses(file, self.alignment.geobox, clouds=clouds, ignored=cloudy)
            )
        with readers[0] as first, readers[1] as second:
            return stack.fill(first, second, self.progress)

    def _clean(self, stack: PairStack, shown: Sequence[int]) -> None:
        sides = self.alignment.side_px
        least, areas = round(self.options.min_patch_px * min(sides) ** 2, 6), None
        if self.options.min_area_ha is not None:
            least, areas = self.options.min_area_ha * 1e4, CellAreas(self.alignment.geobox)
        # Either drawing of one outline may be off by half a pixel of its own.
        thread_px = 1 if self.alignment.same_lattice else 1 + round(sum(sides) / 2)
        stack.clean(least, shown=shown, thread_px=thread_px, areas=areas, progress=self.progress)

    def _grid(self) -> dict[str, Any]:
        geobox = self.alignment.geobox
        area = CellAreas(geobox).pixels(Window(geobox.shape[0] // 2, geobox.shape[1] // 2, 1, 1))
        return {
            "crs": str(geobox.crs),
            "shape": [int(side) for side in geobox.shape],
            "transform": [float(v) for v in tuple(geobox.affine)[:6]],
            "pixel_m2": round(float(area[0, 0]), 4),
            "parts": self.alignment.parts,
            "same_lattice": self.alignment.same_lattice,
            "follows": ("before", "after")[self.alignment.basis],
        }


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _headline(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Take the row of the whole overlap, all classes together."""
    whole = rows[-1]["site"]
    return next(row for row in rows if row["site"] == whole)


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name.lower())


def _title(date: Dated) -> str:
    name = Path(date.scene or date.classes).name
    return name.removesuffix(".tif").removesuffix(".classes")


def _empty_folder(path: Path) -> Path:
    try:
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
    except OSError as exc:
        raise OutputError(
            f"{path.parent}: cannot be written ({exc.strerror or exc}). Choose another --out."
        ) from exc
    return path


def _move_out(work: Path, out: Path, made: Sequence[str]) -> None:
    """Give finished files their final names; what an earlier comparison made alone goes."""
    try:
        (out / "change.json").unlink(missing_ok=True)
        for old in out.glob("change-*.tif"):
            old.unlink()
        for name in made:
            os.replace(work / name, out / name)
    except OSError as exc:
        raise OutputError(
            f"{out}: cannot be written ({exc.strerror or exc}). Choose another --out."
        ) from exc
