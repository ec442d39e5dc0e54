"""Areas of change and what a count of pixels leaves uncertain.

A pixel at the edge of a region belongs to it only in part. Two figures say what that means for an
area counted in pixels, with ``N`` edge pixels of area ``a``:

- ``pm``, the half-pixel bound ``N a / 2``: the area gained or lost if the whole outline lay half a
  pixel further out or in. No drawing of the true outline in pixels is off by more.
- ``se``, the standard error ``a sqrt(N / 12)``: edge pixels as independent of each other, each
  wrong by an amount uniform between plus and minus half a pixel (variance 1/12); the growth with
  the root of the number of edge pixels is Frolov and Maling's (1969) and Crapper's (1980).

A pixel means one of the map that drew the outline, for changes the coarser of the two maps; where
the common grid is finer by a factor ``r``, ``N`` of its pixels are ``N / r`` of those, and ``a`` is
``r^2`` times as large. Neither figure knows of a model's mistakes or of misplaced images.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headframe.monitor.kinds import ByteArray, Kind, on_edge

_HA = 1e-4
REGIONS = ("before", "after", "stable", "expansion", "contraction")

# A state has a bit for each of: there before, there after as mapped, there after small patches
# were dropped, and become another class.
_CODES = np.arange(16)
_WAS, _MAPPED, _NOW, _OTHER = (_CODES >> bit & 1 == 1 for bit in range(4))
_STATES = {
    "before": _WAS,
    "after": _MAPPED,
    "stable": _WAS & _NOW,
    "expansion": _NOW & ~_WAS,
    "contraction": _WAS & ~_NOW,
    "converted": _OTHER,
    "dropped_expansion": _MAPPED & ~_NOW,
    "dropped_contraction": _NOW & ~_MAPPED,
}


@dataclass(frozen=True)
class LayerStrip:
    """One class, or all together, in a strip.

    Attributes:
        state: (h, W): 1 before + 2 after as mapped + 4 after small patches were dropped; bit 3
            where one class became another; 255 no data.
        edges: (h, W): bit k set where a pixel of ``REGIONS[k]`` is on that region's edge.
    """

    state: ByteArray
    edges: ByteArray

    def crop(self, rows: slice, cols: slice) -> "LayerStrip":
        """Cut a part out."""
        return LayerStrip(self.state[rows, cols], self.edges[rows, cols])


def layer_strip(
    masks: tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]],
    kinds: ByteArray,
    *,
    halo: tuple[int, int],
) -> LayerStrip:
    """Prepare a layer for counting.

    Args:
        masks: (h, W) where the class is before, after as mapped, after small patches were dropped.
        kinds: (h, W) what happened, 255 for no data.
        halo: rows to cut at the top and the bottom, which only served as neighbours.
    """
    lost = kinds == 255
    was, mapped, now = masks
    converted = kinds == Kind.CONVERTED
    state = was + 2 * mapped.astype(np.uint8) + 4 * now.astype(np.uint8)
    state = np.where(lost, 255, state + 8 * converted.astype(np.uint8)).astype(np.uint8)
    edges = np.zeros(kinds.shape, dtype=np.uint8)
    for bit, mask in enumerate((was, mapped)):
        drawn = np.where(lost, 255, mask).astype(np.uint8)
        edges |= (on_edge(drawn) & mask).astype(np.uint8) << bit
    merged = np.where(converted, Kind.STABLE, kinds).astype(np.uint8)
    border = on_edge(merged)
    for bit, kind in enumerate((Kind.STABLE, Kind.EXPANSION, Kind.CONTRACTION), start=2):
        edges |= (border & (merged == kind)).astype(np.uint8) << bit
    rows = slice(halo[0], kinds.shape[0] - halo[1])
    return LayerStrip(state[rows], edges[rows])


@dataclass
class Tally:
    """What is counted of one layer in one site.

    Attributes:
        states: (16,) area of each state, square metres.
        no_data: area without data on either date, square metres.
        edge_px: (5,) edge pixels of each of ``REGIONS``.
        edge_m2: (5,) their area, square metres.
    """

    states: NDArray[np.float64] = field(default_factory=lambda: np.zeros(16))
    no_data: float = 0.0
    edge_px: NDArray[np.float64] = field(default_factory=lambda: np.zeros(5))
    edge_m2: NDArray[np.float64] = field(default_factory=lambda: np.zeros(5))

    def add(
        self, strip: LayerStrip, areas: NDArray[np.float64], inside: NDArray[np.bool_] | None
    ) -> None:
        """Count the pixels of a strip, those ``inside`` only where it is given."""
        state, edges = strip.state, strip.edges
        if inside is not None:
            state, edges, areas = state[inside], edges[inside], areas[inside]
        state, edges, areas = state.ravel(), edges.ravel(), areas.ravel()
        lost = state == 255
        self.no_data += float(areas[lost].sum())
        self.states += np.bincount(state[~lost], areas[~lost], minlength=16)
        for bit in range(len(REGIONS)):
            on = (edges >> bit) & 1 == 1
            self.edge_px[bit] += np.count_nonzero(on)
            self.edge_m2[bit] += float(areas[on].sum())

    def row(self, side_px: tuple[float, float]) -> dict[str, Any]:
        """Give areas and their uncertainty in hectares; see the module for the formulas.

        Args:
            side_px: side of a pixel of either map in pixels of the common grid.
        """
        sides = (*side_px, *(max(side_px),) * 3)
        found: dict[str, Any] = {
            "compared_ha": float(self.states.sum()) * _HA,
            "no_data_ha": self.no_data * _HA,
        }
        errors = {}
        for bit, name in enumerate(REGIONS):
            pixels, area = self.edge_px[bit], self.edge_m2[bit]
            found[f"{name}_ha"] = self._hectares(name)
            found[f"{name}_pm_ha"] = float(area) * sides[bit] / 2 * _HA
            pixel = area / pixels if pixels else 0.0
            errors[name] = float(pixel * np.sqrt(sides[bit] ** 3 * pixels / 12)) * _HA
            found[f"{name}_se_ha"] = errors[name]
        found["net_ha"] = found["after_ha"] - found["before_ha"]
        found["net_se_ha"] = float(np.hypot(errors["before"], errors["after"]))
        found["converted_ha"] = self._hectares("converted")
        found["dropped_expansion_ha"] = self._hectares("dropped_expansion")
        found["dropped_contraction_ha"] = self._hectares("dropped_contraction")
        return found

    def _hectares(self, name: str) -> float:
        return float(self.states[_STATES[name]].sum()) * _HA
