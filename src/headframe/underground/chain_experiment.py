"""Comparisons of chains: detectors trained by folds, what they found kept, one table of it."""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

from headframe.core.errors import DatasetError
from headframe.core.progress import SILENT, Progress
from headframe.datasets.photographs import InstancePhotograph
from headframe.engine.detector_bundle import on_device, read_detector
from headframe.engine.detector_data import Prepare, build_prepare, views_in_light
from headframe.engine.detector_recipe import DetectorRecipe
from headframe.engine.detector_training import read_parts, train_detector
from headframe.engine.shared_runs import share, writing_tables
from headframe.engine.validation import Watch
from headframe.metrics.instances import InstanceEvaluation
from headframe.models.detector import Detector
from headframe.underground.chain import Chain, ChainOptions
from headframe.underground.chain_curves import draw_curves, measure
from headframe.underground.chain_found import (
    Entries,
    add_found,
    entries_of,
    read_found,
    write_found,
)
from headframe.underground.chain_panels import draw_panels
from headframe.underground.chain_parts import (
    Desk,
    Run,
    Sams,
    build_chains,
    build_sams,
    detector_recipe,
    found_by,
    fusion_of,
)
from headframe.underground.chain_plan import ChainPlan, PlanRecipes
from headframe.underground.chain_table import LightRow, write_tables
from headframe.underground.drawn_sources import held_out_is_drawn


def compare_chains(
    plan: ChainPlan,
    recipes: PlanRecipes,
    *,
    out: Path,
    folds: Sequence[int] = (),
    seeds: Sequence[int] = (0,),
    accelerator: str = "auto",
    progress: Progress = SILENT,
) -> list[LightRow]:
    """Train, look and score.

    Each detector's run lies in ``out/detectors``, those of SAMs and enhancers in ``out/sams`` and
    ``out/enhancers``, what each method found of the photographs held out in ``out/found`` as COCO
    results, and tables and pictures in ``out``. What is there is not done again; several processes
    may share ``out``.

    Args:
        plan: methods, photographs, lights.
        recipes: of the plan.
        out: folder of runs and tables.
        folds: those that are held out in turn; empty: all.
        seeds: training seeds.
        accelerator: Lightning's flag.
        progress: told of every step and photograph.

    Returns:
        A row a method and light, over all folds and seeds together.

    Raises:
        DatasetError: a fold that is none, photographs that cannot be divided so, or drawn ones
            among photographs in what is held out.
        RecipeError: a recipe, or the options of a fusion, that cannot be used.
    """
    chosen = tuple(folds) or plan.folds
    strange = sorted(set(chosen) - set(plan.folds))
    if strange:
        raise DatasetError(f"there is no fold {strange[0]} of {len(plan.folds)}; count from 0.")
    drawn = held_out_is_drawn(plan.photographs)
    runs = [Run(*each) for each in product(recipes.detectors, chosen, seeds)]
    desk = Desk(out, accelerator, progress)
    for run in share(runs, out=out, name=lambda run: run.key):
        _look(plan, recipes, run, desk)
    with writing_tables(out):
        tests = _tests(plan, runs)
        rows = _score(plan, runs, tests, out)
        write_tables(rows, out, plan=plan, drawn=drawn)
        draw_curves(plan, recipes, runs, out=out)
        first = runs[0]
        draw_panels(plan, tests[first.fold], out, found=lambda n, s: found_file(out, n, first, s))
    return rows


def _look(plan: ChainPlan, recipes: PlanRecipes, run: Run, desk: Desk) -> None:
    """Train one detector and keep what every method on it finds."""
    methods = [name for name, method in plan.methods.items() if method.detector == run.recipe]
    if all(
        found_file(desk.out, name, run, light).is_file()
        for name, light in product(methods, plan.light.test)
    ):
        return
    for name in methods:
        fusion_of(plan.methods[name])  # what it cannot read is told before training
    recipe = detector_recipe(plan, recipes, run, desk=desk)
    sams = build_sams(plan, recipes, run, recipe=recipe, desk=desk)
    folder = desk.run_folder(run)
    train_detector(
        recipe,
        out=folder,
        resume=True,
        accelerator=desk.accelerator,
        watching=_watching(plan, recipe, methods, sams),
        progress=desk.progress,
    )
    bundle = on_device(read_detector(folder), desk.device)
    base = _base(bundle.detector, bundle.categories, build_prepare(bundle.prepare), run.key)
    chains = build_chains(plan, base, methods, sams)
    test = read_parts(recipe.photographs, progress=desk.progress).test
    views = views_in_light(test, plan.light)
    desk.progress.start(f"Looking with {run.key}", len(test) * len(views))
    for light, photographs in views.items():
        entries: dict[str, Entries] = {name: [] for name in chains}
        for photograph in photographs:
            for name, found in found_by(chains, base, photograph):
                entries[name] += entries_of(photograph.name, found)
            desk.progress.advance()
        for name, found_entries in entries.items():
            write_found(found_file(desk.out, name, run, light), found_entries)
    desk.progress.finish()


def _base(detector: Detector, categories: tuple[str, ...], prepare: Prepare, name: str) -> Chain:
    """Make a chain of a detector alone, on photographs that are reduced already."""
    options = ChainOptions(short_side_px=0)
    return Chain(detector, categories, prepare, options=options, name=name)


def _watching(
    plan: ChainPlan, recipe: DetectorRecipe, methods: Sequence[str], sams: Sams
) -> Callable[[Detector], Watch] | None:
    """Say how all methods on a detector are measured while it trains; None: not at all."""
    if not plan.curves.every:
        return None

    def watching(detector: Detector) -> Watch:
        categories = recipe.photographs.categories
        base = _base(detector, categories, build_prepare(recipe.prepare), recipe.name)
        chains = build_chains(plan, base, methods, sams)
        held = read_parts(recipe.photographs).test
        return Watch(plan.curves.every, lambda: measure(plan, chains, base, held))

    return watching


def found_file(out: Path, method: str, run: Run, light: float) -> Path:
    """Give the file of what a method found in one light on what a run held out."""
    return out / "found" / method / f"{run.place}-light{light:g}.json"


def _tests(plan: ChainPlan, runs: Sequence[Run]) -> dict[int, list[InstancePhotograph]]:
    """Read what each fold holds out."""
    folds = dict.fromkeys(run.fold for run in runs)
    return {
        fold: read_parts(plan.part(fold).model_copy(update={"more": ()})).test for fold in folds
    }


def _score(
    plan: ChainPlan,
    runs: Sequence[Run],
    tests: dict[int, list[InstancePhotograph]],
    out: Path,
) -> list[LightRow]:
    """Score all that was found; photographs of all runs count together."""
    classes = {name: n for n, name in enumerate(plan.photographs.categories, start=1)}
    rows = []
    for name, light in product(plan.methods, plan.light.test):
        evaluation = InstanceEvaluation(classes)
        for run in runs:
            if plan.methods[name].detector == run.recipe:
                add_found(
                    evaluation, tests[run.fold], read_found(found_file(out, name, run, light))
                )
        rows.append(LightRow(name, light, evaluation))
    return rows
