"""Plans of comparisons: which methods are trained and scored on which photographs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headframe.engine.box_sam_recipe import BoxSamRecipe, load_box_sam_recipe
from headframe.engine.detector_recipe import (
    DetectorRecipe,
    LightSection,
    PhotographSection,
    load_detector_recipe,
)
from headframe.engine.enhance_recipe import EnhanceRecipe, load_enhance_recipe
from headframe.engine.recipe import FoldSection
from headframe.engine.recipe_file import load_as, parse_as


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MethodSection(_Section):
    """One row of the table."""

    detector: str = Field(description="recipe of the detector, a file beside the plan")
    sam: str | None = Field(
        default=None,
        description="asked about the detector's boxes: litemedsam or a file of a SAM, as it is; "
        "the folder of one trained on other photographs; or the recipe of one, a YAML file "
        "beside the plan, trained on what the detector learns from",
    )
    classes: bool = Field(default=False, description="tell SAM the classes too")
    sam_score: float = Field(
        default=0.5, ge=0, le=1, description="SAM is asked about objects of at least this score"
    )
    fusion: dict[str, Any] | None = Field(
        default=None, description="fields of FusionOptions; none: SAM's masks as they are"
    )
    gate: Path | None = Field(
        default=None, description="file of a gate, learnt from other photographs, for the fusion"
    )

    @model_validator(mode="after")
    def _whole(self) -> "MethodSection":
        if self.sam is None and (self.fusion is not None or self.classes):
            raise ValueError("fusion and classes need a sam")
        if (self.gate is not None) != ((self.fusion or {}).get("method") == "gate"):
            raise ValueError("fusion {method: gate} needs a gate, and no other does")
        return self


class CurveSection(_Section):
    """What is measured of every method while its detector trains; nothing is chosen by it."""

    every: int = Field(default=0, ge=0, description="steps between measurements; 0: never")
    photographs: int = Field(
        default=12, ge=1, description="so many of those held out, evenly spread, lights in turn"
    )


class PanelSection(_Section):
    """Pictures of photograph, truth and what was found."""

    methods: tuple[str, ...] = Field(
        default=(), description="columns; none given: the plain one and the last"
    )
    photographs: int = Field(default=4, ge=0, description="rows, evenly spread; 0: no picture")
    light: float | None = Field(default=None, description="one of the test; none given: its last")


class ChainPlan(_Section):
    """A comparison of chains on the same photographs, in the same light, by the same folds.

    Photographs and lights of the recipes give way to the plan's, the lights that they learn from
    excepted. Of recipes of SAMs the preparation too gives way, to that of the detector.
    """

    name: str = "chains"
    photographs: PhotographSection
    light: LightSection = LightSection()
    of: int = Field(default=4, ge=2, description="folds")
    fold_seed: int = 42
    plain: str = Field(description="the method that the others are compared with")
    methods: dict[str, MethodSection] = Field(min_length=1)
    enhancers: dict[str, str] = Field(
        default_factory=dict,
        description="enhancers that detectors name in prepare, and their recipes, files beside the "
        "plan: each is trained on the photographs that the detector learns from",
    )
    bright: tuple[str, ...] = Field(
        default=(),
        description="sources of the photographs to learn from in good light, where photographs "
        "are dark by themselves: for enhancers, and for detectors that learn from pairs",
    )
    curves: CurveSection = CurveSection()
    panels: PanelSection = PanelSection()
    figures: dict[str, dict[str, float]] = Field(
        default_factory=dict,
        description="what a paper reports: method to f1 and miou, as percentages",
    )

    @model_validator(mode="after")
    def _known(self) -> "ChainPlan":
        for name in (self.plain, *self.panels.methods):
            if name not in self.methods:
                raise ValueError(f"method {name!r} is none; give one of {', '.join(self.methods)}")
        light = self.panels.light
        if light is not None and light not in self.light.test:
            raise ValueError(f"panels.light is {light:g}, which is no light of the test")
        return self

    @property
    def folds(self) -> tuple[int, ...]:
        """All folds; one where what is held out has sources of its own."""
        return (0,) if self.photographs.held else tuple(range(self.of))

    def part(self, fold: int) -> PhotographSection:
        """Give the photographs with one fold held out, or those that always are."""
        held = self.photographs.held
        own = None if held else FoldSection(index=fold, of=self.of, seed=self.fold_seed)
        return self.photographs.model_copy(update={"fold": own})

    def with_sources(
        self,
        sources: Sequence[str] = (),
        *,
        more: Sequence[str] = (),
        held: Sequence[str] = (),
        bright: Sequence[str] = (),
    ) -> "ChainPlan":
        """Copy with other photographs; of what is not given the plan's own stay.

        Args:
            sources: to divide into folds, or with ``held`` to learn from.
            more: only learnt from.
            held: only held out.
            bright: as the field.
        """
        given = {"sources": tuple(sources), "more": tuple(more), "held": tuple(held)}
        changed = {name: value for name, value in given.items() if value}
        photographs = self.photographs.model_copy(update=changed)
        return self.model_copy(
            update={"photographs": photographs, "bright": tuple(bright) or self.bright}
        )

    def with_curves(self, every: int) -> "ChainPlan":
        """Copy whose methods are measured every so many steps; 0: never.

        Raises:
            RecipeError: a negative number.
        """
        return parse_as(
            ChainPlan,
            self.model_dump(mode="json") | {"curves": {**self.curves.model_dump(), "every": every}},
            source=f"plan {self.name}",
        )

    def with_classes(self, categories: Sequence[str], merge: Sequence[str] = ()) -> "ChainPlan":
        """Copy that knows other classes, after merging."""
        update = {"categories": tuple(categories), "merge": tuple(merge)}
        return self.model_copy(update={"photographs": self.photographs.model_copy(update=update)})


@dataclass(frozen=True)
class PlanRecipes:
    """Recipes of a plan, by the names that the plan has for their files.

    Attributes:
        detectors: of its methods.
        sams: of those that are trained.
        enhancers: by the names that detectors have for them in ``prepare``.
    """

    detectors: Mapping[str, DetectorRecipe]
    sams: Mapping[str, BoxSamRecipe] = field(default_factory=dict)
    enhancers: Mapping[str, EnhanceRecipe] = field(default_factory=dict)

    def with_steps(self, steps: int) -> "PlanRecipes":
        """Copy whose detectors and SAMs take other steps; enhancers stay as they are."""
        detectors = {
            name: recipe.with_train(steps=steps) for name, recipe in self.detectors.items()
        }
        sams = {
            name: recipe.model_copy(
                update={"train": recipe.train.model_copy(update={"steps": steps, "epochs": None})}
            )
            for name, recipe in self.sams.items()
        }
        return replace(self, detectors=detectors, sams=sams)


def is_recipe(sam: str) -> bool:
    """Whether a method's ``sam`` is the recipe of one."""
    return sam.endswith(".yaml")


def load_plan(path: Path) -> tuple[ChainPlan, PlanRecipes]:
    """Read a plan and its recipes.

    Raises:
        MissingFileError: the plan or a recipe is not there.
        RecipeError: either cannot be used.
    """
    plan = load_as(ChainPlan, path)
    detectors = dict.fromkeys(method.detector for method in plan.methods.values())
    sams = dict.fromkeys(m.sam for m in plan.methods.values() if m.sam and is_recipe(m.sam))
    return plan, PlanRecipes(
        {name: load_detector_recipe(path.parent / name) for name in detectors},
        {name: load_box_sam_recipe(path.parent / name) for name in sams},
        {name: load_enhance_recipe(path.parent / file) for name, file in plan.enhancers.items()},
    )
