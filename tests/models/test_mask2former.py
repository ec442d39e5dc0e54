"""Mask2Former at its tiniest, on drawn photographs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from headframe.core.errors import (
    DatasetError,
    FormatError,
    GridMismatchError,
    JobError,
    RecipeError,
    UnknownNameError,
)
from headframe.models.detector import Detector, InstanceTarget
from headframe.models.mask2former import Mask2Former, Mask2FormerOptions

TINY = Mask2FormerOptions(size="tiny", queries=6, min_px=64, max_px=96, min_score=0.0)


def draw(top, height=64, width=96):
    image = torch.full((3, height, width), 0.5)
    masks = torch.zeros(2, height, width, dtype=torch.bool)
    masks[0, top : top + 30, 8:40] = True
    masks[1, top + 10 : top + 28, 60:90] = True
    image[:, masks[0]] = torch.tensor([0.9, 0.8, 0.1])[:, None]
    image[:, masks[1]] = 0.05
    return image, InstanceTarget.of_masks(masks, torch.tensor([1, 2]))


def build(options=TINY, seed=0, **more):
    torch.manual_seed(seed)
    return Mask2Former(2, options, **more)


def test_it_learns():
    net = build().train()
    pairs = [draw(5), draw(20)]
    images, targets = [x for x, _ in pairs], [t for _, t in pairs]
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    sums = []
    for _ in range(25):
        losses = net(images, targets)
        assert set(losses) == {"loss_classifier", "loss_mask", "loss_dice"}
        total = sum(losses.values())
        sums.append(total.item())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert np.mean(sums[-3:]) < 0.7 * np.mean(sums[:3])


def test_gradients_reach_every_part():
    net = build().train()
    image, target = draw(5)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        sum(net.forward_train([image], [target], clean=[image]).values()).backward()
        optimizer.step()
    assert [key for key, p in net.named_parameters() if p.grad is None] == []


def test_photographs_without_objects_and_with_one_pixel():
    net = build().train()
    image, target = draw(5)
    empty = InstanceTarget(target.boxes[:0], target.labels[:0], target.masks[:0])
    dot = torch.zeros(1, 64, 96, dtype=torch.bool)
    dot[0, 63, 95] = True
    one = InstanceTarget.of_masks(dot, torch.tensor([2]))
    for targets in ([empty, empty], [empty, target], [one, empty]):
        losses = net.forward_train([image, image], targets)
        total = sum(losses.values())
        assert bool(torch.isfinite(total))
        total.backward()


def test_half_precision():
    net = build().train()
    image, target = draw(5)
    with torch.autocast("cpu", torch.bfloat16):
        losses = net.forward_train([image], [target])
    total = sum(losses.values())
    total.backward()
    assert bool(torch.isfinite(total))
    with torch.autocast("cpu", torch.bfloat16):
        (found,) = net.detect([image])
    assert found.logits.dtype == np.float32


def test_what_is_found_agrees():
    net = build()
    image, _ = draw(5, height=70, width=100)
    (found,) = net.detect([image])
    assert isinstance(net, Detector)
    assert len(found) == 12  # six queries, two classes
    assert found.size == (70, 100)
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert set(found.labels.tolist()) == {1, 2}
    assert np.array_equal(found.masks, found.logits > 0)
    (hard,) = net.detect([image], soft=False)
    assert hard.logits is None
    assert np.array_equal(hard.masks, found.masks)
    (few,) = build(replace(TINY, most=3)).detect([image])
    assert np.array_equal(few.scores, found.scores[:3])
    (none,) = build(replace(TINY, min_score=0.99)).detect([image])
    assert len(none) == 0
    assert none.size == (70, 100)


def test_photographs_of_a_batch_do_not_see_each_other():
    net = build()
    images = [draw(5)[0], draw(5, height=90, width=100)[0], torch.rand(3, 1, 1)]
    alone = [net.detect([image])[0] for image in images]
    for one, other in zip(alone, net.detect(images), strict=True):
        assert np.array_equal(one.masks, other.masks)
        assert np.array_equal(one.scores, other.scores)


def test_saved_and_loaded_it_finds_the_same():
    one, other = build(), build(seed=3)
    other.load_state_dict(load(save({k: v.contiguous() for k, v in one.state_dict().items()})))
    image = draw(9)[0]
    assert np.array_equal(one.detect([image])[0].logits, other.detect([image])[0].logits)


def test_it_starts_from_weights_of_other_classes():
    torch.manual_seed(7)
    theirs = Mask2Former(5, TINY).network.state_dict()
    net = build(state=theirs)
    key = "model.transformer_module.queries_embedder.weight"
    assert torch.equal(net.network.state_dict()[key], theirs[key])
    assert net.network.class_predictor.out_features == 3
    with pytest.raises(FormatError, match=r"tensor .* is missing or has another shape"):
        build(replace(TINY, queries=7), state=theirs)


def test_published_size():
    with torch.device("meta"):
        net = Mask2Former(80, Mask2FormerOptions(size="r50"))
    assert 43e6 < sum(p.numel() for p in net.parameters()) < 45e6  # the authors give 44 million


def test_what_cannot_be_used():
    net = build().train()
    image, target = draw(5)
    with pytest.raises(GridMismatchError, match="give RGB"):
        net.detect([image[0]])
    wrong = InstanceTarget(target.boxes, target.labels + 1, target.masks)
    with pytest.raises(DatasetError, match="knows 1 to 2"):
        net.forward_train([image], [wrong])
    with pytest.raises(JobError, match="call train"):
        net.eval().forward_train([image], [target])
    with pytest.raises(UnknownNameError, match="size of Mask2Former 'r500'; closest: r50"):
        Mask2FormerOptions(size="r500")
    with pytest.raises(RecipeError, match="queries is 0"):
        Mask2FormerOptions(queries=0)
    with pytest.raises(RecipeError, match="max_px 100"):
        Mask2FormerOptions(max_px=100)
