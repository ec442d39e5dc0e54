"""What a SAM told boxes learns from: photographs embedded once, boxes jittered every time."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from headframe.core.errors import DatasetError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.photographs import InstancePhotograph
from headframe.engine.detector_data import Prepare, shown
from headframe.engine.detector_recipe import LightSection
from headframe.engine.prompting.boxes import PhotographFrame, frame_photograph, jitter_boxes
from headframe.io.files import make_folder, write_json, writing_into
from headframe.models.sam.classprompt import ClassPromptedSam

STORE, RECORD = "embeddings.npy", "embeddings.json"
_EVERY = 8
_NUMBERS = 2**20


@dataclass(frozen=True, eq=False)
class BoxSample:
    """Objects of one photograph.

    Attributes:
        embedding: (1, 256, h, w) float32.
        boxes: (B, 4) float32, jittered, in the frame's pixels (``ClassPromptedSam.decode``).
        labels: (B,) int64.
        target: (B, r, c) float32, 0 or 1, at the logits' scale, the photograph's part of them.
    """

    embedding: Tensor
    boxes: Tensor
    labels: Tensor
    target: Tensor


@dataclass(frozen=True)
class BoxSampling:
    """How samples are drawn.

    Attributes:
        light: lights, and how often each photograph is darkened.
        seed: of noise, order and boxes.
        boxes: objects of one sample at most.
    """

    light: LightSection
    seed: int = 0
    boxes: int = 8


@dataclass(frozen=True)
class Store:
    """Where embeddings are kept, in half precision.

    Attributes:
        folder: of two files.
        key: tells apart what decides them beside photographs and light: base, preparation.
    """

    folder: Path
    key: str


class BoxSamples:
    """Photographs in every light, embedded by the frozen encoder, in an endless row of epochs."""

    def __init__(
        self,
        photographs: Sequence[InstancePhotograph],
        network: ClassPromptedSam,
        *,
        prepare: Prepare,
        sampling: BoxSampling,
        store: Store,
        progress: Progress = SILENT,
    ) -> None:
        """Embed what is not embedded yet; a stopped run goes on where it was.

        Args:
            photographs: without crowds among their objects; those without objects are left out.
            network: its encoder is frozen.
            prepare: what the network sees of a photograph.
            sampling: lights, noise, how many boxes.
            store: where embeddings are kept.
            progress: told of every photograph.

        Raises:
            DatasetError: no photograph with an object on it.
            OutputError: the embeddings cannot be written.
        """
        self._photographs = [p for p in photographs if len(p.labels)]
        if not self._photographs:
            raise DatasetError("no photograph to learn from has an object on it.")
        self._light, self._seed, self._boxes = sampling.light, sampling.seed, sampling.boxes
        self._frames = [_empty_frame(p, network) for p in self._photographs]
        self._store = self._embed(network, prepare, store, progress)

    def __len__(self) -> int:
        """Samples in an epoch: photographs with objects times variants."""
        return len(self._photographs) * self._light.variants

    def __getitem__(self, number: int) -> BoxSample:
        """Give sample ``number`` of all epochs, >= 0; the same number gives the same sample."""
        epoch, place = divmod(number, len(self))
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self))
        view = int(order[place])
        index = view // self._light.variants
        photograph, frame = self._photographs[index], self._frames[index]
        rng = np.random.default_rng([self._seed, _NUMBERS, number])
        count = len(photograph.labels)
        chosen = np.sort(rng.permutation(count)[: self._boxes])
        jittered = jitter_boxes(photograph.boxes[chosen], frame.size, rng=rng)
        embedding = torch.from_numpy(np.array(self._store[view], np.float32))[None]
        return BoxSample(
            embedding,
            frame.to_frame(jittered),
            torch.from_numpy(photograph.labels[chosen]),
            targets(photograph.masks[chosen], frame, cells=embedding.shape[-1]),
        )

    def _embed(
        self, network: ClassPromptedSam, prepare: Prepare, place: Store, progress: Progress
    ) -> NDArray[np.float16]:
        folder = place.folder
        make_folder(folder)
        cells = network.sam.size_px // network.sam.stride
        shape = (len(self), 256, cells, cells)
        told: dict[str, object] = {"key": self._key(place.key), "shape": list(shape)}
        done = _done(folder / RECORD, told) if (folder / STORE).is_file() else 0
        with writing_into(folder):
            store = np.lib.format.open_memmap(
                folder / STORE, "r+" if done else "w+", np.float16, shape
            )
            progress.start("Embedding photographs", len(self))
            progress.advance(done)
            for view in range(done, len(self)):
                store[view] = self._embedded(view, network, prepare)
                if (view + 1) % _EVERY == 0 or view + 1 == len(self):
                    store.flush()
                    write_json(folder / RECORD, {**told, "done": view + 1})
                progress.advance()
            progress.finish()
        return store

    def _embedded(
        self, view: int, network: ClassPromptedSam, prepare: Prepare
    ) -> NDArray[np.float16]:
        index, variant = divmod(view, self._light.variants)
        lights = self._light.train
        light = lights[(index + variant) % len(lights)]  # lights take turns
        dark = self._photographs[index].darkened(light, seed=self._seed * 101 + variant)
        frame = frame_photograph(shown(dark, prepare), network.sam)
        with torch.inference_mode():
            half: NDArray[np.float16] = network.encode(frame.pixels)[0].half().cpu().numpy()
        return half

    def _key(self, key: str) -> str:
        digest = hashlib.sha256(f"{key} {self._light!r} {self._seed}".encode())
        for photograph in self._photographs:
            digest.update(photograph.name.encode())
            digest.update(photograph.image.tobytes())
        return digest.hexdigest()


def targets(masks: NDArray[np.bool_], frame: PhotographFrame, *, cells: int) -> Tensor:
    """Bring masks (n, H, W) to the scale of the logits, where at least half is covered.

    Args:
        masks: on the photograph's pixels.
        frame: of the photograph.
        cells: of the embedding a side; logits have four times as many.

    Returns:
        (n, r, c) float32, 0 or 1; the upper left part of the logits, which the photograph fills.
    """
    share = 4 * cells / frame.pixels.shape[-1]
    size = tuple(max(round(side * share), 1) for side in frame.shown)
    planes = torch.from_numpy(masks.astype(np.float32))[:, None]
    reduced = functional.interpolate(planes, size, mode="area")[:, 0]
    return (reduced >= 0.5).float()


def _empty_frame(photograph: InstancePhotograph, network: ClassPromptedSam) -> PhotographFrame:
    """Give the frame's sizes without its pixels."""
    height, width = photograph.image.shape[:2]
    side = network.sam.size_px
    scale = side / max(height, width)
    fill = max(round(height * scale), 1), max(round(width * scale), 1)
    nothing = torch.empty(1).expand(1, 3, side, side)
    return PhotographFrame(nothing, fill, (height, width))


def _done(path: Path, told: dict[str, object]) -> int:
    """Count views that are embedded; 0 where they are of something else."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        done = int(record.pop("done"))
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return done if record == told else 0
