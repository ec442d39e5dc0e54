"""A drawn scene as Sentinel-2 comes: one file a band, each at its own resolution."""

from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox

from headframe.datasets.drawn.files import write_bands
from headframe.datasets.drawn.landscape import DrawnScene
from headframe.io.bandfiles import BAND_METRES

_TAGS = {"DRAWN": "yes, this is no satellite image", "processing_level": "L2A"}


def write_band_files(scene: DrawnScene, folder: Path) -> None:
    """Write ``folder/B04.tif`` and so on: uint16 reflectance times 10,000, nodata 0.

    Bands of 20 m and 60 m are means of the drawn pixels of 10 m; rows and columns that make no
    whole pixel of 60 m are left out of all bands.

    Raises:
        OutputError: ``folder`` cannot be written.
    """
    height, width = (n // 6 * 6 for n in scene.bands.shape[1:])
    for band, metres in BAND_METRES.items():
        factor = metres // 10
        values = scene.bands[scene.band_names.index(band), :height, :width].astype(np.float64)
        blocks = values.reshape(height // factor, factor, width // factor, factor)
        known = (blocks > 0).all(axis=(1, 3))
        coarse = np.where(known, np.rint(blocks.mean(axis=(1, 3))), 0).astype(np.uint16)
        grid = GeoBox((height, width), scene.geobox.affine, scene.geobox.crs).zoom_out(factor)
        write_bands(folder / f"{band}.tif", coarse[None], grid, names=(band,), tags=_TAGS)
