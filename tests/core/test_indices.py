"""Normalised differences by hand."""

import numpy as np

from headframe.core.indices import INDICES, normalized_difference


def test_by_hand():
    green = np.array([[300, 100, 0, 0], [200, 50, 1, 7]], np.uint16)
    nir = np.array([[100, 300, 0, 5], [200, 0, 3, 7]], np.uint16)
    expected = np.array([[0.5, -0.5, np.nan, -1.0], [0.0, 1.0, -0.5, 0.0]])
    np.testing.assert_array_equal(normalized_difference(green, nir), expected)


def test_nodata_has_no_index():
    first, second = np.array([[np.nan, 1.0, np.inf]]), np.array([[1.0, np.nan, 1.0]])
    assert np.isnan(normalized_difference(first, second)).all()


def test_water_is_bright_in_the_first_band():
    assert INDICES["ndwi"] == ("green", "nir")
    assert INDICES["mndwi"] == ("green", "swir16")
    assert INDICES["ndvi"] == ("nir", "red")
