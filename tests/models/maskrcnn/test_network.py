"""Mask R-CNN on tiny drawn photographs."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torchvision.models import resnet50
from torchvision.models.detection import roi_heads as torchvisions

from headframe.core.errors import (
    DatasetError,
    FormatError,
    GridMismatchError,
    JobError,
    RecipeError,
)
from headframe.engine.weights import imagenet_state
from headframe.losses.instances import build_mask_loss
from headframe.models.detector import Detector, InstanceTarget, read_options
from headframe.models.maskrcnn import MaskRCNN, MaskRCNNOptions
from headframe.models.maskrcnn.roi_heads import own_mask_loss

SMALL = MaskRCNNOptions(
    channels=16, frozen_norm=False, min_px=64, max_px=128, anchor_px=8, proposals=60, sampled=32
)
TINY = replace(SMALL, body="test_resnet")  # timm's own, of half a million parameters


def draw(seed, height=64, width=96):
    """Bright ovals and dark boxes, classes 1 and 2, on grey noise."""
    random = np.random.default_rng(seed)
    image = 0.5 + 0.05 * random.standard_normal((3, height, width))
    rows, columns = np.mgrid[:height, :width]
    masks, labels = [], []
    for label, left in ((1, 6), (2, 52)):
        high, wide = random.integers(20, 34), random.integers(16, 30)
        top = random.integers(4, height - high - 2)
        inside = (rows >= top) & (rows < top + high) & (columns >= left) & (columns < left + wide)
        if label == 1:
            inside &= ((rows - top - high / 2) / high * 2) ** 2 + (
                (columns - left - wide / 2) / wide * 2
            ) ** 2 < 1
        image[:, inside] = np.array([0.9, 0.8, 0.1])[:, None] if label == 1 else 0.1
        masks.append(inside)
        labels.append(label)
    target = InstanceTarget.of_masks(torch.tensor(np.stack(masks)), torch.tensor(labels))
    return torch.tensor(image.clip(0, 1), dtype=torch.float32), target


def build(options=TINY, classes=2, seed=0, loss="dice_focal"):
    torch.manual_seed(seed)
    return MaskRCNN(classes, options, mask_loss=build_mask_loss(loss))


@pytest.fixture(scope="module")
def learnt():
    """A network that has seen four drawings often, and the losses at its start and end."""
    net = build().train()
    pairs = [draw(seed) for seed in range(3)]
    images, targets = [x for x, _ in pairs], [t for _, t in pairs]
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    sums = []
    for _ in range(30):
        losses = net.forward_train(images, targets)
        total = sum(losses.values())
        sums.append(total.item())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    settled(net, images, targets)
    return net, images, targets, sums


def settled(net, images, targets):
    """Bring the running statistics up to the weights: after few steps they lag behind."""
    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.5
    with torch.no_grad():
        for _ in range(10):
            net(images, targets)
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum


@pytest.fixture
def net(learnt):
    return copy.deepcopy(learnt[0])


def test_it_learns(learnt):
    _, _, _, sums = learnt
    assert np.mean(sums[-4:]) < 0.6 * np.mean(sums[:4])


def test_it_finds_what_it_learnt_in_the_pixels_of_the_photograph(net, learnt):
    _, images, targets, _ = learnt
    overlaps = []
    for found, target in zip(net.detect(images), targets, strict=True):
        assert found.size == (64, 96)
        assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
        for mask, label in zip(target.masks.numpy(), target.labels.tolist(), strict=True):
            same = [m for m, own in zip(found.masks, found.labels, strict=True) if own == label]
            overlaps.append(max(((m & mask).sum() / (m | mask).sum() for m in same), default=0))
    assert np.median(overlaps) > 0.5


def test_it_keeps_the_two_calls_of_a_detector(net):
    assert isinstance(net, Detector)


def test_terms_of_the_loss(net):
    losses = net.forward_train(*map(list, zip(*[draw(7)], strict=True)))
    assert set(losses) == {
        "loss_classifier",
        "loss_box_reg",
        "loss_mask",
        "loss_objectness",
        "loss_rpn_box_reg",
    }


@pytest.mark.parametrize("isd", [False, True])
def test_gradients_reach_every_part(isd):
    options = replace(SMALL, adaptive_downsampling=isd, smooth_blocks=isd)
    net = build(options).train()
    images, targets = map(list, zip(draw(1), draw(2), strict=True))
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    for _ in range(2):  # what starts at 0 hides what lies before it from the first step
        optimizer.zero_grad()
        losses = net.forward_train(images, targets, clean=images if isd else None)
        sum(losses.values()).backward()
        optimizer.step()
    still = [key for key, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_clean_images_are_learnt_too_and_compared(net):
    images, targets = map(list, zip(draw(1), draw(2), strict=True))
    dark = [0.05 * image for image in images]
    losses = net.forward_train(dark, targets, clean=images)
    assert {name for name in losses if name.startswith("clean_")} == {
        f"clean_{name}" for name in net.forward_train(dark, targets)
    }
    assert 0 < losses["loss_suppression"].item() <= 0.01 * 4 * 0.1
    same = net.forward_train(images, targets, clean=images)
    assert same["loss_suppression"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("loss", ["dice_focal", "dice_focal_as_printed", "bce"])
def test_photographs_without_objects_train(loss):
    net = build(loss=loss).train()
    image, _ = draw(3)
    nothing = InstanceTarget.of_masks(
        torch.zeros(0, 64, 96, dtype=torch.bool), torch.zeros(0, dtype=torch.long)
    )
    losses = net.forward_train([image, image], [nothing, nothing])
    assert losses["loss_mask"].item() == 0
    assert losses["loss_box_reg"].item() == 0
    sum(losses.values()).backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in net.parameters() if p.grad is not None)
    mixed = net.forward_train([image, image], [nothing, draw(3)[1]])
    assert mixed["loss_mask"].item() != 0


def test_an_object_of_one_pixel(net):
    image, _ = draw(3, height=130, width=200)  # it shrinks to half its size
    mask = torch.zeros(1, 130, 200, dtype=torch.bool)
    mask[0, 129, 199] = True
    target = InstanceTarget.of_masks(mask, torch.tensor([2]))
    assert target.boxes.tolist() == [[199, 129, 200, 130]]
    losses = net.forward_train([image], [target])
    assert all(bool(torch.isfinite(value)) for value in losses.values())
    assert losses["loss_mask"].item() > 0


def test_objects_without_pixels_are_left_out():
    masks = torch.zeros(2, 5, 6, dtype=torch.bool)
    masks[1, 2:4, 1:5] = True
    target = InstanceTarget.of_masks(masks, torch.tensor([1, 2]))
    assert target.labels.tolist() == [2]
    assert target.boxes.tolist() == [[1, 2, 5, 4]]
    assert target.masks.shape == (1, 5, 6)


def test_nothing_found():
    options = replace(TINY, min_score=0.999)
    (found,) = build(options).detect([torch.zeros(3, 37, 211)])
    assert len(found) == 0
    assert found.size == (37, 211)
    assert found.logits.shape == (0, 37, 211)


def test_found_things_have_boxes_masks_and_logits_that_agree(net):
    (found,) = net.detect([draw(1, height=90, width=140)[0]])
    assert len(found) > 0
    assert found.masks.shape == found.logits.shape == (len(found), 90, 140)
    assert found.boxes.dtype == found.scores.dtype == found.logits.dtype == np.float32
    assert set(found.labels.tolist()) <= {1, 2}
    assert np.array_equal(found.logits > 0, found.masks)
    assert found.boxes[:, [0, 2]].max() <= 140
    assert found.boxes[:, [1, 3]].max() <= 90
    for box, mask in zip(found.boxes, found.masks, strict=True):
        x, y = np.nonzero(mask.any(axis=0))[0], np.nonzero(mask.any(axis=1))[0]
        assert not x.size or (x[0] + 1 >= box[0] - 1 and x[-1] <= box[2] + 1)
        assert not y.size or (y[0] + 1 >= box[1] - 1 and y[-1] <= box[3] + 1)
    (hard,) = net.detect([draw(1, height=90, width=140)[0]], soft=False)
    assert hard.logits is None
    assert np.array_equal(hard.masks, found.masks)


def test_photographs_of_a_batch_do_not_see_each_other(net):
    images = [draw(1)[0], draw(2, height=100, width=80)[0], draw(3)[0], draw(4)[0][:, :1, :1]]
    alone = [net.detect([image])[0] for image in images]
    for one, other in zip(alone, net.detect(images), strict=True):
        assert one.size == other.size
        assert len(one) == len(other)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-2)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
    assert net.detect([]) == []


def test_detecting_leaves_modes_as_they_were(net):
    net.train()
    net.rpn.eval()
    before = {name: module.training for name, module in net.named_modules()}
    net.detect([draw(1)[0]])
    assert {name: module.training for name, module in net.named_modules()} == before
    net.train()
    sum(net.forward_train(*map(list, zip(*[draw(1)], strict=True))).values()).backward()


@pytest.mark.parametrize("frozen", [False, True])
def test_saved_and_loaded_it_finds_the_same(frozen):
    options = replace(SMALL, frozen_norm=frozen)
    one, other = build(options), build(options, seed=5)
    other.load_state_dict(load(save({k: v.contiguous() for k, v in one.state_dict().items()})))
    image = draw(1)[0]
    (first,), (second,) = one.detect([image]), other.detect([image])
    assert np.array_equal(first.boxes, second.boxes)
    assert np.array_equal(first.logits, second.logits)


def test_frozen_norms_have_nothing_to_learn():
    options = replace(TINY, frozen_norm=True)
    net = build(options).train()
    before = {k: v.clone() for k, v in net.state_dict().items() if "running" in k}
    assert before
    net.forward_train(*map(list, zip(*[draw(1)], strict=True)))
    assert all(torch.equal(net.state_dict()[k], v) for k, v in before.items())
    assert not [k for k, _ in net.named_parameters() if ".bn" in k]


def test_on_a_cpu_the_body_stays_in_float32():
    backbone = MaskRCNN(1, TINY).backbone.eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        exact = backbone.stages(image)
        with torch.autocast("cpu", torch.bfloat16):
            stages = backbone.stages(image)
    assert {stage.dtype for stage in stages} == {torch.float32}
    assert all(torch.equal(*pair) for pair in zip(stages, exact, strict=True))


@pytest.mark.parametrize("isd", [False, True])
def test_half_precision_and_another_layout(isd):
    net = build(replace(TINY, adaptive_downsampling=isd, smooth_blocks=isd))
    net = net.to(memory_format=torch.channels_last).train()
    images, targets = map(list, zip(draw(1), draw(2), strict=True))
    with torch.autocast("cpu", torch.bfloat16):
        losses = net.forward_train(images, targets, clean=images if isd else None)
    assert {value.dtype for value in losses.values()} == {torch.float32}
    sum(losses.values()).backward()
    grads = [p.grad for p in net.parameters() if p.grad is not None]
    assert all(bool(torch.isfinite(grad).all()) for grad in grads)
    assert net.rpn.anchor_generator.cell_anchors[0].dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        (found,) = net.detect(images[:1])
    assert found.boxes.dtype == np.float32
    assert len(found) == 0 or not np.array_equal(found.boxes, found.boxes.astype(np.float16))


def test_its_own_mask_loss_is_torchvisions():
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(2, 5, 8, 8, generator=generator)
    labels = torch.ones(5, dtype=torch.long)
    ours = own_mask_loss(logits, target.clamp(0, 1), labels)
    torch.testing.assert_close(ours, build_mask_loss("bce")(logits, target.clamp(0, 1), labels))
    assert own_mask_loss(logits[:0], target[:0], labels[:0]).item() == 0


def test_torchvision_itself_stays_as_it_is(net):
    assert torchvisions.maskrcnn_loss.__module__ == torchvisions.__name__
    assert torchvisions.RoIHeads.forward.__module__ == torchvisions.__name__


@pytest.mark.parametrize(
    ("options", "least", "most"),
    [
        (MaskRCNNOptions(), 7.7e6, 8.0e6),
        (MaskRCNNOptions(body="tf_efficientnet_lite2"), 9.1e6, 9.4e6),
        (MaskRCNNOptions(body="resnet101"), 60e6, 65e6),
    ],
)
def test_sizes(options, least, most):
    with torch.device("meta"):
        net = MaskRCNN(1, options)
    assert least < sum(p.numel() for p in net.parameters()) < most


def test_the_body_starts_from_imagenet():
    state = imagenet_state("tf_efficientnet_lite0")
    net = MaskRCNN(1, replace(SMALL, frozen_norm=True), body_state=state)
    assert torch.equal(net.backbone.body.conv_stem.weight, state["_conv_stem.weight"])
    assert torch.equal(net.backbone.body.blocks[6][0].bn3.weight, state["_blocks.15._bn2.weight"])
    photograph = net.shaping.normalize(torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1))
    assert photograph.flatten().tolist() == [-1, 0, 1]


def test_a_resnet_starts_from_a_file_of_torchvisions():
    plain = resnet50(weights=None)
    options = replace(SMALL, body="resnet50", adaptive_downsampling=True, smooth_blocks=True)
    net = MaskRCNN(1, options, body_state=plain.state_dict())
    kept = net.backbone.body.layer3.stage[0].conv2.conv.weight
    assert torch.equal(kept, plain.layer3[0].conv2.weight)
    with pytest.raises(FormatError, match=r"weights of resnet50: .* tensors are missing"):
        MaskRCNN(1, options, body_state={"conv1.weight": plain.conv1.weight})


def test_resnet50_is_as_large_as_torchvisions():
    with torch.device("meta"):
        net = MaskRCNN(90, MaskRCNNOptions(body="resnet50", frozen_norm=True))
    # theirs has 44,401,393 with its 53,120 parameters of batch norms frozen into buffers
    assert sum(p.numel() for p in net.parameters()) == 44_401_393


def test_what_cannot_be_trained_on(net):
    image, target = draw(1)
    with pytest.raises(GridMismatchError, match=r"image 0 .* \(1, 64, 96\)"):
        net.forward_train([image[:1]], [target])
    with pytest.raises(GridMismatchError, match=r"torch.uint8"):
        net.detect([image.to(torch.uint8)])
    with pytest.raises(GridMismatchError, match="2 images, but targets of 1"):
        net.forward_train([image, image], [target])
    with pytest.raises(GridMismatchError, match="do not fit"):
        net.forward_train([image[:, :50]], [target])
    with pytest.raises(GridMismatchError, match="sizes differ"):
        net.forward_train([image], [target], clean=[image[:, 1:]])
    strange = InstanceTarget(target.boxes, target.labels + 1, target.masks)
    with pytest.raises(DatasetError, match=r"classes \[2, 3\]; the network knows 1 to 2"):
        net.forward_train([image], [strange])
    flat = InstanceTarget(target.boxes[:, [0, 1, 0, 3]], target.labels, target.masks)
    with pytest.raises(DatasetError, match="without area"):
        net.forward_train([image], [flat])
    net.eval()
    with pytest.raises(JobError, match=r"call train\(\) first"):
        net.forward_train([image], [target])


def test_options_that_make_no_sense():
    for values, said in [
        ({"min_px": 0}, "min_px is 0"),
        ({"max_px": 100}, "max_px 100 is below min_px 320"),
        ({"min_score": 1.0}, "min_score is 1.0"),
        ({"mask_weight": 0}, "mask_weight 0"),
        ({"chanels": 3}, "no option 'chanels'; the closest is 'channels'"),
    ]:
        with pytest.raises(RecipeError, match=said):
            read_options(MaskRCNNOptions, values, name="maskrcnn")
    with pytest.raises(RecipeError, match="body 'resnet1001'"):
        build(MaskRCNNOptions(body="resnet1001"))
    with pytest.raises(RecipeError, match="strides"):
        build(MaskRCNNOptions(body="test_vit"))
