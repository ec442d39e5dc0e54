"""Recipes of enhancers: which photographs, how they are darkened, how the nets are trained."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headframe.engine.recipe_file import load_as, parse_as
from headframe.losses.kind import KinDWeights

StageName = Literal["decomposition", "adjustment", "restoration", "joint"]
STAGES: dict[str, tuple[StageName, ...]] = {
    "kind": ("decomposition", "adjustment", "restoration"),
    "dismine": ("joint",),
}
"""The stages of each mode, in order."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkSection(_Section):
    """The nets; see ``models.kind.KinDOptions``."""

    mode: Literal["kind", "dismine"] = "kind"
    width: int = Field(default=32, ge=1, le=256)
    restoration_width: int = Field(default=32, ge=1, le=256)
    leaky_head: bool = True


class PairSection(_Section):
    """How pairs are made of bright photographs.

    ``camera``, ``paper`` and ``sensor`` are weights of a draw among the three ways of
    ``datasets.darken`` and ``datasets.sensor_noise``.
    """

    camera: float = Field(default=1.0, ge=0)
    paper: float = Field(default=0.0, ge=0)
    sensor: float = Field(default=0.0, ge=0)
    light: tuple[float, float] = Field(
        default=(0.01, 0.3), description="share of the light, drawn evenly in its logarithm"
    )
    gamma: tuple[float, float] = Field(
        default=(1.0, 1.0), description="exponent on values before camera takes the light"
    )
    brightest: float = Field(
        default=1.0, gt=0, le=1, description="share of the photographs kept, by mean"
    )
    short_side_px: int = Field(default=320, ge=16, description="photographs are reduced to this")
    stretch: bool = Field(default=True, description="stretch each of a pair to 0-1, as the authors")

    @model_validator(mode="after")
    def _drawable(self) -> "PairSection":
        if not self.camera + self.paper + self.sensor > 0:
            raise ValueError("one of camera, paper and sensor must be above 0")
        low, high = self.light
        if not 0 < low <= high <= 1:
            raise ValueError("light is (from, to), 0 < from <= to <= 1")
        if not 0 < self.gamma[0] <= self.gamma[1]:
            raise ValueError("gamma is (from, to), 0 < from <= to")
        return self


class StageSection(_Section):
    """One stage's optimisation, by Adam."""

    steps: int = Field(ge=1)
    batch: int = Field(default=10, ge=1)
    crop_px: int = Field(default=48, ge=16, multiple_of=16)
    lr: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    halve_at: tuple[float, ...] = Field(
        default=(), description="shares of the steps after which the rate is halved"
    )


class WeightSection(_Section):
    """Weights of the loss; see ``losses.kind.KinDWeights``."""

    reconstruction: float = Field(default=1.0, ge=0)
    reflectance: float = Field(default=0.01, ge=0)
    consistency: float = Field(default=0.2, ge=0)
    smoothness: float = Field(default=0.15, ge=0)
    restoration: float = Field(default=1.0, ge=0)
    adjustment: float = Field(default=1.0, ge=0)
    max_rgb: float = Field(default=0.0, ge=0, description="illumination near the largest channel")
    relative: bool = Field(
        default=False, description="reconstruction and max_rgb as shares of each image's mean"
    )
    smooth_after: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="share of the decomposition's steps without consistency and smoothness, which "
        "then grow to their weights over as many again",
    )

    def at(self, share: float) -> KinDWeights:
        """Give the weights after a share of the decomposition's steps, 0-1."""
        values = self.model_dump(exclude={"smooth_after"})
        if self.smooth_after > 0:
            grown = min(1.0, max(0.0, share / self.smooth_after - 1))
            values["consistency"] *= grown
            values["smoothness"] *= grown
        return KinDWeights(**values)


class EnhanceRecipe(_Section):
    """How one enhancer is trained: every number that matters, and no code."""

    name: str = "enhancer"
    seed: int = Field(default=0, ge=0)
    checkpoint_every: int = Field(default=100, ge=1)
    guard: bool = Field(default=False, description="post-process unless told otherwise")
    network: NetworkSection = NetworkSection()
    pairs: PairSection = PairSection()
    stages: dict[StageName, StageSection]
    loss: WeightSection = WeightSection()

    @model_validator(mode="after")
    def _complete(self) -> "EnhanceRecipe":
        wanted = STAGES[self.network.mode]
        if set(self.stages) != set(wanted):
            raise ValueError(f"mode {self.network.mode!r} has the stages {', '.join(wanted)}")
        return self


def parse_enhance_recipe(value: object, *, source: str) -> EnhanceRecipe:
    """Check a recipe's content; errors as ``recipe_file.parse_as``."""
    return parse_as(EnhanceRecipe, value, source=source)


def load_enhance_recipe(path: Path) -> EnhanceRecipe:
    """Read a recipe of an enhancer; errors as ``recipe_file.load_as``."""
    return load_as(EnhanceRecipe, path)
