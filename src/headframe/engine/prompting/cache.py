"""Embeddings of a scene's tiles on disk: found again after a restart, bounded in size.

A folder of safetensors files, because what is kept are tensors and no pickle may be among them:
diskcache keeps all but bytes by pickle and has had no release since 2023, and cachetools, which
odc-geo brings, keeps memory only. Reading one file of 2 MB takes about two milliseconds.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from platformdirs import user_cache_path
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from headframe.core.errors import OutputError
from headframe.io.files import replacing

_LOG = logging.getLogger("headframe")
_SUFFIX = ".safetensors"
_LOCK = ".lock"
_KEEP = 0.9
"""Share of the limit that is kept once it is passed, so that not every tile evicts."""

LIMIT_BYTES = 4 * 2**30
"""Size of the cache where none is asked for; about 2,000 tiles of LiteMedSAM."""


def default_cache() -> Path:
    """Name the user's folder for embeddings (``~/.cache/headframe/embeddings`` on Linux)."""
    return Path(user_cache_path("headframe")) / "embeddings"


@dataclass(frozen=True)
class CachedTile:
    """What is kept of a tile.

    Attributes:
        embedding: (256, h, w) float16; None where no pixel of the tile has data.
        valid: (S, S) bool, pixels of the frame that have data.
    """

    embedding: Tensor | None
    valid: NDArray[np.bool_]


class EmbeddingCache:
    """Tiles of any number of scenes and models in one folder.

    An entry is a file ``<key>/<name>.safetensors``, where ``key`` stands for scene and model
    and ``name`` for the tile. Files appear whole or not at all, carry a digest of their content,
    and are touched when they are read; past the limit the least recently read go first. What
    cannot be read, or is not what was written, is as good as absent.
    """

    def __init__(self, folder: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
        """Use ``folder``, made when the first tile is kept."""
        self.folder = folder
        self._limit = limit_bytes
        self._warned = False

    def read(self, key: str, name: str) -> CachedTile | None:
        """Read a tile; None where it is absent or damaged."""
        path = self.folder / key / f"{name}{_SUFFIX}"
        try:
            with safe_open(path, framework="pt") as file:
                kept = {tensor: file.get_tensor(tensor) for tensor in file.keys()}  # noqa: SIM118 - no mapping
                digest = (file.metadata() or {}).get("digest")
            if digest != _digest(kept):
                raise ValueError("its content is not what was written")
            tile = _tile_of(kept)
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, ValueError, KeyError) as exc:
            _LOG.warning("%s: damaged, computed again (%s).", path, " ".join(str(exc).split()))
            return None
        return tile

    def write(self, key: str, name: str, tile: CachedTile, *, facts: Mapping[str, Any]) -> None:
        """Keep a tile. A disk that is full or must not be written is no error, only slower.

        Args:
            key: of scene and model.
            name: of the tile.
            tile: what to keep.
            facts: plain values for a person who looks into the folder.
        """
        kept = _tensors_of(tile)
        content = save(kept, metadata={"digest": _digest(kept)})
        folder = self.folder / key
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / _LOCK):
                if not (folder / "about.json").exists():
                    with replacing(folder / "about.json") as part:
                        part.write_text(json.dumps(dict(facts), indent=2), encoding="utf-8")
                path = folder / f"{name}{_SUFFIX}"
                with replacing(path) as part:
                    part.write_bytes(content)
                self._evict(path)
        except (OSError, OutputError) as exc:
            if not self._warned:
                self._warned = True
                _LOG.warning(
                    "%s: embeddings are not kept (%s); choose another --cache.",
                    self.folder,
                    " ".join(str(exc).split()),
                )

    def has(self, key: str, name: str) -> bool:
        """Tell whether a tile is there, damaged or not."""
        return (self.folder / key / f"{name}{_SUFFIX}").is_file()

    def size_bytes(self) -> int:
        """Add up all tiles."""
        return sum(size for _, size, _ in self._files())

    def _files(self) -> list[tuple[int, int, Path]]:
        """Time of last use, size and path of every tile."""
        found = []
        for path in self.folder.glob(f"*/*{_SUFFIX}"):
            try:
                status = path.stat()
            except FileNotFoundError:  # another process evicted it
                continue
            found.append((status.st_mtime_ns, status.st_size, path))
        return found

    def _evict(self, newest: Path) -> None:
        files = self._files()
        total = sum(size for _, size, _ in files)
        if total <= self._limit:
            return
        for _, size, path in sorted(files):
            if total <= _KEEP * self._limit:
                break
            if path != newest:
                path.unlink(missing_ok=True)
                total -= size


def _tensors_of(tile: CachedTile) -> dict[str, Tensor]:
    side = np.array(tile.valid.shape, dtype=np.int64)
    kept = {
        "valid": torch.from_numpy(np.packbits(tile.valid)),
        "side": torch.from_numpy(side),
    }
    if tile.embedding is not None:
        kept["embedding"] = tile.embedding.half().contiguous()
    return kept


def _tile_of(kept: Mapping[str, Tensor]) -> CachedTile:
    height, width = (int(side) for side in kept["side"])
    bits = np.unpackbits(kept["valid"].numpy(), count=height * width)
    return CachedTile(kept.get("embedding"), bits.reshape(height, width).astype(np.bool_))


def _digest(kept: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(kept):
        digest.update(name.encode())
        digest.update(kept[name].contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
