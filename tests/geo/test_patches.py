"""Patches over strips, and what is too thin."""

import numpy as np
import pytest
from scipy import ndimage

from headframe.geo.patches import PatchSieve, without_threads


def sieved(codes, least, cuts, weights=None):
    weights = np.ones(codes.shape) if weights is None else weights
    strips = np.split(codes, cuts)
    sieve = PatchSieve(least)
    for strip, own in zip(strips, np.split(weights, cuts), strict=True):
        sieve.add(strip, own)
    sieve.finish()
    return np.concatenate([sieve.too_small(i, strip) for i, strip in enumerate(strips)])


@pytest.mark.parametrize("cuts", [[], [1], [7, 8, 20], list(range(1, 33))])
def test_strips_do_not_matter(cuts):
    rng = np.random.default_rng(3)
    codes = rng.choice([0, 1, 2], (33, 21), p=[0.35, 0.4, 0.25]).astype(np.uint8)
    expected = np.zeros(codes.shape, dtype=bool)
    for value in (1, 2):
        labels, count = ndimage.label(codes == value)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        expected |= (labels > 0) & (sizes[labels] < 6)
    found = sieved(codes, 6, cuts)
    assert np.array_equal(found, expected)
    assert 0 < found.sum() < (codes > 0).sum()


def test_corners_do_not_join_and_weights_count():
    codes = np.zeros((6, 9), np.uint8)
    codes[0:2, 0:2] = codes[2:4, 2:4] = 1  # meet at a corner only
    assert sieved(codes, 5, [3]).sum() == 8
    weights = np.where(np.arange(9) < 2, 2.0, 1.0) * np.ones((6, 1))
    assert np.argwhere(sieved(codes, 5, [3], weights)).min() == 2


def test_no_change_has_no_patches():
    assert not sieved(np.zeros((4, 5), np.uint8), 3, [2]).any()


def test_threads_go_and_bodies_keep_their_corners():
    codes = np.zeros((30, 40), np.uint8)
    codes[5:15, 5:15] = 2
    codes[4, 10] = 2  # a bump stays
    codes[8:10, 15:38] = 2  # a tail goes but for a stub
    codes[20:22, 3:30] = 3  # a thread goes
    found = without_threads(codes, 3)
    assert (found[4:15, 5:15] == codes[4:15, 5:15]).all()
    assert (found[8:10, 15:18] == 2).all()
    assert not found[:, 18:].any()
    assert not found[20:22].any()
    assert without_threads(codes, 1) is codes


def test_a_halo_of_two_sides_is_enough():
    rng = np.random.default_rng(5)
    noise = ndimage.gaussian_filter(rng.standard_normal((90, 40)), 2)
    codes = np.where(noise > 0.05, 2, np.where(noise < -0.1, 1, 0)).astype(np.uint8)
    whole = without_threads(codes, 4)
    assert 0 < (whole > 0).sum() < (codes > 0).sum()
    for top in (8, 31, 50):
        part = without_threads(codes[top - 8 : top + 28], 4)
        assert np.array_equal(part[8:28], whole[top : top + 20])
