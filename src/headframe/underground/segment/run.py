"""One job: inputs told apart, the chain loaded, everything written."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headframe.core.errors import InputError, RecipeError
from headframe.core.progress import SILENT, Progress
from headframe.io.camera import is_camera, open_feed
from headframe.io.footage import find_sources
from headframe.underground.chain_bundle import chain_fingerprint, load_chain
from headframe.underground.segment.films import segment_feed, segment_films
from headframe.underground.segment.journal import Journal
from headframe.underground.segment.work import (
    Segmenter,
    SegmentOptions,
    finish,
    segment_stills,
)


@dataclass(frozen=True)
class LiveOptions:
    """Cameras.

    Attributes:
        live: play a video as if it were a camera.
        seconds: stop after so many; None: at the end, or at Ctrl-C.
    """

    live: bool = False
    seconds: float | None = None


@dataclass(frozen=True)
class SegmentReport:
    """What came of it.

    Attributes:
        out: the folder.
        model: the chain's name.
        totals: as ``summary.json`` has them.
        failed: files that could not be read, or not whole, and why.
    """

    out: Path
    model: str
    totals: dict[str, Any]
    failed: tuple[tuple[Path, str], ...]


def segment_sources(
    sources: Sequence[str],
    *,
    model: str,
    out: Path,
    options: SegmentOptions,
    live: LiveOptions | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> SegmentReport:
    """Segment photographs and videos, or one camera.

    Args:
        sources: files and folders; or one camera's number or address.
        model: as ``chain_bundle.load_chain`` takes it.
        out: folder to write; what an equal run left there is gone on with.
        options: what is written.
        live: cameras.
        device: where networks run.
        progress: told of every frame.

    Raises:
        InputError: not one file could be read, a camera beside other sources, or options that do
            not go together; and all of ``load_chain``.
        OutputError: ``out`` holds frames of another model or of other settings.
        JobError: the camera failed.
    """
    live = live or LiveOptions()
    camera = live.live or any(is_camera(source) for source in sources)
    if camera:
        _check_camera(sources, options)
    files = [] if camera else find_sources([Path(source) for source in sources])
    films = [source for source in files if source.is_video]
    stills = [source for source in files if not source.is_video]
    if options.thermal is not None and films:
        raise RecipeError("--thermal goes with photographs; take frames out of the videos first.")
    chain = load_chain(model, device=device)
    told = asdict(options) | {"thermal": options.thermal and str(options.thermal)}
    settings = {"model": chain_fingerprint(model), **told}
    with Journal(out, settings) as journal:
        work = Segmenter(chain, journal, options)
        dropped = 0
        names: list[str] = []
        failed: list[tuple[Path, str]] = []
        if camera:
            names, dropped = segment_feed(work, open_feed(sources[0]), limit_s=live.seconds)
        errors: list[InputError | None] = []
        for part, run in ((stills, segment_stills), (films, segment_films)):
            if part:
                done, lost, error = run(work, part, progress=progress)
                names += done
                failed += lost
                errors.append(error)
        first = next((error for error in errors if error is not None), None)
        if first is not None and not names:
            raise first
        more = {
            "model": chain.name,
            "dropped": dropped,
            "failed": [[str(path), reason] for path, reason in failed],
        }
        totals = finish(work, names, more)
    return SegmentReport(out, chain.name, totals, tuple(failed))


def _check_camera(sources: Sequence[str], options: SegmentOptions) -> None:
    if len(sources) != 1:
        raise RecipeError(f"{len(sources)} sources: a camera is watched alone. Give one.")
    if options.thermal is not None or options.every_s is not None:
        raise RecipeError("--thermal and --every do not go with a camera. Leave them out.")
