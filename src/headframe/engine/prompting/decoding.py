"""One tile's answer to a prompt, and answers of tiles laid together."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely.affinity import affine_transform
from shapely.geometry.base import BaseGeometry
from torch import Tensor
from torch.nn import functional

from headframe.engine.prompting.embeddings import SceneTile, TileEmbedding
from headframe.engine.prompting.prompter import Prompter
from headframe.engine.prompting.prompts import PixelPrompt
from headframe.geo.window import Window
from headframe.models.sam.network import Prompts
from headframe.models.sam.prompted import mask_logits

FloatArray = NDArray[np.float32]

_INSIDE, _OUTSIDE = 1, 0
_SHARES = (1 / 4, 1 / 2)
"""Sides of the boxes that are tried around a point, in shares of the frame."""

STABILITY_OFFSET = 1.0
"""Logits by which the threshold is moved for the stability, as in SAM."""

_NOTHING = -32.0
"""Logit of pixels that cannot be the object: nodata, and what no tile has seen."""

UNKNOWN = -31.0
"""Logits below this stand for pixels of which nothing is known."""


@dataclass(frozen=True)
class Logits:
    """How sure the network is of an object, on some pixels of a level.

    Attributes:
        level: see ``SceneTile``.
        window: pixels of the level.
        values: (h, w) float32 logits.
        score: predicted IoU, 0-1.
    """

    level: int
    window: Window
    values: FloatArray
    score: float

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(h, w) bool, the object."""
        return self.values > 0


@dataclass(frozen=True)
class TilePrompt:
    """A prompt in pixels of the scene, of which a tile takes what concerns it.

    Attributes:
        inside: (P, 2) float64, x and y.
        outside: (Q, 2) float64.
        box: (4,) float64, x0 y0 x1 y1.
        mask: (S, S) bool on the tile's own pixels, a rough outline.
    """

    inside: NDArray[np.float64]
    outside: NDArray[np.float64]
    box: NDArray[np.float64] | None = None
    mask: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, prompt: PixelPrompt, tile: SceneTile, *, with_mask: bool) -> "TilePrompt":
        """Say to a tile what was said of the scene, with its rough outline if wanted."""
        mask = None
        if with_mask and prompt.shape is not None:
            mask = burn(prompt.shape, tile.level, tile.window)
        return cls(prompt.inside, prompt.outside, prompt.box, mask)


def burn(shape: BaseGeometry, level: int, window: Window) -> NDArray[np.bool_]:
    """Rasterise a shape in pixels of the scene onto some pixels of a level; (h, w) bool."""
    scale = 2.0**level
    there = affine_transform(shape, [1 / scale, 0, 0, 1 / scale, -window.col, -window.row])
    size = (window.height, window.width)
    return np.asarray(rasterize([(there, 1)], out_shape=size, dtype="uint8"), dtype=np.bool_)


@torch.inference_mode()
def decode_tile(prompter: Prompter, found: TileEmbedding, prompt: TilePrompt) -> Logits:
    """Ask a tile for an object.

    A network that was trained with boxes alone is not told of points: they make its masks worse
    (see EXPERIMENTS.md). A point without a box is tried as boxes of several sizes around it, of
    whose masks the one counts whose predicted IoU times stability is highest.

    Args:
        prompter: the network.
        found: the tile's embedding.
        prompt: what is said; points beyond the tile are left out, the box is cut to it.

    Returns:
        Logits of the tile's pixels; strongly negative where there is no data.
    """
    tile = found.tile
    size = tile.window.height
    if found.embedding is None:
        nothing = np.full((size, size), _NOTHING, dtype=np.float32)
        return Logits(tile.level, tile.window, nothing, 0.0)
    said = _prompts(prompter, tile, prompt)
    lone = prompt.box is None and prompt.mask is None and len(prompt.inside) == 1
    masks, quality = prompter.sam.decode(
        found.embedding, said, multimask=prompter.multimask and lone
    )
    masks, quality = masks.flatten(0, 1).float(), quality.flatten().clamp(0, 1)
    best = int((quality * stability(masks)).argmax()) if len(masks) > 1 else 0
    logits = masks[best][None, None]  # (1, 1, 4h, 4w)
    if logits.shape[-1] != size:
        logits = functional.interpolate(
            logits, size=(size, size), mode="bilinear", align_corners=False
        )
    known = np.maximum(logits[0, 0].cpu().numpy(), UNKNOWN + 1)
    values = np.where(found.valid, known, _NOTHING)
    return Logits(tile.level, tile.window, values.astype(np.float32), float(quality[best]))


def stability(logits: Tensor) -> Tensor:
    """Measure how little masks (M, h, w) depend on the threshold (SAM, Kirillov et al., 2023).

    Returns:
        (M,) IoU of the masks at a threshold one logit higher and lower; 0 where both are empty.
    """
    sure = (logits > STABILITY_OFFSET).sum(dim=(-2, -1))
    likely = (logits > -STABILITY_OFFSET).sum(dim=(-2, -1))
    return sure / likely.clamp(min=1)


def _prompts(prompter: Prompter, tile: SceneTile, prompt: TilePrompt) -> Prompts:
    """Bring a prompt to the network's own pixels, whose centres are whole numbers."""
    device, window = prompter.device, tile.window
    corner = np.array([window.col, window.row], dtype=np.float64)
    size = np.array([window.width, window.height], dtype=np.float64)
    points, labels = [], []
    for xy, label in ((prompt.inside, _INSIDE), (prompt.outside, _OUTSIDE)):
        own = xy / tile.scale - corner
        within = own[((own >= 0) & (own < size)).all(axis=1)]
        points.append(within - 0.5)
        labels += [label] * len(within)
    boxes = prompt.box[None] / tile.scale - np.tile(corner, 2) if prompt.box is not None else None
    if not prompter.takes_points:
        if boxes is None:
            boxes = _boxes_around(points[0] + 0.5, size)
        labels = []
    if boxes is not None:
        boxes = np.clip(boxes, 0, np.tile(size, 2)) - 0.5
    masks = None
    if prompt.mask is not None and prompt.mask.any():
        masks = mask_logits(_tensor(prompt.mask[None, None], device), prompter.sam.stride)
    return Prompts(
        points=_tensor(np.concatenate(points)[None], device) if labels else None,
        labels=torch.tensor([labels], dtype=torch.int64, device=device) if labels else None,
        boxes=None if boxes is None else _tensor(boxes, device),
        masks=masks,
    )


def _boxes_around(points: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Boxes (B, 4) around one point or several, of sizes that objects may have."""
    low, high = (points.min(axis=0), points.max(axis=0)) if len(points) else (size / 2, size / 2)
    room = [share * size / 2 for share in _SHARES]
    return np.array([np.concatenate([low - r, high + r]) for r in room])


def _tensor(values: NDArray[np.generic], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)


class Collage:
    """Answers of overlapping tiles of one level, laid together.

    Where tiles overlap, logits are averaged with weights that fall towards a tile's edge, because
    a network sees nothing beyond it.
    """

    def __init__(self, level: int) -> None:
        """Begin with nothing on ``level``."""
        self.level = level
        self._parts: list[Logits] = []

    def add(self, part: Logits) -> None:
        """Lay a tile's answer down."""
        self._parts.append(part)

    def merged(self) -> Logits:
        """Give all that was laid down, on the smallest window around it.

        The score is the mean of the tiles' scores, weighted by the object's pixels in each.
        """
        windows = [part.window for part in self._parts]
        top, left = min(w.row for w in windows), min(w.col for w in windows)
        height = max(w.row + w.height for w in windows) - top
        width = max(w.col + w.width for w in windows) - left
        total = np.zeros((height, width), dtype=np.float32)
        weight = np.zeros((height, width), dtype=np.float32)
        for part in self._parts:
            w = part.window
            here = (
                slice(w.row - top, w.row - top + w.height),
                slice(w.col - left, w.col - left + w.width),
            )
            tent = np.outer(_tent(w.height), _tent(w.width))
            total[here] += tent * part.values
            weight[here] += tent
        values = np.where(weight > 0, total / np.maximum(weight, 1e-9), _NOTHING)
        pixels = np.array([max(int(part.mask.sum()), 1) for part in self._parts])
        score = float(np.average([part.score for part in self._parts], weights=pixels))
        window = Window(top, left, height, width)
        return Logits(self.level, window, values.astype(np.float32), score)


def crop(logits: Logits, window: Window) -> FloatArray:
    """Cut (h, w) values of a window out of logits; what lies beyond is strongly negative."""
    out = np.full((window.height, window.width), _NOTHING, dtype=np.float32)
    have = logits.window
    top, left = max(window.row, have.row), max(window.col, have.col)
    bottom = min(window.row + window.height, have.row + have.height)
    right = min(window.col + window.width, have.col + have.width)
    if top < bottom and left < right:
        out[top - window.row : bottom - window.row, left - window.col : right - window.col] = (
            logits.values[top - have.row : bottom - have.row, left - have.col : right - have.col]
        )
    return out


def of_scene(xy: NDArray[np.float64], tile: SceneTile) -> NDArray[np.float64]:
    """Turn (N, 2) x and y in pixels of a tile into pixels of the scene."""
    corner = np.array([tile.window.col, tile.window.row], dtype=np.float64)
    return (xy + corner) * tile.scale


def finer(logits: Logits, level: int) -> Logits:
    """Interpolate logits of a level onto a finer one."""
    factor = 2 ** (logits.level - level)
    if factor == 1:
        return logits
    w = logits.window
    values = functional.interpolate(
        torch.from_numpy(logits.values)[None, None],
        scale_factor=factor,
        mode="bilinear",
        align_corners=False,
    )[0, 0].numpy()
    window = Window(w.row * factor, w.col * factor, w.height * factor, w.width * factor)
    return Logits(level, window, values, logits.score)


def _tent(length: int) -> FloatArray:
    """Weights along a side: 1 in the middle half, falling to almost 0 at both ends."""
    at = np.arange(length, dtype=np.float32) + 0.5
    return np.asarray(np.minimum(1, np.minimum(at, length - at) / (length / 4)), dtype=np.float32)
