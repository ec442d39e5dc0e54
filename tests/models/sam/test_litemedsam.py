"""Golden values of the published LiteMedSAM, computed by its authors' code on a drawn disc."""

import pytest
import torch

from headframe.engine.bases import base_state, find_base
from headframe.models.sam import Prompts, build_sam

Y, X = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
DISC = (((X - 150) ** 2 / 60**2 + (Y - 90) ** 2 / 40**2) < 1).float()
POINTS = torch.tensor([[[150.0, 90.0], [20.0, 200.0]]])
LABELS = torch.tensor([[1, 0]])
BOXES = torch.tensor([[90.0, 50.0, 210.0, 130.0]])
MASKS = (DISC * 20 - 10)[None, None]
PROMPTS = {
    "points": Prompts(points=POINTS, labels=LABELS),
    "boxes": Prompts(boxes=BOXES),
    "masks": Prompts(masks=MASKS),
    "all": Prompts(POINTS, LABELS, BOXES, MASKS),
}
# prompts, several masks: logits of the last mask at four pixels, predicted IoU, mean logit
AUTHORS = {
    ("points", False): ([-3.716, -14.0795, -26.7082, -26.1549], [0.60576], -21.1454),
    ("points", True): ([-0.0268, -0.1577, -0.2174, -0.335], [0.17967, 0.19083, 0.17823], -0.1814),
    ("boxes", False): ([10.272, -35.1435, -45.2287, -22.2374], [0.98319], -30.04704),
    ("boxes", True): ([0.0829, -0.258, -0.2497, -0.331], [0.26834, 0.28823, 0.27326], -0.19392),
    ("masks", False): ([-18.757, -20.6153, -23.264, -20.4311], [0.45912], -21.40129),
    ("masks", True): ([-0.1332, -0.1453, -0.1669, -0.18], [0.14802, 0.1395, 0.13705], -0.18602),
    ("all", False): ([4.2264, -8.9772, -12.8634, -8.3249], [0.84048], -7.6073),
    ("all", True): ([0.0931, -0.1115, -0.0732, -0.1739], [0.21146, 0.2301, 0.22417], -0.04753),
}


@pytest.fixture(scope="module")
def sam():
    base = find_base("litemedsam")
    return build_sam(base.architecture, state=base_state(base)).eval()


@pytest.fixture(scope="module")
def embedding(sam):
    red, green = 0.2 + 0.6 * DISC, 0.3 + 0.1 * torch.sin(X / 9)
    blue = 0.5 - 0.3 * DISC * torch.cos(Y / 17)
    with torch.inference_mode():
        return sam.encode(torch.stack((red, green, blue))[None])


def test_the_embedding_is_the_authors(embedding):
    cells = embedding[0, [0, 7, 99, 255], [10, 22, 40, 63], [5, 38, 12, 63]]
    expected = torch.tensor([-0.03488, -0.07008, -0.18586, 0.07145])
    torch.testing.assert_close(cells, expected, atol=1e-4, rtol=0)
    assert float(embedding.mean()) == pytest.approx(-0.002808, abs=1e-5)
    assert float(embedding.std()) == pytest.approx(0.106322, abs=1e-5)


@pytest.mark.parametrize(("kind", "several"), AUTHORS)
def test_masks_and_their_predicted_iou_are_the_authors(sam, embedding, kind, several):
    logits, quality, mean = AUTHORS[kind, several]
    with torch.inference_mode():
        masks, found = sam.decode(embedding, PROMPTS[kind], multimask=several)
    at = masks[0, -1, [90, 200, 40, 131], [150, 20, 180, 90]]
    torch.testing.assert_close(at, torch.tensor(logits), atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(found[0], torch.tensor(quality), atol=1e-4, rtol=0)
    assert float(masks.mean()) == pytest.approx(mean, abs=1e-3)


def test_a_box_around_a_disc_gives_the_disc(sam, embedding):
    with torch.inference_mode():
        masks, quality = sam.decode(embedding, PROMPTS["boxes"])
    found, truth = masks[0, 0] > 0, DISC > 0
    assert int(found.sum()) == pytest.approx(7558, abs=3)  # the disc covers 7517
    assert float((found & truth).sum() / (found | truth).sum()) > 0.95
    assert float(quality) > 0.95
