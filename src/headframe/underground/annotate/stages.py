"""Steps of a round, each in a folder named by all that decides it: nothing is done twice.

A step that was killed goes on where it stopped. Labels, recipes or prompts that change give other
names, so that only what depends on them is done again.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pydantic import BaseModel

from headframe.core.errors import BundleError, FormatError, MissingFileError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.coco import write_coco
from headframe.datasets.instances import InstanceSet, LabelledImage, numbered
from headframe.datasets.photographs import InstancePhotograph, read_photographs
from headframe.engine.box_sam import EMBEDDINGS, train_box_sam
from headframe.engine.box_sam_bundle import build_box_sam, read_box_sam
from headframe.engine.box_sam_recipe import BoxSamRecipe
from headframe.engine.detector_bundle import on_device, read_detector
from headframe.engine.detector_data import Prepare, build_prepare, shown
from headframe.engine.detector_recipe import DetectorRecipe
from headframe.engine.detector_training import train_detector
from headframe.engine.step_run import RESULT
from headframe.io.files import make_folder
from headframe.io.images import image_size
from headframe.models.detector import Detector
from headframe.models.sam.classprompt import ClassPromptedSam
from headframe.underground.annotate.candidates import Note, look, look_at, note_path, read_note
from headframe.underground.annotate.material import Material
from headframe.underground.annotate.prompts import Hints

BASE = "base"
"""In the place of a trained SAM's folder: the base as it comes."""


@dataclass(frozen=True)
class Networks:
    """What a round asks.

    Attributes:
        detector: run folder.
        sam: run folder; None: the base as it comes.
    """

    detector: Path
    sam: Path | None


@dataclass(frozen=True)
class Workshop:
    """Where steps are done.

    Attributes:
        material: photographs.
        detector: recipe.
        sam: recipe.
        folder: of all steps.
        accelerator: Lightning's flag.
        progress: told of every photograph and step.
    """

    material: Material
    detector: DetectorRecipe
    sam: BoxSamRecipe
    folder: Path
    accelerator: str = "auto"
    progress: Progress = SILENT

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes 1, 2, … of both networks."""
        return self.detector.photographs.categories

    def train_detector(self, labels: InstanceSet) -> Path:
        """Train a detector from its start on labels; returns the run folder."""
        folder = self.folder / "detectors" / self.mark(labels, self.detector)
        if not (folder / RESULT).is_file():
            own = self.detector.with_photographs(**self._learnt(labels))
            train_detector(
                own,
                out=folder,
                resume=folder.is_dir(),
                accelerator=self.accelerator,
                progress=self.progress,
            )
        return folder

    def train_sam(self, labels: InstanceSet) -> Path:
        """Tune SAM from its base on labels; returns the run folder, embeddings removed."""
        folder = self.folder / "sams" / self.mark(labels, self.sam)
        if not (folder / RESULT).is_file():
            own = self.sam.with_photographs(**self._learnt(labels))
            train_box_sam(
                own,
                out=folder,
                resume=folder.is_dir(),
                accelerator=self.accelerator,
                progress=self.progress,
            )
        shutil.rmtree(folder / EMBEDDINGS, ignore_errors=True)
        return folder

    def load(self, networks: Networks) -> tuple[Detector, ClassPromptedSam]:
        """Read both networks, in evaluation mode, on their device."""
        device = "cpu" if self.accelerator == "cpu" else "auto"
        bundle = on_device(read_detector(networks.detector), device)
        if networks.sam is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.sam.train.seed)  # of ``tiny``, which has no weights
                sam, _ = build_box_sam(
                    len(self.classes), base=self.sam.sam.base, peft=self.sam.sam.peft
                )
        else:
            sam = read_box_sam(networks.sam).network
        if bundle.categories != self.classes:
            raise BundleError(f"{networks.detector}: knows other classes. Delete it, run again.")
        sam.to(next(bundle.network.parameters()).device).eval()
        return bundle.detector, sam

    def prepare(self) -> Prepare:
        """Give what both networks are shown of a photograph."""
        return build_prepare(self.detector.prepare)

    def look(
        self, networks: Networks, names: Sequence[str], *, ask_score: float, hinted: bool = True
    ) -> Path:
        """Ask about photographs, those that are noted already left out.

        Args:
            networks: what is asked.
            names: of the photographs.
            ask_score: of the detector; less is not asked about.
            hinted: ask about what a person pointed at, where there is such.

        Returns:
            Folder of a note a photograph. One that cannot be read is noted as that.
        """
        sam = BASE if networks.sam is None else networks.sam.name
        asked = f"{networks.detector.name} {sam} {self.sam.sam!r} {ask_score}"
        folder = self.folder / "looks" / _digest(asked)
        make_folder(folder)
        hints = self.material.hints if hinted else {}
        left = [name for name in names if not _noted(folder, name, _mark(hints, name))]
        if left:
            ask = self._asking(networks, hints, ask_score)
            self.progress.start("Drawing masks", len(names))
            self.progress.advance(len(names) - len(left))
            for name in left:
                ask(name).write(folder)
                self.progress.advance()
            self.progress.finish()
        return folder

    def photographs(self, labels: InstanceSet) -> list[InstancePhotograph]:
        """Read labelled photographs as the networks see them, reduced, not prepared."""
        return read_photographs(
            labels,
            self.material.images,
            categories=self.classes,
            short_side_px=self.detector.photographs.short_side_px,
            progress=self.progress,
        )

    def _asking(self, networks: Networks, hints: Hints, ask_score: float) -> Callable[[str], Note]:
        detector, sam = self.load(networks)
        prepare = self.prepare()
        numbers = numbered(self.classes)

        def ask(name: str) -> Note:
            try:
                photograph = self._read(name)
                size = image_size(self.material.images / name)
            except (FormatError, MissingFileError) as exc:
                return Note(name, trouble=str(exc), hints=_mark(hints, name))
            pixels = shown(photograph, prepare)
            if name not in hints:
                return Note(name, size, look(pixels, detector, sam, ask_score=ask_score))
            scale = pixels.shape[1] / size[0]
            answers = look_at(
                pixels, hints[name], numbers=numbers, scale=scale, detector=detector, sam=sam
            )
            return Note(name, size, answers, hints=_mark(hints, name))

        return ask

    def _read(self, name: str) -> InstancePhotograph:
        """Read a photograph without labels, reduced as those with labels are."""
        (photograph,) = read_photographs(
            InstanceSet((LabelledImage(name, 0, 0),), numbered(self.classes)),
            self.material.images,
            categories=self.classes,
            short_side_px=self.detector.photographs.short_side_px,
        )
        return photograph

    def mark(self, labels: InstanceSet, recipe: BaseModel) -> str:
        """Name a step by the labels, photographs and recipe that decide it."""
        told = recipe.model_dump(mode="json", exclude_defaults=True)
        return _digest(f"{json.dumps(told)} {self._digest_of(labels)}")

    def _digest_of(self, labels: InstanceSet) -> str:
        sizes = [(self.material.images / i.file_name).stat().st_size for i in labels.images]
        return _digest(f"{labels!r} {sizes!r}")

    def _learnt(self, labels: InstanceSet) -> dict[str, object]:
        """Write labels where a training finds them; returns fields of its recipe."""
        path = self.folder / "labels" / f"{self._digest_of(labels)}.json"
        if not path.is_file():
            write_coco(labels, path)
        return {
            "sources": [str(path.resolve())],
            "images": str(self.material.images.resolve()),
            "more": [],
            "merge": [],
            "fold": None,
        }


def joined(labels: InstanceSet, more: Sequence[LabelledImage]) -> InstanceSet:
    """Add photographs to labels of the same classes."""
    return replace(labels, images=(*labels.images, *more))


def _noted(folder: Path, name: str, mark: str) -> bool:
    """Whether a photograph is noted, asked about in the same way."""
    return note_path(folder, name).is_file() and read_note(folder, name).hints == mark


def _mark(hints: Hints, name: str) -> str:
    return _digest(repr(hints[name])) if name in hints else ""


def _digest(told: str) -> str:
    return hashlib.sha256(told.encode()).hexdigest()[:16]
