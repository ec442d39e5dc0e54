"""Pictures of what a network attends to: ProCANet's masks, a teacher's attention in MineC2FNet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from headframe.core.errors import RecipeError
from headframe.datasets.chips import Chip, ChipDataset
from headframe.engine.bundle import Bundle, normalise
from headframe.engine.panels import paint_classes, stretch
from headframe.engine.prediction import channels_of, predicted
from headframe.io.files import replacing
from headframe.losses.distillation import (
    ATTENTIVE,
    Attentive,
    feature_gate,
    place_attention,
    prediction_weight,
)
from headframe.models.indices import inner_network
from headframe.models.procanet import LEVELS, ProCANet, Weighed, gates
from headframe.models.pyramid import PyramidWatch

Map = NDArray[np.float32]

_DPI = 90
_CELL_IN = 2.1
_MULTIPLE_PX = 32


@dataclass(frozen=True)
class Attention:
    """Maps of one chip: a row a kind, a map a scale, finest first.

    Attributes:
        rows: by the name of the kind, maps (h, w) of any size over the whole chip.
    """

    rows: dict[str, list[Map]]


def check_attention(bundle: Bundle) -> None:
    """Check that there is attention to look at.

    Raises:
        RecipeError: the network has neither masks nor a pyramid of features.
    """
    network = inner_network(bundle.network)
    if not isinstance(network, ProCANet):
        PyramidWatch(network).close()
    elif not any(isinstance(module, Weighed) for module in network.modules()):
        raise RecipeError(
            f"model {bundle.spec.name}: a procanet without masks, which are all that can be drawn. "
            "Choose another model, or leave --attention out."
        )


def attention_of(
    bundle: Bundle,
    image: NDArray[np.float32],
    label: NDArray[np.uint8],
    options: Attentive = ATTENTIVE,
) -> Attention:
    """Look at what a network attends to in a chip.

    Of a ProCANet it is the mean over channels of the masks that its encoders make of themselves and
    of each other; of another network what MineC2FNet would pass on with it as the teacher: its
    attention over places, the gate along the label's outlines, and the product of both.

    Args:
        bundle: the model.
        image: (C, H, W), the model's bands in its order, physical unit, NaN for nodata.
        label: (H, W), classes and 255.
        options: of the distillation; no matter to a ProCANet.

    Returns:
        Maps cropped to the chip; masks and gates in [0, 1], attention > 0 with a mean near 1.

    Raises:
        RecipeError: the network has neither masks nor a pyramid of features.
    """
    check_attention(bundle)
    height, width = label.shape
    below, right = -height % _MULTIPLE_PX, -width % _MULTIPLE_PX
    padded = np.pad(image, ((0, 0), (0, below), (0, right)), mode="reflect")
    pixels = normalise(torch.from_numpy(padded[None]), bundle.spec.inputs)
    pixels = pixels.to(next(bundle.network.parameters()).device)
    share = (height / padded.shape[1], width / padded.shape[2])
    inner = inner_network(bundle.network)
    if isinstance(inner, ProCANet):
        return Attention(_masks(inner, gates(inner, pixels, within=bundle.network), share))
    outlined = np.pad(label, ((0, below), (0, right)), constant_values=255)
    target = torch.from_numpy(outlined[None]).to(pixels.device)
    return Attention(_passed_on(bundle, pixels, target, options, share=share))


def _masks(
    network: ProCANet, seen: Mapping[str, Tensor], share: tuple[float, float]
) -> dict[str, list[Map]]:
    sides = [", ".join(side) for side in (network.first, network.second) if side]
    rows = {}
    for kind, what in (("own", "itself"), ("other", "the other")):
        for side, bands in enumerate(sides):
            found = [seen.get(f"{kind}.{side}.{level}") for level in range(LEVELS)]
            maps = [_cropped(mask[0], share) for mask in found if mask is not None]
            if maps:
                rows[f"encoder {side + 1} ({bands})\nby {what}"] = maps
    return rows


def _passed_on(
    bundle: Bundle, pixels: Tensor, label: Tensor, options: Attentive, *, share: tuple[float, float]
) -> dict[str, list[Map]]:
    watch = PyramidWatch(bundle.network)
    try:
        with torch.inference_mode():
            logits = bundle.network(pixels)
        levels = watch.take()
    finally:
        watch.close()
    attended = [place_attention(features, options)[0, 0] for features in levels]
    gated = [feature_gate(label, features, options)[0, 0] for features in levels]
    rows = {
        "attention": attended,
        "gate": gated,
        "features passed on": [a * g for a, g in zip(attended, gated, strict=True)],
        "predictions passed on": [prediction_weight(logits, label, options)[0]],
    }
    return {name: [_cropped(found, share) for found in maps] for name, maps in rows.items()}


def _cropped(found: Tensor, share: tuple[float, float]) -> Map:
    """The part of a map (h, w) that is the chip and no padding."""
    rows, cols = (max(1, round(part * side)) for part, side in zip(share, found.shape, strict=True))
    return np.asarray(found[:rows, :cols].float().cpu().numpy(), np.float32)


def draw_attention(
    bundle: Bundle,
    dataset: ChipDataset,
    chips: Sequence[tuple[str, Chip]],
    path: Path,
    options: Attentive = ATTENTIVE,
) -> None:
    """Draw the attention in some chips, a block of rows each, coarser scales to the right.

    Every map has its own scale from dark to bright, whose ends stand above it; attention is drawn
    up to its 99th percentile.

    Args:
        bundle: the model.
        dataset: where the chips are.
        chips: titles and chips, at least one.
        path: a PNG file; replaced as a whole.
        options: see ``attention_of``.

    Raises:
        OutputError: ``path`` cannot be written.
        BandError: the data set lacks a band of the model.
        RecipeError: as ``attention_of``.
    """
    order = channels_of(bundle.spec.inputs, dataset.bands, source=str(dataset.root))
    blocks = []
    for title, chip in chips:
        arrays, pred = predicted(bundle, dataset, chip)
        found = attention_of(bundle, arrays.image[order], arrays.label, options)
        pictures = [
            (title, stretch(arrays.image, dataset.bands)),
            ("truth", paint_classes(arrays.label, bundle.spec.classes)),
            ("prediction", paint_classes(pred, bundle.spec.classes)),
        ]
        blocks.append((pictures, found))
    rows = sum(max(len(found.rows), len(pictures)) for pictures, found in blocks)
    columns = 1 + max(len(maps) for _, found in blocks for maps in found.rows.values())
    size = (_CELL_IN * columns, (_CELL_IN + 0.35) * rows)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    first = 0
    for pictures, found in blocks:
        for row, (name, picture) in enumerate(pictures):
            axes[first + row, 0].imshow(picture, interpolation="nearest")
            axes[first + row, 0].set_title(name, fontsize=7)
        shape = pictures[0][1].shape[:2]
        for row, (name, maps) in enumerate(found.rows.items()):
            for column, values in enumerate(maps, start=1):
                title = f"{name}\n" if column == 1 else "\n" * (1 + name.count("\n"))
                _draw_map(axes[first + row, column], values, title, shape)
        first += max(len(found.rows), len(pictures))
    with replacing(path) as part:
        figure.savefig(part)


def _draw_map(axis: Axes, values: Map, title: str, shape: tuple[int, int]) -> None:
    low, high = float(values.min()), float(np.percentile(values, 99))
    axis.imshow(_sized(values, shape), cmap="viridis", vmin=low, vmax=high, interpolation="nearest")
    rows, cols = values.shape
    axis.set_title(f"{title}{rows} x {cols}: {low:.2f} to {high:.2f}", fontsize=7)


def _sized(values: Map, shape: tuple[int, int]) -> Map:
    """A map as large as the chip, its cells seen as squares."""
    grown = functional.interpolate(torch.from_numpy(values)[None, None], size=shape)
    return np.asarray(grown[0, 0].numpy(), np.float32)
