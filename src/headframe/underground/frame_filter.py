"""Which frames are worth labelling: darkness, blur, repetition, collapsed exposure, faces."""

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from headframe.core.errors import DatasetError, InputError
from headframe.core.progress import SILENT, Progress
from headframe.io.images import Pixels, read_image
from headframe.underground.frame_scores import (
    FloatGrey,
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

NO_TARGET = "no target"
Small = Callable[[], FloatGrey]
"""Gives a frame's ``small_grey``, made when it is first asked for."""


@dataclass(frozen=True)
class Targets:
    """Counts target objects.

    Attributes:
        name: tells the counter from every other, for counts that are kept.
        count: of (H, W, 3) uint8 RGB.
    """

    name: str
    count: Callable[[Pixels], int]


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
    count_targets: Targets | None = None,
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
    judge = FrameJudge(options)
    progress.start("frames", len(files))
    for file in files:
        yield _judge(file, known, judge, count_targets=count_targets)
        progress.advance()
    progress.finish()


def _judge(
    file: Path, known: "_Journal", judge: "FrameJudge", *, count_targets: Targets | None
) -> Decision:
    try:
        scores = known.scores(file)
        small = cache(lambda: small_grey(read_image(file)))
        decision = judge.judge(file, scores, small)
        if decision.kept and count_targets is not None:
            targets = known.targets(file, count_targets)
            reasons = () if targets else (NO_TARGET,)
            decision = replace(decision, kept=bool(targets), reasons=reasons, targets=targets)
    except InputError as exc:
        return Decision(file, False, ("unreadable",), (str(exc),), None)
    if decision.kept:
        judge.keep(decision, small)
    return decision


class FrameJudge:
    """Judges frame after frame by their scores and by those of the last kept ones.

    Of a frame no more is held than a small grey picture, once that is asked for.
    """

    def __init__(self, options: FilterOptions) -> None:
        """Start without frames to compare with."""
        self._options = options
        self._kept: deque[tuple[Path, str, Small]] = deque(maxlen=options.lookback)

    def judge(self, file: Path, scores: FrameScores, small: Small) -> Decision:
        """Decide one frame.

        Args:
            file: its name.
            scores: its measures.
            small: gives the frame's ``small_grey``, where it must be compared.
        """
        limits = self._options
        reasons = _alone(scores, limits)
        distance, ssim, like = (None, None, "") if reasons else self._nearest(scores, small)
        if distance is not None and distance <= limits.hash_distance and (ssim or 0) > limits.ssim:
            reasons.append("repeated")
        review = _review(scores, distance, ssim, limits)
        return Decision(
            file, not reasons, tuple(reasons), tuple(review), scores, distance, ssim, like
        )

    def keep(self, decision: Decision, small: Small) -> None:
        """Compare later frames with this one."""
        assert decision.scores is not None
        self._kept.append((decision.file, decision.scores.dhash, small))

    def _nearest(self, scores: FrameScores, small: Small) -> tuple[int | None, float | None, str]:
        options = self._options
        near = [(hash_distance(scores.dhash, kept[1]), kept) for kept in self._kept]
        if not near:
            return None, None, ""
        distance, (file, _, other) = min(near, key=lambda found: found[0])
        if distance > options.hash_distance * (1 + options.margin):
            return distance, None, file.name
        return distance, likeness(other(), small()), file.name


def _alone(scores: FrameScores, options: FilterOptions) -> list[str]:
    failed = {
        "dark": scores.mean_luma < options.dark_mean and scores.p95_luma < options.dark_p95,
        "collapsed": scores.levels < options.min_levels,
        "blurred": scores.sharpness < options.blur,
    }
    return [name for name, bad in failed.items() if bad]


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
        self._counts: dict[str, int] = {}
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
            self._note({"key": key, "scores": to_json(scores)})
        return self._known[key]

    def targets(self, file: Path, counter: Targets) -> int:
        """Give how many targets a frame shows; errors as ``io.images.read_image``."""
        key = f"{self._key(file)}:{counter.name}"
        if key not in self._counts:
            self._counts[key] = counter.count(read_image(file))
            self._note({"key": key, "targets": self._counts[key]})
        return self._counts[key]

    def _note(self, entry: Mapping[str, object]) -> None:
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as out:
                out.write(json.dumps(entry) + "\n")

    def _key(self, file: Path) -> str:
        if not file.exists():
            return str(file)
        stat, wanted = file.stat(), self._options
        looked = f"{wanted.faces != 'off'}:{wanted.dark_mean}"
        return f"{file.resolve()}:{stat.st_size}:{stat.st_mtime_ns}:{looked}"

    def _take(self, line: str) -> None:
        try:
            entry = json.loads(line)
            if "targets" in entry:
                self._counts[entry["key"]] = int(entry["targets"])
            else:
                self._known[entry["key"]] = from_json(entry["scores"])
        except (ValueError, KeyError, TypeError):
            return  # the last line of a killed run: that frame is measured again
