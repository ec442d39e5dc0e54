import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headframe.core.modelspec import InputSpec
from headframe.engine.recipe import AugmentSection
from headframe.engine.samples import haze_of
from headframe.engine.sampling import CropPlan, CropStream, Sample, StreamSampler, recolour

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


def _crop_of(n=0, channels=4, **augment):
    """Sample ``n`` with and without the changes, a 48 px crop of 48 px chips."""
    rng = np.random.default_rng(2)
    samples = [
        Sample(
            rng.normal(size=(channels, 48, 48)).astype(np.float32),
            rng.integers(0, 2, (48, 48)).astype(np.uint8),
            "a",
        )
    ]
    plain = CropStream(samples, CropPlan(48, 3, STILL))[n]
    changed = CropStream(samples, CropPlan(48, 3, AugmentSection(dihedral=False, **augment)))[n]
    return plain, changed


@pytest.mark.parametrize(("field", "axis"), [("hflip", 1), ("vflip", 0)])
def test_flips_mirror_rows_and_columns(field, axis):
    (pixels, label), (mirrored, turned) = _crop_of(**{field: 1.0})
    assert torch.equal(mirrored, pixels.flip(axis + 1))
    assert torch.equal(turned, label.flip(axis))


def test_rotate90_makes_every_turn_but_none():
    found = set()
    for n in range(12):
        (pixels, label), (turned, target) = _crop_of(n, rotate90=1.0)
        views = [torch.rot90(pixels, k, (1, 2)) for k in range(4)]
        (turns,) = [k for k in range(4) if torch.equal(turned, views[k])]
        assert torch.equal(target, torch.rot90(label, turns, (0, 1)))
        found.add(turns)
    assert found == {1, 2, 3}


def test_rotation_by_any_angle_moves_label_and_pixels_alike():
    rows, cols = np.mgrid[:64, :64]
    label = ((rows - 40) ** 2 + (cols - 26) ** 2 < 100).astype(np.uint8)  # off the centre
    sample = Sample(np.repeat(label[None].astype(np.float32), 3, axis=0), label, "a")
    plan = CropPlan(64, 1, AugmentSection(dihedral=False, rotate=1.0))
    centres = set()
    for n in range(6):
        pixels, target = CropStream([sample], plan)[n]
        assert target.dtype == torch.int64
        assert set(target.unique().tolist()) == {0, 1}  # nearest: no new labels
        assert torch.isfinite(pixels).all()  # reflected border: no hole
        assert float(((pixels[0] > 0.5).long() == target).float().mean()) > 0.98
        assert abs(int(target.sum()) - int(label.sum())) < 25
        centres.add(tuple(int(v.float().mean()) for v in torch.nonzero(target, as_tuple=True)))
    assert len(centres) == 6  # six different angles


def test_channel_shuffle_permutes_whole_bands():
    orders = set()
    for n in range(8):
        (pixels, label), (shuffled, target) = _crop_of(n, channel_shuffle=1.0)
        assert torch.equal(label, target)
        orders.add(
            tuple(next(k for k in range(4) if torch.equal(band, pixels[k])) for band in shuffled)
        )
    assert len(orders) > 3
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)


def test_cells_change_places_and_keep_their_labels():
    label = np.arange(64, dtype=np.uint8).reshape(8, 8).repeat(8, 0).repeat(8, 1)
    sample = Sample(np.repeat(label[None].astype(np.float32), 2, axis=0), label, "a")
    stream = CropStream([sample], CropPlan(64, 1, AugmentSection(dihedral=False, grid_shuffle=1.0)))
    sides = set()
    for n in range(8):
        pixels, target = stream[n]
        assert torch.equal(pixels[0].long(), target)  # label and pixels move as one
        assert target.flatten().bincount().tolist() == [64] * 64  # nothing lost, nothing twice
        corners = {int(target[row, col]) for row in (0, 32) for col in (0, 32)}
        sides.add(2 if corners == {0, 4, 32, 36} else 4)
    assert sides == {2, 4}


def test_probability_is_kept():
    hits = sum(not torch.equal(*(p[0] for p in _crop_of(n, hflip=0.3))) for n in range(200))
    assert 40 <= hits <= 80


def test_streams_from_before_the_new_fields_are_unchanged():
    stream = CropStream(_samples(), CropPlan(32, 7, WILD))
    crops = [stream[n] for n in range(6)]
    assert zlib.crc32(b"".join(label.numpy().tobytes() for _, label in crops)) == 2024500624
    means = [-0.481287, -0.197075, 0.09726, -0.229112, -0.010377, -0.645518]
    assert [float(pixels.mean()) for pixels, _ in crops] == pytest.approx(means, abs=1e-5)


def test_haze_falls_with_the_fourth_power_of_the_wavelength():
    """Blue gets most, short-wave infrared and radar nothing; thickness is drawn anew every time."""
    bands = ("blue", "green", "nir", "swir16", "vv")
    inputs = InputSpec(
        "sentinel-2-l2a+sentinel-1-grd", bands, 10.0, (0,) * 5, (0.1, 0.1, 0.2, 0.1, 3.0), ()
    )
    haze = haze_of(inputs)
    assert haze[0] == pytest.approx(10, rel=0.05)
    assert haze[1] / haze[0] == pytest.approx((492 / 560) ** 4, rel=0.02)
    assert haze[2] / haze[0] == pytest.approx((492 / 833) ** 4 / 2, rel=0.02)
    assert haze[3] < 0.01 * haze[0]
    assert haze[4] == 0
    pixels, augment = torch.zeros(5, 4, 4), AugmentSection(haze=0.08)
    rng = np.random.default_rng(0)
    seen = torch.stack([recolour(pixels, augment, rng, haze=haze)[:, 0, 0] for _ in range(200)])
    assert 0 <= seen[:, 0].min() < 0.05
    assert 0.75 < seen[:, 0].max() <= 0.08 * haze[0]
    torch.testing.assert_close(seen / seen[:, :1], torch.tensor(haze).expand(200, 5) / haze[0])
    assert torch.equal(recolour(pixels, augment, rng), pixels)
    assert torch.equal(recolour(pixels, STILL, rng, haze=haze), pixels)


def test_calm_crops_keep_size_and_colours():
    """A share of them, drawn crop by crop; turns and mirrors stay."""
    wild = AugmentSection(scale=2, gain=0.3, offset=0.5, noise=0.1)
    samples = _samples(40, 32, 32)
    stream = CropStream(samples, CropPlan(32, 3, wild.model_copy(update={"calm": 0.4})))
    kept = 0
    for n in range(200):
        pixels, _ = stream[n]
        own = torch.from_numpy(samples[stream.chip_of(n)].pixels).flatten().sort().values
        kept += torch.equal(pixels.flatten().sort().values, own)
    assert 60 <= kept <= 100
