"""One contract for every loss, and the identities that tie them together."""

import math

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from headframe.core.errors import (
    DatasetError,
    GridMismatchError,
    RecipeError,
    UnknownNameError,
)
from headframe.losses.build import LOSSES, build_loss

BINARY = sorted(LOSSES)
MULTI = sorted(name for name in LOSSES if not name.startswith("bce"))
CASES = [(name, 1) for name in BINARY] + [(name, 3) for name in MULTI]


def sample(channels, seed=3, n=2, h=6, w=9):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, channels, h, w, generator=g)
    target = torch.randint(0, max(channels, 2), (n, h, w), generator=g)
    ignored = torch.rand(n, h, w, generator=g) < 0.3
    target[ignored] = 255
    return logits, target


@pytest.mark.parametrize(("name", "channels"), CASES)
def test_ignored_pixels_change_nothing_and_get_no_gradient(name, channels):
    logits, target = sample(channels)
    ignored = (target == 255)[:, None].expand_as(logits)
    loss = build_loss(name)
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, target)
    value.backward()
    changed = torch.where(ignored, 50.0 * torch.randn_like(logits), logits)
    assert value.shape == ()
    assert torch.equal(value.detach(), loss(changed, target))
    assert torch.count_nonzero(leaf.grad[ignored]) == 0
    assert torch.count_nonzero(leaf.grad[~ignored]) > 0


@pytest.mark.parametrize(("name", "channels"), CASES)
def test_nan_under_ignore_is_harmless(name, channels):
    logits, target = sample(channels)
    ignored = (target == 255)[:, None].expand_as(logits)
    leaf = torch.where(ignored, torch.nan, logits).requires_grad_()
    build_loss(name)(leaf, target).backward()
    assert torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize(("name", "channels"), CASES)
def test_all_ignored_is_zero_with_a_gradient(name, channels):
    logits, target = sample(channels)
    leaf = torch.full_like(logits, torch.nan).requires_grad_()
    value = build_loss(name)(leaf, torch.full_like(target, 255))
    value.backward()
    assert value.item() == 0
    assert torch.equal(leaf.grad, torch.zeros_like(leaf))


@pytest.mark.parametrize(("name", "channels"), CASES)
def test_the_value_is_that_of_the_valid_pixels_alone(name, channels):
    """Padding an image with ignored pixels leaves its loss as it was."""
    logits, target = sample(channels)
    target[target == 255] = 0
    loss = build_loss(name)
    padded = F.pad(logits, (2, 1, 0, 4), value=9.0)
    ignored = F.pad(target, (2, 1, 0, 4), value=255)
    torch.testing.assert_close(loss(padded, ignored), loss(logits, target), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "channels"), CASES)
def test_a_confident_right_answer_is_near_zero_and_a_wrong_one_is_not(name, channels):
    _logits, target = sample(channels)
    target[target == 255] = 0
    index = target[:, None].float()
    right = 40 * index - 20 if channels == 1 else 20.0 * F.one_hot(target, channels).movedim(-1, 1)
    loss = build_loss(name)
    assert loss(right, target).item() < 1e-3
    assert loss(-right, target).item() > 0.5


@pytest.mark.parametrize(("name", "channels"), CASES)
def test_half_precision_logits_give_a_float32_loss(name, channels):
    logits, target = sample(channels, n=1, h=300, w=300)
    value = build_loss(name)(logits.half(), target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, build_loss(name)(logits, target), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(("name", "channels"), CASES)
def test_autocast_changes_nothing(name, channels):
    logits, target = sample(channels)
    with torch.autocast("cpu", torch.bfloat16):
        value = build_loss(name)(logits, target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, build_loss(name)(logits, target))


@pytest.mark.parametrize(("name", "channels"), CASES)
def test_extreme_logits_stay_finite(name, channels):
    logits, target = sample(channels)
    leaf = (1e4 * logits).requires_grad_()
    value = build_loss(name)(leaf, target)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize(("name", "channels"), CASES)
def test_descending_the_gradient_lowers_the_loss(name, channels):
    logits, target = sample(channels)
    leaf = logits.clone().requires_grad_()
    loss = build_loss(name)
    before = loss(leaf, target)
    (grad,) = torch.autograd.grad(before, leaf)
    assert loss(logits - 0.5 * grad / grad.norm(), target).item() < before.item()


# Identities


@pytest.mark.parametrize("channels", [1, 3])
def test_tversky_at_one_half_is_dice_and_at_one_is_jaccard(channels):
    logits, target = sample(channels)
    assert torch.equal(
        build_loss("tversky", alpha=0.5, beta=0.5)(logits, target),
        build_loss("dice")(logits, target),
    )
    assert torch.equal(
        build_loss("tversky", alpha=1.0, beta=1.0)(logits, target),
        build_loss("jaccard")(logits, target),
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["dice", "jaccard"])
def test_overlap_losses_are_those_of_smp_where_its_masking_is_sound(name, channels):
    logits, target = sample(channels)
    kind = {"dice": smp.losses.DiceLoss, "jaccard": smp.losses.JaccardLoss}[name]
    mode = "binary" if channels == 1 else "multiclass"
    torch.testing.assert_close(
        build_loss(name, smooth=1.0)(logits, target),
        kind(mode, smooth=1.0, ignore_index=255)(logits, target),
    )


def test_dice_by_hand():
    # Scores 1/2 everywhere; three of the four counted pixels are the target.
    target = torch.tensor([[[1, 1], [0, 1], [255, 255]]])
    value = build_loss("dice")(torch.zeros(1, 1, 3, 2), target)
    # TP 1.5, FP 0.5, FN 1.5: 1 - 3 / (3 + 0.5 + 1.5)
    assert value.item() == pytest.approx(0.4, abs=1e-6)
    smooth = build_loss("tversky", alpha=0.3, beta=0.7, smooth=1.0)
    value = smooth(torch.zeros(1, 1, 3, 2), target)
    assert value.item() == pytest.approx(1 - 2.5 / (2.5 + 0.3 * 0.5 + 0.7 * 1.5), abs=1e-6)


def test_dice_without_positives_is_zero_as_documented():
    logits = torch.randn(1, 1, 4, 5, requires_grad=True)
    value = build_loss("dice")(logits, torch.zeros(1, 4, 5, dtype=torch.int64))
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_focal_without_focus_is_cross_entropy(channels):
    logits, target = sample(channels)
    torch.testing.assert_close(
        build_loss("focal", gamma=0.0)(logits, target), build_loss("ce")(logits, target)
    )


def test_focal_gamma_zero_with_alpha_is_weighted_bce():
    logits, target = sample(1)
    valid = target != 255
    pixel = F.binary_cross_entropy_with_logits(
        logits[:, 0][valid], target[valid].float(), reduction="none"
    )
    expected = torch.where(target[valid] == 1, 0.8, 0.2) * pixel
    torch.testing.assert_close(
        build_loss("focal", gamma=0.0, alpha=0.8)(logits, target), expected.mean()
    )


def test_focal_of_two_softmax_classes_is_that_of_one_logit():
    logits, target = sample(1)
    two = torch.cat([torch.zeros_like(logits), logits], dim=1)
    for gamma in (0.5, 2.0):
        loss = build_loss("focal", gamma=gamma)
        torch.testing.assert_close(loss(two, target), loss(logits, target))


@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize("gamma", [1.0, 2.0, 3.5])
def test_focal_on_one_logit_is_that_of_smp(gamma, alpha):
    logits, target = sample(1)
    torch.testing.assert_close(
        build_loss("focal", gamma=gamma, alpha=alpha)(logits, target),
        smp.losses.FocalLoss("binary", gamma=gamma, alpha=alpha, ignore_index=255)(logits, target),
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_focal_gradient_of_a_sure_pixel_is_finite_for_small_gamma(channels):
    logits, target = sample(channels)
    leaf = (1e4 * logits).requires_grad_()
    build_loss("focal", gamma=0.5)(leaf, target).backward()
    assert torch.isfinite(leaf.grad).all()


def test_focal_class_weights_scale_the_class():
    logits, target = sample(3)
    target[target == 1] = 0
    target[target == 2] = 0
    base = build_loss("focal")(logits, target)
    weighted = build_loss("focal", class_weights=[3.0, 1.0, 1.0])(logits, target)
    torch.testing.assert_close(weighted, 3 * base)


@pytest.mark.parametrize("channels", [2, 3])
def test_cross_entropy_is_that_of_torch(channels):
    logits, target = sample(channels)
    weights = [0.5, 2.0, 1.5][:channels]
    torch.testing.assert_close(
        build_loss("ce", class_weights=weights)(logits, target),
        F.cross_entropy(logits, target, torch.tensor(weights), ignore_index=255),
    )


@pytest.mark.parametrize("name", ["ce", "bce"])
def test_binary_cross_entropy_is_softmax_of_two_classes(name):
    logits, target = sample(1)
    two = torch.cat([torch.zeros_like(logits), logits], dim=1)
    torch.testing.assert_close(
        build_loss(name, class_weights=[1.0, 4.0])(logits, target),
        F.cross_entropy(two, target, torch.tensor([1.0, 4.0]), ignore_index=255),
    )


def test_a_class_of_weight_zero_alone_gives_zero():
    logits, _ = sample(1)
    value = build_loss("ce", class_weights=[0, 1])(logits, torch.zeros(2, 6, 9, dtype=torch.int64))
    assert value.item() == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_gce_runs_from_cross_entropy_to_mean_absolute_error(channels):
    logits, target = sample(channels)
    near_zero = build_loss("gce", q=1e-4)(logits, target)
    torch.testing.assert_close(near_zero, build_loss("ce")(logits, target), rtol=1e-3, atol=1e-3)
    valid = target != 255
    if channels == 1:
        p = torch.sigmoid(logits[:, 0])[valid]
        true = torch.where(target[valid] == 1, p, 1 - p)
    else:
        p = logits.softmax(1).movedim(1, -1)[valid]
        true = p.gather(1, target[valid][:, None])
    torch.testing.assert_close(build_loss("gce", q=1.0)(logits, target), (1 - true).mean())


def test_gce_pulls_less_on_a_pixel_it_believes_mislabelled():
    target = torch.ones(1, 1, 1, dtype=torch.int64)
    grads = {}
    for name in ("gce", "bce"):
        leaf = torch.full((1, 1, 1, 1), -4.0, requires_grad=True)
        build_loss(name)(leaf, target).backward()
        grads[name] = leaf.grad.item()
    p = 1 / (1 + math.exp(4))
    assert grads["gce"] == pytest.approx(p**0.7 * grads["bce"], rel=1e-5)


def test_lovasz_is_zero_on_a_margin_correct_mask():
    target = torch.tensor([[[0, 1, 1], [0, 0, 255]], [[0, 0, 0], [0, 0, 0]]])
    logits = (2.0 * (target == 1).float() - 1.0)[:, None]
    for per_image in (False, True):
        assert build_loss("lovasz", per_image=per_image)(logits, target).item() == 0
    assert build_loss("lovasz")(logits * 0.9, target).item() > 0


def test_lovasz_by_hand():
    # errors 1 - s(2y-1): 1.5 (y=1), 0.5 (y=0), 0.2 (y=1); sorted like that. G = 2.
    # J after each: 1 - 1/2 = 1/2; 1 - 1/3 = 2/3; 1 - 0/3 = 1.
    logits = torch.tensor([-0.5, -0.5, 0.8]).reshape(1, 1, 1, 3)
    target = torch.tensor([1, 0, 1]).reshape(1, 1, 3)
    expected = 1.5 * 0.5 + 0.5 * (2 / 3 - 0.5) + 0.2 * (1 - 2 / 3)
    assert build_loss("lovasz")(logits, target).item() == pytest.approx(expected, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_lovasz_hinge_is_the_formula_of_methods_6_4(seed, positives):
    g = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(1, 1, 4, 7, generator=g)
    target = (torch.rand(1, 4, 7, generator=g) < positives).long()
    score, label = logits.double().flatten().numpy(), target.flatten().numpy()
    errors = 1 - score * (2 * label - 1)
    order = np.argsort(-errors, kind="stable")
    count = label.sum()
    hits, misses = np.cumsum(label[order]), np.cumsum(1 - label[order])
    jaccard = 1 - (count - hits) / (count + misses)
    steps = np.diff(jaccard, prepend=0.0)
    expected = (np.maximum(errors[order], 0) * steps).sum()
    assert build_loss("lovasz")(logits, target).item() == pytest.approx(expected, abs=1e-5)


def test_tversky_and_dice_with_the_smoothing_of_minesegsat():
    logits = torch.tensor([2.0, -1.0, 0.5, -3.0]).reshape(1, 1, 2, 2)
    target = torch.tensor([1, 0, 1, 0]).reshape(1, 2, 2)
    chance, label = logits.sigmoid().flatten().double(), target.flatten().double()
    tp, fp = float((chance * label).sum()), float((chance * (1 - label)).sum())
    fn = float(((1 - chance) * label).sum())
    dice = 1 - (2 * tp + 2) / (2 * tp + fp + fn + 2)  # smooth 1 beside TP, as smp counts it
    assert build_loss("dice", smooth=1.0)(logits, target).item() == pytest.approx(dice, abs=1e-6)
    authors = 1 - (tp + 1) / (tp + 4 * fp + 4 * fn + 1)  # alpha = beta = 4 of their code
    loss = build_loss("tversky", alpha=4.0, beta=4.0, smooth=1.0)
    assert loss(logits, target).item() == pytest.approx(authors, abs=1e-6)
    background = torch.zeros(1, 2, 2)
    assert loss(logits, background).item() == 0  # no positives: as documented
    assert math.isfinite(build_loss("lovasz")(logits, background).item())


def test_lovasz_without_positives_is_its_worst_error():
    logits = torch.tensor([-0.5, 2.0, -3.0]).reshape(1, 1, 1, 3)
    target = torch.zeros(1, 1, 3, dtype=torch.int64)
    assert build_loss("lovasz")(logits, target).item() == pytest.approx(3.0)


@pytest.mark.parametrize("channels", [1, 3])
def test_lovasz_per_image_leaves_out_images_without_a_label(channels):
    logits, target = sample(channels)
    target[1] = 255
    loss = build_loss("lovasz", per_image=True)
    torch.testing.assert_close(loss(logits, target), loss(logits[:1], target[:1]))


@pytest.mark.parametrize(
    ("name", "pixels", "regions"),
    [
        ("bce_dice", "bce", "dice"),
        ("bce_jaccard", "bce", "jaccard"),
        ("ce_dice", "ce", "dice"),
        ("gce_dice", "gce", "dice"),
    ],
)
def test_sums_are_sums(name, pixels, regions):
    logits, target = sample(1)
    expected = build_loss(pixels)(logits, target) + 0.3 * build_loss(regions)(logits, target)
    torch.testing.assert_close(build_loss(name, overlap_weight=0.3)(logits, target), expected)


@pytest.mark.parametrize("name", ["dice", "jaccard", "tversky"])
def test_overlap_class_weights_choose_a_class(name):
    logits, target = sample(3)
    only = build_loss(name, class_weights=[0, 0, 1])(logits, target)
    p = logits.softmax(1)[:, 2] * (target != 255)
    y = (target == 2).float()
    tp, fp, fn = (p * y).sum(), (p * (1 - y)).sum(), ((1 - p) * y).sum()
    weight = 1.0 if name == "jaccard" else 0.5
    torch.testing.assert_close(only, 1 - tp / (tp + weight * (fp + fn)))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(CASES),
    st.sampled_from(["flip", "shuffle"]),
)
def test_no_loss_knows_where_a_pixel_is(seed, case, change):
    name, channels = case
    logits, target = sample(channels, seed)
    if change == "flip":
        moved = logits.flip(2, 3), target.flip(1, 2)
    else:
        order = torch.from_numpy(np.random.default_rng(seed).permutation(54))
        moved = (
            logits.flatten(2)[:, :, order].reshape(logits.shape),
            target.flatten(1)[:, order].reshape(target.shape),
        )
    loss = build_loss(name)
    value = loss(logits, target)
    assert value.item() >= 0
    torch.testing.assert_close(loss(*moved), value, rtol=1e-4, atol=1e-5)


# Errors


def test_unknown_loss_names_the_closest():
    with pytest.raises(UnknownNameError, match="closest: dice"):
        build_loss("dise")


def test_unknown_option_names_the_closest():
    with pytest.raises(RecipeError, match=r"'focal' has no option 'gama'; closest: gamma"):
        build_loss("focal", gama=1)
    with pytest.raises(RecipeError, match="no option 'binary_only'"):
        build_loss("ce", binary_only=True)


def test_cross_entropy_and_dice_over_chosen_classes():
    """Methods 2.4: 0.5 CE with class weights + 0.5 Dice over classes 1 and 2."""
    logits, target = sample(3)
    options = {"pixel_weight": 0.5, "overlap_weight": 0.5, "class_weights": [1.0, 2.0, 3.0]}
    both = build_loss("ce_dice", **options, overlap_class_weights=[0, 1, 1])(logits, target)
    pixels = build_loss("ce", class_weights=[1.0, 2.0, 3.0])(logits, target)
    dice = [build_loss("dice", class_weights=w)(logits, target) for w in ([0, 1, 0], [0, 0, 1])]
    torch.testing.assert_close(both, 0.5 * pixels + 0.25 * (dice[0] + dice[1]))


@pytest.mark.parametrize("name", ["gce", "gce_dice", "lovasz"])
def test_losses_that_define_no_class_weights_say_so(name):
    with pytest.raises(RecipeError, match="defines no class weights; those that do: ce, bce"):
        build_loss(name, class_weights=[1, 2])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gce", {"q": 0}, "q is 0"),
        ("focal", {"gamma": -1}, "gamma is -1"),
        ("focal", {"alpha": 1.5}, "alpha is 1.5"),
        ("focal", {"alpha": 0.5, "class_weights": [1, 1]}, "give one of them"),
        ("tversky", {"alpha": -1}, "alpha -1"),
        ("tversky", {"alpha": 0, "beta": 0}, "not both 0"),
        ("bce_dice", {"overlap_weight": -1}, "overlap_weight is -1"),
        ("ce", {"class_weights": [1]}, "one weight"),
        ("ce", {"class_weights": [1, -1]}, "one weight"),
        ("ce", {"class_weights": [0, 0]}, "one weight"),
    ],
)
def test_values_that_cannot_be_used(name, options, message):
    with pytest.raises(RecipeError, match=message):
        build_loss(name, **options)


@pytest.mark.parametrize(
    ("name", "channels", "options", "message"),
    [
        ("bce", 3, {}, "choose the ce loss"),
        ("ce", 3, {"class_weights": [1, 2]}, "2 values, the model 3 classes"),
        ("dice", 1, {"class_weights": [1, 2]}, "target only"),
        ("focal", 3, {"alpha": 0.2}, "2 values, the model 3 classes"),
    ],
)
def test_options_that_do_not_fit_the_model(name, channels, options, message):
    logits, target = sample(channels)
    with pytest.raises(RecipeError, match=message):
        build_loss(name, **options)(logits, target)


def test_shapes_and_labels_are_checked():
    logits, target = sample(1)
    with pytest.raises(GridMismatchError, match="do not fit"):
        build_loss("ce")(logits, target[:, :, :-1])
    with pytest.raises(GridMismatchError, match="do not fit"):
        build_loss("ce")(logits[0], target)
    target[0, 0, 0] = 2
    with pytest.raises(DatasetError, match="a model of 2 classes"):
        build_loss("ce")(logits, target)
