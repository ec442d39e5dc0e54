"""Pixels under snow or cloud, which no model of components was trained on.

Papers/002, section 4.1: the worst test site failed because of snow, and "our training dataset
lacked images with snow or cloud cover". Such pixels become nodata, not background: nobody knows
what lies below.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headframe.core.errors import BandError, CrsError
from headframe.core.sensors import Sensor
from headframe.engine.mapping.resume import file_facts
from headframe.engine.mapping.rules import Guard
from headframe.geo.window import Window
from headframe.io.aligned import aligned_classes
from headframe.io.scene import Scene

Mask = NDArray[np.bool_]
FloatArray = NDArray[np.float32]

SCL_CLASSES = (3, 8, 9, 10, 11)
"""Of Sentinel-2's scene classification: cloud shadow, cloud of medium and of high probability,
thin cirrus, snow or ice."""


@dataclass(frozen=True)
class SnowCloud:
    """Finds snow and cloud by reflectance, or in a scene classification where one is given.

    Snow: NDSI = (green - swir16) / (green + swir16) >= ``ndsi``, ``nir`` > ``snow_nir`` and
    ``green`` > ``snow_green``: Hall, Riggs and Salomonson (1995) and the MODIS snow product after
    them (0.4, 0.11, 0.10). The second and third keep water and shade out.

    Cloud: green > ``cloud_green`` and green > red, or green > ``bright_green``: Braaten, Cohen and
    Yang (2015; 0.175, 0.39). Ours: swir16 > ``cloud_swir`` beside it, because clouds are bright
    there too, and bright turquoise ponds are not.

    Thin cloud and cloud shadow are not found by reflectance, and a white quarry may be taken for
    cloud; a classification knows more.

    Attributes:
        scl: raster of Sentinel-2's scene classification (SCL), in any CRS and resolution; where
            it has no data nothing is found. None goes by reflectance.
        scl_classes: its classes that are found.
        ndsi: see above; this and what follows in reflectance 0-1.
        snow_nir: see above.
        snow_green: see above.
        cloud_green: see above.
        bright_green: see above; 1 or more leaves white ground alone.
        cloud_swir: see above.
        name: what the rule is called.
    """

    scl: str | None = None
    scl_classes: tuple[int, ...] = SCL_CLASSES
    ndsi: float = 0.4
    snow_nir: float = 0.11
    snow_green: float = 0.10
    cloud_green: float = 0.175
    bright_green: float = 0.39
    cloud_swir: float = 0.10
    name: str = "snow-cloud"

    def bands(self, sensor: Sensor, read: Sequence[str]) -> tuple[str, ...]:
        """Name the bands it needs, green, red, NIR and SWIR 1 in this order.

        Args:
            sensor: of the scene.
            read: bands that are read anyway; either of two NIR bands will do.

        Returns:
            Common names; none with a scene classification.

        Raises:
            BandError: the sensor lacks one of them.
        """
        if self.scl is not None:
            return ()
        nir = next((band for band in ("nir", "nir08") if band in read), "nir")
        return tuple(sensor.band(name).common_name for name in ("green", "red", nir, "swir16"))

    def found(self, pixels: FloatArray, bands: Sequence[str]) -> Mask:
        """Find snow and cloud by reflectance.

        Args:
            pixels: (C, h, w), reflectance 0-1, NaN for nodata.
            bands: common name of each channel.

        Returns:
            (h, w); False where there is no data.
        """
        names = list(bands)
        nir_name = "nir" if "nir" in names else "nir08"
        green, red, nir, swir = (
            pixels[names.index(name)] for name in ("green", "red", nir_name, "swir16")
        )
        # The ratio's test without its quotient, so that black pixels divide nothing by nothing.
        index = (green - swir >= self.ndsi * (green + swir)) & (green + swir > 0)
        snow = index & (nir > self.snow_nir) & (green > self.snow_green)
        bright = ((green > self.cloud_green) & (green > red)) | (green > self.bright_green)
        return np.asarray(snow | (bright & (swir > self.cloud_swir)))

    @contextmanager
    def guard(self, scene: Scene, bands: Sequence[str]) -> Iterator[Guard]:
        """Open what is needed to guard one scene.

        Args:
            scene: to lay the classification over.
            bands: common name of each of its channels.

        Raises:
            CrsError: a classification cannot be laid over it.
        """
        if self.scl is None:
            yield lambda _, pixels: self.found(pixels, bands)
            return
        if scene.geobox is None:
            raise CrsError(f"{self.scl}: cannot be laid over {scene.source}, which has no CRS.")
        with aligned_classes(self.scl, scene.geobox) as classes:

            def flagged(window: Window, _: FloatArray) -> Mask:
                values, known = classes.read(window)
                return np.asarray(known & np.isin(values, self.scl_classes))

            yield flagged

    def facts(self) -> dict[str, Any]:
        """Give the thresholds, and the classification's version."""
        values = dict(vars(self))
        return {**values, "scl": None if self.scl is None else file_facts(self.scl)}


def lacking_bands(guard: SnowCloud, sensor: Sensor, read: Sequence[str]) -> str | None:
    """Say why a guard cannot work on the bands that are read anyway; None where it can."""
    try:
        missing = [band for band in guard.bands(sensor, read) if band not in read]
    except BandError:
        return f"{sensor.title} has no short-wave infrared"
    return f"the models do not read {', '.join(missing)}" if missing else None
