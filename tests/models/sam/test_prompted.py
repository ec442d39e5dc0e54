import numpy as np
import pytest
import torch

from headframe.core.errors import GridMismatchError, RecipeError
from headframe.losses.build import build_loss
from headframe.models.sam import Prompts
from headframe.models.sam.prompted import (
    MASK_LOGIT,
    PLANES,
    build_prompted_sam,
    draw_points,
    mask_logits,
)
from headframe.models.trainable import Embedder, set_trainable, trained_names, trained_state

RGB = ("red", "green", "blue")
HEIGHT, WIDTH = 64, 96


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_prompted_sam(RGB, 1, base="tiny", peft="decoder").eval()


def frame(*, box=None, mask=None, points=(), seed=3):
    """Bands and planes (6, H, W); box and mask are (rows, cols) slices."""
    pixels = torch.randn(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))
    planes = torch.zeros(PLANES, HEIGHT, WIDTH)
    for plane, where in ((0, box), (1, mask)):
        if where is not None:
            planes[plane][where] = 1
    planes[2] = torch.from_numpy(draw_points((HEIGHT, WIDTH), points))
    return torch.cat([pixels, planes])


BOX = (slice(10, 31), slice(40, 77))
MASK = (slice(12, 28), slice(44, 60))
POINTS = ((50.0, 20.0, 1), (5.0, 50.0, 0), (88.0, 12.0, 1))


def spy(network, monkeypatch):
    """Records the prompts that reach SAM."""
    seen = []
    decode = network.sam.decode

    def watched(embedding, prompts, **options):
        seen.append(prompts)
        return decode(embedding, prompts, **options)

    monkeypatch.setattr(network.sam, "decode", watched)
    return seen


def test_prompts_are_read_off_the_planes(network, monkeypatch):
    seen = spy(network, monkeypatch)
    with torch.inference_mode():
        logits = network(frame(box=BOX, mask=MASK, points=POINTS)[None])
    assert logits.shape == (1, 1, HEIGHT, WIDTH)
    (prompts,) = seen
    assert prompts.boxes.tolist() == [[40, 10, 76, 30]]
    assert prompts.points.tolist() == [[[88, 12], [50, 20], [5, 50]]]
    assert prompts.labels.tolist() == [[1, 1, 0]]
    assert prompts.masks.shape == (1, 1, HEIGHT // 4, WIDTH // 4)
    assert prompts.masks[0, 0, 3, 11] == MASK_LOGIT
    assert prompts.masks[0, 0, 3, 10] == -MASK_LOGIT


def test_planes_say_what_real_prompts_say(network):
    sample = frame(box=BOX, mask=MASK)[None]
    with torch.inference_mode():
        logits = network(sample)
        embedding = network.sam.encode(network.to_base_units(sample[:, :3]))
        masks = mask_logits(sample[:, 4:5], network.sam.stride)
        boxes = torch.tensor([[40.0, 10.0, 76.0, 30.0]])
        direct, _ = network.sam.decode(embedding, Prompts(boxes=boxes, masks=masks))
        full = torch.nn.functional.interpolate(direct, (HEIGHT, WIDTH), mode="bilinear")
    torch.testing.assert_close(logits, full)


def test_samples_of_all_kinds_are_independent(network, monkeypatch):
    kinds = [
        {"box": BOX},
        {"mask": MASK},
        {"points": POINTS},
        {},
        {"box": MASK},
        {"points": POINTS[:1]},
        {"points": POINTS[1:2]},
        {"box": BOX, "mask": MASK},
    ]
    samples = [frame(**kind, seed=i) for i, kind in enumerate(kinds)]
    seen = spy(network, monkeypatch)
    with torch.inference_mode():
        together = network(torch.stack(samples))
        assert len(seen) == 6  # boxes together, single points together
        for sample, expected in zip(samples, together, strict=True):
            torch.testing.assert_close(network(sample[None])[0], expected, atol=1e-4, rtol=1e-4)
        plain = network(samples[3][None, :3])
    torch.testing.assert_close(plain[0], together[3], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(together[0], together[4], atol=1e-4)


def test_the_encoder_can_be_run_ahead_and_kept_in_half_precision(network):
    assert isinstance(network, Embedder)
    batch = torch.stack([frame(box=BOX, points=POINTS), frame(mask=MASK, seed=5)])
    with torch.inference_mode():
        kept = network.encode(batch)
        assert kept.shape == (2, 256 + PLANES * 16**2, HEIGHT // 16, WIDTH // 16)
        assert torch.equal(network.decode(kept, (HEIGHT, WIDTH)), network(batch))
        half = network.decode(kept.half().float(), (HEIGHT, WIDTH))
    torch.testing.assert_close(half, network(batch), atol=0.05, rtol=0.05)
    assert network.encoder_names
    assert not network.encoder_names & trained_names(network)


def test_the_decoder_and_the_embedding_of_prompts_are_trained(network):
    set_trainable(network)
    logits = network(torch.stack([frame(box=BOX, mask=MASK, points=POINTS), frame(mask=MASK)]))
    logits.square().mean().backward()
    moved = {k for k, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved <= network.trained
    assert any("prompts.mask_embed" in name for name in moved)
    assert any("decoder.upscale" in name for name in moved)
    assert not any("encoder.layers" in name or "sam.encoder" in name for name in moved)
    size = sum(value.numel() for value in trained_state(network).values())
    assert size < 5e6  # of fp16: 10 MB
    frozen = build_prompted_sam(RGB, 1, base="tiny", peft="none")
    assert trained_names(frozen) == frozenset()


def test_lora_reaches_the_encoder():
    network = build_prompted_sam(RGB, 1, base="tiny", peft="lora", rank=2)
    assert network.encoder_names & trained_names(network)


def test_it_learns_to_shrink_a_mask(network):
    torch.manual_seed(1)
    set_trainable(network)
    batch, label = [], torch.zeros(3, HEIGHT, WIDTH)
    for i, (row, col) in enumerate(((6, 10), (20, 40), (10, 55))):
        mask = (slice(row, row + 34), slice(col, col + 32))
        batch.append(frame(box=mask, mask=mask, seed=i))
        label[i, row + 8 : row + 26, col + 8 : col + 24] = 1
    pixels = torch.stack(batch)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=2e-3)
    loss = build_loss("bce_dice")
    best = 0.0
    for _ in range(80):
        logits = network(pixels)
        found = logits[:, 0].detach() > 0
        best = float((found & (label > 0)).sum() / (found | (label > 0)).sum())
        if best > 0.8:
            break
        loss(logits, label).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert best > 0.8


@pytest.mark.parametrize("bands", [("nir", "red", "green", "blue"), ("blue", "green", "red")])
def test_any_bands(bands):
    network = build_prompted_sam(bands, 1, base="tiny", peft="decoder").eval()
    pixels = torch.zeros(1, len(bands) + PLANES, 64, 64)
    with torch.inference_mode():
        assert network(pixels).shape == (1, 1, 64, 64)
        units = network.to_base_units(pixels[:, : len(bands)])[0, :, 0, 0]
    red = (0.45 - 123.675 / 255) / (58.395 / 255)
    assert units[bands.index("red")].item() == pytest.approx(red, abs=1e-6)
    assert units.shape == (len(bands),)


def test_points_keep_their_places_and_their_distance():
    plane = draw_points((20, 30), [(4, 5, 1), (20.4, 12.4, 0), (6, 6, 0)])
    assert plane[5, 4] == 1
    assert plane[12, 20] == -1
    assert (plane > 0).sum() == (plane < 0).sum() == 13  # the third would touch the first
    assert set(np.unique(plane)) == {-1.0, 0.0, 1.0}


def test_what_does_not_fit_is_refused(network):
    with pytest.raises(GridMismatchError, match="takes 6, or 3 without prompts"):
        network(torch.zeros(1, 5, 64, 64))
    with pytest.raises(GridMismatchError, match="multiples of 16"):
        network(torch.zeros(1, 6, 64, 56))
    with pytest.raises(RecipeError, match=r"data\.target to binary"):
        build_prompted_sam(RGB, 3, base="tiny")
