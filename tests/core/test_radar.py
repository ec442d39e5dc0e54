import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headframe.core.errors import UnitError
from headframe.core.radar import name_ratio, radar_unit, ratio_db, to_db, to_power


def f32(*values):
    return np.array(values, dtype=np.float32)


def test_decibels_by_hand():
    got = to_db(f32(1.0, 0.1, 0.02, 1e-9, 0.0, -0.3, np.nan))
    np.testing.assert_allclose(got, [0, -10, -16.9897, -60, -60, -60, np.nan], atol=1e-4)
    assert got.dtype == np.float32


def test_ratio_is_formed_in_linear_power():
    vv, vh = f32(0.1, 0.5, np.nan, 0.2), f32(0.02, 0.004, 0.1, np.nan)
    expected = 10 * np.log10(vv / (10 * vh))
    np.testing.assert_allclose(ratio_db(to_db(vv), to_db(vh)), expected, atol=1e-5)


@given(st.floats(-50, 20, width=32))
def test_power_and_decibels_are_inverse(value):
    np.testing.assert_allclose(to_db(to_power(f32(value))), value, atol=1e-4)


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        ([-8.0, -15.0, 3.0], "db"),
        ([0.1, 0.02, -1e-4], "power"),
        ([0.0, 0.0, 0.3], "power"),
        ([np.nan, np.inf], "db"),
    ],
)
def test_a_negative_median_is_decibels(values, unit):
    assert radar_unit(f32(*values), source="a.tif") == unit


def test_amplitude_is_refused():
    with pytest.raises(UnitError, match=r"^a\.tif: looks like uncalibrated.*median 240.*--s1-unit"):
        radar_unit(f32(120, 240, 900), source="a.tif")


@pytest.mark.parametrize(
    ("form", "name"),
    [
        (lambda vv, vh: vv - vh - 10, r"VV/(10 VH) in dB"),
        (lambda vv, vh: vv - vh, "VV/VH in dB"),
        (lambda vv, vh: 10 ** ((vv - vh) / 10), "VV/VH in linear power"),
        (lambda vv, vh: 10 ** ((vv - vh) / 10 - 1), "VV/(10 VH) in linear power"),
        (lambda vv, vh: vv / vh, "the decibels of VV divided by those of VH"),
        (lambda vv, vh: vv + vh, None),
        (lambda vv, vh: vv * np.nan, None),
    ],
)
def test_a_ratio_is_named_by_its_values(form, name):
    rng = np.random.default_rng(3)
    vv = rng.normal(-9, 3, 500).astype(np.float32)
    vh = rng.normal(-15, 3, 500).astype(np.float32)
    assert name_ratio(form(vv, vh).astype(np.float32), vv_db=vv, vh_db=vh) == name
