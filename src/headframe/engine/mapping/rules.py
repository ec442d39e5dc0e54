"""What the map engine asks of rules on components; the rules themselves are mining's business."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from headframe.geo.window import Window
from headframe.io.bitrows import BitRows
from headframe.io.scene import Scene

Guard = Callable[[Window, NDArray[np.float32]], NDArray[np.bool_]]
"""Finds pixels that no model can be trusted with: (window of the scene, its pixels (C, h, w), NaN
for nodata) to (h, w). Blocks meet without overlap, so it decides pixel by pixel."""


class MapRules(Protocol):
    """Rules for one merged map of components."""

    @property
    def bands(self) -> Sequence[str]:
        """Bands that the guard needs, common names; they are read beside those of the models."""

    def facts(self) -> dict[str, Any]:
        """Give plain values of all that decides what the rules do."""

    def guard(self, scene: Scene, bands: Sequence[str]) -> AbstractContextManager[Guard | None]:
        """Open a guard for a scene whose channels are ``bands``; None where there is none."""

    def apply(
        self,
        rows: BitRows,
        bit_of: Mapping[str, int],
        *,
        geobox: GeoBox | None,
        guarded_px: int,
    ) -> list[dict[str, Any]]:
        """Rewrite the merged bit mask of a scene.

        Args:
            rows: bit masks, ``NODATA_BITS`` for no data.
            bit_of: component to the position of its bit.
            geobox: where the scene lies; None without a CRS.
            guarded_px: pixels that the guard made nodata.

        Returns:
            One entry a rule: what it removed, or why it did nothing; plain values.
        """
