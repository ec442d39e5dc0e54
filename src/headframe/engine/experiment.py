"""Experiments: recipes by folds and seeds, one table with the spread."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from headframe.core.errors import DatasetError, RecipeError, UnknownNameError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.chips import ChipDataset
from headframe.engine.baselines import boosted_trees_fold
from headframe.engine.bundle import Bundle, load_bundle, save_bundle
from headframe.engine.evaluate import evaluate_chips
from headframe.engine.experiment_table import Row, write_tables
from headframe.engine.index_threshold import IndexThreshold, threshold_fold
from headframe.engine.merge import merge_bundles
from headframe.engine.recipe import FoldSection, Recipe
from headframe.engine.run import CHECKPOINT
from headframe.engine.samples import Parts, choose_parts, open_labelled
from headframe.engine.shared_runs import holding, share, writing_tables
from headframe.engine.training import AUTO, Hardware, train
from headframe.io.files import write_json
from headframe.metrics.confusion import Counts
from headframe.models.detector import read_options

TREES, THRESHOLD, MERGE = "boosted-trees", "index-threshold", "merge"
FROM = "recipe:"
"""``model.init`` with this before a recipe's name starts from that recipe's model of the same fold
and seed; both recipes are of one experiment."""
RECORD = "record.json"
_SCORING = {"threshold", "test_flips", "test_zoom"}


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        folds: indices of the folds held out in turn; empty: no folds, the ``test`` split of each
            recipe's own data set is scored and its ``train`` split learnt from.
        of: number of folds the sites are dealt into.
        fold_seed: seed of the deal.
        seeds: training seeds; every recipe runs every fold with every seed.
        keep_checkpoints: keep optimiser states of finished runs (large).
    """

    folds: tuple[int, ...]
    of: int = 5
    fold_seed: int = 42
    seeds: tuple[int, ...] = (0,)
    keep_checkpoints: bool = False


def experiment(
    recipes: Sequence[Recipe],
    *,
    plan: Plan,
    out: Path,
    hardware: Hardware = AUTO,
    progress: Progress = SILENT,
    against: str | None = None,
) -> tuple[Row, ...]:
    """Run every recipe on every fold with every seed, and write one table.

    Each run lies in ``out/<recipe>/fold<k>-seed<s>`` (``split-seed<s>`` without folds) and leaves a
    ``record.json`` with the confusion matrix of every chip that was held out. A finished run is
    not repeated; a killed one goes on from its checkpoint. Several processes may call this with
    the same arguments: each run is done by one of them, and all return the whole table.
    ``out/table.md``, ``table.csv`` and ``table.png`` hold pooled scores of all held-out chips
    together, the spread over folds and seeds, and the time; beside them scores as the papers
    count, what a recipe's paper reports, and, where ``data.coarse`` is given, the IoU with the
    coarse labels of what was held out.

    Args:
        recipes: named differently; each names its data set.
        plan: folds and seeds.
        out: folder of all runs and tables.
        hardware: Lightning's flags.
        progress: told of steps within a run.
        against: name of the recipe that the table compares the others with.

    Returns:
        One row a recipe.

    Raises:
        DatasetError: two recipes of one name, or nothing to score in a data set.
        RecipeError: a recipe starts from one, or merges one, that is not here.
        UnknownNameError: ``against`` is none of the recipes.
    """
    names = [recipe.name for recipe in recipes]
    if len(set(names)) != len(names):
        raise DatasetError(f"recipes must have different names; got {', '.join(names)}.")
    if against is not None and against not in names:
        raise UnknownNameError.of("recipe", against, names)
    held: list[FoldSection | None] = [
        FoldSection(index=fold, of=plan.of, seed=plan.fold_seed) for fold in plan.folds
    ]
    jobs = [
        _Job(recipe.name, recipe.with_data(fold=fold).with_train(seed=seed))
        for fold, seed, recipe in product(held or [None], plan.seeds, recipes)
    ]
    records: dict[str, dict[str, Any]] = {}
    _check_parents(jobs)
    crew = _Crew({job.key: job for job in jobs}, out, plan, hardware, progress)
    for job in share(jobs, out=out, name=lambda job: job.key):
        records[job.key] = crew.run(job)
        with writing_tables(out):
            rows = _rows(recipes, jobs, records, out)
            write_tables(rows, out, against=against)
    return rows


@dataclass(frozen=True)
class Merge:
    """Options of a recipe that makes one model of those of others, of the same fold and seed.

    Attributes:
        of: names of these recipes.
        weights: as in ``merge_bundles``.
    """

    of: tuple[str, ...]
    weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class _Job:
    """One run: a recipe with its fold and seed."""

    name: str
    recipe: Recipe

    @property
    def part(self) -> str:
        fold = self.recipe.data.fold
        where = "split" if fold is None else f"fold{fold.index}"
        return f"{where}-seed{self.recipe.train.seed}"

    @property
    def key(self) -> str:
        return f"{self.name}-{self.part}"

    @property
    def parents(self) -> tuple[str, ...]:
        """Keys of the runs whose models this one starts from, or merges."""
        model = self.recipe.model
        names: tuple[str, ...] = ()
        if model.architecture == MERGE:
            names = read_options(Merge, model.options, name=MERGE).of
        elif model.init.startswith(FROM):
            names = (model.init.removeprefix(FROM),)
        return tuple(f"{name}-{self.part}" for name in names)

    def folder(self, out: Path) -> Path:
        return out / self.name / self.part


@dataclass(frozen=True)
class _Crew:
    """Who runs jobs, those that they start from first."""

    jobs: Mapping[str, _Job]
    out: Path
    plan: Plan
    hardware: Hardware
    progress: Progress

    def run(self, job: _Job) -> dict[str, Any]:
        recipe = job.recipe
        bundles = []
        for parent in job.parents:
            first = self.jobs[parent]
            with holding(self.out, first.key):  # it may be another process that runs it
                self.run(first)
            bundles.append(str((first.folder(self.out) / "bundle").resolve()))
        if bundles:
            use: dict[str, Any] = {"init": bundles[0]}
            if recipe.model.architecture == MERGE:
                use = {"options": {**recipe.model.options, "of": bundles}}
            model = recipe.model.model_copy(update=use)
            recipe = recipe.model_copy(update={"model": model})
        return run_once(recipe, job.folder(self.out), self.plan, self.hardware, self.progress)


def _check_parents(jobs: Sequence[_Job]) -> None:
    """Every run that another one starts from is there, and none starts from itself.

    Raises:
        RecipeError: otherwise.
    """
    known = {job.key: job for job in jobs}
    for job in jobs:
        _follow(job, known, ())


def _follow(job: _Job, known: Mapping[str, _Job], path: tuple[str, ...]) -> None:
    if job.name in path:
        raise RecipeError(f"recipes {' -> '.join([*path, job.name])} start from one another.")
    for parent in job.parents:
        if parent not in known:
            name = parent.removesuffix(f"-{job.part}")
            raise RecipeError(
                f"recipe {job.name}: starts from recipe {name!r}, and no recipe of that name is in "
                "this experiment. Give its file too, or correct the model section."
            )
        _follow(known[parent], known, (*path, job.name))


def _rows(
    recipes: Sequence[Recipe], jobs: Sequence[_Job], records: dict[str, dict[str, Any]], out: Path
) -> tuple[Row, ...]:
    """Sum up what is finished, by this process or another; adds the others' to ``records``."""
    for job in jobs:
        if job.key not in records and (found := _finished(job.recipe, job.folder(out))):
            records[job.key] = found
    rows = []
    for recipe in recipes:
        own = [records[j.key] for j in jobs if j.name == recipe.name and j.key in records]
        if own:
            rows.append(Row.of(recipe, own, dataset=Path(recipe.data.dataset).name))
    return tuple(rows)


def _finished(recipe: Recipe, folder: Path) -> dict[str, Any] | None:
    """Read the record of a finished run, unless its model is to be used in another way now."""
    path = folder / RECORD
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found if found.get("output") == _use_of(recipe) else None


def _use_of(recipe: Recipe) -> dict[str, Any]:
    """What a recipe says about how its model is used."""
    return recipe.output.model_dump(mode="json", include=_SCORING)


def run_once(
    recipe: Recipe, folder: Path, plan: Plan, hardware: Hardware, progress: Progress
) -> dict[str, Any]:
    """Train and score one fold, or read what an earlier call found.

    The output section of a recipe says how a trained model is used: when only it has changed,
    the model is scored again but not trained again.
    """
    found = _finished(recipe, folder)
    if found is not None:
        return found
    dataset = open_labelled(recipe.data)
    _test_parts(dataset, recipe)  # before hours of training
    if recipe.model.architecture in BASELINES:
        record = BASELINES[recipe.model.architecture](recipe, dataset)
    elif recipe.model.architecture == MERGE:
        record = _merged(recipe, dataset, folder)
    else:
        record = _network(recipe, dataset, folder, hardware, progress)
        if not plan.keep_checkpoints:
            (folder / CHECKPOINT).unlink(missing_ok=True)
    record |= {"recipe": recipe.name, "seed": recipe.train.seed, "output": _use_of(recipe)}
    if recipe.data.fold is not None:
        record["fold"] = recipe.data.fold.index
    write_json(folder / RECORD, record)
    return record


def _network(
    recipe: Recipe, dataset: ChipDataset, folder: Path, hardware: Hardware, progress: Progress
) -> dict[str, Any]:
    resume = (folder / "recipe.yaml").is_file()
    result = train(recipe, out=folder, resume=resume, hardware=hardware, progress=progress)
    return _scored(load_bundle(result.bundle), recipe, dataset) | {
        "seconds": result.metrics["seconds"],
        "parameters": result.metrics["parameters"],
        "trained_parameters": result.metrics.get("trained_parameters"),
    }


def _merged(recipe: Recipe, dataset: ChipDataset, folder: Path) -> dict[str, Any]:
    """Make one model of several, keep it, and score it."""
    began = time.perf_counter()
    options = read_options(Merge, recipe.model.options, name=MERGE)
    bundle = merge_bundles(options.of, name=recipe.output.name, weights=options.weights)
    use = recipe.output
    bundle = bundle.with_options(threshold=use.threshold, test_flips=use.test_flips)
    save_bundle(bundle, folder / "bundle")
    count = sum(parameter.numel() for parameter in bundle.network.parameters())
    return _scored(bundle, recipe, dataset) | {
        "seconds": round(time.perf_counter() - began, 1),
        "parameters": count,
        "trained_parameters": 0,
    }


def _scored(bundle: Bundle, recipe: Recipe, dataset: ChipDataset) -> dict[str, Any]:
    """Count hits and misses of a model, used as its recipe says, on what was held out."""
    output = recipe.output
    bundle = bundle.with_options(
        threshold=output.threshold, test_flips=output.test_flips, test_zoom=output.test_zoom
    )
    parts = _test_parts(dataset, recipe)
    plain = bundle.with_options(test_flips=1, test_zoom=1.0)
    found = evaluate_chips(bundle, dataset, parts.test)
    once = found if plain.spec == bundle.spec else evaluate_chips(plain, dataset, parts.test)
    coarse = _on_coarse(bundle, dataset, recipe) if recipe.data.coarse else {}
    return {
        **coarse,
        "classes": list(found.classes.names),
        "chips": [
            told | {"boundary": list(result.boundary)}
            for told, result in zip(
                _per_chip(found.confusions, parts.test), found.chips, strict=True
            )
        ],
        "chips_one_view": _per_chip(once.confusions, parts.test),
    }


def _on_coarse(bundle: Bundle, dataset: ChipDataset, recipe: Recipe) -> dict[str, Any]:
    """Score a model by the coarse labels of the sites held out: what it has forgotten of them."""
    sites = {chip.site for chip in _test_parts(dataset, recipe).test}
    other = open_labelled(recipe.data, coarse=True)
    chips = tuple(chip for chip in other.chips(None) if chip.site in sites)
    found = evaluate_chips(bundle, other, chips)
    return {"chips_coarse": _per_chip(found.confusions, chips)}


def _test_parts(dataset: ChipDataset, recipe: Recipe) -> Parts:
    parts = choose_parts(dataset, recipe.data)
    if not parts.test:
        raise DatasetError(
            f"{dataset.root}: no chip to score recipe {recipe.name} on. Give folds, or a data set "
            "with a test split."
        )
    return parts


def _trees(recipe: Recipe, dataset: ChipDataset) -> dict[str, Any]:
    parts = _test_parts(dataset, recipe)
    began = time.perf_counter()
    confusions = boosted_trees_fold(
        dataset, train_chips=parts.train, test_chips=parts.test, seed=recipe.train.seed
    )
    return _baseline_record(confusions, parts, began)


def _thresholds(recipe: Recipe, dataset: ChipDataset) -> dict[str, Any]:
    options = read_options(IndexThreshold, recipe.model.options, name=THRESHOLD)
    parts = _test_parts(dataset, recipe)
    began = time.perf_counter()
    confusions, limit = threshold_fold(
        dataset, train_chips=parts.train, test_chips=parts.test, options=options
    )
    return _baseline_record(confusions, parts, began) | {"threshold": limit}


BASELINES = {TREES: _trees, THRESHOLD: _thresholds}
"""Architectures that are no networks, and that ``train`` does not build."""


def _baseline_record(confusions: Sequence[Counts], parts: Parts, began: float) -> dict[str, Any]:
    per_chip = _per_chip(confusions, parts.test)
    seconds = round(time.perf_counter() - began, 1)
    return {"chips": per_chip, "chips_one_view": per_chip, "seconds": seconds, "parameters": 0}


def _per_chip(confusions: Sequence[Counts], chips: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {"site": chip.site, "chip": chip.image.name, "confusion": np.asarray(counts).tolist()}
        for chip, counts in zip(chips, confusions, strict=True)
    ]
