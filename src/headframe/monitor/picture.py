"""Before, after and change side by side; of components that may overlap, change of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from headframe.core.classmap import ClassMap
from headframe.geo.area import GridMeasure
from headframe.io.backdrop import read_backdrop
from headframe.io.files import replacing
from headframe.io.quicklook import shrink_classes
from headframe.monitor.kinds import (
    ByteArray,
    Kind,
    Values,
    change_class_map,
    kinds_of_all,
    kinds_of_class,
)
from headframe.monitor.strips import PairStack

_LONGEST_PX = 800
_NO_DATA = (190, 190, 190)
_OPAQUE = 0.7
"""Share of a class's colour where the image shines through."""
_PALEST = 0.35
"""The image behind is grey and this pale, so that its own colours cannot pass for classes."""
_BAR_SHARE = 0.25


@dataclass(frozen=True)
class Legend:
    """What a picture says besides its pixels.

    Attributes:
        titles: of the panels before and after.
        row: areas of the whole overlap, as in the table.
    """

    titles: tuple[str, str]
    row: dict[str, Any]


def write_change_picture(
    path: Path,
    stack: PairStack,
    *,
    geobox: GeoBox,
    classes: ClassMap,
    scenes: tuple[str | None, str | None],
    legend: Legend,
) -> None:
    """Draw three panels: both dates by class and what changed, with legends and areas.

    Small finds stay visible in the shrunken picture: of the pixels behind one of its own, the
    highest number shows. Where the scenes are known, classes are laid over them in colour.

    Args:
        path: PNG.
        stack: both dates.
        geobox: their grid.
        classes: colours of the class maps.
        scenes: image of either date, or None.
        legend: titles and areas.

    Raises:
        OutputError: it cannot be written.
    """
    step = max(1, -(-max(stack.shape) // _LONGEST_PX))
    before, after, kinds = _shrunken(stack, step, _dates_and_kinds)
    small = geobox if step == 1 else geobox.zoom_out(step)
    backs = [read_backdrop(scene, small) if scene else None for scene in scenes]
    changes = change_class_map(converted=bool((kinds == Kind.CONVERTED).any()))
    panels = [
        _painted(before, classes, backs[0]),
        _painted(after, classes, backs[1]),
        _painted(kinds, changes, None),
    ]
    height, width = before.shape
    side = 4.6
    figure = Figure(figsize=(3 * side, side * min(max(height / width, 0.45), 1.6) + 1.0))
    figure.set_layout_engine("constrained")
    axes = figure.subplots(1, 3)
    titles = (f"before: {legend.titles[0]}", f"after: {legend.titles[1]}", "change")
    for axis, panel, title in zip(axes, panels, titles, strict=True):
        axis.imshow(panel, interpolation="nearest")
        axis.set_title(_short(title), fontsize=11)
        axis.set_xticks([])
        axis.set_yticks([])
    _scale_bar(axes[2], small)
    seen = {int(v) for v in np.unique(np.stack([before, after]))}
    lost = [("no data or cloud", _NO_DATA)] if 255 in seen else []
    first = 1 if any(back is not None for back in backs) else 0
    drawn = [(c.name, c.color) for c in classes.classes[first:] if c.index in seen | {1}]
    _key(axes[0], [*drawn, *lost])
    _key(axes[1], [*drawn, *lost])
    _key(axes[2], [*_change_entries(changes, legend.row), *lost])
    with replacing(path) as part:
        figure.savefig(part, dpi=110, bbox_inches="tight", pad_inches=0.15)


def write_component_picture(
    path: Path,
    stack: PairStack,
    *,
    geobox: GeoBox,
    titles: tuple[str, str],
    rows: Mapping[int, dict[str, Any]],
    names: Sequence[str],
) -> None:
    """Draw small multiples: a panel with the change of each component.

    Args:
        path: PNG.
        stack: both dates, as masks of components.
        geobox: their grid.
        titles: of the dates.
        rows: component to its areas over the whole overlap, as in the table.
        names: of the classes.

    Raises:
        OutputError: it cannot be written.
    """
    step = max(1, -(-max(stack.shape) // _LONGEST_PX))
    small = geobox if step == 1 else geobox.zoom_out(step)

    def kinds(before: Values, after: Values) -> list[ByteArray]:
        return [kinds_of_class(before, after, index) for index in rows]

    panels = _shrunken(stack, step, kinds)
    columns = min(4, max(2, int(np.ceil(np.sqrt(len(rows))))), len(rows))
    lines = -(-len(rows) // columns)
    height, width = panels[0].shape
    tall = min(max(height / width, 0.45), 1.6)
    figure = Figure(figsize=(3.4 * columns, (3.4 * tall + 0.6) * lines + 0.8))
    figure.set_layout_engine("constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    changes = change_class_map(converted=False)
    for axis, panel, (index, row) in zip(axes, panels, rows.items(), strict=False):
        axis.imshow(_painted(panel, changes, None), interpolation="nearest")
        axis.set_title(_short(names[index].replace("_", " ")), fontsize=11)
        axis.set_xlabel(_areas_told(row), fontsize=8.5)
        axis.set_xticks([])
        axis.set_yticks([])
    for axis in axes[len(rows) :]:
        axis.set_axis_off()
    _scale_bar(axes[0], small)
    lost = [("no data or cloud", _NO_DATA)] if any((p == 255).any() for p in panels) else []
    entries = [*((c.name, c.color) for c in changes.classes[1:]), *lost]
    figure.legend(handles=_handles(entries), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(f"{_short(titles[0])} to {_short(titles[1])}", fontsize=12)
    with replacing(path) as part:
        figure.savefig(part, dpi=110, bbox_inches="tight", pad_inches=0.15)


def _areas_told(row: dict[str, Any]) -> str:
    kinds = ("stable", "expansion", "contraction")
    parts = [f"{kind} {row[f'{kind}_ha']:,.1f}" for kind in kinds]
    return f"{', '.join(parts)} ha"


def _change_entries(
    changes: ClassMap, row: dict[str, Any]
) -> list[tuple[str, tuple[int, int, int]]]:
    entries = []
    for info in changes.classes[1:]:
        bound = row.get(f"{info.name}_pm_ha")
        within = "" if bound is None else f" ± {bound:,.1f}"
        entries.append((f"{info.name} {row[f'{info.name}_ha']:,.1f}{within} ha", info.color))
    return entries


def _key(axis: Any, entries: Sequence[tuple[str, tuple[int, int, int]]]) -> None:  # noqa: ANN401 - matplotlib has no types
    axis.legend(
        handles=_handles(entries),
        loc="upper center",
        bbox_to_anchor=(0.5, -0.02),
        ncols=2,
        fontsize=9,
        frameon=False,
    )


def _handles(entries: Sequence[tuple[str, tuple[int, int, int]]]) -> list[Patch]:
    return [
        Patch(facecolor=f"#{r:02x}{g:02x}{b:02x}", edgecolor="0.4", linewidth=0.5, label=name)
        for name, (r, g, b) in entries
    ]


def _dates_and_kinds(before: Values, after: Values) -> list[ByteArray]:
    dates = [np.asarray(date, dtype=np.uint8) for date in (before, after)]
    return [*dates, kinds_of_all(before, after)]


def _shrunken(
    stack: PairStack, step: int, layers_of: Callable[[Values, Values], list[ByteArray]]
) -> list[ByteArray]:
    """Shrink what ``layers_of`` makes of both dates, strip by strip."""
    shape = tuple(-(-side // step) for side in stack.shape)
    ranked: list[ByteArray] = []
    for window, _, (before, _, after) in stack.strips():
        layers = layers_of(before, after)
        ranked = ranked or [np.zeros(shape, dtype=np.uint8) for _ in layers]
        for kept, layer in zip(ranked, layers, strict=True):
            first, rows = shrink_classes(layer, first_row=window.row, step=step)
            new = np.where(rows == 255, 0, rows + 1).astype(np.uint8)
            part = slice(first, first + len(rows))
            kept[part] = np.maximum(kept[part], new)
    return [np.where(layer == 0, 255, layer - 1).astype(np.uint8) for layer in ranked]


def _painted(
    values: ByteArray, classes: ClassMap, backdrop: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """Colour classes (H, W), over an image where there is one."""
    palette = np.full((256, 3), _NO_DATA, dtype=np.float64)
    for info in classes.classes:
        palette[info.index] = info.color
    picture = palette[values]
    if backdrop is not None:
        light = backdrop.mean(axis=2, keepdims=True)
        behind = 255 * _PALEST + (1 - _PALEST) * np.repeat(light, 3, axis=2)
        bare = values == 0
        found = (values != 0) & (values != 255)
        picture[bare] = behind[bare]
        picture[found] = _OPAQUE * picture[found] + (1 - _OPAQUE) * behind[found]
    return picture.round().astype(np.uint8)


def _scale_bar(axis: Any, geobox: GeoBox) -> None:  # noqa: ANN401 - matplotlib has no types
    """Draw a bar of a round length, about a quarter of the panel."""
    height, width = geobox.shape
    metres, _ = GridMeasure(geobox).pixel_size_m(width / 2, height / 2)
    wanted = _BAR_SHARE * width * metres
    unit = 10 ** np.floor(np.log10(wanted))
    length = unit * max(n for n in (1, 2, 5) if n * unit <= wanted)
    left, y = 0.04 * width, 0.96 * height
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    axis.plot([left, left + length / metres], [y, y], color="black", linewidth=3)
    axis.text(left, y - 0.02 * height, text, fontsize=9, va="bottom")


def _short(text: str) -> str:
    return text if len(text) <= 44 else f"{text[:43]}…"
