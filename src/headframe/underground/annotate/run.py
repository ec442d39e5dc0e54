"""The loop: train on what is manual, draw masks, train on both, draw again."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headframe.core.progress import SILENT, Progress
from headframe.datasets.coco import write_coco
from headframe.datasets.instances import InstanceSet, LabelledImage
from headframe.datasets.photographs import InstancePhotograph
from headframe.engine.box_sam_recipe import BoxSamRecipe
from headframe.engine.detector_recipe import DetectorRecipe
from headframe.io.claimed import held as held_folder
from headframe.underground.annotate.automatic import Round, without_scores
from headframe.underground.annotate.figures import HeldFigures, measure
from headframe.underground.annotate.gates import tally
from headframe.underground.annotate.listing import MASKS, REVIEW_VIA, write_masks, write_review
from headframe.underground.annotate.material import (
    AUTOMATIC,
    MANUAL,
    REVIEWED,
    SOURCE,
    Material,
    Sources,
    read_material,
    require_untouched,
)
from headframe.underground.annotate.plan import AnnotatePlan
from headframe.underground.annotate.report import (
    HELD_CSV,
    REPORT_JSON,
    REPORT_MD,
    ROUNDS_CSV,
    RoundRow,
    write_report,
)
from headframe.underground.annotate.sheets import write_mask_sheets
from headframe.underground.annotate.stages import Networks, Workshop
from headframe.underground.annotate.verdicts import REVIEW, VERDICTS, Decided, gather

INSTANCES, WORK = "instances.json", "work"
_OUTPUTS = (INSTANCES, MASKS, REVIEW, REVIEW_VIA, VERDICTS, ROUNDS_CSV, HELD_CSV, REPORT_MD,
            REPORT_JSON, WORK)  # fmt: skip


@dataclass(frozen=True)
class AnnotateRecipes:
    """A plan with its two recipes, as ``plan.load_annotate_plan`` gives them."""

    plan: AnnotatePlan
    detector: DetectorRecipe
    sam: BoxSamRecipe


def annotate(
    sources: Sources,
    recipes: AnnotateRecipes,
    *,
    out: Path,
    accelerator: str = "auto",
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Annotate photographs in DIS-Mine's order, and write down what came of it.

    Mask R-CNN and SAM learn from the manual labels. Mask R-CNN's boxes, or those a person gives,
    go to SAM, whose masks pass the gates or do not. In the next round both learn, from their start
    again, from manual and automatic labels together; photographs in the folders of those held
    back are labelled too, but not learnt from. The paper does not say where the boxes come
    from before there is a Mask R-CNN of both; methods.md, section 1.6, proposes this.

    ``out`` gets ``instances.json``, all labels with who drew them; ``masks.csv``, ``review.csv``
    and ``review-via.json``; contact sheets; ``report.md`` and what it is made of; and ``work/``,
    where every step is kept: the same call does nothing twice, and goes on where it was killed.
    Input files are only read.

    Args:
        sources: photographs and labels.
        recipes: how.
        out: folder of the output.
        accelerator: Lightning's flag.
        progress: told of every photograph and step.

    Returns:
        What ``report.json`` holds.

    Raises:
        OutputError: ``out`` is in use or cannot be written, or an input would be written over.
        MissingFileError, FormatError, DatasetError: labels or photographs that cannot be used.
        RecipeError, UnknownNameError: networks that cannot be built.
        JobError: a loss is no longer finite.
    """
    plan = recipes.plan
    section = recipes.detector.photographs
    require_untouched(sources, [out / name for name in _OUTPUTS])
    material = read_material(
        sources, hold=plan.hold, classes=section.categories, merge=section.merge, out=out
    )
    folder = out / WORK
    shop = Workshop(material, recipes.detector, recipes.sam, folder, accelerator, progress)
    with held_folder(folder, out=out):
        decided = gather(out, folder / "looks", shop.classes)
        held = shop.photographs(material.held)
        loop = _Loop(shop, plan, decided, held)
        last = loop.run()
        write_coco(_all_labels(material, last, shop.classes), out / INSTANCES)
        write_masks(last, out, classes=shop.classes)
        write_mask_sheets(last, material.images, out, classes=shop.classes)
        waiting = write_review(last, out, classes=shop.classes)
        head = {**_parts(material), "to_review": waiting}
        return write_report(loop.rows, loop.figures, out, head=head)


class _Loop:
    """Rounds one after the other, with what is told of them."""

    def __init__(
        self,
        shop: Workshop,
        plan: AnnotatePlan,
        decided: Decided,
        held: list[InstancePhotograph],
    ) -> None:
        self.rows: list[RoundRow] = []
        self.figures: list[HeldFigures] = []
        self._shop, self._plan, self._decided, self._held = shop, plan, decided, held

    def run(self) -> Round:
        """Do all rounds; returns the last."""
        shop, plan = self._shop, self._plan
        manual = shop.material.learn
        learnt = {"detector": self._with(()), "sam": self._with(())}
        detector = shop.train_detector(learnt["detector"])
        self._measure(Networks(detector, None), "before")
        number = 1
        while True:
            networks = Networks(
                shop.train_detector(learnt["detector"]), shop.train_sam(learnt["sam"])
            )
            name = f"round {number}"
            self._measure(networks, name)
            looks = shop.look(networks, shop.material.rest, ask_score=plan.ask_score)
            done = Round(number, looks, shop.material.rest, plan, self._decided)
            counts = {k: _sources(v, manual) for k, v in learnt.items()}
            row = RoundRow(name, counts["detector"], counts["sam"], tally(done.photographs()))
            self.rows.append(row)
            if number == plan.rounds:
                return done
            learnt = {
                "detector": self._with(done.labels(shop.classes, whole=plan.whole_only)),
                "sam": self._with(done.labels(shop.classes)),
            }
            number += 1

    def _with(self, automatic: "list[LabelledImage] | tuple[()]") -> InstanceSet:
        material = self._shop.material
        allowed = (image for image in automatic if material.may_learn(image))
        images = without_scores((*material.learn.images, *allowed))
        return replace(material.learn, images=tuple(images))

    def _measure(self, networks: Networks, name: str) -> None:
        self.figures.append(measure(self._shop, networks, self._held, name=name))


def _all_labels(material: Material, last: Round, classes: tuple[str, ...]) -> InstanceSet:
    """Join all labels; photographs on which no mask was taken have none, and are left out."""
    given = (*material.learn.images, *material.held.images, *material.aside.images)
    images = (*given, *last.labels(classes))
    ordered = sorted(images, key=lambda image: image.file_name)
    return InstanceSet(tuple(ordered), material.categories)


def _sources(labels: InstanceSet, manual: InstanceSet) -> Mapping[str, int]:
    """Count photographs by who labelled them."""
    known = {image.file_name: _source(image) for image in manual.images}
    counts = dict.fromkeys((MANUAL, REVIEWED, AUTOMATIC), 0)
    for image in labels.images:
        counts[known.get(image.file_name, AUTOMATIC)] += 1
    return counts


def _source(image: LabelledImage) -> str:
    """Who labelled a photograph; one without a region is manual."""
    told = {(region.provenance or {}).get(SOURCE, MANUAL) for region in image.regions}
    return REVIEWED if REVIEWED in told else MANUAL


def _parts(material: Material) -> dict[str, int]:
    learnt = _sources(material.learn, material.learn)
    return {
        "manual_learnt": learnt[MANUAL],
        "manual_held_back": len(material.held.images),
        "reviewed": learnt[REVIEWED] + len(material.aside.images),
        "to_annotate": len(material.rest),
        "pointed_at": len(material.hints),
    }
