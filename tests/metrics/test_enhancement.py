"""Scores of enhanced photographs, by hand."""

import math

import numpy as np
import pytest

from headframe.core.errors import GridMismatchError
from headframe.metrics.enhancement import (
    entropy_bits,
    lightness_order_error,
    matched_psnr_db,
    psnr_db,
    ssim,
)


@pytest.fixture
def truth():
    return np.random.default_rng(0).uniform(0.2, 0.8, (3, 24, 37)).astype(np.float32)


def test_psnr_by_hand(truth):
    assert psnr_db(truth + np.float32(0.1), truth) == pytest.approx(20.0, abs=1e-3)
    assert psnr_db(truth, truth) == math.inf


def test_matching_the_mean_forgives_brightness_and_nothing_else(truth):
    assert matched_psnr_db(truth / 2, truth) > 100
    assert psnr_db(truth / 2, truth) < 13
    mirrored = truth[..., ::-1].copy()
    assert matched_psnr_db(mirrored, truth) == pytest.approx(psnr_db(mirrored, truth), abs=1e-3)
    black = np.zeros_like(truth)
    assert matched_psnr_db(black, truth) == psnr_db(black, truth)


def test_matched_values_are_clipped():
    image = np.array([0.1, 0.9], dtype=np.float32).reshape(1, 1, 2).repeat(3, axis=0)
    truth = np.array([0.5, 1.0], dtype=np.float32).reshape(1, 1, 2).repeat(3, axis=0)
    # times 1.5: 0.15 and 1.35, clipped to 1
    expected = -10 * math.log10(0.35**2 / 2)
    assert matched_psnr_db(image, truth) == pytest.approx(expected, abs=1e-4)


def test_ssim(truth):
    assert ssim(truth, truth) == pytest.approx(1.0, abs=1e-6)
    assert ssim(1 - truth, truth) < 0.2


def test_lightness_order(truth):
    assert lightness_order_error(truth**0.5, truth) == pytest.approx(0, abs=2e-2)
    image = np.array([0.2, 0.4], dtype=np.float32).reshape(1, 1, 2).repeat(3, axis=0)
    swapped = image[..., ::-1].copy()
    # of the four ordered pairs the two of different places are flipped
    assert lightness_order_error(swapped, image) == 0.5
    assert lightness_order_error(image * 2, image) == 0


def test_entropy():
    flat = np.full((3, 4, 6), 0.3, dtype=np.float32)
    assert entropy_bits(flat) == 0
    halves = flat.copy()
    halves[:, :2] = 0.9
    assert entropy_bits(halves) == pytest.approx(1.0)


@pytest.mark.parametrize("score", [psnr_db, matched_psnr_db, ssim, lightness_order_error])
def test_sizes_must_agree(score, truth):
    with pytest.raises(GridMismatchError, match="cannot be compared"):
        score(truth[:, :, :-1].copy(), truth)
