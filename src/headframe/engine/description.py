"""Descriptions beside weights: JSON files that are checked before anything is built from them."""

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from headframe.core.errors import BundleError, MissingFileError

Model = TypeVar("Model", bound=BaseModel)


def shipped(description: str) -> tuple[str, ...]:
    """Names of the folders inside the package that hold a description of this file name."""
    root = resources.files("headframe") / "bundles"
    if not root.is_dir():
        return ()
    return tuple(sorted(e.name for e in root.iterdir() if e.joinpath(description).is_file()))


def read_description(model: type[Model], path: Path, *, what: str) -> Model:
    """Read and check a description.

    Args:
        model: its fields.
        path: the JSON file.
        what: what its folder would be, for messages: ``enhancer``.

    Raises:
        MissingFileError: no such file.
        BundleError: no JSON, an unknown field, or a wrong value.
    """
    if not path.is_file():
        raise MissingFileError(f"{path.parent}: no {path.name} in it, so it is no {what}.")
    try:
        return model.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path}: {where}: {first['msg']}.") from exc
    except (ValueError, OSError) as exc:
        raise BundleError(f"{path}: not a valid description ({exc}).") from exc


def fill_network(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put stored tensors, whatever their precision, into the network of a description.

    Args:
        network: takes them in its own precision.
        tensors: all of its state by name.
        path: where they come from, for messages.

    Raises:
        BundleError: names or shapes that are not the network's.
    """
    own = network.state_dict()
    state = {k: v.to(own[k].dtype) if k in own else v for k, v in tensors.items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as exc:
        reason = str(exc).splitlines()[-1].strip()
        raise BundleError(f"{path}: does not fit its description ({reason}).") from exc
