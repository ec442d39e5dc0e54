"""Mapping scenes one after the other: which there are, where they go, which failed."""

import logging
from collections.abc import Sequence
from pathlib import Path

from headframe.core.errors import InputError, OutputError
from headframe.core.progress import SILENT, Progress
from headframe.engine.allocator import keep_freed_memory
from headframe.engine.bundle import Bundle
from headframe.engine.mapping.clashes import check_clashes
from headframe.engine.mapping.job import SceneJob
from headframe.engine.mapping.options import MapOptions, MapResult, Refine
from headframe.engine.mapping.rules import MapRules
from headframe.io.files import make_folder
from headframe.io.scene import scene_sources

_LOG = logging.getLogger("headframe")


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
    job = SceneJob.plain(bundle, options, progress=progress, refine=refine)
    return _map_each(placed, out, job)


def map_components(
    sources: Sequence[str],
    *,
    bundles: Sequence[Bundle],
    out: Path,
    options: MapOptions | None = None,
    progress: Progress = SILENT,
    rules: MapRules | None = None,
) -> list[MapResult]:
    """Map scenes with several models over one reading, and merge what they find.

    Every tile is read once, with the bands of all models, and shown to each of them. Tiles are as
    large as the largest that any model was trained on. A pixel is nodata where any band of any
    model is, in every output: a bit cannot say "not known to this model".

    Each scene gives ``<stem>.components.tif``, a bit mask (uint16, 65535 for nodata) in which a
    pixel may carry several components; ``<stem>.<model>.classes.tif`` of every model, as it would
    be alone; polygons with a ``model`` column, which may overlap between models; a quick look and
    a STAC item. Folders, resuming and failures are as in ``map_scenes``.

    Args:
        sources: files, folders, globs, URLs or STAC items.
        bundles: the models, at least one.
        out: folder for the outputs, made if need be.
        options: how to map; a threshold is for the models of two classes.
        progress: told of tiles.
        rules: what the merged map must keep; they change bits, polygons and the quick look, not
            the classes of the models.

    Returns:
        One result a scene, in order.

    Raises:
        InputError: models that cannot be used together, a scene that cannot be mapped, or two
            that would write one file, which is found before work begins.
    """
    options = options or MapOptions()
    keep_freed_memory()
    placed = scene_sources(sources)
    job = SceneJob.merged(bundles, options, progress=progress, rules=rules)
    return _map_each(placed, out, job)


def _map_each(placed: Sequence[tuple[str, Path]], out: Path, job: SceneJob) -> list[MapResult]:
    """Map every scene, even where some fail; an error comes last, but for one about the output."""
    make_folder(out)
    check_clashes(placed, out, models=job.model_names)
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
