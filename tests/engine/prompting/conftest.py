"""A network without weights that finds bright things, and scenes of them."""

from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from rasterio.crs import CRS
from scipy import ndimage
from torch import nn
from torch.nn import functional

from headframe.engine.prompting.prompter import Prompter

TURNED = (
    Affine.translation(512_347.3, 7_412_981.7) @ Affine.rotation(-17) @ Affine.scale(10.3, -9.6)
)
"""Not north-up, off every grid, pixels not square."""
UTM = "EPSG:32723"
SIZE = 64


class BrightSam(nn.Module):
    """Its embedding is brightness at a quarter of the size; an object is what hangs together.

    Points choose parts, points outside forbid them, a box cuts and chooses, a mask chooses.
    """

    def __init__(self):
        super().__init__()
        self.stride, self.size_px, self.calls, self.said = 4, SIZE, 0, []
        self.register_buffer("pixel_mean", torch.zeros(3))
        self.register_buffer("pixel_std", torch.ones(3))

    def encode(self, pixels):
        assert pixels.shape[-2:] == (SIZE, SIZE)
        assert torch.isfinite(pixels).all()
        self.calls += 1
        return functional.pixel_unshuffle(pixels[:, :1], 4).repeat(1, 16, 1, 1)  # (1, 256, h, w)

    def decode(self, embedding, prompts, *, multimask=False, tokens=None):
        self.said.append(prompts)
        bright = functional.pixel_shuffle(embedding[:, :16], 4)[0, 0].numpy() > 0.5
        parts, _ = ndimage.label(bright)
        logits = torch.stack([self.draw(parts, prompts, row) for row in range(prompts.count)])
        count = 3 if multimask else 1
        return logits[:, None].repeat(1, count, 1, 1), torch.full((len(logits), count), 0.9)

    def draw(self, parts, prompts, row):
        chosen, forbidden = set(), set()
        if prompts.points is not None:
            for (x, y), label in zip(prompts.points[row], prompts.labels[row], strict=True):
                part = int(parts[round(float(y)), round(float(x))])
                (chosen if label == 1 else forbidden).add(part)
        box = np.ones(parts.shape, dtype=bool)
        if prompts.boxes is not None:
            x0, y0, x1, y1 = (round(float(v) + 0.5) for v in prompts.boxes[row])
            box[:] = False
            box[y0:y1, x0:x1] = True
            if prompts.points is None:
                chosen |= set(np.unique(parts[box]))
        found = np.isin(parts, list(chosen - forbidden - {0})) & box
        return torch.from_numpy(np.where(found, 5.0, -5.0).astype(np.float32))


def scene(path, bright, *, nodata=(), transform=TURNED, crs=UTM, names=("B04", "B03", "B02")):
    """Write a scene of three bands, uint16, with things of 3000 on 500; nodata is 0."""
    values = np.where(bright, 3000, 500).astype(np.uint16)
    bands = np.stack([values, values // 2, values // 3])
    for rows, cols in nodata:
        bands[:, rows, cols] = 0
    height, width = bright.shape
    place = {"crs": CRS.from_user_input(crs), "transform": transform} if crs else {}
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=height, width=width, dtype="uint16",
        nodata=0, **place,
    ) as file:  # fmt: skip
        file.write(bands)
        file.descriptions = names
    return str(path)


def ring(shape=(150, 190), *, centre=(70.0, 95.0), radii=(22.0, 55.0), angle=0.4):
    """Bright ring, an ellipse with a hole, longer than one frame."""
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    y, x = rows - centre[0], cols - centre[1]
    u, v = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    far = np.hypot(u / radii[1], v / radii[0])
    return (far < 1) & (far > 0.45)


def blob(shape=(150, 190), *, rows=slice(20, 38), cols=slice(24, 50)):
    """One small bright rectangle."""
    bright = np.zeros(shape, dtype=bool)
    bright[rows, cols] = True
    return bright


def to_map(x, y, transform=TURNED):
    """Map coordinates of pixel coordinates."""
    return tuple(transform @ (x, y))


def prompter(name="bright", **changes):
    return Prompter(name=name, fingerprint=f"{name}-1", sam=BrightSam().eval(), **changes)


@pytest.fixture
def fake():
    """What this file makes, since tests cannot import each other."""
    return SimpleNamespace(
        blob=blob, prompter=prompter, ring=ring, scene=scene, size=SIZE, to_map=to_map,
        transform=TURNED, utm=UTM,
    )  # fmt: skip
