"""MineC2FNet's distillation, by values computed by hand and by what must hold of any input."""

import math

import pytest
import torch
from torch.nn import functional

from headframe.core.errors import GridMismatchError, RecipeError
from headframe.losses.distillation import (
    Attentive,
    boundary_band,
    boundary_loss,
    channel_attention,
    feature_distillation,
    place_attention,
    prediction_distillation,
)

PLAIN = Attentive(attention=False, gate=0.0)


def _label(height=12, width=16):
    label = torch.zeros(2, height, width, dtype=torch.long)
    label[0, 4:9, 5:12] = 1
    label[1, :, 8:] = 1
    label[1, :2] = 255
    return label


def _random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_band_by_hand():
    label = torch.zeros(1, 5, 7, dtype=torch.long)
    label[0, :, 3:] = 1  # the outline lies between columns 2 and 3
    assert boundary_band(label, 1)[0, 2].tolist() == [False, False, True, True, False, False, False]
    assert boundary_band(label, 2)[0, 0].tolist() == [False, True, True, True, True, False, False]
    label[0, :, 3] = 255  # nothing is known of the outline, but the classes meet within reach
    assert boundary_band(label, 1)[0, 2].tolist() == [False] * 7
    assert boundary_band(label, 2)[0, 2].tolist() == [False, False, True, False, True, False, False]
    assert not boundary_band(torch.ones(1, 5, 7, dtype=torch.long), 3).any()


def test_attention_by_hand():
    features = torch.tensor([[[[1.0, 0.0]], [[-1.0, 2.0]]]])  # (1, 2, 1, 2)
    energy = [1.0, 2.0]  # means of squares over channels
    raised = [math.exp(e / 0.5) for e in energy]
    expected = [2 * r / sum(raised) for r in raised]
    raw = Attentive(feature_scale="raw", feature_tau=0.5)
    assert place_attention(features, raw).flatten().tolist() == pytest.approx(expected)
    sizes = [math.exp(0.5), math.exp(1.5)]
    expected = [2 * s / sum(sizes) for s in sizes]
    raw = Attentive(feature_scale="raw")
    assert channel_attention(features, raw).flatten().tolist() == pytest.approx(expected)
    raised = [math.exp(-1), math.exp(1)]  # of two, one lies a deviation above the mean
    expected = [2 * r / sum(raised) for r in raised]
    for found in (place_attention(features), channel_attention(features)):
        assert found.flatten().tolist() == pytest.approx(expected)
    for one_kind in (place_attention(torch.ones(1, 2, 3, 4)), place_attention(features[..., :1])):
        assert one_kind.flatten().tolist() == pytest.approx([1.0] * one_kind.numel())
    many = _random(3, 8, 5, 6)
    assert place_attention(many).mean(dim=(1, 2, 3)).tolist() == pytest.approx([1.0] * 3)
    assert channel_attention(many).mean(dim=(1, 2, 3)).tolist() == pytest.approx([1.0] * 3)


def test_attention_forgets_how_large_features_are():
    features = _random(2, 8, 6, 7)
    for attention in (place_attention, channel_attention):
        torch.testing.assert_close(attention(50 * features), attention(features))
        raw = attention(50 * features, Attentive(feature_scale="raw"))
        assert float(raw.max()) > 0.8 * raw[0].numel() > float(attention(features).max())
    with pytest.raises(RecipeError, match=r"feature_scale is 'mean'; give one of deviation, raw"):
        Attentive(feature_scale="mean")


def test_feature_distance_by_hand():
    """Two channels at one cell: (1, 0) against (0, 1) is a distance of 1 in both, 1 in the mean."""
    own, told = torch.tensor([[[[3.0]], [[0.0]]]]), torch.tensor([[[[0.0]], [[5.0]]]])
    label = torch.zeros(1, 4, 4, dtype=torch.long)
    assert float(feature_distillation([own], [told], label, PLAIN)) == pytest.approx(1.0)
    channels = torch.tensor([-1.0, 1.0]).softmax(0) * 2  # places: one cell, attention 1
    expected = float((channels * torch.tensor([1.0, 1.0])).mean())
    options = Attentive(transfer=0.0)
    assert float(feature_distillation([own], [told], label, options)) == pytest.approx(expected)


def test_transfer_is_the_distance_of_unit_maps():
    own = torch.tensor([[[[1.0, 0.0]]]])
    told = torch.tensor([[[[0.0, 2.0]]]])
    label = torch.zeros(1, 2, 2, dtype=torch.long)
    without = feature_distillation([own], [told], label, Attentive(transfer=0.0))
    with_it = feature_distillation([own], [told], label, Attentive(transfer=3.0))
    assert float(with_it - without) == pytest.approx(3 * math.sqrt(2))


def test_prediction_distance_by_hand():
    teacher = torch.full((1, 1, 3, 3), 2.0)
    student = torch.full((1, 1, 3, 3), -1.0)
    label = torch.ones(1, 3, 3, dtype=torch.long)

    def divergence(tau):
        p, q = (1 / (1 + math.exp(-z / tau)) for z in (2.0, -1.0))
        return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))

    for tau in (1.0, 2.0):
        options = Attentive(attention=False, gate=0.0, tau=tau)
        loss = prediction_distillation(student, teacher, label, options)
        assert float(loss) == pytest.approx(tau**2 * divergence(tau), rel=1e-5)
    # All pixels alike: weights cancel, whether the teacher contradicts the label or not.
    assert float(prediction_distillation(student, teacher, 0 * label)) == pytest.approx(
        4 * divergence(2.0), rel=1e-5
    )


def test_pixels_where_the_teacher_errs_or_doubts_count_less():
    """One pixel each: sure and right, sure and wrong, in doubt; the student is off at one."""
    teacher = torch.tensor([[[[6.0, 6.0, 0.0]]]])
    label = torch.tensor([[[1, 0, 1]]])
    options = Attentive(gate=0.0)
    shares = []
    for off in range(3):
        student = teacher.clone()
        student[0, 0, 0, off] -= 3.0
        shares.append(float(prediction_distillation(student, teacher, label, options)))
    assert shares[2] == pytest.approx(0.0, abs=1e-6)  # full doubt: no weight
    assert shares[1] == pytest.approx(0.1 * shares[0], rel=1e-4)


def test_near_outlines_nothing_is_distilled():
    label = _label(32, 32)
    band = boundary_band(label, 4)
    teacher, student = _random(2, 1, 32, 32), _random(2, 1, 32, 32, seed=1)
    student.requires_grad_()
    prediction_distillation(student, teacher, label).backward()
    assert bool((student.grad[:, 0][band] == 0).all())
    assert bool((student.grad[:, 0][~band & (label != 255)] != 0).all())
    own = _random(2, 4, 32, 32, seed=2).requires_grad_()
    options = Attentive(transfer=0.0)
    feature_distillation([own], [_random(2, 4, 32, 32, seed=3)], label, options).backward()
    moved = own.grad.abs().amax(dim=1)
    assert bool((moved[band] == 0).all())
    assert bool((moved[~band] > 0).all())


@pytest.mark.parametrize("options", [Attentive(), PLAIN])
def test_an_agreeing_student_loses_nothing_and_gets_a_finite_gradient(options):
    label = _label()
    levels = [_random(2, 4, 12, 16), _random(2, 8, 6, 8, seed=1)]
    own = [level.clone().requires_grad_() for level in levels]
    loss = feature_distillation(own, levels, label, options)
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-7)
    loss.backward()
    assert all(bool(level.grad.isfinite().all()) for level in own)
    logits = _random(2, 3, 12, 16)
    assert float(prediction_distillation(logits, logits, label, options)) == pytest.approx(
        0.0, abs=1e-6
    )


def test_ignored_pixels_teach_nothing():
    label = _label()
    student = _random(2, 1, 12, 16).requires_grad_()
    teacher = _random(2, 1, 12, 16, seed=1)
    (prediction_distillation(student, teacher, label) + boundary_loss(student, label)).backward()
    assert bool((student.grad[:, 0][label == 255] == 0).all())
    nothing = torch.full_like(label, 255)
    assert float(prediction_distillation(student, teacher, nothing).detach()) == 0.0
    assert float(boundary_loss(student, nothing).detach()) == 0.0


@pytest.mark.parametrize("classes", [1, 3])
def test_boundary_loss_is_cross_entropy_in_the_band(classes):
    label = _label()
    logits = _random(2, classes, 12, 16)
    band = boundary_band(label, 2)
    if classes == 1:
        expected = functional.binary_cross_entropy_with_logits(
            logits[:, 0][band], label[band].float()
        )
    else:
        expected = functional.cross_entropy(logits.movedim(1, -1)[band], label[band])
    torch.testing.assert_close(boundary_loss(logits, label, 2), expected)


def test_what_does_not_fit_is_refused():
    label = _label()
    with pytest.raises(GridMismatchError, match="the same levels of both"):
        feature_distillation([_random(2, 4, 6, 8)], [_random(2, 4, 3, 4)], label)
    with pytest.raises(GridMismatchError, match="do not fit each other"):
        prediction_distillation(_random(2, 1, 6, 8), _random(2, 1, 6, 8), label)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"gate": 1.5}, "gate is 1.5"),
        ({"width_px": 0}, "width_px is 0"),
        ({"disagreement": -0.1}, "disagreement is -0.1"),
        ({"transfer": -1.0}, "transfer is -1.0"),
        ({"tau": 0.0}, "temperatures are 1.0 and 0.0"),
    ],
)
def test_ranges_are_checked(values, match):
    with pytest.raises(RecipeError, match=match):
        Attentive(**values)
