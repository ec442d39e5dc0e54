"""Before, after and change side by side in one picture."""

from collections.abc import Sequence
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
from headframe.monitor.kinds import ByteArray, Kind, change_class_map, kinds_of_all
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
    before, after, kinds = _shrunken(stack, step)
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
    handles = [
        Patch(facecolor=f"#{r:02x}{g:02x}{b:02x}", edgecolor="0.4", linewidth=0.5, label=name)
        for name, (r, g, b) in entries
    ]
    axis.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.02),
        ncols=2,
        fontsize=9,
        frameon=False,
    )


def _shrunken(stack: PairStack, step: int) -> tuple[ByteArray, ByteArray, ByteArray]:
    """Shrink both dates and the kinds of change, strip by strip."""
    shape = tuple(-(-side // step) for side in stack.shape)
    ranked = np.zeros((3, *shape), dtype=np.uint8)
    for window, _, (before, _, after) in stack.strips():
        layers = (before, after, kinds_of_all(before, after))
        for kept, layer in zip(ranked, layers, strict=True):
            first, rows = shrink_classes(layer, first_row=window.row, step=step)
            new = np.where(rows == 255, 0, rows + 1).astype(np.uint8)
            part = slice(first, first + len(rows))
            kept[part] = np.maximum(kept[part], new)
    back = np.where(ranked == 0, 255, ranked - 1).astype(np.uint8)
    return back[0], back[1], back[2]


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
