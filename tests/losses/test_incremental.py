import math

import pytest
import torch
from torch import nn

from headframe.core.errors import GridMismatchError
from headframe.losses.incremental import Anchor, pooled_distillation, relation_distillation


def _random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_pooled_features_by_hand():
    """One cell: a strip along rows and one along columns, equal; of length 1 they are 1/sqrt 2."""
    own, told = torch.tensor([[[[2.0]], [[0.0]]]]), torch.tensor([[[[0.0]], [[3.0]]]])
    assert float(pooled_distillation([own], [told])) == pytest.approx(math.sqrt(2))
    assert float(pooled_distillation([own], [5 * own])) == pytest.approx(0, abs=1e-6)  # no size


def test_pooling_forgets_where_in_a_row_but_not_in_which_region():
    told = torch.zeros(1, 1, 8, 8)
    told[0, 0, 1, 1] = told[0, 0, 2, 2] = 1.0
    swapped = torch.zeros(1, 1, 8, 8)
    swapped[0, 0, 1, 2] = swapped[0, 0, 2, 1] = 1.0  # the same sums of rows and columns
    far = torch.zeros(1, 1, 8, 8)
    far[0, 0, 5, 5] = far[0, 0, 6, 6] = 1.0
    near, moved = (float(pooled_distillation([t], [told])) for t in (swapped, far))
    assert near < 0.5 * moved


def test_relations_by_hand():
    """Two images of one cell: alone in its image a cell resembles it fully, whatever the angle."""
    own, told = _random(2, 3, 1, 1), _random(2, 5, 1, 1, seed=1)
    assert float(relation_distillation(own, told)) == pytest.approx(0, abs=1e-6)
    told = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])  # (1, 2, 1, 2): two cells at right angles
    own = torch.tensor([[[[1.0, 1.0]], [[0.0, 0.0]]]])  # the same cell twice
    p = 1 / (1 + math.exp(-1.0))
    expected = p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)
    assert float(relation_distillation(own, told, tau=1.0)) == pytest.approx(expected, rel=1e-5)


def test_relations_between_images_count():
    told = _random(2, 4, 3, 5)
    own = told.clone()
    own[1] = own[1].flip(0)  # each image is as before in itself, but not against the other
    within = [float(relation_distillation(own[i : i + 1], told[i : i + 1])) for i in range(2)]
    assert within == pytest.approx([0, 0], abs=1e-5)
    assert float(relation_distillation(own, told)) > 0.01


@pytest.mark.parametrize("sides", [(40, 24), (7, 5)])
def test_gradients_are_finite_and_reach_the_student_alone(sides):
    own, told = _random(2, 4, *sides).requires_grad_(), _random(2, 4, *sides, seed=1)
    told.requires_grad_()
    (pooled_distillation([own], [told]) + relation_distillation(own, told)).backward()
    assert bool(own.grad.isfinite().all())
    assert bool((own.grad != 0).any())
    assert told.grad is None
    same = _random(2, 4, *sides).requires_grad_()
    pooled_distillation([same], [same.detach()]).backward()
    assert bool(same.grad.isfinite().all())


def test_anchor_by_hand():
    network = nn.Linear(2, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, -2.0]]))
        network.bias.fill_(0.5)
    start = {name: value.detach().clone() for name, value in network.named_parameters()}
    matter = {"weight": torch.tensor([[3.0, 0.0]]), "bias": torch.tensor([2.0])}
    anchor = Anchor(start, matter)
    assert float(anchor.loss(network).detach()) == 0
    with torch.no_grad():
        network.weight += torch.tensor([[0.5, 10.0]])  # the second does not matter
        network.bias -= 1.0
    loss = anchor.loss(network)
    assert float(loss.detach()) == pytest.approx(0.5 * (3 * 0.25 + 2 * 1.0))
    loss.backward()
    assert network.weight.grad.flatten().tolist() == pytest.approx([1.5, 0.0])


def test_shapes_that_differ_are_refused():
    with pytest.raises(GridMismatchError, match="the same levels of both"):
        pooled_distillation([_random(2, 4, 6, 8)], [_random(2, 4, 3, 4)])
    with pytest.raises(GridMismatchError, match="the same level of both"):
        relation_distillation(_random(2, 4, 6, 8), _random(1, 4, 6, 8))
