import pytest
import torch

from headframe.core.errors import DatasetError, RecipeError, UnknownNameError
from headframe.models.sam import Prompts
from headframe.models.sam.classprompt import build_class_prompted_sam
from headframe.models.trainable import load_trained, set_trainable, trained_names, trained_state

HEIGHT, WIDTH = 64, 96
BOXES = torch.tensor([[4.0, 8.0, 40.0, 30.0], [50.0, 5.0, 90.0, 60.0], [10.0, 30.0, 30.0, 60.0]])
LABELS = torch.tensor([2, 1, 2])


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_class_prompted_sam(3, base="tiny").eval()


def frames(count=1, seed=3):
    return torch.randn(count, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def test_untrained_it_is_plain_sam_to_the_bit(network):
    with torch.inference_mode():
        embedding = network.encode(frames())
        plain, rated = network.sam.decode(embedding, Prompts(boxes=BOXES))
        logits, quality = network.decode(embedding, BOXES, LABELS)
        silent, _ = network.decode(embedding, BOXES, None)
    assert logits.shape == (3, HEIGHT // 4, WIDTH // 4)
    assert torch.equal(logits, plain[:, 0])
    assert torch.equal(quality, rated[:, 0])
    assert torch.equal(silent, logits)
    assert not network.table.weight.any()
    assert network.table.weight.shape == (3, 256)


def test_a_token_of_zeros_would_not_be_nothing(network):
    with torch.inference_mode():
        embedding = network.encode(frames())
        plain, _ = network.sam.decode(embedding, Prompts(boxes=BOXES))
        with_zeros, _ = network.sam.decode(
            embedding, Prompts(boxes=BOXES), tokens=torch.zeros(3, 1, 256)
        )
    assert not torch.allclose(plain, with_zeros, atol=1e-4)


def test_a_class_is_one_token_after_the_corners(network, monkeypatch):
    with torch.no_grad():
        network.table.weight[1] = torch.linspace(-1, 1, 256)
    seen = []
    decode = network.sam.decode

    def watched(embedding, prompts, **options):
        seen.append((prompts.boxes.tolist(), options["tokens"]))
        return decode(embedding, prompts, **options)

    monkeypatch.setattr(network.sam, "decode", watched)
    with torch.inference_mode():
        embedding = network.encode(frames())
        logits, quality = network.decode(embedding, BOXES, LABELS)
    (told, tokens), (untold, none) = seen
    assert told == BOXES[[0, 2]].tolist()
    assert untold == BOXES[[1]].tolist()
    assert none is None
    assert torch.equal(tokens[:, 0], network.table.weight[[1, 1]])
    with torch.inference_mode():
        plain, rated = decode(embedding, Prompts(boxes=BOXES))
        both = decode(
            embedding, Prompts(boxes=BOXES[:1]), tokens=network.table.weight[1][None, None]
        )
        sparse, _ = network.sam.embed_prompts(
            Prompts(boxes=BOXES), embedding, tokens=network.table(LABELS - 1)[:, None]
        )
    torch.testing.assert_close(logits[1], plain[1, 0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(logits[0], both[0][0, 0], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(logits[0], plain[0, 0], atol=1e-3)
    assert not torch.allclose(quality[0], rated[0, 0], atol=1e-5)
    assert sparse.shape == (3, 3, 256)  # two corners and the class


def test_boxes_of_several_frames_do_not_see_each_other(network):
    with torch.no_grad():
        network.table.weight[0] = 0.5
    of = torch.tensor([1, 0, 1])
    with torch.inference_mode():
        together = network(frames(2), BOXES, LABELS, of)
        assert together.shape == (3, HEIGHT, WIDTH)
        for row in range(3):
            alone = network(
                frames(2)[of[row]][None], BOXES[[row]], LABELS[[row]], torch.tensor([0])
            )
            torch.testing.assert_close(alone[0], together[row], atol=1e-4, rtol=1e-4)
        none = network(frames(), BOXES[:0], LABELS[:0], of[:0])
    assert none.shape == (0, HEIGHT, WIDTH)


def test_the_decoder_and_the_table_are_trained(network):
    set_trainable(network)
    logits = network(frames(2), BOXES, LABELS, torch.tensor([1, 0, 1]))
    logits.square().mean().backward()
    moved = {k for k, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert "table.weight" in moved
    assert network.table.weight.grad[[0, 1]].any(dim=1).all()
    assert not network.table.weight.grad[2].any()  # no box is of the third class
    assert any(name.startswith("sam.decoder.upscale") for name in moved)
    assert moved <= trained_names(network)
    assert not network.encoder_names & trained_names(network)
    assert network.pretrained == trained_names(network) - {"table.weight"}
    lora = build_class_prompted_sam(3, base="tiny", peft="lora", rank=2)
    assert lora.encoder_names & trained_names(lora)
    alone = build_class_prompted_sam(3, base="tiny", peft="none")
    assert trained_names(alone) == {"table.weight"}


def test_two_classes_in_one_box_become_two_masks():
    torch.manual_seed(1)
    network = build_class_prompted_sam(2, base="tiny")
    set_trainable(network)
    box = torch.tensor([[8.0, 8.0, 56.0, 56.0]] * 2)
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    wanted = torch.zeros(2, 64, 64)
    wanted[0, 10:54, 10:32] = 1
    wanted[1, 10:54, 32:54] = 1
    own = [p for p in network.sam.parameters() if p.requires_grad]
    groups = [{"params": network.table.weight, "lr": 0.1}, {"params": own, "lr": 1e-3}]
    optimizer = torch.optim.AdamW(groups)
    embedding = network.encode(pixels).detach()
    best = 0.0
    for _ in range(60):
        coarse, _ = network.decode(embedding, box, torch.tensor([1, 2]))
        logits = torch.nn.functional.interpolate(coarse[:, None], (64, 64), mode="bilinear")[:, 0]
        found = logits.detach() > 0
        best = float((found & (wanted > 0)).sum() / (found | (wanted > 0)).sum())
        if best > 0.85:
            break
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert best > 0.85
    network.eval()
    with torch.inference_mode():
        after = network(pixels, box, torch.tensor([1, 2]), torch.tensor([0, 0])) > 0
    assert (after[0] != after[1]).float().mean() > 0.3


def test_trained_parts_are_kept_apart(network):
    with torch.no_grad():
        network.table.weight[1] = 1.0
    torch.manual_seed(0)
    twin = build_class_prompted_sam(3, base="tiny").eval()
    load_trained(twin, trained_state(network))
    with torch.inference_mode():
        ours, theirs = (n(frames(), BOXES, LABELS, torch.zeros(3).long()) for n in (network, twin))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("label", [0, 4])
def test_what_cannot_be_told(network, label):
    embedding = torch.zeros(1, 256, 4, 6)
    with pytest.raises(
        DatasetError, match=f"class {label} cannot be told to a SAM of classes 1 to 3"
    ):
        network.decode(embedding, BOXES[:2], torch.tensor([1, label]))


def test_what_cannot_be_built():
    with pytest.raises(RecipeError, match="at least one"):
        build_class_prompted_sam(0, base="tiny")
    with pytest.raises(UnknownNameError, match="closest: tiny"):
        build_class_prompted_sam(1, base="tyni")
