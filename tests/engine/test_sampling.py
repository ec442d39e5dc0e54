import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headframe.engine.recipe import AugmentSection
from headframe.engine.sampling import CropPlan, CropStream, Sample, StreamSampler

WILD = AugmentSection(scale=1.5, gain=0.2, band_gain=0.1, offset=0.2, noise=0.05)
STILL = AugmentSection(dihedral=False)


def _samples(count=5, height=70, width=90):
    rng = np.random.default_rng(4)
    return [
        Sample(
            rng.normal(size=(3, height, width)).astype(np.float32),
            rng.integers(0, 2, (height, width)).astype(np.uint8),
            f"site{i}",
        )
        for i in range(count)
    ]


def test_a_sample_is_a_function_of_its_number():
    plan = CropPlan(32, 7, WILD)
    one, two = CropStream(_samples(), plan), CropStream(_samples(), plan)
    for n in (0, 3, 12, 4):  # read in another order than the stream's
        for a, b in zip(one[n], two[n], strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(one[0][0], one[5][0])
    other = CropStream(_samples(), CropPlan(32, 8, WILD))
    assert not torch.equal(one[0][0], other[0][0])


@given(st.integers(0, 50), st.integers(0, 9))
def test_every_epoch_shows_every_chip_once(epoch, seed):
    stream = CropStream(_samples(), CropPlan(32, seed, STILL))
    first = epoch * len(stream)
    assert sorted(stream.chip_of(first + i) for i in range(5)) == [0, 1, 2, 3, 4]


def test_plain_crop_is_cut_from_the_chip():
    samples = _samples(1)
    pixels, label = CropStream(samples, CropPlan(32, 0, STILL))[0]
    windows = np.lib.stride_tricks.sliding_window_view(samples[0].pixels, (32, 32), (1, 2))
    hits = np.argwhere((windows[0] == pixels[0].numpy()).all((-1, -2)))
    assert len(hits) == 1
    row, col = hits[0]
    assert np.array_equal(label.numpy(), samples[0].label[row : row + 32, col : col + 32])


def test_label_moves_with_the_pixels():
    rng = np.random.default_rng(0)
    label = (rng.random((80, 80)) > 0.5).astype(np.uint8)
    pixels = np.repeat(label[None].astype(np.float32), 3, axis=0)
    stream = CropStream([Sample(pixels, label, "a")], CropPlan(32, 1, AugmentSection()))
    for n in range(8):
        crop, target = stream[n]
        assert torch.equal(crop[1].long(), target)


def test_nodata_is_ignored_and_filled():
    sample = _samples(1)[0]
    sample.pixels[1, :, :40] = np.nan
    for n in range(4):
        pixels, label = CropStream([sample], CropPlan(64, 0, WILD))[n]
        assert torch.isfinite(pixels).all()
        assert (label == 255).any()
        assert ((label == 255) | (label < 2)).all()


def test_small_chip_is_padded_with_ignored_pixels():
    pixels, label = CropStream(_samples(1, 20, 50), CropPlan(64, 0, STILL))[0]
    assert pixels.shape == (3, 64, 64)
    assert (label[20:] == 255).all()
    assert (label[:20, :50] < 2).all()


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(1, 20), st.integers(1, 8), st.integers(1, 3))
def test_processes_share_the_stream_and_resume_in_it(start, more, batch, world):
    steps = start + more
    whole = [
        list(StreamSampler(start=0, steps=steps, batch=batch, rank=r, world=world))
        for r in range(world)
    ]
    assert sorted(n for part in whole for n in part) == list(range(steps * batch * world))
    resumed = StreamSampler(start=start, steps=steps, batch=batch, rank=0, world=world)
    assert list(resumed) == whole[0][start * batch :]
    assert len(resumed) == more * batch


@pytest.mark.parametrize("seed", [0, 1])
def test_zoom_keeps_label_values(seed):
    stream = CropStream(_samples(), CropPlan(32, seed, AugmentSection(scale=2.0)))
    for n in range(10):
        pixels, label = stream[n]
        assert pixels.shape == (3, 32, 32)
        assert set(label.unique().tolist()) <= {0, 1}
