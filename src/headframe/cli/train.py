"""`headframe train`: one model from one recipe."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe, a YAML file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder to write.")],
    dataset: Annotated[
        Path | None, typer.Option("--data", help="Data set; replaces the recipe's.")
    ] = None,
    coarse: Annotated[
        Path | None,
        typer.Option("--coarse", help="Coarse labels of the same sites, for data.labels."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed; replaces the recipe's.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps; replaces the recipe's.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="32-true, bf16-mixed or 16-mixed; replaces the recipe's. bf16-mixed halves the "
            "time on CPUs with AVX512-BF16 or AMX."
        ),
    ] = None,
    accelerator: Annotated[str, typer.Option(help="Lightning's flag: auto, cpu, gpu.")] = "auto",
    devices: Annotated[str, typer.Option(help="Lightning's flag: auto, 2, 0,1.")] = "auto",
    strategy: Annotated[str, typer.Option(help="Lightning's flag: auto, ddp, fsdp.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a model from a recipe into a run folder.

    Examples:

        headframe train recipes/tailings/fpn-lite2.yaml --data DS --out runs/unet

        headframe train recipes/tailings/fpn-lite2.yaml --data DS --out runs/unet --resume
    """
    from headframe.cli import console
    from headframe.engine.recipe import load_recipe
    from headframe.engine.training import Hardware
    from headframe.engine.training import train as run_training

    chosen = load_recipe(recipe)
    if dataset is not None:
        chosen = chosen.with_data(dataset=str(dataset))
    if coarse is not None:
        chosen = chosen.with_data(coarse=str(coarse))
    changes = {"seed": seed, "steps": steps, "precision": precision}
    chosen = chosen.with_train(**{k: v for k, v in changes.items() if v is not None})
    hardware = Hardware(accelerator=accelerator, devices=devices, strategy=strategy)
    with console.progress() as progress:
        result = run_training(chosen, out=out, resume=resume, hardware=hardware, progress=progress)
    if as_json:
        console.emit_json({"bundle": str(result.bundle), **result.metrics})
        return
    console.table("Trained", ("figure", "value"), [(k, str(v)) for k, v in result.metrics.items()])
    console.say(f"Model bundle: {result.bundle}")
    console.say(f"Pictures: {out / 'curves.png'}, {out / 'samples.png'}")
