"""Which frames are worth labelling: darkness, blur, repetition, collapsed exposure, faces."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from headframe.core.errors import DatasetError, InputError
from headframe.core.progress import SILENT, Progress
from headframe.io.images import Pixels, read_image
from headframe.underground.frame_scores import (
    FrameScores,
    from_json,
    hash_distance,
    likeness,
    measure_frame,
    small_grey,
    to_json,
)

FACE_MODES = ("report", "blur", "off")
JOURNAL = "scores.jsonl"
"""Scores line by line as they are measured, for a run that goes on."""

Counter = Callable[[Pixels], int]
"""Counts target objects in (H, W, 3) uint8 RGB."""


@dataclass(frozen=True)
class FilterOptions:
    """Thresholds; the defaults are those of the specification (methods, section 1.6).

    Attributes:
        dark_mean: dark if the mean luma is below this, 0-255, and ...
        dark_p95: ... its 95th percentile below this.
        blur: blurred if the sharpness is below this.
        min_levels: collapsed if fewer grey levels occur.
        hash_distance: repeated if so many bits of 64 or fewer differ from a kept frame, and ...
        ssim: ... the structural similarity to it is above this.
        lookback: how many of the last kept frames one is compared with.
        margin: share of a threshold within which a frame is listed for review.
        least_lit: share of the frame, 0-1; less lit is listed for review (a lamp's spot only).
        faces: report, blur or off.
    """

    dark_mean: float = 12.0
    dark_p95: float = 40.0
    blur: float = 30.0
    min_levels: int = 16
    hash_distance: int = 4
    ssim: float = 0.95
    lookback: int = 1
    margin: float = 0.25
    least_lit: float = 0.1
    faces: str = "report"

    def __post_init__(self) -> None:
        """Refuse what decides nothing."""
        if self.faces not in FACE_MODES:
            raise DatasetError(f"--faces {self.faces}: choose one of {', '.join(FACE_MODES)}.")
        if self.lookback < 1:
            raise DatasetError(f"--lookback {self.lookback}: give 1 or more.")


@dataclass(frozen=True)
class Decision:
    """What was decided of one frame.

    Attributes:
        file: the frame.
        kept: whether it stays.
        reasons: why not: unreadable, dark, collapsed, blurred, repeated, no target.
        review: why a person should look: near a threshold, little of it lit, faces.
        scores: None where the file cannot be read.
        distance: smallest hash distance to the kept frames it was compared with.
        ssim: structural similarity to that one; None where the hashes already differ.
        like: that frame's name.
        targets: how many target objects were counted; None where none were looked for.
    """

    file: Path
    kept: bool
    reasons: tuple[str, ...]
    review: tuple[str, ...]
    scores: FrameScores | None
    distance: int | None = None
    ssim: float | None = None
    like: str = ""
    targets: int | None = None


def judge_frames(
    files: Sequence[Path],
    *,
    options: FilterOptions,
    journal: Path | None = None,
    count_targets: Counter | None = None,
    progress: Progress = SILENT,
) -> Iterator[Decision]:
    """Decide frame after frame, in the order given.

    A frame that fails on its own is not what later frames are compared with. Frames of one size
    only can repeat one another.

    Args:
        files: photographs.
        options: thresholds.
        journal: keeps scores, so that a stopped run and one with other thresholds need not
            measure again; a file that changed is measured anew.
        count_targets: a detector; frames in which it finds nothing are left out.
        progress: one step a frame.

    Yields:
        One decision a frame.
    """
    known = _Journal(journal, options)
    kept: deque[tuple[Path, str]] = deque(maxlen=options.lookback)
    progress.start("frames", len(files))
    for file in files:
        decision = _judge(file, known, kept, options=options, count_targets=count_targets)
        if decision.kept and decision.scores is not None:
            kept.append((file, decision.scores.dhash))
        yield decision
        progress.advance()
    progress.finish()


def _judge(
    file: Path,
    known: "_Journal",
    kept: Iterable[tuple[Path, str]],
    *,
    options: FilterOptions,
    count_targets: Counter | None,
) -> Decision:
    try:
        scores = known.scores(file)
    except InputError as exc:
        return Decision(file, False, ("unreadable",), (str(exc),), None)
    reasons = _alone(scores, options)
    distance, ssim, like = (None, None, "") if reasons else _nearest(file, scores, kept, options)
    if distance is not None and distance <= options.hash_distance and (ssim or 0) > options.ssim:
        reasons.append("repeated")
    targets = None
    if count_targets is not None and not reasons:
        targets = count_targets(read_image(file))
        reasons += [] if targets else ["no target"]
    review = _review(scores, distance, ssim, options)
    return Decision(
        file, not reasons, tuple(reasons), tuple(review), scores, distance, ssim, like, targets
    )


def _alone(scores: FrameScores, options: FilterOptions) -> list[str]:
    failed = {
        "dark": scores.mean_luma < options.dark_mean and scores.p95_luma < options.dark_p95,
        "collapsed": scores.levels < options.min_levels,
        "blurred": scores.sharpness < options.blur,
    }
    return [name for name, bad in failed.items() if bad]


def _nearest(
    file: Path,
    scores: FrameScores,
    kept: Iterable[tuple[Path, str]],
    options: FilterOptions,
) -> tuple[int | None, float | None, str]:
    near = [(hash_distance(scores.dhash, dhash), other) for other, dhash in kept]
    if not near:
        return None, None, ""
    distance, other = min(near, key=lambda pair: pair[0])
    if distance > options.hash_distance * (1 + options.margin):
        return distance, None, other.name
    alike = likeness(small_grey(read_image(other)), small_grey(read_image(file)))
    return distance, alike, other.name


def _review(
    scores: FrameScores, distance: int | None, ssim: float | None, options: FilterOptions
) -> list[str]:
    """List the scores that lie so near a threshold that a person should decide."""

    def near(value: float, threshold: float) -> bool:
        return abs(value - threshold) <= options.margin * abs(threshold)

    told = []
    more = 1 + options.margin
    dim = scores.mean_luma < options.dark_mean * more and scores.p95_luma < options.dark_p95 * more
    close = near(scores.mean_luma, options.dark_mean) or near(scores.p95_luma, options.dark_p95)
    if dim and close:
        told.append(f"near darkness: mean {scores.mean_luma:.1f}, p95 {scores.p95_luma:.0f}")
    if near(scores.sharpness, options.blur):
        told.append(f"near blur: {scores.sharpness:.1f}")
    if near(scores.levels, options.min_levels):
        told.append(f"near collapse: {scores.levels} levels")
    if ssim is not None and distance is not None:
        loose = options.margin * (1 - options.ssim)
        if abs(ssim - options.ssim) <= loose or distance > options.hash_distance:
            told.append(f"near repetition: {distance} bits, SSIM {ssim:.3f}")
    if scores.lit_share < options.least_lit:
        told.append(f"little is lit: {scores.lit_share:.0%}")
    if scores.faces:
        told.append(f"{len(scores.faces)} faces")
    return told


class _Journal:
    """Scores of frames, measured once."""

    def __init__(self, path: Path | None, options: FilterOptions) -> None:
        self._path, self._options = path, options
        self._known: dict[str, FrameScores] = {}
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._take(line)

    def scores(self, file: Path) -> FrameScores:
        """Give the scores of a frame; errors as ``io.images.read_image``."""
        key = self._key(file)
        if key not in self._known:
            scores = measure_frame(
                read_image(file),
                dark_mean=self._options.dark_mean,
                faces=self._options.faces != "off",
            )
            self._known[key] = scores
            if self._path is not None:
                with self._path.open("a", encoding="utf-8") as out:
                    out.write(json.dumps({"key": key, "scores": to_json(scores)}) + "\n")
        return self._known[key]

    def _key(self, file: Path) -> str:
        if not file.exists():
            return str(file)
        stat, wanted = file.stat(), self._options
        looked = f"{wanted.faces != 'off'}:{wanted.dark_mean}"
        return f"{file.resolve()}:{stat.st_size}:{stat.st_mtime_ns}:{looked}"

    def _take(self, line: str) -> None:
        try:
            entry = json.loads(line)
            self._known[entry["key"]] = from_json(entry["scores"])
        except (ValueError, KeyError, TypeError):
            return  # the last line of a killed run: that frame is measured again
