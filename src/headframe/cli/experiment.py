"""`headframe experiment`: a set of recipes, by folds and seeds, in one table."""

from pathlib import Path
from typing import Annotated

import typer


def experiment(
    recipes: Annotated[list[Path], typer.Argument(help="Recipes, YAML files.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of runs and tables.")],
    dataset: Annotated[
        Path | None, typer.Option("--data", help="Data set; replaces the recipes'.")
    ] = None,
    folds: Annotated[int, typer.Option(help="Folds the sites are dealt into.")] = 5,
    only_fold: Annotated[
        list[int] | None, typer.Option("--only-fold", help="Run these folds only, from 0.")
    ] = None,
    own_split: Annotated[
        bool, typer.Option("--own-split", help="No folds: train and test splits of the data set.")
    ] = False,
    fold_seed: Annotated[int, typer.Option(help="Seed of the deal into folds.")] = 42,
    seed: Annotated[list[int] | None, typer.Option(help="Training seeds; repeat it.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of every run.")] = None,
    accelerator: Annotated[str, typer.Option(help="Lightning's flag: auto, cpu, gpu.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Run recipes on folds by site and write one table with the spread.

    Recipes that stand for a row of a paper get its figures beside ours.

    Examples:

        headframe experiment recipes/tailings/*.yaml --data DS --out runs/ablation

        headframe experiment recipes/tailings/*.yaml --data DS --out screen --only-fold 0

        headframe experiment recipes/components/table3/*.yaml --data DS --out t3 --own-split
    """
    from headframe.cli import console
    from headframe.engine.experiment import Plan
    from headframe.engine.experiment import experiment as run_experiment
    from headframe.engine.recipe import load_recipe
    from headframe.engine.training import Hardware

    chosen = [load_recipe(path) for path in recipes]
    if dataset is not None:
        chosen = [recipe.with_data(dataset=str(dataset)) for recipe in chosen]
    if steps is not None:
        chosen = [recipe.with_train(steps=steps) for recipe in chosen]
    plan = Plan(
        folds=() if own_split else tuple(only_fold or range(folds)),
        of=folds,
        fold_seed=fold_seed,
        seeds=tuple(seed or (0,)),
    )
    with console.progress() as progress:
        rows = run_experiment(
            chosen, plan=plan, out=out, hardware=Hardware(accelerator), progress=progress
        )
    if as_json:
        console.emit_json([row.flat() for row in rows])
        return
    ranked = sorted(rows, key=lambda row: row.iou, reverse=True)
    console.table(
        "On the test split" if own_split else "Out of fold",
        ("recipe", "runs", "pooled IoU", "95 % over sites", "precision", "recall", "s a run"),
        [
            (
                row.recipe,
                str(row.runs),
                f"{row.iou:.3f}",
                f"{row.low:.3f}-{row.high:.3f}",
                f"{row.precision:.3f}",
                f"{row.recall:.3f}",
                f"{row.seconds:.0f}",
            )
            for row in ranked
        ],
    )
    console.say(f"Tables: {out / 'table.md'}, {out / 'table.csv'}, {out / 'table.png'}")
