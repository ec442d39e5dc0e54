"""Which masks are taken for labels, and which a person should look at."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from headframe.underground.annotate.candidates import DETECTOR, Candidate, Note, Rle, overlaps
from headframe.underground.annotate.plan import GateSection, ReviewSection

SCORE, EXPECTED, STABILITY = "score", "predicted_iou", "stability"
SMALL, DUPLICATE, DROPPED = "least_px", "duplicate_iou", "dropped"
REASONS = (SCORE, EXPECTED, STABILITY, SMALL, DUPLICATE, DROPPED)
"""Why a mask was not taken: names of the gates, and that a person had dropped it."""
QUALITY = (EXPECTED, STABILITY, SMALL)
"""Reasons that say nothing against the object, only against its mask."""


@dataclass(frozen=True)
class Kept:
    """A mask that a person decided on, at the size of the candidates.

    Attributes:
        key: of the mask (``Candidate.key``).
        category: number of its class.
        mask: run lengths.
        keep: whether it is a label; else nothing like it is.
    """

    key: str
    category: int
    mask: Rle
    keep: bool


@dataclass(frozen=True)
class Judged:
    """One mask and what became of it.

    Attributes:
        candidate: the mask.
        reasons: why it was not taken, of ``REASONS``; none: it was.
        review: why a person should look at it; empty: no need.
        reviewed: a person said to keep it.
    """

    candidate: Candidate
    reasons: tuple[str, ...] = ()
    review: str = ""
    reviewed: bool = False

    @property
    def accepted(self) -> bool:
        """Whether it is a label."""
        return not self.reasons


@dataclass(frozen=True)
class JudgedPhotograph:
    """All masks of one photograph.

    Attributes:
        note: what was said of it.
        masks: in the note's order, those a person kept before them.
        gates: the score that an object is sure from.
    """

    note: Note
    masks: tuple[Judged, ...]
    gates: GateSection

    @property
    def accepted(self) -> tuple[Judged, ...]:
        """Those that are labels."""
        return tuple(judged for judged in self.masks if judged.accepted)

    @property
    def whole(self) -> bool:
        """Whether no object is left that is sure, but has no mask that passed."""
        return not any(
            judged.reasons and set(judged.reasons) <= set(QUALITY) for judged in self.masks
        )

    @property
    def review(self) -> str:
        """Why a person should look at the photograph itself; empty: no need."""
        if self.note.trouble or self.accepted:
            return ""
        return "no mask was taken" if self.masks else "nothing was found"


def judge(
    note: Note,
    *,
    gates: GateSection,
    review: ReviewSection,
    decided: Sequence[Kept] = (),
) -> JudgedPhotograph:
    """Pass the masks of a photograph through the gates of methods.md, section 1.6.

    What a person decided comes first: masks kept are labels whatever the gates say, and what is
    like one of them, or like one that was dropped, is not taken.

    Args:
        note: what was said of it.
        gates: thresholds.
        review: what is narrow.
        decided: by a person, on this photograph.
    """
    kept = [Judged(_as_candidate(d), reviewed=True) for d in decided if d.keep]
    taken: dict[int, list[Rle]] = {}
    for d in decided:
        if d.keep:
            taken.setdefault(d.category, []).append(d.mask)
    places = sorted(range(len(note.candidates)), key=lambda n: -note.candidates[n].sure)
    found: dict[int, Judged] = {}
    for place in places:
        candidate = note.candidates[place]
        reasons = _failed(candidate, gates)
        gone = [d.mask for d in decided if not d.keep and d.category == candidate.category]
        if _like(candidate, gone, gates):
            reasons.append(DROPPED)
        elif _like(candidate, taken.get(candidate.category, []), gates):
            reasons.append(DUPLICATE)
        if not reasons:
            taken.setdefault(candidate.category, []).append(candidate.mask)
        found[place] = Judged(candidate, tuple(reasons), _doubt(candidate, reasons, gates, review))
    ordered = (found[place] for place in range(len(note.candidates)))
    return JudgedPhotograph(note, (*kept, *ordered), gates)


def tally(photographs: Iterable[JudgedPhotograph]) -> dict[str, int]:
    """Count masks by what became of them: asked, accepted, each of ``REASONS``, review.

    A mask that failed at several gates counts at each.
    """
    counts: Counter[str] = Counter()
    for photograph in photographs:
        counts["photographs"] += 1
        counts["with_masks"] += bool(photograph.accepted)
        counts["whole"] += bool(photograph.accepted) and photograph.whole
        counts["unreadable"] += bool(photograph.note.trouble)
        counts["review"] += bool(photograph.review)
        for judged in photograph.masks:
            counts["masks"] += 1
            counts["accepted"] += judged.accepted
            counts["reviewed"] += judged.reviewed
            counts["review"] += bool(judged.review)
            counts.update(judged.reasons)
    names = ("photographs", "with_masks", "whole", "unreadable", "masks", "accepted", "reviewed",
             *REASONS, "review")  # fmt: skip
    return {name: counts[name] for name in names}


def values_of(candidate: Candidate) -> Mapping[str, float]:
    """Give what the first gates look at; no score of what a person pointed at."""
    told = {SCORE: candidate.score} if candidate.origin == DETECTOR else {}
    return told | {EXPECTED: candidate.predicted_iou, STABILITY: candidate.stability}


def _failed(candidate: Candidate, gates: GateSection) -> list[str]:
    reasons = [n for n, value in values_of(candidate).items() if value < getattr(gates, n)]
    if candidate.area < gates.least_px:
        reasons.append(SMALL)
    return reasons


def _like(candidate: Candidate, others: Sequence[Rle], gates: GateSection) -> bool:
    same = [o for o in others if list(o["size"]) == list(candidate.mask["size"])]
    return max(overlaps(candidate.mask, same), default=0.0) >= gates.duplicate_iou


def _doubt(
    candidate: Candidate, reasons: Sequence[str], gates: GateSection, review: ReviewSection
) -> str:
    near = [
        f"{name} {value:.2f}"
        for name, value in values_of(candidate).items()
        if abs(value - getattr(gates, name)) < review.margin and (not reasons or name in reasons)
    ]
    if not reasons:
        agreement = candidate.agreement
        if agreement is not None and agreement < review.agreement:
            near.append(f"the networks agree by {agreement:.2f}")
        return f"narrowly taken: {', '.join(near)}" if near else ""
    # one gate narrowly missed is worth a look; two misses are not
    return f"narrowly rejected: {near[0]}" if len(reasons) == len(near) == 1 else ""


def _as_candidate(decided: Kept) -> Candidate:
    return Candidate(
        category=decided.category,
        box=(0.0, 0.0, 0.0, 0.0),
        origin="review",
        score=1.0,
        predicted_iou=1.0,
        stability=1.0,
        mask=decided.mask,
    )
