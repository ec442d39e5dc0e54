"""A whole chain in one folder: ``dismine.json`` beside the bundles of its parts.

`dismine.json`, `detector/`, and where the chain has them `enhancer/` and `sam/`. Of SAM only what
was trained is in it; the base is resolved by name and hash (``engine.bases``).
"""

import hashlib
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict

from headframe.core.errors import (
    BundleError,
    FormatError,
    InputError,
    MissingFileError,
    RecipeError,
    UnknownNameError,
)
from headframe.engine.box_sam_bundle import BoxSamBundle, read_box_sam, save_box_sam
from headframe.engine.description import read_description
from headframe.engine.detector_bundle import DetectorBundle, read_detector, save_detector
from headframe.engine.detector_data import Prepare, build_prepare
from headframe.engine.enhancer_bundle import (
    EnhancerBundle,
    find_enhancer,
    read_enhancer,
    save_enhancer,
)
from headframe.engine.enhancing import BASELINES, NetworkEnhancer
from headframe.io.files import make_folder, write_json
from headframe.underground.chain import Chain, ChainOptions
from headframe.underground.chain_names import DESCRIPTION, shipped_chains
from headframe.underground.fusion import METHODS, FusionOptions, Gate, Guard, load_gate

DETECTOR, ENHANCER, SAM = "detector", "enhancer", "sam"
LARGEST_MB = 60
"""A shipped chain is no larger."""
_PLAIN = ("none", "stretch", *BASELINES)
_FORMAT = 1


@dataclass(frozen=True)
class ChainParts:
    """What a chain consists of.

    Attributes:
        name: what it is called.
        detector: finds the objects.
        prepare: what all networks see: ``none``, ``stretch``, ``clahe``, ``gamma``, or
            ``enhancer``, which is then given.
        enhancer: the network of ``prepare: enhancer``; else None.
        sam: draws masks in the detector's boxes; None: the detector's are the result.
        fusion: of both networks' masks; None: SAM's are the result.
        options: how the parts work together.
        metrics: figures by name.
        training: where the parts come from; plain values.
    """

    name: str
    detector: DetectorBundle
    prepare: str = "stretch"
    enhancer: EnhancerBundle | None = None
    sam: BoxSamBundle | None = None
    fusion: FusionOptions | None = None
    options: ChainOptions = field(default_factory=ChainOptions)
    metrics: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the parts fit; raises RecipeError."""
        if (self.prepare == ENHANCER) != (self.enhancer is not None):
            raise RecipeError(
                f"{self.name}: prepare is {self.prepare!r}; it is {ENHANCER!r} exactly when a "
                "trained enhancer is among the parts."
            )
        if self.prepare not in (*_PLAIN, ENHANCER):
            raise UnknownNameError.of("prepare", self.prepare, (*_PLAIN, ENHANCER))
        if self.sam is not None and self.sam.categories != self.detector.categories:
            raise RecipeError(
                f"{self.name}: SAM was told {', '.join(self.sam.categories)}; the detector finds "
                f"{', '.join(self.detector.categories)}. Train both on the same classes."
            )


class _Gate(BaseModel):
    model_config = ConfigDict(extra="forbid")
    weights: tuple[float, ...]
    bias: float


class _Guard(BaseModel):
    model_config = ConfigDict(extra="forbid")
    features: int
    share: float
    matches: int
    ransac_px: float
    inliers: int
    scale: float
    rotation_deg: float
    shift: float


class _Fusion(BaseModel):
    model_config = ConfigDict(extra="forbid")
    method: str
    align: bool
    guard: _Guard
    align_px: int
    min_overlap: float | None
    close: bool
    open_: bool
    kernel_px: int
    grid: str
    weight: float
    band: float
    gate: _Gate | None
    rescore: float


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    short_side_px: int
    min_score: float
    sam_score: float
    classes: bool


class _Description(BaseModel):
    """``dismine.json`` as it is trusted."""

    model_config = ConfigDict(extra="forbid")
    format: Literal[1]
    name: str
    prepare: str
    sam: bool
    fusion: _Fusion | None
    options: _Options
    metrics: dict[str, Any]
    training: dict[str, Any]


def save_chain(parts: ChainParts, folder: Path, *, half: bool = True) -> int:
    """Write a chain, the description last; weights as fp16 with ``half``.

    Returns:
        Bytes of the folder.

    Raises:
        OutputError: it cannot be written.
    """
    make_folder(folder)
    (folder / DESCRIPTION).unlink(missing_ok=True)  # half a chain is no chain
    save_detector(parts.detector, folder / DETECTOR, half=half)
    if parts.enhancer is not None:
        save_enhancer(parts.enhancer, folder / ENHANCER, half=half)
    if parts.sam is not None:
        save_box_sam(parts.sam, folder / SAM, half=half)
    write_json(
        folder / DESCRIPTION,
        {
            "format": _FORMAT,
            "name": parts.name,
            "prepare": parts.prepare,
            "sam": parts.sam is not None,
            "fusion": None if parts.fusion is None else asdict(parts.fusion),
            "options": asdict(parts.options),
            "metrics": parts.metrics,
            "training": parts.training,
        },
    )
    return chain_bytes(folder)


def chain_bytes(folder: Path) -> int:
    """Count the bytes of all files of a chain."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def read_chain(folder: Path) -> ChainParts:
    """Read a chain.

    Raises:
        MissingFileError: no chain there, or one of its parts is missing.
        MissingExtraError: the base of SAM comes with a package that is not installed.
        BundleError: a part is damaged, or the parts do not fit each other.
    """
    path = folder / DESCRIPTION
    told = read_description(_Description, path, what="chain")
    try:
        return ChainParts(
            name=told.name,
            detector=read_detector(folder / DETECTOR),
            prepare=told.prepare,
            enhancer=read_enhancer(folder / ENHANCER) if told.prepare == ENHANCER else None,
            sam=read_box_sam(folder / SAM) if told.sam else None,
            fusion=None if told.fusion is None else _fusion(told.fusion),
            options=ChainOptions(**told.options.model_dump()),
            metrics=told.metrics,
            training=told.training,
        )
    except (RecipeError, UnknownNameError, FormatError, TypeError) as exc:
        raise BundleError(f"{path}: {exc}") from exc


def _fusion(told: _Fusion) -> FusionOptions:
    values = told.model_dump()
    guard, gate = Guard(**values.pop("guard")), values.pop("gate")
    return FusionOptions(**values, guard=guard, gate=None if gate is None else Gate(**gate))


def load_chain(source: str, *, device: str = "auto") -> Chain:
    """Load a chain, ready to work.

    Args:
        source: a shipped name; a chain's folder; or the folder of a detector or of its run, which
            then works alone, on photographs prepared and sized as it was trained.
        device: where networks run: ``auto``, ``cpu``, ``cuda`` or as torch names it.

    Raises:
        UnknownNameError: no chain of this name.
        MissingFileError, BundleError, MissingExtraError: as ``read_chain``.
        InputError: there is no such device.
    """
    folder = _find(source)
    whole = (folder / DESCRIPTION).is_file()
    parts = read_chain(folder) if whole else alone(read_detector(folder))
    return build_chain(parts, device=device)


def chain_fingerprint(source: str) -> str:
    """Tell a chain's files from all others: SHA-256 over them, in the order of their names.

    Args:
        source: as for ``load_chain``, whose errors of names it raises.
    """
    digest = hashlib.sha256()
    folder = _find(source)
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".json", ".safetensors") and path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def describe_chain(source: str) -> dict[str, Any]:
    """Tell of a chain without loading its SAM; plain values.

    Args:
        source: a shipped name, or a chain's folder.

    Raises:
        UnknownNameError, MissingFileError, BundleError: as ``load_chain``.
    """
    folder = _find(source)
    told = read_description(_Description, folder / DESCRIPTION, what="chain")
    detector = read_detector(folder / DETECTOR)
    return {
        "name": told.name,
        "finds": list(detector.categories),
        "prepare": told.prepare,
        "detector": detector.architecture,
        "parameters": sum(p.numel() for p in detector.network.parameters()),
        "sam": told.sam,
        "fusion": None if told.fusion is None else told.fusion.method,
        **told.options.model_dump(),
        "megabytes": round(chain_bytes(folder) / 1e6, 1),
        "metrics": told.metrics,
        "training": told.training,
    }


def build_chain(parts: ChainParts, *, device: str = "cpu") -> Chain:
    """Put parts together, on a device; errors as ``load_chain``."""
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as exc:  # torch asserts that CUDA is compiled in
        reason = (str(exc).splitlines() or ["unknown"])[0]
        raise InputError(f"--device {device}: cannot be used ({reason}).") from exc
    enhancer = parts.enhancer
    prepare: Prepare
    if enhancer is None:
        prepare = build_prepare(parts.prepare, device=name)
    else:
        prepare = NetworkEnhancer(
            enhancer.network, enhancer.options, name=enhancer.name, device=name, fast=True
        )
    parts.detector.network.to(name)
    return Chain(
        detector=parts.detector.detector,
        categories=parts.detector.categories,
        prepare=prepare,
        sam=None if parts.sam is None else parts.sam.network.to(name),
        fusion=parts.fusion,
        options=parts.options,
        name=parts.name,
    )


def alone(detector: DetectorBundle) -> ChainParts:
    """Make a chain of a detector only: prepared and sized as its recipe has it.

    Raises:
        UnknownNameError, MissingFileError, BundleError: the enhancer that it was trained behind is
            not here, or damaged.
    """
    recipe = detector.training.get("recipe", {})
    side = recipe.get("photographs", {}).get("short_side_px", ChainOptions().short_side_px)
    options = ChainOptions(short_side_px=int(side))
    if detector.prepare in _PLAIN:
        return ChainParts(detector.name, detector, detector.prepare, options=options)
    enhancer = find_enhancer(detector.prepare)
    return ChainParts(detector.name, detector, ENHANCER, enhancer, options=options)


@dataclass(frozen=True)
class PackChoice:
    """What is chosen when parts are put together.

    Attributes:
        name: what the chain is called.
        prepare: ``none``, ``stretch``, ``clahe``, ``gamma``, or an enhancer's name or folder; None:
            what the detector was trained behind.
        fusion: one of ``fusion.METHODS``; None: SAM's masks are the result.
        gate: file of a gate, for ``fusion: gate``.
        sam_score: as in ``ChainOptions``.
    """

    name: str
    prepare: str | None = None
    fusion: str | None = None
    gate: Path | None = None
    sam_score: float = 0.5


def pack_chain(detector: Path, out: Path, *, sam: Path | None, choice: PackChoice) -> int:
    """Put trained parts into one folder.

    Args:
        detector: its folder, or that of its run.
        out: the chain's folder.
        sam: folder of a SAM told boxes, or of its run; None: without.
        choice: what is chosen.

    Returns:
        Bytes of the chain.

    Raises:
        RecipeError: the parts do not fit each other.
        UnknownNameError, MissingFileError, BundleError, OutputError: as reading and writing them.
    """
    found = read_detector(detector)
    parts = alone(found if choice.prepare is None else replace(found, prepare=choice.prepare))
    fusion = None
    if choice.fusion is not None:
        gate = None if choice.gate is None else load_gate(choice.gate)
        if choice.fusion not in METHODS:
            raise UnknownNameError.of("fusion", choice.fusion, METHODS)
        fusion = FusionOptions(method=cast(Any, choice.fusion), gate=gate)
        if sam is None:
            raise RecipeError("--fusion needs --sam: there is nothing to fuse with.")
    parts = replace(
        parts,
        name=choice.name,
        sam=None if sam is None else read_box_sam(sam),
        fusion=fusion,
        options=replace(parts.options, sam_score=choice.sam_score),
        metrics=dict(found.metrics),
    )
    return save_chain(parts, out)


def _find(source: str) -> Path:
    path = Path(source)
    if path.is_dir():
        return path
    shipped = shipped_chains()
    if source in shipped:
        with resources.as_file(resources.files("headframe") / "bundles" / source) as folder:
            return folder
    if len(path.parts) > 1:
        raise MissingFileError(f"{source}: no such chain. Give a folder with {DESCRIPTION}.")
    raise UnknownNameError.of("chain", source, shipped)
