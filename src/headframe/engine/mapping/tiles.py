"""The tiles of a scene: reading them and scoring them."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from headframe.core.errors import InputError
from headframe.engine.bundle import Bundle
from headframe.engine.mapping.rules import Guard
from headframe.geo.tiling import Tiling
from headframe.geo.window import Window
from headframe.io.quicklook import look_step, rgb_channels, sampled
from headframe.io.scene import Scene

FloatArray = NDArray[np.float32]

_STRIDE_PX = 32
_CPU_BATCH_PX = 2 * 512**2
_GPU_BATCH_PX = 16 * 512**2


@dataclass(frozen=True)
class TilePlan:
    """A batch of neighbouring tiles of one row of tiles.

    Attributes:
        row: row of tiles.
        cols: their columns, ascending.
    """

    row: int
    cols: Sequence[int]


@dataclass(frozen=True)
class TileBatch:
    """What was read for a plan.

    Attributes:
        plan: the plan.
        pixels: (n, C, size, size), float32, of the tiles that hold data.
        filled: for each tile of the plan, whether it is among them.
        valid: for each tile, where its block of the scene holds data, (h, w).
        looks: for each tile, its block's sampled pixels for the quick look, (3, n, m).
        guarded: pixels of the blocks that a guard made nodata.
    """

    plan: TilePlan
    pixels: FloatArray
    filled: Sequence[bool]
    valid: Sequence[NDArray[np.bool_]]
    looks: Sequence[FloatArray]
    guarded: int = 0


def plan_batches(tiling: Tiling, batch: int, *, first_row: int) -> Iterator[TilePlan]:
    """Group tiles into batches that end with their row, so that resuming changes none of them."""
    for row in range(first_row, len(tiling.rows)):
        for col in range(0, len(tiling.cols), batch):
            yield TilePlan(row, range(col, min(col + batch, len(tiling.cols))))


class TileReader:
    """Reads the tiles of one scene."""

    def __init__(
        self, scene: Scene, tiling: Tiling, bands: Sequence[str], *, guard: Guard | None = None
    ) -> None:
        """Read ``bands`` of ``scene`` as it was opened; what ``guard`` finds is nodata."""
        self._scene = scene
        self._guard = guard
        self._tiling = tiling
        self._rgb = list(rgb_channels(bands))
        self._step = look_step(scene.shape)

    def read(self, plan: TilePlan) -> TileBatch:
        """Read a batch; tiles without any data are left out of ``pixels``."""
        tiles = [self._tile(plan.row, col) for col in plan.cols]
        filled = [bool(np.isfinite(tile[0]).any()) for tile in tiles]
        kept = [tile for tile, has_data in zip(tiles, filled, strict=True) if has_data]
        valid, looks = [], []
        guarded = 0
        for tile, col in zip(tiles, plan.cols, strict=True):
            window = self._tiling.tile(plan.row, col)
            block = scene_block(self._tiling, plan.row, col, self._scene.shape)
            top, left = block.row - window.row, block.col - window.col
            inside = tile[:, top : top + block.height, left : left + block.width]
            known = np.asarray(np.isfinite(inside).all(axis=0), dtype=np.bool_)
            if self._guard is not None:
                hidden = known & self._guard(block, inside)
                guarded += int(hidden.sum())
                known &= ~hidden
            valid.append(known)
            rows = sampled(block.row, block.row + block.height, self._step)
            cols = sampled(block.col, block.col + block.width, self._step)
            looks.append(inside[self._rgb, rows, cols])
        pixels = np.stack(kept) if kept else np.zeros((0, *tiles[0].shape), dtype=np.float32)
        return TileBatch(plan, pixels, filled, valid, looks, guarded)

    def _tile(self, row: int, col: int) -> FloatArray:
        """Read one tile; what reaches beyond the scene mirrors what lies before its border."""
        window = self._tiling.tile(row, col)
        height, width = self._scene.shape
        inside = Window(
            window.row,
            window.col,
            min(window.height, height - window.row),
            min(window.width, width - window.col),
        )
        pixels = self._scene.read(inside)
        spare = (window.height - inside.height, window.width - inside.width)
        if any(spare):
            pixels = np.pad(pixels, ((0, 0), (0, spare[0]), (0, spare[1])), mode="reflect")
        return pixels


def scene_block(tiling: Tiling, row: int, col: int, shape: tuple[int, int]) -> Window:
    """Give the block of tile ``(row, col)`` without what lies beyond the scene (H, W)."""
    block = tiling.block(row, col)
    return Window(
        block.row,
        block.col,
        min(block.height, shape[0] - block.row),
        min(block.width, shape[1] - block.col),
    )


class Scorer:
    """A bundle on a device."""

    def __init__(self, bundle: Bundle, device: str) -> None:
        """Move the network to ``device``: ``auto`` or as torch names it.

        Raises:
            InputError: there is no such device here.
        """
        name = device
        if device == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self.device = torch.device(name)
            bundle.network.to(self.device).to(memory_format=torch.channels_last)
        except (RuntimeError, AssertionError) as exc:  # torch asserts that CUDA is compiled in
            reason = (str(exc).splitlines() or ["unknown"])[0]
            raise InputError(f"--device {device}: cannot be used ({reason}).") from exc
        bundle.network.eval()
        self._bundle = bundle

    def batch_tiles(self, tile_px: int) -> int:
        """Choose how many tiles to score at once."""
        budget = _CPU_BATCH_PX if self.device.type == "cpu" else _GPU_BATCH_PX
        return max(1, round(budget / tile_px**2))

    @torch.inference_mode()
    def score(self, pixels: FloatArray) -> FloatArray:
        """Score (n, C, h, w) in the sensor's unit: (n, K, h, w), float32 in [0, 1]."""
        batch = torch.from_numpy(pixels).to(self.device)
        scores = self._bundle.scores(batch.contiguous(memory_format=torch.channels_last))
        return np.asarray(scores.float().cpu().contiguous().numpy())


def digest_of(network: nn.Module) -> str:
    """Condense a network's tensors into one SHA-256."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def size_multiple(network: nn.Module) -> int:
    """Tell what the sides of the network's input must be multiples of: 1 if it never strides."""
    for module in network.modules():
        stride = getattr(module, "stride", 1)
        if max(stride if isinstance(stride, tuple) else (stride,)) > 1:
            return _STRIDE_PX
    return 1
