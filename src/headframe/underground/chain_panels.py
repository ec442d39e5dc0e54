"""Panels of photograph, truth and what methods found, as the paper's Figures 6 and 7."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy.ndimage import binary_erosion

from headframe.core.detections import Detections
from headframe.datasets.photographs import InstancePhotograph
from headframe.io.files import replacing
from headframe.io.images import Pixels
from headframe.underground.chain_curves import spread
from headframe.underground.chain_found import detections_of, read_found, size_of, truth_of
from headframe.underground.chain_plan import ChainPlan
from headframe.underground.segment.overlay import COLOURS, backdrop

PANELS = "panels.png"
_SCORE = 0.5
_EDGE = 0.5
_SHARE = 0.55
_CELL_IN = 3.0
_WHITE = np.array((255, 255, 255), np.float64)


def draw_panels(
    plan: ChainPlan,
    test: Sequence[InstancePhotograph],
    out: Path,
    *,
    found: Callable[[str, float], Path],
) -> Path | None:
    """Write ``panels.png``: a row a photograph; input, truth, and a column a method.

    Args:
        plan: which methods, how many photographs, in which light.
        test: photographs of one fold that were held out; those with most classes are shown.
        out: the comparison's folder.
        found: gives the file of what a method found in a light.

    Returns:
        The picture; None where the plan wants none.
    """
    if not plan.panels.photographs or not test:
        return None
    light = plan.light.test[-1] if plan.panels.light is None else plan.panels.light
    methods = plan.panels.methods or tuple(dict.fromkeys((plan.plain, [*plan.methods][-1])))
    results = {name: read_found(found(name, light)) for name in methods}
    rows = []
    for photograph in _telling(test, plan.panels.photographs):
        view = photograph.darkened(light, seed=plan.light.seed)
        seen = backdrop(view.image, longest_px=0, style="bright")
        cells = [(f"{photograph.name}, light {light:g}", view.image)]
        cells.append(("truth", painted(seen, truth_of(view))))
        for name, entries in results.items():
            objects = detections_of(entries.get(view.name, []), size_of(view)).above(_SCORE)
            cells.append((name, painted(seen, objects)))
        rows.append(cells)
    _draw(rows, plan.photographs.categories, out / PANELS)
    return out / PANELS


def painted(picture: Pixels, objects: Detections) -> Pixels:
    """Colour objects by class over a picture, each with a white outline.

    Args:
        picture: (H, W, 3) uint8 RGB.
        objects: on its pixels; the smaller lie over the larger.

    Returns:
        A new picture.
    """
    result = picture.astype(np.float64)
    for place in np.argsort(-objects.masks.sum(axis=(1, 2)), kind="stable"):
        mask = objects.masks[place]
        colour = np.array(COLOURS[(int(objects.labels[place]) - 1) % len(COLOURS)], np.float64)
        result[mask] = (1 - _SHARE) * result[mask] + _SHARE * colour
        edge = mask & ~binary_erosion(mask)
        result[edge] = (1 - _EDGE) * result[edge] + _EDGE * _WHITE
    return np.asarray(result.round(), np.uint8)


def _telling(photographs: Sequence[InstancePhotograph], most: int) -> list[InstancePhotograph]:
    """Choose photographs, evenly spread over those that show the most classes."""
    counts = [len(set(photograph.labels.tolist())) for photograph in photographs]
    wanted = sorted(counts, reverse=True)[: max(most, 1)][-1]
    return spread(
        [p for p, count in zip(photographs, counts, strict=True) if count >= wanted], most
    )


def _draw(rows: Sequence[Sequence[tuple[str, Pixels]]], names: Sequence[str], path: Path) -> None:
    columns = len(rows[0])
    height, width = rows[0][0][1].shape[:2]
    tall = _CELL_IN * height / width + 0.25
    figure = Figure(figsize=(_CELL_IN * columns, tall * len(rows) + 0.4), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for cells, axes in zip(rows, grid, strict=True):
        for axis, (title, picture) in zip(axes, cells, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set_title(title, fontsize=8)
            axis.set_axis_off()
    handles = [
        Patch(color="#{:02x}{:02x}{:02x}".format(*COLOURS[at % len(COLOURS)]), label=name)
        for at, name in enumerate(names)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(names), fontsize=8)
    with replacing(path) as part:
        figure.savefig(part, dpi=120)
