"""Masks that were taken, as labels that say where they come from."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headframe.datasets.instances import LabelledImage, Region
from headframe.underground.annotate.candidates import decode, read_note
from headframe.underground.annotate.gates import Judged, JudgedPhotograph, judge
from headframe.underground.annotate.material import AUTOMATIC, REVIEWED, SOURCE
from headframe.underground.annotate.plan import AnnotatePlan
from headframe.underground.annotate.verdicts import Decided
from headframe.underground.segment.record import run_lengths


@dataclass(frozen=True)
class Round:
    """One pass over the photographs that nobody labelled.

    Attributes:
        number: from 1.
        looks: folder of notes.
        names: of the photographs.
        plan: gates.
        decided: by a person.
    """

    number: int
    looks: Path
    names: tuple[str, ...]
    plan: AnnotatePlan
    decided: Decided

    def photographs(self) -> Iterator[JudgedPhotograph]:
        """Judge photograph by photograph; only one is in memory."""
        for name in self.names:
            yield judge(
                read_note(self.looks, name),
                gates=self.plan.gates,
                review=self.plan.review,
                decided=self.decided.get(name, ()),
            )

    def labels(self, classes: Sequence[str], *, whole: bool = False) -> list[LabelledImage]:
        """Give photographs with at least one mask that was taken.

        Args:
            classes: names of the networks' classes 1, 2, ….
            whole: leave out those on which a sure object has no mask that passed.
        """
        return [
            labelled(photograph, classes, number=self.number)
            for photograph in self.photographs()
            if photograph.accepted and (photograph.whole or not whole)
        ]


def labelled(photograph: JudgedPhotograph, classes: Sequence[str], *, number: int) -> LabelledImage:
    """Turn masks that were taken into regions in the photograph's own pixels.

    Args:
        photograph: what was judged.
        classes: names of the networks' classes 1, 2, ….
        number: of the round.

    Returns:
        Run lengths; the score is the detector's times the IoU that SAM expects.
    """
    note = photograph.note
    regions = (region_of(judged, note.size, classes, number) for judged in photograph.accepted)
    return LabelledImage(note.name, *note.size, tuple(regions))


def region_of(judged: Judged, size: tuple[int, int], classes: Sequence[str], number: int) -> Region:
    """Turn one mask into a region; see ``labelled``."""
    candidate = judged.candidate
    told: dict[str, object] = {SOURCE: REVIEWED if judged.reviewed else AUTOMATIC}
    if not judged.reviewed:
        told |= {
            "round": number,
            "prompt": candidate.origin,
            "detector_score": candidate.score,
            "predicted_iou": candidate.predicted_iou,
            "stability": candidate.stability,
            "review": judged.review,
        }
    return Region(
        classes[candidate.category - 1],
        rle=run_lengths(decode(candidate.mask), size),
        score=None if judged.reviewed else round(candidate.sure, 6),
        provenance=told,
    )


def without_scores(images: Iterable[LabelledImage]) -> list[LabelledImage]:
    """Leave out what learning does not look at, so that it does not decide what is trained."""
    return [
        replace(i, regions=tuple(replace(r, score=None, provenance=None) for r in i.regions))
        for i in images
    ]
