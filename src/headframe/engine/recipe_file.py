"""Recipes as YAML files: read and checked against their model, written with every default."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from headframe.core.errors import MissingFileError, RecipeError
from headframe.io.files import write_text

Model = TypeVar("Model", bound=BaseModel)


def parse_as(model: type[Model], value: object, *, source: str) -> Model:
    """Check a recipe's content.

    Args:
        model: what kind of recipe.
        value: what the YAML file holds.
        source: its name, for messages.

    Raises:
        RecipeError: an unknown key (the closest known one is named) or a wrong value.
    """
    if not isinstance(value, dict):
        sections = ", ".join(list(model.model_fields)[:4])
        raise RecipeError(f"{source}: a recipe is a mapping of sections ({sections}, …).")
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        found = exc.errors()
        # a mistyped key leaves another one missing; it is the mistake
        first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
        where = [str(part) for part in first["loc"]]
        name = ".".join(where) or "recipe"
        if first["type"] == "extra_forbidden":
            raise RecipeError(f"{source}: unknown key {name!r}{_hint(model, where)}.") from exc
        given = first.get("input")
        told = "" if isinstance(given, dict) else f" (is {given!r})"
        raise RecipeError(f"{source}: {name}: {first['msg']}{told}.") from exc


def load_as(model: type[Model], path: Path) -> Model:
    """Read a recipe file; one without a ``name`` gets the file's.

    Raises:
        MissingFileError: no such file.
        RecipeError: not YAML, an unknown key, or a wrong value.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise MissingFileError(f"{path}: cannot be read as a recipe ({exc}).") from exc
    try:
        value: Any = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise RecipeError(f"{path}: not valid YAML ({' '.join(str(exc).split())}).") from exc
    if isinstance(value, dict):
        value = {"name": path.stem, **value}
    return parse_as(model, value, source=str(path))


def save_as(recipe: BaseModel, path: Path) -> None:
    """Write the resolved recipe, every default spelt out."""
    write_text(path, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))


def _hint(model: type[BaseModel], where: list[str]) -> str:
    fields = model.model_fields
    steps = iter(where[:-1])
    for part in steps:
        kind = fields[part].annotation
        nested = next((k for k in (kind, *get_args(kind)) if _is_section(k)), None)
        if nested is None:
            return ""
        if get_origin(kind) is dict:
            next(steps, None)  # the key of the section within the mapping
        fields = nested.model_fields
    close = get_close_matches(where[-1], list(fields), n=1, cutoff=0.0)
    return f"; the closest is {close[0]!r}" if close else ""


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
