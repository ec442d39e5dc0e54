"""Enhancers on disk: a folder with ``enhancer.json`` and weights, or the authors' own file."""

from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from headframe.core.errors import BundleError, InputError, MissingFileError, UnknownNameError
from headframe.engine.description import fill_network, read_description, shipped
from headframe.engine.enhancing import (
    BASELINES,
    EnhanceOptions,
    Enhancer,
    IatEnhancer,
    NetworkEnhancer,
    with_ratio,
)
from headframe.engine.weights import load_checkpoint, load_tensors, save_tensors
from headframe.io.files import write_json
from headframe.models.iat import Iat, is_iat
from headframe.models.kind import KinDEnhancer, KinDOptions, load_authors
from headframe.models.kind.checkpoint import is_authors

DESCRIPTION = "enhancer.json"
WEIGHTS = "model.safetensors"
_FORMAT = 1


@dataclass(frozen=True)
class EnhancerBundle:
    """A trained enhancer.

    Attributes:
        name: what it is called.
        network: on the CPU.
        options: how it is used unless told otherwise.
        metrics: figures by name.
        training: data, recipe, steps; plain values.
    """

    name: str
    network: KinDEnhancer
    options: EnhanceOptions
    metrics: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


class _Network(BaseModel):
    model_config = ConfigDict(extra="forbid")
    mode: Literal["kind", "dismine"]
    width: int = Field(ge=1, le=256)
    restoration_width: int = Field(ge=0, le=256)
    leaky_head: bool


class _Use(BaseModel):
    model_config = ConfigDict(extra="forbid")
    ratio: float | None = Field(gt=0)
    target_light: float = Field(gt=0, le=1)
    stretch: bool
    guard: bool
    core_px: int = Field(ge=16, le=8192, multiple_of=16)


class _Description(BaseModel):
    """``enhancer.json`` as it is trusted."""

    model_config = ConfigDict(extra="forbid")
    format: Literal[1]
    name: str
    network: _Network
    use: _Use
    metrics: dict[str, Any]
    training: dict[str, Any]


def save_enhancer(bundle: EnhancerBundle, folder: Path, *, half: bool = True) -> None:
    """Write a bundle, the description last; weights as fp16 with ``half``."""
    save_tensors(folder / WEIGHTS, dict(bundle.network.state_dict()), half=half)
    write_json(
        folder / DESCRIPTION,
        {
            "format": _FORMAT,
            "name": bundle.name,
            "network": asdict(bundle.network.options),
            "use": asdict(bundle.options),
            "metrics": bundle.metrics,
            "training": bundle.training,
        },
    )


def read_enhancer(folder: Path) -> EnhancerBundle:
    """Read a bundle.

    Raises:
        MissingFileError: no description or no weights.
        BundleError: either is damaged, or they do not fit each other.
    """
    path = folder / DESCRIPTION
    told = read_description(_Description, path, what="enhancer")
    network = KinDEnhancer(KinDOptions(**told.network.model_dump()))
    fill_network(network, load_tensors(folder / WEIGHTS), folder / WEIGHTS)
    use = EnhanceOptions(**told.use.model_dump())
    return EnhancerBundle(told.name, network, use, told.metrics, told.training)


def shipped_enhancers() -> tuple[str, ...]:
    """Names of the enhancers inside the package."""
    return shipped(DESCRIPTION)


def find_enhancer(source: str) -> EnhancerBundle:
    """Read a trained enhancer by its shipped name, its folder or that of its run.

    Raises:
        UnknownNameError: no enhancer of this name.
        MissingFileError: no such folder.
        BundleError: it is damaged.
    """
    return read_enhancer(_find(source))


def is_enhancer(source: str) -> bool:
    """Whether ``source`` is a shipped enhancer's name, an enhancer's folder or that of its run."""
    inside = (Path(source) / name / DESCRIPTION for name in ("", "bundle"))
    return source in shipped_enhancers() or any(path.is_file() for path in inside)


def describe_enhancer(source: str) -> dict[str, Any]:
    """Tell of a trained enhancer; plain values. Errors as ``find_enhancer``."""
    folder = _find(source)
    bundle = read_enhancer(folder)
    parts = {
        f"{name}_parameters": sum(p.numel() for p in part.parameters())
        for name, part in bundle.network.named_children()
    }
    return {
        "name": bundle.name,
        **asdict(bundle.network.options),
        **parts,
        **asdict(bundle.options),
        "megabytes": round((folder / WEIGHTS).stat().st_size / 1e6, 1),
        "metrics": bundle.metrics,
        "training": bundle.training,
    }


def load_enhancer(
    source: str,
    *,
    ratio: str | None = None,
    guard: bool | None = None,
    device: str = "auto",
    fast: bool = False,
) -> Enhancer:
    """Load an enhancer, ready to work.

    Args:
        source: ``clahe``, ``gamma``, a shipped name, a bundle's or run's folder, a
            ``.safetensors`` file of the KinD authors' tensors (then without a restoration net), or
            a ``.pth`` file of IAT's authors, which takes neither ratio nor guard.
        ratio: a number or ``auto``; None: as the bundle says, the authors' 5 for their file.
        guard: post-processing; None: as the bundle says.
        device: where a network runs: ``auto``, ``cpu``, ``cuda`` or as torch names it.
        fast: KinD in bfloat16 where that is faster, see ``NetworkEnhancer``.

    Raises:
        UnknownNameError: no enhancer of this name.
        MissingFileError: no such folder or file.
        BundleError: it is damaged.
        FormatError: a file of other tensors.
        InputError: there is no such device.
    """
    if source in BASELINES:
        return BASELINES[source]
    path = Path(source)
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        if path.suffix in (".pth", ".pt"):
            return IatEnhancer(_iat(path), name=path.stem, device=name)
        bundle = _authors(path) if path.suffix == ".safetensors" else read_enhancer(_find(source))
        options = with_ratio(bundle.options, ratio)
        if guard is not None:
            options = EnhanceOptions(**{**asdict(options), "guard": guard})
        return NetworkEnhancer(bundle.network, options, name=bundle.name, device=name, fast=fast)
    except (RuntimeError, AssertionError) as exc:  # torch asserts that CUDA is compiled in
        reason = (str(exc).splitlines() or ["unknown"])[0]
        raise InputError(f"--device {device}: cannot be used ({reason}).") from exc


def _authors(path: Path) -> EnhancerBundle:
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file of weights.")
    state = load_tensors(path)
    if not is_authors(state):
        raise BundleError(
            f"{path}: not the KinD authors' tensors. Give the folder of an enhancer instead."
        )
    network = KinDEnhancer(KinDOptions(restoration_width=0))
    load_authors(network, state, source=str(path))
    return EnhancerBundle("kind-official", network, EnhanceOptions())


def _iat(path: Path) -> Iat:
    state = load_checkpoint(path)
    state = state.get("state_dict", state)
    if not is_iat(state):
        raise BundleError(
            f"{path}: not the tensors of IAT's authors (local_net…, global_net…). Give the folder "
            "of an enhancer instead."
        )
    network = Iat()
    try:
        network.load_state_dict(state)
    except RuntimeError as exc:
        reason = str(exc).splitlines()[-1].strip()
        raise BundleError(f"{path}: these are not all of IAT's tensors ({reason}).") from exc
    return network


def _find(source: str) -> Path:
    path = Path(source)
    if path.is_dir():
        inner = path / "bundle"
        return inner if (inner / DESCRIPTION).is_file() else path
    names = shipped_enhancers()
    if source in names:
        with resources.as_file(resources.files("headframe") / "bundles" / source) as folder:
            return folder
    if len(path.parts) > 1:
        raise MissingFileError(f"{source}: no such enhancer. Give a folder with {DESCRIPTION}.")
    raise UnknownNameError.of("enhancer", source, [*BASELINES, *names])
