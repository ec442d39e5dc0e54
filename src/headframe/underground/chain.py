"""DIS-Mine's chain on one photograph: enhancer, detector, SAM, fusion, each of them optional.

`I -> enhancer -> I_EN -> Mask R-CNN -> boxes, classes, masks; SAM(I_EN, boxes, classes) -> masks;
both -> fusion` (methods.md, section 1.1). What was found keeps the masks of the last part that
there is.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch

from headframe.core.detections import Detections
from headframe.core.errors import GridMismatchError, RecipeError
from headframe.engine.detector_data import FloatPixels, Prepare, as_it_is
from headframe.engine.prompting.boxes import answer_boxes
from headframe.io.images import Deep
from headframe.models.detector import Detector
from headframe.models.sam.classprompt import ClassPromptedSam
from headframe.underground.fusion import Fused, FusionOptions, fuse
from headframe.underground.fusion.grid import relabel

ENHANCE, DETECT, SAM, FUSE, GLUE = "enhance", "detect", "sam", "fuse", "glue"
PARTS = (ENHANCE, DETECT, SAM, FUSE, GLUE)
"""Parts whose seconds are told; ``glue`` is what is left: reducing, sorting, joining."""
NETWORKS = (ENHANCE, DETECT, SAM)
_STRIP_PX = 16
_SOFT = ("weighted", "gate")
"""Fusions that want the detector's logits."""


@dataclass(frozen=True)
class ChainOptions:
    """How the parts work together.

    Attributes:
        short_side_px: larger photographs are reduced to this before all else, for networks know
            objects, and noise, of the size they were trained at. 0: never.
        min_score: objects below are dropped, 0-1.
        sam_score: SAM is asked about objects of at least this score, 0-1 (methods.md, section
            1.4); those below keep the detector's masks.
        classes: tell SAM the classes too.
    """

    short_side_px: int = 320
    min_score: float = 0.05
    sam_score: float = 0.5
    classes: bool = True

    def __post_init__(self) -> None:
        """Check the values; raises RecipeError."""
        if self.short_side_px and self.short_side_px < 32:
            raise RecipeError(f"short_side_px is {self.short_side_px}; give 32 or more, or 0.")
        for name in ("min_score", "sam_score"):
            if not 0 <= getattr(self, name) <= 1:
                raise RecipeError(f"{name} is {getattr(self, name)}; give a number from 0 to 1.")


@dataclass(frozen=True, eq=False)
class Looked:
    """What the chain says of one photograph.

    Attributes:
        detections: objects, the surest first, on the pixels of ``shown``; without logits.
        stages: what each part said, by its name: ``detect``, ``sam``, ``fuse``. SAM and fusion
            speak of the objects that SAM was asked about, the first of ``detect``.
        seconds: by part, all of ``PARTS``.
        cpu_seconds: likewise, of all threads of the process.
        shown: (3, h, w) float32, what the networks saw: reduced and enhanced.
        size: (H, W) of the photograph as it was given.
        fused: what came of fusion; None where it was not run.
    """

    detections: Detections
    stages: Mapping[str, Detections]
    seconds: Mapping[str, float]
    shown: FloatPixels
    size: tuple[int, int]
    fused: Fused | None = None
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def overhead(self) -> float:
        """Seconds of fusion and glue over those of the networks."""
        return (self.seconds[FUSE] + self.seconds[GLUE]) / sum(self.seconds[p] for p in NETWORKS)


@dataclass(frozen=True, eq=False)
class Chain:
    """The parts, ready to work on their devices.

    Attributes:
        detector: finds the objects.
        categories: names of its classes 1, 2, ….
        prepare: what all networks see of a photograph: an enhancer, a stretch, or nothing.
        sam: None: the detector's masks are the result.
        fusion: how both networks' masks are fused; None: SAM's are the result.
        options: how the parts work together.
        name: what the chain is called.

    Raises:
        RecipeError: the detector is none, SAM does not know its classes, or there is fusion
            without SAM.
    """

    detector: Detector
    categories: tuple[str, ...]
    prepare: Prepare = as_it_is
    sam: ClassPromptedSam | None = None
    fusion: FusionOptions | None = None
    options: ChainOptions = field(default_factory=ChainOptions)
    name: str = "chain"

    def __post_init__(self) -> None:
        """Check that the parts fit, and put SAM into evaluation mode."""
        if not isinstance(self.detector, Detector):
            raise RecipeError(f"{self.name}: {type(self.detector).__name__} is no detector.")
        if self.sam is None and self.fusion is not None:
            raise RecipeError(f"{self.name}: fusion needs a SAM beside the detector. Give both.")
        told = len(self.categories)
        if self.sam is not None and self.options.classes and self.sam.table.num_embeddings != told:
            raise RecipeError(
                f"{self.name}: SAM was told {self.sam.table.num_embeddings} classes, the detector "
                f"finds {told}. Train both on the same classes."
            )
        if self.sam is not None:
            self.sam.eval()

    def look(self, pixels: FloatPixels) -> Looked:
        """Find the objects of one photograph.

        The same photograph gives the same objects.

        Args:
            pixels: (3, H, W) float32 RGB in [0, 1], any H and W.

        Raises:
            GridMismatchError: it is no such array.
        """
        if pixels.ndim != 3 or pixels.shape[0] != 3 or 0 in pixels.shape:
            raise GridMismatchError(
                f"a photograph of shape {pixels.shape} cannot be looked at; give (3, H, W)."
            )
        clock = _Clock()
        small = reduced_float(pixels, self.options.short_side_px)
        return self._look(small, (pixels.shape[1], pixels.shape[2]), clock)

    def look_at(self, levels: Deep) -> Looked:
        """Find the objects of one photograph as files and videos hold it.

        The same as ``look`` of it as floats, without a large photograph ever being floats: 12 MP
        would be 144 MB of them.

        Args:
            levels: (H, W, 3) uint8 or uint16 RGB, any H and W.

        Raises:
            GridMismatchError: it is no such array.
        """
        if levels.ndim != 3 or levels.shape[2] != 3 or 0 in levels.shape:
            raise GridMismatchError(
                f"a photograph of shape {levels.shape} cannot be looked at; give (H, W, 3)."
            )
        clock = _Clock()
        small = reduced_levels(levels, self.options.short_side_px)
        return self._look(small, (levels.shape[0], levels.shape[1]), clock)

    def _look(self, small: FloatPixels, size: tuple[int, int], clock: "_Clock") -> Looked:
        with clock.of(ENHANCE):
            shown = self.prepare(small)
        with clock.of(DETECT):
            found = self._detect(shown)
        found = found.above(self.options.min_score)
        stages = {DETECT: found}
        fused = None
        if self.sam is not None:
            asked = found.above(self.options.sam_score)
            with clock.of(SAM):
                answered = answer_boxes(self.sam, shown, asked, classes=self.options.classes)
            stages[SAM] = answered
            with clock.of(FUSE):
                found, fused = self.finish(found, answered)
            if fused is not None:
                stages[FUSE] = fused.detections
        found = Detections(found.boxes, found.labels, found.scores, found.masks)
        seconds, cpu = clock.seconds()
        return Looked(found, stages, seconds, shown, size, fused, cpu)

    def finish(self, found: Detections, answered: Detections) -> tuple[Detections, Fused | None]:
        """Put SAM's answers, fused or not, in the place of the detector's masks.

        Args:
            found: the detector's objects, the surest first; with logits where the fusion wants
                them.
            answered: SAM's answers about the first of them.

        Returns:
            All objects, the surest first; and what came of fusion, None without one.
        """
        asked = found.select(np.arange(len(answered)))
        done = Detections(asked.boxes, asked.labels, asked.scores, answered.masks)
        fused = None
        if self.fusion is not None:
            fused = fuse(asked, answered, classes=self.numbers, options=self.fusion)
            done = fused.detections
        return self._joined(done, found), fused

    @property
    def numbers(self) -> dict[str, int]:
        """Class to number."""
        return {name: number for number, name in enumerate(self.categories, start=1)}

    def _detect(self, shown: FloatPixels) -> Detections:
        soft = self.fusion is not None and self.fusion.method in _SOFT
        return self.detector.detect([torch.from_numpy(shown)], soft=soft)[0]

    def _joined(self, done: Detections, found: Detections) -> Detections:
        """Put what SAM was asked about before the rest, to which the grid rule applies too."""
        rest = found.select(np.arange(len(done), len(found)))
        labels = rest.labels
        if self.fusion is not None:
            labels = relabel(labels, rest.masks, self.numbers, self.fusion.grid)
        joined = Detections(
            np.concatenate([done.boxes, rest.boxes]),
            np.concatenate([done.labels, labels]),
            np.concatenate([done.scores, rest.scores]),
            np.concatenate([done.masks, rest.masks]),
        )
        return joined.above(self.options.min_score)  # scores may have changed


def reduced_float(pixels: FloatPixels, short_side_px: int) -> FloatPixels:
    """Average (3, H, W) down to a short side; a smaller one, or with 0 any, stays as it is."""
    size = _reduced_size(pixels.shape[1], pixels.shape[2], short_side_px)
    if size is None:
        return pixels
    # plane by plane: OpenCV wants channels last, and a copy of a large photograph is dear
    planes = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in pixels]
    return np.stack(planes).astype(np.float32, copy=False)


def reduced_levels(levels: Deep, short_side_px: int) -> FloatPixels:
    """Do what ``reduced_float`` does with a photograph's own levels.

    Args:
        levels: (H, W, 3) uint8 or uint16 RGB.
        short_side_px: as there.

    Returns:
        (3, h, w) float32 in [0, 1].
    """
    full = np.float32(np.iinfo(levels.dtype).max)
    size = _reduced_size(levels.shape[0], levels.shape[1], short_side_px)
    if size is None:
        small = levels.astype(np.float32)
    else:
        # across, then down: areas are separable, and so few rows of floats stay in the cache
        narrow = np.empty((levels.shape[0], size[0], 3), np.float32)
        for top in range(0, len(levels), _STRIP_PX):
            strip = levels[top : top + _STRIP_PX].astype(np.float32)
            wanted = (size[0], len(strip))
            narrow[top : top + _STRIP_PX] = cv2.resize(strip, wanted, interpolation=cv2.INTER_AREA)
        small = np.asarray(cv2.resize(narrow, size, interpolation=cv2.INTER_AREA), np.float32)
    return np.ascontiguousarray((small / full).transpose(2, 0, 1))  # (h, w, 3) -> (3, h, w)


def _reduced_size(height: int, width: int, short_side_px: int) -> tuple[int, int] | None:
    """Width and height after reducing, as OpenCV wants them; None: as they are."""
    scale = short_side_px / min(height, width)
    if not short_side_px or scale >= 1:
        return None
    return round(width * scale), round(height * scale)


class _Clock:
    """Seconds by part since it was made, of the wall and of the processors."""

    def __init__(self) -> None:
        self._began = _now()
        self._parts = dict.fromkeys(PARTS, (0.0, 0.0))

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Count what the block takes as ``part``."""
        began = _now()
        yield
        taken, before = _since(began), self._parts[part]
        self._parts[part] = before[0] + taken[0], before[1] + taken[1]

    def seconds(self) -> tuple[dict[str, float], dict[str, float]]:
        """Give both of all parts; what none of them took is glue."""
        told = []
        for kind, whole in enumerate(_since(self._began)):
            parts = {part: taken[kind] for part, taken in self._parts.items()}
            told.append(parts | {GLUE: max(whole - sum(parts.values()), 0.0)})
        return told[0], told[1]


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(began: tuple[float, float]) -> tuple[float, float]:
    now = _now()
    return now[0] - began[0], now[1] - began[1]
