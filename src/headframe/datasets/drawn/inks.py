"""Materials of mine components, and how every material answers to light and to radar.

An ink is fourteen figures: surface reflectance in the twelve bands of ``spectra.BAND_NAMES``, then
backscatter VV and VH as linear power, so that mixing inks mixes both as a pixel does. All are
rounded figures for drawing, of the usual order at C band (smooth water far below bare soil, that
below rock and forest, metal above all). They are no measurements, and fit for no science.

Several materials look alike in red, green and blue on purpose and part in the infrared or in
radar: stripped ground and dry fields, spoil and wall rock, wet tailings and settled ponds. So what
a comparison of band sets finds on drawn scenes was put there by us.
"""

import numpy as np
from numpy.typing import NDArray

from headframe.datasets.drawn.spectra import MATERIALS

OPTICAL = slice(0, 12)
"""Channels of an ink that are reflectance."""
RADAR = slice(12, 14)
"""Channels of an ink that are backscatter, VV and VH, linear power."""

_NEW = {
    #                B01   B02   B03   B04   B05   B06   B07   B08   B8A   B09   B11   B12
    "coal":          (36,   38,   41,   45,   48,   51,   54,   57,   60,   62,   84,   82),
    "overburden":    (72,   88,  116,  146,  162,  172,  178,  186,  196,  196,  262,  232),
    "limestone":     (170, 194,  224,  250,  264,  274,  280,  288,  296,  294,  342,  276),
    "limestone_dark": (130, 148,  172,  192,  204,  212,  218,  224,  232, 230,  284,  236),
    "crushed":       (205, 230,  256,  278,  288,  296,  300,  306,  312,  310,  330,  252),
    "ore_fines":     (44,   47,   54,   72,   80,   76,   72,   74,   82,   84,   98,  106),
    "ore_grey":      (88,   96,  106,  114,  118,  121,  123,  126,  130,  130,  140,  132),
    "spoil_coal":    (70,   86,  113,  142,  158,  168,  175,  184,  196,  196,  290,  214),
    "spoil_iron":    (44,   52,   74,  116,  132,  138,  142,  150,  162,  162,  250,  196),
    "spoil_grey":    (110, 126,  144,  160,  168,  174,  180,  188,  198,  198,  262,  196),
    "spoil_pale":    (148, 170,  198,  224,  238,  248,  256,  264,  274,  272,  352,  252),
    "stripped":      (50,   66,  102,  156,  186,  200,  210,  222,  236,  232,  276,  196),
    "gravel":        (106, 120,  138,  154,  163,  169,  174,  180,  188,  188,  226,  214),
    "pond_grey":     (84,  104,  128,  118,   96,   58,   46,   34,   28,   16,    6,    3),
    "pond_black":    (26,   28,   30,   28,   24,   18,   15,   13,   12,    8,    4,    3),
    "pond_pale":     (120, 150,  176,  150,  116,   66,   52,   38,   32,   18,    6,    3),
    "tail_coal_dry": (52,   57,   64,   70,   74,   77,   79,   82,   86,   86,  112,  104),
    "tail_coal_wet": (32,   35,   39,   42,   43,   43,   42,   42,   41,   38,   42,   36),
    "tail_pale_dry": (176, 200,  226,  244,  252,  258,  262,  266,  272,  270,  296,  232),
    "tail_pale_wet": (104, 122,  140,  150,  152,  148,  144,  140,  136,  128,  120,   92),
}  # fmt: skip

_DB = {
    # VV, VH in dB
    "forest": (-8.5, -14.0),
    "canopy_shade": (-9.5, -15.0),
    "scrub": (-10.5, -16.5),
    "grass_green": (-12.0, -18.5),
    "grass_dry": (-13.0, -20.0),
    "crop_lush": (-9.5, -15.5),
    "crop_ripe": (-11.5, -18.0),
    "soil_red": (-11.5, -20.0),
    "soil_pale": (-12.5, -21.5),
    "sand": (-15.0, -24.5),
    "water_clear": (-20.0, -27.0),
    "water_turbid": (-19.5, -27.0),
    "water_green": (-20.0, -27.0),
    "water_red": (-20.0, -27.0),
    "pond_grey": (-21.0, -27.5),
    "pond_black": (-21.0, -27.5),
    "pond_pale": (-21.0, -27.5),
    "rock_iron": (-8.5, -17.5),
    "rock_ochre": (-9.5, -18.5),
    "rock_grey": (-8.5, -17.5),
    "rock_dark": (-8.0, -17.0),
    "limestone": (-9.0, -18.0),
    "limestone_dark": (-8.5, -17.5),
    "overburden": (-11.0, -19.5),
    "coal": (-9.5, -18.0),
    "tail_iron_dry": (-15.0, -24.5),
    "tail_iron_wet": (-16.5, -25.5),
    "tail_grey_dry": (-15.5, -25.0),
    "tail_grey_wet": (-17.0, -26.0),
    "tail_red_dry": (-15.0, -24.5),
    "tail_red_wet": (-16.5, -25.5),
    "tail_coal_dry": (-15.5, -24.5),
    "tail_coal_wet": (-17.0, -26.0),
    "tail_pale_dry": (-15.5, -25.0),
    "tail_pale_wet": (-17.0, -26.0),
    "crushed": (-7.0, -15.0),
    "ore_fines": (-7.5, -15.5),
    "ore_grey": (-7.0, -15.0),
    "spoil_coal": (-9.5, -16.5),
    "spoil_iron": (-9.0, -16.0),
    "spoil_grey": (-9.0, -16.0),
    "spoil_pale": (-9.5, -16.5),
    "stripped": (-14.5, -24.0),
    "gravel": (-9.5, -18.5),
    "asphalt": (-16.5, -25.0),
    "roof_tile": (-4.5, -12.0),
    "roof_metal": (-1.5, -10.0),
    "concrete": (-3.5, -12.0),
    "cloud": (-11.0, -18.0),
}


def _ink(name: str, reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
    power = 10.0 ** (np.array(_DB[name]) / 10.0)
    return np.concatenate([reflectance, power]).astype(np.float32)


INKS: dict[str, NDArray[np.float32]] = {
    name: _ink(name, reflectance)
    for name, reflectance in (
        MATERIALS
        | {name: np.array(row, np.float32) / np.float32(1000) for name, row in _NEW.items()}
    ).items()
}
"""Material name to ink (14,), float32: see ``OPTICAL`` and ``RADAR``."""
