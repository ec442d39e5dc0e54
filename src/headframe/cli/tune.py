"""`headframe tune`: the best recipe of a space, by any number of processes."""

from pathlib import Path
from typing import Annotated

import typer


def tune(
    recipe: Annotated[Path, typer.Argument(help="Recipe that all trials start from, a YAML file.")],
    trials: Annotated[
        int, typer.Option("--trials", "-n", min=1, help="Trials, by all processes together.")
    ] = 50,
    storage: Annotated[
        str | None,
        typer.Option(help="Database the processes share; sqlite:///OUT/tune.db by default."),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(help="YAML of recipe keys and values; by default the paper's grid of 14,580."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write; runs/tune-RECIPE.")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option("--data", help="Data set; replaces the recipe's.")
    ] = None,
    as_paper: Annotated[
        bool, typer.Option("--as-paper", help="Maximise the TEST part, as the paper did.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the proposals.")] = 0,
    accelerator: Annotated[str, typer.Option(help="Lightning's flag: auto, cpu, gpu.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Search recipes for the one with the highest validation IoU.

    A killed search goes on with the same command. Start the command several times, on one
    --storage and one --out, and the processes share the trials.

    Examples:

        headframe tune recipes/tailings/fpn.yaml --data DS --space space.yaml --trials 20

        headframe tune RECIPE --data DS --trials 200 --storage sqlite:///tune.db --out runs/tune
    """
    from headframe.cli import console
    from headframe.engine.recipe import load_recipe
    from headframe.engine.space import load_space
    from headframe.engine.training import Hardware
    from headframe.engine.tune import ON_TEST, TunePlan
    from headframe.engine.tune import tune as run_tuning

    chosen = load_recipe(recipe)
    if dataset is not None:
        chosen = chosen.with_data(dataset=str(dataset))
    folder = out or Path("runs") / f"tune-{chosen.name}"
    plan = TunePlan(
        space=load_space(space),
        trials=trials,
        storage=storage or f"sqlite:///{folder / 'tune.db'}",
        seed=seed,
        as_paper=as_paper,
    )
    with console.progress() as progress:
        result = run_tuning(
            chosen, plan=plan, out=folder, hardware=Hardware(accelerator), progress=progress
        )
    if as_json:
        console.emit_json(result)
        return
    title = "Best trial, CHOSEN ON TEST" if as_paper else "Best trial"
    rows = [("trial", str(result.trial)), (result.measure, f"{result.value:.4f}")]
    rows += [(key, str(value)) for key, value in result.params.items()]
    console.table(title, ("figure", "value"), rows)
    console.say("Trials: " + ", ".join(f"{n} {name}" for name, n in result.states.items()))
    console.say(f"Best recipe: {result.best}")
    console.say(f"Table and pictures: {folder / 'trials.csv'}, {folder / 'history.png'}")
    if as_paper:
        console.say(ON_TEST)
