"""Sizes, true masks in boxes, and masks pasted back, by hand."""

import numpy as np
import pytest
import torch

from headframe.models.maskrcnn.pasting import paste_masks
from headframe.models.maskrcnn.roi_heads import LevelRoIAlign, mask_truth
from headframe.models.maskrcnn.shaping import Shaping, shaped_size


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (320, 427)),
        ((640, 480), (427, 320)),
        ((200, 100), (640, 320)),
        ((1, 1), (320, 320)),
        ((1, 5000), (1, 640)),  # the long side rules, and no side is lost
        ((3000, 4000), (320, 427)),
    ],
)
def test_sizes(size, expected):
    assert shaped_size(*size, min_px=320, max_px=640) == expected


def test_noise_is_averaged_where_an_image_shrinks():
    noise = torch.randn(3, 256, 384, generator=torch.Generator().manual_seed(0))
    shaping = Shaping(64, 128, [0.0] * 3, [1.0] * 3)
    small, _ = shaping.resize(noise)
    assert small.shape == (3, 64, 96)
    assert float(small.std()) < 0.35  # of 1; without averaging 0.5 would be left


def test_boxes_follow_and_masks_stay():
    shaping = Shaping(64, 128, [0.0] * 3, [1.0] * 3)
    masks = torch.ones(1, 128, 100, dtype=torch.bool)
    target = {"boxes": torch.tensor([[10.0, 20, 30, 60]]), "masks": masks}
    _, target = shaping.resize(torch.zeros(3, 128, 100), target)
    assert target["boxes"][0].tolist() == pytest.approx([6.4, 20 * 82 / 128, 19.2, 60 * 82 / 128])
    assert target["masks"] is masks
    assert target["scale"].tolist() == pytest.approx([100 / 64, 128 / 82], rel=0.01)


def test_an_image_of_the_right_size_is_not_touched():
    image = torch.rand(3, 64, 96)
    same, _ = Shaping(64, 128, [0.0] * 3, [1.0] * 3).resize(image)
    assert same is image


def test_true_masks_are_shares_of_cells():
    mask = torch.zeros(2, 40, 60, dtype=torch.bool)
    mask[1, 10:20, 20:40] = True  # the right box, its left half outside of the object
    box = torch.tensor([[5.0, 5.0, 20.0, 10.0], [0.0, 0.0, 5.0, 5.0]])  # in halved pixels
    cut = mask_truth(mask, box, torch.tensor([1, 1]), torch.tensor([2.0, 2.0]), side=6)
    assert cut.shape == (2, 6, 6)
    # x from 10 to 40 in six cells of 5: two outside, four inside
    assert cut[0, 2].tolist() == pytest.approx([0, 0, 1, 1, 1, 1], abs=0.11)
    assert float(cut[1].max()) == 0
    assert mask_truth(mask, box[:0], torch.zeros(0), torch.ones(2), side=6).shape == (0, 6, 6)


@pytest.mark.parametrize("cells", [28, 2])
def test_a_full_mask_fills_its_box_and_no_more(cells):
    masks, logits = paste_masks(
        torch.ones(1, cells, cells),
        torch.tensor([[3.0, 1.0, 10.0, 7.0]]),
        height=9,
        width=12,
        soft=True,
    )
    expected = np.zeros((9, 12), bool)
    expected[1:7, 3:10] = True
    assert np.array_equal(masks[0], expected)
    assert np.array_equal(logits[0] > 0, expected)
    assert logits[0][~expected].max() == pytest.approx(-9.21, abs=0.01)
    assert logits.max() == pytest.approx(9.21, abs=0.01)


def test_what_is_cut_is_pasted_back():
    rows, columns = np.mgrid[:50, :70]
    oval = ((rows - 20) / 14) ** 2 + ((columns - 40) / 23) ** 2 < 1
    box = torch.tensor([[17.0, 6.0, 63.0, 34.0]])
    cut = mask_truth(torch.tensor(oval)[None], box, torch.tensor([0]), torch.ones(2), side=28)
    masks, _ = paste_masks(cut, box, height=50, width=70, soft=False)
    assert (masks[0] & oval).sum() / (masks[0] | oval).sum() > 0.97


@pytest.mark.parametrize(
    "box",
    [
        [4.2, 3.1, 4.3, 3.2],  # far below a pixel
        [11.9, 8.9, 12.0, 9.0],
        [0.0, 0.0, 0.0, 0.0],
        [-5.0, -5.0, 20.0, 20.0],
        [12.0, 9.0, 12.0, 9.0],
    ],
)
def test_boxes_at_the_edges_of_sense(box):
    masks, logits = paste_masks(
        torch.ones(1, 4, 4), torch.tensor([box]), height=9, width=12, soft=True
    )
    assert masks.any()
    assert np.isfinite(logits).all()


def test_without_softness_and_without_boxes():
    masks, logits = paste_masks(
        torch.ones(0, 4, 4), torch.zeros(0, 4), height=2, width=3, soft=False
    )
    assert masks.shape == (0, 2, 3)
    assert logits is None


def test_strides_do_not_depend_on_the_first_image():
    pool = LevelRoIAlign(2)
    ramp = torch.arange(16.0).expand(16, 16)  # stride 4 of an image padded from 33 to 64
    levels = {str(n): ramp[None, None, :: 2**n, :: 2**n] for n in range(4)}
    box = [torch.tensor([[0.0, 0.0, 32.0, 32.0]])]
    out = pool(levels, box, [(33, 33)])
    assert out[0, 0, 0].tolist() == pytest.approx([2.0, 6.0], abs=0.6)
