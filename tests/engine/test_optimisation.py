import math

import pytest
import torch
from torch import nn

from headframe.engine.optimisation import build_optimizer, build_schedule, cosine, one_cycle
from headframe.engine.recipe import TrainSection


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(2, 3)
        self.head = nn.Linear(3, 1)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)],
)
def test_optimizer_is_the_one_named(name, kind):
    settings = TrainSection(optimizer=name, lr=0.02, encoder_lr_factor=0.1, weight_decay=0.3)
    optimizer = build_optimizer(Toy(), settings)
    assert type(optimizer) is kind
    encoder, head = optimizer.param_groups
    assert (encoder["lr"], head["lr"]) == pytest.approx((0.002, 0.02))
    assert encoder["weight_decay"] == head["weight_decay"] == 0.3
    assert [p.shape for p in encoder["params"]] == [(3, 2), (3,)]


def _rates(**train):
    settings = TrainSection(lr=0.1, **train)
    optimizer = build_optimizer(Toy(), settings)
    schedule = build_schedule(optimizer, settings)
    found = []
    for _ in range(settings.steps):
        found.append(schedule.get_last_lr()[-1])
        optimizer.step()
        schedule.step()
    return found, schedule.get_last_lr()[-1]


def test_cosine_falls_from_lr_to_lr_min():
    rates, end = _rates(schedule="cosine", lr_min=0.02, steps=4)
    assert rates == pytest.approx(
        [0.02 + 0.08 * (1 + math.cos(math.pi * t / 4)) / 2 for t in range(4)]
    )
    assert rates[2] == pytest.approx(0.06)  # half way: half way
    assert end == pytest.approx(0.02)


def test_constant_stays():
    rates, end = _rates(schedule="constant", steps=3)
    assert rates == pytest.approx([0.1] * 3)
    assert end == pytest.approx(0.1)


def test_poly_rises_straight_and_falls_as_samed_has_it():
    rates, end = _rates(schedule="poly", steps=10, warmup=0.4)
    assert rates[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert rates[4:] == pytest.approx([0.1 * (1 - t / 6) ** 0.9 for t in range(6)])
    assert end == 0
    assert _rates(schedule="poly", steps=2, warmup=0)[0] == pytest.approx([0.1, 0.1 * 0.5**0.9])


def test_only_what_is_trained_and_new_takes_the_full_rate():
    network = Toy()
    network.encoder.bias.requires_grad_(False)
    groups = build_optimizer(network, TrainSection(encoder_lr_factor=0.1)).param_groups
    assert [[p.shape for p in group["params"]] for group in groups] == [[(3, 2)], [(1, 3), (1,)]]
    network.pretrained = frozenset({"head.weight"})
    slow, rest = build_optimizer(network, TrainSection(encoder_lr_factor=0.1)).param_groups
    assert slow["lr"] == pytest.approx(rest["lr"] * 0.1)
    assert slow["params"] == [network.head.weight]
    assert [p.shape for p in rest["params"]] == [(3, 2), (1,)]


def test_one_cycle_rises_and_falls():
    rates, _ = _rates(steps=20, warmup=0.25)
    assert rates[0] == pytest.approx(0.004)
    assert rates[5] == max(rates) == pytest.approx(0.1)
    assert rates[-1] < 0.002
    assert one_cycle(20, steps=20, warmup=0.25) == pytest.approx(1e-4)
    assert cosine(0, steps=7, floor=0.2) == 1
