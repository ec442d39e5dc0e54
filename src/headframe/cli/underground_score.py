"""``headframe underground score`` and ``classes``: figures of what was found, class by class."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def score(
    found: Annotated[
        Path, typer.Argument(help="Folder of underground segment, or its instances.json.")
    ],
    *,
    truth: Annotated[
        Path | None, typer.Option(help="Labels: a COCO file, or a folder with instances.json.")
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="Or a picture whose colours are classes.")] = (
        None
    ),
    colour: Annotated[
        list[str] | None, typer.Option(help="Of --mask: extinguisher=red; repeat it.")
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Photograph that --mask is of, where there are several.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Score only this class; repeat it.")
    ] = None,
    merge: Annotated[
        list[str] | None, typer.Option(help="Join classes on both sides: a+b=c; repeat it.")
    ] = None,
    score: Annotated[float, typer.Option(help="Objects of at least this score count, 0-1.")] = 0.5,
    out: Annotated[Path | None, typer.Option(help="Folder for score.json and score.md.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score what was found against labels, or against a mask of colours.

    segment leaves objects below its own --score out: for average precision segment with
    --score 0.05.

    Examples:

        headframe underground score found --truth people/instances.json --out scored

        headframe underground score found --mask label.png --colour extinguisher=red
        --colour backpack=lime --colour drill=blue --merge extinguisher+backpack+drill=equipment
    """
    from headframe.cli import console
    from headframe.core.errors import InputError
    from headframe.datasets.coco import read_coco
    from headframe.engine.detector_training import labels_of
    from headframe.underground import score as scoring

    if (truth is None) == (mask is None):
        raise InputError("give --truth LABELS or --mask PICTURE, one of them.")
    if mask is not None:
        pairs = [text.partition("=") for text in colour or ()]
        if not pairs or any(not (name and value) for name, _, value in pairs):
            raise InputError("--mask needs its colours: --colour extinguisher=red.")
        colours = {name: value for name, _, value in pairs}
        labels = scoring.mask_truth(mask, colours, name=image or scoring.sole_image(found))
    else:
        labels = read_coco(labels_of(str(truth)))
    options = scoring.ScoreOptions(score, tuple(only or ()), tuple(merge or ()))
    report = scoring.score_found(found, labels, options)
    if out is not None:
        scoring.write_score(report, out)
    if as_json:
        console.emit_json(report.to_json())
        return
    heads = ("class", "true", "found", "hit", "AP", "AP50", "P", "R", "F1", "pixel F1", "IoU")
    console.table(f"{found}", heads, list(scoring.score_rows(report)))
    told = ", ".join(f"{count} {name}" for name, count in report.left_out.items())
    if told:
        console.say(f"Found and not scored: {told}")


def classes(
    plan: Annotated[Path, typer.Argument(help="Plan of a comparison, a YAML file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of runs and tables.")],
    *,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="Folder with instances.json and images/; repeat it."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Method of the plan that is trained; else its last.")
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(help="Train without this class, or several: people+equipment; repeat it."),
    ] = None,
    merge: Annotated[
        list[str] | None, typer.Option(help="Train with road+wall+roof=surrounding; repeat it.")
    ] = None,
    only_fold: Annotated[
        list[int] | None, typer.Option(help="Hold out only this fold, from 0; repeat it.")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Training seeds; repeat it.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of detectors and SAMs.")] = None,
    accelerator: Annotated[str, typer.Option(help="Lightning's flag: auto, cpu, gpu.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Train one method with all classes, without each of them, and with some joined.

    Without --remove and --merge: each class is left out once, people, equipment and corridor
    together, and road, wall and roof are joined, as in the paper's Table III. One training each.

    Examples:

        headframe underground classes recipes/dis-mine/tunnel/plan.yaml --data drawn --out removed

        headframe underground classes plan.yaml --data drawn --remove people --only-fold 0 --out r
    """
    from headframe.cli import console
    from headframe.underground.chain_plan import load_plan
    from headframe.underground.class_removal import ClassChoice, compare_classes

    chosen, recipes = load_plan(plan)
    chosen = chosen.with_sources([str(path) for path in data or ()])
    if steps is not None:
        recipes = recipes.with_steps(steps)
    choice = ClassChoice(
        method,
        tuple(remove or ()),
        tuple(merge or ()),
        folds=tuple(only_fold or ()),
        seeds=tuple(seed or (0,)),
    )
    with console.progress() as progress:
        rows = compare_classes(
            chosen, recipes, out=out, choice=choice, accelerator=accelerator, progress=progress
        )
    if as_json:
        console.emit_json(
            [{"variant": r.variant, "light": r.light, "classes": r.report.per_class} for r in rows]
        )
        return
    lines = [
        (row.variant, f"{row.light:g}", name, f"{measures['f1']:.3f}", f"{measures['iou']:.3f}")
        for row in rows
        for name, measures in row.report.per_class.items()
    ]
    console.table(f"{chosen.name}: classes", ("variant", "light", "class", "F1", "IoU"), lines)
    console.say(f"Tables: {out / 'classes.md'}, {out / 'classes.csv'}, {out / 'classes.png'}")
