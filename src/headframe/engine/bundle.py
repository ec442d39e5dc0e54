"""Model bundles: one folder with weights, description and model card, and no pickle anywhere."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn
from torch.nn import functional

from headframe.core.classmap import ClassInfo, ClassMap
from headframe.core.errors import BundleError, MissingFileError, UnknownNameError
from headframe.core.modelspec import BaseSpec, InputSpec, ModelSpec
from headframe.engine.bases import base_state, find_base
from headframe.engine.description import shipped
from headframe.engine.hub import SCHEME, fetch_files, push_files
from headframe.engine.modelcard import is_prompted, model_card
from headframe.engine.weights import load_tensors, save_tensors
from headframe.io.files import write_json, write_text
from headframe.models.registry import build_network
from headframe.models.trainable import load_trained, trained_state

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
CARD = "README.md"
FILES = (WEIGHTS, DESCRIPTION, CARD)
_FORMAT = 1
_STRIDE = 32


@dataclass(frozen=True)
class Bundle:
    """A network with the description it needs to meet real pixels.

    Attributes:
        spec: what it needs and promises.
        network: logits (N, K, H, W) from normalised pixels (N, C, H, W); in evaluation mode.
        fingerprint: SHA-256 of the weights and the description.
    """

    spec: ModelSpec
    network: nn.Module
    fingerprint: str = ""

    @torch.inference_mode()
    def scores(self, pixels: Tensor) -> Tensor:
        """Score pixels of the scene.

        Args:
            pixels: (N, C, H, W), float32, bands in the order of ``spec.inputs.bands``, in the
                sensor's physical unit, NaN for nodata; H and W multiples of 32, and equal where
                ``test_flips`` is above 2.

        Returns:
            (N, K, H, W), float32 in [0, 1]. With two classes K = 1, the probability of the
            target; else K classes that sum to 1. Nodata pixels get a score too: the caller
            masks them.

        Raises:
            BundleError: the network scores nothing that it is not prompted for.
        """
        if is_prompted(self.spec):
            raise BundleError(
                f"model {self.spec.name}: draws what it is prompted for and maps nothing. Use "
                "headframe prompt or refine."
            )
        flat = _zoomed(normalise(pixels, self.spec.inputs), self.spec.test_zoom)
        total: Tensor | None = None
        for view in range(self.spec.test_flips):
            logits = self.network(_dihedral(flat, view)).float()
            score = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)
            score = _undo_dihedral(score, view)
            total = score if total is None else total + score
        if total is None:
            raise BundleError(f"model {self.spec.name}: test_flips must be 1 or more.")
        return _resized(total / self.spec.test_flips, pixels.shape[-2:])

    def classes_of(self, scores: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Decide classes.

        Args:
            scores: (K, h, w), as from ``scores``.

        Returns:
            (h, w) class indices; with K = 1, 1 where the score reaches ``spec.threshold``.
        """
        if scores.shape[0] == 1:
            return np.asarray(scores[0] >= self.spec.threshold, dtype=np.uint8)
        return np.asarray(scores.argmax(axis=0), dtype=np.uint8)

    def with_options(
        self,
        *,
        threshold: float | None = None,
        test_flips: int | None = None,
        test_zoom: float | None = None,
    ) -> "Bundle":
        """Copy with another threshold (0-1), number of test views (1, 2, 4, 8) or test zoom."""
        given = {"threshold": threshold, "test_flips": test_flips, "test_zoom": test_zoom}
        changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        return replace(self, spec=replace(self.spec, **changes))


def normalise(pixels: Tensor, inputs: InputSpec) -> Tensor:
    """Standardise pixels by the training statistics; nodata (NaN) becomes the mean, 0.

    Args:
        pixels: (N, C, H, W) in the sensor's physical unit.
        inputs: statistics per band, in the same unit and order.

    Returns:
        (N, C, H, W), float32, finite.
    """
    mean = pixels.new_tensor(inputs.mean).view(1, -1, 1, 1)
    std = pixels.new_tensor(inputs.std).view(1, -1, 1, 1)
    return torch.nan_to_num((pixels - mean) / std, nan=0.0, posinf=0.0, neginf=0.0)


def _zoomed(x: Tensor, zoom: float) -> Tensor:
    """Resize to about ``zoom`` times the size, sides kept multiples of 32."""
    sides = [max(_STRIDE, round(side * zoom / _STRIDE) * _STRIDE) for side in x.shape[-2:]]
    return _resized(x, sides) if zoom != 1 else x


def _resized(x: Tensor, sides: Sequence[int]) -> Tensor:
    if list(x.shape[-2:]) == list(sides):
        return x
    return functional.interpolate(
        x, size=list(sides), mode="bilinear", align_corners=False, antialias=True
    )


def _dihedral(x: Tensor, view: int) -> Tensor:
    """View 0-7 of the square: 0 as is, 1 mirrored, then pairs turned by 180, 90 and 270 degrees."""
    turned = torch.rot90(x, (0, 2, 1, 3)[view // 2], (2, 3))
    return turned.flip(3) if view % 2 else turned


def _undo_dihedral(x: Tensor, view: int) -> Tensor:
    turned = x.flip(3) if view % 2 else x
    return torch.rot90(turned, -(0, 2, 1, 3)[view // 2], (2, 3))


class _Class(BaseModel):
    model_config = ConfigDict(extra="forbid")
    index: int
    name: str
    color: tuple[int, int, int]


class _Inputs(BaseModel):
    model_config = ConfigDict(extra="forbid")
    sensor: str
    bands: tuple[str, ...] = Field(min_length=1)
    gsd_m: float = Field(gt=0)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    percentiles: tuple[tuple[float, float, float], ...]


class _Base(BaseModel):
    model_config = ConfigDict(extra="forbid")
    source: str = Field(min_length=1)
    architecture: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class _Description(BaseModel):
    """``model.json`` as it is trusted: checked before any of it is used."""

    model_config = ConfigDict(extra="forbid")
    format: int
    name: str
    architecture: str
    options: dict[str, Any]
    inputs: _Inputs
    classes: tuple[_Class, ...] = Field(min_length=2, max_length=255)
    patch_px: int = Field(ge=32, multiple_of=32)
    threshold: float = Field(ge=0, le=1)
    test_flips: int = Field(ge=1, le=8)
    test_zoom: float = Field(default=1.0, ge=0.25, le=4)
    metrics: dict[str, Any]
    training: dict[str, Any]
    license: str
    base: _Base | None = None

    def to_spec(self) -> ModelSpec:
        """Turn into the value the library works with."""
        inputs = InputSpec(**self.inputs.model_dump())
        sizes = {len(inputs.bands), len(inputs.mean), len(inputs.std), len(inputs.percentiles)}
        if len(sizes) != 1 or min(inputs.std) <= 0:
            raise ValueError("inputs: bands, mean, std (> 0) and percentiles must match in number")
        values = self.model_dump(exclude={"format", "inputs", "classes", "base"})
        classes = ClassMap(tuple(ClassInfo(**c.model_dump()) for c in self.classes))
        base = None if self.base is None else BaseSpec(**self.base.model_dump())
        return ModelSpec(inputs=inputs, classes=classes, base=base, **values)


def shipped_bundles() -> tuple[str, ...]:
    """Names of the bundles inside the package."""
    return shipped(DESCRIPTION)


def find_bundle(source: str | Path) -> Path:
    """Find a bundle's folder.

    Args:
        source: a folder, a shipped name, or ``hf://owner/name`` (fetched through
            ``huggingface_hub``).

    Raises:
        UnknownNameError: neither a folder nor a shipped name.
        JobError: the hub cannot be reached.
    """
    text = str(source)
    if text.startswith(SCHEME):
        return fetch_files(text, FILES)
    path = Path(source)
    if path.is_dir():
        run_bundle = path / "bundle"
        return run_bundle if not (path / DESCRIPTION).is_file() and run_bundle.is_dir() else path
    if text in shipped_bundles():
        with resources.as_file(resources.files("headframe") / "bundles" / text) as folder:
            return folder
    if len(path.parts) > 1:
        raise MissingFileError(f"{text}: no such model bundle. Give a folder with {DESCRIPTION}.")
    raise UnknownNameError.of("model", text, shipped_bundles())


def push_bundle(source: str | Path, target: str, *, private: bool = False) -> str:
    """Put a bundle on the Hugging Face hub, from where ``hf://owner/name`` loads it.

    Args:
        source: as in ``find_bundle``; loaded first, so that nothing broken is published.
        target: ``hf://owner/name`` or ``owner/name``.
        private: make a new repository private.

    Returns:
        Address of the repository.

    Raises:
        BundleError: the bundle is damaged.
        UnknownNameError: an unknown bundle, or ``target`` is no name of a repository.
        JobError: the hub cannot be reached, or nobody is logged in who may write there.
    """
    folder = find_bundle(source)
    load_bundle(folder)
    return push_files(folder, target, FILES, private=private)


def read_spec(folder: Path) -> ModelSpec:
    """Read and check ``model.json`` of a bundle's folder.

    Raises:
        MissingFileError: the folder holds none.
        BundleError: not JSON, of a newer format, or with wrong values.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise MissingFileError(f"{folder}: no {DESCRIPTION} in it, so it is no model bundle.")
    try:
        description = _Description.model_validate(json.loads(path.read_text(encoding="utf-8")))
        if description.format != _FORMAT:
            raise BundleError(
                f"{path}: format {description.format}; this headframe reads {_FORMAT}. Update it."
            )
        return description.to_spec()
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path}: {where}: {first['msg']}.") from exc
    except BundleError:
        raise
    except (ValueError, OSError) as exc:
        raise BundleError(f"{path}: not a valid model description ({exc}).") from exc


def load_bundle(source: str | Path) -> Bundle:
    """Load a bundle, ready to score.

    Args:
        source: a folder (a run folder counts), a shipped name, or ``hf://owner/name``.

    Of a partly trained model the base is found first (``engine.bases``), beside the bundle's files
    or by its source, and must be the very file that the model was trained on.

    Raises:
        UnknownNameError: unknown name or architecture.
        BundleError: description or weights are corrupted or do not fit each other or the base.
        MissingFileError: the base is not there.
    """
    folder = find_bundle(source)
    spec = read_spec(folder)
    weights = folder / WEIGHTS
    tensors = load_tensors(weights)
    network = build_network(
        spec.architecture,
        spec.inputs.bands,
        out_channels(spec),
        spec.options,
        encoder_state=None if spec.base is None else _state_of_base(spec.base, folder),
    )
    state = {key: _widen(value) for key, value in tensors.items()}
    try:
        if spec.base is None:
            network.load_state_dict(state)
        else:
            load_trained(network, state)
    except RuntimeError as exc:
        reason = str(exc).splitlines()[-1].strip()
        raise BundleError(f"{weights}: does not fit {spec.architecture} ({reason}).") from exc
    if not all(bool(torch.isfinite(t).all()) for t in tensors.values() if t.is_floating_point()):
        raise BundleError(f"{weights}: holds values that are not finite. Copy the bundle again.")
    network.eval()
    network.requires_grad_(False)
    digest = hashlib.sha256(weights.read_bytes() + (folder / DESCRIPTION).read_bytes())
    return Bundle(spec, network, digest.hexdigest())


def _state_of_base(wanted: BaseSpec, folder: Path) -> dict[str, Tensor]:
    """Tensors of the base of a bundle, after a look at its hash."""
    beside = folder / Path(wanted.source).name
    found = find_base(str(beside) if beside.is_file() else wanted.source)
    if found.sha256 != wanted.sha256:
        raise BundleError(
            f"{folder}: was trained on a base of SHA-256 {wanted.sha256[:12]}…; {found.path} has "
            f"{found.sha256[:12]}…. Put the right {Path(wanted.source).name} beside the bundle."
        )
    return base_state(found)


def _widen(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def out_channels(spec: ModelSpec) -> int:
    """Logits a pixel: 1 for two classes, else one for each class."""
    return 1 if len(spec.classes) == 2 else len(spec.classes)


def save_bundle(bundle: Bundle, folder: Path, *, half: bool = True) -> None:
    """Write a bundle's three files, the description last.

    Of a model that names a base only the trained tensors are written.

    Args:
        bundle: what to write.
        folder: made if need be.
        half: store fp16 weights (they are widened when loaded).
    """
    network, spec = bundle.network, bundle.spec
    state = dict(network.state_dict()) if spec.base is None else trained_state(network)
    save_tensors(folder / WEIGHTS, state, half=half)
    write_text(folder / CARD, model_card(spec))
    value = {"format": _FORMAT, **asdict(spec)}
    if spec.base is None:
        del value["base"]
    value["classes"] = value["classes"]["classes"]
    write_json(folder / DESCRIPTION, value)
