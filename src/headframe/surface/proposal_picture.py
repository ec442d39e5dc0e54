"""Pictures of proposals: a scene with what was found on it, numbered or before and after."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from shapely.geometry.base import BaseGeometry

from headframe.geo.area import GridMeasure
from headframe.io.backdrop import read_backdrop
from headframe.io.files import replacing

FloatArray = NDArray[np.float64]

_LONGEST_PX = 1000
_COLOURS = ("#e69f00", "#56b4e9", "#f0e442", "#cc79a7", "#009e73", "#d55e00", "#0072b2")
"""Of Okabe and Ito, told apart by colour-blind readers; taken in turn."""
_BEFORE = "#ffffff"


@dataclass(frozen=True)
class Drawn:
    """One proposal in a picture.

    Attributes:
        shape: its outline, EPSG:4326.
        text: written beside it; "" for nothing.
        before: outline before SAM, EPSG:4326, dashed; None where there is none.
    """

    shape: BaseGeometry
    text: str
    before: BaseGeometry | None = None


def draw_proposals(
    path: Path, drawn: Sequence[Drawn], *, source: str, geobox: GeoBox, title: str
) -> None:
    """Draw a scene with proposals on it; a scene that cannot be shown is black.

    Args:
        path: PNG.
        drawn: proposals; neighbours take different colours.
        source: the scene.
        geobox: its grid.
        title: above the picture.

    Raises:
        OutputError: it cannot be written.
    """
    small = geobox.zoom_out(max(1.0, max(geobox.shape) / _LONGEST_PX))
    height, width = small.shape.yx
    figure = Figure(
        figsize=(9 * width / max(height, width) + 0.6, 9.6 * height / max(height, width))
    )
    figure.set_layout_engine("constrained")
    axis = figure.subplots()
    axis.set_facecolor("black")
    picture = read_backdrop(source, small)
    if picture is not None:
        axis.imshow(picture, extent=(0, width, height, 0), interpolation="nearest")
    pixels = _to_pixels(small)
    for number, one in enumerate(drawn):
        colour = _COLOURS[number % len(_COLOURS)]
        if one.before is not None:
            _rings(axis, shapely.transform(one.before, pixels), _BEFORE, 0.9, "--")
        shape = shapely.transform(one.shape, pixels)
        _rings(axis, shape, "black", 2.4, "-")
        _rings(axis, shape, colour, 1.4, "-")
        if one.text:
            x0, _, _, y1 = shape.bounds
            box = {"facecolor": "black", "alpha": 0.6, "pad": 1.0, "linewidth": 0}
            axis.annotate(
                one.text, (x0, y1), va="top", fontsize=7, color="white", bbox=box, zorder=6
            )
    axis.set_xlim(0, width)
    axis.set_ylim(height, 0)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(title, fontsize=10)
    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=110)


def _to_pixels(geobox: GeoBox) -> Callable[[FloatArray], FloatArray]:
    """Bring longitude and latitude (N, 2) to columns and rows of a grid."""
    there = Transformer.from_crs(CRS.from_epsg(4326), GridMeasure(geobox).crs, always_xy=True)
    a, b, c, d, e, f = tuple(~geobox.affine)[:6]

    def move(xy: FloatArray) -> FloatArray:
        x, y = there.transform(xy[:, 0], xy[:, 1])
        return np.column_stack([a * x + b * y + c, d * x + e * y + f])

    return move


def _rings(axis: Axes, shape: BaseGeometry, colour: str, width: float, style: str) -> None:
    for ring in shapely.get_rings(shapely.get_parts(shape)):
        xy = shapely.get_coordinates(ring)
        axis.plot(xy[:, 0], xy[:, 1], color=colour, linewidth=width, linestyle=style)
