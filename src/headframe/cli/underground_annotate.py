"""``headframe underground annotate``: labels for many photographs out of a few."""

from pathlib import Path
from typing import Annotated

import typer


def annotate(
    plan: Annotated[Path, typer.Argument(help="Plan of the annotation, a YAML file.")],
    *,
    images: Annotated[Path, typer.Option(help="Folder of all photographs.")],
    manual: Annotated[Path, typer.Option(help="COCO file of those labelled by hand.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
    prompts: Annotated[
        Path | None, typer.Option(help="COCO file of boxes and points for the rest.")
    ] = None,
    reviewed: Annotated[
        Path | None, typer.Option(help="COCO file of photographs whose labels you went over.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Replaces the plan's.")] = None,
    accelerator: Annotated[str, typer.Option(help="Lightning's flag: auto, cpu, gpu.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Label photographs with networks that learnt from those labelled by hand.

    A detector and SAM learn from the manual labels; SAM draws masks in the detector's boxes, or
    in yours; masks that pass the gates are labels; both learn again from all labels. Part of the
    manual photographs is held back, and nothing else is measured on.

    Writes instances.json with who drew what, masks.csv, review.csv, contact sheets and report.md.
    Write keep or drop into review.csv and run the same command again; after a kill too.

    Examples:

        headframe underground annotate recipes/dis-mine/annotate/plan.yaml --images frames
        --manual manual.json --out labelled

        headframe underground annotate plan.yaml --images frames --manual manual.json
        --prompts boxes.json --reviewed corrected.json --out labelled
    """
    from headframe.cli import console
    from headframe.underground.annotate.material import Sources
    from headframe.underground.annotate.plan import load_annotate_plan
    from headframe.underground.annotate.report import REPORT_MD
    from headframe.underground.annotate.run import AnnotateRecipes
    from headframe.underground.annotate.run import annotate as run

    chosen, detector, sam = load_annotate_plan(plan)
    if rounds is not None:
        chosen = chosen.with_rounds(rounds)
    with console.progress() as progress:
        report = run(
            Sources(images, manual, prompts, reviewed),
            AnnotateRecipes(chosen, detector, sam),
            out=out,
            accelerator=accelerator,
            progress=progress,
        )
    if as_json:
        console.emit_json(report)
        return
    names = ("photographs", "with_masks", "masks", "accepted", "review")
    console.table(
        "Masks",
        ("round", *names),
        [(row["round"], *(str(row[name]) for name in names)) for row in report["rounds"]],
    )
    figures = ("mask_ap", "mask_ap50", "f1", "iou")
    held = [
        (row["round"], row["method"], *(_shown(row[name]) for name in figures))
        for row in report["held"]
    ]
    titles = ("round", "method", "AP", "AP50", "F1", "mIoU")
    console.table("Manual photographs held back", titles, held)
    console.say(f"{out}: {report['to_review']} to review. Tables: {out / REPORT_MD}")


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
