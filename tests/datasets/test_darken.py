"""Darkening: formulas by hand, moments of the noise, and seeds."""

import numpy as np
import pytest

from headframe.core.errors import FormatError, RecipeError
from headframe.datasets.darken import (
    LIGHTS,
    DimCamera,
    PaperDarkness,
    darken_as_camera,
    darken_as_paper,
    seed_of,
)
from headframe.datasets.sensor_noise import (
    Sensor,
    SensorNoise,
    darken_as_sensor,
    draw_sensor,
    expose,
    process,
    unprocess,
)

SILENT = {"noise": (0.0, 0.0)}


def flat(value, shape=(200, 300)):
    return np.full((*shape, 3), value, dtype=np.uint8)


@pytest.fixture
def scene():
    ramp = np.linspace(0, 255, 40 * 56 * 3).reshape(40, 56, 3)
    return ramp.astype(np.uint8)


def test_paper_by_hand():
    image = np.array([[[50, 100, 150], [200, 250, 0]]], dtype=np.uint8)
    darkness = PaperDarkness(brightness=(0.2, 0.2), gamma=(2.0, 2.0), contrast=(1.5, 1.5), **SILENT)
    y = 0.2 * (image / 255) ** 2
    expected = np.rint((1.5 * (y - y.mean()) + y.mean()).clip(0, 1) * 255)
    found = darken_as_paper(image, seed=3, darkness=darkness)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_paper_contrast_spreads_about_the_mean(scene):
    def spread(c):
        darkness = PaperDarkness(brightness=(0.4, 0.4), contrast=(c, c), **SILENT)
        dark = darken_as_paper(scene, seed=0, darkness=darkness) / 255
        return dark.mean(), dark.std()

    (mean, plain), (same, less) = spread(1.0), spread(0.5)
    assert same == pytest.approx(mean, abs=2e-3)
    assert less == pytest.approx(plain / 2, rel=0.02)


def test_paper_noise_has_its_deviation():
    darkness = PaperDarkness(brightness=(0.4, 0.4), contrast=(1.0, 1.0), noise=(0.03, 0.03))
    dark = darken_as_paper(flat(250), seed=5, darkness=darkness) / 255
    assert dark.mean() == pytest.approx(0.4 * 250 / 255, abs=3e-4)
    rounding = 1 / 255 / 12**0.5
    assert dark.std() == pytest.approx(np.hypot(0.03, rounding), rel=0.01)


@pytest.mark.parametrize("value", [100, 255])
def test_camera_moments(value):
    dark = darken_as_camera(flat(value), seed=1, camera=DimCamera(light=0.10)) / 255
    mean = 0.10 * value / 255
    variance = mean / 4000 + 0.006**2 + (1 / 255) ** 2 / 12
    assert dark.mean() == pytest.approx(mean, abs=1e-4)
    assert dark.var() == pytest.approx(variance, rel=0.02)


def test_camera_is_darker_with_less_light(scene):
    means = [darken_as_camera(scene, seed=0, camera=DimCamera(light=x)).mean() for x in LIGHTS]
    assert means == sorted(means, reverse=True)
    assert LIGHTS == (0.10, 0.03, 0.01)


def test_camera_in_full_light_without_noise_is_the_image(scene):
    camera = DimCamera(light=1.0, full_scale_electrons=1e9, read_noise=0.0)
    np.testing.assert_array_equal(darken_as_camera(scene, seed=0, camera=camera), scene)


def test_with_a_gamma_shadows_lose_more_than_lights():
    def dark(value, gamma):
        camera = DimCamera(0.4, full_scale_electrons=1e9, read_noise=0.0, gamma=gamma)
        return float(darken_as_camera(flat(value), seed=0, camera=camera).mean())

    assert dark(255, 2.0) == dark(255, 1.0) == 102
    assert (dark(51, 1.0), dark(51, 2.0)) == (20, 4)  # 0.4 x 51, 0.4 x 51 x 51 / 255


@pytest.mark.parametrize("darken", [darken_as_paper, darken_as_camera, darken_as_sensor])
def test_a_seed_decides(darken, scene):
    before = scene.copy()
    first, again, other = (darken(scene, seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert first.shape == scene.shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(scene, before)
    assert first.mean() < scene.mean()


@pytest.mark.parametrize("darken", [darken_as_paper, darken_as_camera, darken_as_sensor])
@pytest.mark.parametrize("image", [np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3), np.float32)])
def test_what_is_no_photograph_is_refused(darken, image):
    with pytest.raises(FormatError, match=r"\(H, W, 3\) of uint8, not \(4, 5"):
        darken(image, seed=0)


def test_images_have_seeds_of_their_own():
    assert seed_of("a.png", 0) == seed_of("a.png", 0)
    assert len({seed_of("a.png", 0), seed_of("b.png", 0), seed_of("a.png", 1)}) == 3


@pytest.fixture
def sensor():
    return Sensor(
        ratio=20.0, gain=2.0, read=4.0, row=3.0, balance=(2.0, 1.0, 1.6), levels=2**14 - 1
    )


def test_processing_undoes_unprocessing(scene, sensor):
    raw = unprocess(scene / 255, sensor)
    assert 0 <= raw.min() <= raw.max() <= 1
    np.testing.assert_allclose(process(raw, sensor), scene / 255, atol=2e-3)
    assert np.rint(process(raw, sensor) * 255).tolist() == scene.tolist()


def test_unprocessing_by_hand(sensor):
    white = unprocess(np.ones((1, 1, 3)), sensor)[0, 0]
    assert white.tolist() == pytest.approx([1 / 2.0, 1.0, 1 / 1.6])
    grey = unprocess(np.full((1, 1, 3), 0.5), sensor)[0, 0]  # the tone curve keeps a half
    assert grey[1] == pytest.approx(0.5**2.2)


def test_exposure_moments(sensor):
    raw = np.full((400, 300, 3), 0.5)
    levels = expose(raw, sensor, np.random.default_rng(0)) * sensor.levels
    electrons = 0.5 * sensor.levels / 2.0 / 20.0
    assert levels.mean() == pytest.approx(2.0 * electrons, rel=5e-3)
    # within a row the row's own noise is constant
    within = levels.var(axis=1).mean()
    assert within == pytest.approx(4 * (electrons + 16) + 1 / 12, rel=0.01)
    between = levels.mean(axis=1).var()
    assert between == pytest.approx(4 * 9 + within / 300, rel=0.1)
    assert levels == pytest.approx(np.rint(levels), abs=1e-6)  # whole levels


def test_amplified_noise_keeps_the_brightness():
    still = SensorNoise(ratio=(10, 10), gain=(0.5, 0.5), read=(2, 2), row=(0.2, 0.2))
    dark = darken_as_sensor(flat(120), seed=0, noise=still)
    lit = darken_as_sensor(flat(120), seed=0, noise=still, amplify=True)
    assert dark.mean() < 40
    assert lit.mean() == pytest.approx(120, abs=4)
    assert lit.std() > 2


def test_sensors_are_drawn_from_their_ranges():
    rng = np.random.default_rng(0)
    drawn = [draw_sensor(rng, SensorNoise()) for _ in range(400)]
    ratios, gains = np.array([(s.ratio, s.gain) for s in drawn]).T
    assert 10 <= ratios.min() < 14
    assert 96 < ratios.max() <= 100
    assert np.median(gains) == pytest.approx(2.0, rel=0.25)  # even in the logarithm of 0.5 to 8
    assert {s.levels for s in drawn} == {16383}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PaperDarkness(brightness=(0.4, 0.1)), r"brightness is \(0.4, 0.1\)"),
        (lambda: DimCamera(light=0.0), "light is 0.0; give a share above 0"),
        (lambda: DimCamera(gamma=0.0), "gamma is 0.0; give a number above 0"),
        (lambda: DimCamera(full_scale_electrons=0.0), "full_scale_electrons is 0.0"),
        (lambda: SensorNoise(ratio=(0.5, 2)), "ratio is 1 or more"),
        (lambda: SensorNoise(read=(3, 2)), r"read is \(3, 2\)"),
        (lambda: SensorNoise(bits=4), "bits is 4; give 8 to 16"),
    ],
)
def test_ranges_that_cannot_be(build, message):
    with pytest.raises(RecipeError, match=message):
        build()
