"""A SAM that is prompted by planes beside its bands, so that it trains like any other network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from headframe.core.errors import GridMismatchError, RecipeError
from headframe.models.inflate import RGB
from headframe.models.sam.network import Prompts, Sam, build_sam
from headframe.models.sam.peft import adapt

PLANES = 3
"""Channels after the bands: box (0 or 1, filled), mask (0 or 1), points (discs of 1 inside the
object and of -1 outside). A plane of zeros: that prompt is absent."""

MASK_LOGIT = 8.0
"""A mask prompt is given to SAM as logits of this size, + inside and - outside: about as sure as
the logits of an earlier answer, which SAM was trained with."""

POINT_RADIUS_PX = 2
"""Radius of a disc in the plane of points; its centre is read back."""

_LEVEL, _SPREAD = 0.45, 0.2
_PROMPT_TENSORS = ("mask_embed.", "no_mask_embed.", "point_embed.", "not_a_point_embed.")


@dataclass(frozen=True)
class _Said:
    """Prompts of one sample, read off its planes."""

    box: tuple[int, int, int, int] | None
    mask: bool
    points: tuple[tuple[float, float, int], ...]


class PromptedSam(nn.Module):
    """Logits of one object a sample from pixels and prompt planes.

    The box is the bounds of what its plane holds, the mask becomes SAM's dense prompt, points are
    the centres of the plane's discs. Samples do not see each other.

    Attributes:
        sam: the adapted network, for prompts that are no planes (``engine.prompting``).
        trained: keys of ``state_dict`` that training changes: what the method trains of ``sam``
            (see ``peft``), and, unless nothing is trained, how prompts are embedded. LiteMedSAM
            was trained with boxes alone, so its embedding of masks has never been used.
        pretrained: keys among them of tensors that came with the base: they may want smaller
            steps than adapters and low-rank updates, which are new.
    """

    def __init__(
        self,
        sam: Sam,
        *,
        bands: Sequence[str],
        trained: frozenset[str],
        known: frozenset[str] = frozenset(),
    ) -> None:
        """Wrap ``sam``, built for ``bands`` and adapted.

        Args:
            sam: the network.
            bands: common names of its input channels.
            trained: keys of ``sam.state_dict()`` that are trained, from ``peft.adapt``.
            known: keys of ``sam.state_dict()`` before it was adapted.
        """
        super().__init__()
        self.sam = sam
        self._bands = len(bands)
        names = set(trained)
        if trained:
            own = (f"prompts.{name}" for name in sam.prompts.state_dict())
            names |= {name for name in own if name.split(".", 1)[1].startswith(_PROMPT_TENSORS)}
        self.trained = frozenset(f"sam.{name}" for name in names)
        self.pretrained = frozenset(f"sam.{name}" for name in names & known)
        mean, std = (_of_bands(v, bands) for v in (sam.pixel_mean, sam.pixel_std))
        self.register_buffer("_scale", _SPREAD / std, persistent=False)
        self.register_buffer("_offset", (_LEVEL - mean) / std, persistent=False)

    _scale: Tensor
    _offset: Tensor

    @property
    def encoder_names(self) -> frozenset[str]:
        """Keys of ``state_dict`` that ``encode`` goes by."""
        return frozenset(key for key in self.state_dict() if key.startswith("sam.encoder."))

    def to_base_units(self, pixels: Tensor) -> Tensor:
        """Bring standardised pixels to what the base was trained on.

        A band's mean becomes 0.45 and a standard deviation 0.2 of the range [0, 1] of a
        photograph, which is where LiteMedSAM's and ImageNet's pixels lie; then the base's own
        standardisation follows.

        Args:
            pixels: (N, C, H, W), mean 0 and deviation 1 over the training pixels; nodata is 0.
        """
        return pixels * self._scale.view(1, -1, 1, 1) + self._offset.view(1, -1, 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Score one object a sample.

        Args:
            pixels: (N, C + 3, H, W): bands, standardised, then the planes (see ``PLANES``); or
                (N, C, H, W) without any prompt, which asks SAM for what strikes it most.

        Returns:
            Logits (N, 1, H, W).

        Raises:
            GridMismatchError: another number of channels, or sides that do not fit the base.
        """
        return self.decode(self.encode(pixels), (pixels.shape[-2], pixels.shape[-1]))

    def encode(self, pixels: Tensor) -> Tensor:
        """Embed the bands, and lay the planes beside the embedding without loss.

        Args:
            pixels: as for ``forward``.

        Returns:
            (N, 256 + 3 * stride**2, H / stride, W / stride): the embedding, then the planes, their
            squares of ``stride`` pixels as channels. All values of planes are exact in fp16.
        """
        bands, planes = pixels[:, : self._bands], pixels[:, self._bands :]
        if planes.shape[1] not in (0, PLANES) or bands.shape[1] != self._bands:
            raise GridMismatchError(
                f"{pixels.shape[1]} channels; a prompted SAM of {self._bands} bands takes "
                f"{self._bands + PLANES}, or {self._bands} without prompts."
            )
        embedding = self.sam.encode(self.to_base_units(bands))
        if planes.shape[1] == 0:
            planes = pixels.new_zeros((len(pixels), PLANES, *pixels.shape[-2:]))
        folded = functional.pixel_unshuffle(planes, self.sam.stride)
        return torch.cat([embedding, folded.to(embedding.dtype)], dim=1)

    def decode(self, embedding: Tensor, size: tuple[int, int]) -> Tensor:
        """Score what ``encode`` gave.

        Args:
            embedding: (N, 256 + 3 * stride**2, h, w).
            size: (H, W) of the logits.

        Returns:
            Logits (N, 1, H, W); SAM's own at a quarter of the embedding's cells, interpolated.
        """
        depth = embedding.shape[1] - PLANES * self.sam.stride**2
        image, folded = embedding[:, :depth], embedding[:, depth:]
        planes = functional.pixel_shuffle(folded, self.sam.stride)  # (N, 3, H, W)
        said = _read_all(planes)
        logits: dict[int, Tensor] = {}
        for rows in _alike(said):
            prompts = _prompts([said[row] for row in rows], planes[rows, 1:2], self.sam.stride)
            found, _ = self.sam.decode(image[rows], prompts)
            logits.update(zip(rows, found, strict=True))
        stacked = torch.stack([logits[row] for row in range(len(said))])  # (N, 1, 4h, 4w)
        return functional.interpolate(stacked, size=size, mode="bilinear", align_corners=False)


def prompts_of(planes: Tensor, stride: int) -> Prompts:
    """Read prompts off the planes of one sample.

    Args:
        planes: (1, 3, H, W), see ``PLANES``; on the pixels of the frame.
        stride: pixels of the frame to a cell of the embedding.
    """
    return _prompts(_read_all(planes), planes[:, 1:2], stride)


def _read_all(planes: Tensor) -> list[_Said]:
    return [_read(sample) for sample in planes.detach().float().cpu().numpy()]


def _prompts(said: Sequence[_Said], masks: Tensor, stride: int) -> Prompts:
    """Prompts of samples that say the same kinds of things, as many points each."""
    device = masks.device
    boxes = [entry.box for entry in said if entry.box is not None]
    pointed = bool(said[0].points)
    points = torch.tensor([entry.points for entry in said], device=device)  # (B, P, 3)
    return Prompts(
        points=points[..., :2].float() if pointed else None,
        labels=points[..., 2].long() if pointed else None,
        boxes=torch.tensor(boxes, dtype=torch.float32, device=device) if boxes else None,
        masks=mask_logits(masks, stride) if said[0].mask else None,
    )


def mask_logits(masks: Tensor, stride: int) -> Tensor:
    """Turn masks into SAM's dense prompt.

    Args:
        masks: (B, 1, H, W), 0 to 1, on the pixels of the frame.
        stride: pixels of the frame to a cell of the embedding.

    Returns:
        (B, 1, 4 H / stride, 4 W / stride), from -``MASK_LOGIT`` to ``MASK_LOGIT``.
    """
    height, width = (4 * side // stride for side in masks.shape[-2:])
    shares = functional.adaptive_avg_pool2d(masks.float(), (height, width))
    return (2 * shares - 1) * MASK_LOGIT


def draw_points(
    shape: tuple[int, int], points: Sequence[tuple[float, float, int]]
) -> NDArray[np.float32]:
    """Draw the plane of points.

    Args:
        shape: (H, W) of the plane.
        points: (x, y, label): pixels, the centre of the first being (0, 0); 1 inside the object,
            0 outside. Those whose discs would touch that of an earlier one are left out.

    Returns:
        (H, W), discs of 1 and -1.
    """
    plane = np.zeros(shape, np.float32)
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    for x, y, label in points:
        distance = np.hypot(cols - round(x), rows - round(y))
        if not plane[distance <= POINT_RADIUS_PX + 2].any():
            plane[distance <= POINT_RADIUS_PX] = 1.0 if label else -1.0
    return plane


def _read(planes: NDArray[np.float32]) -> _Said:
    """Read the planes (3, H, W) of one sample."""
    found = ndimage.find_objects((planes[0] > 0.5).astype(np.int8))
    box = None
    if found:
        rows, cols = found[0]
        box = (cols.start, rows.start, cols.stop - 1, rows.stop - 1)
    points: list[tuple[float, float, int]] = []
    for label, inside in ((1, planes[2] > 0.5), (0, planes[2] < -0.5)):
        discs, count = ndimage.label(inside)
        centres = ndimage.center_of_mass(inside, discs, range(1, count + 1))
        points += [(float(col), float(row), label) for row, col in centres]
    return _Said(box, bool((planes[1] > 0.5).any()), tuple(points))


def _alike(said: Sequence[_Said]) -> list[list[int]]:
    """Group the samples that can be decoded together: padding points would change an answer."""
    groups: dict[tuple[bool, bool, int], list[int]] = {}
    for row, entry in enumerate(said):
        kind = (entry.box is not None, entry.mask, len(entry.points))
        groups.setdefault(kind, []).append(row)
    return list(groups.values())


def _of_bands(values: Tensor, bands: Sequence[str]) -> Tensor:
    """Values (3,) of red, green and blue for any bands (C,): others get their mean."""
    known = dict(zip(RGB, values, strict=True))
    return torch.stack([known.get(band, values.mean()) for band in bands])


def build_prompted_sam(
    bands: Sequence[str],
    out_channels: int,
    *,
    base: str = "litemedsam",
    peft: str = "decoder",
    rank: int = 4,
    encoder_state: Mapping[str, Tensor] | None = None,
) -> PromptedSam:
    """Build a SAM that is prompted by planes.

    Args:
        bands: common names of the bands, in order; the planes come after them.
        out_channels: 1: a prompt asks for one object.
        base: one of ``network.BASES``.
        peft: how it is trained, one of ``peft.METHODS``.
        rank: of LoRA.
        encoder_state: tensors of the whole base under their authors' names; None is a random
            start.

    Raises:
        RecipeError: ``out_channels`` is not 1.
        UnknownNameError: no such base or method.
        FormatError: ``encoder_state`` does not fit the base.
    """
    if out_channels != 1:
        raise RecipeError(
            f"a prompted SAM draws one object; {out_channels} classes cannot be asked of it. "
            "Set data.target to binary."
        )
    sam = build_sam(base, bands=bands, state=encoder_state)
    known = frozenset(sam.state_dict())
    trained = adapt(sam, peft, rank=rank)
    return PromptedSam(sam, bands=bands, trained=trained, known=known)
