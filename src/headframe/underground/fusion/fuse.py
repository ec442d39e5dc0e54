"""Masks of Mask R-CNN and of SAM made into one set of instances (DIS-Mine's Algorithm 4)."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from headframe.core.detections import Detections, Floats
from headframe.core.errors import GridMismatchError
from headframe.underground.fusion.align import (
    Alignment,
    Window,
    align,
    cut_moved,
    enlarged,
    moved_window,
    unaligned,
)
from headframe.underground.fusion.clean import clean, kernel_side
from headframe.underground.fusion.gate import gated
from headframe.underground.fusion.grid import relabel
from headframe.underground.fusion.options import FusionOptions, Method
from headframe.underground.fusion.pair import LIMIT, Mask, Pair, disagree, intersect
from headframe.underground.fusion.render import render
from headframe.underground.fusion.soft import boundary_only, weighted


@dataclass(frozen=True, eq=False)
class Fused:
    """Instances of one photograph after fusion.

    Attributes:
        detections: Mask R-CNN's boxes and scores (see ``FusionOptions.rescore``), in its order;
            masks fused; labels after the grid rule. No logits.
        disagreed: (n,) bool, Mask R-CNN's mask was kept because SAM's was about something else.
        alignment: what came of aligning.
    """

    detections: Detections
    disagreed: npt.NDArray[np.bool_]
    alignment: Alignment


def fuse(
    detected: Detections,
    sam: Detections,
    *,
    classes: Mapping[str, int] | None = None,
    options: FusionOptions | None = None,
) -> Fused:
    """Fuse what two networks say of the same objects.

    The same input gives the same output. A pixel that neither network takes for an object becomes
    it by the closing alone.

    Args:
        detected: Mask R-CNN's objects, those that SAM was asked about.
        sam: SAM's answers, one for each of ``detected`` in its order; scores are the IoU that it
            expects. Boxes and labels are not looked at.
        classes: class to number, for the grid rule; None: the rule is not applied.
        options: the steps.

    Returns:
        As many instances as there were; a mask may be empty where Mask R-CNN's was, or, without
        the rule of overlap, where the two share nothing.

    Raises:
        GridMismatchError: other numbers of objects, or photographs of other sizes.
    """
    options = options or FusionOptions()
    alignment = align_sets(detected, sam, options)
    masks = np.zeros_like(detected.masks)
    disagreed = np.zeros(len(detected), np.bool_)
    side = kernel_side(options.kernel_px, max(detected.size))
    for number, window, pair in pairs(detected, sam, alignment, margin_px=side):
        keep = options.min_overlap is not None and disagree(pair, options.min_overlap)
        disagreed[number] = keep
        mask = pair.detector if keep else _RULES[options.method](pair, options)
        mask = np.asarray(mask & (pair.detector | pair.sam), np.bool_)
        masks[number][window] = clean(mask, side, close=options.close, open_=options.open_)
    labels = relabel(detected.labels, masks, classes or {}, options.grid)
    scores = _scores(detected.scores, sam.scores, options.rescore)
    fused = replace(detected, masks=masks, labels=labels, scores=scores, logits=None)
    return Fused(fused, disagreed, alignment)


def align_sets(detected: Detections, sam: Detections, options: FusionOptions) -> Alignment:
    """Find what moves SAM's masks onto Mask R-CNN's, in pixels of the photograph.

    Raises:
        GridMismatchError: other numbers of objects, or photographs of other sizes.
    """
    if sam.masks.shape != detected.masks.shape:
        raise GridMismatchError(
            f"SAM's masks {sam.masks.shape} do not answer Mask R-CNN's {detected.masks.shape}; "
            "give one mask for each detection, on the same photograph."
        )
    if not options.align:
        return unaligned("off")
    moving, fixed = (render(d.masks, longest_px=options.align_px) for d in (sam, detected))
    small = (fixed.shape[0], fixed.shape[1])
    return enlarged(align(moving, fixed, guard=options.guard), small, detected.size)


def pairs(
    detected: Detections, sam: Detections, alignment: Alignment, *, margin_px: int
) -> Iterator[tuple[int, Window, Pair]]:
    """Cut out what is said of each object, SAM's masks moved.

    Args:
        detected: Mask R-CNN's objects.
        sam: SAM's answers.
        alignment: what moves them.
        margin_px: how much is cut out around both masks.

    Yields:
        Number of the object, rows and columns of the cut, and what is there; objects of which
        both masks are empty are left out.
    """
    for number, (first, second) in enumerate(zip(detected.masks, sam.masks, strict=True)):
        window = _around(first, second, alignment, margin_px)
        if window is None:
            continue
        logits = None
        if sam.logits is not None:
            logits = cut_moved(sam.logits[number], window, alignment, beyond=-LIMIT)
        yield (
            number,
            window,
            Pair(
                first[window],
                np.asarray(cut_moved(second, window, alignment), np.bool_),
                None if detected.logits is None else detected.logits[number][window],
                None if logits is None else np.asarray(logits, np.float32),
                float(detected.scores[number]),
                float(sam.scores[number]),
            ),
        )


def _around(first: Mask, second: Mask, alignment: Alignment, margin_px: int) -> Window | None:
    size = (first.shape[0], first.shape[1])
    windows = [_bounds(first), _bounds(second)]
    if windows[1] is not None:
        windows[1] = moved_window(windows[1], alignment, size)
    known = [window for window in windows if window is not None]
    if not known:
        return None
    ends = [
        slice(
            max(min(window[axis].start for window in known) - margin_px, 0),
            min(max(window[axis].stop for window in known) + margin_px, size[axis]),
        )
        for axis in (0, 1)
    ]
    return ends[0], ends[1]


def _bounds(mask: Mask) -> Window | None:
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)


def _gate(pair: Pair, options: FusionOptions) -> Mask:
    assert options.gate is not None  # the options see to it
    return gated(pair, options.gate)


_RULES: Mapping[Method, Callable[[Pair, FusionOptions], Mask]] = {
    "detector": lambda pair, _: pair.detector,
    "sam": lambda pair, _: pair.sam,
    "intersection": lambda pair, _: intersect(pair),
    "weighted": lambda pair, options: weighted(pair, weight=options.weight),
    "boundary": lambda pair, options: boundary_only(pair, band=options.band),
    "gate": _gate,
}


def _scores(detector: Floats, quality: Floats, part: float) -> Floats:
    if part == 0:
        return detector
    first, second = (np.nan_to_num(values).clip(0, 1) for values in (detector, quality))
    return np.asarray(first ** (1 - part) * second**part, np.float32)


class FusionTally:
    """Counts over many photographs: how often identity had to do, how often the networks differed.

    Attributes:
        photographs: how many were fused.
        objects: how many instances they have.
        disagreed: of those, how many kept Mask R-CNN's mask.
        outcomes: photographs by what came of aligning.
    """

    def __init__(self) -> None:
        """Start at nothing."""
        self.photographs = 0
        self.objects = 0
        self.disagreed = 0
        self.outcomes: Counter[str] = Counter()
        self._tried = 0

    def add(self, fused: Fused) -> None:
        """Count one photograph."""
        self.photographs += 1
        self.objects += len(fused.detections)
        self.disagreed += int(fused.disagreed.sum())
        self.outcomes[fused.alignment.outcome] += 1
        self._tried += int(fused.alignment.tried)

    @property
    def identity_rate(self) -> float:
        """Share of the photographs with masks of both kinds whose transform was not believed.

        NaN where aligning was never tried.
        """
        accepted = self.outcomes["accepted"]
        return (self._tried - accepted) / self._tried if self._tried else float("nan")

    def to_json(self) -> dict[str, object]:
        """Give the counts and rates as plain values, null for a rate of nothing."""
        return {
            "photographs": self.photographs,
            "objects": self.objects,
            "disagreed": self.disagreed,
            "identity_rate": self.identity_rate if self._tried else None,
            "alignment": dict(sorted(self.outcomes.items())),
        }
