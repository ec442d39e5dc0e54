"""Plans of comparisons: which methods are trained and scored on which photographs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headframe.engine.detector_recipe import (
    DetectorRecipe,
    LightSection,
    PhotographSection,
    load_detector_recipe,
)
from headframe.engine.recipe_file import load_as


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MethodSection(_Section):
    """One row of the table."""

    detector: str = Field(description="recipe of the detector, a file beside the plan")
    sam: str | None = Field(
        default=None, description="litemedsam or a file of a SAM, asked about the detector's boxes"
    )
    classes: bool = Field(default=False, description="tell SAM the classes too")
    fusion: dict[str, Any] | None = Field(
        default=None, description="fields of FusionOptions; none: SAM's masks as they are"
    )

    @model_validator(mode="after")
    def _whole(self) -> "MethodSection":
        if self.sam is None and (self.fusion is not None or self.classes):
            raise ValueError("fusion and classes need a sam")
        return self


class ChainPlan(_Section):
    """A comparison of chains on the same photographs, in the same light, by the same folds.

    Photographs and lights of the detectors' own recipes give way to the plan's, the lights that
    they learn from excepted.
    """

    name: str = "chains"
    photographs: PhotographSection
    light: LightSection = LightSection()
    of: int = Field(default=4, ge=2, description="folds")
    fold_seed: int = 42
    plain: str = Field(description="the method that the others are compared with")
    methods: dict[str, MethodSection] = Field(min_length=1)
    figures: dict[str, dict[str, float]] = Field(
        default_factory=dict,
        description="what a paper reports: method to f1 and miou, as percentages",
    )

    @model_validator(mode="after")
    def _known(self) -> "ChainPlan":
        if self.plain not in self.methods:
            raise ValueError(f"plain is {self.plain!r}; give one of {', '.join(self.methods)}")
        return self

    def with_sources(self, sources: Sequence[str]) -> "ChainPlan":
        """Copy with other photographs to divide into folds."""
        photographs = self.photographs.model_copy(update={"sources": tuple(sources)})
        return self.model_copy(update={"photographs": photographs})


def load_plan(path: Path) -> tuple[ChainPlan, dict[str, DetectorRecipe]]:
    """Read a plan and the recipes of its detectors.

    Returns:
        The plan; and file name of each recipe as the plan has it, to the recipe.

    Raises:
        MissingFileError: the plan or a recipe is not there.
        RecipeError: either cannot be used.
    """
    plan = load_as(ChainPlan, path)
    files = dict.fromkeys(method.detector for method in plan.methods.values())
    return plan, {name: load_detector_recipe(path.parent / name) for name in files}
