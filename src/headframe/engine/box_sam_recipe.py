"""Recipes of SAMs told boxes and classes: photographs, light, base, optimisation."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from headframe.engine.detector_recipe import EpochSection, LightSection, PhotographSection
from headframe.engine.recipe_file import load_as, parse_as, save_as


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SamSection(_Section):
    """The network."""

    base: str = Field(default="litemedsam", description="as headframe prompt --model takes it")
    peft: Literal["none", "decoder"] = Field(
        default="decoder", description="the encoder stays frozen: photographs are embedded once"
    )
    boxes: int = Field(default=8, ge=1, description="objects learnt from of one photograph a step")


class SamLossSection(_Section):
    """The loss: cross-entropy of the pixels (the paper's Table I), and two terms beside it."""

    dice: float = Field(default=1.0, ge=0, description="weight of plain Dice")
    quality: float = Field(default=0.1, ge=0, description="weight of the expected IoU's error")


class BoxSamRecipe(_Section):
    """How one SAM is trained: every number that matters, and no code."""

    name: str = "box-sam"
    sam: SamSection = SamSection()
    photographs: PhotographSection
    light: LightSection = LightSection()
    prepare: str = Field(default="stretch", description="as in the detector's recipe")
    loss: SamLossSection = SamLossSection()
    train: EpochSection = EpochSection(lr=1e-4, batch=4)

    def with_photographs(self, **changes: Any) -> "BoxSamRecipe":  # noqa: ANN401 - any field's
        """Copy with fields of ``photographs`` changed, checked like those of a file."""
        value = self.model_dump(mode="json")
        value["photographs"] |= changes
        return parse_as(BoxSamRecipe, value, source=f"recipe {self.name}")


def load_box_sam_recipe(path: Path) -> BoxSamRecipe:
    """Read a recipe of a SAM told boxes; errors as ``recipe_file.load_as``."""
    return load_as(BoxSamRecipe, path)


def save_box_sam_recipe(recipe: BoxSamRecipe, path: Path) -> None:
    """Write the resolved recipe, every default spelt out."""
    save_as(recipe, path)
