"""Networks that answer prompts, and the pixels each of them wants."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headframe.core.errors import BundleError, InputError, UnknownNameError
from headframe.core.modelspec import InputSpec
from headframe.engine.bases import base_state, find_base
from headframe.engine.bundle import DESCRIPTION, load_bundle, normalise, shipped_bundles
from headframe.io.scene import Scene, SceneOptions, open_scene
from headframe.models.inflate import RGB
from headframe.models.sam.encoders import EMBEDDING
from headframe.models.sam.network import Prompts, Sam, build_sam

FloatArray = NDArray[np.float32]
Range = tuple[tuple[float, ...], tuple[float, ...]]
"""Per band the stored value shown as black, and the one shown as white."""

_LOW, _HIGH = 1.0, 99.0
_ANY_RGB = InputSpec("sentinel-2-l1c", RGB, 10.0, (0.0,) * 3, (1.0,) * 3, ((0.0, 0.5, 1.0),) * 3)
"""How red, green and blue are found for a network of photographs; their unit is left open."""


@dataclass(frozen=True)
class Prompter:
    """A network that answers prompts.

    Attributes:
        name: as it was asked for.
        fingerprint: tells its weights, and what is done to pixels before them, from any other's.
        sam: in evaluation mode, on its device.
        inputs: bands and statistics it was trained with; None for a base of photographs, whose
            pixels are stretched to [0, 1] scene by scene.
        enter: standardised pixels (N, C, H, W) to the base's own unit; only with ``inputs``.
        takes_masks: it was trained to be prompted with rough masks too.
        takes_points: it was trained with points; else a point is tried in boxes around it.
        multimask: a lone point gets three masks, of which it judges one the best.
        trained_px: side of the frames it was trained on, one object each; 0 for the base's own.
    """

    name: str
    fingerprint: str
    sam: Sam
    inputs: InputSpec | None = None
    enter: Callable[[Tensor], Tensor] | None = None
    takes_masks: bool = False
    takes_points: bool = True
    multimask: bool = False
    trained_px: int = 0

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.sam.pixel_mean.device

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Answer prompts about nothing, so that the first real ones find memory and code ready."""
        cells = self.sam.size_px // self.sam.stride
        nothing = torch.zeros((1, EMBEDDING, cells, cells), device=self.device)
        boxes = torch.tensor([[0.0, 0.0, self.sam.size_px / 2, self.sam.size_px / 2]] * 2)
        for _ in range(2):
            self.sam.decode(nothing, Prompts(boxes=boxes.to(self.device)))

    def open(self, source: str, options: SceneOptions) -> Scene:
        """Open a scene for it; errors as ``io.scene.open_scene``."""
        if self.inputs is not None:
            return open_scene(source, inputs=self.inputs, options=options)
        if not options.states_unit:  # any unit will do: pixels are stretched
            options = replace(options, scale=1.0, offset=0.0)
        return open_scene(source, inputs=_ANY_RGB, options=options)

    def stretch_of(self, scene: Scene) -> Range | None:
        """Find the 1st and 99th percentile of each band over the whole scene, if it needs them."""
        if self.inputs is not None:
            return None
        rows = [scene.channels.stored.index(band) for band in scene.channels.wanted]
        scale = np.array([scene.scaling[row].scale for row in rows])
        offset = np.array([scene.scaling[row].offset for row in rows])
        sample = np.percentile(scene.sample()[rows], (_LOW, _HIGH), axis=1)  # (2, C)
        low, high = sample * scale + offset
        return tuple(map(float, low)), tuple(map(float, high))

    def prepare(self, values: FloatArray, stretch: Range | None) -> Tensor:
        """Turn pixels of the scene into what the encoder takes; nodata becomes 0.

        Args:
            values: (C, S, S) in the scene's unit, NaN for nodata.
            stretch: as from ``stretch_of``.

        Returns:
            (1, C, S, S) float32 on the network's device.
        """
        pixels = torch.from_numpy(values)[None].to(self.device)
        if self.inputs is not None and self.enter is not None:
            return self.enter(normalise(pixels, self.inputs))
        if stretch is None:
            raise BundleError(f"model {self.name}: has no statistics of its bands.")
        low, high = (pixels.new_tensor(side).view(1, -1, 1, 1) for side in stretch)
        shown = ((pixels - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
        mean, std = (t.view(1, -1, 1, 1) for t in (self.sam.pixel_mean, self.sam.pixel_std))
        return torch.nan_to_num((shown - mean) / std, nan=0.0)


def load_prompter(source: str, *, device: str = "auto") -> Prompter:
    """Load a network that answers prompts.

    Args:
        source: ``litemedsam``, a file of a SAM base (``.pth``, ``.pt``, ``.safetensors``),
            ``hf://owner/name/file``, or a prompt bundle: folder, shipped name, ``hf://owner/name``.
        device: ``auto``, ``cpu``, ``cuda`` or as torch names it.

    Raises:
        UnknownNameError: no base and no bundle is so called.
        BundleError: the weights are damaged, or the bundle answers no prompts.
        InputError: there is no such device.
    """
    prompter = _of_bundle(source) if _is_bundle(source) else _of_base(source)
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        prompter.sam.to(torch.device(name))
    except (RuntimeError, AssertionError) as exc:  # torch asserts that CUDA is compiled in
        reason = (str(exc).splitlines() or ["unknown"])[0]
        raise InputError(f"--device {device}: cannot be used ({reason}).") from exc
    prompter.sam.eval().requires_grad_(False)
    return prompter


def _is_bundle(source: str) -> bool:
    if source.startswith("hf://"):
        return source.removeprefix("hf://").count("/") == 1
    folder = Path(source)
    inside = (folder / DESCRIPTION).is_file() or (folder / "bundle" / DESCRIPTION).is_file()
    return inside or folder.is_dir() or source in shipped_bundles()


def _of_base(source: str) -> Prompter:
    try:
        base = find_base(source)
    except UnknownNameError as exc:
        shipped = ", ".join(shipped_bundles())
        raise UnknownNameError(f"{exc} It is no bundle either; shipped are {shipped}.") from exc
    sam = build_sam(base.architecture, state=base_state(base), source=source)
    medical = base.architecture == "litemedsam"  # trained with boxes alone
    return Prompter(
        name=base.name,
        fingerprint=base.sha256,
        sam=sam,
        takes_points=not medical,
        multimask=not medical,
    )


def _of_bundle(source: str) -> Prompter:
    bundle = load_bundle(source)
    sam = getattr(bundle.network, "sam", None)
    enter = getattr(bundle.network, "to_base_units", None)
    if not isinstance(sam, Sam) or enter is None:
        raise BundleError(
            f"model {bundle.spec.name}: answers no prompts ({bundle.spec.architecture}). Choose a "
            "prompt model, e.g. litemedsam, or map with it."
        )
    return Prompter(
        name=bundle.spec.name,
        fingerprint=bundle.fingerprint,
        sam=sam,
        inputs=bundle.spec.inputs,
        enter=enter,
        takes_masks=True,
        trained_px=bundle.spec.patch_px,
    )
