"""SAMs told boxes and classes, on disk: a folder with ``boxsam.json`` and what was trained.

The base is not in it: it is named, and known by its hash.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from headframe.core.errors import BundleError, RecipeError, UnknownNameError
from headframe.engine.bases import base_state, find_base
from headframe.engine.description import read_description
from headframe.engine.weights import load_tensors, save_tensors
from headframe.io.files import write_json
from headframe.models.sam.classprompt import ClassPromptedSam, build_class_prompted_sam
from headframe.models.trainable import load_trained, trained_state

DESCRIPTION = "boxsam.json"
WEIGHTS = "model.safetensors"
RANDOM = "tiny"
"""A base without published weights, for tests: all of its tensors are in the bundle."""
_FORMAT = 1


@dataclass(frozen=True)
class BoxSamBundle:
    """A SAM and how it is used.

    Attributes:
        name: what it is called.
        base: as ``bases.find_base`` takes it, or ``tiny``.
        sha256: of the base's file; empty for ``tiny``.
        peft: what was trained beside the table (``models.sam.peft.METHODS``).
        rank: of LoRA.
        categories: names of the classes 1, 2, ….
        network: on the CPU.
        metrics: figures by name.
        training: data, recipe, steps; plain values.
    """

    name: str
    base: str
    sha256: str
    peft: str
    rank: int
    categories: tuple[str, ...]
    network: ClassPromptedSam
    metrics: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


class _Description(BaseModel):
    """``boxsam.json`` as it is trusted."""

    model_config = ConfigDict(extra="forbid")
    format: Literal[1]
    name: str
    base: str
    sha256: str
    peft: str
    rank: int = Field(ge=1, le=256)
    categories: tuple[str, ...] = Field(min_length=1)
    metrics: dict[str, Any]
    training: dict[str, Any]


def build_box_sam(
    classes: int, *, base: str, peft: str = "decoder", rank: int = 4
) -> tuple[ClassPromptedSam, str]:
    """Build a SAM on a published base.

    Args:
        classes: highest number of a class.
        base: as ``bases.find_base`` takes it, or ``tiny`` for one of random weights.
        peft: what is trained beside the table.
        rank: of LoRA.

    Returns:
        The network, on the CPU, and the SHA-256 of the base's file; empty for ``tiny``.

    Raises:
        RecipeError, UnknownNameError: no such method, or it cannot be applied.
        MissingFileError, MissingExtraError, FormatError, BundleError: no such base, or a damaged
            one.
    """
    if base == RANDOM:
        return build_class_prompted_sam(classes, base=base, peft=peft, rank=rank), ""
    found = find_base(base)
    network = build_class_prompted_sam(
        classes, base=found.architecture, peft=peft, rank=rank, state=base_state(found)
    )
    return network, found.sha256


def save_box_sam(bundle: BoxSamBundle, folder: Path, *, half: bool = True) -> None:
    """Write a bundle, the description last; what was trained as fp16 with ``half``."""
    network = bundle.network
    kept = network.state_dict() if bundle.base == RANDOM else trained_state(network)
    save_tensors(folder / WEIGHTS, dict(kept), half=half)
    write_json(
        folder / DESCRIPTION,
        {
            "format": _FORMAT,
            "name": bundle.name,
            "base": bundle.base,
            "sha256": bundle.sha256,
            "peft": bundle.peft,
            "rank": bundle.rank,
            "categories": list(bundle.categories),
            "metrics": bundle.metrics,
            "training": bundle.training,
        },
    )


def read_box_sam(folder: Path) -> BoxSamBundle:
    """Read a bundle, or the one of a run, on top of its base.

    Raises:
        MissingFileError: no description or no weights, or the base is not there.
        MissingExtraError: the base comes with a package that is not installed.
        BundleError: it is damaged, its parts do not fit, or the base is another than it was
            trained on.
    """
    inner = folder / "bundle"
    folder = inner if (inner / DESCRIPTION).is_file() else folder
    path = folder / DESCRIPTION
    told = read_description(_Description, path, what="SAM told boxes and classes")
    try:
        network, sha256 = build_box_sam(
            len(told.categories), base=told.base, peft=told.peft, rank=told.rank
        )
    except (RecipeError, UnknownNameError) as exc:
        raise BundleError(f"{path}: {exc}") from exc
    if sha256 != told.sha256:
        raise BundleError(
            f"{path}: was trained on a {told.base} of SHA-256 {told.sha256[:12]}…, here is one of "
            f"{sha256[:12]}…. Install or copy the base it was trained on."
        )
    _fill(network, folder / WEIGHTS, whole=told.base == RANDOM)
    network.eval().requires_grad_(False)
    return BoxSamBundle(
        name=told.name,
        base=told.base,
        sha256=told.sha256,
        peft=told.peft,
        rank=told.rank,
        categories=told.categories,
        network=network,
        metrics=told.metrics,
        training=told.training,
    )


def _fill(network: ClassPromptedSam, path: Path, *, whole: bool) -> None:
    own = network.state_dict()
    state = {
        key: value.to(own[key].dtype) if key in own else value
        for key, value in load_tensors(path).items()
    }
    try:
        if whole:
            network.load_state_dict(state)
        else:
            load_trained(network, state)
    except RuntimeError as exc:
        reason = str(exc).splitlines()[-1].strip()
        raise BundleError(f"{path}: does not fit its description ({reason}).") from exc
