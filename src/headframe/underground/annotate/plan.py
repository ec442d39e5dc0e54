"""Plans of annotation: which networks, how many rounds, and which masks pass."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from headframe.core.errors import RecipeError
from headframe.engine.box_sam_recipe import BoxSamRecipe, load_box_sam_recipe
from headframe.engine.detector_recipe import DetectorRecipe, load_detector_recipe
from headframe.engine.recipe import FoldSection
from headframe.engine.recipe_file import load_as, parse_as


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GateSection(_Section):
    """What a mask must reach to be taken for a label (methods.md, section 1.6)."""

    score: float = Field(
        default=0.7, ge=0, le=1, description="of the detector; boxes that are given have none"
    )
    predicted_iou: float = Field(default=0.85, ge=0, le=1, description="that SAM expects")
    stability: float = Field(
        default=0.9, ge=0, le=1, description="IoU of the mask at thresholds a logit apart"
    )
    least_px: int = Field(
        default=16, ge=1, description="pixels of the mask on the photograph as it is reduced"
    )
    duplicate_iou: float = Field(
        default=0.8, gt=0, le=1, description="with a surer mask of its class that was taken"
    )


class ReviewSection(_Section):
    """What a person should look at."""

    margin: float = Field(default=0.05, ge=0, le=1, description="this near to a gate is narrow")
    agreement: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="masks taken of which SAM's and the detector's IoU is below",
    )


class AnnotatePlan(_Section):
    """How photographs are annotated: two recipes, and what is between them.

    Sources and folds of the recipes give way to what the command is given; classes, sizes and what
    networks are shown must be the same in both.
    """

    name: str = "annotate"
    detector: str = Field(description="recipe of the detector, a file beside the plan")
    sam: str = Field(description="recipe of the SAM told boxes, a file beside the plan")
    rounds: int = Field(
        default=2, ge=1, le=9, description="2 is the paper's: the second learns from the first"
    )
    hold: FoldSection = Field(
        default=FoldSection(), description="which manual photographs are only for measuring"
    )
    ask_score: float = Field(
        default=0.3, ge=0, le=1, description="of the detector; SAM is not asked about less"
    )
    whole_only: bool = Field(
        default=False,
        description="detectors do not learn from photographs on which an object that is sure has "
        "no mask that passed",
    )
    gates: GateSection = GateSection()
    review: ReviewSection = ReviewSection()

    def with_rounds(self, rounds: int) -> "AnnotatePlan":
        """Copy with another number of rounds, checked like that of a file."""
        value = self.model_dump(mode="json") | {"rounds": rounds}
        return parse_as(AnnotatePlan, value, source=f"plan {self.name}")


def load_annotate_plan(path: Path) -> tuple[AnnotatePlan, DetectorRecipe, BoxSamRecipe]:
    """Read a plan and its two recipes.

    Raises:
        MissingFileError: one of the three is not there.
        RecipeError: one of them cannot be used, or the recipes do not go together.
    """
    plan = load_as(AnnotatePlan, path)
    detector = load_detector_recipe(path.parent / plan.detector)
    sam = load_box_sam_recipe(path.parent / plan.sam)
    if plan.ask_score > plan.gates.score:
        raise RecipeError(
            f"{path}: ask_score {plan.ask_score:g} is above gates.score {plan.gates.score:g}: "
            "masks that would pass were never asked for. Lower ask_score."
        )
    for name, ours, theirs in (
        ("categories", detector.photographs.categories, sam.photographs.categories),
        ("merge", detector.photographs.merge, sam.photographs.merge),
        ("short_side_px", detector.photographs.short_side_px, sam.photographs.short_side_px),
        ("prepare", detector.prepare, sam.prepare),
    ):
        if ours != theirs:
            raise RecipeError(
                f"{path}: {name} is {ours} in {plan.detector} and {theirs} in {plan.sam}. SAM is "
                "asked about what the detector sees; make them equal."
            )
    return plan, detector, sam
