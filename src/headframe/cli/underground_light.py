"""`headframe underground darken` and `train-enhancer`: darkness, and what learns from it."""

from pathlib import Path
from typing import Annotated

import typer


def darken(
    sources: Annotated[
        list[Path], typer.Argument(metavar="IMAGES...", help="Bright photographs, folders.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write PNG files into.")],
    way: Annotated[
        str, typer.Option(help="camera: less light; paper: DIS-Mine's; sensor: ISD's noise.")
    ] = "camera",
    light: Annotated[float, typer.Option(help="Share of the light left, for camera.")] = 0.03,
    seed: Annotated[int, typer.Option(help="Decides all noise, with a file's name.")] = 0,
    brightest: Annotated[float, typer.Option(help="Share of the photographs kept.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make bright photographs dark, the same way every time.

    Examples:

        headframe underground darken photographs --light 0.01 --out dark

        headframe underground darken photographs --way paper --brightest 0.5 --out dark
    """
    from headframe.cli.console import emit_json, progress, say
    from headframe.underground.darken import DarkenOptions, darken_files

    options = DarkenOptions(way=way, light=light, seed=seed, brightest=brightest)
    with progress() as shown:
        written = darken_files(sources, out=out, options=options, progress=shown)
    if as_json:
        emit_json({"out": out, "files": written})
        return
    say(f"{out}: {len(written)} photographs darkened ({way})")


def train_enhancer(
    recipe: Annotated[Path, typer.Argument(help="Recipe of an enhancer, a YAML file.")],
    sources: Annotated[
        list[Path], typer.Argument(metavar="IMAGES...", help="Bright photographs, folders.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder to write.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train an enhancer on photographs that are darkened on the way.

    Examples:

        headframe underground train-enhancer recipes/dis-mine/kind-s.yaml photos --out runs/kind-s
    """
    from headframe.cli.console import emit_json, progress, say, table
    from headframe.engine.enhance_recipe import load_enhance_recipe
    from headframe.engine.enhance_training import train_enhancer as run_training

    chosen = load_enhance_recipe(recipe)
    with progress() as shown:
        result = run_training(
            chosen, sources, out=out, resume=resume, device=device, progress=shown
        )
    if as_json:
        emit_json({"bundle": out / "bundle", **result})
        return
    table("Trained", ("figure", "value"), [(k, str(v)) for k, v in result.items()])
    say(f"Enhancer: {out / 'bundle'}")
