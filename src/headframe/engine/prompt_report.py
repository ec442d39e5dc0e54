"""How well prompted objects are outlined: their IoU, and pictures of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from torch import Tensor

from headframe.engine.bundle import Bundle
from headframe.engine.panels import stretch
from headframe.engine.prompt_samples import PromptStore, draw_sample
from headframe.engine.recipe import AugmentSection
from headframe.engine.sampling import CropPlan
from headframe.io.files import replacing

PROMPT, TRUTH, ANSWER = "#e69f00", "#ffffff", "#56b4e9"
"""Colours of Okabe and Ito for the prompt's, the true and the found outline."""
_PICTURES = 8
_STILL = AugmentSection(dihedral=False)


def prompt_validator(store: PromptStore, crop_px: int) -> Callable[[Bundle], float | None]:
    """Make the measure of a run on prompted objects.

    Args:
        store: objects of the validation part.
        crop_px: side of the frames.

    Returns:
        A function of a bundle: mean IoU over the objects, each with one prompt drawn from its
        place alone, so that it is the same at every call.
    """

    def validate(bundle: Bundle) -> float | None:
        found = [prompted_iou(bundle, store, place, crop_px) for place in range(len(store))]
        return float(np.mean(found))

    return validate


def prompted_iou(bundle: Bundle, store: PromptStore, place: int, crop_px: int) -> float:
    """IoU of one object on its frame, pixels without label or data left out."""
    pixels, label = _sample(store, place, crop_px)
    known = label.numpy() != 255
    found, truth = _answer(bundle, pixels) & known, label.numpy() == 1
    return float((found & truth).sum() / max((found | truth).sum(), 1))


def draw_prompted(bundle: Bundle, store: PromptStore, path: Path, *, crop_px: int) -> None:
    """Draw up to eight objects with prompt, truth and answer, spread evenly over the store.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    count = min(_PICTURES, len(store))
    places = np.linspace(0, len(store) - 1, count).round().astype(int)
    columns = min(4, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(3 * columns, 3.2 * rows + 0.5), dpi=100, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, place in zip(axes, places.tolist(), strict=False):
        pixels, label = _sample(store, place, crop_px)
        bands = bundle.spec.inputs.bands
        axis.imshow(stretch(pixels[: len(bands)].numpy(), bands), interpolation="nearest")
        answer, truth = _answer(bundle, pixels), label.numpy() == 1
        _outline(axis, pixels[len(bands)].numpy() > 0, PROMPT, style="--")
        _outline(axis, pixels[len(bands) + 1].numpy() > 0, PROMPT)
        _outline(axis, truth, TRUTH)
        _outline(axis, answer, ANSWER)
        _mark_points(axis, pixels[len(bands) + 2].numpy())
        iou = (answer & truth).sum() / max((answer | truth).sum(), 1)
        axis.set_title(f"{store[place].site}: IoU {iou:.2f}", fontsize=9)
    named = (("prompt", PROMPT), ("truth", TRUTH), ("answer", ANSWER))
    handles = [Line2D([], [], color=color, label=name, linewidth=3) for name, color in named]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=3, fontsize=9, facecolor="#888888"
    )
    with replacing(path) as part:
        figure.savefig(part)


def _sample(store: PromptStore, place: int, crop_px: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng([0, 3, place])
    return draw_sample(store, place, CropPlan(crop_px, 0, _STILL), rng)


@torch.inference_mode()
def _answer(bundle: Bundle, pixels: Tensor) -> NDArray[np.bool_]:
    device = next(bundle.network.parameters()).device
    logits = bundle.network(pixels[None].to(device))[0, 0]
    found: NDArray[np.bool_] = (logits.sigmoid() >= bundle.spec.threshold).cpu().numpy()
    return found


def _outline(axis: Axes, mask: NDArray[np.bool_], color: str, *, style: str = "-") -> None:
    if mask.any() and not mask.all():
        axis.contour(mask, levels=[0.5], colors=color, linewidths=1.4, linestyles=style)


def _mark_points(axis: Axes, plane: NDArray[np.float32]) -> None:
    for value, marker in ((1.0, "+"), (-1.0, "x")):
        rows, cols = np.nonzero(plane == value)
        axis.plot(cols, rows, marker, color=PROMPT, markersize=2, linestyle="none")
