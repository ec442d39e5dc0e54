"""Embeddings of a scene, tile by tile, computed once and kept."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headframe.core.errors import InputError
from headframe.core.progress import SILENT, Progress
from headframe.engine.allocator import keep_freed_memory
from headframe.engine.mapping.resume import file_facts
from headframe.engine.prompting.cache import LIMIT_BYTES, CachedTile, EmbeddingCache
from headframe.engine.prompting.prompter import Prompter
from headframe.geo.tiling import TileAxis, tile_axis
from headframe.geo.window import Window
from headframe.io.scene import Scene, SceneOptions

FloatArray = NDArray[np.float32]

_FORMAT = 1
"""Raise it when tiles, pixels before the encoder, or files change: no old entry fits then."""
_READ_ROWS = 256


@dataclass(frozen=True)
class SceneTile:
    """A frame of the network on one level of a scene.

    Attributes:
        level: 0 is the scene itself; on level n a pixel is the mean of 2**n x 2**n.
        row: number of the tile down the level.
        col: number across it.
        window: its pixels on the level; beyond the level's end where that is smaller.
    """

    level: int
    row: int
    col: int
    window: Window

    @property
    def scale(self) -> int:
        """Pixels of the scene to a pixel of the tile, along a side."""
        return int(2**self.level)

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """Pixels x0, y0, x1, y1 of the scene that it covers."""
        w, s = self.window, self.scale
        return w.col * s, w.row * s, (w.col + w.width) * s, (w.row + w.height) * s

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"L{self.level}-R{self.row:05d}-C{self.col:05d}"


@dataclass(frozen=True)
class TileEmbedding:
    """What the decoder needs of a tile.

    Attributes:
        tile: which.
        embedding: (1, 256, h, w) float32 on the network's device; None where nothing has data.
        valid: (S, S) bool, pixels with data.
    """

    tile: SceneTile
    embedding: Tensor | None
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class CacheOptions:
    """Where embeddings are kept.

    Attributes:
        folder: of any number of scenes and models; None keeps nothing.
        limit_bytes: what the least recently used tiles are removed beyond.
    """

    folder: Path | None = None
    limit_bytes: int = LIMIT_BYTES


class SceneEmbeddings:
    """A scene, a network, and the embeddings of one by the other.

    Tiles have the network's frame and start every half frame, so that what is at most half a
    frame wide lies whole in one of them. Levels above 0 are averaged 2 x 2 each, for objects
    larger than a frame, up to the level that fits one frame.

    An embedding is found again only for the same scene (all its files' paths, sizes and times,
    grid, bands, scaling, and a sample of its pixels) and the same network. It is rounded to
    float16 before it is first used, so that the first answer equals the second.
    """

    def __init__(
        self, scene: Scene, prompter: Prompter, *, cache: CacheOptions | None = None
    ) -> None:
        """Take an open scene, which is closed with this, and a network."""
        self.scene = scene
        self.prompter = prompter
        self.computed = 0
        self._stretch = prompter.stretch_of(scene)
        options = cache or CacheOptions()
        self._cache = (
            None
            if options.folder is None
            else EmbeddingCache(options.folder, limit_bytes=options.limit_bytes)
        )
        self._facts = _facts(scene, prompter, self._stretch)
        text = json.dumps(self._facts, sort_keys=True)
        self.key = hashlib.sha256(text.encode()).hexdigest()[:32]
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls,
        source: str,
        prompter: Prompter,
        *,
        options: SceneOptions | None = None,
        cache: CacheOptions | None = None,
    ) -> Self:
        """Open a scene for a network; errors as ``io.scene.open_scene``."""
        keep_freed_memory()  # each answer frees and wants the same blocks
        scene = prompter.open(source, options or SceneOptions())
        with ExitStack() as on_failure:
            on_failure.callback(scene.close)
            made = cls(scene, prompter, cache=cache)
            on_failure.pop_all()
        return made

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the scene."""
        self.scene.close()

    @property
    def size_px(self) -> int:
        """Side of a tile, in pixels of its level."""
        return self.prompter.sam.size_px

    @property
    def levels(self) -> int:
        """Number of levels, the last of which fits one frame."""
        level = 0
        while max(self.shape(level)) > self.size_px:
            level += 1
        return level + 1

    def shape(self, level: int) -> tuple[int, int]:
        """Rows and columns of a level; a last pixel may stand for fewer of the scene's."""
        height, width = self.scene.shape
        return -(-height // 2**level), -(-width // 2**level)

    def axes(self, level: int) -> tuple[TileAxis, TileAxis]:
        """Plan the tiles down and across a level."""
        size = self.size_px
        rows, cols = (
            tile_axis(side, tile_px=size, margin_px=size * 3 // 16, fade_px=size // 8)
            for side in self.shape(level)
        )
        return rows, cols

    def tile(self, level: int, row: int, col: int) -> SceneTile:
        """Give a tile by its numbers on its level."""
        rows, cols = self.axes(level)
        window = Window(rows.starts[row], cols.starts[col], self.size_px, self.size_px)
        return SceneTile(level, row, col, window)

    def tiles(self, level: int = 0) -> Iterator[SceneTile]:
        """Go through the tiles of a level, row by row."""
        rows, cols = self.axes(level)
        for row in range(len(rows)):
            for col in range(len(cols)):
                yield self.tile(level, row, col)

    def at(self, tile: SceneTile) -> TileEmbedding:
        """Give a tile's embedding, from the cache if it is there, else computed and kept."""
        kept = None if self._cache is None else self._cache.read(self.key, tile.name)
        if kept is None or not self._fits(kept):
            kept = self._compute(tile)
            if self._cache is not None:
                self._cache.write(self.key, tile.name, kept, facts=self._facts)
        embedding = kept.embedding
        if embedding is not None:
            embedding = embedding[None].float().to(self.prompter.device)  # (1, 256, h, w)
        return TileEmbedding(tile, embedding, kept.valid)

    def fill(self, *, progress: Progress = SILENT) -> int:
        """Compute all tiles of level 0 that are not kept yet; gives how many were computed.

        Raises:
            InputError: there is no cache to keep them in, or it is too small for them.
        """
        if self._cache is None:
            raise InputError("--all needs a cache to keep embeddings in. Name one with --cache.")
        tiles = list(self.tiles())
        before = self.computed
        progress.start(f"{self.scene.name}: embeddings", len(tiles))
        try:
            for tile in tiles:
                if not self._cache.has(self.key, tile.name):
                    self.at(tile)
                progress.advance()
        finally:
            progress.finish()
        lost = sum(not self._cache.has(self.key, tile.name) for tile in tiles)
        if lost:
            raise InputError(
                f"{self._cache.folder}: {lost} of {len(tiles)} tiles found no room in it. Give a "
                "larger --cache-gb, or another --cache."
            )
        return self.computed - before

    def _fits(self, kept: CachedTile) -> bool:
        return kept.valid.shape == (self.size_px, self.size_px)

    @torch.inference_mode()
    def _compute(self, tile: SceneTile) -> CachedTile:
        with self._lock:
            values = self.read(tile)
            valid = np.asarray(~np.isnan(values).any(axis=0))
            self.computed += 1
            if not valid.any():
                return CachedTile(None, valid)
            frame = self.prompter.prepare(values, self._stretch)
            embedding = self.prompter.sam.encode(frame)[0]
        return CachedTile(embedding.half().cpu(), valid)

    def read(self, tile: SceneTile) -> FloatArray:
        """Read a tile's pixels (C, S, S) in the scene's unit; NaN for nodata and beyond the scene.

        A pixel of a higher level is the mean of those of its pixels that have data.
        """
        window, scale = tile.window, tile.scale
        if scale == 1:
            return self.scene.read(window)
        step = max(1, _READ_ROWS // scale)
        parts = [
            self._averaged(window, first, min(step, window.height - first), scale)
            for first in range(0, window.height, step)
        ]
        return np.concatenate(parts, axis=1)

    def _averaged(self, window: Window, first: int, rows: int, scale: int) -> FloatArray:
        top = (window.row + first) * scale
        fine = self.scene.read(Window(top, window.col * scale, rows * scale, window.width * scale))
        blocks = fine.reshape(fine.shape[0], rows, scale, window.width, scale)
        known = ~np.isnan(blocks)
        count = known.sum(axis=(2, 4))
        total = np.where(known, blocks, 0).sum(axis=(2, 4), dtype=np.float64)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(count > 0, total / count, np.nan), dtype=np.float32)


def _facts(scene: Scene, prompter: Prompter, stretch: Any) -> dict[str, Any]:  # noqa: ANN401 - plain values
    """Say all that decides the embeddings of a scene."""
    box = scene.geobox
    sample = hashlib.blake2b(np.ascontiguousarray(scene.sample()).data, digest_size=16)
    return {
        "format": _FORMAT,
        "files": [file_facts(name) for name in scene.files()],
        "shape": list(scene.shape),
        "grid": None if box is None else [str(box.crs), list(box.affine)[:6]],
        "bands": [list(scene.channels.wanted), list(scene.channels.stored)],
        "scaling": [[s.scale, s.offset] for s in scene.scaling],
        "radar": scene.radar_unit,
        "sample": sample.hexdigest(),
        "stretch": stretch,
        "model": [prompter.name, prompter.fingerprint, prompter.sam.size_px],
    }
