import av
import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from headframe.core.detections import Detections, boxes_of
from headframe.underground.chain import Chain


def tunnel(number, height=48, width=62):
    """Draw a frame: a lamp that moves right, a floor, and grain."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[0:height, 0:width]
    lamp = 160 * np.exp(-((rows - 12) ** 2 + (columns - 6 - 1.5 * number) ** 2) / 120)
    floor = np.where(rows > height * 0.7, 60, 25) + 15 * np.sin(columns / 3)
    grain = rng.normal(0, 3, (height, width))
    return np.clip(np.stack([lamp + floor + grain] * 3, -1) * (1, 0.9, 0.8), 0, 255).astype(
        np.uint8
    )


@pytest.fixture
def make_video():
    """Give a function that writes a drawn video, 10 frames a second."""

    def make(path, *, frames=30, rotation=0, container=None, pts=None, codec="libx264"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w", options=container or {}) as out:
            stream = out.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 62, 48, "yuv420p"
            if rotation:
                stream.set_display_rotation(rotation)
            for number in range(frames):
                frame = av.VideoFrame.from_ndarray(tunnel(number), format="rgb24")
                frame.pts = number if pts is None else pts[number]
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        return path

    return make


class BlobFinder(nn.Module):
    """A detector that takes bright blobs for people, the largest first; scores fall by 0.3."""

    classes = 1

    def __init__(self, score=0.9, threshold=0.6):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))
        self.score, self.threshold = score, threshold
        self.seen = []

    def forward_train(self, images, targets, *, clean=None):
        raise NotImplementedError

    def detect(self, images, *, soft=True):
        return [self._of(image.cpu().numpy(), soft) for image in images]

    def _of(self, image, soft):
        self.seen.append(image.shape)
        bright = image.mean(axis=0) > self.threshold
        labels, count = ndimage.label(bright)
        masks = np.array([labels == n for n in range(1, count + 1)], np.bool_)
        masks = masks.reshape(-1, *bright.shape)
        masks = masks[np.argsort(-masks.sum(axis=(1, 2)), kind="stable")]
        scores = np.clip(self.score - 0.3 * np.arange(len(masks)), 0.1, 1).astype(np.float32)
        logits = np.where(masks, 4, -4).astype(np.float32) if soft else None
        return Detections(boxes_of(masks), np.ones(len(masks), np.int64), scores, masks, logits)


@pytest.fixture
def blob_chain():
    """Give a function that builds a chain of a detector of bright blobs."""

    def build(*, score=0.9, threshold=0.6, categories=("person",), **more):
        finder = BlobFinder(score, threshold)
        finder.classes = len(categories)
        return Chain(finder, categories, **more)

    return build


@pytest.fixture
def workers():
    """Draw (48, 66, 3) uint8 with a large and a small bright block on a dark floor."""
    pixels = np.full((48, 66, 3), 20, np.uint8)
    pixels[8:30, 6:20] = (220, 210, 190)
    pixels[20:28, 50:56] = (210, 220, 200)
    return pixels
