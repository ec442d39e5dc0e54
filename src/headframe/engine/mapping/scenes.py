"""Mapping scenes one after the other: what is needed, what is done already, what failed."""

import json
import logging
import os
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import headframe
from headframe.core.errors import FormatError, InputError, OutputError
from headframe.core.modelspec import ModelSpec
from headframe.core.progress import SILENT, Progress
from headframe.engine.bundle import Bundle
from headframe.engine.mapping.memory import keep_freed_memory
from headframe.engine.mapping.options import MapOptions, MapResult, Refine
from headframe.engine.mapping.pipeline import run_pipeline
from headframe.engine.mapping.products import ITEM, SUFFIXES, FinishedScene, write_products
from headframe.engine.mapping.resume import Checkpoint, file_facts, fingerprint_of
from headframe.engine.mapping.strips import ScoredBatch, StripJob, StripSink
from headframe.engine.mapping.tiles import (
    Scorer,
    TileBatch,
    TileReader,
    digest_of,
    plan_batches,
    size_multiple,
)
from headframe.geo.tiling import Tiling, plan_tiling
from headframe.io.scene import Scene, open_scene, scene_sources, scene_stem

_LOG = logging.getLogger("headframe")
_MARGIN_SHARE = 16
_DATE = re.compile(r"(?<!\d)(20\d\d|19\d\d)-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])(?!\d)")


def map_scenes(
    sources: Sequence[str],
    *,
    bundle: Bundle,
    out: Path,
    options: MapOptions | None = None,
    progress: Progress = SILENT,
    refine: Refine | None = None,
) -> list[MapResult]:
    """Map scenes with a model.

    Each scene gives ``<stem>.classes.tif`` (and scores, polygons, a quick look, a STAC item) in
    the folder below ``out`` that it has below the inputs' common parent. Tiles overlap and fade
    into each other with weights that sum to exactly 1; a pixel is nodata (255, NaN) where any
    needed band is. A finished scene is skipped, an unfinished one continued, where scene, model
    and options are the same; the result is the same as of an undisturbed run.

    Args:
        sources: files, folders, globs, URLs or STAC items.
        bundle: the model; its network is moved to the chosen device.
        out: folder for the outputs, made if need be.
        options: how to map.
        progress: told of tiles.
        refine: a further rule on each finished block.

    Returns:
        One result a scene, in order.

    Raises:
        InputError: a scene cannot be mapped. Other scenes are mapped nevertheless, unless the
            output cannot be written.
    """
    options = options or MapOptions()
    keep_freed_memory()
    placed = scene_sources(sources)
    job = _Job.of(bundle, out, options=options, progress=progress, refine=refine)
    results: list[MapResult] = []
    failures: list[InputError] = []
    for source, folder in placed:
        try:
            results.append(job.map(source, out / folder))
        except OutputError:
            raise
        except InputError as exc:
            if len(placed) == 1:
                raise
            failures.append(exc)
            _LOG.warning("%s", exc)
    if failures:
        raise InputError(
            f"{len(failures)} of {len(placed)} scenes could not be mapped; the last: {failures[-1]}"
        )
    return results


@dataclass
class _Job:
    """What all scenes of a call share."""

    bundle: Bundle
    scorer: Scorer
    digest: str
    options: MapOptions
    progress: Progress
    refine: Refine | None
    warned: bool = False

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        out: Path,
        *,
        options: MapOptions,
        progress: Progress,
        refine: Refine | None,
    ) -> "_Job":
        if options.threshold is not None:
            if len(bundle.spec.classes) > 2:
                raise InputError(
                    f"--threshold means nothing to model {bundle.spec.name}, which has "
                    f"{len(bundle.spec.classes)} classes. Leave it out."
                )
            bundle = bundle.with_options(threshold=options.threshold)
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise OutputError(
                f"{out}: cannot be made ({exc.strerror or exc}). Choose another --out."
            ) from exc
        scorer = Scorer(bundle, options.device)
        digest = bundle.fingerprint or digest_of(bundle.network)
        return cls(bundle, scorer, digest, options, progress, refine)

    @property
    def spec(self) -> ModelSpec:
        return self.bundle.spec

    def map(self, source: str, folder: Path) -> MapResult:
        """Map one scene, or find it done."""
        started = time.perf_counter()
        name = scene_stem(source)
        tile_px = self.options.tile_px or self.spec.patch_px
        batch = self.options.batch_tiles or self.scorer.batch_tiles(tile_px)
        fingerprint = self._fingerprint(source, tile_px, batch)
        known = _finished(folder, name, fingerprint)
        if known is not None:
            _LOG.warning("%s: already mapped with this model and options; skipped.", source)
            return self._known(source, folder, known, started)
        with open_scene(source, inputs=self.spec.inputs, options=self.options.scene) as scene:
            self._warn_without_crs(scene)
            margin = self.options.margin_px
            tiling = plan_tiling(
                scene.shape,
                tile_px=tile_px,
                margin_px=tile_px // _MARGIN_SHARE if margin is None else margin,
                multiple_px=size_multiple(self.bundle.network),
            )
            with Checkpoint(folder / f".part-{name}", fingerprint) as checkpoint:
                done = checkpoint.done()
                scored = self._score(scene, tiling, batch, checkpoint)
                finished = FinishedScene(
                    name=name,
                    source=source,
                    folder=folder,
                    shape=scene.shape,
                    geobox=scene.geobox,
                    date=scene_date(source),
                    rows=len(tiling.rows),
                    fingerprint=fingerprint,
                )
                self._refuse_empty(finished, checkpoint)
                facts = write_products(
                    finished,
                    checkpoint,
                    spec=self.spec,
                    model_digest=self.digest,
                    options=self.options,
                )
                checkpoint.remove()
        return MapResult(
            source=source,
            outputs=_outputs(folder, name),
            shape=scene.shape,
            tiles=len(tiling),
            scored=scored,
            seconds=round(time.perf_counter() - started, 3),
            resumed_rows=done,
            polygons=facts.get("headframe:polygons"),
            area_ha=facts.get("headframe:area_ha"),
        )

    def _score(self, scene: Scene, tiling: Tiling, batch: int, checkpoint: Checkpoint) -> int:
        """Score the tiles that no earlier run did; gives how many the network saw."""
        done = checkpoint.done()
        count = 0

        def compute(read: TileBatch) -> ScoredBatch:
            nonlocal count
            count += len(read.pixels)
            return ScoredBatch(
                read, self.scorer.score(read.pixels) if len(read.pixels) else read.pixels
            )

        classes = len(self.spec.classes)
        job = StripJob(
            tiling=tiling,
            shape=scene.shape,
            layers=1 if classes == 2 else classes,
            decide=self.bundle.classes_of,
            refine=self.refine,
            keep_scores=self.options.scores,
            keep_regions=self.options.polygons and scene.geobox is not None,
        )
        sink = StripSink(job, checkpoint, self.progress)
        reader = TileReader(scene, tiling, self.spec.inputs.bands)
        self.progress.start(scene.name, len(tiling))
        self.progress.advance(done * len(tiling.cols))
        try:
            run_pipeline(
                plan_batches(tiling, batch, first_row=done),
                read=reader.read,
                compute=compute,
                write=sink.write,
            )
        finally:
            sink.close()
            self.progress.finish()
        return count

    def _fingerprint(self, source: str, tile_px: int, batch: int) -> str:
        """Condense all that decides the outputs' content."""
        rule = None if self.refine is None else getattr(self.refine, "__qualname__", "rule")
        return fingerprint_of(
            {
                "scene": file_facts(source),
                "model": self.digest,
                "options": asdict(self.options),
                "threshold": self.spec.threshold,
                "test_flips": self.spec.test_flips,
                "tile_px": tile_px,
                "batch": batch,
                "device": self.scorer.device.type,
                "refine": rule,
                "version": headframe.__version__,
            }
        )

    def _warn_without_crs(self, scene: Scene) -> None:
        if scene.geobox is None and not self.warned:
            self.warned = True
            _LOG.warning(
                "%s: has no CRS; classes are written on the pixel grid, without polygons and "
                "areas. Set one with gdal_edit.py -a_srs.",
                scene.source,
            )

    def _refuse_empty(self, scene: FinishedScene, checkpoint: Checkpoint) -> None:
        strips = (checkpoint.facts(row) for row in range(scene.rows))
        if all(set(strip["counts"]) <= {"255"} for strip in strips):
            raise FormatError(
                f"{scene.source}: holds no pixel with data in {', '.join(self.spec.inputs.bands)}."
            )

    def _known(self, source: str, folder: Path, item: dict[str, Any], started: float) -> MapResult:
        facts = item["properties"]
        height, width = facts["proj:shape"]
        return MapResult(
            source=source,
            outputs=_outputs(folder, scene_stem(source)),
            shape=(height, width),
            tiles=0,
            scored=0,
            seconds=round(time.perf_counter() - started, 3),
            skipped=True,
            polygons=facts.get("headframe:polygons"),
            area_ha=facts.get("headframe:area_ha"),
        )


def _outputs(folder: Path, name: str) -> dict[str, str]:
    """List what is there by kind, e.g. ``classes`` and ``gpkg``."""
    files = {
        suffix.strip(".").split(".")[0]: folder / f"{name}{suffix}" for suffix in (*SUFFIXES, ITEM)
    }
    return {kind: str(path) for kind, path in files.items() if path.exists()}


def _finished(folder: Path, name: str, fingerprint: str) -> dict[str, Any] | None:
    """Read the item of a finished map with this fingerprint, if all its files are there."""
    try:
        item = json.loads((folder / f"{name}{ITEM}").read_text(encoding="utf-8"))
        same = item["properties"]["headframe:fingerprint"] == fingerprint
        there = all((folder / asset["href"]).exists() for asset in item["assets"].values())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return item if same and there else None


def scene_date(source: str) -> datetime:
    """Find when a scene was taken: a date in its name (20181013, 2018-10-13), else its file's.

    Returns:
        A time in UTC; of an address without a date, the first second of 1970.
    """
    found = _DATE.search(scene_stem(source))
    if found:
        try:
            year, month, day = (int(part) for part in found.groups())
            return datetime(year, month, day, tzinfo=UTC)
        except ValueError:
            pass  # 31 February is no date
    try:
        return datetime.fromtimestamp(int(os.stat(source).st_mtime), UTC)
    except OSError:
        return datetime.fromtimestamp(0, UTC)
