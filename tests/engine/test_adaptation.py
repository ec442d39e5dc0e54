"""Another domain beside a run: ADVENT, FDA, MDIL."""

import pytest
import torch
from lightning.fabric import Fabric

from headframe.core.errors import RecipeError
from headframe.datasets.coarse import coarsen_dataset
from headframe.engine.adaptation import Adaptation
from headframe.engine.lessons import Lessons
from headframe.engine.recipe import AdaptSection, DistillSection, parse_recipe
from headframe.engine.sampling import Sample
from headframe.engine.training import train
from headframe.geo.coarsen import Coarseness
from headframe.losses.adaptation import self_information
from headframe.models.registry import build_network

WAYS = {
    "advent": {"adversarial": 0.01, "width": 4},
    "fda": {"looks": 0.05, "entropy": 0.1},
    "fda-unseen": {"looks": 0.0, "entropy": 0.1, "fine_labels": False},
}


def recipe(root, *, init="none", **sections):
    value = {
        "name": "toy",
        "model": {"architecture": "fpn", "init": init},
        "data": {"dataset": str(root), "all_sites": True} | sections.pop("data", {}),
        "train": {"steps": 3, "batch": 2, "crop_px": 32, "checkpoint_every": 1},
    }
    return parse_recipe(value | sections, source="test")


@pytest.fixture(scope="module")
def coarse(raw_dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("coarse") / "squares"
    coarsen_dataset(raw_dataset, out, Coarseness(buffer_m=40, shift_m=20))
    return out


@pytest.fixture
def bright():
    """Two samples of the other domain: bright, target left."""
    generator = torch.Generator().manual_seed(3)
    samples = []
    for _ in range(2):
        pixels = (5 + torch.randn(3, 32, 32, generator=generator)).numpy()
        label = torch.zeros(32, 32, dtype=torch.uint8)
        label[:, :10] = 1
        samples.append(Sample(pixels, label.numpy(), "a"))
    return samples


def made(section, samples, tmp_path):
    chosen = recipe(tmp_path, adapt=section, data={"labels": "coarse"})
    return Adaptation(
        chosen, AdaptSection(**section), samples, Fabric(accelerator="cpu"), classes=1
    )


def own_loss(logits, label):
    return (logits.sigmoid()[:, 0] - (label == 1).float()).square().mean()


def test_looks_are_taken_over_and_numbers_decide_the_crops(bright, tmp_path):
    pixels = torch.randn(2, 3, 32, 32)
    shown = made({"looks": 0.0}, bright, tmp_path).begin(pixels, 4)
    assert shown.abs().mean(dim=(2, 3)).min() > 3  # the mean of the bright ones
    again = made({"looks": 0.0}, bright, tmp_path).begin(pixels, 4)
    other = made({"looks": 0.0}, bright, tmp_path).begin(pixels, 5)
    assert torch.equal(shown, again)
    assert not torch.equal(shown, other)
    plain = made({"entropy": 1.0}, bright, tmp_path)
    assert plain.begin(pixels, 4) is pixels


def test_labels_of_the_other_domain_count_where_they_are_to(bright, tmp_path):
    network = torch.nn.Conv2d(3, 1, 1)
    pixels = torch.randn(2, 3, 32, 32)
    blind = made({"entropy": 1e-9, "fine_labels": False}, bright, tmp_path)
    seeing = made({"entropy": 1e-9}, bright, tmp_path)
    found = []
    for adaptation in (blind, seeing):
        adaptation.begin(pixels, 0)
        found.append(float(adaptation.loss(network, network(pixels), own_loss).detach()))
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert found[1] > 0.01


def test_the_contest(bright, tmp_path):
    """The discriminator learns from its own part alone, the network from the rest."""
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 1, 1)
    network.weight.data.fill_(1.0)  # so sure of the bright ones that their entropy is near 0
    section = {"adversarial": 1.0, "fine_labels": False, "width": 4, "discriminator_lr": 0.01}
    adaptation = made(section, bright, tmp_path)
    pixels = torch.randn(2, 3, 32, 32)
    before = {k: v.clone() for k, v in adaptation.state()["learner"].items()}
    costs = []
    for step in range(40):
        adaptation.begin(pixels, step)
        loss = adaptation.loss(network, network(pixels), own_loss)
        loss.backward()
        assert network.weight.grad is not None
        network.zero_grad()  # the network stands still, so that the discriminator can win
        adaptation.learn()
        costs.append(float(loss.detach()))
    after = adaptation.state()["learner"]
    assert any(not torch.equal(value, before[name]) for name, value in after.items())
    both = (network(pixels), network(adaptation._pixels))
    own, other = (adaptation.learner(self_information(logits)).mean() for logits in both)
    assert own > other


@pytest.mark.parametrize("way", WAYS)
def test_a_run_is_resumed_at_the_next_step(way, raw_dataset, coarse, tmp_path, power_cut):
    data = {"labels": "coarse", "coarse": str(coarse), "label_share": 0.5}
    chosen = recipe(raw_dataset, adapt=WAYS[way], data=data)
    logs = power_cut.logs(chosen, tmp_path)
    assert len(logs[0]) == 3
    assert logs[0] == logs[1]
    with pytest.raises(RecipeError, match=r"data.labels is fine: adapt goes from coarse labels"):
        train(recipe(raw_dataset, adapt=WAYS[way]), out=tmp_path / "fine")


def test_mdil_is_resumed_at_the_next_step(raw_dataset, coarse, tmp_path, power_cut):
    first = train(recipe(coarse), out=tmp_path / "coarse")
    terms = {"features": 0.0, "boundary": 0.0, "attention": False, "gate": 0.0, "domains": True}
    chosen = recipe(raw_dataset, init=str(first.bundle), distill=terms)
    logs = power_cut.logs(chosen, tmp_path)
    assert len(logs[0]) == 3
    assert logs[0] == logs[1]


def test_the_old_path_keeps_what_the_new_one_unlearns():
    """Only with domains of their own the new norms do not count as forgetting."""
    torch.manual_seed(0)
    pixels = torch.randn(2, 3, 64, 64)
    label = torch.zeros(2, 64, 64, dtype=torch.long)
    terms = {"features": 0.0, "boundary": 0.0, "attention": False, "gate": 0.0}
    found = {}
    for domains in (False, True):
        student = build_network("fpn", ("red", "green", "blue"), 1, {}).eval()
        section = DistillSection(**terms, domains=domains)
        lessons = Lessons(student, section, Fabric(accelerator="cpu"), lr=0.1)
        for module in student.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.data *= 2
        found[domains] = lessons.loss(pixels, student(pixels), label)
    assert float(found[True].detach()) == pytest.approx(0, abs=1e-5)
    assert float(found[False].detach()) > 1e-4
