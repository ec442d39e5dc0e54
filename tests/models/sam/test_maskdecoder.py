"""Our order of the mask decoder's arithmetic against transformers' own modules."""

import pytest
import torch

from headframe.models.sam import build_sam
from headframe.models.sam.maskdecoder import attend_both_ways, draw_masks, look_up, spread

HEIGHT, WIDTH = 5, 7
OBJECTS, TOKENS, DEPTH = 3, 9, 256


@pytest.fixture(scope="module")
def decoder():
    """In float64, so that only the order of the arithmetic can tell, with biases that count."""
    torch.manual_seed(3)
    made = build_sam("tiny").decoder.double().eval()
    for name, value in made.named_parameters():
        value.data += 0.2 * torch.randn_like(value) if name.endswith("bias") else 0
    return made


def _random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _theirs(decoder, image, positions, sparse, *, multimask):
    """transformers' decoder, which wants an image and its positions for every object."""
    masks, quality = decoder(
        image_embeddings=image.expand(OBJECTS, -1, -1, -1),
        image_positional_embeddings=positions.expand(OBJECTS, -1, -1, -1),
        sparse_prompt_embeddings=sparse[:, None],
        dense_prompt_embeddings=torch.zeros_like(image).expand(OBJECTS, -1, -1, -1),
        multimask_output=multimask,
    )
    return masks[:, 0], quality[:, 0]


def _ours(decoder, image, positions, sparse, *, multimask):
    outputs = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([outputs.expand(OBJECTS, -1, -1), sparse], dim=1)
    chosen = [1, 2, 3] if multimask else [0]
    heads = [(1 + number, decoder.output_hypernetworks_mlps[number]) for number in chosen]
    masks, found = draw_masks(decoder, image, positions, tokens, heads=heads)
    return masks, decoder.iou_prediction_head(found[:, 0])[:, chosen]


@pytest.mark.parametrize("images", [1, OBJECTS])
@pytest.mark.parametrize("multimask", [False, True])
def test_masks_and_gradients_are_those_of_transformers(decoder, images, multimask):
    image = _random(images, DEPTH, HEIGHT, WIDTH, seed=1).requires_grad_()
    positions = _random(1, DEPTH, HEIGHT, WIDTH, seed=2)
    sparse = _random(OBJECTS, TOKENS - 5, DEPTH, seed=3).requires_grad_()
    inputs = [image, sparse, *decoder.parameters()]
    told = []
    for draw in (_theirs, _ours):
        masks, quality = draw(decoder, image, positions, sparse, multimask=multimask)
        assert masks.shape == (OBJECTS, 3 if multimask else 1, 4 * HEIGHT, 4 * WIDTH)
        weight = _random(*masks.shape, seed=4)  # each pixel counts differently: no flip passes
        loss = (masks * weight).sum() + quality.square().sum()
        told.append((masks, quality, torch.autograd.grad(loss, inputs, allow_unused=True)))
    (masks, quality, wanted), (ours, rated, got) = told
    torch.testing.assert_close(ours, masks, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(rated, quality, atol=1e-9, rtol=1e-9)
    for theirs, own in zip(wanted, got, strict=True):
        nothing = torch.zeros(()) if theirs is None else torch.zeros_like(theirs)
        torch.testing.assert_close(
            nothing if own is None else own,
            nothing if theirs is None else theirs,
            atol=1e-8,
            rtol=1e-7,
        )
    assert sum(own is not None and bool(own.abs().max() > 1e-6) for own in got) > 60


@pytest.mark.parametrize("images", [1, OBJECTS])
def test_each_attention_is_transformers(decoder, images):
    layer = decoder.transformer.layers[1]
    cells, placed = (_random(images, HEIGHT * WIDTH, DEPTH, seed=seed) for seed in (1, 2))
    tokens, values = (_random(OBJECTS, TOKENS, DEPTH, seed=seed) for seed in (3, 4))
    every = [t.expand(OBJECTS, -1, -1)[:, None] for t in (cells, placed)]
    with torch.inference_mode():
        seen, _ = layer.cross_attn_token_to_image(tokens[:, None], every[1], every[0])
        told, _ = layer.cross_attn_image_to_token(every[1], tokens[:, None], values[:, None])
        ours = look_up(layer.cross_attn_token_to_image, tokens, placed, cells)
        back = spread(layer.cross_attn_image_to_token, placed, tokens, values)
    torch.testing.assert_close(ours, seen[:, 0], atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(back, told[:, 0], atol=1e-10, rtol=1e-10)
    assert back.shape == (OBJECTS, HEIGHT * WIDTH, DEPTH)


def test_the_order_of_cells_does_not_matter_to_tokens(decoder):
    cells = _random(1, HEIGHT * WIDTH, DEPTH, seed=1)
    places = _random(1, HEIGHT * WIDTH, DEPTH, seed=2)
    tokens = _random(OBJECTS, TOKENS, DEPTH, seed=3)
    order = torch.randperm(HEIGHT * WIDTH, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        found, mixed = attend_both_ways(decoder.transformer, tokens, cells, places)
        again, shuffled = attend_both_ways(
            decoder.transformer, tokens, cells[:, order], places[:, order]
        )
    torch.testing.assert_close(again, found, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(shuffled, mixed[:, order], atol=1e-10, rtol=1e-10)
