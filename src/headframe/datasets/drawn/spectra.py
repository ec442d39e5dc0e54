"""Surface reflectance of the materials a mine scene is mixed from, in twelve Sentinel-2 bands.

The figures are rounded, typical values for drawing; they are no measurements, and fit for
no science.
"""

import numpy as np
from numpy.typing import NDArray

BAND_NAMES = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12",
)  # fmt: skip
"""The twelve bands drawn, in file order: Sentinel-2 without the cirrus band B10."""

BAND_GSD_M = (60, 10, 10, 10, 20, 20, 20, 10, 20, 60, 20, 20)
"""Ground sample distance at which the instrument sees each band, metres."""

PATH_REFLECTANCE = np.array(
    [0.090, 0.061, 0.036, 0.019, 0.014, 0.011, 0.009, 0.007, 0.006, 0.005, 0.001, 0.001],
    dtype=np.float32,
)
"""What a clear atmosphere adds to each band at the top of the atmosphere."""

TRANSMITTANCE = np.array(
    [0.80, 0.85, 0.88, 0.91, 0.92, 0.93, 0.94, 0.95, 0.95, 0.62, 0.96, 0.96], dtype=np.float32
)
"""Share of the surface signal that reaches the instrument in each band."""

_TABLE = {
    #                B01   B02   B03   B04   B05   B06   B07   B08   B8A   B09   B11   B12
    "forest":        (12,   16,   34,   19,   60,  195,  250,  270,  290,  290,  128,   55),
    "canopy_shade":  (8,    10,   21,   12,   36,  110,  140,  150,  160,  160,   66,   28),
    "scrub":         (24,   32,   56,   50,   95,  180,  215,  235,  255,  258,  205,  112),
    "grass_green":   (28,   38,   72,   54,  115,  235,  290,  310,  330,  330,  225,  115),
    "grass_dry":     (40,   54,   88,  108,  148,  196,  220,  245,  270,  278,  330,  222),
    "crop_lush":     (20,   28,   68,   36,  108,  335,  425,  445,  465,  460,  205,   92),
    "crop_ripe":     (48,   66,  112,  142,  186,  226,  254,  284,  308,  312,  362,  246),
    "soil_red":      (28,   38,   70,  142,  174,  192,  206,  222,  244,  246,  334,  286),
    "soil_pale":     (78,  106,  152,  212,  242,  260,  275,  290,  312,  314,  412,  366),
    "sand":          (120, 155,  205,  255,  280,  295,  305,  315,  330,  330,  400,  370),
    "water_clear":   (30,   28,   25,   12,   10,    8,    6,    5,    4,    3,    2,    1),
    "water_turbid":  (46,   60,   92,   88,   76,   42,   36,   26,   22,   12,    5,    3),
    "water_green":   (34,   46,   70,   46,   36,   22,   18,   14,   12,    8,    4,    3),
    "water_red":     (34,   40,   66,  106,   96,   52,   46,   36,   30,   16,    6,    4),
    "rock_iron":     (42,   48,   62,   94,  104,  106,  106,  110,  118,  118,  172,  160),
    "rock_ochre":    (52,   68,  108,  188,  224,  238,  246,  254,  272,  272,  352,  306),
    "rock_grey":     (118, 134,  152,  166,  172,  176,  180,  184,  190,  190,  214,  196),
    "rock_dark":     (58,   66,   76,   84,   88,   90,   92,   96,  100,  100,  122,  112),
    "tail_iron_dry": (66,   82,  112,  160,  178,  188,  194,  202,  214,  214,  292,  268),
    "tail_iron_wet": (38,   46,   62,   92,  100,  102,  102,  104,  106,  102,  120,  102),
    "tail_grey_dry": (140, 160,  184,  206,  214,  220,  225,  230,  236,  236,  272,  246),
    "tail_grey_wet": (74,   86,  100,  110,  112,  110,  108,  108,  106,  100,  104,   86),
    "tail_red_dry":  (34,   44,   82,  205,  246,  260,  266,  272,  292,  292,  372,  326),
    "tail_red_wet":  (28,   35,   58,  128,  146,  142,  140,  140,  142,  136,  150,  122),
    "asphalt":       (70,   80,   86,   92,   96,  100,  102,  106,  110,  110,  132,  122),
    "roof_tile":     (54,   66,   94,  158,  182,  194,  202,  222,  244,  244,  292,  272),
    "roof_metal":    (330, 345,  352,  350,  348,  346,  344,  345,  344,  340,  330,  300),
    "concrete":      (150, 172,  196,  214,  224,  230,  236,  244,  252,  252,  284,  268),
    "cloud":         (640, 650,  650,  655,  660,  665,  668,  670,  672,  560,  470,  360),
}  # fmt: skip

MATERIALS: dict[str, NDArray[np.float32]] = {
    name: np.array(row, dtype=np.float32) / np.float32(1000) for name, row in _TABLE.items()
}
"""Material name to surface reflectance (12,), float32 in [0, 1], bands as ``BAND_NAMES``."""
