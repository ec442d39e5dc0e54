"""Losses of masks against values computed by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import sigmoid_focal_loss

from headframe.core.errors import GridMismatchError, RecipeError, UnknownNameError
from headframe.losses.instances import (
    MASK_LOSSES,
    MaskLossOptions,
    binary_cross_entropy,
    binary_focal,
    build_mask_loss,
    inverse_frequency,
    weighted_dice,
)

SURE = 100.0


def logit(p):
    return torch.tensor(p).logit()


@pytest.fixture
def half_right():
    """One row of four pixels: p is 0.8, 0.4, 0.1, 0.5 where the truth is 1, 1, 0, 0.

    Object: TP = 1.2, FP = 0.6, FN = 0.8. Surroundings: TP = 0.9 + 0.5 = 1.4, FP = 0.8, FN = 0.6.
    """
    return logit([0.8, 0.4, 0.1, 0.5]).view(1, 1, 4), torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])


def test_weighted_dice_by_hand(half_right):
    # 1 - 2 (0.7 1.2 + 0.3 1.4) / (0.7 (2.4 + 1.4) + 0.3 (2.8 + 1.4)) = 1 - 2.52 / 3.92
    assert float(weighted_dice(*half_right)) == pytest.approx(1 - 2.52 / 3.92)
    # plain Dice: 1 - 2.4 / 3.8
    plain = weighted_dice(*half_right, foreground_weight=1.0)
    assert float(plain) == pytest.approx(1 - 2.4 / 3.8)


def test_weighted_dice_as_printed_by_hand(half_right):
    # 1 - 2.52 / (0.7 (1.2 + 1.4) + 0.3 (1.4 + 1.4)) = 1 - 2.52 / 2.66
    assert float(weighted_dice(*half_right, as_printed=True)) == pytest.approx(1 - 2.52 / 2.66)


def test_a_perfect_mask_is_nought_and_as_printed_minus_one():
    target = torch.zeros(2, 28, 28)
    target[0, 3:20, 5:9] = 1  # the other one has no object pixel at all
    logits = SURE * (2 * target - 1)
    assert weighted_dice(logits, target).tolist() == [0, 0]
    assert weighted_dice(logits, target, as_printed=True).tolist() == [-1, -1]
    assert weighted_dice(-logits, target).tolist() == [1, 1]
    assert weighted_dice(-logits, target, as_printed=True).tolist() == [1, 1]


def test_plain_dice_of_nothing_is_finite():
    logits = torch.full((1, 4, 4), -SURE, requires_grad=True)
    loss = weighted_dice(logits, torch.zeros(1, 4, 4), foreground_weight=1.0)
    loss.sum().backward()
    assert bool(torch.isfinite(loss).all())
    assert bool(torch.isfinite(logits.grad).all())


def test_focal_by_hand(half_right):
    # 0.25 (0.2^2 -ln 0.8 + 0.6^2 -ln 0.4) + 0.75 (0.1^2 -ln 0.9 + 0.5^2 -ln 0.5), over 4
    inside = 0.04 * -math.log(0.8) + 0.36 * -math.log(0.4)
    outside = 0.01 * -math.log(0.9) + 0.25 * -math.log(0.5)
    expected = (0.25 * inside + 0.75 * outside) / 4
    assert float(binary_focal(*half_right)) == pytest.approx(expected, rel=1e-5)


def test_focal_as_printed_does_not_see_the_truth(half_right):
    logits, target = half_right
    p = [0.8, 0.4, 0.1, 0.5]
    terms = [
        -0.25 * (1 - v) ** 2 * math.log(v) - 0.75 * v**2 * math.log(1 - v)  # eq. 5
        for v in p
    ]
    printed = binary_focal(logits, target, as_printed=True)
    assert float(printed) == pytest.approx(sum(terms) / 4, rel=1e-5)
    assert torch.equal(printed, binary_focal(logits, 1 - target, as_printed=True))


def test_focal_of_no_focus_is_half_of_cross_entropy(half_right):
    halved = binary_focal(*half_right, alpha=0.5, gamma=0.0)
    torch.testing.assert_close(halved, binary_cross_entropy(*half_right) / 2)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 999), st.floats(0, 1), st.floats(0, 4))
def test_focal_is_torchvisions_for_hard_targets(seed, alpha, gamma):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 5, 5, generator=generator)
    target = (torch.rand(2, 5, 5, generator=generator) > 0.6).float()
    theirs = sigmoid_focal_loss(logits, target, alpha=alpha, gamma=gamma)
    ours = binary_focal(logits, target, alpha=alpha, gamma=gamma)
    torch.testing.assert_close(ours, theirs.flatten(1).mean(dim=1), rtol=1e-4, atol=1e-6)


def test_a_root_of_nought_has_a_finite_slope():
    logits = torch.full((1, 2, 2), 120.0, requires_grad=True)
    binary_focal(logits, torch.ones(1, 2, 2), gamma=0.5).sum().backward()
    assert bool(torch.isfinite(logits.grad).all())


@pytest.mark.parametrize("name", MASK_LOSSES)
def test_no_object_costs_nothing(name):
    logits = torch.zeros(0, 28, 28, requires_grad=True)
    loss = build_mask_loss(name)(logits, torch.zeros(0, 28, 28), torch.zeros(0, dtype=torch.long))
    assert loss.item() == 0
    loss.backward()
    assert logits.grad.shape == (0, 28, 28)


@pytest.mark.parametrize("name", MASK_LOSSES)
def test_half_precision_is_computed_in_full(name):
    logits = torch.full((1, 28, 28), -20.0, dtype=torch.bfloat16, requires_grad=True)
    loss = build_mask_loss(name)(logits, torch.ones(1, 28, 28), torch.ones(1, dtype=torch.long))
    assert loss.dtype == torch.float32
    loss.backward()
    assert bool(torch.isfinite(logits.grad).all())


def test_dice_and_focal_are_added(half_right):
    logits, target = half_right
    label = torch.tensor([1])
    dice, focal = weighted_dice(logits, target), binary_focal(logits, target)
    assert build_mask_loss("dice_focal")(logits, target, label) == pytest.approx(
        float(dice + focal)
    )
    half = MaskLossOptions(focal_weight=0.5)
    assert build_mask_loss("dice_focal", half)(logits, target, label) == pytest.approx(
        float(dice + 0.5 * focal)
    )
    printed = weighted_dice(logits, target, as_printed=True) + binary_focal(
        logits, target, as_printed=True
    )
    assert build_mask_loss("dice_focal_as_printed")(logits, target, label) == pytest.approx(
        float(printed)
    )


def test_the_wrong_way_costs_more():
    target = torch.zeros(1, 6, 8)
    target[0, 1:3, 2:7] = 1
    logits = 2 * (2 * target - 1)
    label = torch.tensor([2])
    for name in ("dice_focal", "bce"):
        loss = build_mask_loss(name)
        assert loss(logits, target, label) < loss(-logits, target, label)


def test_rare_classes_weigh_more():
    assert inverse_frequency([30, 10, 0]) == pytest.approx((40 / 60, 2.0, 0.0))
    logits = torch.stack([torch.zeros(2, 2), torch.full((2, 2), SURE)])
    target = torch.ones(2, 2, 2)
    labels = torch.tensor([2, 1])
    loss = build_mask_loss("bce", MaskLossOptions(class_weights=(1.0, 3.0)))
    assert float(loss(logits, target, labels)) == pytest.approx(3 * math.log(2) / 4)
    even = build_mask_loss("bce")
    assert float(even(logits, target, labels)) == pytest.approx(math.log(2) / 2)
    none = build_mask_loss("bce", MaskLossOptions(class_weights=(1.0, 0.0)))
    assert float(none(logits[:1], target[:1], labels[:1])) == 0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"foreground_weight": 0.0}, "foreground_weight is 0.0"),
        ({"foreground_weight": 1.2}, "foreground_weight is 1.2"),
        ({"alpha": -0.1}, "alpha -0.1"),
        ({"gamma": -1}, "gamma is -1"),
        ({"focal_weight": -1}, "focal_weight -1"),
        ({"class_weights": ()}, "cannot be used"),
        ({"class_weights": (0.0, 0.0)}, "cannot be used"),
        ({"class_weights": (1.0, -1.0)}, "cannot be used"),
    ],
)
def test_options_that_make_no_sense(values, said):
    with pytest.raises(RecipeError, match=said):
        MaskLossOptions(**values)


def test_what_does_not_fit():
    loss = build_mask_loss("bce", MaskLossOptions(class_weights=(1.0,)))
    with pytest.raises(GridMismatchError, match="do not fit"):
        loss(torch.zeros(2, 4, 4), torch.zeros(2, 4, 5), torch.ones(2))
    with pytest.raises(GridMismatchError, match="do not fit"):
        loss(torch.zeros(2, 4, 4), torch.zeros(2, 4, 4), torch.ones(3))
    with pytest.raises(RecipeError, match="has 1 values, an object is of class 2"):
        loss(torch.zeros(1, 4, 4), torch.zeros(1, 4, 4), torch.tensor([2]))
    with pytest.raises(UnknownNameError, match="unknown mask loss 'dice'; closest: dice_focal"):
        build_mask_loss("dice")
    with pytest.raises(RecipeError, match="no object to weigh"):
        inverse_frequency([0, 0])
