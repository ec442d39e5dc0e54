"""The contract of every SAM base, and what holds of prompts on any of them."""

import pytest
import torch

from headframe.core.errors import FormatError, GridMismatchError, UnknownNameError
from headframe.models.inflate import inflate_kernel
from headframe.models.sam import BASES, Prompts, build_sam
from headframe.models.sam.network import Sam

SIDES = {"tiny": (64, 96), "mobile": (64, 96), "litemedsam": (32, 48)}  # none is native
SEVEN = ("blue", "green", "red", "nir", "swir16", "swir22", "panchromatic")


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return {base: build_sam(base).eval() for base in SIDES}


@pytest.fixture(params=SIDES)
def sam(request, networks):
    return networks[request.param]


def _frames(sam, count):
    generator = torch.Generator().manual_seed(1)
    return torch.rand((count, 3, *SIDES[sam.base]), generator=generator)


def _three(sam):
    """Prompts of three objects: a point and a padding point, a box and a mask for each."""
    height, width = SIDES[sam.base]
    generator = torch.Generator().manual_seed(2)
    size = (4 * height // sam.stride, 4 * width // sam.stride)
    edges = [[1, 2, 20, 9], [0, 0, width - 1, height - 1], [3, 3, 7, 30]]
    return Prompts(
        points=torch.tensor([[[5, 6], [0, 0]], [[30, 8], [2, 2]], [[4, 25], [0, 0]]]).float(),
        labels=torch.tensor([[1, -1], [1, 0], [0, -1]]),
        boxes=torch.tensor(edges).float(),
        masks=torch.randn((3, 1, *size), generator=generator),
    )


def _one(prompts, number):
    part = slice(number, number + 1)
    return Prompts(
        prompts.points[part], prompts.labels[part], prompts.boxes[part], prompts.masks[part]
    )


def _count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("base", "encoder"),
    [
        ("vit_b", 89_670_912),
        ("vit_l", 308_278_272),
        ("vit_h", 637_026_048),
        ("mobile", 5_743_892),  # 6,065,532 with the ImageNet head that no SAM uses
        ("litemedsam", 5_726_740),
    ],
)
def test_parameters_are_those_of_the_authors(base, encoder):
    with torch.device("meta"):
        sam = Sam(base)
    parts = (_count(sam.encoder), _count(sam.prompts), _count(sam.decoder))
    assert parts == (encoder, 6_220, 4_058_340)
    assert _count(sam) == sum(parts)
    if base == "vit_b":
        assert _count(sam) == 93_735_472
    if base == "litemedsam":  # the numbers in the published file, statistics of norms included
        assert sum(value.numel() for value in sam.state_dict().values()) == 9_801_439
        assert len(sam.state_dict()) == 435


@pytest.mark.parametrize("base", BASES)
def test_the_native_frame_becomes_64_cells_or_four(base):
    with torch.device("meta"):
        sam = Sam(base)
        embedding = sam.encode(torch.empty(2, 3, sam.size_px, sam.size_px))
    side = 4 if base == "tiny" else 64
    assert embedding.shape == (2, 256, side, side)
    assert sam.size_px == sam.stride * side


def test_shapes_at_a_size_that_is_not_native(sam):
    height, width = (side // sam.stride for side in SIDES[sam.base])
    with torch.inference_mode():
        embedding = sam.encode(_frames(sam, 2))
        masks, quality = sam.decode(embedding[:1], _three(sam))
        three, qualities = sam.decode(embedding[:1], _three(sam), multimask=True)
    assert embedding.shape == (2, 256, height, width)
    assert masks.shape == (3, 1, 4 * height, 4 * width)
    assert quality.shape == (3, 1)
    assert three.shape == (3, 3, 4 * height, 4 * width)
    assert qualities.shape == (3, 3)
    assert not torch.equal(three[:, :1], masks)  # the single mask has a token of its own


def test_no_frame_or_object_hears_of_another(sam):
    frames, prompts = _frames(sam, 3), _three(sam)
    with torch.inference_mode():
        together = sam.encode(frames)
        alone = torch.cat([sam.encode(frame[None]) for frame in frames])
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
        masks, quality = sam.decode(together, prompts)  # one frame an object
        for number in range(3):
            one, one_quality = sam.decode(together[number : number + 1], _one(prompts, number))
            torch.testing.assert_close(masks[number : number + 1], one, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(quality[number : number + 1], one_quality)
        shared, _ = sam.decode(together[:1], prompts)  # one frame for all
        torch.testing.assert_close(shared[:1], masks[:1], atol=1e-4, rtol=1e-4)
        assert not torch.allclose(shared[1:], masks[1:], atol=1e-3)


@pytest.mark.parametrize("multimask", [False, True])
def test_objects_of_one_image_are_decoded_at_once_as_one_by_one(sam, multimask):
    """Prompts without masks share the image's projections; several frames go the authors' way."""
    height, width = (side // sam.stride for side in SIDES[sam.base])
    embedding = torch.randn(1, 256, height, width, generator=torch.Generator().manual_seed(2))
    boxes = torch.tensor([[1.0, 2, 20, 30], [5, 5, 9, 40], [0, 0, 30, 12]])
    points = boxes.view(3, 2, 2).flip(1)
    labels = torch.tensor([[1, 0], [1, 1], [1, -1]])
    for prompts in (Prompts(boxes=boxes), Prompts(points, labels), Prompts(points, labels, boxes)):
        with torch.inference_mode():
            masks, quality = sam.decode(embedding, prompts, multimask=multimask)
            repeated = embedding.expand(3, -1, -1, -1)
            wanted, scores = sam.decode(repeated, prompts, multimask=multimask)
        assert masks.shape == (3, 3 if multimask else 1, 4 * height, 4 * width)
        torch.testing.assert_close(masks, wanted, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(quality, scores, atol=1e-5, rtol=1e-4)
        assert not torch.allclose(masks[:1], masks[1:2], atol=1e-3)


def test_gradients_reach_every_weight_of_the_encoder(sam):
    masks, quality = sam.decode(sam.encode(_frames(sam, 1)), _three(sam), multimask=True)
    (masks.square().mean() + quality.sum()).backward()
    for name, parameter in sam.encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert sam.encoder.get_parameter("neck.conv1.weight").grad.abs().sum() > 0
    assert sam.decoder.mask_tokens.weight.grad.abs().sum() > 0
    sam.zero_grad()


def test_a_copy_made_from_its_tensors_answers_the_same(sam):
    again = build_sam(sam.base, state=sam.state_dict()).eval()
    frames = _frames(sam, 1)
    with torch.inference_mode():
        expected = sam.decode(sam.encode(frames), _three(sam))
        answer = again.decode(again.encode(frames), _three(sam))
    assert all(torch.equal(*pair) for pair in zip(answer, expected, strict=True))


def test_an_encoder_used_without_gradients_first_still_trains_and_loads(networks):
    """The biases of timm's attention would be cached: stale after a load, unfit for gradients."""
    sam = build_sam("litemedsam").eval()
    frames = _frames(sam, 1)
    with torch.inference_mode():
        before = sam.encode(frames)
    sam.encode(frames).sum().backward()
    sam.load_state_dict(networks["litemedsam"].state_dict())
    biases = {k: v + 1.0 for k, v in sam.state_dict().items() if k.endswith("attention_biases")}
    biases = {k: v * torch.linspace(-3, 3, v.shape[1]) for k, v in biases.items()}
    sam.load_state_dict({**sam.state_dict(), **biases})
    with torch.inference_mode():
        after = sam.encode(frames)
        fresh = build_sam("litemedsam", state=sam.state_dict()).eval().encode(frames)
    assert torch.equal(after, fresh)
    assert not torch.allclose(before, after)


def test_seven_bands_inflate_the_first_layer_and_nothing_else(sam):
    wide = build_sam(sam.base, bands=SEVEN, state=sam.state_dict()).eval()
    first = "patch_embed.weight" if sam.base == "tiny" else "stem.0.conv.weight"
    for name, value in wide.encoder.state_dict().items():
        kernel = sam.encoder.state_dict()[name]
        expected = inflate_kernel(kernel, SEVEN) if name == first else kernel
        assert torch.equal(value, expected), name
    pixels = torch.rand(1, 7, *SIDES[sam.base])
    with torch.inference_mode():
        assert wide.encode(pixels).shape == sam.encode(pixels[:, :3]).shape


def test_points_and_cells_share_their_positions(sam):
    """A point at the centre of a cell has the cell's position, on a frame that is not square."""
    with torch.inference_mode():
        embedding = sam.encode(_frames(sam, 1))
        row, col = 1, 3
        x, y = ((cell + 0.5) * sam.stride - 0.5 for cell in (col, row))
        prompts = Prompts(points=torch.tensor([[[x, y]]]), labels=torch.tensor([[1]]))
        tokens, _ = sam.embed_prompts(prompts, embedding)
        inside = sam.prompts.point_embed[1].weight[0]
        nothing = sam.prompts.not_a_point_embed.weight[0]
        cell = sam.image_positions(embedding)[0, :, row, col]
    assert tokens.shape == (1, 2, 256)
    torch.testing.assert_close(tokens[0, 0], cell + inside, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tokens[0, 1], nothing)  # SAM pads points that come without a box


def test_corners_of_a_box_lie_half_a_pixel_on(networks):
    sam = networks["tiny"]
    embedding = torch.zeros(1, 256, 4, 6)  # a frame of 64 x 96 px
    with torch.inference_mode():
        tokens, _ = sam.embed_prompts(
            Prompts(boxes=torch.tensor([[7.5, 23.5, 39.5, 55.5]])), embedding
        )
        cells = sam.image_positions(embedding)[0]
        first, last = (sam.prompts.point_embed[number].weight[0] for number in (2, 3))
    torch.testing.assert_close(tokens[0, 0], cells[:, 1, 0] + first, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tokens[0, 1], cells[:, 3, 2] + last, atol=1e-4, rtol=1e-4)


def test_nothing_prompted_is_sams_no_mask_and_no_token(networks):
    sam = networks["tiny"]
    embedding = torch.randn(2, 256, 4, 6)
    with torch.inference_mode():
        tokens, dense = sam.embed_prompts(None, embedding)
        masks, _ = sam.decode(embedding, None)
        assert tokens is None
        torch.testing.assert_close(
            dense, sam.prompts.no_mask_embed.weight[0][None, :, None, None].expand(2, -1, 4, 6)
        )
        assert masks.shape == (2, 1, 16, 24)
        assert torch.equal(sam.decode(embedding, Prompts())[0], masks)


def test_further_tokens_come_last(networks):
    sam = networks["tiny"]
    embedding = torch.randn(1, 256, 4, 6)
    extra = torch.randn(1, 2, 256)
    boxes = Prompts(boxes=torch.tensor([[1.0, 2, 20, 30], [5, 5, 9, 60]]))
    with torch.inference_mode():
        tokens, _ = sam.embed_prompts(boxes, embedding, tokens=extra)
        alone, _ = sam.embed_prompts(None, embedding, tokens=extra.expand(3, -1, -1))
        changed = sam.decode(embedding, boxes, tokens=extra)[0]
        assert tokens.shape == (2, 4, 256)
        assert torch.equal(tokens[:, 2:], extra.expand(2, -1, -1))
        assert alone.shape == (3, 2, 256)
        assert not torch.allclose(changed, sam.decode(embedding, boxes)[0])


def test_the_norms_of_the_decoder_have_the_epsilon_of_the_authors(networks):
    decoder = networks["tiny"].decoder
    norms = [m for m in decoder.transformer.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert len(norms) == 9
    assert {norm.eps for norm in norms} == {1e-5}
    assert decoder.upscale_layer_norm.eps == 1e-6


def test_frequencies_and_units_of_pixels_are_no_parameters(networks):
    for base, sam in networks.items():
        names = {name for name, _ in sam.named_parameters()}
        assert "prompts.shared_embedding.positional_embedding" not in names
        assert "pixel_mean" not in sam.state_dict()
        mean = (0.0, 0.0, 0.0) if base == "litemedsam" else (0.485, 0.456, 0.406)
        torch.testing.assert_close(sam.pixel_mean, torch.tensor(mean), atol=5e-4, rtol=0)


def test_what_cannot_be_is_named(networks):
    with pytest.raises(UnknownNameError, match="unknown SAM base 'vit_x'; closest: vit_"):
        build_sam("vit_x")
    with pytest.raises(GridMismatchError, match=r"64 x 90 px; tiny needs .* multiples of 16"):
        networks["tiny"].encode(torch.zeros(1, 3, 64, 90))
    state = networks["mobile"].state_dict()
    with pytest.raises(FormatError, match=r"'encoder\.stem\.0\.conv\.weight' has shape"):
        build_sam("litemedsam", state=state)
