"""The combinations that ``headframe tune`` looks through: recipe keys and their values."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from headframe.core.errors import HeadframeError, MissingFileError, RecipeError
from headframe.engine.recipe import Recipe, parse_recipe
from headframe.losses.build import build_loss
from headframe.models.registry import build_network

PAPER_SPACE: dict[str, list[Any]] = {
    "train.lr": [1e-4, 3e-4, 6e-4],
    "train.batch": [4, 8, 16],
    "train.epochs": [100, 150, 200],
    "train.crop_px": [128, 256, 512],
    "train.optimizer": ["sgd", "adam", "adamw"],
    "model.options.encoder": ["resnet50", "vgg16", "efficientnet-b0"],
    "model.architecture": ["linknet", "unetplusplus", "deeplabv3plus", "fpn", "unet"],
    "loss.name": ["jaccard", "tversky", "focal", "ce"],
}
"""The grid of the paper on mine components (section 2.4.3), 14,580 combinations.

The paper names no size of efficientnet; b0 is ours.
"""

_FIXED = (
    "name", "output", "paper", "train.seed", "data.dataset", "data.fold", "data.all_sites",
    "data.target", "data.where",
)  # fmt: skip
_RANGE_KEYS = ("low", "high", "log", "step")
_MOST_BUILT = 512
"""Networks are built to see whether they can be; a larger grid of them is tried as it comes."""

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Space:
    """What is searched.

    Attributes:
        source: where it comes from, for messages.
        distributions: Optuna's distribution of each dotted recipe key. Values that are lists or
            mappings stand there as JSON.
        plain: the space as it was given, for the record.
    """

    source: str
    distributions: dict[str, BaseDistribution]
    plain: dict[str, Any]

    @property
    def size(self) -> int | None:
        """Number of combinations; None where one key has a range."""
        choices = [getattr(d, "choices", None) for d in self.distributions.values()]
        return None if None in choices else math.prod(len(c) for c in choices if c is not None)

    def recipe(self, base: Recipe, values: Values) -> Recipe:
        """Put one combination into a recipe.

        Weight decay of 0 in a recipe with adam or sgd is what these have when nothing is said, so
        it follows the optimiser of the combination.

        Raises:
            RecipeError: an unknown key (the closest is named), or a value that cannot be.
        """
        content = base.model_dump(mode="json", exclude_unset=True)
        if "train.optimizer" in values and base.train.weight_decay == 0:
            content.get("train", {}).pop("weight_decay", None)
        for key in sorted(values):
            _put(content, key, self._decoded(key, values[key]), source=self.source)
        return parse_recipe(content, source=self.source)

    def _decoded(self, key: str, value: Any) -> Any:  # noqa: ANN401 - any YAML value
        given = self.plain[key]
        if isinstance(given, list):
            return next(item for item in given if _choice(item) == value)
        return value


def load_space(path: Path | None) -> Space:
    """Read a space from YAML: dotted recipe keys, each with a list of values or a range.

        train.lr: {low: 1.0e-4, high: 1.0e-2, log: true}
        train.batch: [4, 8]
        model.architecture: [unet, fpn]

    Args:
        path: the file; None takes ``PAPER_SPACE``.

    Raises:
        MissingFileError: no such file.
        RecipeError: not YAML, empty, or a key without values.
    """
    if path is None:
        return make_space(PAPER_SPACE, source="the paper's grid")
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise MissingFileError(f"{path}: cannot be read as a space ({exc}).") from exc
    except yaml.YAMLError as exc:
        reason = " ".join(str(exc).split())
        raise RecipeError(f"{path}: not valid YAML ({reason}).") from exc
    return make_space(value, source=str(path))


def make_space(value: object, *, source: str) -> Space:
    """Check the form of a space; whether its keys and values fit a recipe, ``check_space`` says.

    Raises:
        RecipeError: as in ``load_space``.
    """
    if not isinstance(value, dict) or not value:
        raise RecipeError(
            f"{source}: a space maps recipe keys to values, e.g. train.lr: [0.001, 0.01]."
        )
    distributions = {}
    for key, given in value.items():
        where = f"{source}: {key}"
        fixed = next((f for f in _FIXED if f"{key}.".startswith(f"{f}.")), None)
        if fixed is not None or key == "data":
            raise RecipeError(
                f"{where} says what is learnt, not how; results of different values cannot be "
                "compared. Put it into the recipe."
            )
        distributions[str(key)] = _distribution(given, where)
    return Space(source, distributions, {str(k): v for k, v in value.items()})


def check_space(space: Space, base: Recipe) -> "Buildable":
    """Check every value of a space in a recipe, before anything is trained.

    Networks and losses are built without memory (``meta`` device), each with each other where
    there are not too many.

    Returns:
        Which combinations can be built.

    Raises:
        RecipeError: an unknown key, a wrong value, or a choice that cannot be built with any other.
    """
    first = {key: _ends(d)[0] for key, d in space.distributions.items()}
    for key, distribution in space.distributions.items():
        for value in _ends(distribution):
            for others in (first, {}):  # with the rest of the space, and by itself
                space.recipe(base, {**others, key: value})
    return Buildable(space, base)


class Buildable:
    """Which combinations of a space have a network and a loss."""

    def __init__(self, space: Space, base: Recipe) -> None:
        """Build what there is to build; see ``check_space``."""
        self._space = space
        self._base = base
        self._known: dict[str, str | None] = {}
        self.refused: dict[str, str] = {}
        keys = [k for k in space.distributions if k.split(".")[0] in ("model", "loss", "data")]
        self._groups = [
            group
            for section in (("model", "data"), ("loss",))
            if (group := [k for k in keys if k.split(".")[0] in section])
        ]
        self.possible = space.size
        for group in self._groups:
            self._survey(group)

    def __call__(self, values: Values) -> bool:
        """Whether a combination can be built."""
        return all(self._reason({k: values[k] for k in group}) is None for group in self._groups)

    def _survey(self, group: Sequence[str]) -> None:
        choices = [getattr(self._space.distributions[key], "choices", None) for key in group]
        sizes = [len(c) for c in choices if c is not None]
        if len(sizes) < len(group) or math.prod(sizes) > _MOST_BUILT:
            return
        reasons = [
            (values, self._reason(values))
            for values in _product(group, [c for c in choices if c is not None])
        ]
        for key, value in dict.fromkeys((k, v) for values, _ in reasons for k, v in values.items()):
            mine = [reason for values, reason in reasons if values[key] == value]
            if None not in mine:
                raise RecipeError(
                    f"{self._space.source}: {key} {value!r} cannot be used: {mine[0]}"
                )
        bad = {_named(values): reason for values, reason in reasons if reason is not None}
        self.refused |= bad
        if self.possible is not None:
            self.possible = self.possible * (len(reasons) - len(bad)) // len(reasons)

    def _reason(self, values: Values) -> str | None:
        """Say why a network or loss cannot be built, None where it can."""
        name = _named(values)
        if name not in self._known:
            try:
                _build(self._space.recipe(self._base, values))
                self._known[name] = None
            except (HeadframeError, ValueError, NotImplementedError) as exc:
                self._known[name] = " ".join(str(exc).split())
        return self._known[name]


def _build(recipe: Recipe) -> None:
    """Build network and loss, the network without memory."""
    with torch.device("meta"):
        build_network(recipe.model.architecture, recipe.data.bands, 1, recipe.model.options)
    build_loss(recipe.loss.name, **recipe.loss.options)


def _distribution(given: object, where: str) -> BaseDistribution:
    if isinstance(given, list) and given:
        choices = [_choice(item) for item in given]
        if len({repr(choice) for choice in choices}) < len(choices):
            raise RecipeError(f"{where}: a value is there twice ({given}).")
        return CategoricalDistribution(choices)
    if not isinstance(given, dict) or not {"low", "high"} <= set(given):
        raise RecipeError(
            f"{where}: {given!r} is neither a list of values nor a range {{low, high, log}}."
        )
    if unknown := sorted(set(given) - set(_RANGE_KEYS)):
        raise RecipeError(f"{where}: a range has {', '.join(_RANGE_KEYS)}; not {unknown[0]!r}.")
    numbers = {key: _number(given[key], where) for key in ("low", "high", "step") if key in given}
    whole = {key: number for key, number in numbers.items() if isinstance(number, int)}
    log = bool(given.get("log", False))
    try:
        if len(whole) == len(numbers):
            return IntDistribution(**whole, log=log)
        return FloatDistribution(**numbers, log=log)
    except (ValueError, TypeError) as exc:
        raise RecipeError(f"{where}: {exc}") from exc


def _number(value: object, where: str) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    try:
        return float(str(value))  # YAML takes 1e-4 for a word; it wants 1.0e-4
    except ValueError as exc:
        raise RecipeError(f"{where}: {value!r} is no number.") from exc


def _choice(item: object) -> Any:  # noqa: ANN401 - what Optuna takes for a choice
    plain = item is None or isinstance(item, bool | int | float | str)
    return item if plain else json.dumps(item, sort_keys=True)


def _ends(distribution: BaseDistribution) -> tuple[Any, ...]:
    if isinstance(distribution, CategoricalDistribution):
        return tuple(distribution.choices)
    if isinstance(distribution, IntDistribution) and not distribution.log:
        values = range(distribution.low, distribution.high + 1, distribution.step)
        return tuple(values) if len(values) <= _MOST_BUILT else (values[0], values[-1])
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return (distribution.low, distribution.high)


def _put(content: dict[str, Any], key: str, value: object, *, source: str) -> None:
    *parents, leaf = key.split(".")
    place = content
    for parent in parents:
        inner = place.setdefault(parent, {})
        if inner is None:
            inner = place[parent] = {}
        if not isinstance(inner, dict):
            raise RecipeError(f"{source}: {key!r}: {parent!r} is a value, not a section.")
        place = inner
    place[leaf] = value


def _product(keys: Sequence[str], choices: Sequence[Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*choices):
        yield dict(zip(keys, values, strict=True))


def _named(values: Values) -> str:
    return ", ".join(f"{key} {value!r}" for key, value in values.items())
