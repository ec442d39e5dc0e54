"""``headframe enhance``: dark photographs and videos made bright."""

from pathlib import Path
from typing import Annotated

import typer


def enhance(
    sources: Annotated[
        list[Path], typer.Argument(metavar="IMAGES...", help="Photographs, videos, folders.")
    ],
    model: Annotated[
        str,
        typer.Option(help="clahe, gamma, an enhancer's name or folder, KinD's or IAT's file."),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    ratio: Annotated[
        str | None, typer.Option(help="How much more light: a number, or auto by the image.")
    ] = None,
    guard: Annotated[
        bool | None,
        typer.Option("--guard/--no-guard", help="Spare the darkest and the brightest places."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Enhance dark photographs and videos.

    Photographs may have any size; large ones are worked in blocks that overlap. Files keep their
    names; a stopped run goes on where it was.

    Examples:

        headframe enhance frames --model kind-s --out bright

        headframe enhance a.jpg b.png --model kind-s --ratio 5 --guard --out bright

        headframe enhance shift.mp4 --model gamma --out bright
    """
    from headframe.cli.console import emit_json, progress, say
    from headframe.engine.enhancer_bundle import load_enhancer
    from headframe.underground.enhance import enhance_files

    enhancer = load_enhancer(model, ratio=ratio, guard=guard, device=device)
    settings = {"model": model, "ratio": ratio, "guard": guard}
    with progress() as shown:
        report = enhance_files(
            sources, enhancer=enhancer, out=out, settings=settings, progress=shown
        )
    if as_json:
        emit_json({"out": out, "enhancer": enhancer.name, **vars(report)})
        return
    more = f", {len(report.kept)} were there" if report.kept else ""
    failed = f", {len(report.failed)} could not be read" if report.failed else ""
    say(f"{out}: {len(report.written)} enhanced with {enhancer.name}{more}{failed}")
