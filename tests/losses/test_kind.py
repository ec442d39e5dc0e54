"""KinD's losses against values computed by hand."""

import math

import pytest
import torch

from headframe.core.errors import RecipeError
from headframe.losses.kind import (
    Decomposed,
    KinDWeights,
    adjustment_loss,
    decomposition_loss,
    gradients,
    illumination_smoothness,
    joint_loss,
    max_rgb_distance,
    mutual_consistency,
    reconstruction,
    reflectance_similarity,
    restoration_loss,
)


def plane(rows, channels=1):
    return torch.tensor(rows, dtype=torch.float32)[None, None].expand(1, channels, -1, -1)


@pytest.fixture
def pair():
    return Decomposed(
        dark=plane([[0.1, 0.2, 0.2]], 3),
        bright=plane([[0.5, 0.9, 0.7]], 3),
        dark_reflectance=plane([[0.5, 0.5, 0.5]], 3),
        dark_illumination=plane([[0.2, 0.4, 0.1]]),
        bright_reflectance=plane([[0.8, 0.6, 0.5]], 3),
        bright_illumination=plane([[0.5, 1.0, 1.0]]),
    )


# steps of the dark light 0.2, 0.3, 0 (none beyond the edge), stretched by 1 / 0.3001; of the
# bright one 0.5, 0, 0 by 1 / 0.5001; along y one row has no steps at all
DARK = [0.2 / 0.3001, 0.3 / 0.3001, 0.0]
BRIGHT = [0.5 / 0.5001, 0.0, 0.0]


def test_gradients_are_stretched_steps(pair):
    along_x, along_y = gradients(pair.dark_illumination)
    assert along_x.flatten().tolist() == pytest.approx(DARK)
    assert along_y.flatten().tolist() == [0, 0, 0]
    turned_x, turned_y = gradients(pair.dark_illumination.transpose(2, 3))
    assert turned_y.flatten().tolist() == pytest.approx(DARK)
    assert turned_x.abs().max() == 0


def test_steps_are_stretched_over_the_whole_batch():
    images = torch.tensor([[0.0, 0.5], [0.0, 0.25]]).view(2, 1, 1, 2)
    along_x, _ = gradients(images)
    assert along_x[:, 0, 0, 0].tolist() == pytest.approx([0.5 / 0.5001, 0.25 / 0.5001])


def test_reconstruction(pair):
    dark = (0.0 + 0.0 + 0.15) / 3
    bright = (0.1 + 0.3 + 0.2) / 3
    assert reconstruction(pair).item() == pytest.approx(dark + bright)


def test_shares_of_each_images_mean():
    def images(*levels):
        return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 3, 1, 2)

    half = images(0.5, 0.5)
    pair = Decomposed(
        dark=images(0.2, 0.01),  # the second is taken as 0.1: noise must not count tenfold
        bright=images(0.5, 0.8),
        dark_reflectance=half,
        dark_illumination=half[:, :1],
        bright_reflectance=half,
        bright_illumination=half[:, :1],
    )
    dark = (0.05 / 0.2 + 0.24 / 0.1) / 2
    bright = (0.25 / 0.5 + 0.55 / 0.8) / 2
    assert reconstruction(pair, relative=True).item() == pytest.approx(dark + bright)
    dark, bright = (0.3 / 0.2 + 0.49 / 0.1) / 2, (0.0 + 0.3 / 0.8) / 2
    assert max_rgb_distance(pair, relative=True).item() == pytest.approx(dark + bright)
    weights = KinDWeights(reflectance=0, consistency=0, smoothness=0, max_rgb=2, relative=True)
    expected = reconstruction(pair, relative=True) + 2 * max_rgb_distance(pair, relative=True)
    assert decomposition_loss(pair, weights).item() == pytest.approx(expected.item())


def test_reflectance_similarity(pair):
    assert reflectance_similarity(pair).item() == pytest.approx((0.3 + 0.1 + 0.0) / 3)


def test_mutual_consistency(pair):
    total = [d + b for d, b in zip(DARK, BRIGHT, strict=True)]
    expected = sum(m * math.exp(-10 * m) for m in total) / 3
    assert mutual_consistency(pair).item() == pytest.approx(expected)


def test_a_shared_strong_edge_costs_less_than_a_weak_one():
    def light(weak):
        return plane([[0.0, 1.0, 1.0 - weak]])

    def cost(weak):
        same = light(weak)
        image = same.expand(-1, 3, -1, -1)
        return mutual_consistency(Decomposed(image, image, image, same, image, same)).item()

    assert cost(0.0) < cost(0.05)


def test_illumination_smoothness(pair):
    image = plane([[0.1, 0.2, 0.2]], 3)  # one step of 0.1 (times 0.9999, the sum of grey weights)
    edges = [0.09999 / 0.10009, 0.01, 0.01]
    expected = sum(d / e for d, e in zip(DARK, edges, strict=True)) / 3
    found = illumination_smoothness(pair.dark_illumination, image).item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_max_rgb_distance(pair):
    red = torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1)  # the largest channel counts
    coloured = Decomposed(**{**vars(pair), "dark": pair.dark * red, "bright": pair.bright * red})
    expected = (0.1 + 0.2 + 0.1) / 3 + (0.0 + 0.1 + 0.3) / 3
    assert max_rgb_distance(coloured).item() == pytest.approx(expected)


def test_decomposition_is_the_weighted_sum(pair):
    smooth = illumination_smoothness(pair.dark_illumination, pair.dark)
    smooth = smooth + illumination_smoothness(pair.bright_illumination, pair.bright)
    parts = (reconstruction, reflectance_similarity, mutual_consistency)
    terms = [part(pair).item() for part in parts] + [smooth.item()]
    expected = sum(w * t for w, t in zip((1, 0.01, 0.2, 0.15), terms, strict=True))
    assert decomposition_loss(pair).item() == pytest.approx(expected)
    paper = KinDWeights(consistency=0.1, smoothness=0.08)
    expected = sum(w * t for w, t in zip((1, 0.01, 0.1, 0.08), terms, strict=True))
    assert decomposition_loss(pair, paper).item() == pytest.approx(expected)
    ours = KinDWeights(consistency=0.1, smoothness=0.08, max_rgb=0.5)
    expected += 0.5 * max_rgb_distance(pair).item()
    assert decomposition_loss(pair, ours).item() == pytest.approx(expected)


def test_restoration_of_flat_images():
    restored = torch.full((1, 3, 13, 17), 0.5)
    truth = torch.full((1, 3, 13, 17), 0.8)
    target = 0.8**1.2
    c1 = 0.01**2
    ssim = (2 * 0.5 * target + c1) / (0.25 + target**2 + c1)  # variances are 0, so only luminance
    expected = (0.5 - target) ** 2 + 1 - ssim
    assert restoration_loss(restored, truth).item() == pytest.approx(
        expected, abs=5e-4
    )  # float32 variances


def test_restoration_is_zero_at_its_target_and_sees_edges():
    torch.manual_seed(0)
    truth = torch.rand(2, 3, 13, 17)
    assert restoration_loss(truth**1.2, truth).item() == pytest.approx(0, abs=1e-5)
    shifted = (truth**1.2).roll(1, dims=3)
    squares = ((shifted - truth**1.2) ** 2).mean().item()
    assert restoration_loss(shifted, truth).item() > squares + 0.5


def test_adjustment(pair):
    adjusted = plane([[0.4, 0.8, 0.8]])
    squares = (0.01 + 0.04 + 0.04) / 3
    edges = (0.4 / 0.4001 - 0.5 / 0.5001) ** 2 / 3
    found = adjustment_loss(adjusted, pair.bright_illumination).item()
    assert found == pytest.approx(squares + edges)


def test_joint(pair):
    restored, adjusted = torch.full((1, 3, 1, 3), 0.5), plane([[0.4, 0.8, 0.8]])
    extra = (0.09 + 0.01 + 0.0) / 3 + (0.01 + 0.04 + 0.04) / 3
    found = joint_loss(pair, restored=restored, adjusted=adjusted)
    assert found.item() == pytest.approx(decomposition_loss(pair).item() + extra)
    half = KinDWeights(restoration=0.0, adjustment=0.0)
    found = joint_loss(pair, restored=restored, adjusted=adjusted, weights=half)
    assert found.item() == pytest.approx(decomposition_loss(pair).item())


@pytest.mark.parametrize("loss", [restoration_loss, adjustment_loss])
def test_targets_learn_nothing(loss):
    found = torch.rand(1, 3, 12, 12, requires_grad=True)
    truth = torch.rand(1, 3, 12, 12, requires_grad=True)
    loss(found, truth).backward()
    assert found.grad is not None
    assert truth.grad is None


def test_a_flat_image_has_finite_gradients():
    light = torch.full((1, 1, 12, 12), 0.5, requires_grad=True)
    illumination_smoothness(light, torch.full((1, 3, 12, 12), 0.5)).backward()
    assert light.grad.isfinite().all()


def test_weights_below_zero_are_refused():
    with pytest.raises(RecipeError, match="loss weight smoothness is -1"):
        KinDWeights(smoothness=-1)
