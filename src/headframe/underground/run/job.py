"""One command: frames, filter, enhancer, detector, SAM, fusion, video with masks."""

import logging
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from headframe.core.errors import InputError, OutputError, RecipeError, UnknownNameError
from headframe.core.progress import SILENT, Progress
from headframe.io.claimed import held
from headframe.io.footage import find_sources
from headframe.underground.chain import Chain
from headframe.underground.chain_bundle import chain_fingerprint, load_chain
from headframe.underground.frame_filter import FilterOptions
from headframe.underground.meter import Meter
from headframe.underground.run.pass_through import PARTS, REST, Counts, Pass
from headframe.underground.run.reels import Reel, reels_of
from headframe.underground.run.report import Done, Machine, write_report
from headframe.underground.segment.journal import Journal
from headframe.underground.segment.work import Segmenter, SegmentOptions, finish

LOCK = ".run.lock"
GENTLE = FilterOptions(dark_mean=1, dark_p95=3, blur=0, min_levels=3, faces="off")
"""Left out is only what no network can use, and what repeats: a film is to be seen whole."""
FILTERS = {"gentle": GENTLE, "strict": FilterOptions(faces="off"), "off": None}
"""By name; ``strict`` is that of frames worth labelling."""
_LOG = logging.getLogger("headframe")


@dataclass(frozen=True)
class RunOptions:
    """What is done.

    Attributes:
        segment: what counts and what is drawn; no thermal frames.
        filter: a key of ``FILTERS``.
        rate: frames a second of a folder of frames.
    """

    segment: SegmentOptions = field(default_factory=SegmentOptions)
    filter: str = "gentle"
    rate: float = 10.0

    def __post_init__(self) -> None:
        """Check the values; raises RecipeError or UnknownNameError."""
        if self.filter not in FILTERS:
            raise UnknownNameError.of("--filter", self.filter, FILTERS)
        if not 0 < self.rate <= 1000:
            raise RecipeError(f"--rate {self.rate}: give frames a second, above 0 to 1000.")
        if self.segment.thermal is not None:
            raise RecipeError("thermal frames go with photographs: headframe underground segment.")


@dataclass(frozen=True)
class RunReport:
    """What came of it.

    Attributes:
        out: the folder.
        model: the chain's name.
        totals: as ``summary.json`` has them.
        report: as ``report.json`` has it.
        failed: files that could not be read, or not whole, and why.
    """

    out: Path
    model: str
    totals: dict[str, Any]
    report: dict[str, Any]
    failed: tuple[tuple[Path, str], ...]


def run_whole(
    sources: Sequence[Path],
    *,
    model: str,
    out: Path,
    options: RunOptions,
    device: str = "auto",
    progress: Progress = SILENT,
) -> RunReport:
    """Take videos and folders of frames through the whole chain.

    Args:
        sources: videos, photographs, folders of them.
        model: as ``chain_bundle.load_chain`` takes it.
        out: folder to write; what an equal run left there is gone on with.
        options: what is done.
        device: where networks run.
        progress: told of every frame.

    Raises:
        InputError: not one file could be read; and all of ``load_chain``.
        OutputError: ``out`` holds frames of another run, or is in use.
    """
    found = find_sources(list(sources))
    reels = reels_of(found, rate=options.rate, every_s=options.segment.every_s)
    chain = load_chain(model, device=device)
    settings = {
        "model": chain_fingerprint(model),
        **asdict(options),
        "reels": [[reel.name, *reel.sign] for reel in reels],
    }
    machine = Machine()
    with held(out, lock=LOCK), Journal(out, settings) as journal:
        work = Segmenter(chain, journal, options.segment)
        meter = Meter(PARTS, rest=REST)
        done = Done(out)
        failed, first = _all(work, reels, meter, done, options=options, progress=progress)
        if first is not None and not done.reels:
            raise first
        totals = finish(work, None, _more(chain, failed))
        report = write_report(out, meter=meter, machine=machine, done=done, chain=chain)
    _tell(done)
    return RunReport(out, chain.name, totals, report, tuple(failed))


def _all(
    work: Segmenter,
    reels: Iterable[Reel],
    meter: Meter,
    done: Done,
    *,
    options: RunOptions,
    progress: Progress,
) -> tuple[list[tuple[Path, str]], InputError | None]:
    """Take every reel through that is not done; give what failed, and the first error."""
    failed: list[tuple[Path, str]] = []
    first: InputError | None = None
    for reel in reels:
        troubles = done.troubles(reel.name)
        if troubles is None:
            try:
                counts, troubles = _one(work, reel, meter, options=options, progress=progress)
                done.add(reel.name, counts, troubles)
            except OutputError:
                raise
            except InputError as exc:
                first = first or exc
                troubles = [(Path(reel.name), str(exc))]
        for path, trouble in troubles:
            failed.append((path, trouble))
            _LOG.warning("%s", trouble)
    return failed, first


def _one(
    work: Segmenter, reel: Reel, meter: Meter, *, options: RunOptions, progress: Progress
) -> tuple[Counts, list[tuple[Path, str]]]:
    with ExitStack() as stack:
        through = Pass(work, reel, meter, limits=FILTERS[options.filter])
        stack.enter_context(reel)
        stack.enter_context(through)
        progress.start(f"Running {reel.name}", reel.total)
        seen = 0
        for index in through.frames():
            progress.advance(index + 1 - seen)
            seen = index + 1
        progress.finish()
        return through.counts, list(reel.troubles)


def _more(chain: Chain, failed: Sequence[tuple[Path, str]]) -> dict[str, Any]:
    return {
        "model": chain.name,
        "dropped": 0,
        "failed": [[str(path), reason] for path, reason in failed],
    }


def _tell(done: Done) -> None:
    """Say so where the filter left nothing to look at."""
    for name, counts in done.reels.items():
        if not counts["looked_at"]:
            reasons = ", ".join(f"{n} {why}" for why, n in counts["left_out"].items())
            _LOG.warning("%s: no frame was looked at (%s). Try --filter off.", name, reasons)
