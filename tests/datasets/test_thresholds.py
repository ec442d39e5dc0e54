"""Otsu's threshold where there is nothing to divide, and where there is."""

import numpy as np

from headframe.datasets.thresholds import otsu


def test_otsu_of_what_has_one_value_or_none():
    assert otsu(np.full((3, 4), 0.3)) == 0.0
    assert otsu(np.full((3, 4), np.nan)) == 0.0
    halves = np.repeat([-0.5, np.nan, 0.7, 4.0], 50)  # beyond 1 counts as 1
    assert -0.5 < otsu(halves) < 0.7
