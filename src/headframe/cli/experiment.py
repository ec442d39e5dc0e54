"""`headframe experiment`: a set of recipes, by folds and seeds, in one table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headframe.engine.experiment import Plan
    from headframe.engine.recipe import Recipe


def experiment(
    recipes: Annotated[list[Path], typer.Argument(help="Recipes, YAML files.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of runs and tables.")],
    dataset: Annotated[
        Path | None, typer.Option("--data", help="Data set; replaces the recipes'.")
    ] = None,
    coarse: Annotated[
        Path | None,
        typer.Option("--coarse", help="Coarse labels of the same sites, for data.labels."),
    ] = None,
    label_share: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=1, help="Share of the training sites with fine labels, for all recipes."
        ),
    ] = None,
    folds: Annotated[int, typer.Option(help="Folds the sites are dealt into.")] = 5,
    only_fold: Annotated[
        list[int] | None, typer.Option("--only-fold", help="Run these folds only, from 0.")
    ] = None,
    own_split: Annotated[
        bool, typer.Option("--own-split", help="No folds: train and test splits of the data set.")
    ] = False,
    by_fact: Annotated[
        str | None,
        typer.Option(help="Fact of the sites: one general model against one for each value."),
    ] = None,
    by_looks: Annotated[
        bool,
        typer.Option(
            "--by-looks",
            help="Chips without coordinates that show the same ground, told by their looks, go "
            "into one fold.",
        ),
    ] = False,
    fold_seed: Annotated[int, typer.Option(help="Seed of the deal into folds.")] = 42,
    seed: Annotated[list[int] | None, typer.Option(help="Training seeds; repeat it.")] = None,
    against: Annotated[
        str | None, typer.Option(help="Name of the recipe that the others are compared with.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of every run.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="32-true, bf16-mixed or 16-mixed; replaces the recipes'. bf16-mixed halves the "
            "time on CPUs with AVX512-BF16 or AMX."
        ),
    ] = None,
    accelerator: Annotated[str, typer.Option(help="Lightning's flag: auto, cpu, gpu.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Run recipes on folds by site and write one table with the spread.

    Recipes that stand for a row of a paper get its figures beside ours. The same command in
    several shells shares the runs among them; after a kill it goes on.

    Examples:

        headframe experiment recipes/tailings/*.yaml --data DS --out runs/ablation

        headframe experiment recipes/tailings/*.yaml --data DS --out screen --only-fold 0

        headframe experiment recipes/components/table3/*.yaml --data DS --out t3 --own-split

        headframe experiment recipes/minec2fnet/*.yaml --data DS --coarse COARSE --label-share 0.25
            --against c2f-fine-tune --out c2f

        headframe experiment general.yaml --data DS --out t4 --own-split --by-fact material
    """
    from headframe.cli import console
    from headframe.engine.experiment import Plan
    from headframe.engine.experiment import experiment as run_experiment
    from headframe.engine.recipe import load_recipe
    from headframe.engine.training import Hardware

    chosen = [load_recipe(path) for path in recipes]
    if dataset is not None:
        chosen = [recipe.with_data(dataset=str(dataset)) for recipe in chosen]
    if coarse is not None:
        chosen = [recipe.with_data(coarse=str(coarse)) for recipe in chosen]
    if label_share is not None:
        chosen = [recipe.with_data(label_share=label_share) for recipe in chosen]
    if by_looks:
        chosen = [recipe.with_data(same_ground="looks") for recipe in chosen]
    changes = {k: v for k, v in (("steps", steps), ("precision", precision)) if v is not None}
    chosen = [recipe.with_train(**changes) for recipe in chosen]
    plan = Plan(
        folds=() if own_split else tuple(only_fold or range(folds)),
        of=folds,
        fold_seed=fold_seed,
        seeds=tuple(seed or (0,)),
    )
    if by_fact is not None:
        _compare(chosen, by_fact, plan=plan, out=out, accelerator=accelerator, as_json=as_json)
        return
    with console.progress() as progress:
        rows = run_experiment(
            chosen,
            plan=plan,
            out=out,
            hardware=Hardware(accelerator),
            progress=progress,
            against=against,
        )
    if as_json:
        console.emit_json([row.flat() for row in rows])
        return
    ranked = sorted(rows, key=lambda row: row.iou, reverse=True)
    clouds = all(row.cloud_free_iou is not None for row in rows)
    console.table(
        "On the test split" if own_split else "Out of fold",
        (
            "recipe",
            "runs",
            "pooled IoU",
            "95 % over sites",
            "precision",
            "recall",
            *(["target, no cloud"] if clouds else []),
            "s a run",
        ),
        [
            (
                row.recipe,
                str(row.runs),
                f"{row.iou:.3f}",
                row.interval,
                f"{row.precision:.3f}",
                f"{row.recall:.3f}",
                *([f"{row.cloud_free_iou:.3f}"] if clouds else []),
                f"{row.seconds:.0f}",
            )
            for row in ranked
        ],
    )
    console.say(f"Tables: {out / 'table.md'}, {out / 'table.csv'}, {out / 'table.png'}")


def _compare(
    recipes: "list[Recipe]",
    fact: str,
    *,
    plan: "Plan",
    out: Path,
    accelerator: str,
    as_json: bool,
) -> None:
    """Compare a general model with one for each value of a fact; print the table."""
    from headframe.cli import console
    from headframe.engine.by_fact import compare_by_fact, difference_told, folder_name
    from headframe.engine.training import Hardware

    if len(recipes) != 1:
        raise typer.BadParameter("give one recipe, the general model's.", param_hint="--by-fact")
    with console.progress() as progress:
        rows = compare_by_fact(
            recipes[0],
            fact,
            plan=plan,
            out=out,
            hardware=Hardware(accelerator),
            progress=progress,
        )
    if as_json:
        console.emit_json([row.flat() for row in rows])
        return
    names = ("iou", "recall", "precision", "accuracy")
    console.table(
        f"{recipes[0].name}: own model / general model on the test sites of each {fact}",
        (fact, "sites", *names, "IoU, own - general (95 %)"),
        [
            (
                row.value,
                row.sites,
                *(f"{row.own[n]:.3f} / {row.general[n]:.3f}" for n in names),
                difference_told(row),
            )
            for row in rows
        ],
    )
    stem = f"by-{folder_name(fact)}"
    console.say(f"Tables: {out / f'{stem}.md'}, {out / f'{stem}.csv'}")
