"""Generated scenes with exact truth."""

from headframe.datasets.drawn.bandfiles import write_band_files
from headframe.datasets.drawn.components import DrawnMine, draw_mine
from headframe.datasets.drawn.files import write_kml, write_mine, write_scene, write_truth
from headframe.datasets.drawn.landsat import LANDSAT_BANDS, draw_landsat_chip
from headframe.datasets.drawn.landscape import PARTS, DrawnScene, draw_landscape

__all__ = [
    "LANDSAT_BANDS",
    "PARTS",
    "DrawnMine",
    "DrawnScene",
    "draw_landsat_chip",
    "draw_landscape",
    "draw_mine",
    "write_band_files",
    "write_kml",
    "write_mine",
    "write_scene",
    "write_truth",
]
