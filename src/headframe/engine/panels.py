"""Pictures of predictions: image, truth, prediction and error side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from headframe.core.classmap import IGNORE_INDEX, ClassMap
from headframe.datasets.chips import Chip, ChipDataset
from headframe.engine.bundle import Bundle
from headframe.engine.prediction import predicted
from headframe.io.files import replacing

Rgb = NDArray[np.uint8]

HIT, FALSE_ALARM, MISS = (0, 158, 115), (204, 121, 167), (86, 180, 233)
"""Error colours of Okabe and Ito, told apart by colour-blind readers."""
IGNORED = (190, 190, 190)
_SAMPLES = 4
_DPI = 100
_CELL_IN = 3.0
"""Side of one picture, inches."""


def stretch(image: NDArray[np.float32], bands: Sequence[str]) -> Rgb:
    """Make a picture of an image: red, green and blue where it has them, else its first band.

    Args:
        image: (C, H, W), any unit, NaN for nodata.
        bands: common names of the C bands.

    Returns:
        (H, W, 3) sRGB; of each band its 2nd percentile (haze, strongest in blue) is taken off,
        then one scale for all bands makes the 98th percentile white; nodata is grey.
    """
    names = list(bands)
    colours = ("red", "green", "blue")
    shown = [names.index(c) for c in colours] if set(colours) <= set(names) else [0, 0, 0]
    picture = image[shown].astype(np.float64)
    nodata = np.isnan(picture).any(axis=0)
    if nodata.all():
        return np.full((*nodata.shape, 3), IGNORED, np.uint8)
    picture -= np.percentile(picture[:, ~nodata], 2, axis=1)[:, None, None]
    scaled = np.clip(picture / max(np.percentile(picture[:, ~nodata], 98), 1e-12), 0, 1)
    rgb: Rgb = (255 * np.where(nodata, 0, scaled)).round().astype(np.uint8).transpose(1, 2, 0)
    rgb[nodata] = IGNORED
    return rgb


def paint_classes(labels: NDArray[np.uint8], classes: ClassMap) -> Rgb:
    """Colour a class map (H, W); 255 is grey. Returns (H, W, 3) sRGB."""
    palette = np.full((256, 3), IGNORED, np.uint8)
    for info in classes.classes:
        palette[info.index] = info.color
    painted: Rgb = palette[labels]
    return painted


def paint_errors(
    pred: NDArray[np.uint8], truth: NDArray[np.uint8], picture: Rgb, *, index: int
) -> Rgb:
    """Colour hits, false alarms and misses of one class over a dimmed picture.

    Args:
        pred: predicted classes (H, W).
        truth: true classes (H, W); a pixel that is 255 in either is grey.
        picture: (H, W, 3) sRGB, seen where the class is neither true nor predicted.
        index: the class.

    Returns:
        (H, W, 3) sRGB.
    """
    grey = picture.mean(axis=2, keepdims=True) * 0.5 + 90
    painted: Rgb = np.repeat(grey, 3, axis=2).clip(0, 255).astype(np.uint8)
    ours, theirs = pred == index, truth == index
    painted[ours & theirs] = HIT
    painted[ours & ~theirs] = FALSE_ALARM
    painted[~ours & theirs] = MISS
    painted[(pred == IGNORE_INDEX) | (truth == IGNORE_INDEX)] = IGNORED
    return painted


def draw_panels(
    bundle: Bundle, dataset: ChipDataset, rows: Sequence[tuple[str, Chip]], path: Path
) -> None:
    """Draw a row of image, truth, prediction and error for each chip, with a legend.

    Args:
        bundle: the model; its last class is the target whose errors are shown.
        dataset: where the chips are.
        rows: title and chip of each row, at least one.
        path: a PNG file; replaced as a whole.

    Raises:
        OutputError: ``path`` cannot be written.
        BandError: the data set lacks a band of the model.
    """
    classes = bundle.spec.classes
    height_in = _CELL_IN * len(rows) + 0.9
    figure = Figure(figsize=(4 * _CELL_IN, height_in), dpi=_DPI, layout="constrained")
    grid = figure.subplots(len(rows), 4, squeeze=False)
    for (title, chip), axes in zip(rows, grid, strict=True):
        arrays, pred = predicted(bundle, dataset, chip)
        picture = stretch(arrays.image, dataset.bands)
        cells = (
            (title, picture),
            ("truth", paint_classes(arrays.label, classes)),
            ("prediction", paint_classes(pred, classes)),
            ("error", paint_errors(pred, arrays.label, picture, index=len(classes) - 1)),
        )
        for axis, (name, cell) in zip(axes, cells, strict=True):
            axis.imshow(cell, interpolation="nearest")
            axis.set_title(name, fontsize=9)
            axis.set_axis_off()
    figure.legend(handles=_legend(classes), loc="outside lower center", ncols=4, fontsize=9)
    with replacing(path) as part:
        figure.savefig(part)


def draw_outcomes(
    bundle: Bundle, dataset: ChipDataset, rows: Sequence[tuple[str, Chip]], path: Path
) -> None:
    """Draw a row for each chip: its picture, then hits, false alarms and misses of every class.

    Args:
        bundle: the model; its background class is left out.
        dataset: where the chips are.
        rows: title and chip of each row, at least one.
        path: a PNG file; replaced as a whole.

    Raises:
        OutputError: ``path`` cannot be written.
        BandError: the data set lacks a band of the model.
    """
    targets = bundle.spec.classes.classes[1:]
    columns = 1 + len(targets)
    width_in = _CELL_IN * max(columns, 2)
    figure = Figure(figsize=(width_in, _CELL_IN * len(rows) + 0.6), dpi=_DPI, layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for (title, chip), axes in zip(rows, grid, strict=True):
        arrays, pred = predicted(bundle, dataset, chip)
        picture = stretch(arrays.image, dataset.bands)
        cells = [(title, picture)]
        for info in targets:
            painted = paint_errors(pred, arrays.label, picture, index=info.index)
            cells.append((info.name, painted))
        for axis, (name, cell) in zip(axes, cells, strict=True):
            axis.imshow(cell, interpolation="nearest")
            axis.set_title(name, fontsize=9)
            axis.set_axis_off()
    named = (("found", HIT), ("false alarm", FALSE_ALARM), ("missed", MISS))
    handles = [Patch(color=_unit(color), label=name) for name, color in named]
    handles.append(Patch(color=_unit(IGNORED), label="not counted"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=9)
    with replacing(path) as part:
        figure.savefig(part)


def draw_samples(bundle: Bundle, dataset: ChipDataset, chips: Sequence[Chip], path: Path) -> None:
    """Draw up to four chips, spread evenly over ``chips``; see ``draw_panels``."""
    count = min(_SAMPLES, len(chips))
    places = np.linspace(0, len(chips) - 1, count).round().astype(int)
    rows = [(chips[i].key, chips[i]) for i in places]
    draw_panels(bundle, dataset, rows, path)


def _legend(classes: ClassMap) -> list[Patch]:
    target = classes.names[-1]
    named: list[tuple[str, tuple[int, int, int]]] = [
        *((info.name, info.color) for info in classes.classes),
        (f"{target} found", HIT),
        (f"false {target}", FALSE_ALARM),
        (f"{target} missed", MISS),
        ("not counted", IGNORED),
    ]
    return [Patch(color=_unit(color), label=name) for name, color in named]


def _unit(color: tuple[int, int, int]) -> Any:  # noqa: ANN401 - matplotlib is untyped
    return tuple(channel / 255 for channel in color)
