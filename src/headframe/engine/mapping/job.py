"""Mapping one scene: read, score, keep strips, and hand them on to the products."""

import json
import logging
import os
import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import headframe
from headframe.core.errors import FormatError, InputError
from headframe.core.modelspec import ModelSpec
from headframe.core.progress import Progress
from headframe.engine.bundle import Bundle
from headframe.engine.mapping.ensemble import BitLegend, Ensemble, bit_legend
from headframe.engine.mapping.merge import ComponentMerger
from headframe.engine.mapping.options import MapOptions, MapResult, Refine
from headframe.engine.mapping.pipeline import run_pipeline
from headframe.engine.mapping.products import ITEM, SUFFIXES, FinishedScene, write_products
from headframe.engine.mapping.resume import Checkpoint, file_facts, fingerprint_of
from headframe.engine.mapping.rules import MapRules
from headframe.engine.mapping.strips import ScoredBatch, StripJob, StripPart, StripSink
from headframe.engine.mapping.tiles import TileBatch, TileReader, plan_batches
from headframe.geo.tiling import Tiling, plan_tiling
from headframe.io.scene import Scene, open_scene, scene_stem

_LOG = logging.getLogger("headframe")
_MARGIN_SHARE = 16
_DATE = re.compile(r"(?<!\d)(20\d\d|19\d\d)-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])(?!\d)")


@dataclass
class SceneJob:
    """What all scenes of a call share.

    Attributes:
        ensemble: the models, one or several.
        options: how to map.
        progress: told of tiles.
        refine: a further rule on each finished block, of an only model.
        legend: bits of the merged map; None for the plain map of an only model.
        rules: of a merged map.
    """

    ensemble: Ensemble
    options: MapOptions
    progress: Progress
    refine: Refine | None = None
    legend: BitLegend | None = None
    rules: MapRules | None = None
    warned: bool = False

    @classmethod
    def plain(
        cls, bundle: Bundle, options: MapOptions, *, progress: Progress, refine: Refine | None
    ) -> "SceneJob":
        """Map with one model."""
        (bundle,) = _with_threshold([bundle], options)
        ensemble = Ensemble.of([bundle], device=options.device)
        return cls(ensemble, options, progress, refine)

    @classmethod
    def merged(
        cls,
        bundles: Sequence[Bundle],
        options: MapOptions,
        *,
        progress: Progress,
        rules: MapRules | None,
    ) -> "SceneJob":
        """Map components with several models, or with one and rules."""
        bundles = _with_threshold(bundles, options)
        legend = bit_legend([bundle.spec for bundle in bundles])
        bands = () if rules is None else rules.bands
        ensemble = Ensemble.of(bundles, device=options.device, more_bands=bands)
        return cls(ensemble, options, progress, legend=legend, rules=rules)

    @property
    def spec(self) -> ModelSpec:
        """The only model's description, or the first one's."""
        return self.ensemble.members[0].spec

    @property
    def model_names(self) -> tuple[str, ...]:
        """Names of models in those of files; none for the plain map of an only model."""
        if self.legend is None:
            return ()
        return tuple(member.name for member in self.ensemble.members)

    def map(self, source: str, folder: Path) -> MapResult:
        """Map one scene, or find it done."""
        started = time.perf_counter()
        name = scene_stem(source)
        tile_px = self.options.tile_px or self.ensemble.patch_px
        batch = self.options.batch_tiles or self.ensemble.batch_tiles(tile_px)
        fingerprint = self._fingerprint(source, tile_px, batch)
        known = _finished(folder, name, fingerprint)
        if known is not None:
            _LOG.warning("%s: already mapped with this model and options; skipped.", source)
            return self._known(source, folder, known, started)
        inputs = self.ensemble.inputs
        with open_scene(source, inputs=inputs, options=self.options.scene) as scene:
            self._warn_without_crs(scene)
            margin = self.options.margin_px
            tiling = plan_tiling(
                scene.shape,
                tile_px=tile_px,
                margin_px=tile_px // _MARGIN_SHARE if margin is None else margin,
                multiple_px=self.ensemble.multiple_px,
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
                facts = self._write(finished, checkpoint)
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
            rules=facts.get("headframe:rules"),
        )

    def _write(self, finished: FinishedScene, checkpoint: Checkpoint) -> dict[str, Any]:
        if self.legend is None:
            return write_products(
                finished,
                checkpoint,
                spec=self.spec,
                model_digest=self.ensemble.members[0].digest,
                options=self.options,
            )
        merger = ComponentMerger(
            finished,
            checkpoint,
            ensemble=self.ensemble,
            legend=self.legend,
            options=self.options,
        )
        return merger.write(self.rules)

    def _score(self, scene: Scene, tiling: Tiling, batch: int, checkpoint: Checkpoint) -> int:
        """Score the tiles that no earlier run did; gives how many the network saw."""
        done = checkpoint.done()
        count = 0

        def compute(read: TileBatch) -> ScoredBatch:
            nonlocal count
            count += len(read.pixels)
            return ScoredBatch(
                read, self.ensemble.score(read.pixels) if len(read.pixels) else read.pixels
            )

        sink = StripSink(self._strip_job(scene, tiling), checkpoint, self.progress)
        bands = self.ensemble.inputs.bands
        self.progress.start(scene.name, len(tiling))
        self.progress.advance(done * len(tiling.cols))
        with ExitStack() as closing:
            closing.callback(self.progress.finish)
            closing.callback(sink.close)
            guard = closing.enter_context(self.rules.guard(scene, bands)) if self.rules else None
            reader = TileReader(scene, tiling, bands, guard=guard)
            run_pipeline(
                plan_batches(tiling, batch, first_row=done),
                read=reader.read,
                compute=compute,
                write=sink.write,
            )
        return count

    def _strip_job(self, scene: Scene, tiling: Tiling) -> StripJob:
        merged = self.legend is not None
        polygons = self.options.polygons and scene.geobox is not None
        return StripJob(
            tiling=tiling,
            shape=scene.shape,
            parts=[
                StripPart(f"-{m.name}" if merged else "", m.layers, m.bundle.classes_of)
                for m in self.ensemble.members
            ],
            refine=self.refine,
            keep_scores=self.options.scores,
            keep_regions=polygons and not merged,
            keep_best=polygons and merged,
        )

    def _fingerprint(self, source: str, tile_px: int, batch: int) -> str:
        """Condense all that decides the outputs' content."""
        facts: dict[str, Any] = {
            "scene": file_facts(source),
            "options": asdict(self.options),
            "tile_px": tile_px,
            "batch": batch,
            "device": self.ensemble.device_type,
            "version": headframe.__version__,
        }
        models = [
            {
                "model": member.digest,
                "threshold": member.spec.threshold,
                "test_flips": member.spec.test_flips,
            }
            for member in self.ensemble.members
        ]
        if self.legend is not None:
            rules = None if self.rules is None else self.rules.facts()
            return fingerprint_of({**facts, "models": models, "rules": rules})
        refine = None if self.refine is None else getattr(self.refine, "__qualname__", "rule")
        return fingerprint_of({**facts, **models[0], "refine": refine})

    def _warn_without_crs(self, scene: Scene) -> None:
        if scene.geobox is None and not self.warned:
            self.warned = True
            _LOG.warning(
                "%s: has no CRS; classes are written on the pixel grid, without polygons and "
                "areas. Set one with gdal_edit.py -a_srs.",
                scene.source,
            )

    def _refuse_empty(self, scene: FinishedScene, checkpoint: Checkpoint) -> None:
        strips = [checkpoint.facts(row) for row in range(scene.rows)]
        if all(set(strip["counts"]) <= {"255"} for strip in strips):
            bands = ", ".join(self.ensemble.inputs.bands)
            guarded = any("guarded" in strip for strip in strips)
            under = " that is not under snow or cloud" if guarded else ""
            raise FormatError(f"{scene.source}: holds no pixel with data in {bands}{under}.")

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
            rules=facts.get("headframe:rules"),
        )


def _with_threshold(bundles: Sequence[Bundle], options: MapOptions) -> list[Bundle]:
    """Give models of two classes the threshold that the caller wants."""
    if options.threshold is None:
        return list(bundles)
    if all(len(bundle.spec.classes) > 2 for bundle in bundles):
        spec = bundles[0].spec
        raise InputError(
            f"--threshold means nothing to model {spec.name}, which has "
            f"{len(spec.classes)} classes. Leave it out."
        )
    return [
        b if len(b.spec.classes) > 2 else b.with_options(threshold=options.threshold)
        for b in bundles
    ]


def _outputs(folder: Path, name: str) -> dict[str, str]:
    """List what is there by kind, e.g. ``classes`` and ``gpkg``."""
    files = {
        suffix.strip(".").split(".")[0]: folder / f"{name}{suffix}" for suffix in (*SUFFIXES, ITEM)
    }
    item = json.loads((folder / f"{name}{ITEM}").read_text(encoding="utf-8"))
    named = {kind: folder / asset["href"] for kind, asset in item["assets"].items()}
    return {kind: str(path) for kind, path in (named | files).items() if path.exists()}


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
