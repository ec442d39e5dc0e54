"""``headframe underground train-sam``: a SAM that is told boxes and classes."""

from pathlib import Path
from typing import Annotated

import typer


def train_sam(
    recipe: Annotated[Path, typer.Argument(help="Recipe of a SAM told boxes, a YAML file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder to write.")],
    *,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Folders with instances.json and images/, in place of the recipe's."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, gpu")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train SAM's mask decoder and class tokens on true masks, with jittered boxes.

    Photographs are embedded once; the run folder keeps the embeddings.

    Examples:

        headframe underground train-sam recipes/dis-mine/person/sam.yaml --data pennfudan -o run

        headframe underground train-sam recipes/dis-mine/person/sam.yaml -o run --resume
    """
    from headframe.cli.console import emit_json, progress, say, table
    from headframe.engine.box_sam import train_box_sam
    from headframe.engine.box_sam_recipe import load_box_sam_recipe

    chosen = load_box_sam_recipe(recipe)
    if data:
        chosen = chosen.with_photographs(sources=[str(path) for path in data])
    with progress() as shown:
        result = train_box_sam(chosen, out=out, resume=resume, accelerator=device, progress=shown)
    if as_json:
        emit_json({"bundle": out / "bundle", **result})
        return
    table("Trained", ("figure", "value"), [(key, str(value)) for key, value in result.items()])
    say(f"SAM: {out / 'bundle'}")
