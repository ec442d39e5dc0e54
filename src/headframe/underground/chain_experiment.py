"""Comparisons of chains: detectors trained by folds, what they found kept, one table of it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from faster_coco_eval.core import mask as rle_tools

from headframe.core.detections import Detections
from headframe.core.errors import DatasetError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.photographs import InstancePhotograph
from headframe.engine.bases import base_state, find_base
from headframe.engine.detector_bundle import on_device, read_detector
from headframe.engine.detector_data import build_prepare, shown, views_in_light
from headframe.engine.detector_recipe import DetectorRecipe
from headframe.engine.detector_training import read_parts, train_detector
from headframe.engine.prompting.boxes import answer_boxes
from headframe.engine.recipe import FoldSection
from headframe.engine.shared_runs import share, writing_tables
from headframe.io.files import write_json
from headframe.metrics.instances import InstanceEvaluation
from headframe.metrics.matching import encode
from headframe.models.detector import read_options
from headframe.models.sam.classprompt import ClassPromptedSam, build_class_prompted_sam
from headframe.underground.chain import Chain, ChainOptions
from headframe.underground.chain_plan import ChainPlan, MethodSection
from headframe.underground.chain_table import LightRow, write_tables
from headframe.underground.fusion import FusionOptions


@dataclass(frozen=True)
class _Run:
    """One detector, trained on all but one fold with one seed."""

    recipe: str
    fold: int
    seed: int

    @property
    def key(self) -> str:
        return f"{Path(self.recipe).stem}-fold{self.fold}-seed{self.seed}"


def compare_chains(
    plan: ChainPlan,
    recipes: Mapping[str, DetectorRecipe],
    *,
    out: Path,
    folds: Sequence[int] = (),
    seeds: Sequence[int] = (0,),
    accelerator: str = "auto",
    progress: Progress = SILENT,
) -> list[LightRow]:
    """Train, look and score.

    Each detector's run lies in ``out/detectors``, what each method found of the photographs held
    out in ``out/found`` as COCO results, and tables and pictures in ``out``. What is there is not
    done again; several processes may share ``out``.

    Args:
        plan: methods, photographs, lights.
        recipes: of the detectors, by the names that the plan has for them.
        out: folder of runs and tables.
        folds: those that are held out in turn; empty: all.
        seeds: training seeds.
        accelerator: Lightning's flag.
        progress: told of every step and photograph.

    Returns:
        A row a method and light, over all folds and seeds together.

    Raises:
        DatasetError: a fold that is none, or photographs that cannot be divided so.
        RecipeError: a recipe, or the options of a fusion, that cannot be used.
    """
    chosen = tuple(folds) or tuple(range(plan.of))
    if max(chosen) >= plan.of or min(chosen) < 0:
        raise DatasetError(f"there is no fold {max(chosen)} of {plan.of}; count from 0.")
    runs = [_Run(*each) for each in product(recipes, chosen, seeds)]
    for run in share(runs, out=out, name=lambda run: run.key):
        _look(plan, recipes[run.recipe], run, out=out, accelerator=accelerator, progress=progress)
    with writing_tables(out):
        rows = _score(plan, runs, out)
        write_tables(rows, out, plain=plan.plain, figures=plan.figures)
    return rows


def _look(
    plan: ChainPlan,
    recipe: DetectorRecipe,
    run: _Run,
    *,
    out: Path,
    accelerator: str,
    progress: Progress,
) -> None:
    """Train one detector and keep what every method on it finds."""
    methods = {n: m for n, m in plan.methods.items() if m.detector == run.recipe}
    if all(
        _found(out, name, run, light).is_file() for name in methods for light in plan.light.test
    ):
        return
    fold = FoldSection(index=run.fold, of=plan.of, seed=plan.fold_seed)
    own = recipe.with_photographs(
        **plan.photographs.model_dump(mode="json", exclude={"fold"}), fold=fold
    )
    own = own.with_train(seed=run.seed)
    folder = out / "detectors" / run.key
    train_detector(
        own, out=folder, resume=folder.is_dir(), accelerator=accelerator, progress=progress
    )
    test = read_parts(own.photographs, progress=progress).test
    bundle = on_device(read_detector(folder), "cpu" if accelerator == "cpu" else "auto")
    prepare = build_prepare(bundle.prepare)
    base = Chain(
        bundle.detector,
        bundle.categories,
        prepare,
        options=ChainOptions(short_side_px=0),
        name=run.key,
    )
    sams = {m.sam: _sam(m.sam, len(bundle.categories)) for m in methods.values() if m.sam}
    chains = {name: _chain(base, method, sams) for name, method in methods.items()}
    views = views_in_light(test, plan.light)
    progress.start(f"Looking with {run.key}", len(test) * len(views))
    for light, photographs in views.items():
        entries: dict[str, list[dict[str, Any]]] = {name: [] for name in chains}
        for photograph in photographs:
            for name, found in _found_by(chains, base, photograph):
                entries[name] += _entries(photograph.name, found)
            progress.advance()
        for name, found_entries in entries.items():
            write_json(_found(out, name, run, light), found_entries)
    progress.finish()


def _found_by(
    chains: Mapping[str, Chain], base: Chain, photograph: InstancePhotograph
) -> Iterator[tuple[str, Detections]]:
    """Ask detector and each SAM once, and finish every chain from their answers."""
    pixels = shown(photograph, base.prepare)
    (found,) = base.detector.detect([torch.from_numpy(pixels)], soft=True)
    found = found.above(base.options.min_score)
    answers: dict[tuple[int, bool], Detections] = {}
    for name, chain in chains.items():
        if chain.sam is None:
            yield name, found
            continue
        key = (id(chain.sam), chain.options.classes)
        if key not in answers:
            asked = found.above(chain.options.sam_score)
            answers[key] = answer_boxes(chain.sam, pixels, asked, classes=chain.options.classes)
        yield name, chain.finish(found, answers[key])[0]


def _sam(source: str, classes: int) -> ClassPromptedSam:
    base = find_base(source)
    return build_class_prompted_sam(classes, base=base.architecture, state=base_state(base))


def _chain(base: Chain, method: MethodSection, sams: Mapping[str, ClassPromptedSam]) -> Chain:
    if method.sam is None:
        return base
    fusion = None
    if method.fusion is not None:
        fusion = read_options(FusionOptions, method.fusion, name="fusion")
    options = replace(base.options, classes=method.classes)
    return replace(base, sam=sams[method.sam], fusion=fusion, options=options)


def _found(out: Path, method: str, run: _Run, light: float) -> Path:
    return out / "found" / method / f"fold{run.fold}-seed{run.seed}-light{light:g}.json"


def _entries(name: str, found: Detections) -> list[dict[str, Any]]:
    """COCO results of one photograph, its name in the place of a number."""
    return [
        {
            "image_id": name,
            "category_id": int(label),
            "score": float(score),
            "bbox": [float(b[0]), float(b[1]), float(b[2] - b[0]), float(b[3] - b[1])],
            "segmentation": {**code, "counts": code["counts"].decode("ascii")},
        }
        for label, score, b, code in zip(
            found.labels, found.scores, found.boxes, encode(found.masks), strict=True
        )
    ]


def _score(plan: ChainPlan, runs: Sequence[_Run], out: Path) -> list[LightRow]:
    """Score all that was found; photographs of all runs count together."""
    classes = {name: n for n, name in enumerate(plan.photographs.categories, start=1)}
    tests: dict[int, list[InstancePhotograph]] = {}
    for fold in dict.fromkeys(run.fold for run in runs):
        section = plan.photographs.model_copy(
            update={"fold": FoldSection(index=fold, of=plan.of, seed=plan.fold_seed), "more": ()}
        )
        tests[fold] = read_parts(section).test
    rows = []
    for name, light in product(plan.methods, plan.light.test):
        evaluation = InstanceEvaluation(classes)
        for run in runs:
            if plan.methods[name].detector == run.recipe:
                _add(evaluation, tests[run.fold], _found(out, name, run, light))
        rows.append(LightRow(name, light, evaluation))
    return rows


def _add(
    evaluation: InstanceEvaluation, photographs: Sequence[InstancePhotograph], path: Path
) -> None:
    by_name: dict[str, list[dict[str, Any]]] = {}
    for entry in json.loads(path.read_text(encoding="utf-8")):
        by_name.setdefault(entry["image_id"], []).append(entry)
    for photograph in photographs:
        entries = by_name.get(photograph.name, [])
        evaluation.update(_truth(photograph), _read(entries, photograph), crowd=photograph.crowd)


def _truth(photograph: InstancePhotograph) -> Detections:
    count = len(photograph.labels)
    return Detections(
        photograph.boxes, photograph.labels, np.ones(count, np.float32), photograph.masks
    )


def _read(entries: Sequence[Mapping[str, Any]], photograph: InstancePhotograph) -> Detections:
    height, width = photograph.image.shape[:2]
    if not entries:
        return Detections.none(height, width)
    boxes = np.array([entry["bbox"] for entry in entries], np.float32)
    boxes[:, 2:] += boxes[:, :2]
    masks = [np.asarray(rle_tools.decode(entry["segmentation"]), np.bool_) for entry in entries]
    return Detections(
        boxes,
        np.array([entry["category_id"] for entry in entries], np.int64),
        np.array([entry["score"] for entry in entries], np.float32),
        np.stack(masks),
    )
