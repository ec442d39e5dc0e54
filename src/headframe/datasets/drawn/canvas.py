"""A reflectance cube that materials are painted on."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from headframe.datasets.drawn.spectra import MATERIALS

FloatArray = NDArray[np.float32]


class Canvas:
    """Surface reflectance, mixed layer by layer.

    Attributes:
        reflectance: figures of the inks, (C, H, W), float32; the first 12 are reflectance, 0 to 1.
        relief: metres of elevation that building and digging added, (H, W), float32.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        ground: str,
        *,
        inks: Mapping[str, NDArray[np.float32]] = MATERIALS,
    ) -> None:
        """Cover everything with the material ``ground``, one of ``inks``."""
        self._inks = inks
        self.reflectance = np.empty((len(inks[ground]), *shape), dtype=np.float32)
        self.reflectance[:] = inks[ground][:, None, None]
        self.relief = np.zeros(shape, dtype=np.float32)

    def paint(
        self, cover: NDArray[np.generic], material: str, *, light: FloatArray | None = None
    ) -> None:
        """Lay a material over what is there.

        Args:
            cover: share of each pixel that it takes, (H, W), clipped to [0, 1]; booleans do.
            material: name among the inks.
            light: brightness factor of the material, (H, W), >= 0; none means 1.
        """
        rows, cols = np.nonzero(cover)
        if rows.size == 0:
            return
        share = np.clip(cover[rows, cols].astype(np.float32), 0, 1)
        ink = self._inks[material][:, None] * (
            share if light is None else share * light[rows, cols]
        )
        self.reflectance[:, rows, cols] = self.reflectance[:, rows, cols] * (1 - share) + ink

    def blend(
        self,
        cover: NDArray[np.generic],
        weights: Mapping[str, FloatArray],
        *,
        light: FloatArray | None = None,
    ) -> None:
        """Lay a mixture over what is there.

        Args:
            cover: share of each pixel that the mixture takes, (H, W), in [0, 1].
            weights: material to its weight, (H, W) each, >= 0; normalised per pixel here.
            light: brightness factor, (H, W), >= 0; none means 1.
        """
        rows, cols = np.nonzero(cover)
        if rows.size == 0:
            return
        total = np.full(rows.size, 1e-6, dtype=np.float32)
        ink = np.zeros((self.reflectance.shape[0], rows.size), dtype=np.float32)
        for material, weight in weights.items():
            amount = np.clip(weight[rows, cols], 0, None).astype(np.float32)
            total += amount
            ink += self._inks[material][:, None] * amount
        share = np.clip(cover[rows, cols].astype(np.float32), 0, 1)
        ink *= share / total if light is None else share * light[rows, cols] / total
        self.reflectance[:, rows, cols] = self.reflectance[:, rows, cols] * (1 - share) + ink
