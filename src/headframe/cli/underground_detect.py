"""``headframe underground train-detector`` and ``compare``."""

from pathlib import Path
from typing import Annotated

import typer

_Data = Annotated[
    list[Path] | None,
    typer.Option("--data", help="Folder with instances.json and images/; repeat it."),
]
_Accelerator = Annotated[str, typer.Option(help="Lightning's flag: auto, cpu, gpu.")]


def train_detector(
    recipe: Annotated[Path, typer.Argument(help="Recipe of a detector, a YAML file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder to write.")],
    data: _Data = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed; replaces the recipe's.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps; replaces the recipe's.")] = None,
    accelerator: _Accelerator = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a detector of objects on labelled photographs, seen in many lights.

    Examples:

        headframe underground train-detector recipes/dis-mine/person.yaml --data people --out runs/p

        headframe underground train-detector recipes/dis-mine/person.yaml --out runs/p --resume
    """
    from headframe.cli import console
    from headframe.engine.detector_recipe import load_detector_recipe
    from headframe.engine.detector_training import train_detector as run

    chosen = load_detector_recipe(recipe)
    if data:
        chosen = chosen.with_photographs(sources=[str(path) for path in data])
    changes = {"seed": seed, "steps": steps}
    chosen = chosen.with_train(**{k: v for k, v in changes.items() if v is not None})
    with console.progress() as progress:
        found = run(chosen, out=out, resume=resume, accelerator=accelerator, progress=progress)
    if as_json:
        console.emit_json({"bundle": str(out / "bundle"), **found})
        return
    console.table("Trained", ("figure", "value"), [(k, str(v)) for k, v in found.items()])
    console.say(f"Detector: {out / 'bundle'}")


def compare(
    plan: Annotated[Path, typer.Argument(help="Plan of the comparison, a YAML file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of runs and tables.")],
    data: _Data = None,
    only_fold: Annotated[
        list[int] | None, typer.Option(help="Hold out only this fold, from 0; repeat it.")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Training seeds; repeat it.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of every detector and SAM.")] = None,
    more: Annotated[
        list[Path] | None, typer.Option(help="Labels that are only learnt from; repeat it.")
    ] = None,
    held: Annotated[
        list[Path] | None, typer.Option(help="Labels that are held out, instead of folds.")
    ] = None,
    bright: Annotated[
        list[Path] | None, typer.Option(help="The photographs of --data in good light.")
    ] = None,
    curves: Annotated[
        int | None, typer.Option(help="Measure all methods every so many steps; 0: never.")
    ] = None,
    accelerator: _Accelerator = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Train and compare chains on photographs held out, in several lights.

    A plan names detectors, SAMs and fusions. Runs that are there are not done again; a stopped
    one goes on.

    Examples:

        headframe underground compare recipes/dis-mine/person/plan.yaml --data people --out compared

        headframe underground compare plan.yaml --out compared --only-fold 0 --seed 0 --seed 1

        headframe underground compare recipes/dis-mine/lis/plan.yaml --data dark.json
        --held test.json --bright normal.json --curves 500 --out lis
    """
    from headframe.cli import console
    from headframe.underground.chain_experiment import compare_chains
    from headframe.underground.chain_plan import load_plan

    chosen, recipes = load_plan(plan)
    chosen = chosen.with_sources(
        _texts(data), more=_texts(more), held=_texts(held), bright=_texts(bright)
    )
    if curves is not None:
        chosen = chosen.with_curves(curves)
    if steps is not None:
        recipes = recipes.with_steps(steps)
    with console.progress() as progress:
        rows = compare_chains(
            chosen,
            recipes,
            out=out,
            folds=only_fold or (),
            seeds=seed or (0,),
            accelerator=accelerator,
            progress=progress,
        )
    if as_json:
        console.emit_json([{"method": r.method, "light": r.light, **r.report.mean} for r in rows])
        return
    names = ("mask_ap", "mask_ap50", "f1", "iou")
    console.table(
        f"{chosen.name}: photographs held out",
        ("method", "light", "AP", "AP50", "F1", "mIoU"),
        [(r.method, f"{r.light:g}", *(f"{r.report.mean[n]:.3f}" for n in names)) for r in rows],
    )
    written = [n for n in ("table.md", "table.csv", "table.png", "panels.png", "curves.png")
               if (out / n).is_file()]  # fmt: skip
    console.say(f"{out}: {', '.join(written)}")


def _texts(paths: list[Path] | None) -> list[str]:
    return [str(path) for path in paths or ()]
