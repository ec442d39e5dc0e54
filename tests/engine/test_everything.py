import json

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from shapely import box
from torch import nn

from headframe.core.errors import CrsError, InputError
from headframe.engine import everything
from headframe.engine.everything import (
    AutoMask,
    EverythingOptions,
    find_everything,
    grid_points,
    mask_nms,
    stability_score,
    suppress,
)
from headframe.engine.prompting.embeddings import SceneEmbeddings
from headframe.engine.prompting.prompter import Prompter
from headframe.io.scene import SceneOptions
from headframe.models.sam import build_sam

SIZE = 64
GRID = Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 8_000_000.0)
DISCS = ((30, 25, 9), (110, 40, 14), (60, 70, 6), (139, 80, 8))
"""Bright discs (column, row, radius) on a scene of 150 x 90; the last is cut by its border."""


class Seer(nn.Module):
    """In place of SAM: its embedding is the picture, and it masks the bright blob at a point."""

    def __init__(self):
        super().__init__()
        self.size_px, self.stride, self.base = SIZE, 1, "seer"
        self.register_buffer("pixel_mean", torch.zeros(3))
        self.register_buffer("pixel_std", torch.ones(3))
        self.asked = 0

    def encode(self, pixels):
        return pixels.mean(dim=1, keepdim=True)

    def decode(self, embedding, prompts, *, multimask=False, tokens=None):
        bright = embedding[0, 0] > 0.6
        count = everything.ndimage.label(bright.numpy())[0]
        centres = prompts.boxes.view(-1, 2, 2).mean(dim=1) if prompts.points is None else (
            prompts.points[:, 0]
        )  # fmt: skip
        self.asked += len(centres)
        masks, quality = [], []
        for x, y in (centres + 0.5).long().tolist():
            number = count[min(y, SIZE - 1), min(x, SIZE - 1)]
            blob = torch.from_numpy(count == number) if number else torch.zeros_like(bright)
            masks.append(torch.where(blob, 8.0, -8.0))
            quality.append(0.9 if number else 0.2)
        logits = torch.stack(masks)[:, None]
        return logits, torch.tensor(quality)[:, None]


def picture(height=90, width=150):
    rows, cols = np.mgrid[:height, :width]
    values = np.full((3, height, width), 500, np.uint16)
    for col, row, radius in DISCS:
        values[:, (cols - col) ** 2 + (rows - row) ** 2 <= radius**2] = 4000
    return values


@pytest.fixture
def write(tmp_path):
    def make(values, *, crs="EPSG:32721", transform=GRID):
        path = tmp_path / "scene.tif"
        count, height, width = values.shape
        with rasterio.open(
            path, "w", driver="GTiff", count=count, height=height, width=width,
            dtype=values.dtype, crs=crs, transform=transform, nodata=0,
        ) as sink:  # fmt: skip
            sink.write(values)
            sink.descriptions = ("B04", "B03", "B02")
        return str(path)

    return make


def opened(source, **facts):
    prompter = Prompter("seer", "0", Seer(), **facts)
    return SceneEmbeddings.open(source, prompter, options=SceneOptions())


def circles(found):
    """Centre of each object, and its area in pixels, from left to right."""
    rows = [(*m.polygon.centroid.coords[0], m.polygon.area) for m in found]
    return sorted((round(x, 1), round(y, 1), area) for x, y, area in rows)


@pytest.mark.parametrize("points", [True, False])
def test_every_disc_is_found_once_over_all_tiles(write, points):
    """Also the one at the scene's own border, and each where it is."""
    with opened(write(picture()), takes_points=points) as scene:
        found = find_everything(scene, options=EverythingOptions(points_per_side=16))
    want = picture()[0] > 1000
    labels, _ = everything.ndimage.label(want)
    truth = sorted(
        (round(x + 0.5, 1), round(y + 0.5, 1), int((labels == n).sum()))
        for n in range(1, 5)
        for y, x in [everything.ndimage.center_of_mass(labels == n)]
    )
    assert circles(found) == truth
    assert [m.area_ha for m in found] == pytest.approx(
        [m.polygon.area / 100 for m in found], rel=2e-3
    )
    assert {(m.level, round(m.predicted_iou, 2), m.stability) for m in found} == {(0, 0.9, 1.0)}


def test_points_are_prompted_once(write):
    with opened(write(picture())) as scene:
        everywhere = []
        for tile in scene.tiles():
            points = grid_points(scene, tile, points_per_side=8)
            assert (points >= 0).all()
            assert (points < SIZE).all()
            everywhere += (points + np.array([tile.window.col, tile.window.row])).tolist()
        find_everything(scene, options=EverythingOptions(points_per_side=8))
        assert scene.prompter.sam.asked <= len(everywhere)
    assert len({tuple(p) for p in everywhere}) == len(everywhere)
    xs, ys = (sorted({p[i] for p in everywhere}) for i in (0, 1))
    assert xs == [4.0 + 8 * i for i in range(len(xs))]
    assert (len(xs), len(ys)) == (19, 11)  # all of 150 x 90 px, but a rest under half a step
    assert len(everywhere) == 19 * 11


def test_an_object_cut_by_its_frame_waits_for_a_coarser_level(write):
    values = np.full((3, 100, 200), 500, np.uint16)
    values[:, 20:80, 30:170] = 4000
    with opened(write(values)) as scene:
        assert scene.levels == 3
        assert find_everything(scene) == []
        (found,) = find_everything(scene, options=EverythingOptions(levels=9))
    assert found.level == 2
    assert found.polygon.equals(box(28, 20, 172, 80)) or found.polygon.area == pytest.approx(
        140 * 60, rel=0.04
    )


def test_nodata_is_no_part_of_an_object(write, monkeypatch):
    """Even where the network says so."""
    values = picture(50, 60)
    values[:, 10:17, 20:29] = 0
    monkeypatch.setattr(
        Seer,
        "decode",
        lambda self, embedding, prompts, **_: (
            torch.full((len(prompts.points), 1, SIZE, SIZE), 8.0),
            torch.full((len(prompts.points), 1), 0.9),
        ),
    )
    with opened(write(values)) as scene:
        (found,) = find_everything(scene)
    assert found.polygon.equals(box(0, 0, 60, 50) - box(20, 10, 29, 17))


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"min_area_ha": 2.0}, 2),
        ({"max_area_ha": 2.0}, 2),
        ({"min_iou": 0.95}, 0),
        ({"min_stability": 1.0}, 4),
    ],
)
def test_filters(write, options, kept):
    with opened(write(picture())) as scene:
        found = find_everything(scene, options=EverythingOptions(points_per_side=16, **options))
    assert len(found) == kept


def test_a_stopped_run_goes_on_with_the_next_tile(write, tmp_path):
    source, options = write(picture()), EverythingOptions(points_per_side=16)
    with opened(source) as scene:
        whole = find_everything(scene, options=options, work=tmp_path / "work")
        asked = scene.prompter.sam.asked
    notes = sorted((tmp_path / "work").iterdir())
    with opened(source) as scene:
        assert find_everything(scene, options=options, work=tmp_path / "work") == whole
        assert scene.prompter.sam.asked == 0
        assert scene.computed == 0
    for note in notes[2:]:
        note.unlink()
    with opened(source) as scene:
        assert find_everything(scene, options=options, work=tmp_path / "work") == whole
        assert 0 < scene.prompter.sam.asked < asked
    assert json.loads(notes[0].read_text())[0]["level"] == 0


def test_a_scene_without_a_place_is_refused(write):
    with opened(write(picture(), crs=None)) as scene, pytest.raises(CrsError, match="has no CRS"):
        find_everything(scene)


def test_stability_by_hand():
    logits = torch.tensor([[[3.0, 0.5, -0.5, -3.0]], [[-2.0, -2.0, -2.0, -2.0]]])
    assert stability_score(logits, offset=1.0).tolist() == pytest.approx([1 / 3, 0.0])
    assert stability_score(logits, offset=4.0).tolist() == [0.0, 0.0]


def test_masks_that_overlap_are_one():
    masks = torch.zeros(4, 4, 10, dtype=torch.bool)
    masks[0, :, 0:6] = masks[1, :, 1:7] = masks[2, :, 5:9] = True  # IoU 5/7, 1/9
    masks[3] = masks[0]
    scores = torch.tensor([0.7, 0.8, 0.9, 0.6])
    assert mask_nms(masks, scores, iou=0.5).tolist() == [2, 1]
    assert mask_nms(masks, scores, iou=0.75).tolist() == [2, 1, 0]
    assert mask_nms(masks[:0], scores[:0], iou=0.5).tolist() == []


def test_objects_of_several_tiles_that_overlap_are_one():
    one = AutoMask(box(0, 0, 10, 10), 1.0, 0.9, 0.9, 0)
    same = AutoMask(box(0, 0, 10, 8), 0.8, 0.95, 0.95, 0)
    part = AutoMask(box(0, 0, 5, 5), 0.25, 0.8, 0.8, 1)
    assert suppress([one, same, part], iou=0.5) == [same, part]
    assert suppress([one, same, part], iou=0.9) == [same, one, part]
    assert suppress([], iou=0.5) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_iou": 1.5}, r"--min-iou 1.5 is not between 0 and 1"),
        ({"points_per_side": 0}, r"--points-per-side must be 1 or more"),
        ({"min_area_ha": -1}, r"--min-area-ha -1 must be 0 or more\.$"),
        ({"min_area_ha": 5, "max_area_ha": 5}, r"--min-area-ha 5 .* below --max-area-ha 5"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        EverythingOptions(**options)


def test_with_a_sam_of_four_blocks(write):
    """The whole way with a real network of random weights: finite, within the scene, no clash."""
    torch.manual_seed(0)
    sam = build_sam("tiny").eval()
    prompter = Prompter("tiny", "0", sam, multimask=True)
    with SceneEmbeddings.open(write(picture()), prompter, options=SceneOptions()) as scene:
        options = EverythingOptions(points_per_side=4, min_iou=0.0, min_stability=0.0, batch=5)
        found = find_everything(scene, options=options)
    frame = box(0, 0, 150, 90)
    assert all(frame.contains(m.polygon) and m.polygon.is_valid for m in found)
    assert suppress(found, iou=options.nms_iou) == found
