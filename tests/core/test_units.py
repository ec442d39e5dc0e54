import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headframe.core.errors import UnitError
from headframe.core.modelspec import InputSpec
from headframe.core.units import Scaling, check_unit

L1C = InputSpec(
    sensor="sentinel-2-l1c",
    bands=("blue", "green", "red"),
    gsd_m=10,
    mean=(0.1, 0.1, 0.1),
    std=(0.05, 0.05, 0.05),
    percentiles=((0.071, 0.089, 0.177), (0.055, 0.080, 0.193), (0.033, 0.066, 0.287)),
)
S1 = InputSpec("sentinel-1-grd", ("vv", "vh"), 10, (-10, -17), (4, 4), ((-25, -10, 0),) * 2)
TIMES_10000 = Scaling(1e-4, 0.0)


def land(seed=0, n=20_000):
    """Draw L1C-like numbers: dark forest, some bare soil (3, n)."""
    rng = np.random.default_rng(seed)
    soil = rng.random(n) < 0.3
    forest = np.array([[800.0], [700.0], [450.0]]) + rng.gamma(2.0, 40.0, (3, n))
    bare = np.array([[1200.0], [1500.0], [2200.0]]) + rng.normal(0, 150, (3, n))
    return np.where(soil, bare, forest).round()


def check(values, dtype="uint16", *, spec=L1C, scaling=TIMES_10000):
    check_unit(values, dtype, spec=spec, scaling=scaling, source="scene.tif")


def test_land_passes_and_nan_columns_are_left_out():
    values = land()
    values[1, ::3] = np.nan
    check(values)
    check(np.full((3, 5), np.nan))


def test_already_scaled():
    with pytest.raises(
        UnitError,
        match=r"^scene\.tif looks already scaled to reflectance 0-1 \(stored numbers at 1 / 50 / "
        r"99 %: 0\.\d+ / 0\.\d+ / 0\.\d+\).*Sentinel-2 L1C.*--scale 1 --offset 0\.$",
    ):
        check(land() / 1e4, "float32")
    check(land() / 1e4, "float32", scaling=Scaling(1.0, 0.0))


def test_eight_bit_type():
    with pytest.raises(UnitError, match=r"looks 8-bit \(0-255\).*--scale"):
        check(np.clip(land() / 12, 0, 254).round(), "uint8")
    check(np.clip(land() / 12, 0, 254).round(), "uint8", scaling=Scaling(0.0012, 0.0))


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_eight_bit_numbers_in_a_wider_type(dtype):
    with pytest.raises(UnitError, match=r"looks 8-bit"):
        check(np.clip(land() / 8, 0, 255).round(), dtype)


@pytest.mark.parametrize("seed", range(5))
def test_offset_forgotten(seed):
    with pytest.raises(UnitError, match=r"\+1000 offset still in.*--scale 0\.0001 --offset -0\.1"):
        check(land(seed) + 1000)
    check(land(seed) + 1000, scaling=Scaling(1e-4, -0.1))


def test_offset_taken_off_twice():
    spec = InputSpec("sentinel-2-l2a", *list(vars(L1C).values())[1:])
    dark = land() - 500
    check(dark, "int16", spec=spec)
    with pytest.raises(UnitError, match=r"negative median.*--scale 0\.0001 --offset 0"):
        check(dark - 500, "int16", spec=spec, scaling=Scaling(1e-4, -0.1))


def test_full_range():
    with pytest.raises(UnitError, match=r"looks scaled to 0\.\.65535.*--scale 0\.0000152"):
        check((land() * 6.5535).round())


def test_full_range_of_ordinary_land():
    share = np.random.default_rng(2).random(4000)
    known = [(0.071, 0.089, 0.177), (0.055, 0.085, 0.193), (0.033, 0.076, 0.287)]
    soil = 1e4 * np.array([np.interp(share, (0, 0.5, 1), p) for p in known])
    check(soil)
    with pytest.raises(UnitError, match=r"0\.\.65535"):
        check(soil * 6.5535)


def test_landsat_numbers_times_10000():
    spec = InputSpec("landsat-oli", *list(vars(L1C).values())[1:])
    with pytest.raises(UnitError, match=r"negative median.*--scale 0\.0001 --offset 0\.$"):
        check(land(), spec=spec, scaling=Scaling(2.75e-5, -0.2))
    check(land() + 1000, spec=spec)


@settings(deadline=None)
@given(dark=st.floats(0.2, 0.5), middle=st.floats(0.55, 0.9), seed=st.integers(0, 9))
def test_mountain_snow_passes(dark, middle, seed):
    rng = np.random.default_rng(seed)
    shade = np.clip(rng.normal(middle, 0.1, 5000), dark, 1.1)
    shade[:200] = dark
    check((shade * np.array([[1.04], [1.0], [0.98]]) * 1e4).round())


def test_full_range_clipped_at_the_top():
    values = np.full((3, 1000), 9000.0)
    values[:, :20] = 65535
    with pytest.raises(UnitError, match=r"0\.\.65535"):
        check(values)


def test_one_visible_band_is_not_judged_by_colour():
    spec = InputSpec("sentinel-2-l1c", ("nir",), 10, (0.2,), (0.1,), ((0.02, 0.2, 0.4),))
    check(np.full((1, 100), 7000.0), spec=spec)


@settings(deadline=None)
@given(
    low=st.integers(1, 100),
    width=st.integers(20, 154),
    seed=st.integers(0, 9),
    dtype=st.sampled_from(["uint16", "int16", "float32"]),
)
def test_very_dark_scenes_pass(low, width, seed, dtype):
    values = np.random.default_rng(seed).integers(low, low + width, (3, 4000))
    check(values.astype(np.float64), dtype)


@settings(deadline=None)
@given(middle=st.floats(-300, 300), spread=st.floats(10, 80), seed=st.integers(0, 9))
def test_negative_scenes_pass(middle, spread, seed):
    values = np.random.default_rng(seed).normal(middle, spread, (3, 4000))
    check(values.round(), "int16")


@settings(deadline=None)
@given(
    brightness=st.floats(3500, 12000),
    contrast=st.floats(0.02, 0.3),
    tint=st.floats(0.9, 1.1),
    seed=st.integers(0, 9),
)
def test_snow_and_cloud_pass(brightness, contrast, tint, seed):
    rng = np.random.default_rng(seed)
    shade = brightness * np.exp(-contrast * rng.gamma(1.0, 1.0, 4000))
    values = shade * np.array([[tint], [1.0], [1.0]])
    check(values.round())


@settings(deadline=None)
@given(share=st.floats(0, 1), seed=st.integers(0, 9))
def test_cloud_over_land_passes(share, seed):
    rng = np.random.default_rng(seed)
    cloud = rng.random(20_000) < share
    check(np.where(cloud, rng.normal(7000, 800, 20_000), land(seed)).round())


@settings(deadline=None)
@given(st.integers(0, 50), st.sampled_from(["scaled", "offset", "full"]))
def test_every_wrong_unit_is_caught(seed, kind):
    wrong = {"scaled": land(seed) / 1e4, "offset": land(seed) + 1000, "full": land(seed) * 6.5535}
    with pytest.raises(UnitError, match="--scale"):
        check(wrong[kind], "float32")


def test_spec_without_percentiles_skips_the_offset_check():
    check(land() + 1000, spec=InputSpec("sentinel-2-l1c", L1C.bands, 10, (), (), ()))


def test_radar():
    rng = np.random.default_rng(1)
    db = rng.normal([[-10.0], [-17.0]], 3, (2, 3000))
    one = Scaling(1.0, 0.0)
    check(db, "float32", spec=S1, scaling=one)
    check(np.zeros((2, 10)), "float32", spec=S1, scaling=one)
    with pytest.raises(UnitError, match=r"linear power.*10 log10"):
        check(10 ** (db / 10), "float32", spec=S1, scaling=one)
    with pytest.raises(UnitError, match="uncalibrated amplitude"):
        check(np.exp(db / 10) * 1000, "uint16", spec=S1, scaling=one)


BOTH = InputSpec(
    sensor="sentinel-2-l1c+sentinel-1-grd",
    bands=("vv", "blue", "green", "vh", "red"),
    gsd_m=10,
    mean=(0.0,) * 5,
    std=(1.0,) * 5,
    percentiles=((-25, -10, 0), *L1C.percentiles[:2], (-30, -17, -5), L1C.percentiles[2]),
)
DECIBELS = Scaling(1.0, 0.0)


def stack(light, radar):
    """Put numbers of blue, green, red and of VV, VH into BOTH's order."""
    return np.stack([radar[0], light[0], light[1], radar[1], light[2]])


def decibels(n=20_000):
    return np.random.default_rng(5).normal([[-10.0], [-17.0]], 3, (2, n))


def check_both(light, radar, *, optical=TIMES_10000, radio=DECIBELS):
    scalings = (radio, optical, optical, radio, optical)
    check_unit(stack(light, radar), "float32", spec=BOTH, scaling=scalings, source="both.tif")


def test_parts_of_a_composite_are_judged_apart():
    check_both(land(), decibels())
    check_both(land() / 1e4, decibels(), optical=Scaling(1.0, 0.0))


@pytest.mark.parametrize(
    ("light", "radar", "match"),
    [
        (land() / 1e4, decibels(), r"looks already scaled.*\(Sentinel-2 L1C\)"),
        (land() * 6.55, decibels(), r"looks scaled to 0\.\.65535.*\(Sentinel-2 L1C\)"),
        (land() + 1000, decibels(), r"\+1000 offset still in"),
        (land(), 10 ** (decibels() / 10), r"looks like linear power.*\(Sentinel-1 GRD\)"),
    ],
)
def test_a_wrong_unit_in_one_part_is_found(light, radar, match):
    with pytest.raises(UnitError, match=match):
        check_both(light, radar)


def test_bands_of_one_part_may_be_scaled_apart():
    light = land()
    light[1] *= 2
    half = Scaling(0.5e-4, 0.0)
    scalings = (DECIBELS, TIMES_10000, half, DECIBELS, TIMES_10000)
    values = stack(light, decibels())
    check_unit(values, "float32", spec=BOTH, scaling=scalings, source="both.tif")
    lifted = stack(light + np.array([[1000.0], [2000.0], [1000.0]]), decibels())
    with pytest.raises(UnitError, match="offset still in"):
        check_unit(lifted, "float32", spec=BOTH, scaling=scalings, source="both.tif")
