"""Entropy and looks of another domain, by hand."""

import math

import pytest
import torch

from headframe.core.errors import GridMismatchError
from headframe.losses.adaptation import robust_entropy, self_information, with_looks_of


def test_self_information_of_one_logit():
    logits = torch.tensor([0.0, math.log(3)]).view(1, 1, 1, 2)  # 1/2 and 3/4
    found = self_information(logits)
    assert found.shape == (1, 2, 1, 2)
    assert found[0, :, 0, 0].tolist() == pytest.approx([0.5, 0.5])
    quarter, most = -0.25 * math.log2(0.25), -0.75 * math.log2(0.75)
    assert found[0, :, 0, 1].tolist() == pytest.approx([quarter, most])


def test_an_even_guess_among_classes_has_entropy_one():
    found = self_information(torch.zeros(2, 5, 3, 4)).sum(dim=1)
    torch.testing.assert_close(found, torch.ones(2, 3, 4))
    sure = torch.tensor([40.0, 0.0, 0.0]).view(1, 3, 1, 1)
    assert self_information(sure).sum().item() == pytest.approx(0, abs=1e-6)


def test_robust_entropy_counts_labelled_pixels():
    logits = torch.tensor([0.0, math.log(3), 50.0]).view(1, 1, 1, 3)
    label = torch.tensor([[[0, 1, 255]]])
    half = 1.0
    other = 0.25 * 2 + 0.75 * math.log2(4 / 3)
    expected = ((half**2) ** 2 + (other**2) ** 2) / 2
    assert robust_entropy(logits, label).item() == pytest.approx(expected, rel=1e-5)
    assert robust_entropy(logits, label, power=0.5).item() == pytest.approx(
        (half + other) / 2, rel=1e-5
    )
    assert robust_entropy(logits, torch.full((1, 1, 3), 255)).item() == 0


def test_the_sure_pixels_do_not_rule():
    def slope(logit, power):
        x = torch.full((1, 1, 1, 1), logit, requires_grad=True)
        robust_entropy(x, torch.zeros(1, 1, 1, dtype=torch.long), power=power).backward()
        return abs(x.grad.item())

    assert slope(4.0, 2.0) / slope(1.0, 2.0) < slope(4.0, 0.5) / slope(1.0, 0.5)


def test_looks():
    torch.manual_seed(0)
    own, other = torch.randn(2, 3, 32, 48), 2 * torch.randn(2, 3, 32, 48) + 5
    torch.testing.assert_close(with_looks_of(own, own, share=0.1), own, atol=1e-5, rtol=0)
    mean = with_looks_of(own, other, share=0.0)
    sign = own.mean(dim=(2, 3)).sign()  # the phase of the mean is kept: its sign
    torch.testing.assert_close(
        mean.mean(dim=(2, 3)), sign * other.mean(dim=(2, 3)).abs(), atol=1e-4, rtol=0
    )
    details = own - own.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(
        mean - mean.mean(dim=(2, 3), keepdim=True), details, atol=1e-4, rtol=0
    )
    strength = [torch.fft.fft2(t).abs() for t in (with_looks_of(own, other, share=0.1), other, own)]
    low, high = (slice(0, 4), slice(0, 4)), (slice(5, 27), slice(5, 43))  # up to 3 = 0.1 of 32
    torch.testing.assert_close(strength[0][..., *low], strength[1][..., *low], atol=1e-2, rtol=1e-3)
    torch.testing.assert_close(
        strength[0][..., *high], strength[2][..., *high], atol=1e-2, rtol=1e-3
    )
    with pytest.raises(GridMismatchError, match="cannot take the looks"):
        with_looks_of(own, other[:1], share=0.1)
