"""Embeddings of training crops, computed once and kept on disk, for networks with a frozen encoder.

The crops of the first epochs are drawn and embedded as training would have done; later epochs meet
the same chips in a new order, each as the crop it was in one of those epochs.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.utils.data import Dataset

from headframe.core.errors import JobError, RecipeError
from headframe.core.progress import Progress
from headframe.datasets.chips import Chip
from headframe.engine.recipe import Recipe
from headframe.engine.sampling import CropStream
from headframe.engine.weights import save_tensors
from headframe.models.trainable import Embedder, trained_names

FOLDER = "embeddings"
_CROPS = 16
"""Crops in a file: some 10 MB, and at most this many are computed again after a kill."""
_CHOOSING = {"dataset", "fold", "all_sites", "where", "test_where"}
"""Fields of ``data`` that choose chips, which are named themselves."""


@dataclass(frozen=True)
class Share:
    """Which files this process makes, of all that are made.

    Attributes:
        rank: its number.
        world: number of processes.
    """

    rank: int = 0
    world: int = 1


def check_embedder(network: nn.Module, *, architecture: str) -> Embedder:
    """Give the network back as what can be embedded ahead of training.

    Raises:
        RecipeError: it has no encoder of its own to ask, or training changes that encoder.
    """
    if not isinstance(network, Embedder):
        raise RecipeError(
            f"train.embed_epochs needs an encoder that is frozen; architecture {architecture!r} "
            "has none. Set it to 0."
        )
    moving = sorted(network.encoder_names & trained_names(network))
    if moving:
        raise RecipeError(
            f"train.embed_epochs needs an encoder that is frozen; {len(moving)} of its tensors are "
            f"trained, {moving[0]!r} the first. Set it to 0, or train the decoder only."
        )
    return network


def embedding_folder(
    out: Path, recipe: Recipe, network: nn.Module, inputs: object, chips: Iterable[Chip]
) -> Path:
    """Name the folder for the embeddings of a run, beside its own.

    The name is a hash of all that an embedding goes by: the encoder's tensors, the chips (name,
    size and time of their files), how they are read, standardised, cut and changed, the seed, and
    the precision that the recipe asks for.

    Args:
        out: the run folder.
        recipe: its recipe.
        network: checked with ``check_embedder``.
        inputs: statistics of the bands (``InputSpec``).
        chips: training chips, in order.
    """
    encoder = check_embedder(network, architecture=recipe.model.architecture).encoder_names
    digest = hashlib.sha256()
    for key, value in network.state_dict().items():
        if key in encoder:
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    facts = {
        "options": recipe.model.options,
        "inputs": repr(inputs),
        "data": recipe.data.model_dump(mode="json", exclude=_CHOOSING),
        "train": recipe.train.model_dump(mode="json", include={"crop_px", "seed", "precision"}),
        "augment": recipe.augment.model_dump(mode="json"),
        "chips": [[chip.key, *_stamp(chip.image), *_stamp(chip.label)] for chip in chips],
    }
    digest.update(json.dumps(facts, sort_keys=True).encode())
    return out.parent / FOLDER / digest.hexdigest()[:16]


def _stamp(path: Path) -> tuple[str, int, int]:
    found = path.stat()
    return str(path.resolve()), found.st_size, found.st_mtime_ns


class EmbeddedStream(Dataset[tuple[Tensor, Tensor]]):
    """Sample ``n`` of an endless run of epochs: embedding (D, h, w) float32, label (s, s) int64.

    Of the first ``epochs`` epochs it is the embedding of ``stream[n]``; epoch e meets the chips in
    the order of ``stream``, each as it was in epoch e modulo ``epochs``.
    """

    def __init__(self, stream: CropStream, folder: Path, *, epochs: int) -> None:
        """Remember where things are; ``embed_crops`` has filled ``folder``."""
        self._stream = stream
        self._folder = folder
        self._epochs = epochs
        self._places: dict[int, Any] = {}

    def __len__(self) -> int:
        """Chips in an epoch."""
        return len(self._stream)

    def __getitem__(self, n: int) -> tuple[Tensor, Tensor]:
        """Read sample ``n``."""
        known = n // len(self._stream) % self._epochs
        if known not in self._places:
            self._places[known] = np.argsort(self._stream.order_of(known))  # chip to its place
        place = int(self._places[known][self._stream.chip_of(n)])
        part, row = divmod(place, _CROPS)
        with safe_open(_file(self._folder, known, part), framework="pt") as file:
            embedding: Tensor = file.get_slice("embedding")[row]
            label: Tensor = file.get_slice("label")[row]
        return embedding.float(), label.long()


def embed_crops(
    stream: CropStream,
    network: nn.Module,
    folder: Path,
    *,
    epochs: int,
    batch: int,
    progress: Progress,
    share: Share = Share(),
) -> float:
    """Embed the crops of the first epochs, those that ``folder`` lacks, in fp16.

    Files are whole or not there at all, so a killed run goes on with the next one.

    Args:
        stream: crops.
        network: checked with ``check_embedder``; used in evaluation mode, and left as it was.
        folder: from ``embedding_folder``.
        epochs: number of epochs.
        batch: crops that are embedded together.
        progress: told of every crop.
        share: of several processes, which this is.

    Returns:
        Seconds that it took to embed them all, whoever did it and whenever.

    Raises:
        JobError: an embedding does not fit fp16.
        OutputError: the folder cannot be written.
    """
    size = len(stream)
    parts = [(epoch, part) for epoch in range(epochs) for part in range(-(-size // _CROPS))]
    progress.start("Embedding crops", size * epochs)
    seconds = 0.0
    for number, (epoch, part) in enumerate(parts):
        path = _file(folder, epoch, part)
        rows = range(part * _CROPS, min(size, (part + 1) * _CROPS))
        spent = _seconds_of(path, len(rows))
        if spent is None and number % share.world == share.rank:
            numbers = [epoch * size + row for row in rows]
            spent = _embed(stream, network, path, numbers=numbers, batch=batch)
        seconds += spent or 0.0
        progress.advance(len(rows))
    progress.finish()
    return seconds


def _file(folder: Path, epoch: int, part: int) -> Path:
    return folder / f"epoch{epoch:04d}-{part:05d}.safetensors"


def _seconds_of(path: Path, rows: int) -> float | None:
    """What a file took to make; None where it is not there or not whole."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            whole = file.get_slice("embedding").get_shape()[0] == rows
            return float(file.get_tensor("seconds")) if whole else None
    except (SafetensorError, OSError):
        return None


@torch.inference_mode()
def _embed(
    stream: CropStream, network: nn.Module, path: Path, *, numbers: Sequence[int], batch: int
) -> float:
    began = time.perf_counter()
    embedder = check_embedder(network, architecture=type(network).__name__)
    device = next(network.parameters()).device
    training = [module for module in network.modules() if module.training]
    network.eval()
    crops = [stream[n] for n in numbers]
    found = [
        embedder.encode(torch.stack([pixels for pixels, _ in crops[i : i + batch]]).to(device))
        for i in range(0, len(crops), batch)
    ]
    for module in training:
        module.training = True
    embedding = torch.cat(found).to("cpu", torch.float16)
    if not bool(torch.isfinite(embedding).all()):
        raise JobError(f"{path}: an embedding does not fit fp16. Set train.embed_epochs to 0.")
    label = torch.stack([label for _, label in crops]).to(torch.uint8)
    seconds = time.perf_counter() - began
    took = torch.tensor(seconds, dtype=torch.float64)
    save_tensors(path, {"embedding": embedding, "label": label, "seconds": took}, half=False)
    return seconds
