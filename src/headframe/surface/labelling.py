"""From images and polygons to a labelled, split data set that survives being killed."""

import logging
import os
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path

from headframe.core.errors import DatasetError, HeadframeError, JobError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.layout import SPLITS
from headframe.datasets.manifest import Manifest, finished_before, write_manifest
from headframe.datasets.provenance import write_provenance
from headframe.io.claimed import working
from headframe.io.vector import named
from headframe.surface.label_chip import ChipRecord, ChipTask, make_chip
from headframe.surface.label_inputs import LabelOptions, fingerprint
from headframe.surface.label_output import (
    MAPPING_NAME,
    build_manifest,
    outcome_of,
    read_record,
    write_mapping,
)
from headframe.surface.label_plan import LabelPlan, make_plan
from headframe.surface.label_polygons import check_options, read_label_polygons
from headframe.surface.label_presets import get_preset

__all__ = ["LabelOptions", "LabelReport", "label_images"]

WORK_NAME = ".label"
"""Folder inside an unfinished data set: the plan's fingerprint, a lock, and one record a chip."""
_MADE_FROM = "images, polygons or options"
SMALL_JOB = 4
"""Up to this many chips are labelled without starting processes."""

_log = logging.getLogger("headframe")


@dataclass(frozen=True)
class LabelReport:
    """What was made.

    Attributes:
        out: folder of the data set.
        chips: chips written, by split.
        sites: sites, by split.
        pixels: labelled pixels with data, by class name; with the preset ``components`` one pixel
            may count for several.
        nodata: pixels without data.
        skipped: images that hold no data at all.
        notes: what a person should know, one line each; also logged as warnings.
        provenance: polygons on the images by where they come from; None without a review file.
    """

    out: Path
    chips: dict[str, int]
    sites: dict[str, tuple[str, ...]]
    pixels: dict[str, int]
    nodata: int
    skipped: tuple[str, ...]
    notes: tuple[str, ...]
    provenance: dict[str, int] | None = None


def label_images(
    images: Sequence[Path],
    *,
    out: Path,
    polygons: Path | None = None,
    options: LabelOptions | None = None,
    progress: Progress = SILENT,
) -> LabelReport:
    """Label images by polygons and write a data set.

    Labels follow equations (1) to (4) of papers/001; with the preset ``components`` they are masks
    of the components of papers/002, by each polygon's own class.

    A run that was killed is taken up where it stopped by calling this again with the same
    arguments; the result is the same, byte for byte. ``dataset.json`` is written last.

    Args:
        images: GeoTIFFs, or folders of them; a chip's site is its parent folder's name.
        out: folder of the data set: new, empty, or left by an unfinished run.
        polygons: file of polygons with a field that names the site; with a review file in the
            options it may be left out, and polygons then go by place, not by site.
        options: how; the defaults are the ``plain`` preset's.
        progress: told of every chip.

    Returns:
        What was made; notes are logged as warnings too.

    Raises:
        InputError: one of its kinds, naming the file, for anything wrong with the input.
        OutputError: ``out`` cannot be written, or holds something else.
        JobError: a worker process died.
    """
    options = options or LabelOptions()
    check_options(options, polygons)
    source = read_label_polygons(polygons, options)
    plan = make_plan(images, source.layer, out=out, options=options, bits=source.bits)
    mark = fingerprint(((c.source, c.old_name) for c in plan.chips), polygons, options)
    for line in plan.report:
        _log.warning("%s", line)
    finished = finished_before(out, mark, made_from=_MADE_FROM)
    if finished is None:
        with working(out, WORK_NAME, mark, made_from=_MADE_FROM) as work:
            records = _make_chips(_tasks(plan, out, options=options), work, options, progress)
            _check_some(plan, records)
            write_mapping(out / MAPPING_NAME, plan, records)
            burned = source.burned(plan, [record.written for record in records])
            finished = build_manifest(
                plan, records, polygons=polygons, mark=mark, options=options, burned=burned
            )
            if burned is not None:
                write_provenance(out, burned)
            write_manifest(out, finished)
    shutil.rmtree(out / WORK_NAME, ignore_errors=True)
    return _report(out, plan, finished)


def _tasks(plan: LabelPlan, out: Path, *, options: LabelOptions) -> list[ChipTask]:
    suffix = ".tif" if get_preset(options.preset).components else ".png"
    return [
        ChipTask(
            source=chip.source,
            image=out / plan.place(index, "images", ".tif"),
            label=out / plan.place(index, "labels", suffix),
            rgb=out / plan.place(index, "rgb", ".png"),
            valid=out / plan.place(index, "valid", ".png"),
            record=out / WORK_NAME / f"{index:07d}.json",
            polygons=plan.polygons_near(index),
            preset=options.preset,
            sensor=options.sensor,
            cloud_threshold=options.cloud_threshold,
            scaling=options.scaling,
        )
        for index, chip in enumerate(plan.chips)
    ]


def _make_chips(
    tasks: Sequence[ChipTask], work: Path, options: LabelOptions, progress: Progress
) -> list[ChipRecord]:
    """Make the chips that have no record yet; records in the order of the tasks."""
    open_tasks = [task for task in tasks if not task.record.exists()]
    progress.start("label", len(tasks))
    progress.advance(len(tasks) - len(open_tasks))
    workers = min(options.workers, len(open_tasks))
    if workers <= 1 or len(open_tasks) <= SMALL_JOB:
        for task in open_tasks:
            make_chip(task)
            progress.advance()
    else:
        _in_processes(open_tasks, workers, progress)
    progress.finish()
    return [read_record(task.record) for task in tasks]


def _in_processes(tasks: Sequence[ChipTask], workers: int, progress: Progress) -> None:
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_end_with_parent
    )
    with pool:
        futures: list[Future[ChipRecord]] = [pool.submit(make_chip, task) for task in tasks]
        try:
            for future in as_completed(futures):
                future.result()
                progress.advance()
        except BrokenProcessPool as exc:
            raise JobError(
                "a worker process died, perhaps for lack of memory. Run the same command again "
                "with fewer --workers: it goes on where it stopped."
            ) from exc
        except (HeadframeError, KeyboardInterrupt):
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _end_with_parent() -> None:
    """Let a worker die with its parent: killed, the parent cannot tell it, and it would wait."""
    parent = parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _check_some(plan: LabelPlan, records: Sequence[ChipRecord]) -> None:
    if not any(record.written for record in records):
        raise DatasetError(
            f"none of {len(records)} image(s) holds any data (all NaN or nodata): "
            f"{named([str(chip.source) for chip in plan.chips])}. Check the images."
        )


def _report(out: Path, plan: LabelPlan, manifest: Manifest) -> LabelReport:
    outcome = outcome_of(manifest)
    notes = list(plan.report)
    if outcome.skipped:
        notes.append(
            f"{len(outcome.skipped)} image(s) without any data skipped: {named(outcome.skipped)}."
        )
        _log.warning("%s", notes[-1])
    return LabelReport(
        out=out,
        chips=outcome.chips,
        sites={split: manifest.splits.get(split, ()) for split in SPLITS},
        pixels=outcome.pixels,
        nodata=outcome.nodata,
        skipped=outcome.skipped,
        notes=tuple(notes),
        provenance=outcome.provenance,
    )
