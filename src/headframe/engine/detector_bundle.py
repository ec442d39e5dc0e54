"""Detectors on disk: a folder with ``detector.json`` and weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from headframe.core.errors import BundleError, RecipeError, UnknownNameError
from headframe.engine.description import fill_network, read_description
from headframe.engine.detectors import build_detector
from headframe.engine.weights import load_tensors, save_tensors
from headframe.io.files import write_json
from headframe.models.detector import Detector

DESCRIPTION = "detector.json"
WEIGHTS = "model.safetensors"
_FORMAT = 1


@dataclass(frozen=True)
class DetectorBundle:
    """A detector and how it is used.

    Attributes:
        name: what it is called.
        architecture: of the network, as a recipe names it.
        options: of the network, as a recipe has them.
        categories: names of the classes 1, 2, ….
        prepare: what the network sees of a photograph (``detector_data.build_prepare``).
        network: on the CPU.
        metrics: figures by name.
        training: data, recipe, steps; plain values.
    """

    name: str
    architecture: str
    options: Mapping[str, Any]
    categories: tuple[str, ...]
    prepare: str
    network: nn.Module
    metrics: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def detector(self) -> Detector:
        """The network behind its two calls."""
        if not isinstance(self.network, Detector):
            raise BundleError(f"{self.name}: {type(self.network).__name__} is no detector.")
        return self.network


class _Description(BaseModel):
    """``detector.json`` as it is trusted."""

    model_config = ConfigDict(extra="forbid")
    format: Literal[1]
    name: str
    architecture: str
    options: dict[str, Any]
    categories: tuple[str, ...] = Field(min_length=1)
    prepare: str
    metrics: dict[str, Any]
    training: dict[str, Any]


def save_detector(bundle: DetectorBundle, folder: Path, *, half: bool = True) -> None:
    """Write a bundle, the description last; weights as fp16 with ``half``."""
    save_tensors(folder / WEIGHTS, dict(bundle.network.state_dict()), half=half)
    write_json(
        folder / DESCRIPTION,
        {
            "format": _FORMAT,
            "name": bundle.name,
            "architecture": bundle.architecture,
            "options": dict(bundle.options),
            "categories": list(bundle.categories),
            "prepare": bundle.prepare,
            "metrics": bundle.metrics,
            "training": bundle.training,
        },
    )


def read_detector(folder: Path) -> DetectorBundle:
    """Read a bundle, or the one of a run.

    Raises:
        MissingFileError: no description or no weights.
        BundleError: either is damaged, or they do not fit each other.
    """
    inner = folder / "bundle"
    folder = inner if (inner / DESCRIPTION).is_file() else folder
    path = folder / DESCRIPTION
    told = read_description(_Description, path, what="detector")
    try:
        network = build_detector(told.architecture, told.options, classes=len(told.categories))
    except (RecipeError, UnknownNameError) as exc:
        raise BundleError(f"{path}: {exc}") from exc
    fill_network(network, load_tensors(folder / WEIGHTS), folder / WEIGHTS)
    network.eval()
    return DetectorBundle(
        name=told.name,
        architecture=told.architecture,
        options=told.options,
        categories=told.categories,
        prepare=told.prepare,
        network=network,
        metrics=told.metrics,
        training=told.training,
    )


def on_device(bundle: DetectorBundle, device: str) -> DetectorBundle:
    """Move a bundle's network, in place; ``auto`` is the GPU where there is one."""
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    bundle.network.to(name)
    return bundle
