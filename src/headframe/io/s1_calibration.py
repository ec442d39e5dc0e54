"""Sentinel-1 GRD from digital numbers to backscatter, by the product's own calibration table."""

from xml.etree.ElementTree import Element, ParseError

import numpy as np
import numpy.typing as npt
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring
from scipy.interpolate import RegularGridInterpolator

from headframe.core.errors import FormatError, UnsafeFileError
from headframe.io.layers import shown
from headframe.io.stac_read import StacItem, read_text


class Calibration:
    """Sigma nought from digital numbers: sigma0 = DN^2 / A^2, A interpolated between table points.

    Source: ESA, "Radiometric Calibration of S-1 Level-1 Products" (ESA-EOPG-CSCOP-TN-0002),
    equation 2, with the table's sigmaNought and bilinear interpolation. Thermal noise is not taken
    off.
    """

    def __init__(
        self,
        lines: npt.NDArray[np.float64],
        pixels: npt.NDArray[np.float64],
        gains: npt.NDArray[np.float64],
    ) -> None:
        """Remember a table: lines (L,), pixels (P,), both rising, and A (L, P), above 0."""
        self._gain = RegularGridInterpolator(
            (lines, pixels), gains, bounds_error=False, fill_value=None
        )

    def sigma0(
        self, numbers: npt.NDArray[np.generic], *, row: int, col: int
    ) -> npt.NDArray[np.float32]:
        """Calibrate part of an image.

        Args:
            numbers: digital numbers (h, w); 0 is no data.
            row: of the part's first line in the image.
            col: of its first pixel.

        Returns:
            Linear power (h, w), float32; NaN where there is no data.
        """
        height, width = numbers.shape
        places = np.meshgrid(
            np.arange(row, row + height), np.arange(col, col + width), indexing="ij"
        )
        power = (numbers.astype(np.float64) / self._gain(tuple(places))) ** 2
        return np.where(numbers == 0, np.nan, power).astype(np.float32)


def find_calibration(item: StacItem, polarisation: str) -> Calibration | None:
    """Read the calibration table of one polarisation of an item; None where it has none.

    Raises:
        MissingFileError: the table is not there.
        FormatError: it is no calibration table.
        UnsafeFileError: it has a DTD or entities.
    """
    wanted = ("calibration", polarisation.lower())
    for key, href in item.tables.items():
        words = key.lower().replace("_", "-").split("-")
        if all(word in words for word in wanted) and "noise" not in words:
            return parse_calibration(read_text(href), source=shown(href))
    return None


def parse_calibration(text: str, *, source: str) -> Calibration:
    """Parse a calibration annotation; errors as ``find_calibration``."""
    try:
        root: Element = fromstring(text.encode(), forbid_dtd=True)
        vectors = [
            (
                float(vector.findtext("line") or "nan"),
                np.array((vector.findtext("pixel") or "").split(), np.float64),
                np.array((vector.findtext("sigmaNought") or "").split(), np.float64),
            )
            for vector in root.iter("calibrationVector")
        ]
    except DefusedXmlException as exc:
        raise UnsafeFileError(f"{source}: has a DTD or entities. Do not use it.") from exc
    except (ParseError, ValueError) as exc:
        raise FormatError(f"{source}: is no calibration table ({exc}).") from exc
    lines = np.array([line for line, _, _ in vectors])
    good = len(vectors) > 1 and bool((np.diff(lines) > 0).all())
    good = good and all(
        len(p) == len(g) > 1 and (np.diff(p) > 0).all() and (g > 0).all() for _, p, g in vectors
    )
    if not good:
        raise FormatError(f"{source}: is no calibration table (no rising lines and pixels).")
    pixels = vectors[0][1]
    gains = np.stack([np.interp(pixels, own, gain) for _, own, gain in vectors])
    return Calibration(lines, pixels, gains)
