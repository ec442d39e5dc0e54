"""Boxes on photographs as prompts: jittered for training, answered for instances."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from headframe.core.detections import Detections
from headframe.core.errors import GridMismatchError
from headframe.models.sam.classprompt import ClassPromptedSam
from headframe.models.sam.network import Sam

FloatArray = NDArray[np.float32]
_SHARE, _MOST_PX, _LEAST_PX = 0.1, 20.0, 1.0
_AT_ONCE = 16
"""Boxes that are decoded together; more need memory and no less time."""


def jitter_boxes(
    boxes: FloatArray, size: tuple[int, int], *, rng: np.random.Generator
) -> FloatArray:
    """Move the sides of boxes as a detector might misplace them.

    Each side moves by Gaussian noise of 10 % of the box's length across it, at most 20 px
    (methods.md, section 1.4; Kirillov et al. 2023, appendix A). Sides that would change places
    are swapped back, and each box keeps at least one pixel.

    Args:
        boxes: (n, 4), x0 y0 x1 y1 in pixels, the corner of the first being (0, 0).
        size: (H, W) of the image, at least one pixel; the result lies within it.
        rng: the same state gives the same boxes.

    Returns:
        (n, 4) float32.
    """
    limit = np.array([size[1], size[0]], np.float64)
    given = np.asarray(boxes, np.float64).reshape(-1, 2, 2)  # (n, corner, x and y)
    sides = np.abs(given[:, 1] - given[:, 0])[:, None]
    noise = np.clip(rng.normal(0, 1, given.shape) * _SHARE * sides, -_MOST_PX, _MOST_PX)
    moved = np.sort(np.clip(given + noise, 0, limit), axis=1)
    low = np.minimum(moved[:, 0], limit - _LEAST_PX)
    high = np.maximum(moved[:, 1], low + _LEAST_PX)
    return np.concatenate([low, high], axis=1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class PhotographFrame:
    """A photograph as a SAM takes it.

    Attributes:
        pixels: (1, 3, S, S) in the base's units, the photograph above and left, 0 elsewhere.
        shown: (h, w) of the frame that the photograph fills.
        size: (H, W) of the photograph.
    """

    pixels: Tensor
    shown: tuple[int, int]
    size: tuple[int, int]

    def to_frame(self, boxes: FloatArray) -> Tensor:
        """Bring boxes (n, 4) of the photograph to SAM's pixels, of which (0, 0) is a centre."""
        height, width = self.size
        scale = np.array([self.shown[1] / width, self.shown[0] / height] * 2)
        limit = np.array([self.shown[1], self.shown[0]] * 2)
        there = np.clip(np.asarray(boxes, np.float64) * scale, 0, limit) - 0.5
        return torch.from_numpy(there.astype(np.float32)).to(self.pixels.device)

    def to_photograph(self, logits: Tensor) -> FloatArray:
        """Bring logits (n, 4h, 4w) of the frame to the photograph; (n, H, W) float32."""
        out = np.empty((len(logits), *self.size), np.float32)
        side = self.pixels.shape[-1]
        for plane, values in zip(out, logits.float(), strict=True):  # one by one: memory
            whole = functional.interpolate(
                values[None, None], (side, side), mode="bilinear", align_corners=False
            )
            seen = whole[..., : self.shown[0], : self.shown[1]]
            large = functional.interpolate(seen, self.size, mode="bilinear", align_corners=False)
            plane[:] = large[0, 0].cpu().numpy()
        return out


def frame_photograph(pixels: FloatArray, sam: Sam) -> PhotographFrame:
    """Fit a photograph into a base's native frame.

    The long side is reduced or enlarged to the frame's. LiteMedSAM is given values stretched from
    minimum to maximum, as its authors do; SAM and MobileSAM theirs.

    Args:
        pixels: (3, H, W) float32 RGB in [0, 1], at least one pixel.
        sam: the base.

    Raises:
        GridMismatchError: it is no such array.
    """
    if pixels.ndim != 3 or pixels.shape[0] != 3 or min(pixels.shape) < 1:
        raise GridMismatchError(
            f"a photograph of shape {pixels.shape} cannot be framed; give (3, H, W) of at least "
            "one pixel."
        )
    height, width = pixels.shape[1:]
    scale = sam.size_px / max(height, width)
    shown = max(round(height * scale), 1), max(round(width * scale), 1)
    values = torch.from_numpy(np.ascontiguousarray(pixels))[None].to(sam.pixel_mean.device)
    values = functional.interpolate(
        values, shown, mode="bilinear", align_corners=False, antialias=True
    )
    if sam.base == "litemedsam":
        low, high = values.min(), values.max()
        values = (values - low) / (high - low).clamp(min=1e-8)
    values = (values - sam.pixel_mean[:, None, None]) / sam.pixel_std[:, None, None]
    rest = (0, sam.size_px - shown[1], 0, sam.size_px - shown[0])
    return PhotographFrame(functional.pad(values, rest), shown, (height, width))


@torch.inference_mode()
def embed_photograph(network: ClassPromptedSam, pixels: FloatArray) -> Tensor:
    """Embed a photograph for ``answer_boxes``, the slow half.

    Args:
        network: in evaluation mode.
        pixels: (3, H, W) float32 RGB in [0, 1].

    Returns:
        (1, 256, h, w).

    Raises:
        GridMismatchError: as ``frame_photograph``.
    """
    return network.encode(frame_photograph(pixels, network.sam).pixels)


@torch.inference_mode()
def answer_boxes(
    network: ClassPromptedSam,
    pixels: FloatArray,
    detected: Detections,
    *,
    classes: bool = True,
    embedding: Tensor | None = None,
) -> Detections:
    """Ask SAM for the mask in each box of a detector.

    Args:
        network: in evaluation mode.
        pixels: (3, H, W) float32 RGB in [0, 1].
        detected: what the detector found on it; boxes are cut to the photograph.
        classes: tell SAM the labels too.
        embedding: of the photograph, by a network with the same encoder; None: it is made.

    Returns:
        One answer for each detection, in its order: its box and label, the IoU that SAM expects
        as score, mask and logits on the photograph's pixels. Without detections nothing is run.

    Raises:
        GridMismatchError: ``detected`` is of another size.
        DatasetError: a label that the network does not know.
    """
    if pixels.shape[1:] != detected.size:
        raise GridMismatchError(
            f"detections on {detected.size} pixels are not of a photograph of {pixels.shape[1:]}."
        )
    if not len(detected):
        return Detections.none(*detected.size)
    frame = frame_photograph(pixels, network.sam)
    if embedding is None:
        embedding = network.encode(frame.pixels)
    boxes = frame.to_frame(detected.boxes)
    labels = torch.from_numpy(detected.labels).to(boxes.device) if classes else None
    logits, scores = [], []
    for start in range(0, len(boxes), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        found, rated = network.decode(
            embedding, boxes[part], None if labels is None else labels[part]
        )
        logits.append(frame.to_photograph(found))
        scores.append(rated.float().clamp(0, 1).cpu().numpy())
    values = np.concatenate(logits)
    return Detections(detected.boxes, detected.labels, np.concatenate(scores), values > 0, values)
