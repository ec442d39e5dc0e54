"""`headframe evaluate`: how good a model is on a labelled data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headframe.cli.scene_options import band_names

if TYPE_CHECKING:
    from headframe.engine.evaluation import Evaluation


def evaluate(
    model: Annotated[str, typer.Argument(help="Shipped name, bundle or run folder, or hf://…")],
    dataset: Annotated[Path, typer.Argument(help="Data set folder with images and labels.")],
    split: Annotated[
        str, typer.Option(help="auto, train, val, test or all; auto: test of its own data set.")
    ] = "auto",
    by: Annotated[
        str | None, typer.Option(help="site: one row a site and class, and a picture a site.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for scores.json and panels.png.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Score from which a pixel is the target.")
    ] = None,
    flips: Annotated[
        int | None, typer.Option(help="Turned and mirrored views averaged: 1, 2, 4 or 8.")
    ] = None,
    own_gsd: Annotated[
        bool, typer.Option("--own-gsd", help="Show images at the pixel size the model learnt.")
    ] = False,
    boundary_px: Annotated[
        int, typer.Option(min=1, help="Width of the boundary of boundary IoU, pixels.")
    ] = 3,
    attention: Annotated[
        bool, typer.Option("--attention", help="Also draw what the network attends to; with --out.")
    ] = False,
    where: Annotated[
        list[str] | None, typer.Option(help="Only sites with this fact: material=RR; repeat it.")
    ] = None,
    sensor: Annotated[
        str | None, typer.Option(help="Sensor of a folder without dataset.json.")
    ] = None,
    bands: Annotated[
        str | None, typer.Option(help="Its bands in file order: blue,green,red.")
    ] = None,
) -> None:
    """Score a model on a data set: IoU, F1, precision, recall, accuracy, boundary IoU.

    Examples:

        headframe evaluate tailings-s2-rgb DATASET

        headframe evaluate runs/unet DATASET --split val --by site --out evaluation

        headframe evaluate tailings-s2-rgb DATASET --json

        headframe evaluate runs/procanet DATASET --attention --out evaluation

        headframe evaluate runs/general DATASET --split test --where material=RR
    """
    from headframe.cli import console
    from headframe.datasets.chips import open_dataset
    from headframe.datasets.sitefacts import only_sites, parse_conditions
    from headframe.engine.attention import check_attention, draw_attention
    from headframe.engine.bundle import load_bundle
    from headframe.engine.evaluate import evaluate as run_evaluation
    from headframe.engine.evaluation_report import ranked
    from headframe.engine.prediction import at_own_gsd

    if by not in (None, "site"):
        raise typer.BadParameter(f"{by!r} is not site.", param_hint="--by")
    if attention and out is None:
        raise typer.BadParameter("draws into a folder. Add --out.", param_hint="--attention")
    if flips not in (None, 1, 2, 4, 8):
        raise typer.BadParameter(f"{flips} is not 1, 2, 4 or 8.", param_hint="--flips")
    bundle = load_bundle(model).with_options(threshold=threshold, test_flips=flips)
    if attention:
        check_attention(bundle)
    named = band_names(bands)
    opened = open_dataset(
        dataset, sensor=sensor, bands=named, class_name=bundle.spec.classes.names[-1]
    )
    if own_gsd:
        bundle = at_own_gsd(bundle, opened.manifest.gsd_m)
    if where:
        opened = only_sites(opened, parse_conditions(where))
    with console.progress() as progress:
        found = run_evaluation(
            bundle,
            opened,
            split=split,
            by="site" if by else None,
            out=out,
            boundary_px=boundary_px,
            progress=progress,
        )
    if attention and out is not None:
        rows = [(f"{title}: {r.chip.key}", r.chip) for title, r in ranked(found)]
        draw_attention(bundle, opened, rows, out / "attention.png")
    if as_json:
        console.emit_json(found.to_json())
        return
    _show(found, by_site=by is not None)
    if out is None:
        console.say("Add --out FOLDER for pictures of the best, median and worst chip.")
    else:
        files = ["scores.json", "sites.csv", "classes.csv", "panels.png"] + ["sites/"] * bool(by)
        files += ["attention.png"] * attention
        console.say(f"Written into {out}: {', '.join(files)}")


def _show(found: "Evaluation", *, by_site: bool) -> None:
    """Print the tables."""
    from headframe.cli import console

    scores = found.to_json()
    names = ("iou", "f1", "precision", "recall", "accuracy")
    console.table(
        f"{found.model} on {found.dataset}, split {found.split}, {len(found.chips)} chips: "
        f"{scores['target']}",
        ("", *names),
        [(mode, *(scores[mode][n] for n in names)) for mode in ("pooled", "imagewise")],
    )
    console.table(
        "Mean over classes",
        ("", *names),
        [
            (title, *(scores[mode][n] for n in names))
            for title, mode in (("pooled", "mean"), ("as the papers count", "paper"))
        ],
    )
    console.table(
        "Target, pooled",
        ("figure", "value"),
        [
            ("IoU, low end of 95 % over sites", scores["interval95"][0]),
            ("IoU, high end", scores["interval95"][1]),
            (f"boundary IoU at {found.boundary_px} px", scores["boundary_iou"]),
            ("IoU, mean over sites", scores["site_mean_iou"]),
            *(
                [("IoU where no cloud is", scores["cloud_free_iou"])]
                if found.cloud_free_iou is not None
                else []
            ),
        ],
    )
    if by_site:
        columns = ("iou", "recall", "precision", "accuracy", "jaccard_accuracy", "tp", "fp", "fn")
        console.table(
            "Sites and classes, pooled",
            ("site", "class", "chips", *columns[:4], "TP/(TP+FP+FN)", *columns[5:]),
            [
                (row["site"], row["class"], row["chips"], *(row[c] for c in columns))
                for row in scores["site_classes"]
            ],
        )
