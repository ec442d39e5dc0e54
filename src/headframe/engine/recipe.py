"""Recipes: one YAML file that says how a model is trained."""

import math
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from headframe.core.bandsets import resolve_bands
from headframe.datasets.labels import Target
from headframe.engine.recipe_file import load_as, parse_as, save_as

Normalize = Literal["standard", "minmax"]
FactValue = str | int | float | bool
"""A value of a fact about a site, as dataset.json holds it."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(_Section):
    """The network and where its weights start."""

    architecture: str = "unet"
    options: dict[str, Any] = Field(default_factory=dict)
    init: str = Field(
        default="imagenet",
        description="imagenet, none, a model bundle to go on from, or a file of encoder weights; "
        "of a SAM litemedsam, a checkpoint of its authors, or hf://owner/name/file",
    )


class FoldSection(_Section):
    """Which part of the sites is held out, of how many."""

    index: int = Field(default=0, ge=0)
    of: int = Field(default=5, ge=2)
    seed: int = 42


class PromptSection(_Section):
    """How the objects of chips are prompted, for the architectures ``sam-prompt-…``.

    Kinds are weights of a draw. Ranges are (from, to), drawn evenly, context in its logarithm.
    """

    box: float = Field(default=1.0, ge=0, description="the object's box, jittered, or a coarse one")
    mask: float = Field(default=1.0, ge=0, description="its coarse outline, filled")
    points: float = Field(default=1.0, ge=0, description="a few points inside, and outside")
    box_mask: float = Field(default=5.0, ge=0, description="coarse outline and the box around it")
    min_area_px: int = Field(default=30, ge=1, description="smaller objects are left out")
    context: tuple[float, float] = Field(
        default=(1.3, 4.0), description="side of the crop over the longer side of the box"
    )
    simplify_m: tuple[float, float] = (0.0, 60.0)
    buffer_m: tuple[float, float] = (0.0, 100.0)
    shift_m: tuple[float, float] = (0.0, 50.0)

    @model_validator(mode="after")
    def _drawable(self) -> "PromptSection":
        if not self.box + self.mask + self.points + self.box_mask > 0:
            raise ValueError("one of box, mask, points and box_mask must be above 0")
        lengths = (self.simplify_m, self.shift_m)
        for low, high in (self.context, self.buffer_m, *lengths):
            if not low <= high:
                raise ValueError(f"a range is (from, to); {low:g} is above {high:g}")
        if self.context[0] <= 1 or any(low < 0 for low, _ in lengths):
            raise ValueError("context is above 1, simplify_m and shift_m are 0 and more")
        return self


class DataSection(_Section):
    """The data set and what is read of it."""

    dataset: str = Field(default="", description="folder of the data set; may come from --dataset")
    sensor: str | None = Field(
        default=None,
        description="of a folder without dataset.json, e.g. sentinel-1-grd of Sen1Floods11",
    )
    class_name: str | None = Field(
        default=None,
        min_length=1,
        description="what 1 means in the masks of such a folder, e.g. water; mining if not said",
    )
    bands: tuple[str, ...] = Field(
        default=("red", "green", "blue"),
        min_length=1,
        description="common names, or a band set: rgb, r+n, r+n+s, m, m+s",
    )
    target: Target = Field(
        default="binary", description="binary, full, or a class set: components-1 to components-4"
    )
    fold: FoldSection | None = None
    same_ground: Literal["outlines", "looks"] = Field(
        default="outlines",
        description="what puts chips into one fold: names and outlines, or, of chips without "
        "coordinates, their looks too",
    )
    all_sites: bool = Field(default=False, description="train on every split, hold out nothing")
    where: dict[str, FactValue | tuple[FactValue, ...]] = Field(
        default_factory=dict, description="facts of the sites used, e.g. {material: RR}"
    )
    test_where: dict[str, FactValue | tuple[FactValue, ...]] = Field(
        default_factory=dict,
        description="as where, for the test part alone: a general model on one kind of site",
    )
    labels: Literal["fine", "coarse", "both"] = Field(
        default="fine",
        description="what is learnt from: the data set's own labels, those of coarse, or both",
    )
    coarse: str = Field(
        default="",
        description="data set with coarse labels of the same sites; may come from --coarse",
    )
    label_share: float = Field(
        default=1.0, gt=0, le=1, description="share of the training sites with fine labels"
    )
    label_seed: int = Field(default=0, description="which sites these are; shares are nested")
    replay: int = Field(
        default=0,
        ge=0,
        description="chips with coarse labels that are learnt from beside the fine ones, at most",
    )
    uncertain_px: int = Field(
        default=0, ge=0, description="labels this close to a class boundary are ignored"
    )
    normalize: Normalize = Field(
        default="standard",
        description="standard: mean 0, deviation 1; minmax: 0 to the data set's maximum as 0 to 1",
    )
    prompts: PromptSection | None = Field(
        default=None, description="train on prompted objects rather than on whole chips"
    )

    @model_validator(mode="after")
    def _replays(self) -> Self:
        if self.replay and self.labels != "fine":
            raise ValueError(f"replay goes with labels: fine; labels is {self.labels}")
        return self

    @field_validator("bands", mode="before")
    @classmethod
    def _resolved(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
        texts = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
        try:
            return resolve_bands(value) if value and (texts or isinstance(value, str)) else value
        except LookupError as exc:  # LookupError is no ValueError: pydantic would let it through
            raise ValueError(str(exc)) from exc


class OptimiserSection(_Section):
    """Optimisation of any network."""

    steps: int = Field(default=400, ge=1)
    batch: int = Field(default=8, ge=1)
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    schedule: Literal["one-cycle", "cosine", "poly", "constant"] = "one-cycle"
    lr: float = Field(default=1e-3, gt=0)
    lr_min: float = Field(default=0.0, ge=0, description="where a cosine schedule ends")
    encoder_lr_factor: float = Field(default=1.0, gt=0)
    weight_decay: float = Field(
        default=1e-2, ge=0, description="where not given, 0 for adam and sgd, as torch has it"
    )
    warmup: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="share of the steps that a one-cycle or poly schedule rises",
    )
    clip_norm: float = Field(default=5.0, gt=0)
    seed: int = 0
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    checkpoint_every: int = Field(default=50, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _own_decay(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
        """Leave out weight decay where it would be an L2 term that nobody asked for."""
        if isinstance(value, dict) and value.get("optimizer") in ("adam", "sgd"):
            return {"weight_decay": 0.0, **value}
        return value

    @model_validator(mode="after")
    def _floor_fits(self) -> Self:
        if self.lr_min > 0 and (self.schedule != "cosine" or self.lr_min > self.lr):
            raise ValueError(
                f"lr_min {self.lr_min:g} needs schedule cosine and an lr of at least as much, "
                f"not {self.schedule} with lr {self.lr:g}"
            )
        return self


class TrainSection(OptimiserSection):
    """Optimisation of a segmenter on crops of chips."""

    epochs: int | None = Field(
        default=None, ge=1, description="times through the chips; decides steps where given"
    )
    crop_px: int = Field(default=256, ge=32, multiple_of=32)
    ema: float = Field(default=0.0, ge=0, lt=1)
    embed_epochs: int = Field(
        default=0,
        ge=0,
        description="with a frozen encoder: crops of so many epochs are embedded once and reused; "
        "0: every crop is drawn and embedded anew",
    )
    workers: int = Field(default=0, ge=0)
    validate_every: int = Field(default=0, ge=0, description="0: only at the end")
    patience: int = Field(default=0, ge=0, description="validations without a better IoU; 0: never")

    def steps_for(self, chips: int, *, world: int = 1) -> int:
        """Steps of a run over ``chips`` chips on ``world`` processes: from epochs where given."""
        if self.epochs is None:
            return self.steps
        return self.epochs * math.ceil(chips / (self.batch * world))


class LossSection(_Section):
    """The loss, by its name in ``losses.build``."""

    name: str = "bce_dice"
    options: dict[str, Any] = Field(default_factory=dict)
    balance: Literal["none", "sqrt-inverse-frequency"] = Field(
        default="none", description="class_weights measured on the training labels"
    )

    @model_validator(mode="after")
    def _weighed_once(self) -> "LossSection":
        if self.balance != "none" and "class_weights" in self.options:
            raise ValueError("balance measures class_weights; give one of the two")
        return self


class DistillSection(_Section):
    """What a student keeps of the model it starts from (``model.init``): MineC2FNet.

    The first six are weights beside the loss; 0 leaves a term out. ``predictions`` without
    attention and gate is learning without forgetting; ``pooled``, ``relations`` and ``ewc`` are
    the terms of other methods.
    """

    features: float = Field(default=1.0, ge=0)
    predictions: float = Field(default=1.0, ge=0)
    boundary: float = Field(default=0.5, ge=0)
    pooled: float = Field(default=0.0, ge=0, description="PLOP's features pooled along rows")
    relations: float = Field(default=0.0, ge=0, description="CIRKD's resemblance of cells")
    ewc: float = Field(
        default=0.0, ge=0, description="weights that mattered for data.coarse stay near"
    )
    ewc_crops: int = Field(default=64, ge=1, description="crops that what mattered is measured on")
    attention: bool = Field(default=True, description="weigh by the teacher's attention, certainty")
    gate: float = Field(default=1.0, ge=0, le=1, description="1: nothing is kept near outlines")
    width_px: int = Field(default=4, ge=1, description="half-width of the band along outlines")
    feature_tau: float = Field(default=1.0, gt=0)
    feature_scale: Literal["deviation", "raw"] = Field(
        default="deviation", description="what feature_tau is counted in; raw: squares of features"
    )
    tau: float = Field(default=2.0, gt=0)
    disagreement: float = Field(
        default=0.1, ge=0, le=1, description="weight where the teacher contradicts the label"
    )
    transfer: float = Field(default=1.0, ge=0, description="weight of the attention maps")
    domains: bool = Field(
        default=False,
        description="MDIL: norms and residuals of the new domain are its own, and predictions are "
        "those of the old domain's path",
    )


class AdaptSection(_Section):
    """What the images of the fine labels teach besides: domain adaptation.

    ``data.labels`` is then coarse; the fine sites are the other domain. ADVENT is ``adversarial``,
    FDA ``looks`` and ``entropy``.
    """

    adversarial: float = Field(default=0.0, ge=0, description="weight; ADVENT's is 0.001")
    entropy: float = Field(default=0.0, ge=0, description="weight; FDA's is 0.005")
    power: float = Field(default=2.0, gt=0, description="eta of the entropy's penalty")
    looks: float | None = Field(
        default=None, ge=0, le=0.5, description="share of the frequencies taken over; FDA's is 0.01"
    )
    fine_labels: bool = Field(
        default=True, description="learn from the fine labels too; else from their images alone"
    )
    discriminator_lr: float = Field(default=1e-4, gt=0)
    width: int = Field(default=64, ge=1, description="of the discriminator's first convolution")

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not (self.adversarial or self.entropy or self.looks is not None or self.fine_labels):
            raise ValueError("one of adversarial, entropy, looks and fine_labels must be given")
        return self


class AugmentSection(_Section):
    """Random changes of a training crop, all functions of seed, epoch and index."""

    dihedral: bool = Field(default=True, description="one of the eight views of a square, evenly")
    hflip: float = Field(default=0.0, ge=0, le=1, description="probability of a mirrored row")
    vflip: float = Field(default=0.0, ge=0, le=1, description="probability of a mirrored column")
    rotate90: float = Field(
        default=0.0, ge=0, le=1, description="probability of one, two or three quarter turns"
    )
    rotate: float = Field(
        default=0.0, ge=0, le=1, description="probability of a turn by -90 to 90 degrees"
    )
    channel_shuffle: float = Field(
        default=0.0, ge=0, le=1, description="probability of permuted bands; breaks spectra"
    )
    grid_shuffle: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="probability that the cells of a grid of 2 x 2 or 4 x 4 change places: the "
        "surroundings say less, a place is not known by its outlines",
    )
    scale: float = Field(default=1.0, ge=1, le=4, description="zoom between 1/scale and scale")
    gain: float = Field(default=0.0, ge=0, description="sigma of the log gain of all bands")
    band_gain: float = Field(default=0.0, ge=0, description="sigma of the log gain of each band")
    offset: float = Field(default=0.0, ge=0, description="sigma of an offset, standard deviations")
    haze: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="most reflectance that haze adds at 490 nm, drawn evenly from 0 on; elsewhere "
        "by the fourth power of the wavelength, as between L1C and L2A",
    )
    noise: float = Field(default=0.0, ge=0, description="sigma of pixel noise, std units")
    calm: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the crops that keep their size and colours: scale, gain, band_gain, "
        "offset, haze and noise change the others alone",
    )


class OutputSection(_Section):
    """What the bundle says of itself."""

    name: str = "model"
    threshold: float = Field(default=0.5, ge=0, le=1)
    test_flips: Literal[1, 2, 4, 8] = 1
    test_zoom: float = Field(default=1.0, ge=0.25, le=4)
    patch_px: int = Field(default=512, ge=32, multiple_of=32, description="side of map tiles")
    license: str = "unspecified"
    attribution: str = Field(default="", description="who must be named for the training data")
    limits: str = Field(default="", description="what the model is not good at, for its card")


class PaperSection(_Section):
    """What a paper reports for the row that the recipe stands for; shown beside our figures."""

    table: str = Field(description="the paper and its table, e.g. 'components, Table 3'")
    row: str = Field(description="the row and column, e.g. 'Model 1, RGB'")
    iou: float | None = Field(default=None, ge=0, le=1)
    f1: float | None = Field(default=None, ge=0, le=1)
    precision: float | None = Field(default=None, ge=0, le=1)
    recall: float | None = Field(default=None, ge=0, le=1)
    accuracy: float | None = Field(default=None, ge=0, le=1)


class Recipe(_Section):
    """How one model is trained: every number that matters, and no code."""

    name: str = "recipe"
    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    train: TrainSection = TrainSection()
    loss: LossSection = LossSection()
    augment: AugmentSection = AugmentSection()
    distill: DistillSection | None = None
    adapt: AdaptSection | None = None
    output: OutputSection = OutputSection()
    paper: PaperSection | None = None

    def with_data(self, **changes: Any) -> "Recipe":  # noqa: ANN401 - values of DataSection
        """Copy with fields of ``data`` changed."""
        return self.model_copy(update={"data": self.data.model_copy(update=changes)})

    def with_train(self, **changes: Any) -> "Recipe":  # noqa: ANN401 - values of TrainSection
        """Copy with fields of ``train`` changed.

        Raises:
            RecipeError: a value that the field cannot have.
        """
        parse_recipe({"train": changes}, source=f"recipe {self.name}")
        return self.model_copy(update={"train": self.train.model_copy(update=changes)})


def parse_recipe(value: object, *, source: str) -> Recipe:
    """Check a recipe's content; arguments and errors as ``recipe_file.parse_as``."""
    return parse_as(Recipe, value, source=source)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe file; errors as ``recipe_file.load_as``."""
    return load_as(Recipe, path)


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write the resolved recipe, every default spelt out."""
    save_as(recipe, path)
